//! Network namespaces, veth pairs and bounded child processes for the demo and the end-to-end tests.
