//! Writes the status of provider objects, and restores the state of their accounts from an earlier status for a new
//! process or leader.

use crate::controller::context::{Context, Known};
use crate::controller::grants::logins;
use crate::controller::providers::Providers;
use crate::controller::providers::registry::{ReadyProvider, Resolved, Said};
use crate::controller::stores::provider_key::ProviderKey;
use crate::controller::stores::provider_objects::parse_status;
use crate::metrics::{API_SERVER, Metrics};
use kube::core::DynamicObject;
use videotoken_api::provider_status::ProviderStatus;
use videotoken_api::provider_types;
use videotoken_core::plan::hash::Hash;
use videotoken_core::plan::provider_status::{AccountFacts, ProviderFacts, compose, saved_account_state};
use videotoken_core::plan::shared_status;
use videotoken_core::plan::write_failure::ApiError;
use videotoken_providers::clock::{self, Timestamp};

/// Writes the status of one provider object if it differs from the last one.
pub(crate) async fn write(context: &Context, key: &ProviderKey) {
    let is_off = key.is_cluster() && !context.settings.cluster_provider_status;
    if is_off || !context.lease.is_leader() {
        return;
    }
    let now = clock::now().wall;
    if context.providers.last_written.waits(key, now) {
        return;
    }
    let _alone = context.providers.last_written.alone(key).await;
    let (Some(object), Some(resolved)) =
        (context.stores.provider_objects.get(key), context.providers.registry.get(key))
    else {
        return;
    };
    let facts = facts(context.known(), &context.output.metrics, key, &resolved, &object);
    let stored = parse_status(&object);
    // With `--watch-namespaces`, there may be an operator for the other namespaces.
    if key.is_cluster() && !context.settings.watch_namespaces.is_empty() {
        return write_part(context, key, &object, facts, &stored, now).await;
    }
    let status = compose(facts, &stored, now);
    let hash = Hash::of([serde_json::to_vec(&status).unwrap_or_default().as_slice()]).short();
    let same = context.providers.last_written.is_same(key, hash);
    if same || status == (ProviderStatus { login_attempts: Vec::new(), ..stored }) {
        return;
    }
    if send(context, key, &object, &status).await {
        context.providers.last_written.wrote(key, hash);
    }
}

/// Merges this operator's part into the status of a `ClusterTokenProvider`, while any of its own `VideoAccessTokens`
/// names the provider.
async fn write_part(
    context: &Context,
    key: &ProviderKey,
    object: &DynamicObject,
    facts: ProviderFacts<'_>,
    stored: &ProviderStatus,
    now: Timestamp,
) {
    // The part of an earlier leader counts as that of another operator.
    let Some(leads_since) = context.grants.budgets.open_since() else { return };
    let before = context.providers.last_written.part(key, leads_since);
    if before.is_none() && context.stores.tokens.users(key) == 0 {
        return;
    }
    let part = compose(facts, before.as_ref().unwrap_or(stored), now);
    // with the times as they are stored
    let part = serde_json::to_value(&part).and_then(serde_json::from_value).unwrap_or(part);
    let merged = shared_status::merge(&part, before.as_ref(), stored, now);
    let is_settled = match &merged {
        Some(status) => send(context, key, object, status).await,
        None => true,
    };
    if is_settled {
        context.providers.last_written.merged(key, leads_since, part);
    }
}

/// Writes a status. Returns true if it is stored.
async fn send(context: &Context, key: &ProviderKey, object: &DynamicObject, status: &ProviderStatus) -> bool {
    match context.output.api.provider_status(object, key.is_cluster(), status).await {
        Ok(version) => {
            let members = serde_json::to_value(status).unwrap_or_default();
            context.stores.provider_objects.apply_own_status_write(key, object, &members, &version);
            true
        }
        Err(ApiError::NotLeading) => false,
        Err(error) => {
            tracing::debug!(provider = %key, %error, "the provider's status isn't written");
            context.providers.last_written.failed(key, clock::now().wall);
            false
        }
    }
}

/// Restores the account state from an earlier status: whether the credential works, until when the token API
/// throttles the account, and at which rate others leave it. Does nothing on a standby, because the leader has newer facts.
pub(crate) fn restore_account_state(known: Known<'_>, key: &ProviderKey) {
    let (Some(object), Some(Resolved { state: Ok(account), .. })) =
        (known.stores.provider_objects.get(key), known.providers.registry.get(key))
    else {
        return;
    };
    if !known.lease.is_leader() {
        return;
    }
    let now = clock::now();
    let (version, on_demand) = (account.credentials.to_string(), account.issuer.is_retried_on_demand());
    let saved = saved_account_state(&parse_status(&object), &version, on_demand, now.wall);
    if let Some(wait) = saved.throttled_for {
        known.grants.budgets.throttle(&account.key, wait, now);
    }
    if let Some(shared_use) = saved.shared_use {
        known.grants.budgets.restore_shared_use(&account.key, shared_use, now);
    }
    if saved.accepted {
        known.grants.budgets.accept_credential(&account.key);
    }
    if let Some((block, wait)) = saved.credential_block {
        known.grants.budgets.block_credential(&account.key, block, wait, now);
    }
}

/// Returns the input of the provider object's status.
fn facts<'a>(
    known: Known<'_>,
    metrics: &Metrics,
    key: &ProviderKey,
    resolved: &'a Resolved,
    object: &DynamicObject,
) -> ProviderFacts<'a> {
    let has = |name: &&str| object.data.get("spec").is_some_and(|spec| spec.get(*name).is_some());
    ProviderFacts {
        generation: object.metadata.generation,
        type_: provider_types::NAMES.iter().copied().find(has).map(str::to_owned),
        tokens: users(known, key),
        account: resolved.state.as_ref().map(|account| account_facts(known, metrics, account)),
    }
}

fn account_facts(known: Known<'_>, metrics: &Metrics, account: &ReadyProvider) -> AccountFacts {
    let (said, last_issued_at) = {
        let history = account.history();
        (history.refusal.as_ref().map(Said::whole), history.last_issued)
    };
    AccountFacts {
        version: account.credentials.to_string(),
        display_name: account.spec.account().ok().map(|account| account.display_name()),
        budget: known.grants.budgets.state(&account.key, clock::now()),
        said,
        last_issued_at,
        credential_expires_at: account.issuer.credential_expires_at(),
        proven_login: logins::proven(known, account),
        clock_skew: [("provider", account.issuer.clock_skew()), ("API server", metrics.clock_skew(API_SERVER))],
    }
}

/// Returns the number of VideoAccessTokens that name the provider, or `None` until the lists of all that might name it
/// are complete.
fn users(known: Known<'_>, key: &ProviderKey) -> Option<i64> {
    let are_listed = match &key.namespace {
        Some(namespace) => known.stores.scopes.has_listed(namespace),
        None => known.stores.scopes.is_settled(),
    };
    are_listed.then(|| i64::try_from(known.stores.tokens.users(key)).unwrap_or(i64::MAX))
}

/// Queues the status of every provider object.
pub(crate) fn report_all(providers: &Providers) {
    for (key, _) in providers.registry.all() {
        providers.report_soon(&key);
    }
}
