use super::*;
use crate::fragment::join::join;
use crate::fragment::split::{split_v4, split_v6};
use crate::testing::VecBuffer;
use culvert_wire::{ethernet, ipv4, ipv6, protocol, testing};
use proptest::prelude::*;
use std::collections::HashSet;

const PORT: PortId = PortId(3);
const SECOND: Tick = 1_000_000_000;

type Tested = Reassembler<VecBuffer, u8>;

/// What happened, in order.
#[derive(Debug, PartialEq, Eq, Default)]
struct Happened {
    whole: Vec<usize>,
    lost: Vec<(DropReason, u64)>,
    expired: Vec<bool>,
}

fn happened(reassembler: &mut Tested) -> Happened {
    Happened {
        whole: std::iter::from_fn(|| reassembler.poll_whole()).map(|whole| whole.pieces.len()).collect(),
        lost: std::iter::from_fn(|| reassembler.poll_lost()).collect(),
        expired: std::iter::from_fn(|| reassembler.poll_expired()).map(|expired| expired.first.is_some()).collect(),
    }
}

/// A fragment of 8-octet units; its data tells where it stands, plus `salt`.
#[derive(Clone, Copy, Debug)]
struct Sent {
    source: u8,
    id: u16,
    from: usize,
    to: usize,
    more: bool,
    salt: u8,
}

fn sent(from: usize, to: usize, more: bool) -> Sent {
    Sent { source: 1, id: 7, from, to, more, salt: 0 }
}

fn packet(is_v6: bool, sent: Sent) -> Vec<u8> {
    let Sent { source, id, from, to, more, salt } = sent;
    let data: Vec<u8> = (from * 8..to * 8).map(|at| (at as u8).wrapping_add(salt)).collect();
    if is_v6 {
        let fragment = ipv6::Fragment {
            next_header: protocol::UDP,
            offset: (from * 8) as u16,
            more,
            identification: u32::from(id),
        };
        let header = ipv6::Repr::new([source; 16].into(), [2; 16].into(), protocol::FRAGMENT, (data.len() + 8) as u16);
        [&header.to_bytes()[..], &fragment.to_bytes(), &data].concat()
    } else {
        let header =
            ipv4::Repr::new([10, 0, 0, source].into(), [10, 0, 0, 99].into(), protocol::UDP, data.len() as u16);
        let header =
            ipv4::Repr { fragment_offset: (from * 8) as u16, more_fragments: more, identification: id, ..header };
        [&header.to_bytes()[..], &data].concat()
    }
}

fn put(reassembler: &mut Tested, now: Tick, is_v6: bool, sent: Sent) -> Happened {
    reassembler.handle_fragment(now, 0, PORT, VecBuffer::new(&packet(is_v6, sent)));
    happened(reassembler)
}

fn lost(reason: DropReason, count: u64) -> Happened {
    Happened { lost: vec![(reason, count)], ..Happened::default() }
}

