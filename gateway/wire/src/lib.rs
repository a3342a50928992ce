//! One file per header: checked views and emitters.
