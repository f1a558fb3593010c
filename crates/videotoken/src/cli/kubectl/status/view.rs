//! The table of tokens.

use super::super::table::{Cell, Column, layout};
use super::super::terminal::{TerminalStyle, Tone};
use videotoken_api::wire_time;
use videotoken_core::summary::{State, TokenSummary, text, waits};
use videotoken_providers::clock::Timestamp;

/// Layout of the table.
#[derive(Clone, Copy, Debug)]
pub(super) struct View {
    namespaces: bool,
    wide: bool,
    /// Style of the output.
    pub(super) style: TerminalStyle,
}

/// Number of columns of a terminal from which the bar is longer.
const WIDE_TERMINAL: usize = 120;

/// Remaining share of the lifetime below which the bar is a warning: half of the default margin.
const LOW_SHARE: f64 = 1.0 / 6.0;

impl View {
    /// Creates a view, optionally with the namespaces or with all columns.
    pub(super) fn new(namespaces: bool, wide: bool, style: TerminalStyle) -> Self {
        Self { namespaces, wide, style }
    }

    fn columns(self) -> Vec<Column> {
        let column = |title, least, rank| Column { title, least, rank };
        let mut columns = vec![
            column("NAME", Some(12), 0),
            column("STATE", None, 0),
            column("LIFE LEFT", None, 1),
            column("REASON", Some(16), 2),
            column("NEXT", None, 3),
            column("AGE", None, 4),
            column("PROVIDER", Some(16), 5),
            column("SECRET", Some(12), 6),
        ];
        if self.namespaces {
            columns.insert(0, column("NAMESPACE", Some(10), 0));
        }
        if self.wide {
            columns.extend([column("ISSUED", None, 7), column("EXPIRES", None, 8), column("RENEWS", None, 9)]);
        }
        columns
    }

    fn cells(self, row: &TokenSummary, bar: usize, now: Timestamp) -> Vec<Cell> {
        let state = row.state(now);
        let absolute = |at: Option<Timestamp>| Cell::new(at.map_or_else(|| "-".to_owned(), wire_time::text));
        let mut cells = vec![
            Cell::new(&row.name),
            Cell::toned(tone(state), state.as_str()),
            self.remaining(row, bar, now),
            Cell::new(if row.reason.is_empty() { "-" } else { &row.reason }),
            Cell::new(next(row, now)),
            Cell::new(row.created_at.map_or_else(|| "-".to_owned(), |at| text::span(now - at))),
            Cell::new(&row.provider),
            Cell::new(&row.secret_name),
        ];
        if self.namespaces {
            cells.insert(0, Cell::new(&row.namespace));
        }
        if self.wide {
            cells.extend([row.issued_at, row.expires_at, row.renew_at].map(absolute));
        }
        cells
    }

    /// The bar, and the time that is left.
    fn remaining(self, row: &TokenSummary, bar: usize, now: Timestamp) -> Cell {
        let (Some(left), Some(expires_at)) = (row.lifetime_left(now), row.expires_at) else { return Cell::new("-") };
        let tone = match left {
            left if left <= 0.0 => Tone::Bad,
            left if left < LOW_SHARE => Tone::Warn,
            _ => Tone::Good,
        };
        Cell::toned(tone, format!("{} {}", self.style.bar(left, bar), text::from_now(expires_at, now)))
    }

    /// Returns the line of titles and one line for each row.
    pub(super) fn lines(self, rows: &[TokenSummary], now: Timestamp) -> Vec<String> {
        let width = self.style.width().filter(|_| !self.wide);
        let bar = if width.is_some_and(|width| width < WIDE_TERMINAL) { 10 } else { 20 };
        let columns = self.columns();
        let cells: Vec<_> = rows.iter().map(|row| self.cells(row, bar, now)).collect();
        let layout = layout(&columns, &cells, width);
        let head = layout.head(&columns, self.style);
        std::iter::once(head).chain(cells.iter().map(|row| layout.line(row, self.style))).collect()
    }

    /// Returns the number of tokens in each state.
    pub(super) fn summary(self, rows: &[TokenSummary], now: Timestamp) -> String {
        let count = |state: State| rows.iter().filter(|row| row.state(now) == state).count();
        let counts = State::ALL.into_iter().map(|state| (state, count(state))).filter(|(_, count)| *count > 0);
        let counts = counts.map(|(state, count)| {
            self.style.tone(tone(state), &format!("{count} {}", state.as_str().to_ascii_lowercase()))
        });
        let tokens = if rows.len() == 1 { "token" } else { "tokens" };
        format!("{} {tokens}: {}", rows.len(), counts.collect::<Vec<_>>().join(", "))
    }
}

