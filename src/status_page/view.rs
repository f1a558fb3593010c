//! The query of the status page and the rows of the response.

use serde::Deserialize;
use std::collections::BTreeMap;
use videotoken_core::summary::{State, TokenSummary};
use videotoken_providers::clock::Timestamp;

/// Maximum number of rows on a page.
const ROWS: usize = 100;

/// One token, as the page shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenEntry {
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
pub struct PageQuery {
    /// Selects the tokens in this state.
    pub state: String,
    /// Selects the tokens in this namespace.
    pub namespace: String,
    /// Selects the tokens whose name contains this text.
    pub name: String,
    /// Number of the page of rows, from 1.
    pub page: String,
}

impl PageQuery {
    /// Returns the selected state, or `None` if the text is not a state.
    pub(super) fn state(&self) -> Option<State> {
        State::ALL.into_iter().find(|state| state.as_str().eq_ignore_ascii_case(&self.state))
    }
}

/// Tokens and providers at one time, the most urgent first.
pub(super) struct Snapshot {
    pub(super) now: Timestamp,
    pub(super) leads: bool,
    pub(super) providers: Vec<Provider>,
    tokens: Vec<TokenEntry>,
    /// Number of tokens in each namespace.
    pub(super) namespaces: BTreeMap<String, usize>,
}

/// Response to one query.
pub(super) struct QueryResult<'a> {
    /// The query, with the page number corrected.
    pub(super) query: PageQuery,
    /// Rows of the page.
    pub(super) rows: Vec<&'a TokenEntry>,
    /// Number of tokens in each state, among those that match the other parameters of the query.
    pub(super) counts: [usize; State::ALL.len()],
    /// First and last row, from 1, and the total number of rows.
    pub(super) span: (usize, usize, usize),
    /// Number of the page, and the total number of pages.
    pub(super) page: (usize, usize),
}

impl Snapshot {
    /// Creates a snapshot and sorts its content.
    pub(super) fn new(mut tokens: Vec<TokenEntry>, mut providers: Vec<Provider>, leads: bool, now: Timestamp) -> Self {
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
    pub(super) fn answer(&self, query: &PageQuery) -> QueryResult<'_> {
        let fits = |token: &&TokenEntry| {
            (query.namespace.is_empty() || token.row.namespace == query.namespace)
                && (query.name.is_empty() || token.row.name.contains(&query.name))
        };
        let mut counts = [0; State::ALL.len()];
        let mut found: Vec<&TokenEntry> = Vec::new();
        let wanted = query.state();
        for token in self.tokens.iter().filter(fits) {
            let state = token.row.state(self.now);
            let place = State::ALL.iter().position(|known| *known == state).unwrap_or_default();
            counts[place] += 1;
            if wanted.is_none_or(|wanted| wanted == state) {
                found.push(token);
            }
        }
        let pages = found.len().div_ceil(ROWS).max(1);
        let page = query.page.parse().unwrap_or(1).clamp(1, pages);
        let from = (page - 1) * ROWS;
        let to = (from + ROWS).min(found.len());
        let query = PageQuery { page: page.to_string(), ..query.clone() };
        QueryResult {
            query,
            rows: found[from..to].to_vec(),
            counts,
            span: (from + 1, to, found.len()),
            page: (page, pages),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) fn at(seconds: i64) -> Timestamp {
        Timestamp::from_timestamp(1_790_000_000 + seconds, 0).unwrap_or_default()
    }

    pub(crate) fn token(namespace: &str, name: &str, state: State, expires: Option<i64>) -> TokenEntry {
        let row = TokenSummary {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            reported_state: state,
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
        TokenEntry { row, message: String::new(), request_id: None }
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

    fn query(state: &str, namespace: &str, name: &str, page: &str) -> PageQuery {
        let [state, namespace, name, page] = [state, namespace, name, page].map(str::to_owned);
        PageQuery { state, namespace, name, page }
    }

    #[test]
    fn the_most_urgent_come_first_and_the_rest_page_by_page() {
        let all = many();
        let first = all.answer(&PageQuery::default());
        let names =
            |result: &QueryResult<'_>| result.rows.iter().map(|entry| entry.row.name.clone()).collect::<Vec<_>>();
        assert_eq!(names(&first)[..3], ["late", "broken", "token-0"]);
        assert_eq!((first.span, first.page, first.counts), ((1, 100, 252), (1, 3), [1, 1, 0, 0, 250]));
        let last = all.answer(&query("", "", "", "3"));
        assert_eq!((last.span, last.rows.len()), ((201, 252, 252), 52));
        assert_eq!(names(&last).last().map(String::as_str), Some("token-249"));
        assert_eq!(all.namespaces.values().copied().collect::<Vec<_>>(), [126, 126]);
    }

    #[test]
    fn what_is_asked_for_narrows_the_rows_and_a_wrong_word_narrows_nothing() {
        let all = many();
        for (query, count, page) in [
            (query("expired", "", "", ""), 1, 1),
            (query("Stalled", "a", "", ""), 0, 1),
            (query("", "b", "", "2"), 126, 2),
            (query("", "", "token-24", ""), 11, 1),
            (query("<b>", "", "", "-1"), 252, 1),
            (query("", "", "", "99999999999999999999"), 252, 1),
            (query("", "", "", "77"), 252, 3),
            (query("", "no such", "", ""), 0, 1),
        ] {
            let result = all.answer(&query);
            assert_eq!((result.span.2, result.page.0), (count, page), "{query:?}");
        }
        // The counts are the numbers of rows that a click on each state would show.
        assert_eq!(all.answer(&query("expired", "a", "", "")).counts, [1, 0, 0, 0, 125]);
    }
}