#[test]
fn table_of_overlaps() {
    use DropReason::{FragmentDuplicate as Duplicate, FragmentMalformed as Malformed, FragmentOverlap as Overlap};
    // Two that are held, a third, and what it does. All in units of 8 octets.
    type Place = (usize, usize, bool);
    type Row = ([Place; 2], Place, Option<(DropReason, bool)>);
    let table: [Row; 14] = [
        ([(0, 2, true), (4, 6, true)], (2, 4, true), None),
        ([(0, 2, true), (4, 6, true)], (6, 8, false), None),
        ([(0, 2, true), (4, 6, true)], (0, 2, true), Some((Duplicate, false))),
        ([(0, 2, true), (4, 6, true)], (4, 6, true), Some((Duplicate, false))),
        ([(0, 2, true), (4, 6, true)], (0, 1, true), Some((Overlap, true))),
        ([(0, 2, true), (4, 6, true)], (1, 2, true), Some((Overlap, true))),
        ([(0, 2, true), (4, 6, true)], (1, 3, true), Some((Overlap, true))),
        ([(0, 2, true), (4, 6, true)], (3, 5, true), Some((Overlap, true))),
        ([(0, 2, true), (4, 6, true)], (3, 7, false), Some((Overlap, true))),
        ([(0, 2, true), (4, 6, true)], (0, 8, true), Some((Overlap, true))),
        // Ends that contradict each other.
        ([(0, 2, true), (4, 6, true)], (2, 3, false), Some((Malformed, true))),
        ([(0, 2, true), (4, 6, false)], (6, 7, true), Some((Malformed, true))),
        ([(0, 2, true), (4, 6, false)], (6, 7, false), Some((Malformed, true))),
        ([(0, 2, true), (4, 6, false)], (4, 6, true), Some((Overlap, true))),
    ];
    for is_v6 in [false, true] {
        for (held, third, expected) in table {
            let mut reassembler = Tested::new(Limits::default());
            for (from, to, more) in held {
                assert_eq!(put(&mut reassembler, 0, is_v6, sent(from, to, more)), Happened::default());
            }
            let (from, to, more) = third;
            let got = put(&mut reassembler, 0, is_v6, sent(from, to, more));
            match expected {
                None => assert_eq!(got, Happened::default(), "{held:?} {third:?}"),
                Some((reason, false)) => assert_eq!(got, lost(reason, 1), "{held:?} {third:?}"),
                Some((reason, true)) => {
                    assert_eq!(got.lost.iter().map(|(_, count)| count).sum::<u64>(), 3, "{held:?} {third:?}");
                    assert!(got.lost.iter().all(|(got, _)| *got == reason), "{held:?} {third:?} {got:?}");
                    // RFC 5722 §4: what is still to come of it, too.
                    assert_eq!(put(&mut reassembler, 0, is_v6, sent(20, 21, true)), lost(reason, 1));
                    assert_eq!(reassembler.pieces, 0);
                }
            }
        }
    }
}

#[test]
fn the_same_place_with_other_octets_is_an_overlap() {
    let mut reassembler = Tested::new(Limits::default());
    put(&mut reassembler, 0, false, sent(0, 2, true));
    let got = put(&mut reassembler, 0, false, Sent { salt: 1, ..sent(0, 2, true) });
    assert_eq!(got.lost, [(DropReason::FragmentOverlap, 1), (DropReason::FragmentOverlap, 1)]);
}

#[test]
fn what_no_datagram_can_be_of() {
    use DropReason::{FragmentMalformed as Malformed, FragmentTiny as Tiny};
    let mut reassembler = Tested::new(Limits::default());
    let mut expect = |packet: &[u8], reason| {
        reassembler.handle_fragment(0, 0, PORT, VecBuffer::new(packet));
        assert_eq!(happened(&mut reassembler), lost(reason, 1), "{packet:02x?}");
        assert!(reassembler.waiting.is_empty() && reassembler.numbers.is_empty() && reassembler.held.is_empty());
    };
    let v4 = |protocol, offset, more, len: usize| {
        let header = ipv4::Repr::new([10, 0, 0, 1].into(), [10, 0, 0, 2].into(), protocol, len as u16);
        let header = ipv4::Repr { fragment_offset: offset, more_fragments: more, ..header };
        [&header.to_bytes()[..], &vec![0; len]].concat()
    };
    let v6 = |next_header, offset, more, len: usize| {
        let fragment = ipv6::Fragment { next_header, offset, more, identification: 1 };
        let header = ipv6::Repr::new([1; 16].into(), [2; 16].into(), protocol::FRAGMENT, (len + 8) as u16);
        [&header.to_bytes()[..], &fragment.to_bytes(), &vec![0; len]].concat()
    };
    // No data, a length that leaves a hole, and an end beyond what a datagram can hold.
    expect(&v4(17, 8, true, 0), Malformed);
    expect(&v4(17, 0, true, 9), Malformed);
    expect(&v4(17, 65_512, false, 8), Malformed);
    expect(&v6(17, 8, false, 0), Malformed);
    expect(&v6(17, 0, true, 9), Malformed);
    expect(&v6(17, 65_528, false, 8), Malformed);
    // RFC 1858, RFC 3128, RFC 7112.
    expect(&v4(6, 0, true, 16), Tiny);
    expect(&v4(6, 8, true, 16), Tiny);
    expect(&v4(1, 0, true, 0), Malformed);
    expect(&v6(6, 0, true, 16), Tiny);
    expect(&v6(protocol::FRAGMENT, 0, true, 16), DropReason::Ipv6Extensions);
    expect(&[], DropReason::Truncated);
    expect(&[0x50; 40], DropReason::BadEthertype);
    expect(&v4(17, 8, true, 8)[..27], DropReason::Truncated);
}

