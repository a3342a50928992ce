//! One file per exchange.

pub(crate) mod auth;
pub(crate) mod child_answer;
pub(crate) mod create_child;
pub(crate) mod informational;
pub(crate) mod rekey_ike;
pub(crate) mod sa_init;
