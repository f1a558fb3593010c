//! Provider objects from their watch to an account: read, resolved, their status written, and the tokens that use them
//! woken.

use super::Context;
use super::accounts::{Account, ProviderKey, Resolved};
use super::relist::Meanwhile;
use super::watches::as_object;
use super::{fail_point, provider_status, recall};
use crate::account::{self, Built, ProviderObject, References};
use crate::api::key::ObjectKey;
use crate::api::provider::ProviderSpec;
use crate::budget::{AccountKey, Limits, Window};
use crate::clock::{self, Timestamp};
use crate::issuer::IssueError;
use crate::plan::facts::resource_version;
use crate::plan::hash::Hash;
use crate::plan::view::Refusal;
use chrono::TimeDelta;
use futures::FutureExt;
use kube::core::DynamicObject;
use parking_lot::Mutex;
use serde_json::Value;
use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use tokio::sync::mpsc;

/// What isn't watched (CA bundles) is looked at again after this.
const LOOK_AGAIN: TimeDelta = TimeDelta::minutes(5);

/// The same while no TLS comes about with the CAs that were read, at first.
const LOOK_AGAIN_SOON: TimeDelta = TimeDelta::seconds(5);

/// And the longest of these waits.
const LOOK_AGAIN_LATER: TimeDelta = TimeDelta::minutes(1);

/// After a panic the provider is left alone this long.
const AFTER_PANIC: TimeDelta = TimeDelta::minutes(1);

/// The provider objects as their watches show them.
#[derive(Default)]
pub(super) struct Providers(Mutex<HashMap<ProviderKey, Arc<DynamicObject>>>, Mutex<Meanwhile>);

impl Providers {
    /// The object, as last seen.
    pub(super) fn get(&self, key: &ProviderKey) -> Option<Arc<DynamicObject>> {
        self.0.lock().get(key).cloned()
    }

    /// A list begins.
    pub(super) fn relist_begins(&self) {
        self.1.lock().begin();
    }

    /// A list is complete.
    pub(super) fn relist_ends(&self) {
        self.1.lock().end();
    }

    /// Takes a new version; one that is older than our own last write is none, unless a list names it and we wrote
    /// nothing meanwhile. Tells whether its spec is another.
    pub(super) fn put(&self, key: &ProviderKey, object: DynamicObject, listed: bool) -> bool {
        let identity = |object: &DynamicObject| (object.metadata.uid.clone(), object.metadata.generation);
        let mut all = self.0.lock();
        let weighed = !listed || self.1.lock().has(&as_object(key));
        match all.get(key) {
            Some(old) if weighed && version_of(&object) < version_of(old) => false,
            old => {
                // a restored etcd counts generations anew
                let other =
                    old.is_none_or(|old| identity(old) != identity(&object) || old.data["spec"] != object.data["spec"]);
                all.insert(key.clone(), Arc::new(object));
                other
            }
        }
    }

    /// Takes our own write of some members of the status, on the object as it was seen.
    pub(super) fn learn_status(&self, key: &ProviderKey, seen: &DynamicObject, members: &Value, version: &str) {
        let mut object = seen.clone();
        object.metadata.resource_version = Some(version.to_owned());
        if let (Some(status), Some(members)) = (object.data["status"].as_object_mut(), members.as_object()) {
            status.extend(members.clone());
        } else {
            object.data["status"] = members.clone();
        }
        self.1.lock().wrote(&as_object(key));
        let mut all = self.0.lock();
        // newer than what it was written over, whatever the versions say
        let newer = |current: &DynamicObject| {
            current.metadata.uid == object.metadata.uid
                && (current.metadata.resource_version == seen.metadata.resource_version
                    || version_of(current) < version_of(&object))
        };
        if all.get(key).is_some_and(|current| newer(current)) {
            all.insert(key.clone(), Arc::new(object));
        }
    }

    /// The object is gone.
    pub(super) fn remove(&self, key: &ProviderKey) -> bool {
        self.0.lock().remove(key).is_some()
    }

    /// All of them.
    pub(super) fn all(&self) -> Vec<(ProviderKey, Arc<DynamicObject>)> {
        self.0.lock().iter().map(|(key, object)| (key.clone(), object.clone())).collect()
    }

    /// The names of all.
    pub(super) fn keys(&self) -> Vec<ProviderKey> {
        self.0.lock().keys().cloned().collect()
    }
}

fn version_of(object: &DynamicObject) -> u64 {
    resource_version(object.metadata.resource_version.as_deref())
}

