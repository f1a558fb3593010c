//! Collects all inputs of a decision into one snapshot.

use crate::controller::context::Known;
use crate::controller::providers::registry::{Lookup, ReadyProvider};
use crate::controller::stores::token::Token;
use chrono::{SubsecRound, TimeDelta};
use std::sync::Arc;
use videotoken_api::key::ObjectKey;
use videotoken_api::request::TokenRequest;
use videotoken_api::reserved;
use videotoken_api::secret::SecretSpec;
use videotoken_api::video_access_token::VideoAccessTokenSpec;
use videotoken_api::workload::Workload;
use videotoken_core::plan::claim::claimed_by;
use videotoken_core::plan::desired::resolve_spec;
use videotoken_core::plan::facts::{Failure, Seconds, SecretFacts};
use videotoken_core::plan::observe::{ObjectFacts, Observation};
use videotoken_core::plan::secret::render_hash;
use videotoken_core::plan::transitions::Circumstances;
use videotoken_core::plan::unplanned::UnplannedCalls;
use videotoken_core::plan::view::{AccountBlock, DataView, DecisionInput, DesiredToken, QueueState, Refusal};
use videotoken_providers::clock::Now;

/// Text for an object whose namespace has used up its share.
const NO_SHARE: &str = "The namespace has used its share of a window of spec.limits with unscheduled calls (lost tokens, \
    edits, requested renewals). The operator makes the call when the share allows it, or shortly before the token expires.";

/// An object with everything that it refers to, at one time.
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
    /// The resolved spec, or the reason why it is rejected. `None` if the provider isn't resolved yet.
    pub(crate) desired: Option<Result<DesiredToken, Refusal>>,
    /// The Secret that the spec names.
    pub(crate) secret_key: ObjectKey,
    /// In-memory state of the object and its Secrets.
    pub(crate) observation: Observation,
    /// The token request and the desired token, from the specs of object and provider. Admission and claims of the
    /// Secret are not applied yet: see `desired`.
    resolved: Option<Result<(TokenRequest, DesiredToken), Refusal>>,
    queue: QueueState,
    block: Option<AccountBlock>,
}

/// The spec of one version of an object, resolved with one version of its provider: a reconcile keeps it between its
/// steps.
pub(crate) struct ResolvedSpec {
    token: Arc<Token>,
    account: Arc<ReadyProvider>,
    spec: VideoAccessTokenSpec,
    workloads: Vec<Workload>,
    resolved: Result<(TokenRequest, DesiredToken), Refusal>,
}

impl ObservedToken {
    /// Observes the object. Returns `None` if it is deleted. `before` is the spec as an earlier step resolved it.
    pub(crate) fn observe(known: Known<'_>, key: &ObjectKey, before: Option<ResolvedSpec>, now: Now) -> Option<Self> {
        let token = known.stores.tokens.get(key)?;
        let secret_key = token.secret_key();
        let observation = Observation::new(
            token.facts(&secret_key),
            known.objects.states.get_of(key, token.uid),
            |secret| known.stores.secrets.get(secret),
            known.stores.secrets.others_of(token.uid, &secret_key),
            |owner| known.stores.tokens.has_uid(&token.key.namespace, owner),
            now.wall,
        );
        let mut seen = ObservedToken {
            spec: None,
            unjudged: false,
            provider: None,
            account: None,
            workloads: Vec::new(),
            desired: None,
            secret_key,
            observation,
            resolved: None,
            queue: QueueState::None,
            block: None,
            token,
        };
        seen.desired = seen.resolve_spec(known, before);
        let calls =
            known.objects.states.unplanned_calls(key, seen.token.uid).or_else(|| seen.restore_unplanned_calls(known));
        let account = seen.account.as_ref().map_or(0, |account| account.version);
        let object = seen.token.facts(&seen.secret_key);
        seen.observation.restore_failure(object, calls.unwrap_or_default(), account, now.wall);
        seen.read_queue_state(known, now);
        Some(seen)
    }

    /// Returns the request to the token API, if the specs make one.
    pub(crate) fn request(&self) -> Option<&TokenRequest> {
        self.resolved.as_ref()?.as_ref().ok().map(|(request, _)| request)
    }

    /// Returns the resolved spec for the next step.
    pub(crate) fn into_resolved(self) -> Option<ResolvedSpec> {
        let Self { token, account, spec, workloads, resolved, .. } = self;
        Some(ResolvedSpec { token, account: account?, spec: spec?, workloads, resolved: resolved? })
    }

