//! Resolves provider objects to accounts, writes their statuses, and triggers the VideoAccessTokens that use them.

use crate::controller::context::{Context, Known};
use crate::controller::fail_point;
use crate::controller::grants::recall;
use crate::controller::providers::registry::{ReadyProvider, Resolved};
use crate::controller::providers::{Providers, status};
use crate::controller::settings::PANIC_RETRY_DELAY;
use crate::controller::stores::provider_key::ProviderKey;
use crate::controller::stores::provider_objects::{oversized, parse_status};
use chrono::TimeDelta;
use futures::FutureExt;
use kube::core::DynamicObject;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use tokio::sync::mpsc;
use videotoken_api::key::ObjectKey;
use videotoken_api::provider::ProviderSpec;
use videotoken_core::budget::{AccountKey, Limits, Window};
use videotoken_core::issue::IssueError;
use videotoken_core::plan::hash::Hash;
use videotoken_core::plan::view::Refusal;
use videotoken_providers::clock::{self, Timestamp};
use videotoken_providers::provider_setup::{self, BuiltIssuer, ProviderObject, References};

/// Interval of reads of objects that no watch covers (CA bundles).
const LOOK_AGAIN: TimeDelta = TimeDelta::minutes(5);

/// Minimum interval of these reads while TLS fails or the CA bundle is unusable.
const LOOK_AGAIN_SOON: TimeDelta = TimeDelta::seconds(5);

/// Maximum interval of these reads while TLS fails or the CA bundle is unusable.
const LOOK_AGAIN_LATER: TimeDelta = TimeDelta::minutes(1);

/// Resolves each provider object in the queue.
pub(crate) async fn resolve_all(context: Arc<Context>, mut asked: mpsc::UnboundedReceiver<ProviderKey>) {
    while let Some(key) = asked.recv().await {
        let each = context.clone();
        context.tasks.passing("resolve", async move {
            loop {
                let slot = each.providers.resolves.turn(&key).await;
                if AssertUnwindSafe(resolve(&each, &key)).catch_unwind().await.is_err() {
                    after_panic(&each, &key);
                }
                drop(slot);
                if !each.providers.resolves.done(&key) {
                    break;
                }
            }
        });
    }
}

/// Writes the status of each provider object in the queue.
pub(crate) async fn report_all(context: Arc<Context>, mut asked: mpsc::UnboundedReceiver<ProviderKey>) {
    while let Some(key) = asked.recv().await {
        let each = context.clone();
        context.tasks.passing("report", async move {
            loop {
                let slot = each.providers.reports.turn(&key).await;
                if AssertUnwindSafe(status::write(&each, &key)).catch_unwind().await.is_err() {
                    tracing::error!(provider = %key, "the provider's status can't be composed: this is a fault of the operator");
                }
                drop(slot);
                if !each.providers.reports.done(&key) {
                    break;
                }
            }
        });
    }
}

/// Marks a provider object as unusable for a while, because resolving it panicked. Other objects stay usable.
fn after_panic(context: &Arc<Context>, key: &ProviderKey) {
    let message = "The operator failed on this object. See its log. It retries after 1 minute.";
    tracing::error!(provider = %key, "resolving the provider panicked");
    context.providers.requeue.set(key, clock::now().wall + PANIC_RETRY_DELAY);
    let state = Err(Refusal::new("InternalError", message));
    if register(context.known(), key, Resolved { state, refers: ReferenceVersions::default() }) {
        context.trigger_tokens_of(key);
    }
    context.providers.report_soon(key);
}

/// Reads one provider object and the objects that it refers to. Triggers its VideoAccessTokens if anything changed.
pub(crate) async fn resolve(context: &Arc<Context>, key: &ProviderKey) {
    context.providers.requeue.clear(key);
    fail_point::reach("resolve", key);
    let Some(object) = context.stores.provider_objects.get(key) else {
        let gone = context.providers.registry.remove(key);
        if let Some(Resolved { state: Ok(account), .. }) = gone {
            retire(context.known(), &account.key);
        }
        context.providers.last_written.forget(key);
        context.trigger_tokens_of(key);
        return;
    };
    let namespace = key.namespace.as_deref().unwrap_or(&context.settings.cluster_resource_namespace);
    let references = References::new(&context.output.api, key.owner(), namespace);
    let reading = context.providers.registry.reading();
    let (state, refers) = account(context, key, &object, references).await;
    if let Err(refusal) = &state {
        tracing::warn!(provider = %key, namespace = key.namespace, reason = %refusal.reason, message = refusal.message, "the provider isn't ready");
    }
    let again = match &state {
        Err(refusal) => refusal.retry_after.map(|again| match &*refusal.reason {
            // No watch reports changes of CAs.
            "CaBundleMissing" | "InvalidSpec" => again.max(next_look(lasts(&object, &refusal.reason))),
            _ => again,
        }),
        Ok(account) => account.spec.ca_bundle_ref.is_some().then(|| {
            let since = account.history().untrusted_since;
            since.map_or(LOOK_AGAIN, |since| next_look(clock::now().wall - since))
        }),
    };
    if let Some(again) = again {
        context.providers.requeue.set(key, clock::now().wall + again);
    }
    let changed = register(context.known(), key, Resolved { state, refers });
    if reading.is_outdated(key) {
        context.providers.resolve_soon(key);
    }
    if changed {
        context.trigger_tokens_of(key);
    }
    context.providers.report_soon(key);
}

