//! `status --watch`: shows changes from a watch. On a terminal the table is redrawn; otherwise each change is one line.

use super::super::error::{CliError, reason, request_error};
use super::super::output::{Script, print_stderr, show};
use super::super::session::Session;
use super::super::tokens::{RESOURCE, Token};
use super::view::View;
use super::{Options, sort};
use futures::StreamExt as _;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{Config, Error, Event, watcher};
use std::collections::BTreeMap;
use std::pin::pin;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep_until, timeout};
use videotoken_core::summary::{State, TokenSummary};
use videotoken_providers::clock::{self, Timestamp};

/// Minimum time between two frames.
const MIN_FRAME_INTERVAL: Duration = Duration::from_millis(100);

/// Maximum time between two frames, because remaining times and states change.
const MAX_FRAME_INTERVAL: Duration = Duration::from_secs(1);

/// Interval of requests for providers, which aren't watched, while tokens wait for a blocked account.
const PROVIDER_INTERVAL: Duration = Duration::from_secs(15);

/// Timeout of these requests.
const PROVIDER_TIMEOUT: Duration = Duration::from_secs(2);

type Key = (String, String);

/// State of the watch.
#[derive(Default)]
struct WatchedTokens {
    rows: BTreeMap<Key, TokenSummary>,
    /// List in progress. Rows that aren't in it were deleted.
    listing: Option<BTreeMap<Key, TokenSummary>>,
    /// The first list is complete.
    listed: bool,
    /// Error that interrupts the watch.
    interrupted: Option<String>,
}

impl WatchedTokens {
    fn apply(&mut self, event: Event<Token>) {
        match event {
            Event::Init => self.listing = Some(BTreeMap::new()),
            Event::InitApply(token) => {
                self.listing.get_or_insert_default().insert(token.key(), token.row);
            }
            Event::InitDone => {
                self.rows = self.listing.take().unwrap_or_default();
                self.listed = true;
                self.interrupted = None;
            }
            Event::Apply(token) => {
                self.interrupted = None;
                self.rows.insert(token.key(), token.row);
            }
            Event::Delete(token) => {
                self.rows.remove(&token.key());
            }
        }
    }

    /// Handles an error. Before the first list it ends the command; later the watch is restarted.
    fn fail(&mut self, error: Error) -> Result<(), CliError> {
        match error {
            Error::InitialListFailed(error) if !self.listed => Err(request_error("list", RESOURCE)(error)),
            Error::WatchStartFailed(kube::Error::Api(status)) if status.code == 403 => {
                Err(request_error("watch", RESOURCE)(kube::Error::Api(status)))
            }
            error => {
                self.interrupted = Some(reason(&error));
                Ok(())
            }
        }
    }
}

/// Shows changes until SIGINT or SIGTERM.
pub(super) async fn run(session: &Session, options: &Options, view: View) -> Result<(), CliError> {
    let mut config = Config::default();
    config.label_selector.clone_from(&options.selector);
    if let [name] = options.names.as_slice() {
        config.field_selector = Some(format!("metadata.name={name}"));
    }
    let wanted = |token: &Token| options.names.is_empty() || options.names.contains(&token.row.name);
    let mut events = pin!(watcher(session.tokens(), config).default_backoff());
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let mut seen = WatchedTokens::default();
    let mut shown: Box<dyn Output> = match options.output.script() {
        None if view.style.terminal => Box::new(Screen::open(session, view)?),
        script => Box::new(Lines { view, script, before: BTreeMap::new(), headed: false }),
    };
    let mut due = Instant::now() + MAX_FRAME_INTERVAL;
    let mut asked_waits: Option<Instant> = None;
    loop {
        tokio::select! {
            event = events.next() => match event {
                Some(Ok(Event::InitApply(token) | Event::Apply(token) | Event::Delete(token))) if !wanted(&token) => {}
                Some(Ok(event)) => {
                    seen.apply(event);
                    due = due.min(Instant::now() + MIN_FRAME_INTERVAL);
                }
                Some(Err(error)) => seen.fail(error)?,
                None => return Ok(()),
            },
            () = sleep_until(due) => {
                if seen.listed {
                    if asked_waits.is_none_or(|at| at.elapsed() > PROVIDER_INTERVAL) {
                        let now = clock::now().wall;
                        // a signal must not wait for a slow API server
                        let _ = timeout(PROVIDER_TIMEOUT, session.add_account_waits(seen.rows.values_mut(), now)).await;
                        asked_waits = Some(Instant::now());
                    }
                    shown.show(&seen, clock::now().wall)?;
                }
                due = Instant::now() + MAX_FRAME_INTERVAL;
            }
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
        }
    }
    shown.end(&seen, clock::now().wall)
}