    /// Resolves the spec and its provider to a request and the desired token.
    fn resolve_spec(
        &mut self,
        known: Known<'_>,
        before: Option<ResolvedSpec>,
    ) -> Option<Result<DesiredToken, Refusal>> {
        let (mut whole, kept) = match before.filter(|before| Arc::ptr_eq(&before.token, &self.token)) {
            Some(ResolvedSpec { spec, workloads, account, resolved, .. }) => {
                self.workloads = workloads;
                (spec, Some((account, resolved)))
            }
            None => match self.token.spec() {
                Ok(spec) => {
                    self.workloads = spec.workloads().unwrap_or_default();
                    (spec, None)
                }
                Err(error) => return Some(Err(Refusal::new("InvalidSpec", error))),
            },
        };
        let (name, lookup) =
            known.providers.registry.lookup(&self.token.key.namespace, &whole, known.stores.scopes.knows_cluster());
        self.provider = Some(name);
        let resolved = match (&lookup, kept) {
            (_, None) => self.resolve_with(known, &whole, &lookup),
            (Lookup::Found(account), Some((of, resolved))) if Arc::ptr_eq(account, &of) => Some(resolved),
            // The provider has changed between two steps, and the kept spec has no template.
            (_, Some(_)) => return self.resolve_spec(known, None),
        };
        whole.secret.template = None;
        let spec = self.spec.insert(whole);
        let account = match lookup {
            Lookup::Unresolved => return None,
            Lookup::Refused(refusal) => return Some(Err(refusal)),
            Lookup::Found(account) => account,
        };
        let Some(resolved) = resolved else {
            self.unjudged = true;
            return None;
        };
        let desired = admitted(known, &self.token, spec, &account)
            .and_then(|()| resolved.as_ref().map(|(_, desired)| desired.clone()).map_err(Clone::clone))
            .and_then(|desired| {
                let holder = self.observation.secret.as_ref().and_then(|facts| facts.owner);
                match known.stores.tokens.conflicting_claim(&self.token, holder) {
                    None => Ok(desired),
                    Some(rival) => Err(claimed_by(&rival, &self.secret_key)),
                }
            });
        self.resolved = Some(resolved);
        self.account = Some(account);
        Some(desired)
    }

    /// Resolves the whole spec with the provider. Returns `None` if its templates have not been rendered yet, or if
    /// there is no provider.
    fn resolve_with(
        &self,
        known: Known<'_>,
        whole: &VideoAccessTokenSpec,
        lookup: &Lookup,
    ) -> Option<Result<(TokenRequest, DesiredToken), Refusal>> {
        let Lookup::Found(account) = lookup else { return None };
        let fit = known.objects.renders.verdict(render_hash(&whole.secret), &whole.secret)?;
        let freed = account.admission.as_ref().map(|admission| &admission.secrets);
        let resolved = reserved::check(&self.secret_key.name, &whole.secret, freed)
            .and_then(|()| resolve_spec(whole, &account.spec, fit, account.issuer.key_fingerprint().as_deref()))
            .map_err(|error| Refusal::new("InvalidSpec", error.to_string()));
        Some(resolved)
    }

    /// Counts the last issuance, by the Secret or the status, as an unplanned call if an earlier process or another
    /// operator made it.
    fn restore_unplanned_calls(&self, known: Known<'_>) -> Option<UnplannedCalls> {
        // Truncated to whole seconds, like the time that it is compared with.
        let since = known.grants.budgets.open_since()?.trunc_subsecs(0);
        let stored = self.own_secret().map(|(facts, _)| facts.issued_at);
        let issued_at = stored.max(Some(self.token.status.restarted_for))?.time()?;
        (issued_at < since).then(|| UnplannedCalls::restored(issued_at, self.token.generation()))
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
        self.observation.input(self.token.facts(&self.secret_key), self.desired.clone(), self.queue, self.block.clone())
    }

    /// Returns the facts of the Secret and the state of its data, if the Secret was written for this object.
    pub(crate) fn own_secret(&self) -> Option<(&SecretFacts, DataView)> {
        self.observation
            .secret
            .as_deref()
            .filter(|facts| facts.owner == Some(self.token.uid))
            .map(|facts| (facts, self.observation.data))
    }

    /// Returns the time at which the last token was issued, from the Secret or the status. `restartedFor` in the status is
    /// the issue time of the token for which workloads were restarted, else `issuedAt`.
    pub(crate) fn issued_before(&self) -> Seconds {
        let there = self.own_secret().map(|(facts, _)| facts.issued_at);
        there.unwrap_or_else(|| self.token.status.restarted_for)
    }

    /// Returns the facts of the Secret that the spec names, if it exists.
    pub(crate) fn secret_facts(&self) -> Option<&Arc<SecretFacts>> {
        self.observation.secret.as_ref()
    }

    /// Returns the object and what memory knew of it, as the outcomes of requests take them.
    pub(crate) fn basis(&self) -> (ObjectFacts<'_>, &Observation) {
        (self.token.facts(&self.secret_key), &self.observation)
    }

    /// Returns the last failure and the number of consecutive failures as the status reports them, even if they no
    /// longer count.
    pub(crate) fn reported_failure(&self) -> (Option<&Failure>, u32) {
        self.observation.reported_failure(&self.token.status)
    }

    /// Returns the back-off of the last failure that still counts.
    pub(crate) fn waited(&self) -> Option<TimeDelta> {
        let failure = self.observation.failure.as_ref()?;
        Some(failure.next_attempt_at? - failure.time)
    }

    /// Returns the inputs of the events, apart from the statuses.
    pub(crate) fn circumstances(&self) -> Circumstances<'_> {
        Circumstances {
            deleting: self.token.deleting(),
            repaired: self.observation.state.repaired,
            secret_name: &self.secret_key.name,
        }
    }

    /// Returns the Secret part of the spec, with its template.
    pub(crate) fn secret_spec(&self) -> Option<SecretSpec> {
        self.token.spec().ok().map(|spec| spec.secret)
    }
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