#[test]
fn a_chain_without_its_end_in_the_first_fragment_is_refused() {
    // Destination options that say they are longer than the fragment (RFC 7112 §5).
    let fragment = ipv6::Fragment { next_header: 60, offset: 0, more: true, identification: 1 };
    let header = ipv6::Repr::new([1; 16].into(), [2; 16].into(), protocol::FRAGMENT, 24);
    let packet = [&header.to_bytes()[..], &fragment.to_bytes(), &[17, 3, 0, 0, 0, 0, 0, 0], &[0; 8]].concat();
    let mut reassembler = Tested::new(Limits::default());
    reassembler.handle_fragment(0, 0, PORT, VecBuffer::new(&packet));
    assert_eq!(happened(&mut reassembler), lost(DropReason::Ipv6Extensions, 1));
}

#[test]
fn captured_fragments_wait() {
    for hex in [testing::FRAGMENT_LATER_V4, testing::FRAGMENT_LATER_V6] {
        let mut reassembler = Tested::new(Limits::default());
        let packet = testing::bytes(hex)[ethernet::LEN..].to_vec();
        reassembler.handle_fragment(0, 0, PORT, VecBuffer::new(&packet));
        assert_eq!(happened(&mut reassembler), Happened::default());
        assert_eq!(reassembler.pieces, 1);
    }
}

#[test]
fn whole_and_atomic_packets_do_not_wait() {
    let mut reassembler = Tested::new(Limits::default());
    assert_eq!(put(&mut reassembler, 0, true, sent(0, 2, false)).whole, [1], "RFC 6946");
    assert_eq!(put(&mut reassembler, 0, false, sent(0, 2, false)).whole, [1]);
    // Not mixed up with real fragments of the same number (RFC 6946 §4).
    put(&mut reassembler, 0, true, sent(0, 2, true));
    assert_eq!(put(&mut reassembler, 0, true, sent(0, 2, false)).whole, [1]);
    assert_eq!(put(&mut reassembler, 0, true, sent(2, 3, false)).whole, [2]);
}

#[test]
fn contexts_are_kept_apart() {
    let mut reassembler = Tested::new(Limits::default());
    let first = VecBuffer::new(&packet(false, sent(0, 2, true)));
    let last = VecBuffer::new(&packet(false, sent(2, 3, false)));
    reassembler.handle_fragment(0, 1, PORT, first.clone());
    reassembler.handle_fragment(0, 2, PORT, last.clone());
    assert_eq!(happened(&mut reassembler), Happened::default());
    reassembler.handle_fragment(0, 2, PORT, first);
    let whole = reassembler.poll_whole().unwrap();
    assert_eq!((whole.context, whole.pieces.len()), (2, 2));
}

#[test]
fn time_runs_from_the_first_to_arrive() {
    let mut reassembler = Tested::new(Limits::default());
    put(&mut reassembler, 5 * SECOND, false, sent(0, 2, true));
    put(&mut reassembler, 20 * SECOND, false, Sent { id: 8, ..sent(2, 4, true) });
    put(&mut reassembler, 30 * SECOND, false, sent(2, 4, true));
    reassembler.handle_timeout(35 * SECOND - 1);
    assert_eq!(happened(&mut reassembler), Happened::default());
    reassembler.handle_timeout(35 * SECOND);
    let expected = Happened { lost: vec![(DropReason::FragmentTimeout, 2)], expired: vec![true], whole: vec![] };
    assert_eq!(happened(&mut reassembler), expected);
    reassembler.handle_timeout(50 * SECOND);
    let expected = Happened { lost: vec![(DropReason::FragmentTimeout, 1)], expired: vec![false], whole: vec![] };
    assert_eq!(happened(&mut reassembler), expected, "its first fragment never came");
    assert!(reassembler.numbers.is_empty() && reassembler.held.is_empty() && reassembler.pieces == 0);
    // Refused ones end in silence.
    put(&mut reassembler, 60 * SECOND, false, sent(0, 2, true));
    put(&mut reassembler, 60 * SECOND, false, sent(1, 2, true));
    reassembler.handle_timeout(90 * SECOND);
    assert_eq!(happened(&mut reassembler).lost, []);
    assert!(reassembler.waiting.is_empty());
    // A clock that goes back ends nothing.
    put(&mut reassembler, 90 * SECOND, false, sent(0, 2, true));
    reassembler.handle_timeout(0);
    assert_eq!(reassembler.pieces, 1);
}

