//! The status of a provider object: is it ready, is more asked of it than it allows, does its clock agree with ours, what
//! has the provider said of its credential; and, after a restart or a change of leaders, what an earlier status says.

use super::Context;
use super::accounts::{Account, ProviderKey, Resolved, Said};
use super::logins;
use crate::api::provider_status::ProviderStatus;
use crate::api::token_api;
use crate::clock::{self, Timestamp};
use crate::metrics::API_SERVER;
use crate::plan::hash::Hash;
use crate::plan::provider_status::{
    AccountFacts, LAST_RETRY, ProviderFacts, compose, retry_after, saved_account_state,
};
use crate::plan::write_failure::ApiError;
use kube::core::DynamicObject;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;

/// What was written of each provider object.
#[derive(Default)]
pub(super) struct Written(Mutex<HashMap<ProviderKey, OfOne>>);

#[derive(Default)]
struct OfOne {
    /// Of the status that was written last, so that two operators that see different things don't answer each other.
    hash: Option<u64>,
    /// Writes that failed in a row.
    failures: u32,
    /// No write before this.
    next: Option<Timestamp>,
    /// Held by whoever writes a status of this object: of two writes at once one is a conflict.
    writing: Arc<tokio::sync::Mutex<()>>,
}

impl Written {
    /// Waits until nobody else writes a status of this object.
    pub(super) async fn alone(&self, key: &ProviderKey) -> tokio::sync::OwnedMutexGuard<()> {
        let writing = self.change(key, |one| one.writing.clone());
        writing.lock_owned().await
    }

    fn change<T>(&self, key: &ProviderKey, change: impl FnOnce(&mut OfOne) -> T) -> T {
        change(self.0.lock().entry(key.clone()).or_default())
    }

    fn failed(&self, key: &ProviderKey, now: Timestamp) {
        self.change(key, |one| {
            one.next = Some(now + retry_after(one.failures));
            one.failures = one.failures.saturating_add(1);
        });
    }
}

/// The object is gone.
pub(super) fn forget(context: &Context, key: &ProviderKey) {
    context.provider_status.0.lock().remove(key);
}

/// Writes the status of one provider object where it says something new.
pub(super) async fn write(context: &Context, key: &ProviderKey) {
    // an operator of some namespaces leaves the cluster's providers to the one that serves them all
    let others = key.is_cluster() && !context.settings.watch_namespaces.is_empty();
    if others || !context.lease.is_leader() {
        return;
    }
    let now = clock::now().wall;
    let waits = |one: &OfOne| one.next.is_some_and(|next| now < next && next - now <= LAST_RETRY);
    if context.provider_status.0.lock().get(key).is_some_and(waits) {
        return;
    }
    let _alone = context.provider_status.alone(key).await;
    let (Some(object), Some(resolved)) = (context.providers.get(key), context.accounts.get(key)) else { return };
    let before = written(&object);
    let status = compose(facts(context, key, &resolved, &object), &before, now);
    let hash = Hash::of([serde_json::to_vec(&status).unwrap_or_default().as_slice()]).short();
    let same = context.provider_status.change(key, |one| one.hash == Some(hash));
    if same || status == (ProviderStatus { login_attempts: Vec::new(), ..before }) {
        return;
    }
    match context.applier.provider_status(&object, key.is_cluster(), &status).await {
        Ok(version) => {
            context.provider_status.change(key, |one| (one.hash, one.failures, one.next) = (Some(hash), 0, None));
            let members = serde_json::to_value(&status).unwrap_or_default();
            context.providers.learn_status(key, &object, &members, &version);
        }
        Err(ApiError::NotLeading) => {}
        Err(error) => {
            tracing::debug!(provider = %key, %error, "the provider's status isn't written");
            context.provider_status.failed(key, clock::now().wall);
        }
    }
}

/// What the object's status says; one that can't be read says nothing.
pub(super) fn written(object: &DynamicObject) -> ProviderStatus {
    object.data.get("status").and_then(|status| serde_json::from_value(status.clone()).ok()).unwrap_or_default()
}

/// What the object's Ready condition says.
pub(super) fn is_ready(object: &DynamicObject) -> bool {
    let conditions = object.data.pointer("/status/conditions").and_then(|all| all.as_array());
    conditions.is_some_and(|all| all.iter().any(|says| says["type"] == "Ready" && says["status"] == "True"))
}

/// Goes by what an earlier status says of an account: its credential is proven, or refused; the provider throttles it.
/// Only as leader: until then another operator knows better.
pub(super) fn recall(context: &Context, key: &ProviderKey) {
    let (Some(object), Some(Resolved { state: Ok(account), .. })) =
        (context.providers.get(key), context.accounts.get(key))
    else {
        return;
    };
    if !context.lease.is_leader() {
        return;
    }
    let now = clock::now();
    let (version, on_demand) = (account.credentials.to_string(), account.issuer.is_retried_on_demand());
    let saved = saved_account_state(&written(&object), &version, on_demand, now.wall);
    if let Some(wait) = saved.throttled_for {
        context.turns.throttle(&account.key, wait, now);
    }
    if saved.accepted {
        context.turns.accept_credential(&account.key);
    }
    if let Some((lock, wait)) = saved.lock {
        context.turns.lock(&account.key, lock, wait, now);
    }
}

/// Returns what the status of the provider object is composed of.
fn facts<'a>(
    context: &Context,
    key: &ProviderKey,
    resolved: &'a Resolved,
    object: &DynamicObject,
) -> ProviderFacts<'a> {
    let has = |name: &&str| object.data.get("spec").is_some_and(|spec| spec.get(*name).is_some());
    ProviderFacts {
        generation: object.metadata.generation,
        type_: token_api::NAMES.iter().copied().find(has).map(str::to_owned),
        tokens: users(context, key),
        account: resolved.state.as_ref().map(|account| account_facts(context, account)),
    }
}

fn account_facts(context: &Context, account: &Account) -> AccountFacts {
    let (said, last_issued_at) = {
        let history = account.history();
        (history.refusal.as_ref().map(Said::whole), history.last_issued)
    };
    AccountFacts {
        version: account.credentials.to_string(),
        display_name: account.spec.account().ok().map(|account| account.shown()),
        budget: context.turns.state(&account.key, clock::now()),
        said,
        last_issued_at,
        credential_expires_at: account.issuer.credential_expires_at(),
        proven_login: logins::proven(context, account),
        clock_skew: [("provider", account.issuer.clock_skew()), ("API server", context.metrics.clock_skew(API_SERVER))],
    }
}

/// How many objects name the provider, once all are listed that might.
fn users(context: &Context, key: &ProviderKey) -> Option<i64> {
    let known = match &key.namespace {
        Some(namespace) => context.scopes.is_awake(namespace),
        None => context.scopes.is_settled(),
    };
    known.then(|| i64::try_from(context.tokens.users(key)).unwrap_or(i64::MAX))
}

/// Has the status of every provider object looked at.
pub(super) fn report_all(context: &Context) {
    for (key, _) in context.accounts.all() {
        context.report_soon(&key);
    }
}
