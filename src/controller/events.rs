//! Kubernetes events: on transitions only (P16).
//!
//! An event is a courtesy: it waits in a bounded queue and is published beside the reconcile, so that an API server that
//! is slow to take events holds up no token.

use super::Context;
use super::dereference::Seen;
use crate::api::condition::ConditionStatus;
use crate::api::key::ObjectKey;
use crate::api::video_access_token::VideoAccessTokenStatus;
use crate::api::workload::Workload;
use crate::issuer::redact::quoted;
use crate::plan::contest::{CONTESTED, OVERRIDDEN};
use crate::plan::decide::{ENDED, TOO_OFTEN};
use crate::plan::reason::Reason;
use crate::plan::status::OVERPRIVILEGED;
use futures::StreamExt;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::core::Resource;
use kube::runtime::events::{Event, EventType, Recorder};
use std::time::Duration;
use tokio::sync::mpsc;

/// So many events may wait; further ones are dropped, with a line in the log.
const WAITING: usize = 1024;

/// So many are published at once.
const AT_ONCE: usize = 8;

/// The API server takes an event within this, or it is dropped.
const PUBLISH_WITHIN: Duration = Duration::from_secs(10);

/// An event on its way.
struct Told {
    key: ObjectKey,
    regarding: ObjectReference,
    event: Event,
}

/// Where events wait to be published.
pub(super) struct Events(mpsc::Sender<Told>);

/// The other end of [`Events`].
pub(super) struct Queue(mpsc::Receiver<Told>);

/// An empty queue.
pub(super) fn queue() -> (Events, Queue) {
    let (events, queue) = mpsc::channel(WAITING);
    (Events(events), Queue(queue))
}

/// Publishes what is told, as long as the process lives.
pub(super) async fn publish_all(queue: Queue, recorder: Recorder) {
    let told = futures::stream::unfold(queue.0, async |mut queue| Some((queue.recv().await?, queue)));
    let publish = async |Told { key, regarding, event }: Told| match tokio::time::timeout(
        PUBLISH_WITHIN,
        recorder.publish(&event, &regarding),
    )
    .await
    {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%key, error = quoted(&error), "the event is not published"),
        Err(_) => tracing::debug!(%key, "the API server does not take the event: it is dropped"),
    };
    told.for_each_concurrent(AT_ONCE, publish).await;
}

/// Tells what changed between the status before and this one.
pub(super) fn transitions(context: &Context, seen: &Seen, status: &VideoAccessTokenStatus) {
    let before = &seen.token.status;
    let condition = |type_: &str| status.conditions.iter().find(|condition| condition.type_ == type_);
    let holds = |type_: &str| condition(type_).is_some_and(|condition| condition.status == ConditionStatus::True);
    let note = |type_: &str| condition(type_).map(|condition| condition.message.clone()).unwrap_or_default();
    let [was_ready, _, was_stalled] = before.conditions.map(|condition| condition.status);
    let expired = condition("Ready").is_some_and(|ready| ready.reason == "Expired");
    let failing = status.failed_attempts > 0;
    let was_failing = before.failed_attempts > 0;

    if holds("Stalled") && was_stalled != Some(true) {
        let reason = condition("Stalled").map(|stalled| stalled.reason.clone()).unwrap_or_default();
        if [CONTESTED, OVERRIDDEN].contains(&reason.as_str()) {
            tracing::warn!(key = %seen.token.key, reason, message = note("Stalled"), "the Secret isn't as it was written");
        }
        let type_ = if reason == ENDED { EventType::Normal } else { EventType::Warning };
        publish(context, seen, type_, &reason, "Refuse", &note("Stalled"));
    } else if failing && !was_failing {
        let failure = status.last_failure.as_ref().map(|f| format!("{}: {}", f.reason, f.message)).unwrap_or_default();
        publish(context, seen, EventType::Warning, "IssueFailed", "Issue", &failure);
    }
    let often = condition("Issuing").filter(|issuing| issuing.reason == TOO_OFTEN);
    if let Some(often) = often.filter(|_| before.conditions[1].reason != Reason::of(TOO_OFTEN)) {
        publish(context, seen, EventType::Warning, TOO_OFTEN, "Issue", &often.message);
    }
    if holds(OVERPRIVILEGED) && before.excess.is_none() {
        let reason = condition(OVERPRIVILEGED).map(|it| it.reason.clone()).unwrap_or_default();
        publish(context, seen, EventType::Warning, &reason, "Issue", &note(OVERPRIVILEGED));
    }
    if expired && was_ready == Some(true) {
        publish(context, seen, EventType::Warning, "Expired", "Renew", &note("Ready"));
    }
    let well = !failing && !holds("Stalled") && holds("Ready") && !seen.token.deleting();
    // not ready since the token's end, and not since before, as one is that another hand changed
    let was_expired = was_ready == Some(false)
        && before.expires_at.time().is_some()
        && before.expires_at <= before.conditions[0].since;
    if well && (was_failing || was_stalled == Some(true) || was_expired) {
        publish(context, seen, EventType::Normal, "Recovered", "Issue", &note("Ready"));
    }
    // the end of a fight is told as a recovery
    if seen.memo.repaired && well && was_stalled != Some(true) {
        let text =
            format!("the Secret {} was changed by another hand and is as it should be again", seen.secret_key.name);
        publish(context, seen, EventType::Normal, "Repaired", "Repair", &text);
    }
}

/// Tells that a workload isn't restarted.
pub(super) fn not_restarted(context: &Context, seen: &Seen, workload: &Workload, reason: &str, note: &str) {
    // without it, events of two workloads would count as one
    let secondary = ObjectReference {
        api_version: Some("apps/v1".to_owned()),
        kind: Some(workload.kind.to_owned()),
        name: Some(workload.name.to_string()),
        namespace: Some(seen.token.key.namespace.to_string()),
        ..ObjectReference::default()
    };
    send(context, seen, Event { secondary: Some(secondary), ..event(EventType::Warning, reason, "Restart", note) });
}

fn publish(context: &Context, seen: &Seen, type_: EventType, reason: &str, action: &str, note: &str) {
    send(context, seen, event(type_, reason, action, note));
}

fn event(type_: EventType, reason: &str, action: &str, note: &str) -> Event {
    let note = note.chars().take(1000).collect();
    Event { type_, reason: reason.to_owned(), note: Some(note), action: action.to_owned(), secondary: None }
}

fn send(context: &Context, seen: &Seen, event: Event) {
    let key = seen.token.key.clone();
    let told = Told { key, regarding: seen.token.object_ref(&()), event };
    if let Err(mpsc::error::TrySendError::Full(Told { key, event, .. })) = context.events.0.try_send(told) {
        tracing::warn!(%key, reason = event.reason, "too many events wait to be published: this one is dropped");
    }
}
