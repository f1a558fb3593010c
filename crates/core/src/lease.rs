//! Leader election: the next action of a candidate and the records that it writes, pure over `now`.

use crate::clock::{Now, Timestamp};
use k8s_openapi::api::coordination::v1::LeaseSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff;
use std::time::Duration;
use tokio::time::Instant;

/// A record, and the time at which this process first saw this version of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Observed {
    /// The record.
    pub spec: LeaseSpec,
    /// Time at which this process first saw it.
    pub since: Instant,
}

impl Observed {
    /// Combines `spec`, read at `now`, with the previous observation. An unchanged record keeps its time.
    pub fn see(before: Option<Self>, spec: LeaseSpec, now: Instant) -> Self {
        before.filter(|before| before.spec == spec).unwrap_or(Self { spec, since: now })
    }

    /// Returns the identity of the leader; empty if there is none.
    pub fn holder(&self) -> &str {
        self.spec.holder_identity.as_deref().unwrap_or_default()
    }
}

/// Next action on the Lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The Lease doesn't exist.
    Create,
    /// This process holds the lease.
    Renew,
    /// No process holds the lease, or its leader has been silent for the whole duration.
    Acquire,
    /// Another process holds the lease at least until this time.
    Wait(Instant),
}

/// Returns the next action of process `me`. `duration` is used if a record contains none.
pub fn step(me: &str, observed: Option<&Observed>, duration: Duration, now: Instant) -> Action {
    let Some(observed) = observed else { return Action::Create };
    match observed.holder() {
        holder if holder == me => Action::Renew,
        "" => Action::Acquire,
        _ => {
            let seconds = observed.spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
            let free = observed.since + seconds.filter(|s| *s > 0).map_or(duration, Duration::from_secs);
            if now < free { Action::Wait(free) } else { Action::Acquire }
        }
    }
}

/// Returns the record that `action` writes over `before`.
pub fn acquired_spec(me: &str, action: Action, before: Option<&LeaseSpec>, duration: Duration, now: Now) -> LeaseSpec {
    let before = before.cloned().unwrap_or_default();
    let transitions = before.lease_transitions.unwrap_or_default();
    let now = micro_time(now.wall);
    LeaseSpec {
        holder_identity: Some(me.to_owned()),
        lease_duration_seconds: Some(whole_seconds(duration)),
        lease_transitions: Some(if action == Action::Acquire { transitions.saturating_add(1) } else { transitions }),
        acquire_time: if action == Action::Renew { before.acquire_time } else { now.clone() },
        renew_time: now,
        ..before
    }
}

/// Returns the record that releases `before`: without a leader, and with a duration of one second for a reader that
/// ignores the missing leader.
pub fn released(before: &LeaseSpec, now: Now) -> LeaseSpec {
    LeaseSpec {
        holder_identity: Some(String::new()),
        lease_duration_seconds: Some(1),
        renew_time: micro_time(now.wall),
        ..before.clone()
    }
}

fn micro_time(at: Timestamp) -> Option<MicroTime> {
    jiff::Timestamp::from_microsecond(at.timestamp_micros()).ok().map(MicroTime)
}

/// Rounds up, so that other processes wait rather too long than too short.
fn whole_seconds(duration: Duration) -> i32 {
    let seconds = duration.as_secs() + u64::from(duration.subsec_nanos() > 0);
    i32::try_from(seconds).unwrap_or(i32::MAX)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    mod clock {
        use crate::clock::Now;

        pub(super) fn now() -> Now {
            Now { wall: chrono::DateTime::from_timestamp(1_790_000_000, 0).unwrap(), mono: tokio::time::Instant::now() }
        }
    }

    const DURATION: Duration = Duration::from_secs(15);

    fn spec(holder: Option<&str>, seconds: Option<i32>) -> LeaseSpec {
        LeaseSpec {
            holder_identity: holder.map(str::to_owned),
            lease_duration_seconds: seconds,
            lease_transitions: Some(4),
            ..LeaseSpec::default()
        }
    }

    #[test]
    fn what_a_candidate_does_follows_from_the_record_and_its_own_clock() {
        let since = clock::now().mono;
        let after = |milliseconds| since + Duration::from_millis(milliseconds);
        let free_at = |seconds| Action::Wait(since + Duration::from_secs(seconds));
        for (holder, seconds, now, expected, why) in [
            (Some("me"), Some(15), after(0), Action::Renew, "ours"),
            (Some("me"), Some(15), after(60_000), Action::Renew, "its own, expired and not taken by another process"),
            (Some("other"), Some(15), after(0), free_at(15), "just seen"),
            (Some("other"), Some(15), after(14_999), free_at(15), "silent for almost its duration"),
            (Some("other"), Some(15), after(15_000), Action::Acquire, "silent for its duration"),
            (Some("other"), Some(60), after(15_000), free_at(60), "its own duration counts, not ours"),
            (Some("other"), None, after(14_000), free_at(15), "no duration: ours"),
            (Some("other"), Some(0), after(14_000), free_at(15), "a duration of nothing: ours"),
            (Some("other"), Some(-9), after(15_000), Action::Acquire, "a duration below nothing: ours"),
            (Some(""), Some(1), after(0), Action::Acquire, "released"),
            (None, None, after(0), Action::Acquire, "never held"),
            (Some("me2"), Some(15), after(0), free_at(15), "another by a similar name"),
        ] {
            let observed = Observed { spec: spec(holder, seconds), since };
            assert_eq!(step("me", Some(&observed), DURATION, now), expected, "{why}");
        }
        assert_eq!(step("me", None, DURATION, since), Action::Create);
    }

    #[test]
    fn a_record_is_as_old_as_its_last_change() {
        let start = clock::now().mono;
        let later = start + Duration::from_secs(3);
        let first = Observed::see(None, spec(Some("other"), Some(15)), start);
        let same = Observed::see(Some(first.clone()), spec(Some("other"), Some(15)), later);
        assert_eq!(same.since, start, "nothing changed");
        let renewed = LeaseSpec { renew_time: micro_time(clock::now().wall), ..spec(Some("other"), Some(15)) };
        assert_eq!(Observed::see(Some(first), renewed, later).since, later, "renewed");
    }

    #[test]
    fn what_is_written_keeps_what_it_must() {
        let now = clock::now();
        let acquired = micro_time(now.wall - chrono::TimeDelta::hours(1));
        let before = LeaseSpec { acquire_time: acquired.clone(), ..spec(Some("other"), Some(60)) };
        for (action, transitions, acquire_time) in
            [(Action::Renew, 4, acquired.clone()), (Action::Acquire, 5, micro_time(now.wall))]
        {
            let after = acquired_spec("me", action, Some(&before), DURATION, now);
            assert_eq!(after.holder_identity.as_deref(), Some("me"));
            assert_eq!((after.lease_duration_seconds, after.lease_transitions), (Some(15), Some(transitions)));
            assert_eq!((after.acquire_time, after.renew_time), (acquire_time, micro_time(now.wall)));
        }
        let first = acquired_spec("me", Action::Create, None, Duration::from_millis(1500), now);
        assert_eq!((first.lease_duration_seconds, first.lease_transitions), (Some(2), Some(0)));
        assert_eq!(first.acquire_time, micro_time(now.wall));

        let free = released(&before, now);
        assert_eq!((free.holder_identity.as_deref(), free.lease_duration_seconds), (Some(""), Some(1)));
        assert_eq!((free.acquire_time, free.lease_transitions), (acquired, Some(4)));
    }
}
