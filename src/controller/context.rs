//! The state and the effects of the controller, by concern. A function takes the concern that it uses, [`Known`] if it
//! uses several in memory, or the whole [`Context`] if it sends requests or triggers objects.

use super::grants::Grants;
use super::output::Output;
use super::providers::Providers;
use super::providers::registry::ReadyProvider;
use super::settings::Settings;
use super::stores::Stores;
use super::stores::provider_key::ProviderKey;
use super::stores::secrets::SecretRequest;
use super::stores::tokens::Changes;
use super::tasks::Tasks;
use super::tokens::Objects;
use super::workloads::in_progress::RestartsInProgress;
use crate::lease::LeaseHandle;
use chrono::TimeDelta;
use std::sync::Arc;
use std::time::Duration;
use videotoken_api::key::ObjectKey;
use videotoken_core::budget::{AccountKey, Grant};
use videotoken_core::plan::provider_status::MAX_CLOCK_SKEW;
use videotoken_providers::clock;

/// State and effects of the controller, by concern.
pub(super) struct Context {
    /// Settings of the process.
    pub(crate) settings: Settings,
    /// Leadership.
    pub(crate) lease: LeaseHandle,
    /// Stores that the watches fill.
    pub(crate) stores: Stores,
    /// Resolved provider objects and their statuses.
    pub(crate) providers: Providers,
    /// Budgets and everything else that decides on the next call of a token API.
    pub(crate) grants: Grants,
    /// State of each `VideoAccessToken` that is not in the stores, and the times at which it is reconciled.
    pub(crate) objects: Objects,
    /// Requests to the API server, metrics and traces.
    pub(crate) output: Output,
    /// Workloads that are being restarted.
    pub(crate) restarts: RestartsInProgress,
    /// Tasks of the process.
    pub(crate) tasks: Tasks,
}

/// In-memory state of all objects and accounts. A function that takes this type sends no request.
#[derive(Clone, Copy)]
pub(crate) struct Known<'a> {
    /// Leadership.
    pub(crate) lease: &'a LeaseHandle,
    /// Stores that the watches fill.
    pub(crate) stores: &'a Stores,
    /// Resolved provider objects.
    pub(crate) providers: &'a Providers,
    /// Budgets and logins.
    pub(crate) grants: &'a Grants,
    /// State of each `VideoAccessToken` that is not in the stores.
    pub(crate) objects: &'a Objects,
}

impl Known<'_> {
    /// Returns the account of the object, if its provider is resolved.
    pub(crate) fn account_of(self, key: &ObjectKey) -> Option<Arc<ReadyProvider>> {
        self.providers.registry.get(&self.stores.tokens.get(key)?.provider()?)?.state.ok()
    }

    /// Returns true if another object with a valid token uses this budget, so that its next renewal shows whether the
    /// credential works. A suspended object doesn't count.
    pub(crate) fn has_peer(self, account: &AccountKey, key: &ObjectKey) -> bool {
        let sharing = self.providers.registry.providers_of_account(account);
        let mut others = sharing
            .iter()
            .flat_map(|account| self.stores.tokens.using(&account.provider_key))
            .filter(|other| other != key);
        others.any(|other| {
            let Some(token) = self.stores.tokens.get(&other) else { return false };
            let [ready, ..] = &token.status.conditions;
            ready.status == Some(true) && !token.deleting() && !token.provider_and_suspension().1
        })
    }

    /// Reconciles the object after this delay. Does nothing on a standby.
    pub(crate) fn requeue_after(self, key: &ObjectKey, after: TimeDelta) {
        if self.lease.is_leader() {
            self.objects.requeue.set(key, clock::now().wall + after);
        }
    }
}

