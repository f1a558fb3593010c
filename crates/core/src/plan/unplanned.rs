//! Limits of unplanned calls of one VideoAccessToken (P18, P20).
//!
//! The first unplanned calls are made at once: for a lost token, an edit or a forced renewal. Further ones wait longer
//! each time. The current token stays in the Secret, and a renewal that is due does not wait.

use crate::clock::Timestamp;
use chrono::TimeDelta;

/// Kind of an unplanned call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unplanned {
    /// The token in the Secret was lost or altered, or the Secret was deleted.
    Loss,
    /// The annotation forces a renewal, or a failure is retried early after a change.
    Demand,
    /// The token request changed.
    Edit,
}

/// A series ends after this time without a call of its kind, or after twice its last wait.
const QUIET: TimeDelta = TimeDelta::minutes(10);

/// Maximum difference of a correct clock. A time that is further in the future comes from a wrong clock.
pub const MAX_CLOCK_ERROR: TimeDelta = TimeDelta::minutes(1);

/// Minimum age of a token that is only known from the Secret before it is issued again.
const MOMENT: TimeDelta = TimeDelta::seconds(15);

impl Unplanned {
    /// Returns the number of calls of a series that are made at once.
    fn at_once(self) -> u32 {
        match self {
            Self::Loss => 3,
            Self::Demand | Self::Edit => 5,
        }
    }

    /// Returns the wait after the `calls`-th call of a series.
    fn wait(self, calls: u32) -> TimeDelta {
        let doubled = |first: TimeDelta, times: u32, most: TimeDelta| (first * 2i32.pow(times.min(12))).min(most);
        let Some(more) = calls.checked_sub(self.at_once()) else { return TimeDelta::zero() };
        match (self, more) {
            // three in 10 minutes, then with back-off
            (Self::Loss, _) => doubled(TimeDelta::minutes(10), more, TimeDelta::minutes(30)),
            // like the closest scheduled calls, but not forever
            (Self::Demand | Self::Edit, 0..25) => doubled(TimeDelta::seconds(2), more, TimeDelta::seconds(10)),
            (Self::Demand | Self::Edit, _) => doubled(TimeDelta::seconds(20), more - 25, TimeDelta::minutes(10)),
        }
    }
}

/// Calls of one kind in a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct CallSeries {
    calls: u32,
    last: Timestamp,
}

impl CallSeries {
    fn next(self, kind: Unplanned, least: TimeDelta, now: Timestamp) -> Option<Timestamp> {
        let next = self.last + kind.wait(self.calls).max(least);
        (self.calls > 0 && !self.is_over(kind, now) && now < next).then_some(next)
    }

    fn is_over(self, kind: Unplanned, now: Timestamp) -> bool {
        let quiet = (kind.wait(self.calls) * 2).max(QUIET);
        self.calls == 0 || now - self.last >= quiet || self.last - now > MAX_CLOCK_ERROR
    }

    /// Allows one more call at once. Returns true if the series had to wait before.
    fn lift(&mut self, kind: Unplanned) -> bool {
        let unsaved = self.calls >= kind.at_once();
        self.calls = self.calls.min(kind.at_once() - 1);
        unsaved
    }

    fn record(&mut self, kind: Unplanned, now: Timestamp) {
        let calls = if self.is_over(kind, now) { 1 } else { self.calls.saturating_add(1) };
        *self = Self { calls, last: now };
    }
}

/// Recent unplanned calls of one VideoAccessToken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnplannedCalls {
    losses: CallSeries,
    demands: CallSeries,
    edits: CallSeries,
    /// Generation of the VideoAccessToken at the last call. An edit ends the wait of the other two kinds once, as long
    /// as edits themselves don't wait.
    generation: i64,
    /// True if the calls are only known from the Secret.
    restored: bool,
}

impl UnplannedCalls {
    /// Creates the state of a VideoAccessToken whose last token an earlier process or another operator issued.
    pub fn restored(issued_at: Timestamp, generation: i64) -> Self {
        let spell = |calls| CallSeries { calls, last: issued_at };
        Self { losses: spell(2), demands: spell(4), edits: spell(4), generation, restored: true }
    }

    /// Returns true if the calls are only known from the Secret, so that they may not have been unplanned.
    pub fn are_restored(&self) -> bool {
        self.restored
    }

    /// Returns the time of the next call of this kind. `None`: now.
    pub fn next(&self, kind: Unplanned, generation: i64, now: Timestamp) -> Option<Timestamp> {
        let least = if self.restored { MOMENT } else { TimeDelta::zero() };
        if self.lifts(kind, generation, now) {
            return None;
        }
        match kind {
            Unplanned::Loss => self.losses.next(kind, least, now),
            Unplanned::Demand => self.demands.next(kind, least, now),
            Unplanned::Edit => self.edits.next(kind, TimeDelta::zero(), now),
        }
    }

    /// Returns the number of calls of this kind in a row.
    pub fn calls(&self, kind: Unplanned) -> u32 {
        match kind {
            Unplanned::Loss => self.losses.calls,
            Unplanned::Demand => self.demands.calls,
            Unplanned::Edit => self.edits.calls,
        }
    }

