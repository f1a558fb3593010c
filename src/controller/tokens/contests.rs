//! Records of the Secret that a request returned, for the store of Secrets and for the object's next decision (P18).

use crate::controller::stores::secrets::SecretRequest;
use crate::controller::tokens::object_state::ObjectStates;
use crate::controller::tokens::observe::ObservedToken;
use k8s_openapi::api::core::v1::Secret;
use videotoken_core::plan::facts::{SecretFacts, secret_facts};
use videotoken_core::plan::secret::DesiredSecret;
use videotoken_core::plan::view::DataView;
use videotoken_providers::clock;

/// Records a Secret that a GET or the response to a write returned.
pub(crate) fn record_secret(
    states: &ObjectStates,
    seen: &ObservedToken,
    look: SecretRequest<'_>,
    found: Option<SecretFacts>,
) {
    let now = clock::now().wall;
    states.change(&seen.token.key, |state| state.record_secret(seen.basis().0, look.key(), found.as_ref(), now));
    match found {
        Some(facts) if facts.labelled => look.found(facts),
        _ => look.record_absence(),
    }
}

/// Records the Secret that the API server stored. Returns true if it contains the token that was sent.
pub(crate) fn record_stored_secret(
    states: &ObjectStates,
    seen: &ObservedToken,
    request: SecretRequest<'_>,
    shape: &DesiredSecret,
    stored: &Secret,
) -> bool {
    let facts = secret_facts(&stored.metadata);
    let (data, difference) = shape.compare(stored);
    let (version, now) = (facts.version(), clock::now().wall);
    record_secret(states, seen, request, Some(facts));
    states.change(&seen.token.key, |state| {
        state.record_stored_secret(seen.basis(), version, (data, difference), now);
    });
    data != DataView::Lost
}
