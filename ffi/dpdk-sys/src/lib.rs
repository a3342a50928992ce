//! Raw bindings to libdpdk, generated at build time. Nothing here is written by hand; the safe side is `culvert-dpdk`.
//!
//! `wrapper.h` is the one place where DPDK's versions differ.

#[cfg(feature = "dpdk")]
#[expect(clippy::allow_attributes, reason = "what bindgen emits differs with its version and DPDK's")]
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

#[cfg(feature = "dpdk")]
pub use bindings::*;