    /// Records a call.
    pub fn record(&mut self, kind: Unplanned, generation: i64, now: Timestamp) {
        if generation != self.generation && self.edits.next(Unplanned::Edit, TimeDelta::zero(), now).is_none() {
            let losses = self.losses.lift(Unplanned::Loss);
            if (self.demands.lift(Unplanned::Demand) || losses) && kind != Unplanned::Edit {
                self.edits.record(Unplanned::Edit, now);
            }
        }
        match kind {
            Unplanned::Loss => self.losses.record(kind, now),
            Unplanned::Demand => self.demands.record(kind, now),
            Unplanned::Edit => self.edits.record(kind, now),
        }
        (self.generation, self.restored) = (generation, false);
    }

    /// Returns true if no call counts any more.
    pub fn are_over(&self, now: Timestamp) -> bool {
        self.losses.is_over(Unplanned::Loss, now)
            && self.demands.is_over(Unplanned::Demand, now)
            && self.edits.is_over(Unplanned::Edit, now)
    }

    /// Returns true if the spec was edited since the last call, within the limit of edits.
    fn lifts(&self, kind: Unplanned, generation: i64, now: Timestamp) -> bool {
        let edited = kind != Unplanned::Edit && generation != self.generation;
        edited && self.edits.next(Unplanned::Edit, TimeDelta::zero(), now).is_none()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::tests::at;
    use Unplanned::{Demand, Edit, Loss};
    use proptest::prelude::*;

    /// The calls that an object makes that wants one of this kind each second.
    fn greedy(kind: Unplanned, seconds: i64, generation: impl Fn(i64) -> i64) -> Vec<i64> {
        let (mut unplanned_calls, mut calls) = (UnplannedCalls::default(), Vec::new());
        for second in 0..seconds {
            if unplanned_calls.next(kind, generation(second), at(second)).is_none() {
                unplanned_calls.record(kind, generation(second), at(second));
                calls.push(second);
            }
        }
        calls
    }

    #[test]
    fn p18_a_fight_costs_three_calls_in_ten_minutes_and_ever_fewer() {
        assert_eq!(greedy(Loss, 6000, |_| 1), [0, 1, 2, 602, 1802, 3602, 5402]);
    }

    #[test]
    fn p20_demands_and_edits_are_served_at_once_the_first_times() {
        for kind in [Demand, Edit] {
            let calls = greedy(kind, 6000, |second| if kind == Edit { second } else { 1 });
            assert_eq!(calls[..10], [0, 1, 2, 3, 4, 6, 10, 18, 28, 38], "{kind:?}");
            let last = &calls[calls.len() - 3..];
            assert!(last[2] - last[1] >= 600 && calls.len() < 45, "{kind:?} {calls:?}");
        }
    }

    #[test]
    fn p18_an_edit_ends_a_fight_s_wait_but_not_again_and_again() {
        let mut unplanned_calls = UnplannedCalls::default();
        (0..3).for_each(|second| unplanned_calls.record(Loss, 1, at(second)));
        assert!(unplanned_calls.next(Loss, 1, at(10)).is_some());
        assert_eq!(unplanned_calls.next(Loss, 2, at(10)), None, "the spec is another");
        // whose generation changes each second gets no more than who edits each second
        let calls = greedy(Loss, 600, |second| second);
        assert!(calls.len() <= greedy(Edit, 600, |second| second).len() + 6, "{calls:?}");
        assert!(greedy(Loss, 10, |second| second).len() <= 10);
    }

    #[test]
    fn p20_of_an_earlier_life_only_the_last_issue_is_known() {
        let unplanned_calls = UnplannedCalls::restored(at(0), 1);
        // seconds since the issue, what is wanted, when it may be
        let cases = [
            (5, Loss, Some(15)),
            (5, Demand, Some(15)),
            (5, Edit, None),
            (15, Loss, None),
            (20, Demand, None),
            (3600, Loss, None),
        ];
        for (now, kind, next) in cases {
            assert_eq!(unplanned_calls.next(kind, 1, at(now)), next.map(at), "{kind:?} {now}");
        }
        let mut unplanned_calls = unplanned_calls;
        unplanned_calls.record(Loss, 1, at(20));
        assert_eq!(unplanned_calls.next(Loss, 1, at(21)), Some(at(620)), "one more, and then it waits");
    }

    #[test]
    fn b11_a_clock_that_went_back_holds_nothing_for_long() {
        let mut unplanned_calls = UnplannedCalls::default();
        (0..9).for_each(|second| unplanned_calls.record(Loss, 1, at(86_400 + second)));
        assert!(unplanned_calls.next(Loss, 1, at(86_410)).is_some());
        assert_eq!(unplanned_calls.next(Loss, 1, at(0)), None);
        assert!(unplanned_calls.are_over(at(0)));
    }

    proptest! {
        #[test]
        fn p18_no_ten_minutes_see_a_fourth_loss(steps in proptest::collection::vec(0i64..900, 1..80)) {
            let (mut unplanned_calls, mut now, mut calls) = (UnplannedCalls::default(), at(0), Vec::new());
            for step in steps {
                now += TimeDelta::seconds(step);
                if unplanned_calls.next(Loss, 1, now).is_none() {
                    unplanned_calls.record(Loss, 1, now);
                    calls.push(now);
                }
            }
            for four in calls.windows(4) {
                prop_assert!(four[3] - four[0] >= TimeDelta::minutes(10), "{calls:?}");
            }
        }
    }
}
