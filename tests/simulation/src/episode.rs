//! Episodes: faults that last for some time, each with the tokens whose renewal it may delay.

use crate::world::World;
use chrono::{DateTime, TimeDelta, Utc};
use std::time::Duration;

/// A lasting fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Episode {
    /// The API server refuses connections.
    Down,
    /// The same, and etcd is restored from a snapshot meanwhile.
    Restored,
    /// Requests about the Lease hang.
    LeaseHangs,
    /// An admission webhook takes 7 to 10 seconds for each write of a Secret. The API server drops a write whose client
    /// has disconnected.
    SlowSecrets,
    /// An admission webhook refuses each write of a Secret.
    RefusedSecrets,
    /// Writes of events hang.
    EventsHang,
    /// Writes of providers' statuses take 6 to 30 seconds.
    StatusesHang,
    /// Watches of this kind show no changes.
    StaleWatch(&'static str),
    /// Watches end with 410, and the body of each list stops half-way.
    StalledLists,
    /// The namespace's Role is missing, and an operator restarts.
    Forbidden,
    /// The clock of an operator is so many hours ahead.
    ClockAhead(i64),
    /// The token API answers 500.
    ProviderFails,
    /// The token API refuses the credential.
    CredentialRefused,
    /// A call of the token API takes 8.5 to 9.9 seconds.
    SlowProvider,
}

use Episode::{
    ClockAhead, CredentialRefused, Down, EventsHang, Forbidden, LeaseHangs, ProviderFails, RefusedSecrets, Restored,
    SlowProvider, SlowSecrets, StaleWatch, StalledLists, StatusesHang,
};

/// Each episode, by its name.
pub const EPISODES: [(&str, Episode); 17] = [
    ("down", Down),
    ("restored", Restored),
    ("lease-hangs", LeaseHangs),
    ("slow-secrets", SlowSecrets),
    ("refused-secrets", RefusedSecrets),
    ("events-hang", EventsHang),
    ("statuses-hang", StatusesHang),
    ("stale-tokens", StaleWatch("videoaccesstokens")),
    ("stale-secrets", StaleWatch("secrets")),
    ("stale-providers", StaleWatch("tokenproviders")),
    ("stalled-lists", StalledLists),
    ("forbidden", Forbidden),
    ("clock-ahead", ClockAhead(24)),
    ("clock-behind", ClockAhead(-24)),
    ("provider-fails", ProviderFails),
    ("credential-refused", CredentialRefused),
    ("slow-provider", SlowProvider),
];

impl Episode {
    /// Returns a random episode.
    pub fn any(world: &World) -> Self {
        EPISODES[usize::try_from(world.below(EPISODES.len() as u64)).unwrap_or_default()].1
    }

    /// Returns a random duration within the bounds of the episode.
    pub fn duration(self, world: &World) -> Duration {
        let (from, to) = self.bounds();
        Duration::from_millis(1000 * from + world.below(1000 * (to - from)))
    }

    /// Returns the shortest and the longest duration, in seconds.
    fn bounds(self) -> (u64, u64) {
        match self {
            Down | Restored => (5, 60),
            // About the renew deadline: the Lease lapses for moments, for seconds, or not at all.
            LeaseHangs => (8, 13),
            StaleWatch(_) => (30, 200),
            StalledLists => (5, 20),
            ClockAhead(_) => (10, 300),
            StatusesHang | Forbidden => (60, 600),
            SlowSecrets | RefusedSecrets | EventsHang | ProviderFails | CredentialRefused | SlowProvider => (120, 1500),
        }
    }

    /// Returns for how long after its end it may still delay a renewal, in seconds; `None` if it may delay none at all.
    pub fn tail(self) -> Option<i64> {
        match self {
            EventsHang | StatusesHang | StaleWatch(_) | StalledLists => None,
            Down | LeaseHangs | Forbidden => Some(90),
            Restored | ClockAhead(_) => Some(240),
            SlowSecrets | RefusedSecrets | SlowProvider => Some(60),
            // The longest back-off.
            ProviderFails => Some(310),
            CredentialRefused => Some(960),
        }
    }

    /// Returns true if an issued token may not be stored within moments.
    pub fn hinders_storing(self) -> bool {
        !matches!(self, SlowProvider | EventsHang | StatusesHang | StaleWatch(_) | ProviderFails | CredentialRefused)
    }

    /// Returns true if a new leader may not see the objects that record the calls of the last one.
    pub fn hides_calls(self) -> bool {
        matches!(self, Down | Restored | StaleWatch(_) | StalledLists)
    }

    /// Returns true if it concerns one namespace only.
    pub fn is_of_namespace(self) -> bool {
        matches!(self, SlowSecrets | RefusedSecrets | Forbidden | ProviderFails | CredentialRefused | SlowProvider)
    }
}

/// An episode in progress.
#[derive(Clone, Debug)]
pub struct Active {
    /// What happens.
    pub episode: Episode,
    /// To which namespace, if it is [`Episode::is_of_namespace`].
    pub namespace: String,
    /// Version of the store at its begin.
    pub version: u64,
}

/// Time in which something may delay the renewals of a namespace, or of all.
#[derive(Clone, Debug)]
pub struct Excuse {
    /// Begin.
    pub from: DateTime<Utc>,
    /// End, with the time that recovery takes.
    pub until: DateTime<Utc>,
    /// The namespace; `None` for all.
    pub namespace: Option<String>,
    /// True if it excuses no expired token: renewals take longer, but succeed.
    pub only_late: bool,
}

/// Returns how much of the time between `from` and `to` nothing excuses.
pub fn unexcused<'a>(
    excuses: impl Iterator<Item = &'a Excuse>,
    namespace: &str,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
) -> TimeDelta {
    let concerns = |excuse: &&Excuse| excuse.namespace.as_deref().is_none_or(|of| of == namespace);
    let mut spans: Vec<_> =
        excuses.filter(concerns).map(|excuse| (excuse.from.max(from), excuse.until.min(to))).collect();
    spans.retain(|(from, to)| from < to);
    spans.sort_unstable();
    let (mut left, mut seen) = (to - from, from);
    for (begin, end) in spans {
        left -= (end - begin.max(seen)).max(TimeDelta::zero());
        seen = seen.max(end);
    }
    left.max(TimeDelta::zero())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_overlaps_excuses_once() {
        let at = |seconds| DateTime::from_timestamp(seconds, 0).unwrap_or_default();
        let excuse = |from, until, namespace: Option<&str>| Excuse {
            from: at(from),
            until: at(until),
            namespace: namespace.map(str::to_owned),
            only_late: false,
        };
        let all = [excuse(20, 30, None), excuse(5, 25, Some("a")), excuse(22, 24, Some("a")), excuse(90, 200, None)];
        let left = |namespace, from, to| unexcused(all.iter(), namespace, at(from), at(to)).num_seconds();
        assert_eq!([left("a", 0, 100), left("b", 0, 100), left("a", 6, 28)], [65, 80, 0]);
        assert_eq!(left("b", 40, 50), 10);
    }
}
