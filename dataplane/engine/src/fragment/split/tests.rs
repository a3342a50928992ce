use super::*;
use crate::fragment::join::join;
use crate::io::{BURST, LARGEST};
use crate::testing::VecBuffer;
use culvert_wire::{ethernet, testing};
use proptest::prelude::*;

fn buffer() -> Option<VecBuffer> {
    Some(VecBuffer::with_room(&[], 128, 9216))
}

fn captured(hex: &str) -> Vec<u8> {
    testing::bytes(hex)[ethernet::LEN..].to_vec()
}

fn octets(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at ^ at >> 8) as u8).collect()
}

fn v4(len: usize, options: &[u8], change: impl FnOnce(&mut ipv4::Repr)) -> Vec<u8> {
    let mut header =
        ipv4::Repr::new([10, 0, 0, 1].into(), [10, 0, 0, 2].into(), protocol::UDP, (len + options.len()) as u16);
    header.identification = 77;
    change(&mut header);
    let mut packet = [&header.to_bytes_without_checksum()[..], options].concat();
    packet[0] = 0x40 | (packet.len() / 4) as u8;
    let sum = checksum::of(&packet).to_be_bytes();
    packet[10..12].copy_from_slice(&sum);
    packet.extend(octets(len));
    packet
}

/// A UDP packet behind extension headers of 8 octets each.
fn v6(len: usize, headers: &[u8]) -> Vec<u8> {
    let next = |at: usize| headers.get(at).copied().unwrap_or(protocol::UDP);
    let mut body: Vec<u8> = (0..headers.len()).flat_map(|at| [next(at + 1), 0, 1, 4, 0, 0, 0, 0]).collect();
    body.extend(octets(len));
    let header = ipv6::Repr::new([1; 16].into(), [2; 16].into(), next(0), body.len() as u16);
    [&header.to_bytes()[..], &body].concat()
}

fn datas(pieces: Vec<VecBuffer>) -> Vec<Vec<u8>> {
    pieces.into_iter().map(|piece| piece.data().to_vec()).collect()
}

fn split(packet: &[u8], mtu: usize) -> Result<Vec<Vec<u8>>, Error> {
    let packet = VecBuffer::new(packet);
    let is_v6 = packet.data()[0] >> 4 == 6;
    let pieces = if is_v6 { split_v6(packet, mtu, 0x0102_0304) } else { split_v4(packet, mtu) };
    pieces?.all(buffer).map(datas)
}

/// Octet by octet, with no code of the other side: what a receiver makes of IPv4 fragments.
fn slow_v4(pieces: &[Vec<u8>]) -> (Vec<Option<u8>>, bool) {
    let (mut data, mut ended) = (Vec::new(), false);
    for piece in pieces {
        let header_len = usize::from(piece[0] & 15) * 4;
        assert_eq!(usize::from(piece[2]) << 8 | usize::from(piece[3]), piece.len());
        assert!(checksum::Sum::new().add_bytes(&piece[..header_len]).is_valid());
        let at = (usize::from(piece[6] & 0x1f) << 8 | usize::from(piece[7])) * 8;
        ended |= piece[6] & 0x20 == 0;
        data.resize(data.len().max(at + piece.len() - header_len), None);
        for (offset, octet) in piece[header_len..].iter().enumerate() {
            assert_eq!(data[at + offset].replace(*octet), None, "overlap");
        }
    }
    (data, ended)
}

#[test]
fn what_fits_is_left_alone() {
    for packet in [v4(100, &[], |_| {}), v6(100, &[0])] {
        assert_eq!(split(&packet, packet.len()).unwrap(), std::slice::from_ref(&packet));
        assert_eq!(split(&packet, packet.len() - 1).unwrap().len(), 2);
    }
}

#[test]
fn options_go_where_their_flag_says() {
    // Record route (not copied), router alert (copied), no operation.
    let options = [7, 7, 4, 0, 0, 0, 0, 148, 4, 0, 0, 1];
    let pieces = split(&v4(100, &options, |_| {}), 80).unwrap();
    assert_eq!(pieces[0][..1], [0x48]);
    assert_eq!(pieces[0][20..32], options);
    for later in &pieces[1..] {
        assert_eq!((later[0], &later[20..24]), (0x46, &[148, 4, 0, 0][..]));
    }
    let bad = v4(100, &[7, 9, 4, 0], |_| {});
    assert_eq!(split(&bad, 80), Err(Error::Malformed));
}

