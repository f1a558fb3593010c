//! Collects all inputs of a decision into one snapshot.

use crate::controller::context::Known;
use crate::controller::providers::registry::{Lookup, ReadyProvider};
use crate::controller::stores::token::Token;
use crate::controller::tokens::object_state::{LastAttempt, LookupResult, ObjectState};
use chrono::{SubsecRound, TimeDelta};
use std::sync::Arc;
use videotoken_api::key::ObjectKey;
use videotoken_api::request::TokenRequest;
use videotoken_api::reserved;
use videotoken_api::secret::SecretSpec;
use videotoken_api::video_access_token::VideoAccessTokenSpec;
use videotoken_api::workload::Workload;
use videotoken_core::plan::claim::claimed_by;
use videotoken_core::plan::contest::{CONTESTED, Contest, OVERRIDDEN, Version};
use videotoken_core::plan::desired::resolve_spec;
use videotoken_core::plan::facts::{Failure, Seconds, SecretFacts};
use videotoken_core::plan::hash::Hash;
use videotoken_core::plan::secret::render_hash;
use videotoken_core::plan::transitions::Circumstances;
use videotoken_core::plan::unplanned::{Unplanned, UnplannedCalls};
use videotoken_core::plan::view::{
    AccountBlock, Before, DataView, DecisionInput, DesiredToken, QueueState, Refusal, SecretView, UnsavedTokenView,
};
use videotoken_providers::clock::{Now, Timestamp};

/// Time for which a lookup counts that found no Secret, or a Secret without the operator's label.
const LOOKUP_TTL: TimeDelta = TimeDelta::minutes(3);

/// Text for an object whose namespace has used up its share.
const NO_SHARE: &str = "its namespace has used up its share of one of the windows of spec.limits by calls that no schedule \
    asked for (lost tokens, edits, renewals on demand): served when a part of the share comes back, or when the token is \
    about to expire";

/// One object with everything that it refers to, at one time.
pub(crate) struct ObservedToken {
    /// The object.
    pub(crate) token: Arc<Token>,
    /// Spec of the object, if it can be decoded. It excludes the template, which may be large, because waiting
    /// reconciles keep this value.
    pub(crate) spec: Option<VideoAccessTokenSpec>,
    /// True if the template has not been rendered yet, so that nothing can be decided.
    pub(crate) unjudged: bool,
    /// Provider as "Kind/name".
    pub(crate) provider: Option<String>,
    /// Account of the provider.
    pub(crate) account: Option<Arc<ReadyProvider>>,
    /// The workloads to restart when the token has changed.
    pub(crate) workloads: Vec<Workload>,
    /// Request to the token API.
    pub(crate) request: Option<TokenRequest>,
    /// The resolved spec, or the reason why it is rejected. `None` if the provider isn't resolved yet.
    pub(crate) wanted: Option<Result<DesiredToken, Refusal>>,
    /// The Secret that the spec names.
    pub(crate) secret_key: ObjectKey,
    secret: Option<Arc<SecretFacts>>,
    /// True if the API server reported that the Secret doesn't exist.
    absent: bool,
    data: DataView,
    owner_gone: bool,
    /// Managed Secret under the old name.
    pub(crate) old_secret: Option<(ObjectKey, Arc<SecretFacts>)>,
    /// In-memory state of the object.
    pub(crate) state: ObjectState,
    failure: Option<Arc<Failure>>,
    /// Consecutive failures.
    pub(crate) attempts: u32,
    /// Hash of the inputs of an attempt made now; see [`LastAttempt::Failed`].
    pub(crate) attempt_hash: u64,
    queue: QueueState,
    block: Option<AccountBlock>,
    /// Limits of the unplanned calls.
    pub(crate) before: Before,
}

