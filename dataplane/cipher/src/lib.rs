//! The ciphers that the engine can be given: intel-ipsec-mb where the processor has what it needs, else Rust.
#![forbid(unsafe_code)]

#[cfg(feature = "ipsec-mb")]
mod multi_buffer;

pub use culvert_engine::RustCrypto;
#[cfg(feature = "ipsec-mb")]
pub use multi_buffer::MultiBuffer;

use culvert_engine::Crypto;

/// A cipher that threads can be given.
pub trait Provider: Crypto + Sized + 'static {
    /// For one thread.
    fn for_thread() -> Self;

    /// Library, version and instructions.
    fn describe(&self) -> String;
}

impl Provider for RustCrypto {
    fn for_thread() -> Self {
        Self
    }

    fn describe(&self) -> String {
        "RustCrypto".to_owned()
    }
}
