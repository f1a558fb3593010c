//! Reads and writes of one object's Secret, recorded for the next decision.

use crate::controller::context::{Context, Known};
use crate::controller::tokens::Objects;
use crate::controller::tokens::contests;
use crate::controller::tokens::observe::ObservedToken;
use crate::controller::tokens::trace_source;
use crate::telemetry::issue_trace::WriteTarget;
use std::sync::Arc;
use videotoken_api::key::ObjectKey;
use videotoken_api::secret::DeletionPolicy;
use videotoken_core::plan::contest::Contender;
use videotoken_core::plan::decide::IssueCause;
use videotoken_core::plan::facts::{SecretFacts, resource_version, secret_facts};
use videotoken_core::plan::object_state::{ObjectState, UnsavedToken};
use videotoken_core::plan::outcome::is_unchanged;
use videotoken_core::plan::secret::{
    NotWritable, Previous, SecretIntegrity, TokenRecord, WritePrecondition, contender,
};
use videotoken_core::plan::write_failure::ApiError;
use videotoken_providers::clock;

/// Reads the metadata of the Secret: one GET.
pub(crate) async fn probe(context: &Context, seen: &ObservedToken) {
    match context.output.api.probe(&seen.secret_key).await {
        Ok(found) => {
            context.objects.states.change(&seen.token.key, |state| {
                state.record_probe(seen.basis().0, found.as_ref(), clock::now().wall);
            });
        }
        Err(error) => record_write_failure(context.known(), seen, &error),
    }
}

/// Reads the whole Secret to see whether another client changed its data: one GET.
pub(crate) async fn inspect_secret(context: &Context, seen: &ObservedToken) {
    let Some(Read { facts, verdict, not_writable, contender }) = read(context, seen, &seen.secret_key).await else {
        return;
    };
    let data = verdict.data_view(not_writable);
    context.objects.states.change(&seen.token.key, |state| {
        state.record_inspection(seen.basis(), facts.resource_version, data, contender, clock::now().wall);
    });
}

/// A Secret that was read whole.
struct Read {
    facts: SecretFacts,
    verdict: SecretIntegrity,
    not_writable: Option<NotWritable>,
    /// Field that another client changed, and its field manager.
    contender: Option<Contender>,
}

/// Reads a whole Secret. Returns `None` if the Secret doesn't exist or can't be read; the failure is recorded.
async fn read(context: &Context, seen: &ObservedToken, key: &ObjectKey) -> Option<Read> {
    let spec = seen.secret_spec()?;
    let look = context.stores.secrets.begin_request(key);
    match context.output.api.read(key, &context.objects.renders).await {
        Ok(Some((secret, _room))) => {
            let facts = secret_facts(&secret.metadata);
            let contender = contender(&secret, &spec);
            contests::record_secret(&context.objects.states, seen, look, Some(facts.clone()));
            let (of, uid) = (&seen.token.key, seen.token.uid_text());
            match context.objects.renders.inspect(of, uid, spec, secret, &facts).await {
                Ok((verdict, not_writable)) => Some(Read { facts, verdict, not_writable, contender }),
                Err(error) => {
                    record_write_failure(context.known(), seen, &ApiError::InvalidSecret(error.to_string()));
                    None
                }
            }
        }
        Ok(None) => {
            context.on_secret_deleted(look);
            context.objects.states.change(&seen.token.key, ObjectState::record_nothing_to_read);
            None
        }
        Err(error) => {
            record_write_failure(context.known(), seen, &error);
            None
        }
    }
}

/// Writes the Secret again, with the token that it contains.
pub(crate) async fn render(context: &Context, seen: &ObservedToken) {
    let Some(read) = read(context, seen, &seen.secret_key).await else { return };
    if !is_unchanged(seen.secret_facts().map(|facts| &**facts), &read.facts) {
        return;
    }
    let Read { facts, verdict, .. } = read;
    match verdict {
        SecretIntegrity::Intact(mut record)
        | SecretIntegrity::Altered(mut record)
        | SecretIntegrity::Outdated(mut record) => {
            let now = clock::now().wall;
            record.previous = record.previous.filter(|previous| previous.is_kept(now));
            write(context, seen, &record, Some(&facts), None).await;
        }
        SecretIntegrity::Lost => {
            context.objects.states.change(&seen.token.key, |state| state.record_lost(facts.resource_version));
        }
    }
}

