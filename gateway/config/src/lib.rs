//! culvert.toml to checked types, with diagnostics.
