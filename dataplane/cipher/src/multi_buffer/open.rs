//! Inbound.

use super::key::{Cipher, Key, Transform};
use super::seal::aead;
use culvert_engine::{
    EspFields, EspParts, Job, MAX_ICV, additional_data, counter_block, gmac_data, high_half, iv, nonce,
};
use ipsec_mb::{KeySchedule, Manager, Task};
use subtle::ConstantTimeEq;

#[inline]
pub(super) fn gcm(manager: &mut Manager, key: &KeySchedule, job: &mut Job<'_, Key>) -> Option<bool> {
    if job.key.is_usual {
        let (aad, aad_len) = additional_data(*job.data.first_chunk()?, job.sequence, job.esn);
        let (rest, tag) = job.data.split_last_chunk_mut::<16>()?;
        let (head, payload) = rest.split_first_chunk_mut::<16>()?;
        let nonce = nonce(*job.key.salt, *head.last_chunk()?);
        return Some(manager.open_whole(key, &nonce, aad.get(..aad_len)?, payload, tag));
    }
    let (aad, aad_len) = additional_data(*job.data.first_chunk()?, job.sequence, job.esn);
    let fields = EspFields::of(job.key.suite, job.data)?;
    let iv = fields.iv.first_chunk().copied().unwrap_or_else(|| iv(job.sequence));
    Some(manager.open(key, &nonce(*job.key.salt, iv), aad.get(..aad_len)?, fields.payload, fields.icv))
}

pub(super) fn gmac(manager: &mut Manager, key: &KeySchedule, job: &mut Job<'_, Key>) -> Option<bool> {
    let places = EspParts::of(job.key.suite, job.data.len())?;
    let (packet, icv) = job.data.split_at_checked(places.icv.start)?;
    let iv = *packet.get(places.iv)?.first_chunk()?;
    let (head, rest) = gmac_data(packet, job.sequence, job.esn)?;
    let parts = [head.as_slice().as_flattened(), rest];
    Some(manager.gmac(key, &nonce(*job.key.salt, iv), parts).ct_eq(icv).into())
}

pub(super) fn ah_gmac(manager: &mut Manager, key: &KeySchedule, job: &mut Job<'_, Key>) -> Option<bool> {
    let (iv, rest) = job.icv.split_first_chunk()?;
    let tag = manager.gmac(key, &nonce(*job.key.salt, *iv), [job.data, &[]]);
    Some(tag.ct_eq(rest.get(..tag.len())?).into())
}

/// The ICV that came, and where it is said whether it is right.
pub(super) struct Expected<'a> {
    icv: [u8; MAX_ICV],
    len: usize,
    ok: &'a mut bool,
}

impl Expected<'_> {
    /// In constant time.
    pub fn compare(self, task: Task<'_>) {
        if let Some((_, tag)) = task.finish()
            && let (Some(came), Some(made)) = (self.icv.get(..self.len), tag.get(..self.len))
        {
            *self.ok = came.ct_eq(made).into();
        }
    }
}

/// What makes the ICV anew, beside others; CCM and ChaCha20-Poly1305 decrypt on the way. `None` where the packet is too
/// short.
pub(super) fn task<'a>(job: &'a mut Job<'_, Key>) -> Option<(Task<'a>, Expected<'a>)> {
    let Job { key, sequence, esn, data, icv, ok } = job;
    let (key, sequence, esn): (&Key, _, _) = (key, *sequence, *esn);
    let data: &mut [u8] = data;
    let len = key.suite.icv_len();
    if let Transform::Ah(mac) = &key.transform {
        let whole = 0..data.len();
        return Some((Task::mac(data, mac, whole)?, Expected { icv: *icv, len, ok }));
    }
    let places = EspParts::of(key.suite, data.len())?;
    let mut expected = Expected { icv: [0; MAX_ICV], len, ok };
    expected.icv.get_mut(..len)?.copy_from_slice(data.get(places.icv.clone())?);
    let task = match &key.transform {
        Transform::Esp { mac, .. } => {
            let mut authenticated = 0..places.icv.start;
            if let Some(high) = high_half(sequence, esn) {
                // Where the ICV was: it is kept above (RFC 4303 §3.4.4.1).
                *data.get_mut(places.icv.start..)?.first_chunk_mut()? = high;
                authenticated.end += high.len();
            }
            Task::mac(data, mac, authenticated)
        }
        Transform::Ccm(_) | Transform::ChaCha20Poly1305(_) => {
            let iv = data.get(places.iv)?.first_chunk().copied().unwrap_or_else(|| iv(sequence));
            let (aad, aad_len) = additional_data(*data.first_chunk()?, sequence, esn);
            Task::open(data, aead(key, iv)?, aad.get(..aad_len)?, places.payload)
        }
        Transform::Gcm(_) | Transform::Gmac(_) | Transform::Ah(_) | Transform::AhGmac(_) | Transform::Rust(_) => None,
    };
    Some((task?, expected))
}

/// The payload of a packet whose ICV was right. `None` where the IV is missing.
pub(super) fn decryption<'a>(job: &'a mut Job<'_, Key>, cipher: &'a Cipher) -> Option<(Task<'a>, &'a mut bool)> {
    let places = EspParts::of(job.key.suite, job.data.len())?;
    let iv = job.data.get(places.iv)?;
    let cipher = match cipher {
        Cipher::Cbc(key) => ipsec_mb::Cipher::Cbc { key, iv: *iv.first_chunk()? },
        Cipher::Ctr(key) => ipsec_mb::Cipher::Ctr { key, counter: counter_block(*job.key.salt, *iv.first_chunk()?) },
    };
    Some((Task::decrypt(job.data, cipher, places.payload)?, &mut job.ok))
}
