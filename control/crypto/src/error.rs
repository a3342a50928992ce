//! What can go wrong in a primitive, and whose fault it is.

use culvert_model::KeGroup;

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CryptoError {
    // The peer's fault.
    #[error("the peer's {group} public value has {got} octets, not {expected}", expected = group.public_len())]
    PublicLength { group: KeGroup, got: usize },
    /// Not on the curve, not in 1 < y < p-1, or of small order (RFC 6989, RFC 8031 §2.1, RFC 7748 §6.1).
    #[error("the peer's {group} public value is not a valid one")]
    PublicInvalid { group: KeGroup },
    /// Forged, damaged, or sealed with another key. Says no more on purpose.
    #[error("the integrity check failed")]
    Unverified,

    // The caller's fault.
    #[error("a key of {got} octets where {expected} are needed")]
    KeyLength { expected: usize, got: usize },
    #[error("an initialization vector of {got} octets where {expected} are needed")]
    IvLength { expected: usize, got: usize },
    #[error("{got} octets are no multiple of the cipher's block")]
    BlockLength { got: usize },
    #[error("prf+ cannot yield {asked} octets, the most is {most} (RFC 7296 §2.13)")]
    PrfPlusLength { asked: usize, most: usize },

    #[error("the algorithm does not protect IKE messages here")]
    NotForIke,

    // The machine's fault.
    #[error("the system's random number generator failed")]
    Random,
    #[error("the cryptographic library refused the operation")]
    Backend,
}
