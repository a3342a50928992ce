//! Whole records.

use super::cursor::{DecodeError, EncodeError, Reader, Writer};
use super::parts::{self, FIXED_BYTES, SELECTOR_BYTES};
use super::{Command, Datagram, Event, MAX_PAYLOAD, Refusal};
use culvert_model::{Direction, PolicyId, SlotIndex, Spi};

impl Command {
    /// Writes the record for the ring, replacing what `out` held. With [`Command::Install`] `out` then holds a key: the
    /// caller wipes it after the push (`Zeroizing<Vec<u8>>` does).
    pub fn encode(&self, token: u64, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let w = &mut Writer::new(out, self.size());
        w.u64(token);
        match self {
            Self::Install(sa) => {
                w.u8(1);
                parts::put_sa(w, sa)
            }
            Self::Remove { slot, spi, direction } => {
                w.u8(2);
                put_reference(w, *slot, *spi, *direction);
                Ok(())
            }
            Self::SetPolicy(policy) => {
                w.u8(3);
                parts::put_policy(w, policy)
            }
            Self::RemovePolicy(id) => {
                w.u8(4);
                w.u32(id.0);
                Ok(())
            }
            Self::BeginSync => {
                w.u8(5);
                Ok(())
            }
            Self::EndSync => {
                w.u8(6);
                Ok(())
            }
            Self::RetireOrphans { child, keep } => {
                w.u8(7);
                w.u32(child.0);
                parts::put_slots(w, keep)
            }
            Self::UpdateTunnel { slot, spi, tunnel, encapsulation } => {
                w.u8(8);
                w.u32(slot.0);
                w.u32(spi.get());
                parts::put_tunnel(w, tunnel);
                parts::put_encapsulation(w, encapsulation.as_ref());
                Ok(())
            }
        }
    }

    /// The token and the command.
    pub fn decode(record: &[u8]) -> Result<(u64, Self), DecodeError> {
        let mut r = Reader::new(record);
        let token = r.u64("a token")?;
        let command = match r.u8("a command")? {
            1 => Self::Install(parts::sa(&mut r)?),
            2 => {
                let (slot, spi, direction) = reference(&mut r)?;
                Self::Remove { slot, spi, direction }
            }
            3 => Self::SetPolicy(parts::policy(&mut r)?),
            4 => Self::RemovePolicy(PolicyId(r.u32("a policy")?)),
            5 => Self::BeginSync,
            6 => Self::EndSync,
            7 => Self::RetireOrphans { child: parts::child(&mut r)?, keep: parts::slots(&mut r)? },
            8 => Self::UpdateTunnel {
                slot: parts::slot(&mut r)?,
                spi: parts::spi(&mut r)?,
                tunnel: parts::tunnel(&mut r)?,
                encapsulation: parts::encapsulation(&mut r)?,
            },
            value => return Err(DecodeError::UnknownTag { what: "command", value }),
        };
        r.end()?;
        Ok((token, command))
    }

    /// The token of a record that may be broken behind it, so that it can still be answered.
    pub fn peek_token(record: &[u8]) -> Option<u64> {
        record.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
    }

    /// At least the octets that `encode` writes.
    fn size(&self) -> usize {
        FIXED_BYTES
            + match self {
                Self::Install(sa) => (sa.local_ts.len() + sa.remote_ts.len()) * SELECTOR_BYTES,
                Self::SetPolicy(policy) => (policy.local.len() + policy.remote.len()) * SELECTOR_BYTES,
                Self::RetireOrphans { keep, .. } => keep.len() * 4,
                _ => 0,
            }
    }
}

