//! Whether an expired token was one that P01 promises never to be held.
//!
//! "A Secret never holds an expired token while an operator held the lease, the API server took writes, and the provider
//! would have issued within the account's budget at some time between `renewAt` and 30 s (or a tenth of its life, if
//! that is less) before `expiresAt`."

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

#[cfg(test)]
mod tests {
    use super::super::spans::tests::{at, spans};
    use super::*;

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
