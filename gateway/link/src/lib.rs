//! The shared memory between control and data plane.
