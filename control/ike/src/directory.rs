//! By what connections, children and secrets of a large configuration are found.
//!
//! Names are found by a hash of them, and compared then: the lists hold numbers only. Peers ask here and put nothing in, so
//! what they choose to ask costs at most the entries of the configuration that are alike.

use crate::config::{Connection, Secret};
use crate::hashing::Multi;
use culvert_model::{ChildId, Identity};
use std::{
    collections::{BTreeSet, hash_map::DefaultHasher},
    hash::{Hash, Hasher},
    net::IpAddr,
};

/// Identities of a secret of which each pair has its own entry.
const MOST_PAIRED: usize = 8;

#[derive(Default)]
pub(crate) struct Directory {
    /// By number. A configuration counts them from zero, so that the place is most often the number.
    children: Vec<(ChildId, u32, u32)>,
    /// One of each kind of the connections whose peers have single addresses: those alike in addresses and proposals say
    /// the same to a peer without a name.
    by_remote: Multi<IpAddr>,
    /// One of each kind of the others.
    wide: Vec<u32>,
    /// By the peer's identity.
    by_peer: Multi<u64>,
    /// Without one.
    nameless: Vec<u32>,
    secrets: Secrets,
}

#[derive(Default)]
struct Secrets {
    /// By two of their identities.
    pairs: Multi<u64>,
    /// Those for one identity.
    sole: Multi<u64>,
    /// The first for everybody.
    for_all: Option<u32>,
    /// With so many identities that they are looked at one by one.
    long: Vec<u32>,
}

/// The same for identities that match.
fn hash_of(id: &Identity) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write_u8(id.id_type());
    match id {
        Identity::Fqdn(name) | Identity::Email(name) => {
            // In pieces of one length, whatever it is called with; the hasher is slow with single octets.
            let mut lower = [0; 64];
            for piece in name.as_bytes().chunks(lower.len()) {
                lower.iter_mut().zip(piece).for_each(|(to, from)| *to = from.to_ascii_lowercase());
                hasher.write(lower.get(..piece.len()).unwrap_or_default());
            }
        }
        other => other.hash(&mut hasher),
    }
    hasher.finish()
}

fn hash_of_pair(a: &Identity, b: &Identity) -> u64 {
    // The order does not count.
    hash_of(a).wrapping_add(hash_of(b))
}

fn numbered<T>(items: &[T]) -> impl Iterator<Item = (u32, &T)> {
    (0..).zip(items)
}

impl Directory {
    pub fn new(connections: &[Connection], secrets: &[Secret]) -> Self {
        let mut directory = Self { secrets: Secrets::new(secrets), ..Self::default() };
        let mut kinds = BTreeSet::new();
        for (at, connection) in numbered(connections) {
            for (place, child) in numbered(&connection.children) {
                directory.children.push((child.id, at, place));
            }
            match &connection.remote_id {
                Some(id) => directory.by_peer.insert(hash_of(id), at),
                None => directory.nameless.push(at),
            }
            let single = |range: &culvert_model::AddrRange| range.start() == range.end();
            if connection.remote_addrs.is_empty() || !connection.remote_addrs.iter().all(single) {
                let Connection { local_addrs, remote_addrs, proposals, encap, .. } = connection;
                if kinds.insert(format!("{local_addrs:?} {remote_addrs:?} {proposals:?} {encap}")) {
                    directory.wide.push(at);
                }
            } else {
                let Connection { local_addrs, proposals, encap, .. } = connection;
                for remote in connection.remote_addrs.iter().map(|range| range.start()) {
                    if kinds.insert(format!("{remote} {local_addrs:?} {proposals:?} {encap}")) {
                        directory.by_remote.insert(remote, at);
                    }
                }
            }
        }
        // Of several with one number the first is found.
        directory.children.sort_by_key(|(id, ..)| *id);
        directory.children.dedup_by_key(|(id, ..)| *id);
        directory
    }

    /// The child of that number: its connection, and its place in it.
    pub fn child(&self, id: ChildId) -> Option<(usize, usize)> {
        let same = |entry: &&(ChildId, u32, u32)| entry.0 == id;
        let place = || self.children.partition_point(|entry| entry.0 < id);
        let found = self.children.get(id.0 as usize).filter(same).or_else(|| self.children.get(place()).filter(same));
        found.map(|(_, conn, place)| (*conn as usize, *place as usize))
    }

    /// Connections that a peer at this address may mean, as far as one can tell before it has said who it is: of those
    /// that are alike, the first.
    pub fn by_remote(&self, remote: IpAddr) -> Vec<usize> {
        let mut all: Vec<usize> = self.by_remote.get(remote).chain(self.wide.iter().map(|at| *at as usize)).collect();
        all.sort_unstable();
        all
    }

    /// Connections for this peer, in their order; it must be compared still.
    pub fn by_peer(&self, id: &Identity) -> impl Iterator<Item = usize> {
        self.by_peer.get(hash_of(id))
    }

    /// Connections for any peer.
    pub fn nameless(&self) -> impl Iterator<Item = usize> {
        self.nameless.iter().map(|at| *at as usize)
    }

    /// Secrets that may be for these two, in no order; they must be compared still.
    pub fn secrets(&self, local: &Identity, remote: &Identity) -> impl Iterator<Item = usize> {
        let Secrets { pairs, sole, for_all, long } = &self.secrets;
        let alone = sole.get(hash_of(local)).chain(sole.get(hash_of(remote)));
        let others = for_all.iter().chain(long).map(|at| *at as usize);
        pairs.get(hash_of_pair(local, remote)).chain(alone).chain(others)
    }
}

impl Secrets {
    fn new(secrets: &[Secret]) -> Self {
        let mut found = Self::default();
        for (at, secret) in numbered(secrets) {
            match secret.ids.as_slice() {
                [] => found.for_all = found.for_all.or(Some(at)),
                [first, others @ ..] if others.iter().all(|id| id.matches(first)) => {
                    found.sole.insert(hash_of(first), at);
                }
                ids if ids.len() > MOST_PAIRED => found.long.push(at),
                ids => {
                    // With itself too: the box and its peer may have one name.
                    let pairs = ids.iter().enumerate().flat_map(|(n, a)| ids.iter().skip(n).map(move |b| (a, b)));
                    pairs.for_each(|(a, b)| found.pairs.insert(hash_of_pair(a, b), at));
                }
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_without_regard_to_case_and_types_apart() {
        let id = |text: &str| text.parse::<Identity>().expect("identity");
        assert_eq!(hash_of(&id("Gw.Example")), hash_of(&id("gW.example")));
        assert_ne!(hash_of(&id("fqdn:a@b")), hash_of(&id("email:a@b")));
        assert_eq!(hash_of_pair(&id("a"), &id("b")), hash_of_pair(&id("b"), &id("a")));
    }
}
