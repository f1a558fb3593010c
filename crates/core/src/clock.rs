//! The two clocks as values: who decides takes them as an argument, and reads none.

use tokio::time::Instant;
pub use videotoken_api::Timestamp;

/// One reading of both clocks.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// For expiries and deadlines; may jump.
    pub wall: Timestamp,
    /// For windows, throttles and leases; never jumps. tokio's clock, so that tests can run it by hand.
    pub mono: Instant,
}
