//! The fast path: plain packets of known flows, stage by stage over the whole burst.
//!
//! ```text
//! read ─► open: SA by SPI ──► replay check ─► cipher ─► replay commit ─► inner flow ─┐
//!     └─► memo of the flow ─► seal: number ─► headers ─► cipher ──────────────────────┼─► send
//!                         └─► forward ────────────────────────────────────────────────┘
//! ```
//!
//! It decides nothing. What becomes of a flow is found out by the general way's own functions, once, and remembered
//! ([`memo`]) for as long as the SPD, the SA or the neighbour it came from is the same. A packet that is not plain, or whose
//! flow goes another way, stays in the burst for the general way, untouched; one that turns out so when it is decrypted is
//! handed over opened. Within a burst, packets between two addresses do not overtake each other: where one takes the general
//! way, those behind it do.
//!
//! The tests run the same packets with and without it, and compare what comes out.

mod inbound;
pub(crate) mod key;
mod memo;
mod outbound;
mod plain;
#[cfg(test)]
mod tests;

use crate::buffer::Buffer;
use crate::crypto::Crypto;
use crate::fast::inbound::Openings;
use crate::fast::key::FlowKey;
use crate::fast::memo::{Course, Entry};
use crate::fast::outbound::Sealings;
use crate::fast::plain::Plain;
use crate::forward::put_header;
use crate::inbound::InboundGroups;
use crate::io::{Io, Origin, PortId};
use crate::packet::{Destination, Head, Inner, Opening};
use crate::policy::search;
use crate::shared::View;
use crate::spd::Verdict;
use crate::topology::{Attachment, Hop, Interface};
use crate::worker::{Batch, Worker};
use culvert_model::Pfp;
use culvert_telemetry::WorkerCounter;
use culvert_wire::ipv4::ChecksumMode;
use culvert_wire::{EtherType, Mac, ethernet, ipv4, ipv6};

pub(crate) use memo::Memo;

/// Where a packet of the burst is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Read, and to be looked up.
    Read,
    /// For the general way, as it came.
    General,
    Seal,
    Open,
    /// A whole frame, to be sent by this port.
    Send(PortId),
    /// Decrypted, and for the general way from there.
    Opened,
    /// Dropped and counted.
    Gone,
}

/// What is known of one frame of the burst.
pub(super) struct Card {
    pub plain: Plain,
    pub pair: u64,
    pub hash: u64,
    pub step: Step,
    /// Which SA of the burst.
    pub group: u8,
    /// Of the ESP header in the packet.
    pub offset: u8,
    pub sequence: u64,
}

/// Packets that came out of SAs and are not plain.
pub(crate) struct Opened<K, B> {
    pub packets: Batch<Opening<B>>,
    pub groups: InboundGroups<K>,
}

impl<A: Crypto> Worker<A> {
    /// Takes out of the burst what it can do; what is left, in its order, is the general way's.
    pub(crate) fn fast_path<B: Buffer>(
        &mut self,
        view: &View,
        port: PortId,
        burst: &mut Batch<B>,
        io: &mut impl Io<B>,
    ) -> Option<Opened<A::Key, B>> {
        let interface = view.topology.interface(port).filter(|interface| interface.attachment == Attachment::Port)?;
        let mut memo = self.memo.take()?;
        let mut cards = Batch::new();
        let (mut sealings, mut openings) = (Sealings::new(), Openings::new());
        read(&memo, interface, burst, &mut cards);
        self.look_up_all(view, &mut memo, &mut cards, burst, (&mut sealings, &mut openings), io);
        if sealings.are_some() {
            self.encapsulate_all(&mut cards, burst, &mut sealings);
            self.seal_all(&mut cards, burst, &sealings);
            self.finish_all(view, &mut cards, burst, &mut sealings);
        }
        if openings.are_some() {
            self.open_all(view, &mut cards, burst, &openings, io);
            self.commit_all(view, &mut cards, &openings, io);
            self.deliver_all(view, &mut memo, &mut cards, burst, &mut openings, io);
        }
        self.memo = Some(memo);
        let opened = send(&cards, (port, &openings), burst, io);
        (!opened.is_empty()).then(|| Opened { packets: opened, groups: openings.groups })
    }