/// Resolves each provider object that is asked for.
pub(super) async fn resolve_all(context: Arc<Context>, mut asked: mpsc::UnboundedReceiver<ProviderKey>) {
    while let Some(key) = asked.recv().await {
        let each = context.clone();
        context.tasks.passing("resolve", async move {
            loop {
                let slot = each.resolves.turn(&key).await;
                if AssertUnwindSafe(resolve(&each, &key)).catch_unwind().await.is_err() {
                    after_panic(&each, &key);
                }
                drop(slot);
                if !each.resolves.done(&key) {
                    break;
                }
            }
        });
    }
}

/// Writes the status of each provider object that is asked for.
pub(super) async fn report_all(context: Arc<Context>, mut asked: mpsc::UnboundedReceiver<ProviderKey>) {
    while let Some(key) = asked.recv().await {
        let each = context.clone();
        context.tasks.passing("report", async move {
            loop {
                let slot = each.reports.turn(&key).await;
                if AssertUnwindSafe(provider_status::write(&each, &key)).catch_unwind().await.is_err() {
                    tracing::error!(provider = %key, "the provider's status can't be composed: this is a fault of the operator");
                }
                drop(slot);
                if !each.reports.done(&key) {
                    break;
                }
            }
        });
    }
}

/// What a panic over one provider object leaves: that object can't be used for a while, and all others can.
fn after_panic(context: &Arc<Context>, key: &ProviderKey) {
    let message = "the operator failed over this object: its log says where; it tries again in a minute";
    tracing::error!(provider = %key, "resolving the provider panicked");
    context.provider_timetable.set(key, clock::now().wall + AFTER_PANIC);
    let state = Err(Refusal::new("InternalError", message));
    if install(context, key, Resolved { state, refers: Refers::default() }) {
        context.wake_tokens_of(key);
    }
    context.report_soon(key);
}

/// Reads one provider object and what it refers to; its tokens are woken if anything changed.
pub(super) async fn resolve(context: &Arc<Context>, key: &ProviderKey) {
    context.provider_timetable.clear(key);
    fail_point::reach("resolve", key);
    let Some(object) = context.providers.get(key) else {
        let gone = context.accounts.remove(key);
        if let Some(Resolved { state: Ok(account), .. }) = gone {
            retire(context, &account.key);
        }
        provider_status::forget(context, key);
        context.wake_tokens_of(key);
        return;
    };
    let namespace = key.namespace.as_deref().unwrap_or(&context.settings.cluster_resource_namespace);
    let references = References::new(&context.applier, key.owner(), namespace);
    let reading = context.accounts.reading();
    let (state, refers) = account(context, key, &object, references).await;
    if let Err(refusal) = &state {
        tracing::warn!(provider = %key, namespace = key.namespace, reason = %refusal.reason, message = refusal.message, "the provider isn't ready");
    }
    let again = match &state {
        Err(refusal) => refusal.again.map(|again| match &*refusal.reason {
            // CAs that nothing watches
            "CaBundleMissing" | "InvalidSpec" => again.max(next_look(lasts(&object, &refusal.reason))),
            _ => again,
        }),
        Ok(account) => account.spec.ca_bundle_ref.is_some().then(|| {
            let since = account.history().untrusted_since;
            since.map_or(LOOK_AGAIN, |since| next_look(clock::now().wall - since))
        }),
    };
    if let Some(again) = again {
        context.provider_timetable.set(key, clock::now().wall + again);
    }
    let changed = install(context, key, Resolved { state, refers });
    if reading.is_outdated(key) {
        context.resolve_soon(key.clone());
    }
    if changed {
        context.wake_tokens_of(key);
    }
    context.report_soon(key);
}

/// While no TLS comes about with CAs that nothing watches, they are looked at every few seconds: whoever mends them waits
/// for it.
pub(super) fn note_trust(context: &Context, account: &Account, error: &IssueError, now: Timestamp) {
    if error.reason != "TlsFailed" || account.spec.ca_bundle_ref.is_none() {
        return;
    }
    let since = *account.history().untrusted_since.get_or_insert(now);
    context.provider_timetable.set(&account.of, now + next_look(now - since));
}

/// How long the object's status has said that it can't be used for this reason.
fn lasts(object: &DynamicObject, reason: &str) -> TimeDelta {
    let conditions = provider_status::written(object).conditions;
    let stalled = conditions.iter().find(|condition| condition.type_ == "Stalled" && condition.reason == reason);
    stalled.map_or(TimeDelta::zero(), |stalled| clock::now().wall - stalled.last_transition_time)
}

