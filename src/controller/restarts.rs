//! Restarts the workloads that a token names after it has changed: for each, one metadata GET and one patch.
//!
//! It comes after the Secret's write and before the status', which tells of it: `plan::restart` says why a crash between
//! any two of these neither loses nor repeats a restart. A failure is tried again by and by, and holds up no renewal.

use super::Context;
use super::dereference::Seen;
use super::events;
use super::memo::Memo;
use super::token::Token;
use crate::api::names;
use crate::api::workload::Workload;
use crate::clock::{self, Timestamp};
use crate::issuer::Class;
use crate::plan::backoff::{self, Tries};
use crate::plan::decide::Decision;
use crate::plan::facts::Seconds;
use crate::plan::restart::{self, Naming, Restart};
use crate::plan::view::DataView;
use crate::plan::write_failure::ApiError;
use chrono::TimeDelta;
use futures::future::join_all;
use parking_lot::Mutex;
use std::collections::HashSet;
use std::sync::Arc;

/// A restart that failed this often in a row is told as an event.
const TOLD_AFTER: u32 = 3;

/// What is remembered of one token's restarts: while some are due, and of what was told.
#[derive(Clone, Debug, Default)]
pub(super) struct Restarts {
    /// The issue of the token that they are for.
    of: Seconds,
    /// The workloads that are done with.
    done: Vec<Workload>,
    /// Failures in a row.
    failures: u32,
    /// No attempt before this.
    next: Option<Timestamp>,
    /// What was told, and of which workload, until it is otherwise.
    told: Vec<(Workload, &'static str)>,
}

impl Restarts {
    /// Nothing of an earlier token's but what was told.
    fn reset(&mut self, of: Seconds) {
        let told = std::mem::take(&mut self.told);
        *self = Self { of, told, ..Self::default() };
    }
}

impl Memo {
    fn restarts_of(&mut self, token: Seconds) -> &mut Restarts {
        let restarts = self.restarts.get_or_insert_default();
        if restarts.of != token {
            restarts.reset(token);
        }
        restarts
    }

    fn restarted(&self, token: Seconds, workload: &Workload) -> bool {
        self.restarts.as_ref().is_some_and(|restarts| restarts.of == token && restarts.done.contains(workload))
    }

    /// A status has told what `restartedFor` is: what is done needs no more remembering.
    pub(super) fn forget_restarts(&mut self, restarted_for: Option<Timestamp>) {
        if let Some(restarts) = &mut self.restarts {
            if restarted_for.is_none() {
                restarts.told.clear();
            }
            if restarted_for.is_none_or(|time| restarts.of == time.into()) {
                restarts.reset(Seconds::default());
            }
            if restarts.of == Seconds::default() && restarts.told.is_empty() {
                self.restarts = None;
            }
        }
    }
}

/// The workloads that are being restarted at this moment: two tokens that name one don't both do it.
#[derive(Debug, Default)]
pub(super) struct UnderWay(Mutex<HashSet<(Arc<str>, Workload)>>);

struct Claim<'a>(&'a UnderWay, (Arc<str>, Workload));

impl UnderWay {
    fn claim(&self, namespace: &Arc<str>, workload: &Workload) -> Option<Claim<'_>> {
        let place = (namespace.clone(), workload.clone());
        self.0.lock().insert(place.clone()).then(|| Claim(self, place))
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.0.0.lock().remove(&self.1);
    }
}

/// Restarts what is due, and returns what `status.restartedFor` says then.
pub(super) async fn follow(context: &Context, seen: &Seen, decision: &Decision) -> Option<Timestamp> {
    if seen.workloads.is_empty() {
        return None;
    }
    let before = seen.token.status.restarted_for;
    let Some((facts, data)) = seen.own_secret() else { return before.time() };
    let (issued_at, now) = (facts.issued_at, clock::now().wall);
    if !restart::is_due(issued_at, before) {
        return issued_at.time();
    }
    // a refused object writes nothing; a token that is lost or has expired isn't worth a restart: the next one is
    let worth = data == DataView::Verified && facts.expires_at.time().is_some_and(|expires| now < expires);
    if decision.refusal.is_some() || !worth {
        return before.time();
    }
    if serve(context, seen, issued_at, now).await { issued_at.time() } else { before.time() }
}

