//! The query of the status page and the rows of the response.

use serde::Deserialize;
use std::collections::BTreeMap;
use videotoken_core::summary::{State, TokenSummary};
use videotoken_providers::clock::Timestamp;

/// Maximum number of rows on a page.
const ROWS: usize = 100;

/// One token, as the page shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Row of `kubectl videotoken status`.
    pub row: TokenSummary,
    /// Error of the last attempt, without secrets; empty if the attempt succeeded.
    pub message: String,
    /// Request ID of the token API for that attempt.
    pub request_id: Option<String>,
}

/// One provider object, as the page shows it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Provider {
    /// True if the provider is ready to issue. Providers that aren't ready come first.
    pub ready: bool,
    /// `TokenProvider` or `ClusterTokenProvider`.
    pub kind: &'static str,
    /// Namespace of the object; empty for a `ClusterTokenProvider`.
    pub namespace: String,
    /// Name of the object.
    pub name: String,
    /// Provider type.
    pub type_: String,
    /// Number of VideoAccessTokens that name the provider, if known.
    pub tokens: Option<i64>,
    /// Expiry of the credential, if known.
    pub credential_expires_at: Option<Timestamp>,
    /// Reason of the Ready condition, in one word.
    pub reason: String,
    /// Message of the Ready condition.
    pub message: String,
}

/// Query of the page's URL. Unknown parameters are ignored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Asked {
    /// Selects the tokens in this state.
    pub state: String,
    /// Selects the tokens in this namespace.
    pub namespace: String,
    /// Selects the tokens whose name contains this text.
    pub name: String,
    /// Number of the page of rows, from 1.
    pub page: String,
}

impl Asked {
    /// Returns the selected state, or `None` if the text is not a state.
    pub(super) fn state(&self) -> Option<State> {
        State::ALL.into_iter().find(|state| state.as_str().eq_ignore_ascii_case(&self.state))
    }
}

/// All tokens and providers at one time, the most urgent first.
pub(super) struct Snapshot {
    pub(super) now: Timestamp,
    pub(super) leads: bool,
    pub(super) providers: Vec<Provider>,
    tokens: Vec<Told>,
    /// Number of tokens in each namespace.
    pub(super) namespaces: BTreeMap<String, usize>,
}

/// Response to one query.
pub(super) struct Answer<'a> {
    /// The query, with the page number corrected.
    pub(super) asked: Asked,
    /// Rows of the page.
    pub(super) rows: Vec<&'a Told>,
    /// Number of tokens in each state, among those that match the other parameters of the query.
    pub(super) counts: [usize; State::ALL.len()],
    /// First and last row, from 1, and the total number of rows.
    pub(super) span: (usize, usize, usize),
    /// Number of the page, and the total number of pages.
    pub(super) page: (usize, usize),
}

impl Snapshot {
    /// Creates a snapshot and sorts its content.
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

    /// Returns the number of tokens.
    pub(super) fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Returns the rows that match the query.
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
        // The counts are the numbers of rows that a click on each state would show.
        assert_eq!(all.answer(&asked("expired", "a", "", "")).counts, [1, 0, 0, 0, 125]);
    }
}