/// Output of changes.
trait Output {
    fn show(&mut self, seen: &WatchedTokens, now: Timestamp) -> Result<(), CliError>;
    fn end(&mut self, seen: &WatchedTokens, now: Timestamp) -> Result<(), CliError>;
}

/// Alternate screen of a terminal, which restores the previous content at the end.
struct Screen {
    view: View,
    namespace_phrase: String,
    open: bool,
}

impl Screen {
    fn open(session: &Session, view: View) -> Result<Self, CliError> {
        show("\x1b[?1049h\x1b[?25l\x1b[H\x1b[J")?;
        Ok(Self { view, namespace_phrase: session.namespace_phrase(), open: true })
    }

    fn frame(&self, seen: &WatchedTokens, now: Timestamp) -> String {
        let (columns, lines) = self.view.style.size().unwrap_or((80, 24));
        let mut rows: Vec<TokenSummary> = seen.rows.values().cloned().collect();
        sort(&mut rows, now);
        let title = format!("VideoAccessTokens {}, {}", self.namespace_phrase, now.format("%T UTC"));
        let state = seen.interrupted.as_ref().map_or(title, |why| format!("disconnected, reconnecting: {why}"));
        let mut frame = vec![super::super::terminal::cut(&super::super::terminal::plain(&state), columns)];
        frame.push(if rows.is_empty() { "none".to_owned() } else { self.view.summary(&rows, now) });
        let room = lines.saturating_sub(frame.len() + 2);
        let hidden = rows.len().saturating_sub(room);
        let visible = if hidden > 0 { room.saturating_sub(1) } else { rows.len() };
        if !rows.is_empty() {
            // only the visible rows are laid out
            frame.extend(self.view.lines(&rows[..visible], now));
        }
        if hidden > 0 {
            frame.push(format!("and {} more", rows.len() - visible));
        }
        frame.join("\x1b[K\n")
    }

    fn close(&mut self) -> Result<(), CliError> {
        if std::mem::take(&mut self.open) { show("\x1b[?25h\x1b[?1049l") } else { Ok(()) }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // the terminal may be gone
        let _ = self.close();
    }
}

impl Output for Screen {
    fn show(&mut self, seen: &WatchedTokens, now: Timestamp) -> Result<(), CliError> {
        show(&format!("\x1b[H{}\x1b[K\x1b[J", self.frame(seen, now)))
    }

    /// Leaves the last frame on the terminal.
    fn end(&mut self, seen: &WatchedTokens, now: Timestamp) -> Result<(), CliError> {
        let last = self.frame(seen, now).replace("\x1b[K\n", "\n");
        self.close()?;
        show(&(last + "\n"))
    }
}

/// One line or document for each change.
struct Lines {
    view: View,
    script: Option<Script>,
    /// Each row as it was printed, and its state at the time.
    before: BTreeMap<Key, (TokenSummary, State)>,
    headed: bool,
}

impl Output for Lines {
    fn show(&mut self, seen: &WatchedTokens, now: Timestamp) -> Result<(), CliError> {
        let is_new =
            |(key, row): &(&Key, &TokenSummary)| self.before.get(*key) != Some(&((*row).clone(), row.state(now)));
        let mut changed: Vec<TokenSummary> = seen.rows.iter().filter(is_new).map(|(_, row)| row.clone()).collect();
        sort(&mut changed, now);
        let gone: Vec<Key> = self.before.keys().filter(|key| !seen.rows.contains_key(*key)).cloned().collect();
        if let Some(script) = self.script {
            for row in &changed {
                show(&script.next(&row.at(now))?)?;
            }
        } else if !changed.is_empty() {
            let lines = self.view.lines(&changed, now);
            show(&(lines[usize::from(self.headed)..].join("\n") + "\n"))?;
            self.headed = true;
        }
        for (namespace, name) in &gone {
            print_stderr(&format!("{namespace}/{name} was deleted"));
        }
        self.before.retain(|key, _| seen.rows.contains_key(key));
        self.before.extend(changed.into_iter().map(|row| {
            let state = row.state(now);
            ((row.namespace.clone(), row.name.clone()), (row, state))
        }));
        Ok(())
    }

    fn end(&mut self, _: &WatchedTokens, _: Timestamp) -> Result<(), CliError> {
        Ok(())
    }
}
