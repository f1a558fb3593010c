//! The one place that reads the clock. Decisions take `now` as an argument.

use chrono::{DateTime, Utc};

/// Wall-clock time, UTC. All that is stored or compared with what a provider said.
pub type Timestamp = DateTime<Utc>;

/// The wall clock.
pub fn now() -> Timestamp {
    Utc::now()
}

/// Monotonic time for windows and time-outs: tokio's clock, so that tests can run it by hand.
pub fn monotonic() -> tokio::time::Instant {
    tokio::time::Instant::now()
}