    fn look_up_all<B: Buffer>(
        &mut self,
        view: &View,
        memo: &mut Memo,
        cards: &mut Batch<Card>,
        burst: &mut Batch<B>,
        (sealings, openings): (&mut Sealings<A::Key>, &mut Openings<A::Key>),
        io: &mut impl Io<B>,
    ) {
        let mut general = Overtaking::default();
        let (mut bypassed, mut known) = (0, 0);
        for (card, frame) in cards.iter_mut().zip(burst.iter_mut()) {
            if card.step != Step::Read {
                continue;
            }
            card.step = Step::General;
            if general.may_hold(card.pair) {
                continue;
            }
            let stranger = if self.may_be_esp(view, &card.plain.key) {
                self.admit_inbound(view, card, frame, (openings, &mut general), io)
            } else {
                None
            };
            if card.step == Step::General
                && let Some(entry) = self.course_of(view, memo, card, frame, &mut known)
            {
                match entry.course() {
                    Course::General => {}
                    Course::Esp => self.refuse_stranger(view, card, stranger, io),
                    Course::Seal => self.admit_outbound(view, card, entry, frame, sealings),
                    Course::Forward => {
                        if let Some(hop) = view.topology.hop_at(entry.target)
                            && forward(card, frame, hop).is_some()
                        {
                            bypassed += 1;
                        }
                    }
                }
            }
            if card.step == Step::General {
                general.add(card.pair);
            }
        }
        self.counters.add(WorkerCounter::FlowCacheHits, known);
        if bypassed > 0 {
            self.counters.add(WorkerCounter::BypassedPackets, bypassed);
        }
    }

    /// What becomes of the flow of a packet that came in clear.
    fn course_of<'m, B: Buffer>(
        &self,
        view: &View,
        memo: &'m mut Memo,
        card: &Card,
        frame: &B,
        known: &mut u64,
    ) -> Option<&'m mut Entry> {
        let (key, hash) = (&card.plain.key, card.hash);
        if memo.knows(key, hash, view.spd.number) {
            *known += 1;
            return memo.first(hash);
        }
        let packet = frame.data().get(ethernet::LEN..)?;
        let entry = self.find_course(view, *key, packet, Origin::Clear, 0)?;
        memo.put(hash, entry)
    }

    /// Asks the general way's own functions. `sa`: the one whose selectors held the packet, if it came out of one. `None`:
    /// not to be remembered.
    #[cold]
    fn find_course(&self, view: &View, key: FlowKey, packet: &[u8], origin: Origin, sa: u64) -> Option<Entry> {
        self.counters.add(WorkerCounter::FlowCacheMisses, 1);
        let head = Head::parse(packet, ChecksumMode::Trusted).ok()?;
        let entry = |course, target| Some(Entry::new(key, view.spd.number, course, sa, target));
        match head.destination(&view.topology) {
            Ok(Destination::Elsewhere) => {}
            Ok(Destination::Own) if key.is_esp() && origin == Origin::Clear => return entry(Course::Esp, 0),
            _ => return entry(Course::General, 0),
        }
        match search(view, &head.flow, false, origin) {
            Verdict::Protect { child, pfp: Pfp::NONE, .. } if origin == Origin::Clear => {
                entry(Course::Seal, u64::from(child.0))
            }
            // Neighbours come and go; only a known one is remembered.
            Verdict::Forward => entry(Course::Forward, view.topology.hop_index(head.flow.destination)?),
            _ => entry(Course::General, 0),
        }
    }
}

impl Card {
    const NEW: Self =
        Self { plain: Plain::NONE, pair: 0, hash: 0, step: Step::General, group: 0, offset: 0, sequence: 0 };

    /// Octets of the IP packet, without padding.
    pub fn len(&self) -> usize {
        usize::from(self.plain.len)
    }
}

/// A card for each frame.
fn read<B: Buffer>(memo: &Memo, interface: &Interface, burst: &Batch<B>, cards: &mut Batch<Card>) {
    let mac = mac_word(interface.mac);
    let mut general = Overtaking::default();
    for frame in burst {
        cards.push(Card::NEW);
        let Some(card) = cards.last_mut() else { return };
        if read_frame(frame, mac, &mut card.plain).is_some() {
            card.pair = card.plain.key.pair();
            card.hash = card.plain.key.hash(card.pair);
            if !general.may_hold(card.pair) {
                card.step = Step::Read;
                memo.prefetch(card.hash);
            }
        } else {
            general.add(pair_of(frame.data().get(ethernet::LEN..).unwrap_or_default()));
        }
    }
}

/// Address pairs of which a packet took the general way.
#[derive(Default)]
pub(super) struct Overtaking(u64);

impl Overtaking {
    pub fn add(&mut self, pair: u64) {
        self.0 |= 1 << (pair >> 58);
    }

    pub fn may_hold(&self, pair: u64) -> bool {
        self.0 >> (pair >> 58) & 1 != 0
    }
}

const fn mac_word([a, b, c, d, e, f]: [u8; 6]) -> u64 {
    u64::from_be_bytes([a, b, c, d, e, f, 0, 0])
}