/// What came of one workload.
enum Outcome {
    /// Restarted for its tokens as they are.
    Done,
    /// It can't be, and that is no failure: why, in one CamelCase word, and for people.
    Skipped(&'static str, String),
    /// Not yet.
    Later(Timestamp),
    Failed(ApiError),
}

/// Restarts what can be restarted now. Tells whether all is done.
async fn serve(context: &Context, seen: &Seen, issued_at: Seconds, now: Timestamp) -> bool {
    let key = &seen.token.key;
    let memo = context.memos.get(key);
    let due = memo.restarts.as_ref().filter(|restarts| restarts.of == issued_at).and_then(|restarts| restarts.next);
    if let Some(next) = due.filter(|next| now < *next) {
        context.timetable.set(key, next);
        return false;
    }
    let open = seen.workloads.iter().filter(|workload| !memo.restarted(issued_at, workload));
    let tried =
        join_all(open.map(async |workload| (workload, restart(context, &seen.token, workload, now).await))).await;
    let mut failed = None;
    for (workload, outcome) in tried {
        match outcome {
            Outcome::Done => settle(context, seen, issued_at, workload, None),
            Outcome::Skipped(why, note) => settle(context, seen, issued_at, workload, Some((why, note))),
            Outcome::Later(at) => context.timetable.set(key, at),
            Outcome::Failed(error) => {
                tracing::warn!(%key, %workload, %error, "a workload isn't restarted yet");
                failed = Some((workload, error));
            }
        }
    }
    if let Some((workload, error)) = failed {
        let failures = context.memos.change(key, |memo| {
            let restarts = memo.restarts_of(issued_at);
            restarts.failures += 1;
            let next = backoff::next_attempt(
                Class::Transient,
                Tries::in_a_row(restarts.failures),
                None,
                None,
                now,
                seen.token.uid.0,
            );
            restarts.next = Some(next);
            context.timetable.set(key, next);
            restarts.failures
        });
        if failures >= TOLD_AFTER {
            let hint = match error {
                ApiError::Refused(_) => ": is the chart's rbac.rolloutRestart set?",
                _ => "",
            };
            let note = format!("spec.rolloutRestart: the {workload} can't be restarted yet: {error}{hint}");
            tell(context, seen, issued_at, workload, "RestartFailed", &note);
        }
    }
    let memo = context.memos.get(key);
    seen.workloads.iter().all(|workload| memo.restarted(issued_at, workload))
}

/// Notes that the workload is done with, restarted or not.
fn settle(
    context: &Context,
    seen: &Seen,
    issued_at: Seconds,
    workload: &Workload,
    skipped: Option<(&'static str, String)>,
) {
    context.memos.change(&seen.token.key, |memo| {
        let restarts = memo.restarts_of(issued_at);
        if !restarts.done.contains(workload) {
            restarts.done.push(workload.clone());
        }
        if skipped.is_none() {
            restarts.told.retain(|(told, _)| told != workload);
        }
    });
    if let Some((why, note)) = skipped {
        tell(context, seen, issued_at, workload, why, &note);
    }
}

/// An event, unless the last one about this workload said the same (P16).
fn tell(context: &Context, seen: &Seen, issued_at: Seconds, workload: &Workload, why: &'static str, note: &str) {
    let new = context.memos.change(&seen.token.key, |memo| {
        let told = &mut memo.restarts_of(issued_at).told;
        let new = !told.contains(&(workload.clone(), why));
        told.retain(|(other, _)| other != workload);
        told.push((workload.clone(), why));
        new
    });
    if new {
        events::not_restarted(context, seen, workload, why, note);
    }
}

/// Restarts one workload, if it is time, for all tokens that name it.
async fn restart(context: &Context, token: &Token, workload: &Workload, now: Timestamp) -> Outcome {
    let namespace = &token.key.namespace;
    let tokens = naming(context, namespace, workload);
    let mark = match restart::decide(&tokens.iter().map(|(_, naming)| *naming).collect::<Vec<_>>(), now) {
        // another token's reconcile has done it meanwhile
        Restart::None => return Outcome::Done,
        Restart::At(at) => return Outcome::Later(at),
        Restart::Now(mark) => mark,
    };
    let Some(_claim) = context.restarting.claim(namespace, workload) else {
        return Outcome::Later(now + TimeDelta::seconds(1));
    };
    let there = match context.applier.workload(namespace, workload).await {
        Ok(Some(there)) if there.opted_in() => there,
        Ok(Some(_)) => return not_opted_in(namespace, workload),
        Ok(None) => return missing(workload),
        Err(error) => return Outcome::Failed(error),
    };
    match context.applier.restart(namespace, workload, &there, &mark).await {
        Ok(()) => {}
        Err(ApiError::NotLeading) => return Outcome::Later(now + TimeDelta::seconds(1)),
        Err(ApiError::Gone(_)) => return missing(workload),
        Err(error) => return Outcome::Failed(error),
    }
    tracing::info!(%namespace, %workload, mark, "restarted");
    for (other, naming) in tokens.iter().filter(|(other, _)| other.key != token.key) {
        if restart::is_due(naming.issued_at, naming.restarted_for) {
            context.memos.change(&other.key, |memo| memo.restarts_of(naming.issued_at).done.push(workload.clone()));
            context.wake(&other.key);
        }
    }
    Outcome::Done
}

fn missing(workload: &Workload) -> Outcome {
    let note = format!("spec.rolloutRestart: there is no {workload}: once it is there, the next renewal restarts it");
    Outcome::Skipped("RestartTargetMissing", note)
}

fn not_opted_in(namespace: &str, workload: &Workload) -> Outcome {
    let (kind, label) = (workload.kind.to_lowercase(), names::RESTART_ON_RENEWAL);
    let note = format!(
        "spec.rolloutRestart: the {workload} hasn't opted in and isn't restarted: kubectl label {kind} -n {namespace} \
         {} {label}=true",
        workload.name
    );
    Outcome::Skipped("RestartNotAllowed", note)
}

/// All tokens that name the workload.
fn naming(context: &Context, namespace: &Arc<str>, workload: &Workload) -> Vec<(Arc<Token>, Naming)> {
    let tokens = context.tokens.naming(namespace, workload).into_iter().map(|token| {
        let secret = context.secrets.get(&token.secret_key()).filter(|facts| facts.owner == Some(token.uid));
        let issued_at = secret.map(|facts| facts.issued_at).unwrap_or_default();
        let status = &token.status;
        let done = context.memos.get(&token.key).restarted(issued_at, workload);
        let margin = status.expires_at.time().zip(status.renew_at.time()).map(|(expires, renews)| expires - renews);
        let restarted_for = if done { issued_at } else { status.restarted_for };
        let naming = Naming { uid: token.uid, issued_at, restarted_for, margin };
        (token, naming)
    });
    tokens.collect()
}
