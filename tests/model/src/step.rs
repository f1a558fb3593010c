//! One step of one operator: it observes, decides, sends one request, and records the outcome, all by the operator's
//! own functions. What is modelled here is the API server, the token API, and the order of the requests in
//! `src/controller/tokens`.

use crate::real;
use crate::rules::Rules;
use crate::world::{Data, GONE, NAMES, NOBODY, Queue, Secret, Token, World};
use std::sync::{Arc, OnceLock};
use videotoken_core::issue::Class;
use videotoken_core::plan::claim;
use videotoken_core::plan::decide::{Decision, IssueCause, TokenStep};
use videotoken_core::plan::facts::{SecretFacts, StatusFacts};
use videotoken_core::plan::object_state::ObjectState;
use videotoken_core::plan::observe::{ObjectFacts, Observation};
use videotoken_core::plan::status::{StatusInputs, compose};
use videotoken_core::plan::unplanned::UnplannedCalls;
use videotoken_core::plan::view::DataView;
use videotoken_core::plan::write_failure::ApiError;

/// What happens to the request of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It is served.
    Served,
    /// It fails.
    Failed,
    /// It is served and the answer is lost; a call of the token API is rejected for good.
    Lost,
}

/// What an operator knows of an object, and its next step.
pub(crate) struct Seen {
    status: StatusFacts,
    name: u8,
    owner: u8,
    observation: Observation,
    pub(crate) decision: Decision,
}

impl Seen {
    fn object(&self) -> ObjectFacts<'_> {
        object_facts(&self.status, self.name, self.owner)
    }
}

fn object_facts(status: &StatusFacts, name: u8, owner: u8) -> ObjectFacts<'_> {
    ObjectFacts {
        uid: real::uid(owner),
        generation: real::GENERATION,
        trigger_hash: real::TRIGGER,
        deleting: false,
        renew_requested_at: None,
        status,
        secret_key: real::secret_key(name),
    }
}

/// Returns the hash of the inputs of an attempt, which no state of the model changes.
fn attempt_hash() -> u64 {
    static HASH: OnceLock<u64> = OnceLock::new();
    *HASH.get_or_init(|| {
        let status = StatusFacts::default();
        let object = object_facts(&status, 0, 1);
        let mut observation =
            Observation::new(object, ObjectState::default(), |_| None, Vec::new(), |_| true, real::now());
        observation.restore_failure(object, UnplannedCalls::default(), 0, real::now());
        observation.attempt_hash
    })
}

/// Observes an object and decides.
pub(crate) fn see(world: &World, rules: Rules, operator: usize, index: usize) -> Seen {
    let (object, owner) = (world.objects[index], u8::try_from(index).unwrap_or_default() + 1);
    let at = &world.operators[operator];
    let memory = &at.memory[index];
    let status = real::status_facts(object);
    let facts = object_facts(&status, object.name, owner);
    let known = |key: &_| at.store[usize::from(real::name_of(key))].map(|secret| Arc::new(real::facts(secret)));
    let exists = |uid| uid != real::uid(GONE);
    let state = real::state(memory, owner, attempt_hash());
    let is_other =
        |name: &usize| *name != usize::from(object.name) && at.store[*name].is_some_and(|it| it.owner == owner);
    let others = (0..NAMES).filter(is_other).filter_map(|name| u8::try_from(name).ok());
    let others = others.map(|name| real::secret_key(name).clone()).collect();
    let mut observation = Observation::new(facts, state, known, others, exists, real::now());
    observation.restore_failure(facts, UnplannedCalls::default(), 0, real::now());
    let holder = observation.secret.as_ref().and_then(|secret| secret.owner);
    let desired = match rival(world, index, holder) {
        Some(rival) => Err(claim::claimed_by(real::object_key(rival), facts.secret_key)),
        None => Ok(real::desired(object)),
    };
    let input = observation.input(facts, Some(desired), real::queue(memory), None);
    let decision = (rules.decide)(&input, real::now());
    Seen { name: object.name, owner, observation, decision, status }
}

