//! `renew`: asks for a renewal by the annotation, and with `--wait` tells what became of it.
//!
//! | File | What lives there |
//! |---|---|
//! | `progress` | what a status tells of a renewal that was asked for; pure |
//!
//! What became of it is read from the object's status, which whoever may ask for a renewal can see; the Secret needn't be
//! read.

mod progress;

use super::fault::{Fault, asked};
use super::output::note;
use super::session::{Session, object_name};
use super::tokens::{RESOURCE, Token};
use chrono::{SecondsFormat, TimeDelta};
use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use futures::StreamExt as _;
use kube::Api;
use kube::api::{Patch, PatchParams};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{Config, Error, Event, watcher};
use progress::{Marks, Progress};
use serde_json::json;
use std::collections::BTreeMap;
use std::pin::pin;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};
use videotoken_api::duration::flag as duration;
use videotoken_api::{names, wire_time};
use videotoken_core::summary::text;
use videotoken_providers::clock::{self, Timestamp};

/// Which to renew.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub(super) struct Options {
    /// VideoAccessTokens
    #[arg(value_name = "NAME", required_unless_present_any = ["all", "selector"], value_parser = object_name)]
    names: Vec<String>,

    /// All of the namespace; with -A all there are
    #[arg(long, conflicts_with = "names")]
    all: bool,

    /// All with these labels, as kubectl's -l
    // an empty one selects all there are: that is asked for by --all
    #[arg(short = 'l', long, value_name = "SELECTOR", conflicts_with = "names", value_parser = NonEmptyStringValueParser::new())]
    selector: Option<String>,

    /// Wait until each is renewed, or has failed for good
    #[arg(short, long)]
    wait: bool,

    /// With --wait: no longer than this
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = duration)]
    timeout: Duration,
}

type Key = (String, String);

/// Asks, and waits if it is wished. A fault if one of them isn't renewed.
pub(super) async fn run(session: &Session, options: &Options) -> Result<(), Fault> {
    let tokens = chosen(session, options).await?;
    if tokens.is_empty() {
        note(&format!("No VideoAccessTokens {}.", session.whereabouts()));
        return Ok(());
    }
    let mut open = BTreeMap::new();
    let (begun, mut failures) = (Instant::now(), 0);
    for token in &tokens {
        match request(session, token).await {
            Ok(after) => {
                open.insert(token.key(), Marks::of(&after.status));
            }
            Err(Fault::Unwell(why)) => {
                tell(&token.key(), &format!("isn't renewed: {why}"))?;
                failures += 1;
            }
            Err(fault) => return Err(fault),
        }
    }
    if options.wait && !open.is_empty() {
        failures += wait(session, options, open, begun).await?;
    } else {
        for key in open.keys() {
            tell(key, "renewal requested")?;
        }
    }
    if failures == 0 { Ok(()) } else { Err(Fault::Quiet(1)) }
}

fn tell(key: &Key, what: &str) -> Result<(), Fault> {
    super::output::show(&format!("{}/{} {}\n", key.0, key.1, super::paint::plain(what)))
}

async fn chosen(session: &Session, options: &Options) -> Result<Vec<Token>, Fault> {
    let mut tokens = Vec::new();
    for name in &options.names {
        tokens.push(session.token(name).await?);
    }
    if options.names.is_empty() {
        session.each_token(options.selector.as_deref(), |token| tokens.push(token)).await?;
    }
    Ok(tokens)
}

/// Sets the annotation and returns the object as it was then: what its status tells later is news.
async fn request(session: &Session, token: &Token) -> Result<Token, Fault> {
    if token.row.suspended {
        return Err(Fault::unwell(
            "spec.suspend is true, so nothing is issued: set it to false, which renews what is due by itself",
        ));
    }
    let value = moment(clock::now().wall, token.row.issued_at).to_rfc3339_opts(SecondsFormat::Micros, true);
    let patch = json!({"metadata": {"annotations": {names::RENEW_REQUESTED_AT: value}}});
    let api: Api<Token> = Api::namespaced(session.client.clone(), &token.row.namespace);
    let (params, patch) = (PatchParams::default(), Patch::Merge(&patch));
    let patched = api.patch(&token.row.name, &params, &patch);
    session.ask("patch", RESOURCE, patched).await
}

