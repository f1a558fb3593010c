//! How often one object may cost a call that no schedule asks for (P18, P20).
//!
//! A lost token is issued again at once, an edit and a renewal on demand are served at once: the first times. Whoever goes
//! on, such as another writer of the Secret, waits longer each time. The object's token of today lives on meanwhile, and a
//! renewal that is due waits for none of this.

use crate::clock::Timestamp;
use chrono::TimeDelta;

/// Why a call is made that no schedule asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unplanned {
    /// The token in the Secret was lost or altered, or the Secret was deleted.
    Loss,
    /// The annotation asks for a renewal, or a failure is tried again early since something was changed.
    Demand,
    /// Something else is asked of the provider.
    Edit,
}

/// A spell of calls is over when nothing of its kind happened for so long, or for twice its last wait.
const QUIET: TimeDelta = TimeDelta::minutes(10);

/// A time further ahead was written by a clock that was wrong.
pub const AHEAD: TimeDelta = TimeDelta::minutes(1);

/// Known only from the Secret, a token that was issued a moment ago isn't issued again at once.
const MOMENT: TimeDelta = TimeDelta::seconds(15);

impl Unplanned {
    /// So many calls of a spell are made at once.
    fn at_once(self) -> u32 {
        match self {
            Self::Loss => 3,
            Self::Demand | Self::Edit => 5,
        }
    }

    /// How long after the `calls`-th call of a spell the next may be made.
    fn wait(self, calls: u32) -> TimeDelta {
        let doubled = |first: TimeDelta, times: u32, most: TimeDelta| (first * 2i32.pow(times.min(12))).min(most);
        let Some(more) = calls.checked_sub(self.at_once()) else { return TimeDelta::zero() };
        match (self, more) {
            // three in ten minutes, then ever more rarely
            (Self::Loss, _) => doubled(TimeDelta::minutes(10), more, TimeDelta::minutes(30)),
            // as close as scheduled ones are at most, and not for ever
            (Self::Demand | Self::Edit, 0..25) => doubled(TimeDelta::seconds(2), more, TimeDelta::seconds(10)),
            (Self::Demand | Self::Edit, _) => doubled(TimeDelta::seconds(20), more - 25, TimeDelta::minutes(10)),
        }
    }
}

/// The calls of one kind in a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Spell {
    calls: u32,
    last: Timestamp,
}

impl Spell {
    fn next(self, kind: Unplanned, least: TimeDelta, now: Timestamp) -> Option<Timestamp> {
        let next = self.last + kind.wait(self.calls).max(least);
        (self.calls > 0 && !self.is_over(kind, now) && now < next).then_some(next)
    }

    fn is_over(self, kind: Unplanned, now: Timestamp) -> bool {
        let quiet = (kind.wait(self.calls) * 2).max(QUIET);
        self.calls == 0 || now - self.last >= quiet || self.last - now > AHEAD
    }

    /// One more call may be made at once. Tells whether it couldn't before.
    fn lift(&mut self, kind: Unplanned) -> bool {
        let held = self.calls >= kind.at_once();
        self.calls = self.calls.min(kind.at_once() - 1);
        held
    }

    fn note(&mut self, kind: Unplanned, now: Timestamp) {
        let calls = if self.is_over(kind, now) { 1 } else { self.calls.saturating_add(1) };
        *self = Self { calls, last: now };
    }
}

/// The unplanned calls of one object, while they count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spells {
    losses: Spell,
    demands: Spell,
    edits: Spell,
    /// The object's generation at the last of them. An edit ends the wait of the other two kinds once, as often as edits
    /// themselves are served at once.
    generation: i64,
    /// Known from the Secret alone.
    recalled: bool,
}

impl Spells {
    /// What can be told of an object whose last token an earlier life of this process issued, or another operator.
    pub fn recalled(issued_at: Timestamp, generation: i64) -> Self {
        let spell = |calls| Spell { calls, last: issued_at };
        Self { losses: spell(2), demands: spell(4), edits: spell(4), generation, recalled: true }
    }

    /// They are known from the Secret alone: none of them need have been made.
    pub fn are_recalled(&self) -> bool {
        self.recalled
    }

    /// When the next such call may be made, if not now.
    pub fn next(&self, kind: Unplanned, generation: i64, now: Timestamp) -> Option<Timestamp> {
        let least = if self.recalled { MOMENT } else { TimeDelta::zero() };
        if self.lifts(kind, generation, now) {
            return None;
        }
        match kind {
            Unplanned::Loss => self.losses.next(kind, least, now),
            Unplanned::Demand => self.demands.next(kind, least, now),
            Unplanned::Edit => self.edits.next(kind, TimeDelta::zero(), now),
        }
    }

