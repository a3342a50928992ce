//! Asking the processor for memory that will be read soon.

/// Brings the first cache line of `value` nearer. Does nothing where the processor has no such instruction.
#[inline(always)]
pub fn prefetch<T: ?Sized>(value: &T) {
    prefetch_line(value, 0);
}

/// Brings the cache line `offset` octets behind the start of `value` nearer; one that is not there is no error.
#[inline(always)]
pub fn prefetch_line<T: ?Sized>(value: &T, offset: usize) {
    #[cfg(target_arch = "x86_64")]
    {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let address = core::ptr::from_ref(value).cast::<i8>().wrapping_add(offset);
        // SAFETY: a prefetch reads nothing and never faults, whatever the address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address) }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (value, offset);
}
