//! Every suite, in every mode and family, with and without ESN and UDP encapsulation.

use super::*;

/// Two lengths for each case, so that those of one suite go through every residue of its padding, and beyond a block.
fn lengths(case: usize) -> [usize; 2] {
    [case % 19, if case.is_multiple_of(5) { 1300 } else { 19 + case % 67 }]
}

/// What an answer of the oracle should be.
enum Want {
    Inside(Vec<u8>),
    Refusal,
}

#[test]
fn what_the_engine_seals_scapy_opens() {
    let mut questions = Questions::new();
    for (number, case) in Case::all().into_iter().enumerate() {
        let (mut gateway, sa) = sender(case, Handling::default());
        let packets = case.families().iter().flat_map(|v6| lengths(number).map(|len| (*v6, len)));
        for (sequence, (v6, len)) in (case.before() + 1..).zip(packets) {
            let sent = packet_for(case, v6, true, len);
            let wire = send(&mut gateway, case.mode, &sent);
            let wire = wire.unwrap_or_else(|| panic!("{case:?}, {len} octets, IPv6 {v6}: not sealed"));
            let what = (case, len);
            // The oracle must be able to say no: to one bit, and to another epoch.
            let mut bent = wire.clone();
            let from_end = if number.is_multiple_of(2) { 1 } else { case.suite.icv_len() + 1 };
            let at = bent.len() - from_end;
            bent[at] ^= 1 << (number % 8);
            questions.open(&[words(&sa, sequence)], &bent, (what, Want::Refusal));
            if case.esn {
                questions.open(&[words(&sa, sequence + (1 << 32))], &wire, (what, Want::Refusal));
            }
            questions.open(&[words(&sa, sequence)], &wire, (what, Want::Inside(after(case.mode, sent))));
        }
        assert_eq!(gateway.all_drops(), 0, "{case:?}");
    }
    for ((what, want), answer) in questions.answers() {
        match want {
            Want::Inside(inside) => assert_eq!(answer.map(|octets| hex(&octets)), Some(hex(&inside)), "{what:?}"),
            Want::Refusal => assert_eq!(answer, None, "{what:?}"),
        }
    }
}

#[test]
fn what_scapy_seals_the_engine_opens() {
    let mut questions = Questions::new();
    for (number, case) in Case::all().into_iter().enumerate() {
        let (gateway, sa) = receiver(case, Handling::default());
        let mut gateway = Some(gateway);
        let packets: Vec<_> = case.families().iter().flat_map(|v6| lengths(number).map(|len| (*v6, len))).collect();
        for (sequence, (v6, len)) in (case.before() + 1..).zip(packets) {
            let sent = packet_for(case, v6, false, len);
            questions.seal(&[words(&sa, sequence)], &sent, (gateway.take(), case, sent.clone()));
        }
    }
    let mut current = None;
    for ((gateway, case, sent), sealed) in questions.answers() {
        current = gateway.or(current);
        let gateway = current.as_mut().expect("the first packet of each case brings it");
        let got = receive(gateway, &sealed.expect("nothing to refuse"));
        assert_eq!(got.map(|octets| hex(&octets)), Ok(hex(&after(case.mode, sent))), "{case:?}");
        assert_eq!(gateway.all_drops(), 0, "{case:?}");
    }
}

/// An SA whose other end differs in one thing.
#[derive(Clone, Copy, Debug)]
enum Difference {
    None,
    Esn,
    Key,
    Spi,
    /// 2^32 packets before or after.
    Epoch,
    /// Already received, all but the low half.
    OldEpoch,
}

#[test]
fn what_scapy_seals_wrongly_the_engine_refuses() {
    use Difference::*;
    let mut questions = Questions::new();
    for case in Case::all() {
        for difference in [None, Esn, Key, Spi, Epoch, OldEpoch] {
            if !case.esn && matches!(difference, Epoch | OldEpoch) {
                continue;
            }
            let (gateway, sa) = receiver(case, Handling::default());
            let sent = packet_for(case, case.outer_v6, false, 21);
            let mut other = sa.clone();
            let mut sequence = case.before() + 1;
            match difference {
                None => {}
                Esn => other.esn = !sa.esn,
                Key => other.key = SecretKey::new(sa.key.expose().iter().map(|octet| octet ^ 1).collect()),
                Spi => other.spi = culvert_model::Spi::new(sa.spi.get() ^ 0x4000_0000).unwrap(),
                Epoch => sequence += 1 << 32,
                OldEpoch => sequence -= 1 << 32,
            }
            questions.seal(&[words(&other, sequence)], &sent, (gateway, case, difference));
        }
    }
    for ((mut gateway, case, difference), sealed) in questions.answers() {
        let sealed = sealed.expect("nothing to refuse");
        let got = receive(&mut gateway, &sealed);
        match difference {
            None => {
                got.unwrap_or_else(|reason| panic!("{case:?}: {reason:?}"));
                assert_eq!(receive(&mut gateway, &sealed), Err(DropReason::ReplayDuplicate), "{case:?}");
            }
            // The upper half makes no difference where it is zero on both ends, but to what is authenticated.
            Esn | Key | Epoch | OldEpoch => assert_eq!(got, Err(DropReason::IcvFailed), "{case:?} {difference:?}"),
            Spi => assert_eq!(got, Err(DropReason::UnknownSpi), "{case:?}"),
        }
    }
}
