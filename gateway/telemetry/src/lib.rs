//! Every counter and metric of both planes, declared once.
//!
//! A declaration makes the enum variant, the word in `culvert status`, the Prometheus series and the line in
//! `docs/METRICS.md`. A packet dropped without a [`DropReason`] does not compile, because the drop path asks for one.
//!
//! ```
//! use culvert_telemetry::{DropReason, layout};
//!
//! let reason = DropReason::ReplayTooOld;
//! assert_eq!(reason.name(), "replay_too_old");
//! assert_eq!(DropReason::from_index(reason.index()), Some(reason));
//! assert_eq!(layout::drop_word(reason), layout::DROPS_AT + reason.index());
//! ```
#![forbid(unsafe_code)]

#[macro_use]
mod declare;

mod counters;
mod docs;
mod drops;
pub mod layout;
mod metric;

pub use counters::{PortCounter, SaCounter, WorkerCounter};
pub use docs::docs;
pub use drops::{DropReason, Stage};
pub use metric::{Kind, Metric, all, metrics};
