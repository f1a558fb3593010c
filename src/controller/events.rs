//! Kubernetes events: on transitions only (P16).

use super::Context;
use super::dereference::Seen;
use crate::api::condition::ConditionStatus;
use crate::api::video_access_token::VideoAccessTokenStatus;
use crate::api::workload::Workload;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::core::Resource;
use kube::runtime::events::{Event, EventType};

/// Tells what changed between the status before and this one.
pub(super) async fn transitions(context: &Context, seen: &Seen, status: &VideoAccessTokenStatus) {
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
        publish(context, seen, EventType::Warning, &reason, "Refuse", note("Stalled")).await;
    } else if failing && !was_failing {
        let failure = status.last_failure.as_ref().map(|f| format!("{}: {}", f.reason, f.message)).unwrap_or_default();
        publish(context, seen, EventType::Warning, "IssueFailed", "Issue", failure).await;
    }
    if expired && was_ready == Some(true) {
        publish(context, seen, EventType::Warning, "Expired", "Renew", note("Ready")).await;
    }
    let well = !failing && !holds("Stalled") && holds("Ready");
    // not ready since the token's end, and not since before, as one is that another hand changed
    let was_expired = was_ready == Some(false)
        && before.expires_at.time().is_some()
        && before.expires_at <= before.conditions[0].since;
    if well && (was_failing || was_stalled == Some(true) || was_expired) {
        publish(context, seen, EventType::Normal, "Recovered", "Issue", note("Ready")).await;
    }
    if seen.memo.repaired && holds("Ready") {
        let text =
            format!("the Secret {} was changed by another hand and is as it should be again", seen.secret_key.name);
        publish(context, seen, EventType::Normal, "Repaired", "Repair", text).await;
    }
}

/// Tells that a workload isn't restarted.
pub(super) async fn not_restarted(context: &Context, seen: &Seen, workload: &Workload, reason: &str, note: String) {
    // without it, events of two workloads would count as one
    let secondary = ObjectReference {
        api_version: Some("apps/v1".to_owned()),
        kind: Some(workload.kind.to_owned()),
        name: Some(workload.name.to_string()),
        namespace: Some(seen.token.key.namespace.to_string()),
        ..ObjectReference::default()
    };
    send(context, seen, Event { secondary: Some(secondary), ..event(EventType::Warning, reason, "Restart", &note) })
        .await;
}

async fn publish(context: &Context, seen: &Seen, type_: EventType, reason: &str, action: &str, note: String) {
    send(context, seen, event(type_, reason, action, &note)).await;
}

fn event(type_: EventType, reason: &str, action: &str, note: &str) -> Event {
    let note = note.chars().take(1000).collect();
    Event { type_, reason: reason.to_owned(), note: Some(note), action: action.to_owned(), secondary: None }
}

/// An event is a courtesy: one that fails is logged and forgotten.
async fn send(context: &Context, seen: &Seen, event: Event) {
    let regarding: ObjectReference = seen.token.object_ref(&());
    if let Err(error) = context.recorder.publish(&event, &regarding).await {
        tracing::debug!(key = %seen.token.key, %error, "the event isn't published");
    }
}
