//! `status --watch`: the table as it changes, by a watch and not by polling. On a terminal it is drawn anew; elsewhere
//! each change is a line.

use super::super::fault::{Fault, asked, reason};
use super::super::output::{Script, note, show};
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

/// The table is drawn at most this often.
const FRAME: Duration = Duration::from_millis(100);

/// Times go on, so the table is drawn at least this often, and states are looked at.
const TICK: Duration = Duration::from_secs(1);

/// Provider objects aren't watched: what they know of tokens that wait is asked for at most this often.
const WAITS: Duration = Duration::from_secs(15);

/// And they may take this long.
const FEW: Duration = Duration::from_secs(2);

type Key = (String, String);

/// What the watch has shown so far.
#[derive(Default)]
struct Seen {
    rows: BTreeMap<Key, TokenSummary>,
    /// A list that is being read: those not in it are gone.
    listing: Option<BTreeMap<Key, TokenSummary>>,
    /// The first list is whole.
    listed: bool,
    /// Why nothing new is seen.
    cut_off: Option<String>,
}

impl Seen {
    fn take(&mut self, event: Event<Token>) {
        match event {
            Event::Init => self.listing = Some(BTreeMap::new()),
            Event::InitApply(token) => {
                self.listing.get_or_insert_default().insert(token.key(), token.row);
            }
            Event::InitDone => {
                self.rows = self.listing.take().unwrap_or_default();
                self.listed = true;
                self.cut_off = None;
            }
            Event::Apply(token) => {
                self.cut_off = None;
                self.rows.insert(token.key(), token.row);
            }
            Event::Delete(token) => {
                self.rows.remove(&token.key());
            }
        }
    }

    /// Before the first list an error ends it all; later the watch is taken up again.
    fn fail(&mut self, error: Error) -> Result<(), Fault> {
        match error {
            Error::InitialListFailed(error) if !self.listed => Err(asked("list", RESOURCE)(error)),
            Error::WatchStartFailed(kube::Error::Api(status)) if status.code == 403 => {
                Err(asked("watch", RESOURCE)(kube::Error::Api(status)))
            }
            error => {
                self.cut_off = Some(reason(&error));
                Ok(())
            }
        }
    }
}

/// Shows until SIGINT or SIGTERM.
pub(super) async fn run(session: &Session, options: &Options, view: View) -> Result<(), Fault> {
    let mut config = Config::default();
    config.label_selector.clone_from(&options.selector);
    if let [name] = options.names.as_slice() {
        config.field_selector = Some(format!("metadata.name={name}"));
    }
    let wanted = |token: &Token| options.names.is_empty() || options.names.contains(&token.row.name);
    let mut events = pin!(watcher(session.tokens(), config).default_backoff());
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let mut seen = Seen::default();
    let mut shown: Box<dyn Shown> = match options.output.script() {
        None if view.paint.terminal => Box::new(Screen::open(session, view)?),
        script => Box::new(Lines { view, script, before: BTreeMap::new(), headed: false }),
    };
    let mut due = Instant::now() + TICK;
    let mut asked_waits: Option<Instant> = None;
    loop {
        tokio::select! {
            event = events.next() => match event {
                Some(Ok(Event::InitApply(token) | Event::Apply(token) | Event::Delete(token))) if !wanted(&token) => {}
                Some(Ok(event)) => {
                    seen.take(event);
                    due = due.min(Instant::now() + FRAME);
                }
                Some(Err(error)) => seen.fail(error)?,
                None => return Ok(()),
            },
            () = sleep_until(due) => {
                if seen.listed {
                    if asked_waits.is_none_or(|at| at.elapsed() > WAITS) {
                        let now = clock::now().wall;
                        // a signal mustn't wait for an API server that is slow
                        let _ = timeout(FEW, session.tell_waits(seen.rows.values_mut(), now)).await;
                        asked_waits = Some(Instant::now());
                    }
                    shown.show(&seen, clock::now().wall)?;
                }
                due = Instant::now() + TICK;
            }
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
        }
    }
    shown.end(&seen, clock::now().wall)
}

/// Where changes are shown.
trait Shown {
    fn show(&mut self, seen: &Seen, now: Timestamp) -> Result<(), Fault>;
    fn end(&mut self, seen: &Seen, now: Timestamp) -> Result<(), Fault>;
}

/// A terminal's second screen, so that what was there before comes back.
struct Screen {
    view: View,
    whereabouts: String,
    open: bool,
}

impl Screen {
    fn open(session: &Session, view: View) -> Result<Self, Fault> {
        show("\x1b[?1049h\x1b[?25l\x1b[H\x1b[J")?;
        Ok(Self { view, whereabouts: session.whereabouts(), open: true })
    }

    fn frame(&self, seen: &Seen, now: Timestamp) -> String {
        let (columns, lines) = self.view.paint.size().unwrap_or((80, 24));
        let mut rows: Vec<TokenSummary> = seen.rows.values().cloned().collect();
        sort(&mut rows, now);
        let title = format!("VideoAccessTokens {}, {}", self.whereabouts, now.format("%T UTC"));
        let state = seen.cut_off.as_ref().map_or(title, |why| format!("cut off, trying again: {why}"));
        let mut frame = vec![super::super::paint::cut(&super::super::paint::plain(&state), columns)];
        frame.push(if rows.is_empty() { "none".to_owned() } else { self.view.summary(&rows, now) });
        let room = lines.saturating_sub(frame.len() + 2);
        let hidden = rows.len().saturating_sub(room);
        let visible = if hidden > 0 { room.saturating_sub(1) } else { rows.len() };
        if !rows.is_empty() {
            // of ten thousand only what is seen is laid out
            frame.extend(self.view.lines(&rows[..visible], now));
        }
        if hidden > 0 {
            frame.push(format!("and {} more", rows.len() - visible));
        }
        frame.join("\x1b[K\n")
    }

    fn close(&mut self) -> Result<(), Fault> {
        if std::mem::take(&mut self.open) { show("\x1b[?25h\x1b[?1049l") } else { Ok(()) }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // the terminal may be gone
        let _ = self.close();
    }
}

impl Shown for Screen {
    fn show(&mut self, seen: &Seen, now: Timestamp) -> Result<(), Fault> {
        show(&format!("\x1b[H{}\x1b[K\x1b[J", self.frame(seen, now)))
    }

    /// What was seen last stays.
    fn end(&mut self, seen: &Seen, now: Timestamp) -> Result<(), Fault> {
        let last = self.frame(seen, now).replace("\x1b[K\n", "\n");
        self.close()?;
        show(&(last + "\n"))
    }
}

/// A line, or a document, for each change.
struct Lines {
    view: View,
    script: Option<Script>,
    /// Each row as it was told, and its state then.
    before: BTreeMap<Key, (TokenSummary, State)>,
    headed: bool,
}

impl Shown for Lines {
    fn show(&mut self, seen: &Seen, now: Timestamp) -> Result<(), Fault> {
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
            note(&format!("{namespace}/{name} was deleted"));
        }
        self.before.retain(|key, _| seen.rows.contains_key(key));
        self.before.extend(changed.into_iter().map(|row| {
            let state = row.state(now);
            ((row.namespace.clone(), row.name.clone()), (row, state))
        }));
        Ok(())
    }

    fn end(&mut self, _: &Seen, _: Timestamp) -> Result<(), Fault> {
        Ok(())
    }
}