impl Context {
    /// Returns the state for a function that sends no request.
    pub(crate) fn known(&self) -> Known<'_> {
        let Self { lease, stores, providers, grants, objects, .. } = self;
        Known { lease, stores, providers, grants, objects }
    }

    /// Triggers a reconcile of the object.
    pub(crate) fn trigger(&self, key: &ObjectKey) {
        // Before the lists of its namespace are complete, no object can be decided. Afterwards all are triggered.
        if self.stores.scopes.has_listed(&key.namespace) {
            if self.lease.is_leader() {
                self.output.traces.triggered(key);
            }
            self.objects.reconciles.request(key);
        }
    }

    pub(crate) fn trigger_all(self: &Arc<Self>) {
        self.trigger_in_batches(self.stores.tokens.all().iter().map(|token| token.key.clone()).collect());
    }

    pub(crate) fn trigger_namespace(self: &Arc<Self>, namespace: &str) {
        let all = self.stores.tokens.all();
        let mine = all.iter().filter(|token| *token.key.namespace == *namespace);
        self.trigger_in_batches(mine.map(|token| token.key.clone()).collect());
    }

    /// Triggers many objects in small batches, so that the tasks of their reconciles don't all exist at the same time:
    /// most of them end at their first step.
    pub(crate) fn trigger_in_batches(self: &Arc<Self>, keys: Vec<ObjectKey>) {
        let context = self.clone();
        self.tasks.passing("trigger", async move {
            for few in keys.chunks(64) {
                for key in few {
                    context.trigger(key);
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        });
    }

    /// Adapts to a wall clock that was set back: whatever waits for a later time is tried now. `trigger_all` reconciles
    /// the objects.
    pub(crate) fn clock_went_back(&self) {
        self.objects.states.clock_went_back();
        for key in self.stores.provider_objects.keys() {
            self.providers.resolve_soon(&key);
        }
    }

    /// Triggers the tokens of a provider that changed.
    pub(crate) fn trigger_tokens_of(self: &Arc<Self>, provider: &ProviderKey) {
        self.trigger_in_batches(self.stores.tokens.using(provider));
    }

    /// Applies the effects of an event on the objects.
    pub(crate) fn apply_changes(&self, changes: &Changes) {
        for key in &changes.gone {
            // The state must not pass to another object of the same name.
            self.forget(key);
        }
        for key in &changes.demanded {
            if let Some(account) = self.known().account_of(key) {
                self.grants.budgets.try_again(&account.key, clock::now());
            }
        }
        for key in &changes.trigger {
            self.trigger(key);
        }
    }

    /// Removes a Secret that the API server reports as deleted, and triggers the objects that wait for its name,
    /// because the watch may have no new event.
    pub(crate) fn on_secret_deleted(&self, look: SecretRequest<'_>) {
        let secret = look.key().clone();
        look.record_absence();
        for key in self.stores.tokens.concerned(&secret, None) {
            self.trigger(&key);
        }
    }

    /// See [`Known::requeue_after`].
    pub(crate) fn requeue_after(&self, key: &ObjectKey, after: TimeDelta) {
        self.known().requeue_after(key, after);
    }

    /// Takes a slot for the granted object, and triggers its reconcile, which makes the call.
    pub(crate) fn grant(&self, grant: &Grant) {
        self.output.metrics.budget_granted(grant.waited);
        self.output.traces.granted(&grant.key);
        self.grants.occupy(&grant.key);
        self.trigger(&grant.key);
    }

    /// Forgets a deleted object. Doesn't return its grant: its reconcile may be making the call, and returns an unused
    /// grant itself (P20).
    pub(crate) fn forget(&self, key: &ObjectKey) {
        self.objects.states.forget(key);
        self.output.traces.deleted(key);
        self.grants.budgets.withdraw(key);
    }

    pub(crate) fn note_skew(&self, account: &ReadyProvider) {
        let Some(skew) = account.issuer.clock_skew() else { return };
        let before = self.output.metrics.clock_skew(account.type_name);
        self.output.metrics.set_clock_skew(account.type_name, skew);
        if [Some(skew), before].into_iter().flatten().any(|skew| skew.abs() > MAX_CLOCK_SKEW) {
            self.providers.report_soon(&account.provider_key);
        }
    }
}
