//! Whether an expired token was one that P01 promises never to be held, and whether a renewal was later than P17 promises.
//!
//! "A Secret never holds an expired token while an operator held the lease, the API server took writes, and the provider
//! would have issued within the account's budget at some time between `renewAt` and 30 s (or a tenth of its life, if
//! that is less) before `expiresAt`."
//!
//! P03: a key that signs is part of the token request, so another key signs at once. Here it has as long as a renewal has
//! by P17.
//!
//! P17: "Whatever happens in one namespace or at one provider, a healthy token of another namespace and account is renewed
//! within 10 s of its due time."

use chrono::{DateTime, TimeDelta, Utc};

use super::spans::{Span, Spans};

/// When a token was issued and when it expires, by the provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    /// When it was issued.
    pub issued_at: DateTime<Utc>,
    /// When it expires.
    pub expires_at: DateTime<Utc>,
}

impl Life {
    /// How long it is.
    pub fn length(self) -> TimeDelta {
        self.expires_at - self.issued_at
    }

    /// From here on its renewal is due at the latest: two thirds of it are over.
    pub fn due(self) -> DateTime<Utc> {
        self.issued_at + self.length() * 2 / 3
    }

    /// What the promise needs of it at least: a chance later than this comes too late.
    pub fn last_chance(self) -> DateTime<Utc> {
        self.expires_at - (self.length() / 10).min(TimeDelta::seconds(30))
    }
}

/// A call, and the write of what it brought.
const SERVED: TimeDelta = TimeDelta::seconds(2);

/// The moment from which the token could have been renewed, if there was one: from then on all went well for as long as
/// it takes, or until the token expired.
///
/// What it takes: the retry that a failure just before has planned (P07: a quarter of the time left), `queue` (until the
/// account's budget has served all its objects), a call and its write.
pub fn chance(token: Life, well: &Spans, queue: TimeDelta) -> Option<DateTime<Utc>> {
    well.iter().find_map(|Span { from, to }| {
        let from = from.max(token.due());
        let served = (from + (token.expires_at - from) / 4 + queue + SERVED).min(token.expires_at);
        (from <= token.last_chance() && to >= served).then_some(from)
    })
}

/// P17: so long after it is due a renewal may come.
const LATEST: TimeDelta = TimeDelta::seconds(10);

/// So long nothing else has been wrong: no retry waits any more, and a new leader knows what there is.
const SETTLED: TimeDelta = TimeDelta::seconds(20);

/// By how much the renewal was later than P17 promises. `None`: it was in time, or not all was well from long before it
/// was due until it should have been made. `renewed` is when another token was there, or the end of the run.
pub fn late(token: Life, renewed: DateTime<Utc>, well: &Spans, queue: TimeDelta) -> Option<TimeDelta> {
    let deadline = token.due() + LATEST + queue + SERVED;
    let healthy = well.iter().any(|span| span.from + SETTLED <= token.due() && span.to >= deadline);
    (healthy && renewed > deadline).then(|| renewed - deadline)
}

/// When the last token of an older key was replaced, after another key was given: the first moment from which all that
/// was seen is of this generation or a later one. `seen` are the tokens of one Secret, oldest first: when each was seen
/// first, and the generation of its key. `None`: it never was.
pub fn replaced(seen: &[(DateTime<Utc>, u32)], generation: u32) -> Option<DateTime<Utc>> {
    let newer = seen.iter().rev().take_while(|(_, key)| *key >= generation);
    newer.last().map(|(at, _)| *at)
}

/// By how much tokens were signed anew later than promised after their key had changed at `given`. `None`: it was in time,
/// or not all was well for long enough.
pub fn outdated(given: DateTime<Utc>, replaced: DateTime<Utc>, well: &Spans, queue: TimeDelta) -> Option<TimeDelta> {
    let by = |span: Span| (given.max(span.from + SETTLED) + LATEST + queue + SERVED, span.to);
    let deadline = well.iter().map(by).find(|(deadline, to)| deadline <= to)?.0;
    (replaced > deadline).then(|| replaced - deadline)
}

#[cfg(test)]
mod tests {
    use super::super::spans::tests::{at, spans};
    use super::*;

