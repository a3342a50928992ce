//! Raw bindings to libIPSec_MB, generated at build time. Nothing here is written by hand; the safe side is
//! `culvert-ipsec-mb`.
//!
//! `wrapper.h` is the one place where its versions differ.

#[cfg(feature = "ipsec-mb")]
#[expect(clippy::allow_attributes, reason = "what bindgen emits differs with its version and the library's")]
#[allow(
    dead_code,
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    unnecessary_transmutes,
    unsafe_op_in_unsafe_fn,
    clippy::all,
    clippy::undocumented_unsafe_blocks,
    clippy::multiple_unsafe_ops_per_block,
    reason = "generated code"
)]
mod bindings {
    include!(concat!(env!("OUT_DIR"), "/bindings.rs"));
}

#[cfg(feature = "ipsec-mb")]
pub use bindings::*;
