//! What each namespace may spend of a slow window on calls that no schedule asks for.
//!
//! A window of a minute refills before anybody's token suffers, and turns over namespaces are fair enough there. A window
//! of an hour can be spent in a minute by one namespace that renews on demand, or whose Secrets are altered: then all others
//! wait for the hour. So such calls of one namespace may take an equal share of each window longer than a minute: what the
//! window holds less its reserve for the urgent, divided by the namespaces that use the account; one call at least.

use super::window::{Limits, Opening, Spent};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Windows up to this length have no shares.
const SHARED_ABOVE: Duration = Duration::from_mins(1);

/// A namespace that hasn't asked for so long, longer than the longest window, uses the account no more.
const USES_IT: Duration = Duration::from_hours(25);

/// The namespaces of one account.
#[derive(Debug, Default)]
pub(super) struct Shares {
    /// When each last asked.
    users: BTreeMap<Arc<str>, Instant>,
    /// The ended calls of each that no schedule asked for.
    spent: BTreeMap<Arc<str>, Spent>,
}

impl Shares {
    /// The namespace uses the account.
    pub(super) fn used_by(&mut self, namespace: &Arc<str>, now: Instant) {
        if self.users.insert(namespace.clone(), now).is_none() {
            self.users.retain(|_, asked| now.saturating_duration_since(*asked) < USES_IT);
        }
    }

    /// A call of it ended that no schedule asked for.
    pub(super) fn record(&mut self, namespace: &Arc<str>, now: Instant, keep: Duration) {
        self.spent.entry(namespace.clone()).or_default().record(now, 0, keep);
    }

    /// Forgets what counts no more.
    pub(super) fn forget(&mut self, now: Instant, keep: Duration) {
        self.users.retain(|_, asked| now.saturating_duration_since(*asked) < USES_IT);
        self.spent.retain(|_, spent| {
            spent.forget(now, keep);
            !spent.is_empty()
        });
    }

    /// When the namespace may make one more call that no schedule asks for, beside `open` such calls under way.
    pub(super) fn opening(&self, limits: &Limits, namespace: &str, open: usize) -> Opening {
        let nothing = Spent::default();
        let spent = self.spent.get(namespace).unwrap_or(&nothing);
        let slow = limits.windows.iter().filter(|window| window.period > SHARED_ABOVE);
        let each = slow.map(|window| {
            let shared = (window.requests.max(1) as usize).saturating_sub(window.reserve());
            let share = (shared / self.users.len().max(1)).max(1);
            spent.opening_of(share, window.period, open)
        });
        each.max().unwrap_or(Opening::Now)
    }
}
