//! What tests of several modules need: times, and the CPU time of a thread.

use crate::clock::Timestamp;
use std::time::Duration;

/// Returns the time `seconds` after the start of the tests' clock.
#[allow(clippy::unwrap_used)]
pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_timestamp(1_790_000_000 + seconds, 0).unwrap()
}

/// Returns the CPU time that this thread has used. A busy machine doesn't lengthen it, unlike elapsed time. Zero where the
/// kernel doesn't report it.
pub(crate) fn cpu_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = text.split_whitespace().next().and_then(|number| number.parse().ok());
    Duration::from_nanos(nanoseconds.unwrap_or_default())
}
