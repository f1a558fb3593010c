//! Records changes of the Secrets by other clients, and changes of the operator's writes by admission, for the next
//! decision (P18).

use crate::controller::stores::secrets::SecretRequest;
use crate::controller::tokens::object_state::{ObjectState, ObjectStates, SecretLookup};
use crate::controller::tokens::observe::ObservedToken;
use k8s_openapi::api::core::v1::Secret;
use videotoken_core::plan::contest::Contender;
use videotoken_core::plan::decide::IssueCause;
use videotoken_core::plan::facts::{SecretFacts, secret_facts};
use videotoken_core::plan::secret::DesiredSecret;
use videotoken_core::plan::view::DataView;
use videotoken_core::plan::write_failure::ApiError;
use videotoken_providers::clock;

/// Number of consecutive conflicts without back-off. Further conflicts have a back-off.
const CONFLICTS: u32 = 3;

/// Returns true if a write restores a change by another client and has no other cause.
pub(crate) fn is_repair(seen: &ObservedToken, cause: Option<IssueCause>) -> bool {
    seen.state.repaired && !matches!(cause, Some(IssueCause::Due | IssueCause::Forced | IssueCause::RequestChanged))
}

/// Records a Secret that a GET or the response to a write returned. The watch reports only Secrets with the operator's
/// label, so facts of a Secret without the label expire after a time.
pub(crate) fn learnt(states: &ObjectStates, seen: &ObservedToken, look: SecretRequest<'_>, found: Option<SecretFacts>) {
    let is_named = *look.key() == seen.secret_key;
    match found {
        Some(facts) if facts.labelled => {
            look.found(facts);
            if is_named {
                states.change(&seen.token.key, |state| state.lookup = None);
            }
        }
        found => {
            look.gone();
            if is_named {
                states.change(&seen.token.key, |state| record_lookup(state, seen, found));
            }
        }
    }
}

/// Records the result of a Secret lookup. If the Secret is missing although the status reports a valid token, another
/// client deleted it, and the object is marked as repaired.
pub(crate) fn record_lookup(state: &mut ObjectState, seen: &ObservedToken, found: Option<SecretFacts>) {
    let (now, status) = (clock::now().wall, &seen.token.status);
    let expected = status.expires_at.time().is_some_and(|expires| expires > now) && status.other_secret.is_none();
    state.repaired |= found.is_none() && expected;
    state.lookup = Some(SecretLookup { at: now, of: seen.token.trigger_hash, found: found.into() });
}

/// Records a read of the whole Secret.
pub(crate) fn looked(states: &ObjectStates, seen: &ObservedToken, contender: Option<Contender>) {
    let now = clock::now().wall;
    let generation = seen.token.generation();
    states.change(&seen.token.key, |state| state.contest(&seen.state, generation).record_inspection(contender, now));
}

/// Records a write with a response of the API server.
pub(crate) fn wrote(
    states: &ObjectStates,
    seen: &ObservedToken,
    written: &Result<Secret, ApiError>,
    cause: Option<IssueCause>,
) {
    if written.as_ref().err().and_then(ApiError::extent).is_some() {
        return;
    }
    let repair = is_repair(seen, cause);
    let (now, generation) = (clock::now().wall, seen.token.generation());
    states.change(&seen.token.key, |state| {
        if repair || state.contest.is_some() || seen.state.contest.is_some() {
            state.contest(&seen.state, generation).record_write(repair, now);
        }
    });
}

/// Records the Secret that the API server stored. Returns true if it contains the token that was sent.
pub(crate) fn stored(
    states: &ObjectStates,
    seen: &ObservedToken,
    request: SecretRequest<'_>,
    shape: &DesiredSecret,
    stored: &Secret,
) -> bool {
    let facts = secret_facts(&stored.metadata);
    let (data, difference) = shape.compare(stored);
    let version = facts.version();
    let (now, generation) = (clock::now().wall, seen.token.generation());
    learnt(states, seen, request, Some(facts));
    let is_told = seen.token.status.other_secret.is_none() && seen.token.status.secret_version != 0;
    states.change(&seen.token.key, |state| {
        state.data = Some((version.1, data));
        state.write_failure = None;
        state.write_failures = 0;
        if !is_told {
            // Kept until a status names the Secret.
            state.elsewhere = Some(seen.secret_key.clone());
        }
        if difference.is_some() || state.contest.is_some() {
            state.contest(&seen.state, generation).record_stored(version, difference, now);
        }
    });
    data != DataView::Lost
}

/// Counts a write that found another version of the Secret than the decision was based on. Returns true from the fourth
/// consecutive conflict on.
pub(crate) fn conflicts_again(states: &ObjectStates, seen: &ObservedToken) -> bool {
    states.change(&seen.token.key, |state| {
        state.write_failures += 1;
        state.write_failures > CONFLICTS
    })
}
