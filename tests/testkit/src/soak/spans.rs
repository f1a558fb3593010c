//! When something held: stretches of time, in order and apart from each other.

use chrono::{DateTime, TimeDelta, Utc};

/// From when to when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Its beginning.
    pub from: DateTime<Utc>,
    /// Its end.
    pub to: DateTime<Utc>,
}

impl Span {
    /// Whether they have a moment in common, or touch.
    pub fn meets(self, other: Self) -> bool {
        self.from <= other.to && other.from <= self.to
    }
}

/// Stretches of time, in order and apart from each other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spans(Vec<Span>);

impl Spans {
    /// Each of them, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = Span> {
        self.0.iter().copied()
    }

    /// When both held.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        let mut both = Vec::new();
        for one in self.iter() {
            for two in other.iter().filter(|two| two.meets(one)) {
                both.push(Span { from: one.from.max(two.from), to: one.to.min(two.to) });
            }
        }
        Self(both)
    }

    /// Without what any of `others` covers.
    #[must_use]
    pub fn without(&self, others: impl IntoIterator<Item = Span>) -> Self {
        let mut left = self.0.clone();
        for cut in others {
            left = left.into_iter().flat_map(|span| outside(span, cut)).collect();
        }
        Self(left)
    }
}

impl FromIterator<Span> for Spans {
    /// In whatever order; those that meet become one.
    fn from_iter<I: IntoIterator<Item = Span>>(spans: I) -> Self {
        let mut sorted: Vec<_> = spans.into_iter().collect();
        sorted.sort_by_key(|span| span.from);
        let mut joined: Vec<Span> = Vec::new();
        for span in sorted {
            match joined.last_mut() {
                Some(last) if last.meets(span) => last.to = last.to.max(span.to),
                _ => joined.push(span),
            }
        }
        Self(joined)
    }
}

/// What is left of `span` before and after `cut`.
fn outside(span: Span, cut: Span) -> impl Iterator<Item = Span> {
    let before = Span { to: span.to.min(cut.from), ..span };
    let after = Span { from: span.from.max(cut.to), ..span };
    [before, after].into_iter().filter(|rest| rest.from < rest.to)
}

/// Two looks further apart than this tell nothing of the time between them.
const APART: TimeDelta = TimeDelta::seconds(3);

/// Something that is looked at again and again: it is taken to have been so between two looks that found the same.
#[derive(Debug)]
pub struct Looks<T> {
    last: Option<(DateTime<Utc>, Option<T>)>,
    held: Vec<Span>,
}

impl<T> Default for Looks<T> {
    fn default() -> Self {
        Self { last: None, held: Vec::new() }
    }
}

impl<T: PartialEq> Looks<T> {
    /// A look; `None`: it doesn't hold. True if it found something else than the one before.
    pub fn look(&mut self, at: DateTime<Utc>, found: Option<T>) -> bool {
        let before = self.last.replace((at, None));
        let same = before.as_ref().is_some_and(|(_, before)| *before == found);
        if let Some((from, Some(_))) = before.filter(|(from, _)| same && at - *from <= APART) {
            self.held.push(Span { from, to: at });
        }
        self.last = Some((at, found));
        !same
    }

    /// When it held.
    pub fn spans(&self) -> Spans {
        self.held.iter().copied().collect()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(super) mod tests {
    use super::*;

    pub(in crate::soak) fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000 + second, 0).unwrap()
    }

    pub(in crate::soak) fn span((from, to): (i64, i64)) -> Span {
        Span { from: at(from), to: at(to) }
    }

    pub(in crate::soak) fn spans(spans: &[(i64, i64)]) -> Spans {
        spans.iter().copied().map(span).collect()
    }

    #[test]
    fn spans_are_joined_met_and_cut() {
        assert_eq!(spans(&[(5, 7), (0, 3), (3, 4), (6, 9)]), Spans(vec![span((0, 4)), span((5, 9))]));
        let cases: [(&[_], &[_], &[_]); 3] =
            [(&[(0, 10)], &[(2, 4), (6, 20)], &[(2, 4), (6, 10)]), (&[(0, 1)], &[(2, 3)], &[]), (&[], &[(0, 1)], &[])];
        for (one, two, both) in cases {
            assert_eq!(spans(one).and(&spans(two)), spans(both));
        }
        let cases: [(&[_], &[_]); 4] = [
            (&[(2, 4)], &[(0, 2), (4, 10)]),
            (&[(0, 10)], &[]),
            (&[(8, 12), (-3, 1)], &[(1, 8)]),
            (&[(20, 30)], &[(0, 10)]),
        ];
        for (cuts, left) in cases {
            assert_eq!(spans(&[(0, 10)]).without(cuts.iter().copied().map(span)), spans(left), "{cuts:?}");
        }
    }

    #[test]
    fn it_held_between_two_looks_that_found_the_same() {
        let mut looks = Looks::default();
        let found = [(0, None), (1, Some("a")), (2, Some("a")), (3, Some("b")), (4, Some("b")), (9, Some("b"))];
        let news: Vec<_> = found.iter().map(|(second, found)| looks.look(at(*second), *found)).collect();
        assert_eq!(news, [true, true, false, true, false, false]);
        assert_eq!(looks.spans(), spans(&[(1, 2), (3, 4)]));
    }
}
