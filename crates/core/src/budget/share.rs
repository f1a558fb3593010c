//! Shares of the namespaces in long windows, for unplanned calls.
//!
//! A window of one minute refills before a token expires, and rounds over namespaces are fair enough. One namespace
//! that forces renewals, or whose Secrets are altered, could use a window of one hour within a minute, and all other
//! namespaces would wait for the hour. Therefore unplanned calls of a namespace get an equal share of each window
//! longer than one minute: the window without its urgent reserve, divided by the number of namespaces that use the
//! account, and at least one call.

use super::window::{Availability, CallHistory, Limits};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Maximum length of a window without shares.
const SHARE_MIN_PERIOD: Duration = Duration::from_mins(1);

/// Time after its last request until a namespace no longer counts as a user. Longer than the longest window.
const USER_TIMEOUT: Duration = Duration::from_hours(25);

/// Namespaces of one account.
#[derive(Debug, Default)]
pub(super) struct Shares {
    /// Time of the last request of each namespace.
    users: BTreeMap<Arc<str>, Instant>,
    /// Ended unplanned calls of each namespace.
    history: BTreeMap<Arc<str>, CallHistory>,
}

impl Shares {
    /// Records a request of the namespace.
    pub(super) fn record_user(&mut self, namespace: &Arc<str>, now: Instant) {
        if self.users.insert(namespace.clone(), now).is_none() {
            self.users.retain(|_, asked| now.saturating_duration_since(*asked) < USER_TIMEOUT);
        }
    }

    /// Records an ended unplanned call of the namespace.
    pub(super) fn record(&mut self, namespace: &Arc<str>, now: Instant, keep: Duration) {
        self.history.entry(namespace.clone()).or_default().record(now, 0, keep);
    }

    /// Removes entries that no longer count.
    pub(super) fn forget(&mut self, now: Instant, keep: Duration) {
        self.users.retain(|_, asked| now.saturating_duration_since(*asked) < USER_TIMEOUT);
        self.history.retain(|_, history| {
            history.forget(now, keep);
            !history.is_empty()
        });
    }

    /// Returns when the namespace may make another unplanned call, while `open` of its unplanned calls are in
    /// progress.
    pub(super) fn availability(&self, limits: &Limits, namespace: &str, open: usize) -> Availability {
        let nothing = CallHistory::default();
        let history = self.history.get(namespace).unwrap_or(&nothing);
        let slow = limits.windows.iter().filter(|window| window.period > SHARE_MIN_PERIOD);
        let each = slow.map(|window| {
            let shared = (window.requests.max(1) as usize).saturating_sub(window.reserve());
            let share = (shared / self.users.len().max(1)).max(1);
            history.availability_of(share, window.period, open)
        });
        each.max().unwrap_or(Availability::Now)
    }
}
