//! Keys whose value is one of a few words.

use crate::kinds::Words;
use culvert_model::SaMode;

/// First word of a variant is its canonical one; swanctl's synonyms follow.
macro_rules! words {
    ($($(#[doc = $doc:literal])* $name:ident { $($(#[doc = $vdoc:literal])* $variant:ident = $($word:literal)|+,)+ }
        $(=> not_yet { $($later:literal => $why:literal,)+ })?)+) => { $(
        $(#[doc = $doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[doc = $vdoc])* $variant,)+ }

        impl Words for $name {
            const WORDS: &'static [(&'static str, Self)] = &[$($(($word, Self::$variant),)+)+];
            const NOT_YET: &'static [(&'static str, &'static str)] = &[$($(($later, $why),)+)?];
        }

        impl $name {
            /// The word of the configuration.
            pub fn word(self) -> &'static str {
                Self::WORDS.iter().find(|(_, v)| *v == self).map_or("", |(word, _)| word)
            }
        }
    )+ };
}

words! {
    /// Where packet buffers live.
    Memory { Hugepages = "hugepages", Plain = "plain", }

    /// What a worker does when nothing comes.
    Idle {
        /// Asks on and on: lowest latency, a core at 100 %.
        Poll = "poll",
        /// Sleeps when nothing comes.
        Adaptive = "adaptive",
    }

    /// How a peer proves its identity.
    AuthMethod { Psk = "psk", }
    => not_yet {
        "pubkey" => "certificates are not there yet; use \"psk\"",
        "eap" => "use \"psk\"",
        "eap-mschapv2" => "use \"psk\"",
        "eap-tls" => "use \"psk\"",
        "xauth" => "that is IKEv1; use \"psk\"",
    }

    /// Which way the traffic class is copied between inner and outer header.
    CopyDscp { Out = "out", In = "in", Yes = "yes", No = "no", }

    /// When a child is brought up.
    StartAction {
        /// Only when the peer asks.
        None = "none",
        /// At once.
        Start = "start",
        /// By the first packet that needs it.
        Trap = "trap",
    }
    => not_yet { "trap|start" => "use \"start\"; the policies are there from the beginning anyhow", }

    /// What becomes of a child when its peer is dead, or has closed it.
    DownAction {
        /// Nothing; the policies stay and drop what they protect.
        Clear = "clear" | "none",
        /// The next packet brings it up.
        Trap = "trap",
        /// Bring it up again at once.
        Restart = "restart" | "start",
    }

    /// What a policy does with a packet.
    PolicyAction { Bypass = "bypass", Discard = "discard", }
    => not_yet { "protect" => "a [[connection.child]] or [[manual_sa]] makes the PROTECT policies of its traffic", }

    /// A field of a packet that an SA can be for.
    PfpField {
        LocalAddr = "local_addr",
        RemoteAddr = "remote_addr",
        Protocol = "protocol",
        LocalPort = "local_port",
        RemotePort = "remote_port",
    }

    /// Which way a policy looks.
    PolicyWay { Both = "both", Out = "out", In = "in", }
}

impl Words for SaMode {
    const WORDS: &'static [(&'static str, Self)] = &[("tunnel", Self::Tunnel), ("transport", Self::Transport)];
    const NOT_YET: &'static [(&'static str, &'static str)] = &[
        ("beet", "use \"tunnel\""),
        ("transport_proxy", "use \"tunnel\""),
        ("pass", "write a [[policy]] with action = \"bypass\""),
        ("drop", "write a [[policy]] with action = \"discard\""),
    ];
}
