//! Restarts the workloads that a VideoAccessToken names after a renewal: one metadata GET and one patch for each.
//!
//! A restart follows the write of the Secret and precedes the write of the status, which reports it. `plan::restart`
//! explains why a crash between these steps neither loses nor repeats a restart. A failed restart is retried with
//! back-off and delays no renewal.

use crate::controller::context::Context;
use crate::controller::stores::token::Token;
use crate::controller::tokens::observe::ObservedToken;
use chrono::TimeDelta;
use futures::future::join_all;
use std::sync::Arc;
use videotoken_api::names;
use videotoken_api::workload::Workload;
use videotoken_core::issue::Class;
use videotoken_core::plan::backoff::{self, Tries};
use videotoken_core::plan::decide::Decision;
use videotoken_core::plan::facts::Seconds;
use videotoken_core::plan::restart::{self, Restart, TokenRestartState};
use videotoken_core::plan::view::DataView;
use videotoken_core::plan::write_failure::ApiError;
use videotoken_providers::clock::{self, Timestamp};

/// Number of consecutive failures after which a failed restart is reported as an event.
const REPORT_AFTER_FAILURES: u32 = 3;

/// Restarts the workloads that are due, and returns the new value of `status.restartedFor`.
pub(crate) async fn restart_workloads(
    context: &Context,
    seen: &ObservedToken,
    decision: &Decision,
) -> Option<Timestamp> {
    if seen.workloads.is_empty() {
        return None;
    }
    let before = seen.token.status.restarted_for;
    let Some((facts, data)) = seen.own_secret() else { return before.time() };
    let (issued_at, now) = (facts.issued_at, clock::now().wall);
    if !restart::is_due(issued_at, before) {
        return issued_at.time();
    }
    // A rejected object gets no restarts. A lost or expired token needs none, because its successor causes one.
    let worth = data == DataView::Verified && facts.expires_at.time().is_some_and(|expires| now < expires);
    if decision.refusal.is_some() || !worth {
        return before.time();
    }
    if restart_due(context, seen, issued_at, now).await { issued_at.time() } else { before.time() }
}

