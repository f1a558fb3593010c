//! Kubernetes events: on transitions only (P16).
//!
//! Events wait in a bounded queue and are published outside the reconcile, so that a slow API server delays no token.

use crate::controller::stores::token::Token;
use futures::StreamExt;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::core::ObjectMeta;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Api, Client};
use std::time::Duration;
use tokio::sync::mpsc;
use videotoken_api::key::ObjectKey;
use videotoken_api::video_access_token::VideoAccessTokenStatus;
use videotoken_api::workload::Workload;
use videotoken_core::plan::transitions::{Circumstances, Transition, transitions};
use videotoken_providers::clock;
use videotoken_providers::redact::quoted;

/// Maximum number of waiting events. Further events are dropped and logged.
const WAITING: usize = 1024;

/// Number of events that are published at the same time.
const AT_ONCE: usize = 8;

/// Time limit for publishing an event. The event is dropped after this time.
const PUBLISH_WITHIN: Duration = Duration::from_secs(10);

/// Name of the reporter.
const REPORTER: &str = "videotoken.dev/video-token-operator";

/// Maximum length of a name in bytes, and the number of hexadecimal digits that make the name of an event unique.
const MOST_NAME: usize = 253;
const DIGITS: usize = 16;

/// Maximum length of a note in bytes.
const MOST_NOTE: usize = 1024;

/// An event that waits to be published.
struct QueuedEvent {
    key: ObjectKey,
    regarding: ObjectReference,
    event: Event,
}

/// Sender of the queue of events.
pub(crate) struct Events(mpsc::Sender<QueuedEvent>);

/// Receiver of the queue of [`Events`].
pub(crate) struct Queue(mpsc::Receiver<QueuedEvent>);

/// Creates an empty queue.
pub(crate) fn queue() -> (Events, Queue) {
    let (events, queue) = mpsc::channel(WAITING);
    (Events(events), Queue(queue))
}

/// Publishes the events of the queue as long as the process runs.
pub(crate) async fn publish_all(queue: Queue, client: Client) {
    let recorder = Recorder::new(client.clone(), Reporter { controller: REPORTER.to_owned(), instance: None });
    let queued = futures::stream::unfold(queue.0, async |mut queue| Some((queue.recv().await?, queue)));
    let publish_one = async |regarding: &ObjectReference, event: &Event| match name_of(regarding) {
        None => recorder.publish(event, regarding).await,
        Some(name) => create(&client, name, regarding, event).await,
    };
    let publish = async |QueuedEvent { key, regarding, event }: QueuedEvent| match tokio::time::timeout(
        PUBLISH_WITHIN,
        publish_one(&regarding, &event),
    )
    .await
    {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%key, error = quoted(&error), "the event is not published"),
        Err(_) => tracing::debug!(%key, "the API server does not take the event: it is dropped"),
    };
    queued.for_each_concurrent(AT_ONCE, publish).await;
}

/// Returns a shorter name if the recorder's own name (the name of the object, a dot and 16 digits) would be too long.
fn name_of(regarding: &ObjectReference) -> Option<String> {
    let name = regarding.name.as_deref().filter(|name| name.len() + 1 + DIGITS > MOST_NAME)?;
    let short = name.get(..MOST_NAME - 1 - DIGITS)?.trim_end_matches(['-', '.']);
    let nanoseconds = clock::now().wall.timestamp_nanos_opt().unwrap_or_default();
    Some(format!("{short}.{nanoseconds:0DIGITS$x}"))
}

