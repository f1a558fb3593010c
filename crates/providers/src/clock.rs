//! Reads the clock. No other module reads it. Decisions take [`Now`] as an argument.

use std::time::SystemTime;
use tokio::time::Instant;
pub use videotoken_core::clock::{Now, Timestamp};

/// Reads the wall clock and the monotonic clock.
pub fn now() -> Now {
    Now { wall: wall(SystemTime::now()), mono: Instant::now() }
}

/// Returns the time of `clock`. Times before 1970 are valid, unlike with `Utc::now`, which panics.
fn wall(clock: SystemTime) -> Timestamp {
    clock.into()
}

/// Checks that TLS and expiries work with the time of `clock`. A machine without a battery may start with a time before
/// 1970.
pub fn check(clock: SystemTime) -> Result<(), String> {
    if clock >= SystemTime::UNIX_EPOCH {
        return Ok(());
    }
    let reads = wall(clock).format("%FT%TZ");
    Err(format!("this machine's clock reads {reads}, before 1970: set it, by NTP for example, and start again"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_clock_before_1970_is_read_and_refused() {
        let at = |seconds: i64| {
            let off = Duration::from_secs(seconds.unsigned_abs());
            if seconds < 0 { SystemTime::UNIX_EPOCH - off } else { SystemTime::UNIX_EPOCH + off }
        };
        for (seconds, refused) in [
            (-1, Some("1969-12-31T23:59:59Z")),
            (-86_400 * 365, Some("1969-01-01T00:00:00Z")),
            (0, None),
            (1_790_000_000, None),
        ] {
            assert_eq!(wall(at(seconds)).timestamp(), seconds);
            let said = check(at(seconds)).err();
            match (said, refused) {
                (None, None) => {}
                (Some(said), Some(refused)) => assert!(said.contains(refused), "{said}"),
                (said, _) => assert_eq!(said.as_deref(), refused, "{seconds}"),
            }
        }
    }
}