/// Result of one restart.
enum RestartResult {
    /// The workload was restarted for the current tokens.
    Done,
    /// The workload can't be restarted, which is not a failure. Contains the reason as one CamelCase word, and a text
    /// for people.
    Skipped(&'static str, String),
    /// The restart isn't due until this time.
    Later(Timestamp),
    Failed(ApiError),
}

/// Restarts the workloads that can be restarted now. Returns true if no restart is left.
async fn restart_due(context: &Context, seen: &ObservedToken, issued_at: Seconds, now: Timestamp) -> bool {
    let key = &seen.token.key;
    let state = context.objects.states.get(key);
    let due = state.restarts.as_ref().filter(|restarts| restarts.of == issued_at).and_then(|restarts| restarts.next);
    if let Some(next) = due.filter(|next| now < *next) {
        context.objects.requeue.set(key, next);
        return false;
    }
    let open = seen.workloads.iter().filter(|workload| !state.restarted(issued_at, workload));
    let tried =
        join_all(open.map(async |workload| (workload, restart(context, &seen.token, workload, now).await))).await;
    let mut failed = None;
    for (workload, outcome) in tried {
        match outcome {
            RestartResult::Done => mark_done(context, seen, issued_at, workload, None),
            RestartResult::Skipped(why, note) => mark_done(context, seen, issued_at, workload, Some((why, note))),
            RestartResult::Later(at) => context.objects.requeue.set(key, at),
            RestartResult::Failed(error) => {
                tracing::warn!(%key, %workload, %error, "a workload isn't restarted yet");
                failed = Some((workload, error));
            }
        }
    }
    if let Some((workload, error)) = failed {
        let failures = context.objects.states.change(key, |state| {
            let restarts = state.restarts_of(issued_at);
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
            context.objects.requeue.set(key, next);
            restarts.failures
        });
        if failures >= REPORT_AFTER_FAILURES {
            let hint = match error {
                ApiError::Refused(_) => ": is the chart's rbac.rolloutRestart set?",
                _ => "",
            };
            let note = format!("spec.rolloutRestart: the {workload} can't be restarted yet: {error}{hint}");
            report_once(context, seen, issued_at, workload, "RestartFailed", &note);
        }
    }
    let state = context.objects.states.get(key);
    seen.workloads.iter().all(|workload| state.restarted(issued_at, workload))
}

/// Records that the workload was restarted or can't be restarted.
fn mark_done(
    context: &Context,
    seen: &ObservedToken,
    issued_at: Seconds,
    workload: &Workload,
    skipped: Option<(&'static str, String)>,
) {
    context.objects.states.change(&seen.token.key, |state| {
        let restarts = state.restarts_of(issued_at);
        if !restarts.done.contains(workload) {
            restarts.done.push(workload.clone());
        }
        if skipped.is_none() {
            restarts.reported.retain(|(reported, _)| reported != workload);
        }
    });
    if let Some((why, note)) = skipped {
        report_once(context, seen, issued_at, workload, why, &note);
    }
}

/// Publishes an event, unless the last event about this workload had the same reason (P16).
fn report_once(
    context: &Context,
    seen: &ObservedToken,
    issued_at: Seconds,
    workload: &Workload,
    why: &'static str,
    note: &str,
) {
    let new = context.objects.states.change(&seen.token.key, |state| {
        let reported = &mut state.restarts_of(issued_at).reported;
        let new = !reported.contains(&(workload.clone(), why));
        reported.retain(|(other, _)| other != workload);
        reported.push((workload.clone(), why));
        new
    });
    if new {
        let kind = context.settings.restart_kinds.get(workload);
        let version = kind.map(|kind| kind.resource.api_version.clone());
        context.output.events.publish_not_restarted(&seen.token, version, workload, why, note);
    }
}

/// Restarts one workload for all VideoAccessTokens that name it, if the restart is due.
async fn restart(context: &Context, token: &Token, workload: &Workload, now: Timestamp) -> RestartResult {
    let namespace = &token.key.namespace;
    let Some(kind) = context.settings.restart_kinds.get(workload) else { return not_named(workload) };
    let tokens = states_of_tokens(context, namespace, workload);
    let mark = match restart::decide(&tokens.iter().map(|(_, naming)| *naming).collect::<Vec<_>>(), now) {
        // The reconcile of another VideoAccessToken has restarted the workload.
        Restart::None => return RestartResult::Done,
        Restart::At(at) => return RestartResult::Later(at),
        Restart::Now(mark) => mark,
    };
    let Some(_claim) = context.restarts.claim(namespace, workload) else {
        return RestartResult::Later(now + TimeDelta::seconds(1));
    };
    let there = match context.output.api.workload(namespace, kind, &workload.name).await {
        Ok(Some(there)) if there.opted_in() && !there.has_template => return without_template(workload),
        Ok(Some(there)) if there.opted_in() => there,
        Ok(Some(_)) => return not_opted_in(namespace, workload),
        Ok(None) => return missing(workload),
        Err(error) => return RestartResult::Failed(error),
    };
    match context.output.api.restart(namespace, kind, &there, &mark).await {
        Ok(()) => {}
        Err(ApiError::NotLeading) => return RestartResult::Later(now + TimeDelta::seconds(1)),
        Err(ApiError::Gone(_)) => return missing(workload),
        Err(error) => return RestartResult::Failed(error),
    }
    tracing::info!(%namespace, %workload, mark, "restarted");
    for (other, naming) in tokens.iter().filter(|(other, _)| other.key != token.key) {
        if restart::is_due(naming.issued_at, naming.restarted_for) {
            context
                .objects
                .states
                .change(&other.key, |state| state.restarts_of(naming.issued_at).done.push(workload.clone()));
            context.trigger(&other.key);
        }
    }
    RestartResult::Done
}

fn missing(workload: &Workload) -> RestartResult {
    let note = format!("spec.rolloutRestart: there is no {workload}: once it is there, the next renewal restarts it");
    RestartResult::Skipped("RestartTargetMissing", note)
}

/// Returns the result for a kind that neither this version nor a flag names.
fn not_named(workload: &Workload) -> RestartResult {
    let kind = &workload.kind;
    let note = format!(
        "spec.rolloutRestart: the {workload} isn't restarted, because the operator may not restart the kind {kind}: name \
         it in the chart's rbac.restartKinds"
    );
    RestartResult::Skipped("RestartNotAllowed", note)
}

/// Returns the result for a workload such as a Rollout that refers to the Deployment with its Pod template.
fn without_template(workload: &Workload) -> RestartResult {
    let note = format!(
        "spec.rolloutRestart: the {workload} has no Pod template at spec.template and isn't restarted: name the workload \
         that has it"
    );
    RestartResult::Skipped("RestartNotAllowed", note)
}

fn not_opted_in(namespace: &str, workload: &Workload) -> RestartResult {
    let (kind, label) = (workload.kind.to_lowercase(), names::RESTART_ON_RENEWAL);
    let note = format!(
        "spec.rolloutRestart: the {workload} hasn't opted in and isn't restarted: kubectl label {kind} -n {namespace} \
         {} {label}=true",
        workload.name
    );
    RestartResult::Skipped("RestartNotAllowed", note)
}

/// Returns the restart state of all VideoAccessTokens that name the workload.
fn states_of_tokens(
    context: &Context,
    namespace: &Arc<str>,
    workload: &Workload,
) -> Vec<(Arc<Token>, TokenRestartState)> {
    let tokens = context.stores.tokens.tokens_for_workload(namespace, workload).into_iter().map(|token| {
        let secret = context.stores.secrets.get(&token.secret_key()).filter(|facts| facts.owner == Some(token.uid));
        let issued_at = secret.map(|facts| facts.issued_at).unwrap_or_default();
        let status = &token.status;
        let done = context.objects.states.get(&token.key).restarted(issued_at, workload);
        let margin = status.expires_at.time().zip(status.renew_at.time()).map(|(expires, renews)| expires - renews);
        let restarted_for = if done { issued_at } else { status.restarted_for };
        let naming = TokenRestartState { uid: token.uid, issued_at, restarted_for, margin };
        (token, naming)
    });
    tokens.collect()
}
