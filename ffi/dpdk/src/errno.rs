//! DPDK's error numbers, with its own words for them.

use core::ffi::{CStr, c_int};
use core::fmt;

/// A positive error number: the system's, or one of DPDK's own.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Errno(c_int);

impl Errno {
    pub(crate) const INVAL: Self = Self(22);
    pub(crate) const NOTSUP: Self = Self(95);

    /// From what a DPDK function returned: negative numbers are errors.
    pub(crate) fn check(returned: c_int) -> Result<c_int, Self> {
        if returned < 0 { Err(Self(returned.saturating_neg())) } else { Ok(returned) }
    }

    /// `rte_errno` of this thread.
    pub(crate) fn last() -> Self {
        // SAFETY: reads a thread-local number.
        Self(unsafe { dpdk_sys::culvert_errno() })
    }

    pub fn number(self) -> i32 {
        self.0
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // SAFETY: takes any number, and returns a string that is constant or this thread's own.
        let text = unsafe { dpdk_sys::rte_strerror(self.0) };
        if text.is_null() {
            return write!(f, "error {}", self.0);
        }
        // SAFETY: not null, ends in NUL, and nothing on this thread calls `rte_strerror` again before it is written.
        let text = unsafe { CStr::from_ptr(text) };
        f.write_str(&text.to_string_lossy())
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({self})", self.0)
    }
}
