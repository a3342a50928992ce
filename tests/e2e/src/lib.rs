//! End-to-end tests in network namespaces, against real peers.
