//! IKE's cryptography behind one provider trait.
