//! The cipher under the engine: what the data plane takes on this machine.

use crate::Error;

#[cfg(feature = "ipsec-mb")]
pub use culvert_cipher::MultiBuffer as Cipher;

#[cfg(not(feature = "ipsec-mb"))]
pub use culvert_cipher::RustCrypto as Cipher;

#[cfg(feature = "ipsec-mb")]
pub fn new() -> Result<Cipher, Error> {
    Cipher::new().map_err(|error| Error::Cipher(error.to_string()))
}

#[cfg(not(feature = "ipsec-mb"))]
pub fn new() -> Result<Cipher, Error> {
    Ok(Cipher::default())
}