const SMALL: Limits =
    Limits { datagrams: 8, pieces: 20, pieces_per_datagram: 5, pieces_per_source: 12, wait: 30 * SECOND };

#[test]
fn one_datagram_has_so_many_pieces() {
    let mut reassembler = Tested::new(SMALL);
    for at in 0..5 {
        assert_eq!(put(&mut reassembler, 0, false, sent(at, at + 1, true)), Happened::default());
    }
    let got = put(&mut reassembler, 0, false, sent(5, 6, true));
    assert_eq!(got.lost, [(DropReason::FragmentFlood, 5), (DropReason::FragmentFlood, 1)]);
}

#[test]
fn a_flood_from_one_address_costs_only_that_address() {
    let mut reassembler = Tested::new(SMALL);
    let mut flood = 0u16;
    let mut lost = 0;
    for round in 0..200 {
        // A good datagram of four pieces, with a hundred bad fragments between each of them.
        for (at, more) in [(0, true), (1, true), (2, true), (3, false)] {
            for _ in 0..100 {
                flood = flood.wrapping_add(1);
                let bad = Sent { source: 66, id: flood, ..sent(2, 3, true) };
                let got = put(&mut reassembler, round, false, bad);
                assert!(
                    got.whole.is_empty() && got.lost.iter().all(|(reason, _)| *reason == DropReason::FragmentFlood)
                );
                lost += got.lost.iter().map(|(_, count)| count).sum::<u64>();
                assert!(reassembler.waiting.len() <= SMALL.datagrams && reassembler.pieces <= SMALL.pieces);
            }
            let got = put(&mut reassembler, round, false, Sent { id: round as u16, ..sent(at, at + 1, more) });
            let expected = if more { vec![] } else { vec![4] };
            assert_eq!(got.whole, expected, "round {round}");
            lost += got.lost.iter().map(|(_, count)| count).sum::<u64>();
        }
    }
    assert_eq!(lost + reassembler.pieces as u64, 200 * 4 * 100);
}

#[test]
fn a_flood_from_many_addresses_makes_the_oldest_go() {
    let mut reassembler = Tested::new(SMALL);
    for source in 0..100u8 {
        let got = put(&mut reassembler, 0, false, Sent { source, ..sent(0, 2, true) });
        assert_eq!(got.lost.len(), usize::from(source >= 8));
        // Whoever is quick enough gets through.
        let got = put(&mut reassembler, 0, false, Sent { source, ..sent(2, 3, false) });
        assert_eq!(got.whole, [2], "{source}");
        put(&mut reassembler, 0, false, Sent { source, id: 8, ..sent(0, 2, true) });
    }
    assert!(reassembler.waiting.len() == SMALL.datagrams && reassembler.held.len() == SMALL.datagrams);
}

#[test]
fn refused_datagrams_do_not_keep_others_out() {
    let mut reassembler = Tested::new(SMALL);
    for id in 0..100 {
        put(&mut reassembler, 0, false, Sent { source: 66, id, ..sent(0, 2, true) });
        put(&mut reassembler, 0, false, Sent { source: 66, id, ..sent(1, 2, true) });
    }
    assert!(reassembler.waiting.len() <= SMALL.datagrams);
    put(&mut reassembler, 0, false, sent(0, 2, true));
    for id in 100..200 {
        put(&mut reassembler, 0, false, Sent { source: 66, id, ..sent(0, 2, true) });
        put(&mut reassembler, 0, false, Sent { source: 66, id, ..sent(1, 2, true) });
    }
    assert_eq!(put(&mut reassembler, 0, false, sent(2, 3, false)).whole, [2]);
}

