//! Messages inside an Encrypted payload, RFC 7296 §3.14; with combined-mode algorithms, RFC 5282.
//!
//! Opening has two steps, because the keys are found by the SPIs in the header: [`Protected::parse`] splits, then
//! [`Protected::open`] verifies, decrypts and reads what is inside. No payload beside the Encrypted one is looked at.

use super::{
    chain::{self, GENERIC_LEN, Generic},
    error::{EncodeError, Error, Fault},
    grammar::{self, Shape},
    header::{HEADER_LEN, Header, MAX_MESSAGE},
    payload::Payload,
    reader::Reader,
    registry::{ExchangeType, PayloadType},
};
use culvert_crypto::{CryptoError, Provider, constant_time_eq};
use culvert_model::{Encryption, Integrity, SecretKey};

const TAG_LEN: usize = 16;

/// SK_e and SK_a of one direction, with their algorithms.
struct Keys {
    encryption: Encryption,
    /// With the salt.
    encryption_key: SecretKey,
    /// None with AEADs.
    integrity: Option<(Integrity, SecretKey)>,
}

impl Keys {
    fn new(
        encryption: Encryption,
        encryption_key: SecretKey,
        integrity: Option<(Integrity, SecretKey)>,
    ) -> Result<Self, CryptoError> {
        let length = |expected, key: &SecretKey| match key.len() {
            got if got == expected => Ok(()),
            got => Err(CryptoError::KeyLength { expected, got }),
        };
        length(encryption.key_len() + encryption.salt_len(), &encryption_key)?;
        match &integrity {
            Some((alg, key)) if !encryption.is_aead() => length(alg.key_len(), key)?,
            None if encryption.is_aead() => {}
            // CBC without integrity, or an AEAD with one: no such SA can be negotiated (RFC 5282 §8).
            Some((_, key)) => return Err(CryptoError::KeyLength { expected: 0, got: key.len() }),
            None => return Err(CryptoError::KeyLength { expected: 1, got: 0 }),
        }
        Ok(Self { encryption, encryption_key, integrity })
    }

    /// Octets after the ciphertext.
    fn icv_len(&self) -> usize {
        self.integrity.as_ref().map_or(TAG_LEN, |(alg, _)| alg.icv_len())
    }
}

/// Protects our messages of one IKE SA. One per SA: it owns the key's initialization vectors.
pub struct Sealer {
    keys: Keys,
    /// The next AEAD IV, a counter so that none is used twice (RFC 5282 §3.1); `None` when all are used.
    next_iv: Option<u64>,
}

/// Opens the peer's messages of one IKE SA.
pub struct Opener {
    keys: Keys,
}

impl Sealer {
    /// `encryption_key` is SK_e with the salt; `integrity` is there exactly if `encryption` is no AEAD.
    pub fn new(
        encryption: Encryption,
        encryption_key: SecretKey,
        integrity: Option<(Integrity, SecretKey)>,
    ) -> Result<Self, CryptoError> {
        Ok(Self { keys: Keys::new(encryption, encryption_key, integrity)?, next_iv: Some(0) })
    }

    /// The message as it goes to the peer. `header` is the header without an Encrypted payload's traces.
    pub fn seal(
        &mut self,
        provider: &dyn Provider,
        header: &Header,
        payloads: &[Payload],
    ) -> Result<Vec<u8>, EncodeError> {
        let grammar = grammar::encrypted(header.exchange, header.response).map_err(EncodeError::Grammar)?;
        let mut data = Vec::with_capacity(chain::USUAL_LEN);
        chain::write(payloads, grammar, &mut data)?;
        pad(&mut data, self.keys.encryption.block_len());
        self.seal_octets(provider, header, chain::first(payloads), data)
    }

    /// `data` is payloads and padding.
    pub(super) fn seal_octets(
        &mut self,
        provider: &dyn Provider,
        header: &Header,
        first: PayloadType,
        mut data: Vec<u8>,
    ) -> Result<Vec<u8>, EncodeError> {
        let iv = self.iv(provider)?;
        let body_len = iv.len() + data.len() + self.keys.icv_len();
        let too_long = EncodeError::TooLong { payload: PayloadType::Encrypted };
        let generic_len = u16::try_from(GENERIC_LEN + body_len).map_err(|_| too_long)?;
        let len = HEADER_LEN + GENERIC_LEN + body_len;
        if len > MAX_MESSAGE {
            return Err(too_long);
        }
        let mut out = Vec::with_capacity(len);
        header.emit(PayloadType::Encrypted, len as u32, &mut out);
        out.extend_from_slice(&[first.to_wire(), 0]);
        out.extend_from_slice(&generic_len.to_be_bytes());

        // RFC 5282 §5.1: the AEAD covers everything before the IV. Otherwise the ICV covers everything before itself.
        let aad = if self.keys.encryption.is_aead() { out.as_slice() } else { &[] };
        provider.seal(self.keys.encryption, self.keys.encryption_key.expose(), &iv, aad, &mut data)?;
        out.extend_from_slice(&iv);
        out.extend_from_slice(&data);
        if let Some((alg, key)) = &self.keys.integrity {
            let icv = provider.integrity(*alg, key.expose(), &[&out])?;
            out.extend_from_slice(&icv);
        }
        Ok(out)
    }

    fn iv(&mut self, provider: &dyn Provider) -> Result<Vec<u8>, EncodeError> {
        if self.keys.encryption.is_aead() {
            let iv = self.next_iv.ok_or(EncodeError::IvExhausted)?;
            self.next_iv = iv.checked_add(1);
            return Ok(iv.to_be_bytes().to_vec());
        }
        // §3.14: CBC's must be unpredictable.
        let mut iv = vec![0; self.keys.encryption.iv_len()];
        provider.random(&mut iv)?;
        Ok(iv)
    }
}

