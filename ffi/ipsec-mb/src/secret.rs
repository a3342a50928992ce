//! Memory that holds keys.

use core::mem::MaybeUninit;
use core::ptr;

use ipsec_mb_sys as sys;

/// # Safety
/// A type for which every pattern of bits is a value, and which owns nothing.
pub(crate) unsafe trait Octets {}

/// On the heap and never moved: a move would leave a copy behind that nobody wipes. Wiped when dropped; has no Debug and no
/// Clone.
pub(crate) struct Secret<T: Octets>(Box<T>);

impl<T: Octets> Secret<T> {
    pub fn zeroed() -> Self {
        // SAFETY: zero is a value of `T` by its trait's promise.
        Self(unsafe { Box::new(MaybeUninit::<T>::zeroed()).assume_init() })
    }

    pub fn get(&self) -> &T {
        &self.0
    }

    pub fn get_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

impl<T: Octets> Drop for Secret<T> {
    fn drop(&mut self) {
        // SAFETY: all of it is ours to write, zero is a value of `T`, and the library's own function is not optimised away.
        unsafe { sys::imb_clear_mem(ptr::from_mut::<T>(&mut self.0).cast(), size_of::<T>()) }
    }
}
