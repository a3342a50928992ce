use culvert_lab::{LabError, Namespace, wait_for};
use std::time::Duration;

/// Five echo requests to `to`; every one must be answered.
pub fn ping(from: &Namespace, to: &str) -> Result<(), LabError> {
    from.run_for(&["ping", "-n", "-q", "-c", "5", "-i", "0.1", "-W", "2", to], Duration::from_secs(15)).and_then(
        |text| {
            if text.contains("5 received") { Ok(()) } else { Err(LabError::Status(text)) }
        },
    )
}

/// Single echo requests until one is answered.
pub fn wait_for_ping(from: &Namespace, to: &str, limit: Duration) -> Result<(), LabError> {
    let what = format!("an echo reply from {to} to {}", from.name());
    wait_for(&what, limit, || {
        let line = ["ping", "-n", "-q", "-c", "1", "-W", "1", to];
        from.output(&line, Duration::from_secs(5)).is_ok_and(|output| output.status.success()).then_some(())
    })
}
