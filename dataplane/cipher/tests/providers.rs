//! Two implementations by different people agree on every suite, and see every wrong bit.
#![cfg(feature = "ipsec-mb")]

use culvert_cipher::{MultiBuffer, Provider, RustCrypto};
use culvert_engine::{Crypto, EspParts, Job, KeyError, MAX_ICV};
use culvert_model::{IpsecProtocol, Suite};
use proptest::prelude::*;

/// Octets that look like anything, the same in each run.
fn octets(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..len).map(|_| next()).collect()
}

fn key<C: Crypto>(suite: Suite) -> C::Key {
    C::key(suite, &octets(7, suite.key_len())).expect("a key")
}

/// A packet as a gateway has it: what the cipher is given, and AH's ICV field.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Packet {
    suite: Suite,
    sequence: u64,
    esn: bool,
    data: Vec<u8>,
    icv: [u8; MAX_ICV],
}

impl Packet {
    /// With so many octets behind the IV.
    fn new(suite: Suite, len: usize, sequence: u64, esn: bool) -> Self {
        let len = if suite.alignment() == 16 { len.next_multiple_of(16) } else { len };
        let data = octets(len as u64 ^ sequence, 8 + suite.iv_len() + len + suite.icv_len());
        Self { suite, sequence: if esn { sequence } else { sequence & 0xffff_ffff }, esn, data, icv: [0; MAX_ICV] }
    }

    fn payload(&self) -> &[u8] {
        match self.suite.protocol() {
            IpsecProtocol::Ah => &self.data,
            IpsecProtocol::Esp => &self.data[EspParts::of(self.suite, self.data.len()).expect("long enough").payload],
        }
    }
}

#[derive(Clone, Copy)]
enum Way {
    Seal,
    Open,
}

/// What the provider says of each.
fn run<C: Provider>(way: Way, packets: &mut [Packet]) -> Vec<bool> {
    let keys: Vec<C::Key> = packets.iter().map(|packet| key::<C>(packet.suite)).collect();
    let mut jobs: Vec<Job<'_, C::Key>> = keys
        .iter()
        .zip(packets.iter_mut())
        .map(|(key, packet)| {
            let Packet { sequence, esn, data, icv, .. } = packet;
            Job { key, sequence: *sequence, esn: *esn, data, icv: *icv, ok: false }
        })
        .collect();
    match way {
        Way::Seal => C::for_thread().seal_burst(&mut jobs),
        Way::Open => C::for_thread().open_burst(&mut jobs),
    }
    let outcome: Vec<(bool, [u8; MAX_ICV])> = jobs.iter().map(|job| (job.ok, job.icv)).collect();
    for (packet, (_, icv)) in packets.iter_mut().zip(&outcome) {
        packet.icv = *icv;
    }
    outcome.into_iter().map(|(ok, _)| ok).collect()
}

/// Both seal the same octets, and each opens what the other sealed.
fn agree(packets: &[Packet]) {
    let [mut by_library, mut in_rust] = [packets.to_vec(), packets.to_vec()];
    assert_eq!(run::<MultiBuffer>(Way::Seal, &mut by_library), vec![true; packets.len()]);
    assert_eq!(run::<RustCrypto>(Way::Seal, &mut in_rust), vec![true; packets.len()]);
    for (a, b) in by_library.iter().zip(&in_rust) {
        assert_eq!(a, b, "{}, {} octets", a.suite, a.data.len());
    }
    assert_eq!(run::<MultiBuffer>(Way::Open, &mut in_rust), vec![true; packets.len()]);
    assert_eq!(run::<RustCrypto>(Way::Open, &mut by_library), vec![true; packets.len()]);
    for (i, plain) in packets.iter().enumerate() {
        assert_eq!(in_rust[i].payload(), plain.payload(), "{} by intel-ipsec-mb", plain.suite);
        assert_eq!(by_library[i].payload(), plain.payload(), "{} in Rust", plain.suite);
    }
}