impl Event {
    /// Writes the record for the ring, replacing what `out` held.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let w = &mut Writer::new(out, FIXED_BYTES);
        match self {
            Self::Done { token, result } => {
                w.u8(1);
                w.u64(*token);
                w.u8(result.err().map_or(0, |refusal| refusal as u8));
            }
            Self::Acquire { child, flow, pfp } => {
                w.u8(2);
                w.u32(child.0);
                parts::put_flow(w, flow);
                parts::put_pfp(w, *pfp);
            }
            Self::SoftExpire { slot, spi, direction } => {
                w.u8(3);
                put_reference(w, *slot, *spi, *direction);
            }
            Self::HardExpire { slot, spi, direction } => {
                w.u8(4);
                put_reference(w, *slot, *spi, *direction);
            }
            Self::SequenceLow { slot, spi, direction } => {
                w.u8(5);
                put_reference(w, *slot, *spi, *direction);
            }
            Self::NatMappingSeen { slot, spi, remote } => {
                w.u8(6);
                w.u32(slot.0);
                w.u32(spi.get());
                parts::put_socket(w, *remote);
            }
            Self::Audit { reason, slot, spi, flow } => {
                w.u8(7);
                w.u16(*reason);
                w.bool(slot.is_some());
                if let Some(slot) = slot {
                    w.u32(slot.0);
                }
                w.bool(spi.is_some());
                if let Some(spi) = spi {
                    w.u32(spi.get());
                }
                parts::put_flow(w, flow);
            }
        }
    }

    pub fn decode(record: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(record);
        let event = match r.u8("an event")? {
            1 => {
                let token = r.u64("a token")?;
                let result = match r.u8("a result")? {
                    0 => Ok(()),
                    value => Err(Refusal::from_byte(value).ok_or(DecodeError::UnknownTag { what: "refusal", value })?),
                };
                Self::Done { token, result }
            }
            2 => Self::Acquire { child: parts::child(&mut r)?, flow: parts::flow(&mut r)?, pfp: parts::pfp(&mut r)? },
            3 => {
                let (slot, spi, direction) = reference(&mut r)?;
                Self::SoftExpire { slot, spi, direction }
            }
            4 => {
                let (slot, spi, direction) = reference(&mut r)?;
                Self::HardExpire { slot, spi, direction }
            }
            5 => {
                let (slot, spi, direction) = reference(&mut r)?;
                Self::SequenceLow { slot, spi, direction }
            }
            6 => Self::NatMappingSeen {
                slot: parts::slot(&mut r)?,
                spi: parts::spi(&mut r)?,
                remote: parts::socket(&mut r)?,
            },
            7 => Self::Audit {
                reason: r.u16("a reason")?,
                slot: if r.bool("a slot")? { Some(parts::slot(&mut r)?) } else { None },
                spi: if r.bool("an SPI")? { Some(parts::spi(&mut r)?) } else { None },
                flow: parts::flow(&mut r)?,
            },
            value => return Err(DecodeError::UnknownTag { what: "event", value }),
        };
        r.end()?;
        Ok(event)
    }
}

impl Datagram {
    /// Writes the record for the ring, replacing what `out` held.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        if self.payload.len() > MAX_PAYLOAD {
            return Err(EncodeError::TooMany { what: "payload bytes", count: self.payload.len(), max: MAX_PAYLOAD });
        }
        let w = &mut Writer::new(out, FIXED_BYTES + self.payload.len());
        parts::put_socket(w, self.local);
        parts::put_socket(w, self.remote);
        w.bytes(&self.payload);
        Ok(())
    }

    /// The payload is what is left after the addresses, so nothing can be left over.
    pub fn decode(record: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(record);
        let (local, remote) = (parts::socket(&mut r)?, parts::socket(&mut r)?);
        if local.is_ipv4() != remote.is_ipv4() {
            return Err(DecodeError::Invalid { what: "a datagram between two address families" });
        }
        let payload = r.all();
        if payload.len() > MAX_PAYLOAD {
            return Err(DecodeError::TooMany { what: "payload bytes", count: payload.len(), max: MAX_PAYLOAD });
        }
        Ok(Self { local, remote, payload: payload.to_vec() })
    }
}

fn put_reference(w: &mut Writer<'_>, slot: SlotIndex, spi: Spi, direction: Direction) {
    w.u32(slot.0);
    w.u32(spi.get());
    parts::put_direction(w, direction);
}

fn reference(r: &mut Reader<'_>) -> Result<(SlotIndex, Spi, Direction), DecodeError> {
    Ok((parts::slot(r)?, parts::spi(r)?, parts::direction(r)?))
}