impl ObservedToken {
    /// Observes the object. Returns `None` if it is deleted.
    pub(crate) fn observe(known: Known<'_>, key: &ObjectKey, now: Now) -> Option<Self> {
        let token = known.stores.tokens.get(key)?;
        let mut state = known.objects.states.get_of(key, token.uid);
        let secret_key = token.secret_key();
        let (secret, absent) = match (known.stores.secrets.get(&secret_key), recent_lookup(&token, &state, now.wall)) {
            (Some(facts), _) | (None, Some(LookupResult::Secret(facts))) => (Some(facts), false),
            (None, found) => (None, matches!(found, Some(LookupResult::Nothing))),
        };
        let version = secret.as_ref().map(|facts| facts.version());
        restore_contest(&token, &mut state, version, now.wall);
        let data = data_view(&token, &state, secret.as_deref(), now.wall);
        if data == DataView::Lost || (absent && state.repaired) {
            state.unsaved = state.unsaved.take().or(state.spare.clone());
        }
        let owner_gone = secret
            .as_ref()
            .and_then(|facts| facts.owner)
            .is_some_and(|owner| owner != token.uid && !known.stores.tokens.has_uid(&token.key.namespace, owner));
        let reported = token.status.other_secret.as_deref();
        let reported = reported.map(|name| ObjectKey { namespace: token.key.namespace.clone(), name: name.into() });
        let left = state.elsewhere.clone().filter(|elsewhere| *elsewhere != secret_key);
        let former = reported.into_iter().chain(left).find_map(|key| {
            let facts = known.stores.secrets.get(&key).filter(|facts| facts.owner == Some(token.uid))?;
            Some((key, facts))
        });
        let mut seen = ObservedToken {
            spec: None,
            unjudged: false,
            provider: None,
            account: None,
            workloads: Vec::new(),
            request: None,
            wanted: None,
            secret_key,
            secret,
            absent,
            data,
            owner_gone,
            old_secret: former,
            failure: None,
            attempts: 0,
            attempt_hash: 0,
            queue: QueueState::None,
            block: None,
            before: Before::default(),
            state,
            token,
        };
        seen.wanted = seen.resolve_spec(known);
        seen.before.generation = seen.token.generation();
        seen.before.unplanned_calls =
            known.objects.states.spells(key, seen.token.uid).or_else(|| seen.restore_spells(known)).unwrap_or_default();
        seen.restore_failure(now.wall);
        seen.read_queue_state(known, now);
        Some(seen)
    }

    /// Resolves the spec and its provider to a request and the desired token.
    fn resolve_spec(&mut self, known: Known<'_>) -> Option<Result<DesiredToken, Refusal>> {
        let mut whole = match self.token.spec() {
            Ok(spec) => spec,
            Err(error) => return Some(Err(Refusal::new("InvalidSpec", error))),
        };
        let fit = known.objects.renders.verdict(render_hash(&whole.secret), &whole.secret);
        self.workloads = whole.workloads().unwrap_or_default();
        let (name, lookup) =
            known.providers.registry.lookup(&self.token.key.namespace, &whole, known.stores.scopes.knows_cluster());
        self.provider = Some(name);
        let account = match &lookup {
            Lookup::Found(account) => Some(account),
            Lookup::Unresolved | Lookup::Refused(_) => None,
        };
        let freed = account.and_then(|account| account.admission.as_ref()).map(|admission| &admission.secrets);
        let unreserved = reserved::check(&self.secret_key.name, &whole.secret, freed);
        whole.secret.template = None;
        let spec = self.spec.insert(whole);
        let account = match lookup {
            Lookup::Unresolved => return None,
            Lookup::Refused(refusal) => return Some(Err(refusal)),
            Lookup::Found(account) => account,
        };
        let Some(fit) = fit else {
            self.unjudged = true;
            return None;
        };
        let wanted = admitted(known, &self.token, spec, &account)
            .and_then(|()| unreserved.map_err(|error| Refusal::new("InvalidSpec", error.to_string())))
            .and_then(|()| {
                resolve_spec(spec, &account.spec, fit).map_err(|error| Refusal::new("InvalidSpec", error.to_string()))
            })
            .map(|(request, wanted)| {
                self.request = Some(request);
                wanted
            })
            .and_then(|wanted| {
                let holder = self.secret.as_ref().and_then(|facts| facts.owner);
                match known.stores.tokens.conflicting_claim(&self.token, holder) {
                    None => Ok(wanted),
                    Some(rival) => Err(claimed_by(&rival, &self.secret_key)),
                }
            });
        self.account = Some(account);
        Some(wanted)
    }

    /// Restores the last issuance from the Secret or the status, if an earlier process or another operator made it.
    fn restore_spells(&self, known: Known<'_>) -> Option<UnplannedCalls> {
        // Truncated to whole seconds, like the time that it is compared with.
        let since = known.grants.budgets.open_since()?.trunc_subsecs(0);
        let stored = self.own_secret().map(|(facts, _)| facts.issued_at);
        let issued_at = stored.max(Some(self.token.status.restarted_for))?.time()?;
        (issued_at < since).then(|| UnplannedCalls::restored(issued_at, self.token.generation()))
    }

