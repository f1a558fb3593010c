//! What is asked of the page, and the rows that answer it.

use serde::Deserialize;
use std::collections::BTreeMap;
use videotoken_core::summary::{State, TokenSummary};
use videotoken_providers::clock::Timestamp;

/// Rows on a page: as many as a person reads, whatever the number of tokens.
const ROWS: usize = 100;

/// One token, as the page tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The row of `kubectl videotoken status`.
    pub row: TokenSummary,
    /// What the last attempt failed with, in words fit for a status; empty where it didn't.
    pub message: String,
    /// The provider's id of that request.
    pub request_id: Option<String>,
}

/// One provider object, as the page tells of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Provider {
    /// Ready to issue. Those that aren't come first.
    pub ready: bool,
    /// `TokenProvider` or `ClusterTokenProvider`.
    pub kind: &'static str,
    /// Its namespace; empty for a `ClusterTokenProvider`.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Which of the provider types it is.
    pub type_: String,
    /// How many tokens name it, as far as it is known.
    pub tokens: Option<i64>,
    /// When its credential ends, where that tells.
    pub credential_expires_at: Option<Timestamp>,
    /// Why it is or isn't ready, in a word.
    pub reason: String,
    /// The same in a sentence.
    pub message: String,
}

/// The query of the page's address. What isn't known in it is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Asked {
    /// Only in this state.
    pub state: String,
    /// Only of this namespace.
    pub namespace: String,
    /// Only with this in the name.
    pub name: String,
    /// Which page of them, from 1.
    pub page: String,
}

impl Asked {
    /// The state that is asked for, if it is one.
    pub(super) fn state(&self) -> Option<State> {
        State::ALL.into_iter().find(|state| state.as_str().eq_ignore_ascii_case(&self.state))
    }
}

/// All there is at one time, the most urgent first.
pub(super) struct Snapshot {
    pub(super) now: Timestamp,
    pub(super) leads: bool,
    pub(super) providers: Vec<Provider>,
    tokens: Vec<Told>,
    /// How many tokens each namespace has.
    pub(super) namespaces: BTreeMap<String, usize>,
}

/// What one address is answered with.
pub(super) struct Answer<'a> {
    /// As it was asked, the page put right.
    pub(super) asked: Asked,
    /// The rows of the page.
    pub(super) rows: Vec<&'a Told>,
    /// How many are in each state, of those that fit the rest of what is asked.
    pub(super) counts: [usize; State::ALL.len()],
    /// From and to which row, from 1; of how many.
    pub(super) span: (usize, usize, usize),
    /// Which page, of how many.
    pub(super) page: (usize, usize),
}

impl Snapshot {
    /// Sorts what was gathered.
    pub(super) fn new(mut tokens: Vec<Told>, mut providers: Vec<Provider>, leads: bool, now: Timestamp) -> Self {
        tokens.sort_by(|a, b| a.row.by_urgency(&b.row, now));
        providers.sort();
        let mut namespaces = BTreeMap::new();
        for token in &tokens {
            if let Some(count) = namespaces.get_mut(&token.row.namespace) {
                *count += 1;
            } else {
                namespaces.insert(token.row.namespace.clone(), 1);
            }
        }
        Self { now, leads, providers, tokens, namespaces }
    }

    /// How many tokens there are.
    pub(super) fn len(&self) -> usize {
        self.tokens.len()
    }

