//! The two clocks as values. Functions that depend on the time take `Now` as an argument and read no clock.

use tokio::time::Instant;
pub use videotoken_api::Timestamp;

/// Time on both clocks.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// Wall clock, for expiries and deadlines. It may jump.
    pub wall: Timestamp,
    /// Monotonic clock, for windows, throttles and leases. It is tokio's clock, so that tests can control it.
    pub mono: Instant,
}