/// Creates an event under this name, without counting repetitions.
async fn create(client: &Client, name: String, regarding: &ObjectReference, event: &Event) -> Result<(), kube::Error> {
    let namespace = regarding.namespace.clone().unwrap_or_default();
    let type_ = match event.type_ {
        EventType::Normal => "Normal",
        EventType::Warning => "Warning",
    };
    let object = events::v1::Event {
        metadata: ObjectMeta { name: Some(name), namespace: Some(namespace.clone()), ..ObjectMeta::default() },
        event_time: Some(MicroTime(Timestamp::now())),
        action: Some(event.action.clone()),
        reason: Some(event.reason.clone()),
        note: event.note.clone(),
        type_: Some(type_.to_owned()),
        regarding: Some(regarding.clone()),
        related: event.secondary.clone(),
        reporting_controller: Some(REPORTER.to_owned()),
        reporting_instance: Some(REPORTER.to_owned()),
        ..events::v1::Event::default()
    };
    Api::namespaced(client.clone(), &namespace).create(&PostParams::default(), &object).await.map(drop)
}

impl Events {
    /// Publishes the events of the transition from the previous status to this one.
    pub(crate) fn publish_transitions(
        &self,
        token: &Token,
        status: &VideoAccessTokenStatus,
        circumstances: Circumstances<'_>,
    ) {
        for transition in transitions(&token.status, status, circumstances) {
            let Transition { is_warning, reason, action, note } = &transition;
            if transition.is_about_secret() {
                tracing::warn!(key = %token.key, reason, message = note, "the Secret isn't as it was written");
            }
            let type_ = if *is_warning { EventType::Warning } else { EventType::Normal };
            self.send(token, event(type_, reason, action, note));
        }
    }

    /// Publishes that a workload isn't restarted.
    /// `api_version` is that of the workload, if the operator knows its kind.
    pub(crate) fn publish_not_restarted(
        &self,
        token: &Token,
        api_version: Option<String>,
        workload: &Workload,
        reason: &str,
        note: &str,
    ) {
        // Without the secondary object, events of two workloads would count as one.
        let secondary = ObjectReference {
            api_version,
            kind: Some(workload.bare_kind().to_owned()),
            name: Some(workload.name.to_string()),
            namespace: Some(token.key.namespace.to_string()),
            ..ObjectReference::default()
        };
        let event = event(EventType::Warning, reason, "Restart", note);
        self.send(token, Event { secondary: Some(secondary), ..event });
    }

    fn send(&self, token: &Token, event: Event) {
        let queued = QueuedEvent { key: token.key.clone(), regarding: token.reference(), event };
        if let Err(mpsc::error::TrySendError::Full(QueuedEvent { key, event, .. })) = self.0.try_send(queued) {
            tracing::warn!(%key, reason = event.reason, "too many events wait to be published: this one is dropped");
        }
    }
}

fn event(type_: EventType, reason: &str, action: &str, note: &str) -> Event {
    let note = note[..note.floor_char_boundary(MOST_NOTE)].to_owned();
    Event { type_, reason: reason.to_owned(), note: Some(note), action: action.to_owned(), secondary: None }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_event_of_a_long_name_has_a_name_that_fits() {
        let of = |name: &str| name_of(&ObjectReference { name: Some(name.to_owned()), ..ObjectReference::default() });
        assert_eq!(of("lobby"), None);
        assert_eq!(of(&"x".repeat(MOST_NAME - 1 - DIGITS)), None);
        let dashed = format!("{}-.-b{}", "a".repeat(233), "c".repeat(16));
        for name in ["x".repeat(237), "x".repeat(253), dashed] {
            let event = of(&name).unwrap();
            let (object, digits) = event.rsplit_once('.').unwrap();
            assert!(event.len() <= MOST_NAME && name.starts_with(object) && digits.len() == DIGITS, "{event}");
            assert!(object.ends_with(|c: char| c.is_ascii_alphanumeric()), "{event}");
        }
    }

    #[test]
    fn a_note_has_at_most_1024_bytes_and_whole_characters() {
        for (note, length) in [("a".repeat(3000), 1024), ("ü".repeat(3000), 1024), ("字".repeat(3000), 1023)] {
            let event = event(EventType::Normal, "Recovered", "Issue", &note);
            assert_eq!(event.note.unwrap().len(), length);
        }
    }
}
