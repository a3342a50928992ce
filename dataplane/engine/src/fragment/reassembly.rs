//! Waiting for all fragments of a datagram (RFC 791 §3.2, RFC 8200 §4.5), within bounds.
//!
//! Run by one thread. Memory is bounded by [`Limits`]: a fragment beyond them pushes out the oldest datagram of whoever
//! holds most, so that a flood from one address costs only that address, and one from many makes all wait shorter.

use super::piece::{DatagramId, Piece};
use crate::buffer::Buffer;
use crate::io::{PortId, Tick};
use culvert_telemetry::DropReason;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::Hash;
use std::net::IpAddr;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    pub datagrams: usize,
    /// Of all datagrams; each holds a packet buffer.
    pub pieces: usize,
    /// The largest datagram by the smallest MTU that hosts have to expect (576, RFC 1122 §3.3.2) has 119.
    pub pieces_per_datagram: usize,
    pub pieces_per_source: usize,
    /// From the first fragment to arrive to the last (RFC 8200 §4.5: 60 s; Linux: 30 s).
    pub wait: Tick,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            datagrams: 512,
            pieces: 1024,
            pieces_per_datagram: 128,
            pieces_per_source: 256,
            wait: 30 * 1_000_000_000,
        }
    }
}

/// All fragments of a datagram, in order, each still a packet.
#[derive(Debug)]
pub(crate) struct Whole<B, C> {
    pub context: C,
    pub pieces: Vec<(PortId, B)>,
}

/// A datagram whose time is over. `first`: its first fragment, if that had come.
#[derive(Debug)]
pub(crate) struct Expired<B, C> {
    pub context: C,
    pub first: Option<(PortId, B)>,
}

/// `C` keeps apart what must not be mixed, as fragments in clear and those out of a tunnel.
///
/// After each `handle_*` poll until `None`, in any order: [`Self::poll_whole`], [`Self::poll_expired`],
/// [`Self::poll_lost`].
pub(crate) struct Reassembler<B, C> {
    limits: Limits,
    /// Numbered in the order in which they began, which is the order of their ends.
    waiting: BTreeMap<u64, Datagram<B, C>>,
    numbers: HashMap<Key<C>, u64>,
    next_number: u64,
    pieces: usize,
    held: HashMap<IpAddr, usize>,
    whole: VecDeque<Whole<B, C>>,
    expired: VecDeque<Expired<B, C>>,
    lost: VecDeque<(DropReason, u64)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key<C> {
    id: DatagramId,
    context: C,
}

struct Datagram<B, C> {
    key: Key<C>,
    since: Tick,
    /// Sorted, without overlaps.
    pieces: Vec<Held<B>>,
    /// Where the data ends, once the last fragment has told.
    end: Option<usize>,
    /// RFC 5722 §4: what is still to come of it is dropped too.
    refused: Option<DropReason>,
}

struct Held<B> {
    place: Piece,
    port: PortId,
    packet: B,
}

impl<B: Buffer, C: Copy + Eq + Hash> Reassembler<B, C> {
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            waiting: BTreeMap::new(),
            numbers: HashMap::new(),
            next_number: 0,
            pieces: 0,
            held: HashMap::new(),
            whole: VecDeque::new(),
            expired: VecDeque::new(),
            lost: VecDeque::new(),
        }
    }

    /// Takes a fragment, cut to its IP length. One that is none, or atomic, is whole at once.
    pub fn handle_fragment(&mut self, now: Tick, context: C, port: PortId, packet: B) {
        match Piece::parse(packet.data()) {
            Ok(Some((id, place))) => {
                let number = self.number_of(now, Key { id, context });
                if let Some(reason) = self.put(number, Held { place, port, packet }) {
                    self.lost.push_back((reason, 1));
                }
                self.finish(number);
                while self.is_over(id.source) {
                    self.push_out();
                }
            }
            Ok(None) => self.whole.push_back(Whole { context, pieces: vec![(port, packet)] }),
            Err(reason) => self.lost.push_back((reason, 1)),
        }
    }

    /// Gives up what has waited long enough.
    pub fn handle_timeout(&mut self, now: Tick) {
        while let Some((number, datagram)) = self.waiting.first_key_value() {
            if now.saturating_sub(datagram.since) < self.limits.wait {
                break;
            }
            let number = *number;
            let Some(datagram) = self.take_out(number) else { break };
            let lost = datagram.pieces.len() as u64;
            if lost > 0 {
                self.lost.push_back((DropReason::FragmentTimeout, lost));
            }
            let first = datagram.pieces.into_iter().next().filter(|held| held.place.start == 0);
            let first = first.map(|held| (held.port, held.packet));
            self.expired.push_back(Expired { context: datagram.key.context, first });
        }
    }

    pub fn poll_whole(&mut self) -> Option<Whole<B, C>> {
        self.whole.pop_front()
    }

    pub fn poll_expired(&mut self) -> Option<Expired<B, C>> {
        self.expired.pop_front()
    }

    /// What waits.
    #[cfg(test)]
    pub fn waiting(&self) -> impl Iterator<Item = &B> {
        self.waiting.values().flat_map(|datagram| &datagram.pieces).map(|held| &held.packet)
    }

    /// Why how many packets were dropped.
    pub fn poll_lost(&mut self) -> Option<(DropReason, u64)> {
        self.lost.pop_front()
    }

    fn number_of(&mut self, now: Tick, key: Key<C>) -> u64 {
        if let Some(number) = self.numbers.get(&key) {
            return *number;
        }
        let number = self.next_number;
        self.next_number += 1;
        self.numbers.insert(key, number);
        let datagram = Datagram { key, since: now, pieces: Vec::new(), end: None, refused: None };
        self.waiting.insert(number, datagram);
        number
    }

    /// Answers why the fragment was dropped, if it was.
    fn put(&mut self, number: u64, new: Held<B>) -> Option<DropReason> {
        let datagram = self.waiting.get_mut(&number)?;
        let source = datagram.key.id.source;
        match datagram.put(new, self.limits.pieces_per_datagram) {
            Put::Held => {
                self.pieces += 1;
                *self.held.entry(source).or_default() += 1;
                None
            }
            Put::Dropped(reason) => Some(reason),
            Put::Refused(reason) => {
                let gone = datagram.pieces.len();
                datagram.pieces = Vec::new();
                datagram.refused = Some(reason);
                self.release(source, gone);
                if gone > 0 {
                    self.lost.push_back((reason, gone as u64));
                }
                Some(reason)
            }
        }
    }

    fn finish(&mut self, number: u64) {
        if self.waiting.get(&number).is_some_and(Datagram::is_complete)
            && let Some(datagram) = self.take_out(number)
        {
            let pieces = datagram.pieces.into_iter().map(|held| (held.port, held.packet)).collect();
            self.whole.push_back(Whole { context: datagram.key.context, pieces });
        }
    }

    fn is_over(&self, source: IpAddr) -> bool {
        self.pieces > self.limits.pieces
            || self.waiting.len() > self.limits.datagrams
            || self.held.get(&source).is_some_and(|pieces| *pieces > self.limits.pieces_per_source)
    }

    /// The oldest datagram of the source that holds most. Where too many datagrams wait, those already refused go
    /// first: they hold nothing and wait for nothing.
    fn push_out(&mut self) {
        let most = self.held.values().copied().max().unwrap_or(0);
        let is_heaviest = |datagram: &Datagram<B, C>| {
            !datagram.pieces.is_empty() && self.held.get(&datagram.key.id.source) == Some(&most)
        };
        let too_many = self.waiting.len() > self.limits.datagrams;
        let refused = self.waiting.iter().find(|(_, datagram)| too_many && datagram.refused.is_some());
        let victim = refused.or_else(|| self.waiting.iter().find(|(_, datagram)| is_heaviest(datagram)));
        let Some(number) = victim.map(|(number, _)| *number) else { return };
        let lost = self.take_out(number).map_or(0, |datagram| datagram.pieces.len() as u64);
        if lost > 0 {
            self.lost.push_back((DropReason::FragmentFlood, lost));
        }
    }

    fn take_out(&mut self, number: u64) -> Option<Datagram<B, C>> {
        let datagram = self.waiting.remove(&number)?;
        self.numbers.remove(&datagram.key);
        self.release(datagram.key.id.source, datagram.pieces.len());
        Some(datagram)
    }

    fn release(&mut self, source: IpAddr, pieces: usize) {
        self.pieces -= pieces;
        if let Some(held) = self.held.get_mut(&source) {
            *held -= pieces;
            if *held == 0 {
                self.held.remove(&source);
            }
        }
    }
}

