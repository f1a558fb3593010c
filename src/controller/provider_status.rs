//! The status of a provider object: is it ready, is more asked of it than it allows, does its clock agree with ours, what
//! has the provider said of its credential; and, after a restart or a change of leaders, what an earlier status says.

use super::Context;
use super::accounts::{Account, ProviderKey, Resolved, Said};
use super::apply::ApplyError;
use super::lock;
use super::logins;
use super::turns::hindrance;
use crate::api::condition::{Condition, ConditionStatus};
use crate::api::provider_status::{CredentialsStatus, ProviderStatus};
use crate::api::token_api;
use crate::budget::{AccountState, Lock};
use crate::clock::{self, Timestamp};
use crate::metrics::API_SERVER;
use crate::plan::hash::Hash;
use chrono::TimeDelta;
use kube::core::DynamicObject;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A clock that is off by more is told.
pub(super) const SKEW: i64 = 300;

/// The last issue is told anew when what is told is older than this.
const TELL_ISSUES: TimeDelta = TimeDelta::minutes(10);

/// A throttle that ends sooner isn't told, nor remembered over a restart.
const TELL_THROTTLE: Duration = Duration::from_secs(30);

/// A credential that ends sooner is worth a warning.
const WARN_BEFORE: TimeDelta = TimeDelta::days(14);

/// A status that can't be written is tried again after this, doubled with each failure in a row.
const FIRST_RETRY: TimeDelta = TimeDelta::seconds(5);

/// The longest of these waits.
const LAST_RETRY: TimeDelta = TimeDelta::minutes(5);

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
        change(lock(&self.0).entry(key.clone()).or_default())
    }

    fn failed(&self, key: &ProviderKey, now: Timestamp) {
        self.change(key, |one| {
            let wait = FIRST_RETRY * 2i32.pow(one.failures.min(10));
            one.failures += 1;
            one.next = Some(now + wait.min(LAST_RETRY));
        });
    }
}

/// The object is gone.
pub(super) fn forget(context: &Context, key: &ProviderKey) {
    lock(&context.provider_status.0).remove(key);
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
    if lock(&context.provider_status.0).get(key).is_some_and(waits) {
        return;
    }
    let _alone = context.provider_status.alone(key).await;
    let (Some(object), Some(resolved)) = (context.providers.get(key), context.accounts.get(key)) else { return };
    let before = written(&object);
    let status = compose(context, key, &resolved, &object, &before);
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
        Err(ApplyError::NotLeading) => {}
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
    let ahead = |at: Option<Timestamp>| (at? - now.wall).to_std().ok().filter(|wait| !wait.is_zero());
    let status = written(&object);
    if let Some(wait) = ahead(status.throttled_until) {
        context.turns.throttle(&account.key, wait, now);
    }
    match status.credentials.filter(|told| told.version == account.credentials.to_string()) {
        Some(told) if told.accepted => context.turns.accept_credential(&account.key),
        Some(told) => {
            if let Some(wait) = ahead(told.next_attempt_at) {
                let lock = if account.issuer.is_retried_on_demand() { Lock::IdentityRefused } else { Lock::Rejected };
                context.turns.lock(&account.key, lock, wait, now);
            }
        }
        None => {}
    }
}