/// Writes the Secret of the new name with the token of the old one.
pub(crate) async fn copy_from_old_secret(context: &Context, seen: &ObservedToken) {
    let Some((former, facts)) = &seen.observation.old_secret else { return };
    let Some(read) = read(context, seen, former).await else { return };
    if !is_unchanged(Some(facts), &read.facts) {
        return;
    }
    match read.verdict {
        SecretIntegrity::Intact(record) | SecretIntegrity::Altered(record) | SecretIntegrity::Outdated(record) => {
            write(context, seen, &record, None, None).await;
        }
        // The old Secret contains no token. Without its facts, the next decision issues one.
        SecretIntegrity::Lost => context.stores.secrets.forget(former),
    }
}

pub(crate) async fn delete_old_secret(context: &Context, seen: &ObservedToken) {
    let Some((key, facts)) = &seen.observation.old_secret else { return };
    let look = context.stores.secrets.begin_request(key);
    match context.output.api.delete_secret(key, facts).await {
        Ok(()) => context.on_secret_deleted(look),
        Err(ApiError::NotLeading) => {}
        // Another client changed the Secret. The next watch event or read decides.
        Err(ApiError::Conflict) => {
            let look = context.stores.secrets.begin_request(key);
            match context.output.api.probe(key).await {
                Ok(found @ Some(_)) => contests::record_secret(&context.objects.states, seen, look, found),
                Ok(None) => context.on_secret_deleted(look),
                Err(error) => record_write_failure(context.known(), seen, &error),
            }
        }
        Err(error) => record_write_failure(context.known(), seen, &error),
    }
}

/// Stores the unsaved token. A scheduled renewal keeps the previous token, if the spec requests it.
pub(crate) async fn store(context: &Context, seen: &ObservedToken, cause: Option<IssueCause>) {
    let Some(unsaved) = seen.observation.state.unsaved.clone() else { return };
    let there = seen.secret_facts().map(|facts| &**facts);
    let keeps_previous = seen.spec.as_ref().is_some_and(|spec| spec.secret.keys.previous_token.is_some());
    let mut record = unsaved.record.clone();
    if keeps_previous && cause == Some(IssueCause::Due) && there.is_some() {
        let Some(read) = read(context, seen, &seen.secret_key).await else { return };
        if !is_unchanged(there, &read.facts) {
            return;
        }
        let Read { facts, verdict, .. } = read;
        if let SecretIntegrity::Intact(before) | SecretIntegrity::Altered(before) | SecretIntegrity::Outdated(before) =
            verdict
        {
            let previous = Previous { token: before.token, expires_at: before.expires_at };
            record.previous = Some(previous).filter(|previous| previous.is_kept(clock::now().wall));
        }
        if write(context, seen, &record, Some(&facts), cause).await {
            record_stored_token(&context.objects, seen, &unsaved, cause);
        }
    } else if write(context, seen, &record, there, cause).await {
        record_stored_token(&context.objects, seen, &unsaved, cause);
    }
}

pub(crate) fn record_stored_token(
    objects: &Objects,
    seen: &ObservedToken,
    unsaved: &Arc<UnsavedToken>,
    cause: Option<IssueCause>,
) {
    objects.states.change_of(&seen.token.key, seen.token.uid, |state| {
        state.record_stored_token(&seen.observation, unsaved, cause);
    });
}

/// Writes the Secret over the version that the decision was based on, or creates it. No other function writes a Secret.
/// Returns true if the Secret contains the token.
async fn write(
    context: &Context,
    seen: &ObservedToken,
    record: &TokenRecord,
    there: Option<&SecretFacts>,
    cause: Option<IssueCause>,
) -> bool {
    let key = &seen.token.key;
    if context.objects.states.change(key, |state| std::mem::take(&mut state.unanswered)) {
        // The last write got no response and may have succeeded.
        return read_again(context, seen, cause).await;
    }
    let Some(spec) = seen.secret_spec() else { return false };
    let mut shaped = match context.objects.renders.shape(key, seen.token.uid_text(), spec, record).await {
        Ok(shaped) => shaped,
        Err(error) => {
            let error = ApiError::InvalidSecret(error.to_string());
            record_write_failure(context.known(), seen, &error);
            return false;
        }
    };
    if there.is_some_and(|facts| facts.controlled) {
        shaped.shape = shaped.shape.beside_another_controller();
    }
    let guard = there.map_or(WritePrecondition::Absent, |facts| WritePrecondition::Unchanged {
        uid: &facts.uid_text,
        resource_version: facts.resource_version,
    });
    if there.is_none() && !still_there(context, seen).await {
        return false;
    }
    let _slot = context.output.write_permits.acquire(&key.namespace).await;
    let begun = clock::now().wall;
    let request = context.stores.secrets.begin_request(&seen.secret_key);
    let written = context.output.api.apply_secret(&seen.secret_key, &shaped.shape, guard).await;
    if matches!(written, Err(ApiError::NotLeading)) {
        return false;
    }
    context.output.traces.wrote(key, WriteTarget::Secret, begun, || written.as_ref().err().map(trace_source::fault));
    let at = clock::now().wall;
    context.objects.states.change(key, |state| {
        state.record_write(seen.basis(), written.as_ref().err(), cause, at);
    });
    match written {
        Ok(stored) => {
            context.grants.write_succeeded(&key.namespace);
            contests::record_stored_secret(&context.objects.states, seen, request, &shaped.shape, &stored)
        }
        Err(ApiError::Conflict) => {
            // The Secret has changed: read it again, and keep the token.
            drop(request);
            read_again(context, seen, cause).await;
            if context.objects.states.change(key, ObjectState::record_conflict) {
                record_write_failure(context.known(), seen, &ApiError::Conflict);
            }
            false
        }
        Err(ApiError::Gone(why)) => {
            tracing::info!(%key, why, "the token is dropped: what it was for is going");
            context.objects.states.change(key, ObjectState::discard_of_gone);
            record_write_failure(context.known(), seen, &ApiError::Gone(why));
            false
        }
        Err(error) => {
            record_write_failure(context.known(), seen, &error);
            false
        }
    }
}

