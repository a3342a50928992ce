use super::*;
use crate::fragment::split::{split_v4, split_v6};
use crate::testing::VecBuffer;
use culvert_wire::protocol;

fn buffer() -> Option<VecBuffer> {
    Some(VecBuffer::new(&[]))
}

fn whole(is_v6: bool, tos: u8, len: usize) -> Vec<u8> {
    let data: Vec<u8> = (0..len).map(|at| at as u8).collect();
    let header = if is_v6 {
        let header = ipv6::Repr::new([1; 16].into(), [2; 16].into(), protocol::ESP, len as u16);
        ipv6::Repr { traffic_class: tos, ..header }.to_bytes().to_vec()
    } else {
        let header = ipv4::Repr::new([10, 0, 0, 1].into(), [10, 0, 0, 2].into(), protocol::ESP, len as u16);
        ipv4::Repr { tos, identification: 7, ..header }.to_bytes().to_vec()
    };
    [header, data].concat()
}

fn pieces(is_v6: bool, tos: u8) -> Vec<VecBuffer> {
    let packet = VecBuffer::new(&whole(is_v6, tos, 1000));
    if is_v6 { split_v6(packet, 400, 9) } else { split_v4(packet, 400) }.unwrap().all(buffer).unwrap()
}

fn join(pieces: impl IntoIterator<Item = VecBuffer>) -> Result<VecBuffer, DropReason> {
    super::join(pieces, |_| None)
}

fn mark(piece: &mut VecBuffer, is_v6: bool, tos: u8) {
    if is_v6 {
        ipv6::set_traffic_class(piece.data_mut(), tos)
    } else {
        ipv4::set_tos(piece.data_mut(), tos)
    };
}

#[test]
fn marks_of_the_pieces_meet() {
    // RFC 3168 §5.3: first, second, and what the whole gets.
    let table = [
        (0, 0, Ok(0)),
        (0xb8 | 2, 0xb8 | 2, Ok(0xb8 | 2)),
        (2, 3, Ok(3)),
        (3, 2, Ok(3)),
        (1, 3, Ok(3)),
        (1, 2, Ok(1)),
        (0, 2, Ok(0)),
        (0, 3, Err(DropReason::CongestionMarked)),
        (3, 0, Err(DropReason::CongestionMarked)),
    ];
    for is_v6 in [false, true] {
        for (first, second, expected) in table {
            let mut pieces = pieces(is_v6, first);
            mark(&mut pieces[1], is_v6, second);
            let joined = join(pieces).map(|whole| whole.data().to_vec());
            assert_eq!(joined, expected.map(|tos| whole(is_v6, tos, 1000)), "{first} {second}");
        }
    }
}

#[test]
fn where_the_first_buffer_has_no_room_a_large_one_is_asked_for() {
    for is_v6 in [false, true] {
        let whole = whole(is_v6, 0, 1000);
        let mut pieces = pieces(is_v6, 0);
        pieces[0] = VecBuffer::with_room(pieces[0].data(), 0, 500);
        assert_eq!(join(pieces.clone()).map(|_| ()), Err(DropReason::NoLargeBuffer));
        let mut asked = 0;
        let joined = super::join(pieces, |len| {
            asked = len;
            VecBuffer::large(len)
        });
        assert_eq!((joined.unwrap().data(), asked), (&whole[..], whole.len()));
    }
}

#[test]
fn the_first_one_with_options_may_make_it_too_long() {
    // Each by itself may stand where it stands: 60 + 65,515 octets.
    let piece = |offset: u16, more: bool, header_len: usize, len: usize| {
        let total = (header_len - 20 + len) as u16;
        let header = ipv4::Repr::new([10, 0, 0, 1].into(), [10, 0, 0, 2].into(), protocol::UDP, total);
        let header = ipv4::Repr { fragment_offset: offset, more_fragments: more, ..header };
        let mut packet = [&header.to_bytes()[..], &vec![0; header_len - 20 + len]].concat();
        packet[0] = 0x40 | (header_len / 4) as u8;
        VecBuffer::new(&packet)
    };
    let end = |header_len| [piece(0, true, header_len, 32_000), piece(32_000, false, 20, 33_515)];
    assert_eq!(super::join(end(60), VecBuffer::large).map(|_| ()), Err(DropReason::FragmentOversized));
    assert_eq!(super::join(end(20), VecBuffer::large).unwrap().data().len(), 65_535);
}

#[test]
fn nothing_and_nonsense() {
    assert_eq!(join(Vec::<VecBuffer>::new()).map(|_| ()), Err(DropReason::FragmentMalformed));
    for bytes in [&[][..], &[0x45], &[0x60; 10], &[0x45; 30]] {
        let pieces = [bytes, bytes].map(VecBuffer::new);
        assert_eq!(join(pieces).map(|_| ()), Err(DropReason::FragmentMalformed), "{bytes:?}");
    }
}

#[test]
fn an_atomic_fragment_loses_its_header() {
    let packet = whole(true, 0, 100);
    let mut atomic = packet.clone();
    let fragment = ipv6::Fragment { next_header: protocol::ESP, offset: 0, more: false, identification: 5 };
    atomic.splice(40..40, fragment.to_bytes());
    (atomic[6], atomic[5]) = (protocol::FRAGMENT, 108);
    assert_eq!(join([VecBuffer::new(&atomic)]).unwrap().data(), packet);
}