/// A tenth of the time that it has lasted, within bounds.
fn next_look(lasts: TimeDelta) -> TimeDelta {
    (lasts / 10).clamp(LOOK_AGAIN_SOON, LOOK_AGAIN_LATER)
}

/// Puts the account into the registry and its limits into the budget. Tells whether anything changed.
fn install(context: &Context, key: &ProviderKey, resolved: Resolved) -> bool {
    let before = context.accounts.get(key);
    let same = match (&before, &resolved.state) {
        (Some(Resolved { state: Ok(old), .. }), Ok(new)) => old.version == new.version,
        (Some(Resolved { state: Err(old), .. }), Err(new)) => old == new,
        _ => false,
    };
    if same && let Some(before) = before {
        // the issuer at work keeps its Entra token; only what was read is new
        context.accounts.resolve(key, Resolved { state: before.state, refers: resolved.refers });
        return false;
    }
    let now = resolved.state.as_ref().ok().map(|account| account.key.clone());
    if let Ok(account) = &resolved.state {
        // other CAs are another matter
        account.history().untrusted_since = None;
    }
    let before = context.accounts.resolve(key, resolved);
    let is_edited = before.is_some();
    // whoever makes or edits a provider object, or what it refers to, may have mended it
    let try_again = |account: &AccountKey| context.turns.try_again(account, clock::now());
    if let Some(account) = &now {
        configure(context, account);
        try_again(account);
    }
    if let Some(Resolved { state: Ok(old), .. }) = before {
        retire(context, &old.key);
    }
    recall::of_provider(context, key);
    if let Some(account) = now.filter(|_| is_edited) {
        // what its status told of before the edit
        try_again(&account);
    }
    true
}

/// The limits of an account: all windows of all provider objects that share it, and the least concurrency.
fn configure(context: &Context, account: &AccountKey) {
    let mut all = Limits { windows: Vec::new(), concurrency: u32::MAX };
    for shared in context.accounts.sharing(account) {
        let Ok(limits) = shared.spec.account_limits() else { continue };
        let windows = limits.windows.iter().map(|w| Window { requests: w.requests, period: w.period });
        for window in windows {
            if !all.windows.contains(&window) {
                all.windows.push(window);
            }
        }
        all.concurrency = all.concurrency.min(limits.concurrency);
    }
    context.turns.configure(account, all);
}

fn retire(context: &Context, account: &AccountKey) {
    if context.accounts.sharing(account).is_empty() {
        context.turns.retire(account);
    } else {
        configure(context, account);
    }
}

type Refers = std::collections::BTreeMap<ObjectKey, u64>;

/// From the object to an account, or to why it can't be used.
async fn account(
    context: &Arc<Context>,
    key: &ProviderKey,
    object: &DynamicObject,
    references: References<'_>,
) -> (Result<Arc<Account>, Refusal>, Refers) {
    let result = async {
        let spec = object.data.get("spec").cloned().unwrap_or_default();
        let ProviderObject { spec, admission } = ProviderObject::parse(key.owner(), spec)?;
        spec.account_limits().map_err(|error| Refusal::new("InvalidSpec", error.to_string()))?;
        let type_name = spec.account().map_err(|error| Refusal::new("InvalidSpec", error.to_string()))?.name();
        let built = account::issuer(&context.settings.reach, &context.http, &spec, &references).await?;
        // the client has it
        let spec = ProviderSpec { ca_bundle: None, ..spec };
        Ok((spec, admission, type_name, built))
    }
    .await;
    let refers = references.seen();
    let state = result.map(|(spec, admission, type_name, Built { issuer, identity, host })| {
        let json = object.data.get("spec").map(ToString::to_string).unwrap_or_default();
        let read = refers.values().map(ToString::to_string).collect::<Vec<_>>().join(",");
        let account = object.data.pointer(&format!("/spec/{type_name}")).map(ToString::to_string).unwrap_or_default();
        let credentials = Hash::of([account.as_bytes(), read.as_bytes()]);
        let uid = object.metadata.uid.as_deref().unwrap_or_default();
        let version =
            Hash::of([uid.as_bytes(), json.as_bytes(), read.as_bytes(), identity.to_string().as_bytes()]).short();
        let account_id = spec.account().and_then(|account| account.identity()).unwrap_or_default();
        let of = key.clone();
        let key = AccountKey(format!("{host}|{account_id}|{identity}").into());
        let before = context.accounts.get(&of).and_then(|before| before.state.ok()).filter(|before| before.key == key);
        let history = before.map(|before| before.history.clone()).unwrap_or_default();
        Arc::new(Account { of, key, type_name, spec, issuer, admission, version, credentials, history })
    });
    (state, refers)
}