/// Reads the metadata of the Secret again, because the known facts may be wrong. Writes nothing and returns false.
async fn read_again(context: &Context, seen: &ObservedToken, cause: Option<IssueCause>) -> bool {
    let request = context.stores.secrets.begin_request(&seen.secret_key);
    match context.output.api.probe(&seen.secret_key).await {
        Ok(found) => {
            // A write whose response was lost may have stored the unsaved token.
            let unsaved = seen
                .observation
                .state
                .unsaved
                .as_ref()
                .filter(|unsaved| found.as_ref().is_some_and(|it| unsaved.is_in(it, seen.token.uid)));
            if let Some(unsaved) = unsaved {
                record_stored_token(&context.objects, seen, unsaved, cause);
            }
            contests::record_secret(&context.objects.states, seen, request, found);
        }
        Err(error) => record_write_failure(context.known(), seen, &error),
    }
    false
}

/// Returns true if the object still exists unchanged. It is called before a Secret is created, because the stored
/// object may be older than the stored Secret. A Secret with `deletionPolicy: Retain` that is created for a deleted
/// object would never be deleted. With `Delete` the garbage collector deletes it, so the first Secret of an object
/// needs no read. A repair always needs one, because it would be repeated.
async fn still_there(context: &Context, seen: &ObservedToken) -> bool {
    let retained = seen.spec.as_ref().is_some_and(|spec| spec.secret.deletion_policy == DeletionPolicy::Retain);
    let status = &seen.token.status;
    let is_first = status.issuances == 0 && status.expires_at.time().is_none() && seen.observation.state.issued == 0;
    if is_first && !retained {
        return true;
    }
    match context.output.api.token_metadata(&seen.token).await {
        // Without permission to read the object, the write continues.
        Err(ApiError::Refused(_)) => true,
        // The version is compared too, because a restored etcd counts generations from the start.
        Ok(Some(stored))
            if stored.generation.unwrap_or_default() == seen.token.generation()
                && resource_version(stored.resource_version.as_deref()) >= seen.token.version =>
        {
            true
        }
        Ok(Some(_)) => {
            // The spec may name another Secret now. The watch will report the change.
            record_write_failure(context.known(), seen, &ApiError::Conflict);
            false
        }
        Ok(None) => {
            tracing::info!(key = %seen.token.key, "the token is dropped: its object is gone");
            context.apply_changes(&context.stores.tokens.remove_deleted(&seen.token));
            false
        }
        Err(error) => {
            record_write_failure(context.known(), seen, &error);
            false
        }
    }
}

/// Records a failed request to the API server. Nothing is written for this object until the next attempt.
pub(crate) fn record_write_failure(known: Known<'_>, seen: &ObservedToken, error: &ApiError) {
    if matches!(error, ApiError::NotLeading) {
        return;
    }
    if let Some(extent) = error.extent() {
        known.grants.write_failed(&seen.token.key.namespace, extent);
    }
    known.objects.states.change(&seen.token.key, |state| {
        let failure = state.record_write_failure(seen.basis(), error, clock::now().wall);
        let (reason, message) = (failure.reason, &failure.message);
        tracing::warn!(key = %seen.token.key, reason, message, "a request to the API server failed");
    });
}