type Says = (&'static str, bool, String, String);

fn compose(
    context: &Context,
    key: &ProviderKey,
    resolved: &Resolved,
    object: &DynamicObject,
    before: &ProviderStatus,
) -> ProviderStatus {
    let now = clock::now();
    let has = |name: &&str| object.data.get("spec").is_some_and(|spec| spec.get(*name).is_some());
    let generation = object.metadata.generation;
    let mut status = ProviderStatus {
        observed_generation: generation,
        type_: token_api::NAMES.iter().copied().find(has).map(str::to_owned),
        tokens: users(context, key).or(before.tokens),
        ..ProviderStatus::default()
    };
    let says = match &resolved.state {
        Err(refusal) => {
            let (reason, message) = (refusal.reason.to_string(), refusal.message.clone());
            // what was known of it is kept for when it can be used again
            (status.credentials, status.last_issued_at) = (before.credentials.clone(), before.last_issued_at);
            status.proven_login.clone_from(&before.proven_login);
            vec![("Ready", false, reason.clone(), message.clone()), ("Stalled", true, reason, message)]
        }
        Ok(account) => {
            let state = context.turns.state(&account.key, now);
            remember(&mut status, account, state, before, now.wall);
            status.proven_login = logins::proven(context, account);
            conditions(context, account, state, now.wall)
        }
    };
    let conditions = says.into_iter().map(|(type_, holds, reason, message)| {
        let status = if holds { ConditionStatus::True } else { ConditionStatus::False };
        let old = before.conditions.iter().find(|old| old.type_ == type_ && old.status == status);
        Condition {
            type_: type_.to_owned(),
            status,
            observed_generation: generation,
            last_transition_time: old.map_or(now.wall, |old| old.last_transition_time),
            reason,
            message,
        }
    });
    status.conditions = conditions.collect();
    status
}

/// What a later life of this process should know of the account.
fn remember(
    status: &mut ProviderStatus,
    account: &Account,
    state: AccountState,
    before: &ProviderStatus,
    now: Timestamp,
) {
    let version = account.credentials.to_string();
    let told = before.credentials.as_ref().filter(|told| told.version == version);
    // a time that is computed anew from what is left of it may come out a second off
    let steady = |at: Timestamp, told: Option<Timestamp>| {
        told.filter(|told| (*told - at).abs() < TimeDelta::seconds(3)).unwrap_or(at)
    };
    let until = |wait: Option<Duration>| wait.and_then(|wait| TimeDelta::from_std(wait).ok()).map(|wait| now + wait);
    // a back-off of our own isn't told: whoever takes over would honour it as the provider's wish
    let throttled = until(state.asked_to_wait.filter(|wait| *wait > TELL_THROTTLE));
    // told while it lasts: a throttle that is about to end is the one that was told
    let lasting = before.throttled_until.filter(|at| *at > now && state.asked_to_wait.is_some());
    status.throttled_until = throttled.map(|at| steady(at, before.throttled_until)).or(lasting);
    status.credentials = match (state.proven, state.lock) {
        (true, _) => Some(CredentialsStatus { version, accepted: true, next_attempt_at: None }),
        (false, Some(Lock::Rejected | Lock::IdentityRefused)) => {
            let next = until(state.locked_for).map(|at| steady(at, told.and_then(|told| told.next_attempt_at)));
            Some(CredentialsStatus { version, accepted: false, next_attempt_at: next })
        }
        (false, _) => told.cloned(),
    };
    // one that lies ahead was told by a clock that was wrong
    let told_before = before.last_issued_at.filter(|at| *at - now < TimeDelta::minutes(1));
    let issued = account.history().last_issued.max(told_before);
    let fresh = told_before.filter(|told| issued.is_none_or(|at| at - *told < TELL_ISSUES));
    status.last_issued_at = fresh.or(issued);
    status.credentials_expire_at = account.issuer.credential_expires_at();
    status.account = account.spec.account().ok().map(|account| account.shown());
}

fn conditions(context: &Context, account: &Account, state: AccountState, now: Timestamp) -> Vec<Says> {
    let said = account.history().refusal.as_ref().map(Said::whole);
    let ready = match hindrance(state, said.as_deref()).filter(|_| state.lock.is_some()) {
        Some(hindrance) => ("Ready", false, hindrance.reason.to_owned(), hindrance.message),
        None => ("Ready", true, "Configured".to_owned(), "ready to issue".to_owned()),
    };
    let mut says = vec![ready, ("Stalled", false, "AsExpected".to_owned(), "nothing stands in the way".to_owned())];
    says.push(if state.oversubscribed {
        let message = "its tokens ask for more than 80 % of spec.limits: raise them if the provider allows it, or \
                       spread the tokens over accounts";
        ("Oversubscribed", true, "DemandOverBudget".to_owned(), message.to_owned())
    } else {
        ("Oversubscribed", false, "WithinBudget".to_owned(), "its tokens ask for less than the limits".to_owned())
    });
    if let Some(ends) = account.issuer.credential_expires_at() {
        let at = crate::api::wire_time::text(ends);
        says.push(if now >= ends {
            (
                "CredentialsExpiring",
                true,
                "CredentialsExpired".to_owned(),
                format!("the credential expired at {at}: replace it"),
            )
        } else if now + WARN_BEFORE >= ends {
            let message = format!("the credential expires at {at}, in less than 14 days: replace it");
            ("CredentialsExpiring", true, "CredentialsExpireSoon".to_owned(), message)
        } else {
            ("CredentialsExpiring", false, "AsExpected".to_owned(), format!("the credential expires at {at}"))
        });
    }
    let clocks = [("provider", account.issuer.clock_skew()), ("API server", context.metrics.clock_skew(API_SERVER))];
    let skewed = clocks.into_iter().find_map(|(whose, skew)| Some((whose, skew.filter(|skew| skew.abs() > SKEW)?)));
    if let Some((whose, skew)) = skewed {
        says.push(("ClockSkewed", true, "ClockSkewed".to_owned(), skewed_by(whose, skew)));
    }
    says
}

/// `skew` in seconds, told in minutes: it differs by a second from one answer to the next.
fn skewed_by(whose: &str, skew: i64) -> String {
    let minutes = (skew.abs() + 30) / 60;
    let side = if skew > 0 { "ahead of" } else { "behind" };
    format!(
        "the {whose}'s clock is {minutes} min {side} the operator's: set the one that is wrong; a token's life is counted \
         by its provider's clock, and its times are told by the operator's"
    )
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
