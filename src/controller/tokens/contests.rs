//! What others do to the Secrets, and what admission makes of our writes: noted for the next decision (P18).

use crate::clock;
use crate::controller::stores::secrets::Look;
use crate::controller::tokens::object_state::{Memo, Memos, Probe};
use crate::controller::tokens::observe::Seen;
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
pub(crate) fn is_repair(seen: &Seen, cause: Option<Cause>) -> bool {
    seen.memo.repaired && !matches!(cause, Some(Cause::Due | Cause::Forced | Cause::RequestChanged))
}

/// What a GET or an answer said of a Secret. The watch shows those with our label alone: what is known of another ends
/// by itself.
pub(crate) fn learnt(states: &Memos, seen: &Seen, look: Look<'_>, found: Option<SecretFacts>) {
    let is_named = *look.key() == seen.secret_key;
    match found {
        Some(facts) if facts.labelled => {
            look.found(facts);
            if is_named {
                states.change(&seen.token.key, |memo| memo.probe = None);
            }
        }
        found => {
            look.gone();
            if is_named {
                states.change(&seen.token.key, |memo| note_found(memo, seen, found));
            }
        }
    }
}

/// Notes what stands at the Secret's name. Nothing, where the status knows a live token: another hand deleted it.
pub(crate) fn note_found(memo: &mut Memo, seen: &Seen, found: Option<SecretFacts>) {
    let (now, status) = (clock::now().wall, &seen.token.status);
    let expected = status.expires_at.time().is_some_and(|expires| expires > now) && status.other_secret.is_none();
    memo.repaired |= found.is_none() && expected;
    memo.probe = Some(Probe { at: now, of: seen.token.wake, found: found.into() });
}

/// Notes a look at the whole Secret.
pub(crate) fn looked(states: &Memos, seen: &Seen, contender: Option<Contender>) {
    let now = clock::now().wall;
    let generation = seen.token.generation();
    states.change(&seen.token.key, |memo| memo.contest(&seen.memo, generation).looked(contender, now));
}

/// Notes a write that the API server answered.
pub(crate) fn wrote(states: &Memos, seen: &Seen, written: &Result<Secret, ApiError>, cause: Option<Cause>) {
    if written.as_ref().err().and_then(ApiError::extent).is_some() {
        return;
    }
    let repair = is_repair(seen, cause);
    let (now, generation) = (clock::now().wall, seen.token.generation());
    states.change(&seen.token.key, |memo| {
        if repair || memo.contest.is_some() || seen.memo.contest.is_some() {
            memo.contest(&seen.memo, generation).wrote(repair, now);
        }
    });
}

/// Learns what the API server stored, and tells whether the token stands there as it was sent.
pub(crate) fn stored(states: &Memos, seen: &Seen, request: Look<'_>, shape: &Shape, stored: &Secret) -> bool {
    let facts = secret_facts(&stored.metadata);
    let (data, difference) = shape.compare(stored);
    let version = facts.version();
    let (now, generation) = (clock::now().wall, seen.token.generation());
    learnt(states, seen, request, Some(facts));
    let is_told = seen.token.status.other_secret.is_none() && seen.token.status.secret_version != 0;
    states.change(&seen.token.key, |memo| {
        memo.data = Some((version.1, data));
        memo.trouble = None;
        memo.write_failures = 0;
        if !is_told {
            // until a status names it
            memo.elsewhere = Some(seen.secret_key.clone());
        }
        if difference.is_some() || memo.contest.is_some() {
            memo.contest(&seen.memo, generation).stored(version, difference, now);
        }
    });
    data != DataView::Lost
}

/// Counts a write that met another Secret than the one that was seen, and tells whether it is one of many.
pub(crate) fn conflicts_again(states: &Memos, seen: &Seen) -> bool {
    states.change(&seen.token.key, |memo| {
        memo.write_failures += 1;
        memo.write_failures > CONFLICTS
    })
}