/// The value of the annotation: now, but after the token's issue, or it would be taken for served where this machine's
/// clock is behind the operator's.
fn moment(now: Timestamp, issued_at: Option<Timestamp>) -> Timestamp {
    issued_at.map_or(now, |issued_at| now.max(issued_at + TimeDelta::seconds(1)))
}

/// Waits for all; returns how many aren't renewed.
async fn wait(
    session: &Session,
    options: &Options,
    open: BTreeMap<Key, Marks>,
    begun: Instant,
) -> Result<usize, Fault> {
    let mut config = Config::default();
    config.label_selector.clone_from(&options.selector);
    if let [name] = options.names.as_slice() {
        config.field_selector = Some(format!("metadata.name={name}"));
    }
    let mut events = pin!(watcher(session.tokens(), config).default_backoff());
    let mut waiting = Waiting { open, hindered: BTreeMap::new(), failures: 0, begun, timeout: options.timeout };
    while !waiting.open.is_empty() {
        let Ok(Some(event)) = timeout_at(begun + options.timeout, events.next()).await else { break };
        match event {
            Ok(Event::InitApply(token) | Event::Apply(token)) => {
                let Some(marks) = waiting.open.get(&token.key()) else { continue };
                let progress = marks.read(&token);
                waiting.take(&token.key(), progress)?;
            }
            Ok(Event::Delete(token)) => waiting.take(&token.key(), Progress::Failed("it was deleted".to_owned()))?,
            Err(Error::InitialListFailed(error @ kube::Error::Api(_))) => return Err(asked("list", RESOURCE)(error)),
            Err(Error::WatchStartFailed(error @ kube::Error::Api(_))) => return Err(asked("watch", RESOURCE)(error)),
            // what broke is taken up again
            Ok(Event::Init | Event::InitDone) | Err(_) => {}
        }
    }
    waiting.give_up()
}

/// Those whose renewal isn't settled, and what was told of them.
struct Waiting {
    open: BTreeMap<Key, Marks>,
    hindered: BTreeMap<Key, String>,
    failures: usize,
    begun: Instant,
    timeout: Duration,
}

impl Waiting {
    fn take(&mut self, key: &Key, progress: Progress) -> Result<(), Fault> {
        if !self.open.contains_key(key) {
            return Ok(());
        }
        let now = clock::now().wall;
        let left = self.timeout.saturating_sub(self.begun.elapsed());
        match progress {
            Progress::None => return Ok(()),
            Progress::Renewed(expires_at) => {
                let (took, ends) = (self.begun.elapsed().as_secs_f64(), wire_time::text(expires_at));
                tell(
                    key,
                    &format!("renewed in {took:.1} s; expires {ends} ({})", text::relative_time(expires_at, now)),
                )?;
            }
            Progress::Failed(why) => self.fail(key, &format!("isn't renewed: {why}"))?,
            Progress::Later(why, next) if next > now + TimeDelta::from_std(left).unwrap_or(TimeDelta::MAX) => {
                self.fail(key, &format!("isn't renewed within {} s: {why}", self.timeout.as_secs_f32()))?;
            }
            Progress::Later(why, _) | Progress::Hindered(why) => {
                if self.hindered.get(key) != Some(&why) {
                    note(&format!("{}/{}: {why}", key.0, key.1));
                    self.hindered.insert(key.clone(), why);
                }
                return Ok(());
            }
        }
        self.open.remove(key);
        Ok(())
    }

    fn fail(&mut self, key: &Key, what: &str) -> Result<(), Fault> {
        self.failures += 1;
        tell(key, what)
    }

    /// The time is up.
    fn give_up(mut self) -> Result<usize, Fault> {
        for key in std::mem::take(&mut self.open).keys() {
            let silence = "the operator has said nothing; `kubectl videotoken doctor` may know why".to_owned();
            let why = self.hindered.remove(key).unwrap_or(silence);
            self.fail(key, &format!("isn't renewed within {} s: {why}", self.timeout.as_secs_f32()))?;
        }
        Ok(self.failures)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_after_the_tokens_issue_whatever_this_clock_reads() {
        let at = |seconds: i64| Timestamp::from_timestamp(1_790_000_000 + seconds, 0).unwrap();
        for (issued, expected) in [(None, 0), (Some(-60), 0), (Some(0), 1), (Some(300), 301)] {
            assert_eq!(moment(at(0), issued.map(at)), at(expected), "{issued:?}");
        }
    }
}
