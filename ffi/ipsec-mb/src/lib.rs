//! Safe intel-ipsec-mb: a manager per thread, key schedules, bursts.
