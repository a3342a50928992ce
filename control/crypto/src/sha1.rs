//! SHA-1, for NAT detection only (RFC 7296 §2.23), where it neither hides nor proves anything.

use aws_lc_rs::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};

/// Over the concatenation of `data`.
pub fn sha1(data: &[&[u8]]) -> [u8; 20] {
    let mut context = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    data.iter().for_each(|piece| context.update(piece));
    let mut out = [0; 20];
    out.copy_from_slice(context.finish().as_ref());
    out
}

#[cfg(test)]
mod tests {
    #[test]
    fn fips_180_vector() {
        assert_eq!(hex::encode(super::sha1(&[b"a", b"bc"])), "a9993e364706816aba3e25717850c26c9cd0d89d");
    }
}