/// Padding and pad length, so that whole blocks result.
fn pad(data: &mut Vec<u8>, block: usize) {
    let padded = (data.len() + 1).next_multiple_of(block);
    let pad = padded - data.len() - 1;
    data.resize(padded - 1, 0);
    data.push(pad as u8);
}

impl Opener {
    /// As [`Sealer::new`], with the peer's keys.
    pub fn new(
        encryption: Encryption,
        encryption_key: SecretKey,
        integrity: Option<(Integrity, SecretKey)>,
    ) -> Result<Self, CryptoError> {
        Ok(Self { keys: Keys::new(encryption, encryption_key, integrity)? })
    }

    /// The plaintext with its padding. Nothing is decrypted before its integrity is proved.
    pub(super) fn open(&self, provider: &dyn Provider, message: &Protected<'_>) -> Result<Vec<u8>, Error> {
        let keys = &self.keys;
        let short = Error::Unproven(Fault::EncryptedLength { got: message.body.len() });
        let mut r = Reader::new(message.body);
        let iv = r.take(keys.encryption.iv_len()).ok_or(short)?;
        let sealed = r.rest();
        let ciphertext_len = sealed.len().checked_sub(keys.icv_len()).ok_or(short)?;
        let (ciphertext, icv) = sealed.split_at_checked(ciphertext_len).ok_or(short)?;
        if ciphertext.is_empty() || ciphertext.len() % keys.encryption.block_len() != 0 {
            return Err(short);
        }
        let verified = |result: Result<(), CryptoError>| match result {
            Ok(()) => Ok(()),
            Err(CryptoError::Unverified) => Err(Error::IntegrityFailed),
            Err(other) => Err(Error::Local(other)),
        };
        let key = keys.encryption_key.expose();
        let Some((alg, integrity_key)) = &keys.integrity else {
            let mut data = sealed.to_vec();
            verified(provider.open(keys.encryption, key, iv, message.associated, &mut data))?;
            return Ok(data);
        };
        let covered = [message.associated, iv, ciphertext];
        let expected = provider.integrity(*alg, integrity_key.expose(), &covered).map_err(Error::Local)?;
        if !constant_time_eq(&expected, icv) {
            return Err(Error::IntegrityFailed);
        }
        let mut data = ciphertext.to_vec();
        verified(provider.open(keys.encryption, key, iv, &[], &mut data))?;
        Ok(data)
    }
}

/// A message with an Encrypted payload, split and not opened.
pub struct Protected<'a> {
    header: Header,
    /// Type of the first payload inside.
    first: PayloadType,
    /// Everything before the Encrypted payload's body.
    associated: &'a [u8],
    /// IV, ciphertext and ICV.
    body: &'a [u8],
}

/// A message that passed its integrity check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenedMessage {
    pub header: Header,
    pub shape: Shape,
    pub payloads: Vec<Payload>,
}

impl<'a> Protected<'a> {
    pub fn parse(datagram: &'a [u8]) -> Result<Self, Error> {
        Self::parse_octets(datagram).map_err(Error::Unproven)
    }

    fn parse_octets(datagram: &'a [u8]) -> Result<Self, Fault> {
        let (header, first, octets) = Header::parse(datagram)?;
        if header.exchange == ExchangeType::IkeSaInit {
            return Err(Fault::NotClear(header.exchange));
        }
        if header.responder_spi.is_zero() {
            return Err(Fault::ResponderSpi);
        }
        // §3.14 wants it last, §1.2 to §1.4 put everything inside; so it is the only one.
        if first != PayloadType::Encrypted {
            return Err(Fault::NotEncrypted(header.exchange));
        }
        let mut r = Reader::new(octets);
        let generic = Generic::read(PayloadType::Encrypted, &mut r)?;
        if !r.is_empty() {
            return Err(Fault::EncryptedNotLast);
        }
        let (associated, body) = datagram
            .split_at_checked(HEADER_LEN + GENERIC_LEN)
            .ok_or(Fault::PayloadTruncated { payload: PayloadType::Encrypted })?;
        Ok(Self { header, first: generic.next, associated, body })
    }

    /// Not proved before [`Protected::open`] succeeded.
    pub fn header(&self) -> &Header {
        &self.header
    }

    pub fn open(&self, provider: &dyn Provider, opener: &Opener) -> Result<OpenedMessage, Error> {
        let data = opener.open(provider, self)?;
        self.read(&data).map_err(Error::Peer)
    }

    fn read(&self, data: &[u8]) -> Result<OpenedMessage, Fault> {
        let (pad, padded) = data.split_last().ok_or(Fault::EncryptedLength { got: 0 })?;
        let len = padded.len().checked_sub((*pad).into()).ok_or(Fault::PadLength { pad: *pad })?;
        let inner = padded.get(..len).ok_or(Fault::PadLength { pad: *pad })?;
        let (shape, payloads) = parse_inner(self.header.exchange, self.header.response, self.first, inner)?;
        Ok(OpenedMessage { header: self.header, shape, payloads })
    }
}

/// Reads what an Encrypted payload held, without its padding. [`Protected::open`] comes here after the integrity check;
/// a fuzzer, which cannot forge one, directly.
pub fn parse_inner(
    exchange: ExchangeType,
    response: bool,
    first: PayloadType,
    octets: &[u8],
) -> Result<(Shape, Vec<Payload>), Fault> {
    chain::parse(first, octets, grammar::encrypted(exchange, response)?)
}