    /// The rows that were asked for.
    pub(super) fn answer(&self, asked: &Asked) -> Answer<'_> {
        let fits = |token: &&Told| {
            (asked.namespace.is_empty() || token.row.namespace == asked.namespace)
                && (asked.name.is_empty() || token.row.name.contains(&asked.name))
        };
        let mut counts = [0; State::ALL.len()];
        let mut found: Vec<&Told> = Vec::new();
        let wanted = asked.state();
        for token in self.tokens.iter().filter(fits) {
            let state = token.row.state(self.now);
            let place = State::ALL.iter().position(|known| *known == state).unwrap_or_default();
            counts[place] += 1;
            if wanted.is_none_or(|wanted| wanted == state) {
                found.push(token);
            }
        }
        let pages = found.len().div_ceil(ROWS).max(1);
        let page = asked.page.parse().unwrap_or(1).clamp(1, pages);
        let from = (page - 1) * ROWS;
        let to = (from + ROWS).min(found.len());
        let asked = Asked { page: page.to_string(), ..asked.clone() };
        Answer { asked, rows: found[from..to].to_vec(), counts, span: (from + 1, to, found.len()), page: (page, pages) }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) fn at(seconds: i64) -> Timestamp {
        Timestamp::from_timestamp(1_790_000_000 + seconds, 0).unwrap_or_default()
    }

    pub(crate) fn token(namespace: &str, name: &str, told: State, expires: Option<i64>) -> Told {
        let row = TokenSummary {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            reported_state: told,
            reason: "TokenIssued".to_owned(),
            suspended: false,
            provider: "TokenProvider/indexer".to_owned(),
            secret_name: name.to_owned(),
            issued_at: expires.map(|expires| at(expires - 3600)),
            expires_at: expires.map(at),
            renew_at: expires.map(|expires| at(expires - 1200)),
            next_attempt_at: None,
            created_at: Some(at(-10_000)),
        };
        Told { row, message: String::new(), request_id: None }
    }

    fn many() -> Snapshot {
        let mut tokens: Vec<_> = (0..250)
            .map(|n| {
                token(["a", "b"][n % 2], &format!("token-{n}"), State::Ready, Some(600 + i64::try_from(n).unwrap_or(0)))
            })
            .collect();
        tokens.push(token("a", "late", State::Ready, Some(-5)));
        tokens.push(token("b", "broken", State::Stalled, None));
        Snapshot::new(tokens, Vec::new(), true, at(0))
    }

    fn asked(state: &str, namespace: &str, name: &str, page: &str) -> Asked {
        let [state, namespace, name, page] = [state, namespace, name, page].map(str::to_owned);
        Asked { state, namespace, name, page }
    }

    #[test]
    fn the_most_urgent_come_first_and_the_rest_page_by_page() {
        let all = many();
        let first = all.answer(&Asked::default());
        let names = |answer: &Answer<'_>| answer.rows.iter().map(|told| told.row.name.clone()).collect::<Vec<_>>();
        assert_eq!(names(&first)[..3], ["late", "broken", "token-0"]);
        assert_eq!((first.span, first.page, first.counts), ((1, 100, 252), (1, 3), [1, 1, 0, 0, 250]));
        let last = all.answer(&asked("", "", "", "3"));
        assert_eq!((last.span, last.rows.len()), ((201, 252, 252), 52));
        assert_eq!(names(&last).last().map(String::as_str), Some("token-249"));
        assert_eq!(all.namespaces.values().copied().collect::<Vec<_>>(), [126, 126]);
    }

    #[test]
    fn what_is_asked_for_narrows_the_rows_and_a_wrong_word_narrows_nothing() {
        let all = many();
        for (query, count, page) in [
            (asked("expired", "", "", ""), 1, 1),
            (asked("Stalled", "a", "", ""), 0, 1),
            (asked("", "b", "", "2"), 126, 2),
            (asked("", "", "token-24", ""), 11, 1),
            (asked("<b>", "", "", "-1"), 252, 1),
            (asked("", "", "", "99999999999999999999"), 252, 1),
            (asked("", "", "", "77"), 252, 3),
            (asked("", "no such", "", ""), 0, 1),
        ] {
            let answer = all.answer(&query);
            assert_eq!((answer.span.2, answer.page.0), (count, page), "{query:?}");
        }
        // the counts tell what a click on a state would bring
        assert_eq!(all.answer(&asked("expired", "a", "", "")).counts, [1, 0, 0, 0, 125]);
    }
}