/// Returns the object that has the Secret that this one names, too.
fn rival(world: &World, index: usize, holder: Option<videotoken_core::plan::facts::Uid>) -> Option<usize> {
    let name = world.objects[index].name;
    let naming: Vec<_> = (0..world.objects.len()).filter(|other| world.objects[*other].name == name).collect();
    let claims: Vec<_> = naming.iter().map(|other| ((0, *other as u128), real::object_key(*other).clone())).collect();
    let holder = naming.iter().find(|other| holder == Some(real::uid(u8::try_from(**other).unwrap_or_default() + 1)));
    let holder = holder.map(|other| real::object_key(*other));
    let first = claim::conflicting_claim(real::object_key(index), holder, &claims)?;
    naming.into_iter().find(|other| real::object_key(*other) == first)
}

/// The step of one operator for one object.
pub(crate) struct Step<'a> {
    pub(crate) world: &'a mut World,
    pub(crate) rules: Rules,
    /// Number of events that a watch may hold back.
    pub(crate) capacity: usize,
    /// True if a renewal keeps the previous token, and therefore reads the Secret first.
    pub(crate) keeps_previous: bool,
    pub(crate) operator: usize,
    pub(crate) index: usize,
    pub(crate) outcome: Outcome,
}

/// A step in progress.
struct Running<'a> {
    step: Step<'a>,
    seen: Seen,
    state: ObjectState,
    queue: Queue,
    issued: Option<Token>,
}

impl Step<'_> {
    /// Runs the step. Returns false if the step has no such outcome.
    pub(crate) fn run(self) -> bool {
        let seen = see(self.world, self.rules, self.operator, self.index);
        let applies = match (&seen.decision.step, self.outcome) {
            (_, Outcome::Served) => true,
            (TokenStep::Discard | TokenStep::Enqueue { .. } | TokenStep::Withdraw, _)
            | (TokenStep::Probe | TokenStep::Inspect, Outcome::Lost) => false,
            (_, Outcome::Failed | Outcome::Lost) => true,
        };
        if !applies {
            return false;
        }
        let memory = &self.world.operators[self.operator].memory[self.index];
        let state = real::state(memory, seen.owner, attempt_hash());
        let (queue, before) = (memory.queue, memory.clone());
        let mut running = Running { state, queue, issued: None, seen, step: self };
        running.act();
        let Running { step, seen, state, queue, issued } = running;
        let mut tokens: Vec<_> = [before.unsaved, before.spare, issued].into_iter().flatten().collect();
        tokens.extend(step.world.secrets.iter().flatten().map(|secret| secret.token));
        let mut secrets: Vec<_> = step.world.secrets.iter().flatten().copied().collect();
        secrets.extend(before.lookup.flatten());
        let after = real::memory(&state, queue, &tokens, &secrets);
        let dropped = before.unsaved.filter(|_| after.unsaved.is_none());
        step.world.operators[step.operator].memory[step.index] = after;
        if let Some(token) = dropped {
            step.judge_loss(&seen, token);
        }
        true
    }

    /// Checks that a token that left memory is stored, or no longer of use.
    fn judge_loss(self, seen: &Seen, token: Token) {
        let request = self.world.objects[self.index].request;
        if token.age >= crate::world::DUE || token.request != request {
            return;
        }
        let there = self.world.secrets[usize::from(seen.name)];
        let operator = &self.world.operators[self.operator];
        let lookup = operator.memory[self.index].lookup;
        let known = operator.store[usize::from(seen.name)].map(Some).or(lookup);
        let version = |secret: Option<Secret>| secret.map(|secret| secret.version);
        let is_known = known.is_some_and(|known| version(known) == version(there));
        let is_served = self.world.secrets.iter().flatten().any(|secret| secret.serves(seen.owner, request));
        let is_free = there.is_none_or(|there| there.owner == seen.owner && there.token != token);
        self.world.broken.dropped |= is_known && is_free && !is_served;
    }
}