    #[test]
    fn p17_is_broken_only_where_all_was_well() {
        // due at 40; with a call and its write, by 52
        type Case<'a> = (&'a str, i64, &'a [(i64, i64)], i64, Option<i64>);
        let cases: [Case<'_>; 6] = [
            ("in time", 52, &[(0, 100)], 0, None),
            ("late", 55, &[(0, 100)], 0, Some(3)),
            ("late, as the queue has it", 55, &[(0, 100)], 3, None),
            ("something was wrong just before", 55, &[(0, 25), (26, 100)], 0, None),
            ("something went wrong meanwhile", 55, &[(0, 50)], 0, None),
            ("all was well for long enough", 55, &[(20, 52)], 0, Some(3)),
        ];
        for (what, renewed, well, queue, expected) in cases {
            let token = Life { issued_at: at(0), expires_at: at(60) };
            let found = late(token, at(renewed), &spans(well), TimeDelta::seconds(queue));
            assert_eq!(found, expected.map(TimeDelta::seconds), "{what}");
        }
    }

    #[test]
    fn another_key_signs_anew_only_where_all_was_well() {
        // given at 40; with a call and its write, by 52
        type Case<'a> = (&'a str, i64, &'a [(i64, i64)], Option<i64>);
        let cases: [Case<'_>; 6] = [
            ("in time", 52, &[(0, 100)], None),
            ("late", 55, &[(0, 100)], Some(3)),
            ("nobody led before, and then for long enough", 75, &[(38, 100)], Some(5)),
            ("nobody led before, and in time after that", 70, &[(38, 100)], None),
            ("never well for long enough", 100, &[(0, 50), (55, 80)], None),
            ("well only long before", 100, &[(0, 45)], None),
        ];
        for (what, replaced, well, expected) in cases {
            let found = outdated(at(40), at(replaced), &spans(well), TimeDelta::zero());
            assert_eq!(found, expected.map(TimeDelta::seconds), "{what}");
        }
    }

    #[test]
    fn a_key_is_replaced_once_no_token_of_an_older_one_is_seen() {
        type Case<'a> = (&'a str, &'a [(i64, u32)], Option<i64>);
        let cases: [Case<'_>; 6] = [
            ("at once", &[(0, 0), (10, 1), (30, 1)], Some(10)),
            ("never", &[(0, 0), (10, 0)], None),
            ("not seen at all", &[], None),
            ("an older key signed again", &[(0, 0), (10, 1), (20, 0), (30, 1)], Some(30)),
            ("and in the end", &[(0, 0), (10, 1), (20, 0)], None),
            ("by a later one", &[(0, 0), (10, 2)], Some(10)),
        ];
        for (what, seen, expected) in cases {
            let seen: Vec<_> = seen.iter().map(|(second, key)| (at(*second), *key)).collect();
            assert_eq!(replaced(&seen, 1), expected.map(at), "{what}");
        }
    }

    #[test]
    fn p01_is_broken_only_where_there_was_a_chance() {
        // lives of 60 s: due at 40, the last chance at 54; of 600: due at 400, the last chance at 570
        type Case<'a> = (&'a str, i64, &'a [(i64, i64)], i64, Option<i64>);
        let cases: [Case<'_>; 13] = [
            ("all was well", 60, &[(0, 100)], 0, Some(40)),
            ("nothing ever was", 60, &[], 0, None),
            ("well before it was due only", 60, &[(0, 40)], 0, None),
            ("well for the last moment in which it is promised", 60, &[(54, 60)], 0, Some(54)),
            ("well from a second later on", 60, &[(55, 100)], 0, None),
            ("well for as long as it takes: 20 s left, 5 and 2", 60, &[(40, 47)], 0, Some(40)),
            ("well for a second less", 60, &[(40, 46)], 0, None),
            ("several such moments make none", 60, &[(40, 46), (47, 51), (52, 55)], 0, None),
            ("well again in time", 60, &[(0, 41), (50, 55)], 0, Some(50)),
            ("well, but not for the queue", 60, &[(50, 55)], 3, None),
            ("well for the queue too", 60, &[(48, 57)], 3, Some(48)),
            ("30 s before the end of a long life", 600, &[(570, 600)], 0, Some(570)),
            ("later than that", 600, &[(571, 700)], 0, None),
        ];
        for (what, life, well, queue, expected) in cases {
            let token = Life { issued_at: at(0), expires_at: at(life) };
            let found = chance(token, &spans(well), TimeDelta::seconds(queue));
            assert_eq!(found, expected.map(at), "{what}");
        }
    }
}
