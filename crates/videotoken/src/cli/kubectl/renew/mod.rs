//! `renew`: requests a renewal with the annotation. With `--wait` it prints the result.
//!
//! | File | Content |
//! |---|---|
//! | `progress` | the progress of a renewal, from the status; pure |
//!
//! The command reads the status of the VideoAccessToken, not the Secret.

mod progress;

use super::error::{CliError, request_error};
use super::output::print_stderr;
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
use progress::{Progress, RenewalBaseline};
use serde_json::json;
use std::collections::BTreeMap;
use std::pin::pin;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};
use videotoken_api::duration::flag as duration;
use videotoken_api::{names, wire_time};
use videotoken_core::summary::text;
use videotoken_providers::clock::{self, Timestamp};

/// VideoAccessTokens to renew.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub(super) struct Options {
    /// VideoAccessTokens
    #[arg(value_name = "NAME", required_unless_present_any = ["all", "selector"], value_parser = object_name)]
    names: Vec<String>,

    /// Renew all VideoAccessTokens of the namespace, or of the cluster with -A
    #[arg(long, conflicts_with = "names")]
    all: bool,

    /// Renew the VideoAccessTokens with these labels, as -l of kubectl
    // an empty selector selects all objects, which only --all does
    #[arg(short = 'l', long, value_name = "SELECTOR", conflicts_with = "names", value_parser = NonEmptyStringValueParser::new())]
    selector: Option<String>,

    /// Wait until each renewal has succeeded or failed
    #[arg(short, long)]
    wait: bool,

    /// Maximum time for --wait
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = duration)]
    timeout: Duration,
}

type Key = (String, String);

/// Requests renewals, and waits for them with `--wait`. Fails if a token isn't renewed.
pub(super) async fn run(session: &Session, options: &Options) -> Result<(), CliError> {
    let tokens = selected_tokens(session, options).await?;
    if tokens.is_empty() {
        print_stderr(&format!("No VideoAccessTokens {}.", session.namespace_phrase()));
        return Ok(());
    }
    let mut open = BTreeMap::new();
    let (begun, mut failures) = (Instant::now(), 0);
    for token in &tokens {
        match request(session, token).await {
            Ok(after) => {
                open.insert(token.key(), RenewalBaseline::new(&after.status));
            }
            Err(CliError::NotHealthy(why)) => {
                print_result(&token.key(), &format!("not renewed: {why}"))?;
                failures += 1;
            }
            Err(error) => return Err(error),
        }
    }
    if options.wait && !open.is_empty() {
        failures += wait(session, options, open, begun).await?;
    } else {
        for key in open.keys() {
            print_result(key, "renewal requested")?;
        }
    }
    if failures == 0 { Ok(()) } else { Err(CliError::AlreadyReported(1)) }
}

fn print_result(key: &Key, what: &str) -> Result<(), CliError> {
    super::output::show(&format!("{}/{} {}\n", key.0, key.1, super::terminal::plain(what)))
}

async fn selected_tokens(session: &Session, options: &Options) -> Result<Vec<Token>, CliError> {
    let mut tokens = Vec::new();
    for name in &options.names {
        tokens.push(session.token(name).await?);
    }
    if options.names.is_empty() {
        session.each_token(options.selector.as_deref(), |token| tokens.push(token)).await?;
    }
    Ok(tokens)
}

/// Sets the annotation and returns the object at that time: later changes of its status belong to this renewal.
async fn request(session: &Session, token: &Token) -> Result<Token, CliError> {
    if token.row.suspended {
        return Err(CliError::not_healthy(
            "spec.suspend is true, so nothing is issued. Set it to false; a token that is due is then renewed.",
        ));
    }
    let value = request_time(clock::now().wall, token.row.issued_at).to_rfc3339_opts(SecondsFormat::Micros, true);
    let patch = json!({"metadata": {"annotations": {names::RENEW_REQUESTED_AT: value}}});
    let api: Api<Token> = Api::namespaced(session.client.clone(), &token.row.namespace);
    let (params, patch) = (PatchParams::default(), Patch::Merge(&patch));
    let patched = api.patch(&token.row.name, &params, &patch);
    session.request("patch", RESOURCE, patched).await
}

