//! The one place that reads the clock. Decisions take [`Now`] as an argument.

use chrono::{DateTime, Utc};
use tokio::time::Instant;

/// Wall-clock time, UTC: all that is stored, or compared with what a provider said.
pub type Timestamp = DateTime<Utc>;

/// One reading of both clocks.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// For expiries and deadlines; may jump.
    pub wall: Timestamp,
    /// For windows, throttles and leases; never jumps. tokio's clock, so that tests can run it by hand.
    pub mono: Instant,
}

/// Reads both clocks.
pub fn now() -> Now {
    Now { wall: Utc::now(), mono: Instant::now() }
}
