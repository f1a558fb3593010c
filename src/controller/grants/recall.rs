//! Restores the calls of earlier leaders (P20). The windows of each account then count at least the calls that the
//! objects, their Secrets and their statuses record.
//!
//! Each object records the issuance of the token in its Secret, of the token in its old Secret, of the token in its
//! status, and its last failed attempt. A Secret that no object names counts for no account. Otherwise users that can
//! write Secrets could use up the windows of others.

use crate::controller::context::Known;
use crate::controller::providers::status;
use crate::controller::stores::provider_key::ProviderKey;
use crate::controller::stores::scopes::Scope;
use chrono::TimeDelta;
use std::collections::BTreeSet;
use std::time::Duration;
use videotoken_api::key::ObjectKey;
use videotoken_core::plan::facts::Seconds;
use videotoken_providers::clock::{self, Now, Timestamp};

/// Time after the whole second in which a call was sent until it ends, as a rule. Only then it has certainly reached
/// the token API.
const ON_ITS_WAY: TimeDelta = TimeDelta::seconds(2);

/// Reacts to changes of leadership: a new leader restores the calls of earlier leaders, and grants calls afterwards.
/// Returns true if this process has just become the leader.
pub(crate) fn follow_leadership(known: Known<'_>, leads: bool) -> bool {
    match (leads, known.grants.budgets.open_since()) {
        (true, None) => {
            known.grants.recalled.begin();
            known.grants.budgets.begin_recall();
            // The other namespaces follow when their lists are complete.
            restore_calls(known, |namespace| known.stores.scopes.has_listed(namespace));
            known.grants.budgets.open(clock::now().wall);
            true
        }
        (false, Some(_)) => {
            known.grants.budgets.close();
            false
        }
        _ => false,
    }
}

/// Restores the calls of the scope's namespaces, after their lists are complete and before their objects are decided.
pub(crate) fn scope_begins(known: Known<'_>, scope: &Scope) {
    if known.grants.budgets.open_since().is_some() {
        restore_calls(known, |namespace| scope.holds(namespace));
    }
}

/// Restores the calls of the objects in these namespaces. Each namespace counts once in a round. The calls of an
/// unresolved provider are added to those of an earlier pass.
fn restore_calls(known: Known<'_>, of: impl Fn(&str) -> bool) {
    let mut round = known.grants.recalled.round();
    let mut passed = BTreeSet::new();
    known.stores.tokens.each(|token| {
        let Some(provider) = token.provider().filter(|_| of(&token.key.namespace)) else { return };
        let status = &token.status;
        let former = status.other_secret.as_deref();
        let former = former.map(|name| ObjectKey { namespace: token.key.namespace.clone(), name: name.into() });
        let secrets = [Some(token.secret_key()), former].into_iter().flatten();
        let mut issued: Vec<_> =
            secrets.filter_map(|key| known.stores.secrets.get(&key)).map(|facts| facts.issued_at).collect();
        issued.push(status.restarted_for);
        issued.sort_unstable();
        issued.dedup();
        let failed = status.last_failure.as_ref().map(|failure| failure.time);
        let Some(recorded) = round.entry(provider, &token.key.namespace) else { return };
        passed.insert(token.key.namespace.clone());
        recorded.calls.extend(issued.into_iter().filter_map(Seconds::time).chain(failed));
        recorded.namespaces.insert(token.key.namespace.clone());
    });
    round.passed.append(&mut passed);
    drop(round);
    for (key, _) in known.providers.registry.all() {
        of_provider(known, &key);
    }
}

/// Restores the calls of a provider object, once, even if it is resolved later than the others.
pub(crate) fn of_provider(known: Known<'_>, key: &ProviderKey) {
    status::restore_account_state(known, key);
    let Some(account) = known.providers.registry.get(key).and_then(|resolved| resolved.state.ok()) else { return };
    let Some(recorded) = known.grants.recalled.take_calls(key) else { return };
    let now = clock::now();
    let ended = recorded.calls.into_iter().map(|at| ago(at, now)).collect();
    let namespaces: Vec<_> = recorded.namespaces.into_iter().collect();
    known.grants.budgets.recall(&account.key, ended, &namespaces, now);
}

/// Returns how long ago a call ended that was sent at this time. A call in the future, by another clock, ends now.
fn ago(sent: Timestamp, now: Now) -> Duration {
    (now.wall - sent - ON_ITS_WAY).to_std().unwrap_or_default()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn p20_a_call_of_a_clock_that_was_ahead_counts_from_now_on() {
        let now = clock::now();
        for (sent, expected) in [(-3600, 3598), (-2, 0), (0, 0), (1, 0), (86_400, 0)] {
            assert_eq!(ago(now.wall + TimeDelta::seconds(sent), now), Duration::from_secs(expected), "{sent}");
        }
    }
}
