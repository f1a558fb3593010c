//! The last step of a reconcile: the status if it changed, the events, and the next reconcile.

use crate::controller::context::{Context, Known};
use crate::controller::settings::DECIDE_WITHIN;
use crate::controller::tokens::observe::ObservedToken;
use crate::controller::tokens::trace_source;
use crate::telemetry::issue_trace::WriteTarget;
use chrono::TimeDelta;
use videotoken_api::video_access_token::VideoAccessTokenStatus;
use videotoken_core::issue::Class;
use videotoken_core::plan::backoff::{self, Tries};
use videotoken_core::plan::decide::Decision;
use videotoken_core::plan::facts::StatusFacts;
use videotoken_core::plan::object_state::ObjectState;
use videotoken_core::plan::status::{StatusInputs, compose, status_facts};
use videotoken_core::plan::write_failure::ApiError;
use videotoken_providers::clock::{self, Timestamp};

/// Maximum time that a status write waits for a permit. The object is then decided again before the write.
const PERMIT_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(5);

/// Writes the status if it differs from the last one (one write, no GET), and schedules the next reconcile. Returns
/// true if the status is up to date.
pub(crate) async fn write_status(
    context: &Context,
    seen: &ObservedToken,
    decision: &Decision,
    restarted_for: Option<Timestamp>,
) -> bool {
    let key = &seen.token.key;
    let latest = clock::now().wall + DECIDE_WITHIN - spread(seen.token.uid.0);
    context.objects.requeue.set(key, decision.requeue_at.map_or(latest, |wake| wake.min(latest)));
    // An unresolved provider gives no facts about the object.
    if seen.desired.is_none() && !seen.token.deleting() {
        return true;
    }
    let (failure, failed_attempts) = seen.reported_failure();
    let notes = seen.observation.state.notes.as_ref();
    let inputs = StatusInputs {
        generation: seen.token.generation(),
        provider: seen.provider.clone(),
        secret_name: &seen.secret_key.name,
        issued: seen.observation.state.issued,
        failed_attempts,
        failure,
        expiry_assumed: notes.map_or(seen.token.status.expiry_assumed, |notes| notes.expiry_assumed),
        excess: notes.map_or(seen.token.status.excess.as_deref(), |notes| notes.excess.as_ref()),
        restarted_for,
    };
    let status = compose(&seen.view(), decision, &inputs, clock::now().wall);
    let facts = status_facts(&status, &seen.secret_key.name);
    let ready = |facts: &StatusFacts| facts.conditions[0].status.unwrap_or_default();
    let is_ready = ready(&facts);
    if decision.is_on_its_way() && is_ready == ready(&seen.token.status) {
        return true;
    }
    let reported = || {
        context.objects.states.change(key, |state| {
            state.record_status(&seen.observation, decision, is_ready, restarted_for, clock::now().wall);
        });
    };
    if facts.hash == seen.token.status.hash {
        reported();
        return true;
    }
    let slot = tokio::time::timeout(PERMIT_TIMEOUT, context.output.status_permits.acquire(&key.namespace)).await;
    let Ok(slot) = slot else {
        // The object is decided again before the write, because a renewal may be due.
        context.requeue_after(key, TimeDelta::seconds(1));
        return false;
    };
    let begun = clock::now().wall;
    let mut written = context.output.api.apply_status(&seen.token, &status).await;
    if matches!(written, Err(ApiError::SchemaMismatch(_))) {
        // Merged members stay until they are overwritten, so only the members that every status has are merged.
        let lasting = VideoAccessTokenStatus {
            observed_generation: status.observed_generation,
            conditions: status.conditions.clone(),
            ..VideoAccessTokenStatus::default()
        };
        written = context.output.api.merge_status(&seen.token, &lasting).await;
    }
    drop(slot);
    if matches!(written, Err(ApiError::NotLeading)) {
        context.requeue_after(key, TimeDelta::seconds(1));
        return false;
    }
    context.output.traces.wrote(key, WriteTarget::Status, begun, || written.as_ref().err().map(trace_source::fault));
    match written {
        Ok(version) => {
            context.grants.api_server_reached(&key.namespace);
            context.stores.tokens.apply_own_status_write(&seen.token, facts, &version);
            reported();
            context.output.events.publish_transitions(&seen.token, &status, seen.circumstances());
            return true;
        }
        // The watch will report the new version, but triggers no reconcile if only the status or a label differs.
        Err(ApiError::Conflict) => requeue_status(context.known(), seen),
        Err(ApiError::Gone(_)) => {
            // The watch may report the deletion later than this response.
            if matches!(context.output.api.token_metadata(&seen.token).await, Ok(None)) {
                context.apply_changes(&context.stores.tokens.remove_deleted(&seen.token));
            }
            return true;
        }
        // An older CRD accepted the object, and it breaks the rules of the current CRD. Only an event can report the
        // error.
        Err(error @ ApiError::Refused(_)) if decision.refusal.is_some() => {
            tracing::warn!(%key, %error, "the API server takes no status of this object");
            context.output.events.publish_transitions(&seen.token, &status, seen.circumstances());
            context.requeue_after(key, TimeDelta::minutes(10));
        }
        Err(error) => {
            tracing::warn!(%key, %error, "the status isn't written");
            requeue_status(context.known(), seen);
        }
    }
    false
}

/// Retries the status with back-off.
fn requeue_status(known: Known<'_>, seen: &ObservedToken) {
    let (key, now) = (&seen.token.key, clock::now().wall);
    let tries = Tries::in_a_row(known.objects.states.change(key, ObjectState::record_status_failure));
    let next = backoff::next_attempt(Class::Transient, tries, None, None, now, seen.token.uid.0);
    known.requeue_after(key, next - now);
}

/// Returns a delay of up to a minute that spreads the reconciles of many objects, fixed by the UID.
fn spread(uid: u128) -> TimeDelta {
    TimeDelta::seconds(i64::try_from(uid % 60).unwrap_or_default())
}