    /// Restores the last failure from memory or, after a restart, from the status. After a change of the inputs the
    /// failure no longer counts, but only for a limited number of changes.
    fn restore_failure(&mut self, now: Timestamp) {
        let version = self.account.as_ref().map_or(0, |account| account.version);
        let generation = self.token.generation().to_be_bytes();
        let forced = self.token.renew_requested_at.as_deref().unwrap_or_default();
        self.attempt_hash = Hash::of([generation.as_slice(), &version.to_be_bytes(), forced.as_bytes()]).short();
        let status = &self.token.status;
        let reported = status.last_failure.as_deref().filter(|_| status.failed_attempts > 0);
        let (failure, attempts, excused) = match &self.state.last_attempt {
            Some(LastAttempt::Success) => (None, 0, true),
            Some(LastAttempt::Failed { failure, attempts, attempt_hash }) => {
                (Some(failure.clone()), *attempts, *attempt_hash != self.attempt_hash)
            }
            None => {
                let excused = status.observed_generation != self.token.generation();
                (reported.map(|failure| Arc::new(failure.clone())), status.failed_attempts, excused)
            }
        };
        let before = &mut self.before;
        before.restored = self.state.last_attempt.is_none();
        before.excused = excused
            && failure.is_some()
            && before.unplanned_calls.next(Unplanned::Demand, before.generation, now).is_none();
        if !before.excused {
            (self.failure, self.attempts) = (failure, attempts);
        }
    }

    /// Reads the object's state in the queue of its account.
    fn read_queue_state(&mut self, known: Known<'_>, now: Now) {
        let key = &self.token.key;
        let account = self.account.as_ref().map(|account| &account.key);
        self.queue = known.grants.budgets.queue_state(key, account, now);
        if let (QueueState::Waiting(_), Some(account)) = (self.queue, &self.account) {
            let said = account.history().refusal.as_ref().map(|said| said.to(&key.namespace));
            self.block = known.grants.budgets.account_block(&account.key, said.as_deref(), now);
            if self.block.is_none() && known.grants.budgets.lacks_share(key, now) {
                self.block =
                    Some(AccountBlock { reason: "WaitingForBudget", message: NO_SHARE.to_owned(), until: None });
            }
        }
    }

    /// Returns the input of the decision.
    pub(crate) fn view(&self) -> DecisionInput<'_> {
        DecisionInput {
            uid: self.token.uid,
            deleting: self.token.deleting(),
            renew_requested_at: self.token.renew_requested_at.as_deref(),
            status: &self.token.status,
            desired: self.wanted.clone(),
            secret: self.secret_view(),
            old_secret: self.old_secret.as_ref().map(|(_, facts)| &**facts),
            unsaved: self.state.unsaved.as_ref().map(|held| UnsavedTokenView {
                request: held.material.request,
                renew_request: held.material.renew_request.as_deref(),
                issued_at: held.material.issued_at,
                expires_at: held.material.expires_at,
            }),
            failure: self.failure.as_deref(),
            queue: self.queue,
            block: self.block.clone(),
            write_failure: self
                .state
                .write_failure
                .as_ref()
                .filter(|(_, attempt_hash)| *attempt_hash == self.attempt_hash)
                .map(|(failure, _)| failure),
            contest: self.state.contest.as_deref(),
            damaged: self.state.repaired,
            before: self.before,
        }
    }

    fn secret_view(&self) -> SecretView<'_> {
        match &self.secret {
            Some(facts) if facts.owner.is_none() => SecretView::NotOwned,
            Some(facts) => SecretView::Known { facts, data: self.data, owner_gone: self.owner_gone },
            None if self.absent => SecretView::Absent,
            None => SecretView::Unseen,
        }
    }

    /// Returns the facts of the Secret and the state of its data, if the Secret was written for this object.
    pub(crate) fn own_secret(&self) -> Option<(&SecretFacts, DataView)> {
        self.secret.as_deref().filter(|facts| facts.owner == Some(self.token.uid)).map(|facts| (facts, self.data))
    }

    /// Returns the time at which the last token was issued, from the Secret or the status.
    pub(crate) fn issued_before(&self) -> Seconds {
        let there = self.own_secret().map(|(facts, _)| facts.issued_at);
        there.unwrap_or_else(|| self.token.status.restarted_for)
    }

    /// Returns the facts of the Secret that the spec names, if it exists.
    pub(crate) fn secret_facts(&self) -> Option<&Arc<SecretFacts>> {
        self.secret.as_ref()
    }

    /// Returns the last failure and the number of consecutive failures as the status reports them, even if they no
    /// longer count.
    pub(crate) fn reported_failure(&self) -> (Option<&Failure>, u32) {
        match &self.state.last_attempt {
            Some(LastAttempt::Success) => (None, 0),
            Some(LastAttempt::Failed { failure, attempts, .. }) => (Some(failure), *attempts),
            None => (self.token.status.last_failure.as_deref(), self.token.status.failed_attempts),
        }
    }

    /// Returns the back-off of the last failure that still counts.
    pub(crate) fn waited(&self) -> Option<TimeDelta> {
        let failure = self.failure.as_ref()?;
        Some(failure.next_attempt_at? - failure.time)
    }

    /// Returns the version of the Secret that the decision is based on, or `None` if it doesn't exist.
    pub(crate) fn version(&self) -> Option<Version> {
        self.secret.as_ref().map(|facts| facts.version())
    }

    /// Returns the inputs of the events, apart from the statuses.
    pub(crate) fn circumstances(&self) -> Circumstances<'_> {
        Circumstances {
            deleting: self.token.deleting(),
            repaired: self.state.repaired,
            secret_name: &self.secret_key.name,
        }
    }

    /// Returns the Secret part of the spec, with its template.
    pub(crate) fn secret_spec(&self) -> Option<SecretSpec> {
        self.token.spec().ok().map(|spec| spec.secret)
    }
}

