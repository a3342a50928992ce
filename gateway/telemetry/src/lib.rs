//! Every counter and event, declared once.
