//! Traffic Selector payloads, RFC 7296 §3.13.

use super::{Body, octet, with_length};
use crate::message::{
    error::{EncodeError, Fault},
    registry::PayloadType,
};
use culvert_model::{AddrRange, PortRange, TrafficSelector};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// At least one selector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrafficSelectors(pub Vec<Selector>);

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    Known(TrafficSelector),
    /// Of a type this code does not know (Fibre Channel, security labels, ...). Never chosen when narrowing.
    Unknown {
        kind: u8,
        protocol: u8,
        body: Vec<u8>,
    },
}

const TS_IPV4_ADDR_RANGE: u8 = 7;
const TS_IPV6_ADDR_RANGE: u8 = 8;

impl TrafficSelectors {
    pub fn new(selectors: impl IntoIterator<Item = TrafficSelector>) -> Self {
        Self(selectors.into_iter().map(Selector::Known).collect())
    }

    /// The selectors this code understands, in the peer's order.
    pub fn known(&self) -> Vec<TrafficSelector> {
        let known = self.0.iter().filter_map(|s| match s {
            Selector::Known(ts) => Some(*ts),
            Selector::Unknown { .. } => None,
        });
        known.collect()
    }

    pub(super) fn decode(r: &mut Body<'_>) -> Result<Self, Fault> {
        let count = r.u8()?;
        r.take(3)?;
        if count == 0 {
            return Err(Fault::Empty { payload: r.payload });
        }
        (0..count).map(|_| Selector::decode(r)).collect::<Result<_, _>>().map(Self)
    }

    pub(super) fn encode(&self, payload: PayloadType, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        if self.0.is_empty() {
            return Err(EncodeError::Grammar(Fault::Empty { payload }));
        }
        out.extend_from_slice(&[octet(payload, self.0.len())?, 0, 0, 0]);
        for selector in &self.0 {
            with_length(payload, out, 2, |out| {
                selector.encode(out);
                Ok(())
            })?;
        }
        Ok(())
    }
}

impl Selector {
    fn decode(r: &mut Body<'_>) -> Result<Self, Fault> {
        let kind = r.u8()?;
        let protocol = r.u8()?;
        let claimed = r.u16()?;
        let mut r = r.sub(claimed, 4)?;
        if kind != TS_IPV4_ADDR_RANGE && kind != TS_IPV6_ADDR_RANGE {
            return Ok(Self::Unknown { kind, protocol, body: r.rest().to_vec() });
        }
        let (start_port, end_port) = (r.u16()?, r.u16()?);
        let (start, end): (IpAddr, IpAddr) = if kind == TS_IPV4_ADDR_RANGE {
            (Ipv4Addr::from(r.array::<4>()?).into(), Ipv4Addr::from(r.array::<4>()?).into())
        } else {
            (Ipv6Addr::from(r.array::<16>()?).into(), Ipv6Addr::from(r.array::<16>()?).into())
        };
        // §3.13.1: a fixed length for each type.
        if !r.is_empty() {
            return Err(r.inconsistent());
        }
        let ports = match (start_port, end_port) {
            (u16::MAX, 0) => PortRange::OPAQUE,
            (start, end) => PortRange::new(start, end).map_err(|_| Fault::ReversedSelector)?,
        };
        let addrs = AddrRange::new(start, end).map_err(|_| Fault::ReversedSelector)?;
        Ok(Self::Known(TrafficSelector { addrs, protocol: (protocol != 0).then_some(protocol), ports }))
    }

    /// With an empty length field.
    fn encode(&self, out: &mut Vec<u8>) {
        let ts = match self {
            Self::Known(ts) => ts,
            Self::Unknown { kind, protocol, body } => {
                out.extend_from_slice(&[*kind, *protocol, 0, 0]);
                out.extend_from_slice(body);
                return;
            }
        };
        let kind = if ts.addrs.is_ipv4() { TS_IPV4_ADDR_RANGE } else { TS_IPV6_ADDR_RANGE };
        out.extend_from_slice(&[kind, ts.protocol.unwrap_or(0), 0, 0]);
        out.extend_from_slice(&ts.ports.start().to_be_bytes());
        out.extend_from_slice(&ts.ports.end().to_be_bytes());
        for addr in [ts.addrs.start(), ts.addrs.end()] {
            match addr {
                IpAddr::V4(addr) => out.extend_from_slice(&addr.octets()),
                IpAddr::V6(addr) => out.extend_from_slice(&addr.octets()),
            }
        }
    }
}