    /// How many calls of this kind were made in a row.
    pub fn calls(&self, kind: Unplanned) -> u32 {
        match kind {
            Unplanned::Loss => self.losses.calls,
            Unplanned::Demand => self.demands.calls,
            Unplanned::Edit => self.edits.calls,
        }
    }

    /// Such a call is made.
    pub fn note(&mut self, kind: Unplanned, generation: i64, now: Timestamp) {
        if generation != self.generation && self.edits.next(Unplanned::Edit, TimeDelta::zero(), now).is_none() {
            let losses = self.losses.lift(Unplanned::Loss);
            if (self.demands.lift(Unplanned::Demand) || losses) && kind != Unplanned::Edit {
                self.edits.note(Unplanned::Edit, now);
            }
        }
        match kind {
            Unplanned::Loss => self.losses.note(kind, now),
            Unplanned::Demand => self.demands.note(kind, now),
            Unplanned::Edit => self.edits.note(kind, now),
        }
        (self.generation, self.recalled) = (generation, false);
    }

    /// Nothing of it counts any more.
    pub fn are_over(&self, now: Timestamp) -> bool {
        self.losses.is_over(Unplanned::Loss, now)
            && self.demands.is_over(Unplanned::Demand, now)
            && self.edits.is_over(Unplanned::Edit, now)
    }

    /// The spec was edited since, and not too often.
    fn lifts(&self, kind: Unplanned, generation: i64, now: Timestamp) -> bool {
        let edited = kind != Unplanned::Edit && generation != self.generation;
        edited && self.edits.next(Unplanned::Edit, TimeDelta::zero(), now).is_none()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use Unplanned::{Demand, Edit, Loss};
    use proptest::prelude::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_timestamp(1_790_000_000 + seconds, 0).unwrap()
    }

    /// The calls that an object makes that wants one of this kind each second.
    fn greedy(kind: Unplanned, seconds: i64, generation: impl Fn(i64) -> i64) -> Vec<i64> {
        let (mut spells, mut calls) = (Spells::default(), Vec::new());
        for second in 0..seconds {
            if spells.next(kind, generation(second), at(second)).is_none() {
                spells.note(kind, generation(second), at(second));
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
        let mut spells = Spells::default();
        (0..3).for_each(|second| spells.note(Loss, 1, at(second)));
        assert!(spells.next(Loss, 1, at(10)).is_some());
        assert_eq!(spells.next(Loss, 2, at(10)), None, "the spec is another");
        // whose generation changes each second gets no more than who edits each second
        let calls = greedy(Loss, 600, |second| second);
        assert!(calls.len() <= greedy(Edit, 600, |second| second).len() + 6, "{calls:?}");
        assert!(greedy(Loss, 10, |second| second).len() <= 10);
    }

    #[test]
    fn p20_of_an_earlier_life_only_the_last_issue_is_known() {
        let spells = Spells::recalled(at(0), 1);
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
            assert_eq!(spells.next(kind, 1, at(now)), next.map(at), "{kind:?} {now}");
        }
        let mut spells = spells;
        spells.note(Loss, 1, at(20));
        assert_eq!(spells.next(Loss, 1, at(21)), Some(at(620)), "one more, and then it waits");
    }

    #[test]
    fn b11_a_clock_that_went_back_holds_nothing_for_long() {
        let mut spells = Spells::default();
        (0..9).for_each(|second| spells.note(Loss, 1, at(86_400 + second)));
        assert!(spells.next(Loss, 1, at(86_410)).is_some());
        assert_eq!(spells.next(Loss, 1, at(0)), None);
        assert!(spells.are_over(at(0)));
    }

    proptest! {
        #[test]
        fn p18_no_ten_minutes_see_a_fourth_loss(steps in proptest::collection::vec(0i64..900, 1..80)) {
            let (mut spells, mut now, mut calls) = (Spells::default(), at(0), Vec::new());
            for step in steps {
                now += TimeDelta::seconds(step);
                if spells.next(Loss, 1, now).is_none() {
                    spells.note(Loss, 1, now);
                    calls.push(now);
                }
            }
            for four in calls.windows(4) {
                prop_assert!(four[3] - four[0] >= TimeDelta::minutes(10), "{calls:?}");
            }
        }
    }
}
