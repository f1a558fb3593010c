//! Kubernetes events: on transitions only (P16).

use super::Context;
use super::dereference::Seen;
use crate::api::condition::ConditionStatus;
use crate::api::video_access_token::VideoAccessTokenStatus;
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
    let recovered = (was_failing && !failing) || (was_stalled == Some(true) && !holds("Stalled"));
    if recovered && holds("Ready") {
        publish(context, seen, EventType::Normal, "Recovered", "Issue", note("Ready")).await;
    }
    if seen.memo.repaired && holds("Ready") {
        let text =
            format!("the Secret {} was changed by another hand and is as it should be again", seen.secret_key.name);
        publish(context, seen, EventType::Normal, "Repaired", "Repair", text).await;
    }
}

/// An event is a courtesy: one that fails is logged and forgotten.
async fn publish(context: &Context, seen: &Seen, type_: EventType, reason: &str, action: &str, note: String) {
    let regarding: ObjectReference = seen.token.object_ref(&());
    let note = note.chars().take(1000).collect();
    let event =
        Event { type_, reason: reason.to_owned(), note: Some(note), action: action.to_owned(), secondary: None };
    if let Err(error) = context.recorder.publish(&event, &regarding).await {
        tracing::debug!(key = %seen.token.key, %error, "the event isn't published");
    }
}
