//! Outbound.

use super::key::{Cipher, Key, Transform};
use culvert_engine::{
    EspFields, EspParts, Job, MAX_ICV, additional_data, counter_block, gmac_data, high_half, iv, nonce,
};
use culvert_model::IpsecProtocol;
use ipsec_mb::{Aead, KeySchedule, Manager, Task};

#[inline]
pub(super) fn gcm(manager: &mut Manager, key: &KeySchedule, job: &mut Job<'_, Key>) -> Option<()> {
    if job.key.is_usual {
        let (aad, aad_len) = additional_data(*job.data.first_chunk()?, job.sequence, job.esn);
        let (rest, tag) = job.data.split_last_chunk_mut::<16>()?;
        let (head, payload) = rest.split_first_chunk_mut::<16>()?;
        let iv = iv(job.sequence);
        *head.last_chunk_mut()? = iv;
        manager.seal(key, &nonce(*job.key.salt, iv), aad.get(..aad_len)?, payload, tag);
        return Some(());
    }
    let (aad, aad_len) = additional_data(*job.data.first_chunk()?, job.sequence, job.esn);
    let fields = EspFields::of(job.key.suite, job.data)?;
    // An implicit IV (RFC 8750 §4) has no place in the packet.
    if let Some(place) = fields.iv.first_chunk_mut() {
        *place = iv(job.sequence);
    }
    let mut tag = [0; 16];
    manager.seal(key, &nonce(*job.key.salt, iv(job.sequence)), aad.get(..aad_len)?, fields.payload, &mut tag);
    fields.icv.copy_from_slice(tag.get(..fields.icv.len())?);
    Some(())
}

pub(super) fn gmac(manager: &mut Manager, key: &KeySchedule, job: &mut Job<'_, Key>) -> Option<()> {
    *EspFields::of(job.key.suite, job.data)?.iv.first_chunk_mut()? = iv(job.sequence);
    let places = EspParts::of(job.key.suite, job.data.len())?;
    let (packet, icv) = job.data.split_at_mut_checked(places.icv.start)?;
    let (head, rest) = gmac_data(packet, job.sequence, job.esn)?;
    let parts = [head.as_slice().as_flattened(), rest];
    icv.copy_from_slice(&manager.gmac(key, &nonce(*job.key.salt, iv(job.sequence)), parts));
    Some(())
}

/// RFC 4543 §4: the IV comes before the ICV.
pub(super) fn ah_gmac(manager: &mut Manager, key: &KeySchedule, job: &mut Job<'_, Key>) -> Option<()> {
    let iv = iv(job.sequence);
    let tag = manager.gmac(key, &nonce(*job.key.salt, iv), [job.data, &[]]);
    *job.icv.first_chunk_mut()? = iv;
    *job.icv.get_mut(iv.len()..)?.first_chunk_mut()? = tag;
    Some(())
}

/// Where the outcome of a task goes.
pub(super) struct Sealed<'a> {
    icv_len: usize,
    /// AH's ICV; ESP's is in the data.
    ah: Option<&'a mut [u8; MAX_ICV]>,
    ok: &'a mut bool,
}

impl Sealed<'_> {
    pub fn finish(self, task: Task<'_>) {
        let Some((data, tag)) = task.finish() else { return };
        let Some(tag) = tag.get(..self.icv_len) else { return };
        let place = match self.ah {
            Some(icv) => icv.first_chunk_mut::<MAX_ICV>().and_then(|icv| icv.get_mut(..self.icv_len)),
            None => data.len().checked_sub(self.icv_len).and_then(|start| data.get_mut(start..)),
        };
        if let Some(place) = place {
            place.copy_from_slice(tag);
            *self.ok = true;
        }
    }
}

/// What runs beside others. `None` where the packet is too short.
pub(super) fn task<'a>(job: &'a mut Job<'_, Key>) -> Option<(Task<'a>, Sealed<'a>)> {
    let Job { key, sequence, esn, data, icv, ok } = job;
    let (key, sequence, esn): (&Key, _, _) = (key, *sequence, *esn);
    let data: &mut [u8] = data;
    let ah = (key.suite.protocol() == IpsecProtocol::Ah).then_some(icv);
    let sealed = Sealed { icv_len: key.suite.icv_len(), ah, ok };
    let task = match &key.transform {
        Transform::Ah(mac) => {
            let whole = 0..data.len();
            Task::mac(data, mac, whole)
        }
        Transform::Esp { cipher, mac } => {
            let places = EspParts::of(key.suite, data.len())?;
            let mut authenticated = 0..places.icv.start;
            if let Some(high) = high_half(sequence, esn) {
                // Behind the payload, where the ICV will be once it is read (RFC 4303 §3.3.2.1).
                *data.get_mut(places.icv.start..)?.first_chunk_mut()? = high;
                authenticated.end += high.len();
            }
            match cipher {
                None => Task::mac(data, mac, authenticated),
                Some(Cipher::Cbc(aes)) => {
                    // The number is encrypted as a block before the first (NIST SP 800-38A Appendix C): what comes of it is
                    // the IV, never the same twice, and unpredictable for who has no key.
                    let block = data.get_mut(places.iv.clone())?.first_chunk_mut::<16>()?;
                    *block = u128::from(u64::from_be_bytes(iv(sequence))).to_be_bytes();
                    let cipher = ipsec_mb::Cipher::Cbc { key: aes, iv: [0; 16] };
                    Task::encrypt_then_mac(data, cipher, places.iv.start..places.payload.end, mac, authenticated)
                }
                Some(Cipher::Ctr(aes)) => {
                    *data.get_mut(places.iv)?.first_chunk_mut()? = iv(sequence);
                    let cipher = ipsec_mb::Cipher::Ctr { key: aes, counter: counter_block(*key.salt, iv(sequence)) };
                    Task::encrypt_then_mac(data, cipher, places.payload, mac, authenticated)
                }
            }
        }
        Transform::Ccm(_) | Transform::ChaCha20Poly1305(_) => {
            let places = EspParts::of(key.suite, data.len())?;
            if let Some(place) = data.get_mut(places.iv)?.first_chunk_mut() {
                *place = iv(sequence);
            }
            let (aad, aad_len) = additional_data(*data.first_chunk()?, sequence, esn);
            Task::seal(data, aead(key, iv(sequence))?, aad.get(..aad_len)?, places.payload)
        }
        Transform::Gcm(_) | Transform::Gmac(_) | Transform::AhGmac(_) | Transform::Rust(_) => None,
    };
    Some((task?, sealed))
}

/// With the nonce of this packet.
pub(super) fn aead(key: &Key, iv: [u8; 8]) -> Option<Aead<'_>> {
    let nonce = nonce(*key.salt, iv);
    match &key.transform {
        Transform::Ccm(aes) => Some(Aead::Ccm { key: aes, nonce: *nonce.last_chunk()?, tag_len: key.suite.icv_len() }),
        Transform::ChaCha20Poly1305(key) => Some(Aead::ChaCha20Poly1305 { key, nonce }),
        _ => None,
    }
}