/// A plain packet in a frame to this station, without a tag.
#[inline]
fn read_frame<B: Buffer>(frame: &B, mac: u64, plain: &mut Plain) -> Option<()> {
    let (header, packet) = frame.data().split_first_chunk::<{ ethernet::LEN }>()?;
    let (first, _) = header.split_first_chunk::<8>()?;
    if u64::from_be_bytes(*first) >> 16 != mac >> 16 {
        return None;
    }
    let ether_type = EtherType(u16::from_be_bytes([header[12], header[13]]));
    let trusted = match (ether_type, frame.rx_checksum_ok()) {
        (EtherType::IPV4, Some(false)) => return None,
        (EtherType::IPV4, ok) => ok == Some(true),
        (EtherType::IPV6, _) => false,
        _ => return None,
    };
    plain.read(packet, trusted)?;
    (plain.inner.is_v6 == (ether_type == EtherType::IPV6)).then_some(())
}

/// Of a packet that was not read as plain; any number where it is no IP packet.
#[cold]
pub(super) fn pair_of(packet: &[u8]) -> u64 {
    let word =
        |at: usize| packet.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |word| u64::from_be_bytes(*word));
    match packet.first().map(|octet| octet >> 4) {
        Some(4) => FlowKey::v4(word(12), 0, 0).pair(),
        Some(6) => FlowKey::v6([8, 16, 24, 32].map(word), 0, 0).pair(),
        _ => 0,
    }
}

/// On in clear. `None`, and nothing done, where the general way has something to say about it.
#[inline]
fn forward<B: Buffer>(card: &mut Card, frame: &mut B, hop: &Hop) -> Option<()> {
    if card.len() > usize::from(hop.mtu) || card.plain.inner.ttl <= 1 {
        return None;
    }
    cut_padding(card, frame)?;
    card.step = dispatch(frame, hop, &card.plain.inner);
    Some(())
}

/// What follows the IP packet in its frame.
#[inline]
pub(super) fn cut_padding<B: Buffer>(card: &Card, frame: &mut B) -> Option<()> {
    let padding = frame.data().len().checked_sub(ethernet::LEN + card.len())?;
    (padding == 0 || frame.trim_back(padding)).then_some(())
}

/// One from the TTL, which is known to be more, and another Ethernet header.
#[inline]
pub(super) fn dispatch<B: Buffer>(frame: &mut B, hop: &Hop, inner: &Inner) -> Step {
    let Some((header, packet)) = frame.data_mut().split_first_chunk_mut() else { return Step::Gone };
    hop_taken(packet, inner.is_v6);
    put_ethernet(header, hop, inner.is_v6);
    tag(frame, hop, inner.is_v6)
}

#[inline]
pub(super) fn hop_taken(packet: &mut [u8], is_v6: bool) {
    let _ = if is_v6 { ipv6::decrement_hop_limit(packet) } else { ipv4::decrement_ttl(packet) };
}

#[inline]
pub(super) fn put_ethernet(header: &mut [u8; ethernet::LEN], hop: &Hop, is_v6: bool) {
    let ether_type = if is_v6 { EtherType::IPV6 } else { EtherType::IPV4 };
    let destination = hop.mac.unwrap_or(Mac([0; 6]));
    *header = ethernet::Repr { destination, source: hop.source_mac, ether_type }.to_bytes();
}

/// Where the way out is a VLAN, the header is made anew with a tag in it.
#[inline]
pub(super) fn tag<B: Buffer>(frame: &mut B, hop: &Hop, is_v6: bool) -> Step {
    if hop.vlan.is_none() {
        return Step::Send(hop.device);
    }
    let ether_type = if is_v6 { EtherType::IPV6 } else { EtherType::IPV4 };
    let header = ethernet::Repr { destination: hop.mac.unwrap_or(Mac([0; 6])), source: hop.source_mac, ether_type };
    let tagged = frame.trim_front(ethernet::LEN) && put_header(frame, header, hop.vlan).is_some();
    if tagged { Step::Send(hop.device) } else { Step::Gone }
}

/// Everything goes where it belongs; the burst keeps what is the general way's. Answers what was opened and is not plain.
fn send<K, B: Buffer>(
    cards: &Batch<Card>,
    (port, openings): (PortId, &Openings<K>),
    burst: &mut Batch<B>,
    io: &mut impl Io<B>,
) -> Batch<Opening<B>> {
    let (mut general, mut opened) = (Batch::new(), Batch::new());
    for (card, frame) in cards.iter().zip(burst.drain(..)) {
        match card.step {
            Step::Send(port) => io.transmit(port, frame),
            Step::Gone => drop(frame),
            Step::Opened => opened.extend(openings.opening(card, port, frame)),
            Step::Read | Step::General | Step::Seal | Step::Open => general.push(frame),
        }
    }
    burst.extend(general);
    opened
}