impl Running<'_> {
    fn act(&mut self) {
        match self.seen.decision.step.clone() {
            TokenStep::Wait => self.write_status(),
            TokenStep::Probe => self.probe(),
            TokenStep::Inspect => self.inspect(),
            TokenStep::Render => self.render(),
            TokenStep::CopyToken => self.copy(),
            TokenStep::DeleteOldSecret => self.delete_old_secret(),
            TokenStep::Store => self.store(),
            TokenStep::Discard => self.discard(),
            TokenStep::Enqueue { .. } => self.queue = Queue::Waiting,
            TokenStep::Withdraw => self.queue = Queue::Out,
            TokenStep::Issue => self.issue(),
        }
    }

    fn there(&self, name: u8) -> Option<Secret> {
        self.step.world.secrets[usize::from(name)]
    }

    fn known(&mut self, name: u8) -> &mut Option<Secret> {
        &mut self.step.world.operators[self.step.operator].store[usize::from(name)]
    }

    fn fail(&mut self, error: &ApiError) {
        let Self { seen, state, .. } = self;
        state.record_write_failure((seen.object(), &seen.observation), error, real::now());
    }

    fn refuse(&mut self) {
        self.fail(&real::error(crate::world::Trouble::Failing));
    }

    /// Records what a GET or a write returned, as `contests::learnt`.
    fn learn(&mut self, name: u8, found: Option<Secret>) {
        let facts = found.map(real::facts);
        let Self { seen, state, step, .. } = self;
        (step.rules.record_secret)(state, seen.object(), real::secret_key(name), facts.as_ref(), real::now());
        *self.known(name) = found.filter(|secret| secret.labelled).map(Secret::metadata);
    }

    fn probe(&mut self) {
        if self.step.outcome != Outcome::Served {
            return self.refuse();
        }
        let found = self.there(self.seen.name).map(real::facts);
        self.state.record_probe(self.seen.object(), found.as_ref(), real::now());
    }

    /// Reads a whole Secret.
    fn read(&mut self, name: u8) -> Option<Secret> {
        let found = self.there(name);
        if found.is_some() {
            self.learn(name, found);
        } else {
            *self.known(name) = None;
            self.state.record_nothing_to_read();
        }
        found
    }

    fn inspect(&mut self) {
        if self.step.outcome != Outcome::Served {
            return self.refuse();
        }
        let Some(secret) = self.read(self.seen.name) else { return };
        let data = match secret.data {
            Data::Lost => (DataView::Lost, true),
            Data::Altered => (DataView::Altered, true),
            Data::Whole if secret.owner == self.seen.owner => (DataView::Verified, false),
            Data::Whole => (DataView::Altered, false),
        };
        let Self { seen, state, .. } = self;
        let version = u64::from(secret.version);
        state.record_inspection((seen.object(), &seen.observation), version, data, None, real::now());
    }

    /// Reads a Secret that is about to be written or copied. Returns it if it is the one of the decision.
    fn read_again(&mut self, name: u8, observed: Option<&SecretFacts>) -> Option<Secret> {
        let secret = self.read(name)?;
        (self.step.rules.is_unchanged)(observed, &real::facts(secret)).then_some(secret)
    }

    fn render(&mut self) {
        if self.step.outcome == Outcome::Failed {
            return self.refuse();
        }
        let observed = self.seen.observation.secret.clone();
        let Some(secret) = self.read_again(self.seen.name, observed.as_deref()) else { return };
        if secret.data == Data::Lost {
            self.state.record_lost(u64::from(secret.version));
        } else {
            self.write(secret.token, Some(secret.version), None);
        }
    }

    fn copy(&mut self) {
        if self.step.outcome == Outcome::Failed {
            return self.refuse();
        }
        let Some((key, observed)) = self.seen.observation.old_secret.clone() else { return };
        let name = real::name_of(&key);
        let Some(secret) = self.read_again(name, Some(&observed)) else { return };
        if secret.data == Data::Lost {
            *self.known(name) = None;
        } else {
            self.write(secret.token, None, None);
        }
    }

    fn delete_old_secret(&mut self) {
        if self.step.outcome == Outcome::Failed {
            return self.refuse();
        }
        let Some((key, observed)) = self.seen.observation.old_secret.clone() else { return };
        let name = real::name_of(&key);
        match self.there(name) {
            Some(secret) if u64::from(secret.version) != observed.resource_version => self.learn(name, Some(secret)),
            found => {
                // another client may have deleted the new Secret without the operator knowing
                let knows_new = self.known(self.seen.name).is_some();
                if let Some(secret) = found {
                    let world = &mut *self.step.world;
                    world.broken.rival |= secret.owner != self.seen.owner;
                    let request = world.objects[self.step.index].request;
                    world.broken.dropped |= secret.serves(self.seen.owner, request) && !knows_new;
                    let version = world.next_version();
                    world.replace(name, None, version, self.step.capacity);
                }
                if self.step.outcome == Outcome::Lost {
                    return self.fail(&real::error(crate::world::Trouble::Unanswered));
                }
                *self.known(name) = None;
            }
        }
    }

    fn store(&mut self) {
        let Some(token) = self.step.world.operators[self.step.operator].memory[self.step.index].unsaved else {
            return self.store_spare();
        };
        self.store_token(token);
    }

    /// Stores the spare token, which the observation offers as unsaved.
    fn store_spare(&mut self) {
        if let Some(token) = self.step.world.operators[self.step.operator].memory[self.step.index].spare {
            self.store_token(token);
        }
    }

    fn store_token(&mut self, token: Token) {
        if self.step.outcome == Outcome::Failed {
            return self.refuse();
        }
        let cause = self.seen.decision.cause;
        let observed = self.seen.observation.secret.clone();
        let mut version = observed.as_ref().map(|observed| rank(observed.resource_version));
        if self.step.keeps_previous && cause == Some(IssueCause::Due) && version.is_some() {
            let Some(secret) = self.read_again(self.seen.name, observed.as_deref()) else { return };
            version = Some(secret.version);
        }
        if self.write(token, version, cause) {
            self.record_stored_token(token, cause);
        }
    }

    fn record_stored_token(&mut self, token: Token, cause: Option<IssueCause>) {
        self.state.record_stored_token(&self.seen.observation, &Arc::new(real::unsaved(token)), cause);
    }

    fn discard(&mut self) {
        let observation = &self.seen.observation;
        match (&observation.state.unsaved, &observation.secret) {
            (Some(unsaved), Some(facts)) if unsaved.is_in(facts, real::uid(self.seen.owner)) => {
                let unsaved = unsaved.clone();
                self.state.record_stored_token(observation, &unsaved, self.seen.decision.cause);
            }
            _ => self.state.discard(),
        }
    }

    /// Reads the metadata of the Secret after a write that may have been served.
    fn look_again(&mut self, cause: Option<IssueCause>) {
        let found = self.there(self.seen.name);
        let facts = found.map(real::facts);
        let unsaved = self.seen.observation.state.unsaved.clone();
        let stored = unsaved
            .filter(|unsaved| facts.as_ref().is_some_and(|facts| unsaved.is_in(facts, real::uid(self.seen.owner))));
        if let Some(unsaved) = stored {
            self.state.record_stored_token(&self.seen.observation, &unsaved, cause);
        }
        self.learn(self.seen.name, found);
    }

    /// Writes the named Secret with this token over this version, or creates it. Returns true if the answer says that
    /// the Secret contains the token.
    fn write(&mut self, token: Token, over: Option<u8>, cause: Option<IssueCause>) -> bool {
        if std::mem::take(&mut self.state.unanswered) {
            self.look_again(cause);
            return false;
        }
        let (name, there) = (self.seen.name, self.there(self.seen.name));
        if self.step.rules.guarded && there.map(|there| there.version) != over {
            let Self { seen, state, .. } = self;
            let basis = (seen.object(), &seen.observation);
            state.record_write(basis, Some(&ApiError::Conflict), cause, real::now());
            self.look_again(cause);
            if (self.step.rules.record_conflict)(&mut self.state) {
                self.fail(&ApiError::Conflict);
            }
            return false;
        }
        let stored = self.put(name, there, token);
        if self.step.outcome == Outcome::Lost {
            self.fail(&real::error(crate::world::Trouble::Unanswered));
            return false;
        }
        let Self { seen, state, .. } = self;
        state.record_write((seen.object(), &seen.observation), None, cause, real::now());
        self.learn(name, Some(stored));
        let Self { seen, state, .. } = self;
        let version = real::facts(stored).version();
        state.record_stored_secret(
            (seen.object(), &seen.observation),
            version,
            (DataView::Verified, None),
            real::now(),
        );
        true
    }

    /// The API server stores the Secret. Judges what is overwritten.
    fn put(&mut self, name: u8, there: Option<Secret>, token: Token) -> Secret {
        let world = &mut *self.step.world;
        let request = world.objects[self.step.index].request;
        if let Some(there) = there {
            let broken = &mut world.broken;
            let is_adoptable = there.owner == GONE && there.token.request == request;
            broken.foreign |= there.owner == NOBODY || (there.owner == GONE && !is_adoptable);
            broken.rival |= there.owner != self.seen.owner && there.owner != NOBODY && there.owner != GONE;
            let serves = there.serves(self.seen.owner, request);
            broken.older |= serves && there.token.id > token.id;
        }
        let version = world.next_version();
        let secret = Secret { version, owner: self.seen.owner, token, data: Data::Whole, labelled: true };
        world.replace(name, Some(secret), version, self.step.capacity);
        secret
    }

    fn issue(&mut self) {
        let world = &mut *self.step.world;
        let request = world.objects[self.step.index].request;
        let there = world.secrets[usize::from(self.seen.name)];
        let stands = there.is_some_and(|there| there.serves(self.seen.owner, request));
        let version = self.seen.observation.secret.as_ref().map(|secret| rank(secret.resource_version));
        let is_current = there.map(|there| there.version) == version;
        let unsaved = world.operators[self.step.operator].memory[self.step.index].unsaved;
        let has_token = unsaved.is_some_and(|token| token.request == request && token.age < crate::world::DUE);
        world.broken.call |= self.seen.decision.cause.is_none() || has_token || (stands && is_current);
        world.broken.needless |= stands && world.operators.len() == 1;
        self.queue = Queue::Out;
        match self.step.outcome {
            Outcome::Served => {
                let token = Token { age: 0, id: world.next_token(), request };
                self.issued = Some(token);
                self.state.record_issued(real::unsaved(token));
            }
            Outcome::Failed => {
                self.state.record_issue_failure(&self.seen.observation, real::call_failure(Class::Transient));
            }
            Outcome::Lost => {
                self.state.record_issue_failure(&self.seen.observation, real::call_failure(Class::Configuration));
            }
        }
    }

    /// Writes the status, as `status_writer`.
    fn write_status(&mut self) {
        let Self { seen, state, step, .. } = self;
        let object = step.world.objects[step.index];
        let inputs = StatusInputs {
            generation: real::GENERATION,
            provider: None,
            secret_name: &real::secret_key(seen.name).name,
            issued: seen.observation.state.issued,
            failed_attempts: 0,
            failure: None,
            expiry_assumed: false,
            excess: None,
            restarted_for: None,
        };
        let memory = &step.world.operators[step.operator].memory[step.index];
        let desired = Some(Ok(real::desired(object)));
        let input = seen.observation.input(seen.object(), desired, real::queue(memory), None);
        let composed = compose(&input, &seen.decision, &inputs, real::now());
        let known = step.world.operators[step.operator].store[usize::from(seen.name)];
        let token = known.or(memory.lookup.flatten()).map(|secret| secret.token);
        let new = real::status(&composed, token);
        if seen.decision.is_on_its_way() && new.ready == object.status.ready {
            return;
        }
        if step.outcome == Outcome::Failed {
            state.record_status_failure();
            return;
        }
        step.world.objects[step.index].status = new;
        if step.outcome == Outcome::Served {
            state.record_status(&seen.observation, &seen.decision, new.ready, None, real::now());
        }
    }
}

fn rank(version: u64) -> u8 {
    u8::try_from(version).unwrap_or_default()
}