/// What became of a fragment.
enum Put {
    Held,
    /// It alone.
    Dropped(DropReason),
    /// It, all that was held of the datagram, and all that will come.
    Refused(DropReason),
}

impl<B: Buffer, C> Datagram<B, C> {
    fn put(&mut self, new: Held<B>, most: usize) -> Put {
        if let Some(reason) = self.refused {
            return Put::Dropped(reason);
        }
        let place = new.place;
        let at = self.pieces.partition_point(|held| held.place.start < place.start);
        let before = at.checked_sub(1).and_then(|before| self.pieces.get(before));
        let after = self.pieces.get(at);
        if after.is_some_and(|held| held.is_same(&new)) {
            return Put::Dropped(DropReason::FragmentDuplicate);
        }
        // RFC 5722 §4, for IPv4 as well: whoever sends overlaps hopes that two readers differ.
        let overlaps = before.is_some_and(|held| held.place.end > place.start)
            || after.is_some_and(|held| held.place.start < place.end);
        if overlaps {
            return Put::Refused(DropReason::FragmentOverlap);
        }
        let furthest = self.pieces.last().map_or(0, |held| held.place.end).max(place.end);
        let contradicts = match self.end {
            Some(end) => !place.more || furthest > end || place.end == end,
            None => !place.more && furthest > place.end,
        };
        if contradicts {
            return Put::Refused(DropReason::FragmentMalformed);
        }
        if self.pieces.len() >= most {
            return Put::Refused(DropReason::FragmentFlood);
        }
        if !place.more {
            self.end = Some(place.end);
        }
        self.pieces.insert(at, new);
        Put::Held
    }

    /// They do not overlap, so they need only be long enough together.
    fn is_complete(&self) -> bool {
        self.end
            .is_some_and(|end| self.pieces.iter().map(|held| held.place.end - held.place.start).sum::<usize>() == end)
    }
}

impl<B: Buffer> Held<B> {
    /// The same octets again (RFC 8200 §4.5 lets such be ignored); TTL and marks may differ.
    fn is_same(&self, other: &Self) -> bool {
        self.place.start == other.place.start
            && self.place.end == other.place.end
            && self.place.more == other.place.more
            && self.data() == other.data()
    }

    fn data(&self) -> Option<&[u8]> {
        self.packet.data().get(self.place.header_len..)
    }
}

#[cfg(test)]
mod tests;