fn recent_lookup(token: &Token, state: &ObjectState, now: Timestamp) -> Option<LookupResult> {
    let current =
        state.lookup.as_ref().filter(|probe| probe.of == token.trigger_hash && (now - probe.at).abs() < LOOKUP_TTL);
    current.map(|probe| probe.found.clone())
}

/// Returns the state of the data: as it was read at this version, or as the status records it.
fn data_view(token: &Token, state: &ObjectState, secret: Option<&SecretFacts>, now: Timestamp) -> DataView {
    let Some(facts) = secret else { return DataView::Unverified };
    let contest = state.contest.as_deref();
    match state.data {
        Some((version, data)) if version == facts.resource_version => data,
        _ if token.status.secret_version == facts.resource_version
            && token.status.other_secret.is_none()
            // A status doesn't record the label in a form that can be restored. The next read of the Secret finds it.
            && (!stalled_by(token, OVERRIDDEN) || contest.is_some()) =>
        {
            DataView::Verified
        }
        // During a conflict the last result counts until the Secret may be read again.
        Some((_, data @ (DataView::Altered | DataView::Lost)))
            if contest.is_some_and(|contest| {
                contest.next_repair(now).is_some() && contest.next_inspection(now).is_some()
            }) =>
        {
            data
        }
        _ => DataView::Unverified,
    }
}

/// Adapts other clients' changes and the last write failure to the current Secret and spec. After a restart, a conflict
/// is restored from the status, so that repairs stay slowed down.
fn restore_contest(token: &Token, state: &mut ObjectState, secret: Option<Version>, now: Timestamp) {
    let generation = token.generation();
    state.contest.take_if(|contest| !contest.is_of(generation));
    let since = token.status.conditions[2].since.time().filter(|since| *since <= now);
    let fights = stalled_by(token, CONTESTED) && token.status.observed_generation == generation;
    if state.contest.is_none() && fights {
        state.contest = since.map(|since| Box::new(Contest::restored(generation, since)));
    }
    state.write_failure = state.write_failure.take().map(|(failure, tried)| (failure.for_version(secret), tried));
}

fn stalled_by(token: &Token, reason: &str) -> bool {
    let stalled = &token.status.conditions[2];
    stalled.status == Some(true) && *stalled.reason == *reason
}

/// Returns an error unless the provider's administrator allows the object and its scope.
fn admitted(
    known: Known<'_>,
    token: &Token,
    spec: &VideoAccessTokenSpec,
    account: &ReadyProvider,
) -> Result<(), Refusal> {
    let Some(admission) = &account.admission else { return Ok(()) };
    let namespace = &*token.key.namespace;
    let admitted = known.stores.namespaces.admitted(namespace, &admission.namespaces);
    admission.admits(namespace, admitted, spec).map_err(|error| Refusal::new("NotAllowed", error.to_string()))
}
