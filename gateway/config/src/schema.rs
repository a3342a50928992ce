//! Every table and key of culvert.toml. This is the one place where a key is declared.

use crate::device::{Device, DeviceText};
use crate::headers::Headers;
use crate::kinds::*;
use crate::reader::{Flag, Int, List, Many, Maybe, Some1, Sub};
use crate::selector::Selector;
use crate::words::{AuthMethod, DownAction, Idle, Memory, PfpField, PolicyAction, PolicyWay, StartAction};
use culvert_model::{EspProposal, Identity, IkeProposal, SaMode, Spi, Suite, TrafficSelector};
use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

section! {
    /// The whole file.
    Root {
        /// Cores and memory of the data plane.
        dataplane: Dataplane as Sub<Dataplane> = "{}";
        /// A port, VLAN or tunnel interface, and its addresses.
        interface: Vec<Interface> as Many<Interface> = "[]";
        /// Two ports with the box between them as a bump in the wire.
        bridge: Vec<Bridge> as Many<Bridge> = "[]";
        /// The interface to the host's own stack. Without this table there is none.
        host: Option<Host> as Maybe<Sub<Host>>;
        /// A static route. Networks of the interfaces need none.
        route: Vec<Route> as Many<Route> = "[]";
        /// A peer that IKEv2 is spoken with.
        connection: Vec<Connection> as Many<Connection> = "[]";
        /// A pair of security associations with keys from files, without IKE.
        manual_sa: Vec<ManualSa> as Many<ManualSa> = "[]";
        /// What goes past IPsec, or nowhere.
        policy: Vec<PolicyEntry> as Many<PolicyEntry> = "[]";
        /// A pre-shared key.
        secret: Vec<Secret> as Many<Secret> = "[]";
        /// The Prometheus endpoint. Without this table there is none.
        metrics: Option<Metrics> as Maybe<Sub<Metrics>>;
        /// Where the processes of one gateway meet, and how patient IKE is.
        control: Control as Sub<Control> = "{}";
    }
    => not_yet {
        "connections" => "write [[connection]] with a key \"name\"",
        "secrets" => "write [[secret]] with the keys \"ids\" and \"file\"",
        "pools" => "virtual addresses are not there yet",
        "authorities" => "certificates are not there yet",
    }

    /// Cores and memory of the data plane. Changes need a restart of the data plane.
    Dataplane {
        /// Cores to pin a worker to, one each. Keep them free of other work.
        workers: Vec<u16> as Some1<Int<u16, 0, 1023>> = "[1]";
        /// Where packet buffers live. Without hugepages in the system "hugepages" falls back to plain memory, with a
        /// warning.
        memory: Memory as Word<Memory> = "\"hugepages\"";
        /// How much memory for packet buffers and tables. 4.3 MiB of it are 63 buffers for packets of up to 65,535 octets.
        memory_size: u64 as Size = "\"512M\"";
        /// What a worker does when nothing comes: "poll" asks on and on, with the core at 100 %; "adaptive" sleeps.
        idle: Idle as Word<Idle> = "\"poll\"";
        /// How many security associations there may be at once, both directions counted; a power of two.
        sa_slots: u32 as Int<u32, 64, 1_048_576> = "65536";
    }

    /// A way in and out, and the box's addresses on it: a port, a VLAN of a port, or a virtual tunnel interface.
    Interface {
        /// Its name here: in routes, metrics and `culvert status`.
        name: String as Name;
        /// PCI address of the card, or a DPDK virtual device such as "net_af_packet,iface=eth1". "tunnel" makes a virtual
        /// tunnel interface: what is routed into it leaves by the children that name it. With `vlan`, the name of the
        /// interface whose port it shares.
        device: Device as DeviceText;
        /// VLAN identifier of its frames (IEEE 802.1Q).
        vlan: Option<u16> as Maybe<Int<u16, 1, 4094>>;
        /// The box's own addresses on this interface, with prefix length.
        addresses: Vec<IpNet> as List<HostNet> = "[]";
        /// Largest IP packet on this interface, octets.
        mtu: u16 as Int<u16, 576, 9216> = "1500";
    }

    /// Two ports with the box between them as a bump in the wire: frames pass from one to the other as they are, if policy
    /// lets their IP packets through. What it protects leaves by the box's own addresses, which one of the two interfaces
    /// has, and which are there on both ports. ARP, neighbour discovery and what is not IP always pass.
    Bridge {
        /// Names of the two interfaces.
        ports: Vec<String> as Some1<Name>;
    }

    /// A Linux interface through which the programs of this machine (a shell server, a routing daemon) use the gateway's
    /// addresses, under the gateway's policies. It gets every address of the interfaces. What answers from them leaves by
    /// it whatever other routes the machine has; what begins, where the machine has no route of its own.
    Host {
        /// Its name in Linux.
        interface: String as LinuxName = "\"culvert0\"";
        /// Routing table, and preference of the rules that lead to it, for what leaves from the gateway's addresses.
        table: u32 as Int<u32, 256, 32_000> = "500";
    }

    /// A static route.
    Route {
        /// Network the route is for; "0.0.0.0/0" and "::/0" are the default routes.
        destination: IpNet as Prefix;
        /// Next hop; must be on the network of an interface. Left out: the destinations are neighbours on `interface`
        /// themselves, or `interface` is a tunnel.
        via: Option<IpAddr> as Maybe<Address>;
        /// Interface the next hop is on. Needed only where `via` does not tell, as with fe80::.
        interface: Option<String> as Maybe<Name>;
    }

    /// A peer that IKEv2 is spoken with. The words are those of swanctl.conf.
    Connection {
        /// Its name here: in metrics, logs and `culvert status`.
        name: String as Name;
        /// Own addresses to use; "%any" takes whichever the route to the peer leaves by.
        local_addrs: Vec<IpAddr> as Endpoints = "[\"%any\"]";
        /// Addresses of the peer. With "%any" the peer may come from anywhere, and only it can begin.
        remote_addrs: Vec<IpAddr> as Endpoints = "[\"%any\"]";
        /// UDP port of the peer. 500 moves to 4500 where there is a NAT on the way.
        remote_port: u16 as Int<u16, 1, 65_535> = "500";
        /// What to propose for the IKE SA, in order of preference.
        proposals: Vec<IkeProposal> as Some1<IkeWords> = "[\"aes256gcm16-aes128gcm16-prfsha384-prfsha256-x25519-ecp384-ecp256-modp3072\", \"aes256-aes128-sha384-sha256-x25519-ecp384-ecp256-modp3072\"]";
        /// Encapsulate ESP in UDP even where no NAT is seen.
        encap: bool as Flag = "false";
        /// Ask the peer for a sign of life after this long without one; 0 never asks.
        dpd_delay: Duration as Time = "\"0s\"";
        /// Replace the IKE SA's keys after this long; 0 never does.
        rekey_time: Duration as Time = "\"4h\"";
        /// Close the IKE SA this long after `rekey_time` if the rekey has not come about by then. Left out: a tenth of
        /// `rekey_time`.
        over_time: Option<Duration> as Maybe<Time>;
        /// Spread rekeys by taking off a random time up to this. Left out: like `over_time`.
        rand_time: Option<Duration> as Maybe<Time>;
        /// How often to begin again when the peer does not answer; 0 is for ever.
        keyingtries: u32 as Int<u32, 0, 1_000_000> = "1";
        /// How this box proves its identity.
        local: LocalAuth as Sub<LocalAuth>;
        /// How the peer proves its identity.
        remote: RemoteAuth as Sub<RemoteAuth>;
        /// Traffic to protect with this peer.
        children ["child"]: Vec<Child> as Many<Child> = "[]";
    }
    => not_yet {
        "version" => "leave it out; IKEv2 is the only version here",
        "local_port" => "leave it out; the box speaks IKE on ports 500 and 4500",
        "mobike" => "leave it out",
        "fragmentation" => "leave it out",
        "reauth_time" => "use rekey_time",
        "dpd_timeout" => "that is IKEv1; use dpd_delay",
        "unique" => "leave it out",
        "vips" => "leave it out",
        "pools" => "leave it out",
        "send_cert" => "leave it out",
        "send_certreq" => "leave it out",
        "aggressive" => "that is IKEv1; leave it out",
        "children" => "write [[connection.child]] with a key \"name\"",
    }

    /// How this box proves its identity.
    LocalAuth {
        /// Method.
        auth: AuthMethod as Word<AuthMethod> = "\"psk\"";
        /// Identity to show. Left out: the own address.
        id: Option<Identity> as Maybe<Id>;
    }
    => not_yet {
        "certs" => "certificates are not there yet; use auth = \"psk\"",
        "eap_id" => "EAP is not there yet; use auth = \"psk\"",
    }

    /// How the peer proves its identity.
    RemoteAuth {
        /// Method.
        auth: AuthMethod as Word<AuthMethod> = "\"psk\"";
        /// Identity it must show. Left out: its address; it may be left out only where `remote_addrs` names one address.
        id: Option<Identity> as Maybe<Id>;
    }
    => not_yet {
        "certs" => "certificates are not there yet; use auth = \"psk\"",
        "cacerts" => "certificates are not there yet; use auth = \"psk\"",
        "eap_id" => "EAP is not there yet; use auth = \"psk\"",
    }

    /// Traffic to protect with a peer: a Child SA and its policies. The policies stand from the start, whatever
    /// `start_action` says: what they match never leaves in clear.
    Child {
        /// Its name here: in metrics, logs and `culvert status`.
        name: String as Name;
        /// Own side of the traffic, in swanctl's notation: network, address or range, with protocol and port if wanted. May
        /// be left out with `interface`, and is then everything.
        local_ts: Vec<TrafficSelector> as List<Selector> = "[]";
        /// The peer's side of the traffic. As `local_ts`.
        remote_ts: Vec<TrafficSelector> as List<Selector> = "[]";
        /// Tunnel interface it belongs to: it carries what is routed into that interface, and nothing else. Several
        /// children may share one.
        interface: Option<String> as Maybe<Name>;
        /// What to propose for ESP, in order of preference: AEADs, or ciphers with integrity algorithms. A group in it means
        /// a key exchange at each rekey (PFS). Where `ah_proposals` is given and this is left out, there is no ESP.
        esp_proposals: Vec<EspProposal> as Some1<EspWords> = "[\"aes256gcm16-aes128gcm16-x25519-ecp384-ecp256-modp3072-esn-noesn\", \"aes256gcm16-aes128gcm16-esn-noesn\"]";
        /// What to propose for AH: integrity algorithms. Beside `esp_proposals` an alternative; for AH over ESP see
        /// `bundle`.
        ah_proposals: Vec<EspProposal> as List<AhWords> = "[]";
        /// "tunnel" puts a new IP header around each packet; "transport" keeps its own, and is for the traffic of the two
        /// ends themselves, without a NAT between them.
        mode: SaMode as Word<SaMode> = "\"tunnel\"";
        /// Ask for an SA with the values of the packet that raised it in these fields, instead of the whole of the selectors
        /// (RFC 4301 §4.4.1.2): one SA for each. Works with `start_action = "trap"`; say the same on both ends.
        populate_from_packet: Vec<PfpField> as List<Word<PfpField>> = "[]";
        /// When to bring it up: "none" only when the peer asks, "start" at once, "trap" by the first packet.
        start_action: StartAction as Word<StartAction> = "\"none\"";
        /// When the peer is dead: "clear" does nothing, "trap" waits for a packet, "restart" tries at once.
        dpd_action: DownAction as Word<DownAction> = "\"clear\"";
        /// When the peer has closed it: as `dpd_action`.
        close_action: DownAction as Word<DownAction> = "\"none\"";
        /// Replace the Child SA after this long; 0 never does.
        rekey_time: Duration as Time = "\"1h\"";
        /// Drop the Child SA after this long, even if control is dead. Left out: a tenth more than `rekey_time`.
        life_time: Option<Duration> as Maybe<Time>;
        /// Spread rekeys by taking off a random time up to this. Left out: `life_time` less `rekey_time`.
        rand_time: Option<Duration> as Maybe<Time>;
        /// Replace the Child SA after this many bytes; 0 never does.
        rekey_bytes: u64 as Size = "0";
        /// Drop it after this many bytes. Left out: a tenth more than `rekey_bytes`.
        life_bytes: Option<u64> as Maybe<Size>;
        /// Replace the Child SA after this many packets; 0 never does.
        rekey_packets: u64 as Int<u64, 0, 9_007_199_254_740_992> = "0";
        /// Drop it after this many packets. Left out: a tenth more than `rekey_packets`.
        life_packets: Option<u64> as Maybe<Int<u64, 0, 9_007_199_254_740_992>>;
        /// Close the Child SA when one of its directions has carried nothing for this long; 0 never does.
        inactivity: Duration as Time = "\"0s\"";
        /// How many packets late a packet may come.
        replay_window: u32 as Int<u32, 32, 65_536> = "1024";
        /// SA bundle: what this child's SAs have sealed goes through those of this other child or manual SA too, as with AH
        /// over ESP; and what they open must have come through them. The name of a child or manual SA, or
        /// "connection/child".
        bundle: Option<String> as Maybe<ChildName>;
        ..headers: Headers;
    }
    => not_yet {
        "updown" => "leave it out",
        "policies" => "leave it out; policies are always there",
        "priority" => "the order in the file is the order of the policies",
        "mark_in" => "leave it out",
        "mark_out" => "leave it out",
        "if_id_in" => "use interface",
        "if_id_out" => "use interface",
        "ipcomp" => "leave it out",
        "hw_offload" => "leave it out",
        "copy_df" => "write df = \"copy\" for yes, df = \"clear\" for no",
    }

    /// A pair of security associations with keys from files, without IKE. Both ends need the same, with "in" and "out"
    /// exchanged. Keys must be fresh: never use a key file again after the state directory was lost.
    ManualSa {
        /// Its name here: in metrics, logs and `culvert status`.
        name: String as Name;
        /// Own outer address; in transport mode the address of the traffic itself.
        local: IpAddr as Address;
        /// The peer's outer address.
        remote: IpAddr as Address;
        /// "tunnel" puts a new IP header around the packet, "transport" keeps its own.
        mode: SaMode as Word<SaMode> = "\"tunnel\"";
        /// Own side of the traffic. May be left out with `interface`, and is then everything, and in transport mode, and
        /// is then all of `local`.
        local_ts: Vec<TrafficSelector> as List<Selector> = "[]";
        /// The peer's side of the traffic. As `local_ts`.
        remote_ts: Vec<TrafficSelector> as List<Selector> = "[]";
        /// Tunnel interface it belongs to: it carries what is routed into that interface, and nothing else.
        interface: Option<String> as Maybe<Name>;
        /// ESP: a cipher and an integrity algorithm, or an AEAD alone. Left out, and without `ah`: "aes256gcm16".
        suite: Option<Suite> as Maybe<SuiteWord>;
        /// AH instead of ESP: its integrity algorithm.
        ah: Option<Suite> as Maybe<AhWord>;
        /// SPI of packets that come.
        spi_in: Spi as SpiNumber;
        /// SPI of packets that go.
        spi_out: Spi as SpiNumber;
        /// File with the key of packets that come: cipher key, its salt, integrity key, as many of them as the suite has,
        /// in a row; 0x and hexadecimal or 0s and base64. Nobody but the owner may read it.
        key_in_file: PathBuf as FilePath;
        /// File with the key of packets that go; another key than that of `key_in_file`.
        key_out_file: PathBuf as FilePath;
        /// 64-bit sequence numbers. Both ends must say the same.
        esn: bool as Flag = "true";
        /// How many packets late a packet may come.
        replay_window: u32 as Int<u32, 32, 65_536> = "1024";
        /// ESP in UDP.
        encap: Option<Encap> as Maybe<Sub<Encap>>;
        /// SA bundle: what this SA has sealed goes through this other manual SA or child too, as with AH over ESP; and
        /// what it opens must have come through it. The name of a manual SA or child, or "connection/child".
        bundle: Option<String> as Maybe<ChildName>;
        ..headers: Headers;
    }
    => not_yet {
        "copy_df" => "write df = \"copy\" for yes, df = \"clear\" for no",
    }

    /// ESP in UDP, for a manual SA.
    Encap {
        /// Own UDP port.
        local_port: u16 as Int<u16, 1, 65_535> = "4500";
        /// UDP port of the peer.
        remote_port: u16 as Int<u16, 1, 65_535> = "4500";
        /// Send a NAT keepalive after this long without a packet; 0 sends none.
        keepalive: Duration as Time = "\"20s\"";
    }

    /// What goes past IPsec, or nowhere. Looked at before the policies of children, smallest `priority` first, then in
    /// the order of the file. What no policy matches is dropped.
    PolicyEntry {
        /// Its name here.
        name: String as Name;
        /// "bypass" sends on in clear, "discard" drops.
        action: PolicyAction as Word<PolicyAction>;
        /// Smaller is looked at first.
        priority: u32 as Int<u32, 0, 999_999> = "1000";
        /// Own side of the traffic.
        local_ts: Vec<TrafficSelector> as Some1<Selector>;
        /// The other side of the traffic.
        remote_ts: Vec<TrafficSelector> as Some1<Selector>;
        /// Tunnel interface: only what is routed into it is looked at. It can be discarded, and not bypassed.
        interface: Option<String> as Maybe<Name>;
        /// "out" is from `local_ts` to `remote_ts`, "in" the way back.
        direction: PolicyWay as Word<PolicyWay> = "\"both\"";
    }

    /// A pre-shared key.
    Secret {
        /// Identities it is for, ours or theirs; both ends of a connection, or only the peer's. Empty: for all.
        ids: Vec<Identity> as List<Id> = "[]";
        /// File with the key: 0x and hexadecimal, 0s and base64, or any other text as it is, without its last newline.
        /// Relative to the configuration file. Nobody but the owner may read it.
        file: PathBuf as FilePath;
    }
    => not_yet {
        "secret" => "put the key in a file of its own and name it with \"file\"",
        "id" => "write ids = [\"…\"]",
    }

    /// The Prometheus endpoint.
    Metrics {
        /// Address and port of the HTTP server. Whoever reaches it can read it.
        listen: SocketAddr as Listen = "\"127.0.0.1:9469\"";
    }

    /// Where the processes of one gateway meet (each gateway of a machine needs directories of its own), and how patient
    /// IKE is. The words are those of strongswan.conf.
    Control {
        /// Directory of the sockets and the shared memory; must be on a tmpfs.
        run_dir: PathBuf as FilePath = "\"/run/culvert\"";
        /// Directory of what must outlive a restart.
        state_dir: PathBuf as FilePath = "\"/var/lib/culvert\"";
        /// How long to wait for the answer to an IKE request before it is sent again; each further wait is 1.8 times as
        /// long.
        retransmit_timeout: Duration as Time = "\"4s\"";
        /// How often to send an IKE request again before the peer counts as dead. With the defaults that is after 165
        /// seconds.
        retransmit_tries: u32 as Int<u32, 1, 20> = "5";
    }
}

#[cfg(test)]
mod tests;