#[test]
fn a_fragment_is_split_further() {
    let packet = v4(104, &[], |header| (header.fragment_offset, header.more_fragments) = (800, true));
    let pieces = split(&packet, 60).unwrap();
    let places: Vec<_> = pieces
        .iter()
        .map(|piece| {
            let (header, _) = ipv4::Header::parse(piece, ChecksumMode::Verify).unwrap();
            (header.fragment_offset(), header.more_fragments(), header.identification())
        })
        .collect();
    assert_eq!(places, [(800, true, 77), (840, true, 77), (880, true, 77)]);
    let last = v4(104, &[], |header| header.fragment_offset = 800);
    assert!(slow_v4(&split(&last, 60).unwrap()).1);
    let odd = v4(103, &[], |header| header.more_fragments = true);
    assert_eq!(split(&odd, 60), Err(Error::Malformed));
}

#[test]
fn what_cannot_be_split() {
    assert_eq!(split(&v4(100, &[], |_| {}), 27), Err(Error::Mtu(27)));
    assert_eq!(split(&v6(100, &[]), 55), Err(Error::Mtu(55)));
    assert_eq!(split(&v6(100, &[protocol::ROUTING, protocol::DESTINATION_OPTIONS]), 68), Err(Error::Mtu(68)));
    // The header chain of RFC 7112: destination options and the UDP header do not fit into the first.
    assert_eq!(split(&v6(100, &[protocol::DESTINATION_OPTIONS]), 56), Err(Error::Mtu(56)));
    assert_eq!(split(&captured(testing::FRAGMENT_LATER_V6), 100), Err(Error::Malformed));
    assert_eq!(split(&captured(testing::ECHO_REQUEST_V4)[..50], 40), Err(Error::Malformed));
    let of = |packet: &[u8]| split_v4(VecBuffer::new(packet), 60).unwrap();
    let dry = of(&v4(100, &[], |_| {})).all(|| None);
    assert_eq!(dry.map(datas), Err(Error::NoBuffer));
    let tight = of(&v4(100, &[], |_| {})).all(|| Some(VecBuffer::with_room(&[], 0, 30)));
    assert_eq!(tight.map(datas), Err(Error::NoBuffer));
}

#[test]
fn more_pieces_than_a_burst_come_in_several() {
    let packet = v4(8 * (2 * BURST + 1), &[], |_| {});
    let mut pieces = split_v4(VecBuffer::new(&packet), 28).unwrap();
    let lens: Vec<usize> = (0..4).map(|_| pieces.burst(buffer).unwrap().len()).collect();
    assert_eq!(lens, [BURST, BURST, 1, 0]);
    // After an error there are none.
    let mut pieces = split_v4(VecBuffer::new(&packet), 28).unwrap();
    let mut left = BURST + 3;
    let mut some = || {
        left = left.checked_sub(1)?;
        buffer()
    };
    assert_eq!(pieces.burst(&mut some).unwrap().len(), BURST);
    assert_eq!(pieces.burst(&mut some).unwrap_err(), Error::NoBuffer);
    assert!(pieces.burst(buffer).unwrap().is_empty());
}

/// What Scapy makes of the fragments: the packet put together, "different" or nothing.
fn scapy(packets: &[Vec<Vec<u8>>]) -> Option<Vec<Vec<u8>>> {
    const SCRIPT: &str = "
from scapy.layers.inet import IP, defragment
from scapy.layers.inet6 import IPv6, defragment6
for line in sys.stdin:
    pieces = [bytes.fromhex(word) for word in line.split()]
    if pieces[0][0] >> 4 == 6:
        print(bytes(defragment6([IPv6(piece) for piece in pieces])).hex())
    else:
        whole = defragment([IP(piece) for piece in pieces])
        print(bytes(whole[0]).hex() if len(whole) == 1 else 'different')
";
    let lines = packets
        .iter()
        .map(|pieces| pieces.iter().map(|piece| crate::testing::hex(piece)).collect::<Vec<_>>().join(" "));
    crate::testing::scapy(SCRIPT, lines).map(|answers| answers.iter().map(|answer| testing::bytes(answer)).collect())
}

