//! Inputs from inputs, the same for the same seed.

/// Above this an input only costs time; lengths beyond 16 bits are met by fields, not by bulk.
const LONGEST: usize = 4096;

/// Octets that stand at the edges of length and tag fields.
const EDGES: &[u8] = &[0, 1, 2, 3, 4, 7, 8, 0x0f, 0x10, 0x1f, 0x20, 0x3f, 0x40, 0x7f, 0x80, 0xfe, 0xff];

/// SplitMix64.
pub struct Random(pub u64);

impl Random {
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// 0 where there is nothing to choose from.
    pub fn below(&mut self, bound: usize) -> usize {
        if bound == 0 { 0 } else { (self.number() % bound as u64) as usize }
    }
}

/// A few changes to one of the inputs, now and then with a part of another.
pub fn mutate(random: &mut Random, inputs: &[Vec<u8>]) -> Vec<u8> {
    let choose = |random: &mut Random| inputs.get(random.below(inputs.len())).map_or(&[][..], Vec::as_slice);
    let mut bytes = choose(random).to_vec();
    for _ in 0..1 + random.below(6) {
        let at = random.below(bytes.len());
        let length = random.below(bytes.len() - at + 1).min(64);
        match random.below(9) {
            0 => flip(random, &mut bytes, at),
            1 => set(random, &mut bytes, at),
            2 => number(random, &mut bytes, at),
            3 => bytes.truncate(at),
            4 => drop(bytes.drain(at..at + length)),
            5 => {
                let copy = bytes[at..at + length].to_vec();
                bytes.splice(at..at, copy);
            }
            6 => {
                let more: Vec<u8> = (0..random.below(24)).map(|_| random.number() as u8).collect();
                bytes.splice(at..at, more);
            }
            7 => {
                let other = choose(random);
                let from = random.below(other.len());
                let part = &other[from..from + random.below(other.len() - from + 1)];
                bytes.splice(at..at + length, part.iter().copied());
            }
            _ => {
                let to = random.below(bytes.len() - length + 1);
                bytes.copy_within(at..at + length, to);
            }
        }
        bytes.truncate(LONGEST);
    }
    bytes
}

fn flip(random: &mut Random, bytes: &mut [u8], at: usize) {
    if let Some(octet) = bytes.get_mut(at) {
        *octet ^= 1 << random.below(8);
    }
}

fn set(random: &mut Random, bytes: &mut [u8], at: usize) {
    if let Some(octet) = bytes.get_mut(at) {
        *octet = if random.below(2) == 0 { random.number() as u8 } else { EDGES[random.below(EDGES.len())] };
    }
}

/// A 16-bit field, either way round: an edge, what is left of the input, or a little beside what was there.
fn number(random: &mut Random, bytes: &mut [u8], at: usize) {
    let left = bytes.len() - at;
    let Some(field) = bytes.get_mut(at..).and_then(|rest| rest.first_chunk_mut::<2>()) else { return };
    let old = u16::from_be_bytes(*field);
    let new = match random.below(4) {
        0 => u16::from_be_bytes([EDGES[random.below(EDGES.len())], EDGES[random.below(EDGES.len())]]),
        1 => left as u16,
        2 => old.wrapping_add(random.below(9) as u16).wrapping_sub(4),
        _ => old.swap_bytes(),
    };
    *field = if random.below(4) == 0 { new.to_le_bytes() } else { new.to_be_bytes() };
}