fn tone(state: State) -> Tone {
    match state {
        State::Expired | State::Stalled => Tone::Bad,
        State::Failing | State::Pending => Tone::Warn,
        State::Ready => Tone::Good,
    }
}

/// Returns the next step of the operator and its time.
fn next(row: &TokenSummary, now: Timestamp) -> String {
    let ahead = |at: Option<Timestamp>| at.filter(|at| *at > now);
    if row.suspended {
        return "-".to_owned();
    }
    match (row.state(now), ahead(row.next_attempt_at), row.renew_at) {
        (State::Ready, _, Some(at)) if at > now => format!("renew {}", text::span(at - now)),
        (State::Ready, _, Some(_)) => "renew now".to_owned(),
        (_, Some(at), _) => format!("retry {}", text::span(at - now)),
        (State::Stalled, None, _) | (State::Ready | State::Pending, None, None) => "-".to_owned(),
        // the account is blocked, and the user may not read until when
        (_, None, _) if waits::has_account_wait(row, now) => "waits".to_owned(),
        (_, None, _) => "retry now".to_owned(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::super::terminal::When;
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_timestamp(1_790_000_000 + seconds, 0).unwrap()
    }

    fn row(reported: State, reason: &str, expires: Option<i64>) -> TokenSummary {
        TokenSummary {
            namespace: "cinema".into(),
            name: "lobby".into(),
            reported_state: reported,
            reason: reason.into(),
            suspended: false,
            provider: "TokenProvider/indexer".into(),
            secret_name: "lobby".into(),
            issued_at: expires.map(|_| at(-1800)),
            expires_at: expires.map(at),
            renew_at: expires.map(|expires| at(expires - 1200)),
            next_attempt_at: None,
            created_at: Some(at(-7200)),
        }
    }

    #[test]
    fn a_row_says_how_long_it_lives_and_what_comes_next() {
        let view = View::new(true, false, TerminalStyle::of_stdout(When::Never));
        let retried = TokenSummary { next_attempt_at: Some(at(12)), ..row(State::Failing, "Timeout", Some(1800)) };
        let tried = TokenSummary { next_attempt_at: Some(at(-1)), ..retried.clone() };
        let suspended = TokenSummary { suspended: true, ..row(State::Ready, "Suspended", Some(1800)) };
        let locked = row(State::Failing, "LoginsUsedUp", Some(1800));
        let unlocked = TokenSummary { next_attempt_at: Some(at(720)), ..locked.clone() };
        let refused = TokenSummary { next_attempt_at: Some(at(600)), ..row(State::Stalled, "Forbidden", None) };
        for (row, state, left, next) in [
            (row(State::Ready, "TokenIssued", Some(1800)), "Ready", "30m", "renew 10m"),
            (row(State::Ready, "TokenIssued", Some(600)), "Ready", "10m", "renew now"),
            (row(State::Ready, "TokenIssued", Some(-60)), "Expired", "1m ago", "retry now"),
            (row(State::Pending, "Pending", None), "Pending", "-", "-"),
            (row(State::Stalled, "CredentialsMissing", Some(600)), "Stalled", "10m", "-"),
            (retried, "Failing", "30m", "retry 12s"),
            (tried, "Failing", "30m", "retry now"),
            (locked, "Failing", "30m", "waits"),
            (unlocked, "Failing", "30m", "retry 12m"),
            (suspended, "Ready", "30m", "-"),
            (refused, "Stalled", "-", "retry 10m"),
        ] {
            let cells = view.cells(&row, 10, at(0));
            assert_eq!((&*cells[2].text, &*cells[5].text), (state, next), "{row:?}");
            assert!(cells[3].text.ends_with(left), "{:?}", cells[3]);
        }
    }

    #[test]
    fn each_row_has_a_cell_for_each_column() {
        for (namespaces, wide) in [(false, false), (true, false), (false, true), (true, true)] {
            let view = View::new(namespaces, wide, TerminalStyle::of_stdout(When::Never));
            assert_eq!(view.columns().len(), view.cells(&row(State::Ready, "", None), 10, at(0)).len());
        }
    }

    #[test]
    fn the_summary_names_the_states_that_there_are() {
        let view = View::new(false, false, TerminalStyle::of_stdout(When::Never));
        let rows = [row(State::Ready, "", Some(900)), row(State::Ready, "", Some(-9)), row(State::Ready, "", Some(90))];
        assert_eq!(view.summary(&rows, at(0)), "3 tokens: 1 expired, 2 ready");
        assert_eq!(view.summary(&rows[..1], at(0)), "1 token: 1 ready");
    }
}