#[test]
fn scapy_puts_the_fragments_together() {
    let wholes = [
        (v4(1400, &[], |_| {}), 576),
        (v4(1401, &[148, 4, 0, 0], |header| header.tos = 0xb8), 300),
        (v6(1400, &[]), 1280),
        (v6(1403, &[0, protocol::ROUTING]), 1280),
        (v6(1407, &[0, protocol::DESTINATION_OPTIONS]), 600),
    ];
    let pieces: Vec<_> = wholes.iter().map(|(whole, mtu)| split(whole, *mtu).unwrap()).collect();
    let Some(answers) = scapy(&pieces) else { return };
    for ((whole, _), answer) in wholes.iter().zip(answers) {
        assert_eq!(answer, *whole);
    }
}

/// Of data: mostly small, some as large as can be, some between.
fn lengths() -> impl Strategy<Value = usize> {
    prop_oneof![4 => 1usize..1900, 1 => 1900usize..65_500, 1 => 65_400usize..65_536]
}

proptest! {
    #[test]
    fn ipv4_pieces_fit_and_fill(len in lengths(), mtu in 28usize..1500, offset in 0u16..1000, more: bool,
                                df: bool, words in 0usize..10) {
        let len = len.min(LARGEST - 20 - 4 * words - 8);
        let len = if more { len.next_multiple_of(8) } else { len };
        let offset = offset.min(((LARGEST - 20 - 4 * words - len) / 8) as u16);
        let options: Vec<u8> = [148, 4, 0, 0].repeat(words);
        let packet = v4(len, &options, |header| {
            (header.fragment_offset, header.more_fragments, header.dont_fragment) = (offset * 8, more, df);
        });
        let pieces = match split(&packet, mtu) {
            Ok(pieces) => pieces,
            Err(error) => { prop_assert!(error == Error::Mtu(mtu) && mtu < 20 + 4 * words + 8); return Ok(()); }
        };
        prop_assert!(pieces.iter().all(|piece| piece.len() <= mtu));
        let (data, ended) = slow_v4(&pieces);
        prop_assert_eq!(ended, !more);
        let expected = [vec![None; usize::from(offset) * 8], octets(len).into_iter().map(Some).collect()].concat();
        prop_assert_eq!(data, expected);
        for piece in &pieces {
            prop_assert_eq!((piece[1], piece[4..6].to_vec(), piece[8..10].to_vec(), piece[12..20].to_vec()),
                            (packet[1], packet[4..6].to_vec(), packet[8..10].to_vec(), packet[12..20].to_vec()));
            prop_assert_eq!(piece[6] & 0x40 != 0, df);
        }
        // No piece could have been saved.
        let unit = (mtu - 20 - 4 * words) & !7;
        prop_assert_eq!(pieces.len(), if packet.len() <= mtu { 1 } else { len.div_ceil(unit) });
    }

    #[test]
    fn whole_packets_come_back(six: bool, len in lengths(), mtu in 300usize..9000, front in 0usize..3) {
        let headers = [&[][..], &[0], &[0, protocol::ROUTING]][front];
        let len = len.clamp(8, LARGEST - 40 - 8 * headers.len());
        let packet = if six { v6(len, headers) } else { v4(len, &[], |_| {}) };
        let pieces = split(&packet, mtu).unwrap();
        prop_assert!(pieces.iter().all(|piece| piece.len() <= mtu));
        let joined = join(pieces.iter().map(|piece| VecBuffer::new(piece)), VecBuffer::large).unwrap();
        prop_assert_eq!(joined.data(), &packet[..]);
    }

    #[test]
    fn any_bytes(mut bytes in proptest::collection::vec(any::<u8>(), 1..300), six: bool, mtu in 0usize..100) {
        bytes[0] = if six { 0x60 } else { 0x40 | bytes[0] & 15 };
        let len = bytes.len() as u16;
        if let Some(field) = bytes.get_mut(2..4) { field.copy_from_slice(&len.to_be_bytes()); }
        if let Some(field) = bytes.get_mut(4..6) { field.copy_from_slice(&len.saturating_sub(40).to_be_bytes()); }
        let before = bytes.len();
        if let Ok(pieces) = split(&bytes, mtu) {
            prop_assert!(pieces.len() == 1 && pieces[0].len() == before || pieces.iter().all(|piece| piece.len() <= mtu));
        }
    }
}