/// Returns the value of the annotation: now, but at least one second after the issuance of the token. The operator ignores
/// earlier times, which occur if this machine's clock is behind.
fn request_time(now: Timestamp, issued_at: Option<Timestamp>) -> Timestamp {
    issued_at.map_or(now, |issued_at| now.max(issued_at + TimeDelta::seconds(1)))
}

/// Waits for all renewals and returns the number of tokens that aren't renewed.
async fn wait(
    session: &Session,
    options: &Options,
    open: BTreeMap<Key, RenewalBaseline>,
    begun: Instant,
) -> Result<usize, CliError> {
    let mut config = Config::default();
    config.label_selector.clone_from(&options.selector);
    if let [name] = options.names.as_slice() {
        config.field_selector = Some(format!("metadata.name={name}"));
    }
    let mut events = pin!(watcher(session.tokens(), config).default_backoff());
    let mut waiting = Waiting { open, delayed: BTreeMap::new(), failures: 0, begun, timeout: options.timeout };
    while !waiting.open.is_empty() {
        let Ok(Some(event)) = timeout_at(begun + options.timeout, events.next()).await else { break };
        match event {
            Ok(Event::InitApply(token) | Event::Apply(token)) => {
                let Some(baseline) = waiting.open.get(&token.key()) else { continue };
                let progress = baseline.progress(&token);
                waiting.apply(&token.key(), progress)?;
            }
            Ok(Event::Delete(token)) => {
                waiting.apply(&token.key(), Progress::Failed("the object was deleted".to_owned()))?;
            }
            Err(Error::InitialListFailed(error @ kube::Error::Api(_))) => {
                return Err(request_error("list", RESOURCE)(error));
            }
            Err(Error::WatchStartFailed(error @ kube::Error::Api(_))) => {
                return Err(request_error("watch", RESOURCE)(error));
            }
            // the watcher restarts
            Ok(Event::Init | Event::InitDone) | Err(_) => {}
        }
    }
    waiting.give_up()
}

/// Renewals without a result, and what was printed about them.
struct Waiting {
    open: BTreeMap<Key, RenewalBaseline>,
    delayed: BTreeMap<Key, String>,
    failures: usize,
    begun: Instant,
    timeout: Duration,
}

impl Waiting {
    fn apply(&mut self, key: &Key, progress: Progress) -> Result<(), CliError> {
        if !self.open.contains_key(key) {
            return Ok(());
        }
        let now = clock::now().wall;
        let left = self.timeout.saturating_sub(self.begun.elapsed());
        match progress {
            Progress::None => return Ok(()),
            Progress::Renewed(expires_at) => {
                let (took, ends) = (self.begun.elapsed().as_secs_f64(), wire_time::text(expires_at));
                print_result(
                    key,
                    &format!("renewed in {took:.1} s; expires {ends} ({})", text::relative_time(expires_at, now)),
                )?;
            }
            Progress::Failed(why) => self.fail(key, &format!("not renewed: {why}"))?,
            Progress::RetryAt(why, next) if next > now + TimeDelta::from_std(left).unwrap_or(TimeDelta::MAX) => {
                self.fail(key, &format!("not renewed within {} s: {why}", self.timeout.as_secs_f32()))?;
            }
            Progress::RetryAt(why, _) | Progress::Delayed(why) => {
                if self.delayed.get(key) != Some(&why) {
                    print_stderr(&format!("{}/{}: {why}", key.0, key.1));
                    self.delayed.insert(key.clone(), why);
                }
                return Ok(());
            }
        }
        self.open.remove(key);
        Ok(())
    }

    fn fail(&mut self, key: &Key, what: &str) -> Result<(), CliError> {
        self.failures += 1;
        print_result(key, what)
    }

    /// Reports the renewals that have no result after the timeout.
    fn give_up(mut self) -> Result<usize, CliError> {
        for key in std::mem::take(&mut self.open).keys() {
            let no_update = "no status update was received. Run `kubectl videotoken doctor`.".to_owned();
            let why = self.delayed.remove(key).unwrap_or(no_update);
            self.fail(key, &format!("not renewed within {} s: {why}", self.timeout.as_secs_f32()))?;
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
            assert_eq!(request_time(at(0), issued.map(at)), at(expected), "{issued:?}");
        }
    }
}
