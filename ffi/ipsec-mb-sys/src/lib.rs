//! Raw bindings to libIPSec_MB, generated at build time.
