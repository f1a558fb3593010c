//! What a process that has just become the leader takes in of earlier calls (P20): their accounts' windows are at least as
//! spent as the objects, their Secrets and their statuses tell.
//!
//! Told of are, for each object: the token in the Secret at its name, whoever it was written for, and at its former name;
//! the token that its status speaks of; its last failed attempt. What a Secret says that no object names counts for nobody:
//! it tells no account, and whoever may write Secrets could otherwise spend others' windows by writing many.

use super::accounts::ProviderKey;
use super::scopes::Scope;
use super::{Context, provider_status};
use crate::api::key::ObjectKey;
use crate::clock::{self, Now, Timestamp};
use crate::plan::facts::Seconds;
use chrono::TimeDelta;
use parking_lot::Mutex;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

/// A call ends this long after the whole second in which it was sent, as a rule: only then it has surely reached the
/// provider.
const ON_ITS_WAY: TimeDelta = TimeDelta::seconds(2);

/// What is told of calls by way of one provider object.
#[derive(Debug, Default)]
struct Told {
    calls: Vec<Timestamp>,
    namespaces: BTreeSet<Arc<str>>,
}

/// A round of recalls.
#[derive(Debug, Default)]
pub(super) struct Recalled(Mutex<Round>);

#[derive(Debug, Default)]
struct Round {
    /// What is told of each provider object that isn't resolved yet.
    told: HashMap<ProviderKey, Told>,
    /// The namespaces that were passed over: one may begin just while a leader takes in all that have begun.
    passed: BTreeSet<Arc<str>>,
}

impl Round {
    /// Who is told of; none where all that its namespace tells was taken in before.
    fn entry(&mut self, provider: ProviderKey, namespace: &str) -> Option<&mut Told> {
        (!self.passed.contains(namespace)).then(|| self.told.entry(provider).or_default())
    }
}

/// Follows who leads: a new leader takes in what was, and grants turns from then on. Tells whether it has just begun.
pub(super) fn follow_leadership(context: &Context, leads: bool) -> bool {
    match (leads, context.turns.open_since()) {
        (true, None) => {
            *context.recalled.0.lock() = Round::default();
            context.turns.begin_recall();
            // the others are passed over when they begin
            take_in(context, |namespace| context.scopes.is_awake(namespace));
            context.turns.open(clock::now().wall);
            true
        }
        (false, Some(_)) => {
            context.turns.close();
            false
        }
        _ => false,
    }
}

/// Objects of further namespaces can be decided: a leader takes in what they tell before it does so.
pub(super) fn scope_begins(context: &Context, scope: &Scope) {
    if context.turns.open_since().is_some() {
        take_in(context, |namespace| scope.holds(namespace));
    }
}

/// One pass over the objects of these namespaces, each of which is passed over once in a round of recalls. What is told of
/// providers that aren't resolved yet is added to what was told before.
fn take_in(context: &Context, of: impl Fn(&str) -> bool) {
    let mut round = context.recalled.0.lock();
    let mut passed = BTreeSet::new();
    context.tokens.each(|token| {
        let Some(provider) = token.provider().filter(|_| of(&token.key.namespace)) else { return };
        let status = &token.status;
        let former = status.other_secret.as_deref();
        let former = former.map(|name| ObjectKey { namespace: token.key.namespace.clone(), name: name.into() });
        let secrets = [Some(token.secret_key()), former].into_iter().flatten();
        let mut issued: Vec<_> =
            secrets.filter_map(|key| context.secrets.get(&key)).map(|facts| facts.issued_at).collect();
        issued.push(status.restarted_for);
        issued.sort_unstable();
        issued.dedup();
        let failed = status.last_failure.as_ref().map(|failure| failure.time);
        let Some(told) = round.entry(provider, &token.key.namespace) else { return };
        passed.insert(token.key.namespace.clone());
        told.calls.extend(issued.into_iter().filter_map(Seconds::time).chain(failed));
        told.namespaces.insert(token.key.namespace.clone());
    });
    round.passed.append(&mut passed);
    drop(round);
    for (key, _) in context.accounts.all() {
        of_provider(context, &key);
    }
}

/// Takes in what is told of a provider object, once; also one that is resolved only now.
pub(super) fn of_provider(context: &Context, key: &ProviderKey) {
    provider_status::recall(context, key);
    let Some(account) = context.accounts.get(key).and_then(|resolved| resolved.state.ok()) else { return };
    let Some(told) = context.recalled.0.lock().told.remove(key) else { return };
    let now = clock::now();
    let ended = told.calls.into_iter().map(|at| ago(at, now)).collect();
    let namespaces: Vec<_> = told.namespaces.into_iter().collect();
    context.turns.recall(&account.key, ended, &namespaces, now);
}

/// How long ago a call ended that was sent at this time; one that lies ahead, by another clock, ends now.
fn ago(sent: Timestamp, now: Now) -> Duration {
    (now.wall - sent - ON_ITS_WAY).to_std().unwrap_or_default()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn p20_a_namespace_that_begins_while_a_leader_takes_in_all_tells_once() {
        let mut round = Round::default();
        let provider = || ProviderKey { namespace: None, name: "p".to_owned() };
        assert!(
            round.entry(provider(), "a").is_some() && round.entry(provider(), "a").is_some(),
            "each of its objects"
        );
        round.passed.insert("a".into());
        assert!(round.entry(provider(), "a").is_none() && round.entry(provider(), "b").is_some());
    }

    #[test]
    fn p20_a_call_of_a_clock_that_was_ahead_counts_from_now_on() {
        let now = clock::now();
        for (sent, expected) in [(-3600, 3598), (-2, 0), (0, 0), (1, 0), (86_400, 0)] {
            assert_eq!(ago(now.wall + TimeDelta::seconds(sent), now), Duration::from_secs(expected), "{sent}");
        }
    }
}