#[test]
fn providers_agree_on_every_suite_at_every_length() {
    for suite in Suite::all() {
        for esn in [false, true] {
            let lengths = (0..330).chain([511, 512, 513, 1023, 1400, 1424, 1500, 1600, 9000, 32_768, 65_000, 65_400]);
            let packets: Vec<Packet> = lengths.map(|len| Packet::new(suite, len, 3 << 32 | 0xfedc_ba98, esn)).collect();
            agree(&packets);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// Any suites, lengths and numbers, in one burst.
    #[test]
    fn providers_agree_on_mixed_bursts(
        packets in prop::collection::vec((0..80usize, 0..1700usize, any::<u64>(), any::<bool>()), 1..150)
    ) {
        let suites: Vec<Suite> = Suite::all().collect();
        assert_eq!(suites.len(), 80);
        let packets: Vec<Packet> =
            packets.iter().map(|(suite, len, number, esn)| Packet::new(suites[*suite], *len, *number, *esn)).collect();
        agree(&packets);
    }

    /// Packets of any length that nobody sealed: both refuse them, and neither panics.
    #[test]
    fn neither_opens_what_nobody_sealed(suite in 0..80usize, len in 0..200usize, number: u64, esn: bool) {
        let suite = Suite::all().nth(suite).expect("one of 80");
        let forged = Packet { suite, sequence: number, esn, data: octets(number, len), icv: [1; MAX_ICV] };
        prop_assert_eq!(run::<MultiBuffer>(Way::Open, &mut [forged.clone()]), [false]);
        prop_assert_eq!(run::<RustCrypto>(Way::Open, &mut [forged]), [false]);
    }
}

/// Whoever seals gives whole blocks; a packet that is too short, or half a block, is refused by both alike.
#[test]
fn both_refuse_to_seal_the_same() {
    for suite in Suite::all().filter(|suite| suite.protocol() == IpsecProtocol::Esp) {
        let packets: Vec<Packet> = (0..90)
            .map(|len| Packet { suite, sequence: 9, esn: true, data: octets(1, len), icv: [0; MAX_ICV] })
            .collect();
        let by_library = run::<MultiBuffer>(Way::Seal, &mut packets.clone());
        let in_rust = run::<RustCrypto>(Way::Seal, &mut packets.clone());
        assert_eq!(by_library, in_rust, "{suite}");
        assert_eq!(by_library[8 + suite.iv_len() + suite.icv_len() - 1..][..2], [false, true], "{suite}");
    }
}

#[test]
fn every_wrong_bit_is_seen() {
    for suite in Suite::all() {
        let mut sealed = [Packet::new(suite, 32, 3 << 32 | 9, true)];
        assert_eq!(run::<MultiBuffer>(Way::Seal, &mut sealed), [true]);
        let [sealed] = sealed;
        let aead = suite.encryption().is_some_and(|cipher| cipher.is_aead() && !suite.to_string().contains("gmac"));
        // The lower half of an AEAD's number is what the job says: inbound reads it from the packet.
        let unread = |bit: usize| aead && (32..64).contains(&bit);
        let mut wrong: Vec<Packet> = (0..sealed.data.len() * 8)
            .filter(|bit| !unread(*bit))
            .map(|bit| {
                let mut wrong = sealed.clone();
                wrong.data[bit / 8] ^= 1 << (bit % 8);
                wrong
            })
            .collect();
        match suite.protocol() {
            IpsecProtocol::Ah => wrong.extend((0..suite.icv_field() * 8).map(|bit| {
                let mut wrong = sealed.clone();
                wrong.icv[bit / 8] ^= 1 << (bit % 8);
                wrong
            })),
            IpsecProtocol::Esp => {
                wrong.extend((32..64).map(|bit| Packet { sequence: sealed.sequence ^ 1 << bit, ..sealed.clone() }));
                wrong.push(Packet { esn: false, ..sealed.clone() });
            }
        }
        // A right one among them, which must not suffer.
        let place = wrong.len() / 2;
        wrong.insert(place, sealed);
        for (i, ok) in run::<MultiBuffer>(Way::Open, &mut wrong).into_iter().enumerate() {
            assert_eq!(ok, i == place, "{suite}: forgery {i}");
        }
    }
}

#[test]
fn a_key_of_the_wrong_length_is_refused() {
    for suite in Suite::all() {
        for found in [0, suite.key_len() - 1, suite.key_len() + 1] {
            let error = MultiBuffer::key(suite, &vec![0; found]).err();
            assert_eq!(error, Some(KeyError::Length { expected: suite.key_len(), found }), "{suite}");
        }
    }
}

#[test]
fn nothing_is_allocated_per_packet() {
    let mut packets: Vec<Packet> = Suite::all().map(|suite| Packet::new(suite, 320, 1, true)).collect();
    let keys: Vec<_> = packets.iter().map(|packet| key::<MultiBuffer>(packet.suite)).collect();
    let mut jobs: Vec<_> = keys
        .iter()
        .zip(&mut packets)
        .map(|(key, packet)| Job { key, sequence: 1, esn: true, data: &mut packet.data, icv: [0; MAX_ICV], ok: false })
        .collect();
    let mut cipher = MultiBuffer::for_thread();
    let allocations = allocation_counter::measure(|| {
        cipher.seal_burst(&mut jobs);
        assert!(jobs.iter().all(|job| job.ok));
        cipher.open_burst(&mut jobs);
        assert!(jobs.iter().all(|job| job.ok));
    });
    assert_eq!(allocations.count_total, 0);
}

#[test]
fn it_says_what_it_is() {
    assert!(MultiBuffer::for_thread().describe().starts_with("intel-ipsec-mb "));
    assert_eq!(RustCrypto::for_thread().describe(), "RustCrypto");
}
