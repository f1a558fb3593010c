//! What others do to the Secrets, and what admission makes of our writes: noted for the next decision (P18).

use crate::clock;
use crate::controller::stores::secrets::Look;
use crate::controller::tokens::object_state::{ObjectState, ObjectStates, SecretLookup};
use crate::controller::tokens::observe::ObservedToken;
use crate::plan::contest::Contender;
use crate::plan::decide::Cause;
use crate::plan::facts::{SecretFacts, secret_facts};
use crate::plan::secret::Shape;
use crate::plan::view::DataView;
use crate::plan::write_failure::ApiError;
use k8s_openapi::api::core::v1::Secret;

/// Writes in a row that met another Secret than the one that was seen; from then on they have a back-off.
const CONFLICTS: u32 = 3;

/// Whether a write puts right what another writer did, and isn't wanted for a reason of its own.
pub(crate) fn is_repair(seen: &ObservedToken, cause: Option<Cause>) -> bool {
    seen.state.repaired && !matches!(cause, Some(Cause::Due | Cause::Forced | Cause::RequestChanged))
}

/// What a GET or an answer said of a Secret. The watch shows those with our label alone: what is known of another ends
/// by itself.
pub(crate) fn learnt(states: &ObjectStates, seen: &ObservedToken, look: Look<'_>, found: Option<SecretFacts>) {
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

/// Notes what stands at the Secret's name. Nothing, where the status knows a live token: another hand deleted it.
pub(crate) fn record_lookup(state: &mut ObjectState, seen: &ObservedToken, found: Option<SecretFacts>) {
    let (now, status) = (clock::now().wall, &seen.token.status);
    let expected = status.expires_at.time().is_some_and(|expires| expires > now) && status.other_secret.is_none();
    state.repaired |= found.is_none() && expected;
    state.lookup = Some(SecretLookup { at: now, of: seen.token.trigger_hash, found: found.into() });
}

/// Notes a look at the whole Secret.
pub(crate) fn looked(states: &ObjectStates, seen: &ObservedToken, contender: Option<Contender>) {
    let now = clock::now().wall;
    let generation = seen.token.generation();
    states.change(&seen.token.key, |state| state.contest(&seen.state, generation).looked(contender, now));
}

/// Notes a write that the API server answered.
pub(crate) fn wrote(
    states: &ObjectStates,
    seen: &ObservedToken,
    written: &Result<Secret, ApiError>,
    cause: Option<Cause>,
) {
    if written.as_ref().err().and_then(ApiError::extent).is_some() {
        return;
    }
    let repair = is_repair(seen, cause);
    let (now, generation) = (clock::now().wall, seen.token.generation());
    states.change(&seen.token.key, |state| {
        if repair || state.contest.is_some() || seen.state.contest.is_some() {
            state.contest(&seen.state, generation).wrote(repair, now);
        }
    });
}

/// Learns what the API server stored, and tells whether the token stands there as it was sent.
pub(crate) fn stored(
    states: &ObjectStates,
    seen: &ObservedToken,
    request: Look<'_>,
    shape: &Shape,
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
            // until a status names it
            state.elsewhere = Some(seen.secret_key.clone());
        }
        if difference.is_some() || state.contest.is_some() {
            state.contest(&seen.state, generation).stored(version, difference, now);
        }
    });
    data != DataView::Lost
}

/// Counts a write that met another Secret than the one that was seen, and tells whether it is one of many.
pub(crate) fn conflicts_again(states: &ObjectStates, seen: &ObservedToken) -> bool {
    states.change(&seen.token.key, |state| {
        state.write_failures += 1;
        state.write_failures > CONFLICTS
    })
}
