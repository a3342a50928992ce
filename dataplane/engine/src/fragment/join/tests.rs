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
    let pieces = if is_v6 { split_v6(packet, 400, 9, buffer) } else { split_v4(packet, 400, buffer) };
    pieces.unwrap().into_iter().collect()
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
fn the_first_buffer_must_have_the_room() {
    for is_v6 in [false, true] {
        let mut pieces = pieces(is_v6, 0);
        pieces[0] = VecBuffer::with_room(pieces[0].data(), 0, 500);
        assert_eq!(join(pieces).map(|_| ()), Err(DropReason::FragmentOversized));
    }
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