/// Schedules the next read of CAs that no watch covers while TLS fails with them. The interval begins at a few seconds,
/// because a user who corrects the CAs waits for the result.
pub(crate) fn note_trust(providers: &Providers, account: &ReadyProvider, error: &IssueError, now: Timestamp) {
    if error.reason != "TlsFailed" || account.spec.ca_bundle_ref.is_none() {
        return;
    }
    let since = *account.history().untrusted_since.get_or_insert(now);
    providers.requeue.set(&account.provider_key, now + next_look(now - since));
}

/// Returns for how long the status has reported this reason of the Stalled condition.
fn lasts(object: &DynamicObject, reason: &str) -> TimeDelta {
    let conditions = parse_status(object).conditions;
    let stalled = conditions.iter().find(|condition| condition.type_ == "Stalled" && condition.reason == reason);
    stalled.map_or(TimeDelta::zero(), |stalled| clock::now().wall - stalled.last_transition_time)
}

/// Returns a tenth of `lasts`, within bounds.
fn next_look(lasts: TimeDelta) -> TimeDelta {
    (lasts / 10).clamp(LOOK_AGAIN_SOON, LOOK_AGAIN_LATER)
}

/// Registers the account and sets the limits of its budget. Returns true if anything changed.
fn register(known: Known<'_>, key: &ProviderKey, resolved: Resolved) -> bool {
    let before = known.providers.registry.get(key);
    let same = match (&before, &resolved.state) {
        (Some(Resolved { state: Ok(old), .. }), Ok(new)) => old.version == new.version,
        (Some(Resolved { state: Err(old), .. }), Err(new)) => old == new,
        _ => false,
    };
    if same && let Some(before) = before {
        // The current issuer keeps its Entra token. Only the references are new.
        known.providers.registry.resolve(key, Resolved { state: before.state, refers: resolved.refers });
        return false;
    }
    let now = resolved.state.as_ref().ok().map(|account| account.key.clone());
    if let Ok(account) = &resolved.state {
        // With other CAs, earlier TLS failures no longer count.
        account.history().untrusted_since = None;
    }
    let before = known.providers.registry.resolve(key, resolved);
    let is_edited = before.is_some();
    // An edit of a provider object, or of an object that it refers to, may have corrected the credential.
    let try_again = |account: &AccountKey| known.grants.budgets.try_again(account, clock::now());
    if let Some(account) = &now {
        configure(known, account);
        try_again(account);
    }
    if let Some(Resolved { state: Ok(old), .. }) = before {
        retire(known, &old.key);
    }
    recall::of_provider(known, key);
    if let Some(account) = now.filter(|_| is_edited) {
        // Overrides the block that was restored from the status before the edit.
        try_again(&account);
    }
    true
}

/// Sets the limits of an account: the windows of all provider objects that share it, and the lowest concurrency. The UID
/// of a provider object differs between clusters and is the seed of the jitter.
fn configure(known: Known<'_>, account: &AccountKey) {
    let mut seed = u64::MAX;
    let mut all = Limits { windows: Vec::new(), concurrency: u32::MAX };
    for shared in known.providers.registry.providers_of_account(account) {
        let object = known.stores.provider_objects.get(&shared.provider_key);
        if let Some(uid) = object.as_ref().and_then(|object| object.metadata.uid.as_deref()) {
            seed = seed.min(Hash::of([uid.as_bytes()]).short());
        }
        let Ok(limits) = shared.spec.account_limits() else { continue };
        let windows = limits.windows.iter().map(|w| Window { requests: w.requests, period: w.period });
        for window in windows {
            if !all.windows.contains(&window) {
                all.windows.push(window);
            }
        }
        all.concurrency = all.concurrency.min(limits.concurrency);
    }
    known.grants.budgets.configure(account, all, seed);
}

fn retire(known: Known<'_>, account: &AccountKey) {
    if known.providers.registry.providers_of_account(account).is_empty() {
        known.grants.budgets.retire(account);
    } else {
        configure(known, account);
    }
}

type ReferenceVersions = std::collections::BTreeMap<ObjectKey, u64>;

/// Resolves the object to an account, or to the reason why it can't be used.
async fn account(
    context: &Arc<Context>,
    key: &ProviderKey,
    object: &DynamicObject,
    references: References<'_>,
) -> (Result<Arc<ReadyProvider>, Refusal>, ReferenceVersions) {
    let result = async {
        if let Some(error) = oversized(object) {
            return Err(Refusal::new("InvalidSpec", error.to_string()));
        }
        let spec = object.data.get("spec").cloned().unwrap_or_default();
        let ProviderObject { spec, admission } = ProviderObject::parse(key.owner(), spec)?;
        spec.account_limits().map_err(|error| Refusal::new("InvalidSpec", error.to_string()))?;
        let type_name = spec.account().map_err(|error| Refusal::new("InvalidSpec", error.to_string()))?.name();
        let built =
            provider_setup::issuer(&context.settings.reach, &context.providers.http, &spec, &references).await?;
        // The HTTP client contains the CA bundle.
        let spec = ProviderSpec { ca_bundle: None, ..spec };
        Ok((spec, admission, type_name, built))
    }
    .await;
    let refers = references.seen();
    let state = result.map(|(spec, admission, type_name, BuiltIssuer { issuer, identity, host })| {
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
        let before =
            context.providers.registry.get(&of).and_then(|before| before.state.ok()).filter(|before| before.key == key);
        let history = before.map(|before| before.history.clone()).unwrap_or_default();
        Arc::new(ReadyProvider {
            provider_key: of,
            key,
            type_name,
            spec,
            issuer,
            admission,
            version,
            credentials,
            history,
        })
    });
    (state, refers)
}
