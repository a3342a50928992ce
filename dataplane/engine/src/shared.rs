//! What all threads of the data plane see.

use crate::aead::Aead;
use core::marker::PhantomData;

/// SPD, SAD, FIB and neighbours, published by pointer swap. One per process, in an `Arc`.
pub struct Shared<A: Aead> {
    cipher: PhantomData<fn() -> A>,
}
