//! Times for tests.

use crate::clock::Timestamp;

/// Returns the time `seconds` after the start of the tests' clock.
#[allow(clippy::unwrap_used)]
pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_timestamp(1_790_000_000 + seconds, 0).unwrap()
}
