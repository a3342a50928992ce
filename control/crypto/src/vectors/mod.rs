//! Published vectors, held against the real provider's parts.

mod exchanges;
mod project_wycheproof;
mod symmetric;

fn octets(text: &str) -> Vec<u8> {
    hex::decode(text).expect("hex")
}