/// Octet by octet: what a fragment does to the datagram it belongs to.
#[derive(Default)]
struct Slow {
    octets: Vec<Option<u8>>,
    places: HashSet<(usize, usize, bool)>,
    end: Option<usize>,
    refused: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Fate {
    Held,
    Whole,
    /// It alone, or with all that was held.
    Dropped,
    Refused,
}

impl Slow {
    fn put(&mut self, sent: Sent) -> Fate {
        if self.refused {
            return Fate::Dropped;
        }
        let Sent { from, to, more, salt, .. } = sent;
        let new = |at: usize| (at as u8).wrapping_add(salt);
        self.octets.resize(self.octets.len().max(to * 8), None);
        let taken = (from * 8..to * 8).filter(|at| self.octets[*at].is_some()).count();
        let same = (from * 8..to * 8).all(|at| self.octets[at] == Some(new(at)));
        if taken > 0 {
            if same && self.places.contains(&(from, to, more)) {
                return Fate::Dropped;
            }
            self.refused = true;
            return Fate::Refused;
        }
        (from * 8..to * 8).for_each(|at| self.octets[at] = Some(new(at)));
        self.places.insert((from, to, more));
        let filled = self.octets.iter().rposition(Option::is_some).map_or(0, |at| at + 1);
        let ends: HashSet<usize> = self.places.iter().filter(|place| !place.2).map(|place| place.1 * 8).collect();
        let beyond = self.places.iter().any(|place| place.2 && ends.contains(&(place.1 * 8)));
        self.end = ends.iter().next().copied();
        if ends.len() > 1 || beyond || self.end.is_some_and(|end| end < filled) {
            self.refused = true;
            return Fate::Refused;
        }
        let complete = self.end.is_some_and(|end| (0..end).all(|at| self.octets[at].is_some()));
        if complete { Fate::Whole } else { Fate::Held }
    }
}

/// Of datagrams: most small, some large.
fn lengths() -> impl Strategy<Value = usize> {
    prop_oneof![6 => 100usize..1900, 1 => 1900usize..65_495, 1 => 65_400usize..=65_495]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// The same with large fragments: those that would end beyond 65,535 octets are refused by themselves.
    #[test]
    fn agrees_with_the_slow_one_on_large_fragments(is_v6: bool, sent in proptest::collection::vec(
        (0usize..9, 1usize..5, any::<bool>(), 0u8..8), 1..24,
    )) {
        const SCALE: usize = 909;
        let mut reassembler = Tested::new(Limits::default());
        let mut slow = Slow::default();
        for (from, len, more, salt) in sent {
            let to = (from + len) * SCALE;
            let sent = Sent { source: 1, id: 7, from: from * SCALE, to, more, salt: u8::from(salt == 0) };
            if !more && from == 0 { continue; }
            let before = slow.places.len() as u64;
            let counted = if is_v6 { 0 } else { 20 };
            let beyond = counted + to * 8 > 65_535;
            let expected = if beyond { Fate::Dropped } else { slow.put(sent) };
            let got = put(&mut reassembler, 0, is_v6, sent);
            let dropped = got.lost.iter().map(|(_, count)| count).sum::<u64>();
            match expected {
                Fate::Held => prop_assert_eq!(&got, &Happened::default()),
                Fate::Whole => {
                    prop_assert_eq!((&got.whole[..], dropped), (&[slow.places.len()][..], 0));
                    slow = Slow::default();
                }
                Fate::Dropped => prop_assert_eq!((got.whole.len(), dropped), (0, 1)),
                Fate::Refused => prop_assert_eq!((got.whole.len(), dropped), (0, before + 1)),
            }
        }
    }
}

proptest! {
    /// Any fragments of a few datagrams in any order, against the slow oracle; and no packet is lost without count.
    #[test]
    fn agrees_with_the_slow_one(is_v6: bool, sent in proptest::collection::vec(
        (1u8..3, 0u16..3, 0usize..6, 1usize..4, any::<bool>(), 0u8..8), 1..60,
    )) {
        let mut reassembler = Tested::new(Limits::default());
        let mut slow: HashMap<(u8, u16), Slow> = HashMap::new();
        let (mut accounted, mut number) = (0, 0);
        for (source, id, from, len, more, salt) in sent {
            let sent = Sent { source, id, from, to: from + len, more, salt: u8::from(salt == 0) };
            if !more && from == 0 { continue; }
            number += 1;
            let model = slow.entry((source, id)).or_default();
            let before = model.places.len() as u64;
            let expected = model.put(sent);
            let got = put(&mut reassembler, 0, is_v6, sent);
            let dropped = got.lost.iter().map(|(_, count)| count).sum::<u64>();
            match expected {
                Fate::Held => prop_assert_eq!(&got, &Happened::default()),
                Fate::Whole => {
                    prop_assert_eq!((&got.whole[..], dropped), (&[model.places.len()][..], 0));
                    slow.remove(&(source, id));
                }
                Fate::Dropped => prop_assert_eq!((got.whole.len(), dropped), (0, 1)),
                Fate::Refused => {
                    prop_assert_eq!((got.whole.len(), dropped), (0, before + 1));
                }
            }
            accounted += dropped + got.whole.iter().sum::<usize>() as u64;
            prop_assert_eq!(accounted + reassembler.pieces as u64, number);
            prop_assert_eq!(reassembler.held.values().sum::<usize>(), reassembler.pieces);
        }
        reassembler.handle_timeout(31 * SECOND);
        accounted += happened(&mut reassembler).lost.iter().map(|(_, count)| count).sum::<u64>();
        prop_assert_eq!(accounted, number);
        prop_assert!(reassembler.waiting.is_empty() && reassembler.numbers.is_empty() && reassembler.held.is_empty());
    }

    /// What was split comes together in any order, some pieces twice, several datagrams at once.
    #[test]
    fn whatever_the_order(is_v6: bool, lens in proptest::collection::vec(lengths(), 1..5),
                          mtu in 140usize..700, order in proptest::collection::vec(any::<u32>(), 197)) {
        let longest = lens.iter().copied().max().unwrap_or(0);
        let mtu = mtu.max(longest / 100 + 64);
        let wholes: Vec<Vec<u8>> = lens.iter().enumerate().map(|(id, len)| {
            let data = vec![id as u8; *len];
            if is_v6 {
                let header = ipv6::Repr::new([1; 16].into(), [2; 16].into(), protocol::UDP, *len as u16);
                [&header.to_bytes()[..], &data].concat()
            } else {
                let header = ipv4::Repr::new([10, 0, 0, 1].into(), [10, 0, 0, 2].into(), protocol::UDP, *len as u16);
                [&ipv4::Repr { identification: id as u16, ..header }.to_bytes()[..], &data].concat()
            }
        }).collect();
        let buffer = || Some(VecBuffer::new(&[]));
        let mut pieces: Vec<VecBuffer> = Vec::new();
        for (id, whole) in wholes.iter().enumerate() {
            let whole = VecBuffer::new(whole);
            let split = if is_v6 { split_v6(whole, mtu, id as u32) } else { split_v4(whole, mtu) };
            pieces.extend(split.unwrap().all(buffer).unwrap());
        }
        let mut pieces: Vec<_> = {
            let orders = order.iter().cycle().enumerate().map(|(at, order)| order.rotate_left(at as u32 / 197));
            pieces.into_iter().zip(orders).collect()
        };
        pieces.sort_by_key(|(_, order)| *order);
        let mut reassembler = Tested::new(Limits { pieces_per_source: 1024, ..Limits::default() });
        let mut joined = Vec::new();
        for (piece, order) in pieces {
            let before = joined.len();
            for _ in 0..1 + order % 2 {
                // What comes again after the last begins anew, and is another test's.
                if joined.len() > before { break; }
                reassembler.handle_fragment(0, 0, PORT, piece.clone());
                while let Some(whole) = reassembler.poll_whole() {
                    let whole = join(whole.pieces.into_iter().map(|(_, piece)| piece), VecBuffer::large).unwrap();
                    joined.push(whole.data().to_vec());
                }
            }
            while let Some((reason, _)) = reassembler.poll_lost() {
                prop_assert_eq!(reason, DropReason::FragmentDuplicate);
            }
        }
        joined.sort();
        let mut wholes = wholes;
        wholes.sort();
        prop_assert_eq!(joined, wholes);
    }

    #[test]
    fn any_bytes(mut packets in proptest::collection::vec((proptest::collection::vec(any::<u8>(), 1..120), any::<bool>()), 1..20)) {
        let mut reassembler = Tested::new(SMALL);
        for (bytes, six) in &mut packets {
            bytes[0] = if *six { 0x60 } else { 0x45 };
            let len = bytes.len() as u16;
            let (at, len) = if *six { (4, len.saturating_sub(40)) } else { (2, len) };
            if let Some(field) = bytes.get_mut(at..at + 2) { field.copy_from_slice(&len.to_be_bytes()); }
            if *six && let Some(next) = bytes.get_mut(6) { *next = protocol::FRAGMENT; }
            reassembler.handle_fragment(0, 0, PORT, VecBuffer::new(bytes));
        }
    }
}
