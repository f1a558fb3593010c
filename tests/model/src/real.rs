//! Between ranks and the operator's own types: what a decision takes, made from a world, and what an outcome changes,
//! put back.

use crate::world::{Attempt, Data, Memory, NOBODY, Object, Queue, Secret, Status, Token, Trouble, View};
use chrono::{DateTime, TimeDelta};
use std::sync::{Arc, OnceLock};
use videotoken_api::Timestamp;
use videotoken_api::key::ObjectKey;
use videotoken_api::video_access_token::{RenewBefore, VideoAccessTokenStatus};
use videotoken_core::issue::Class;
use videotoken_core::plan::contest::CONTESTED;
use videotoken_core::plan::facts::{ConditionFacts, Failure, Seconds, SecretFacts, StatusFacts, Uid};
use videotoken_core::plan::hash::Hash;
use videotoken_core::plan::object_state::{LastAttempt, LookupResult, Notes, ObjectState, SecretLookup, UnsavedToken};
use videotoken_core::plan::secret::TokenRecord;
use videotoken_core::plan::view::{DataView, DesiredToken, QueueState, Wait, WriteFailure};
use videotoken_core::plan::write_failure::{ApiError, write_failure};

/// A third of the lifetime of a token. Every wait for a retry, a lookup or a conflict is shorter.
const THIRD: i64 = 1200;
/// UIDs of Secrets don't matter, since a version belongs to one Secret.
const SECRET: Uid = Uid(1000);
/// Hash of an object's spec in lookups. An edit drops the lookups instead.
pub(crate) const TRIGGER: u64 = 7;
/// `metadata.generation` of an object that was edited before. An edit drops what depends on it instead.
pub(crate) const GENERATION: i64 = 2;

/// Values that every state shares.
struct Constants {
    now: Timestamp,
    requests: [Hash; 2],
    render: Hash,
    keys: [ObjectKey; 2],
    objects: [ObjectKey; 2],
}

fn constants() -> &'static Constants {
    static CONSTANTS: OnceLock<Constants> = OnceLock::new();
    CONSTANTS.get_or_init(|| Constants {
        now: DateTime::from_timestamp(1_790_000_000, 0).unwrap_or_default(),
        requests: [Hash::of([b"0".as_slice()]), Hash::of([b"1".as_slice()])],
        render: Hash::of([b"render".as_slice()]),
        keys: ["first", "second"].map(|name| ObjectKey::new("namespace", name)),
        objects: ["a", "b"].map(|name| ObjectKey::new("namespace", name)),
    })
}

/// The time of every decision. Ages grow instead.
pub(crate) fn now() -> Timestamp {
    constants().now
}

pub(crate) fn secret_key(name: u8) -> &'static ObjectKey {
    &constants().keys[usize::from(name)]
}

pub(crate) fn object_key(object: usize) -> &'static ObjectKey {
    &constants().objects[object]
}

pub(crate) fn name_of(key: &ObjectKey) -> u8 {
    u8::from(*key == constants().keys[1])
}

pub(crate) fn uid(owner: u8) -> Uid {
    Uid(u128::from(owner))
}

/// Issue time and expiry. A token of a higher rank is issued a second later.
fn times(token: Token) -> (Timestamp, Timestamp) {
    let issued_at = now() - TimeDelta::seconds(i64::from(token.age) * THIRD + 60 - i64::from(token.id));
    (issued_at, issued_at + TimeDelta::seconds(3 * THIRD))
}

pub(crate) fn facts(secret: Secret) -> SecretFacts {
    let is_managed = secret.owner != NOBODY;
    let (issued_at, expires_at) = times(secret.token);
    let seconds = |at: Timestamp| if is_managed { Seconds::from(at) } else { Seconds::default() };
    SecretFacts {
        uid: SECRET,
        uid_text: Box::default(),
        resource_version: u64::from(secret.version),
        owner: is_managed.then(|| uid(secret.owner)),
        issued_at: seconds(issued_at),
        expires_at: seconds(expires_at),
        request: is_managed.then(|| constants().requests[usize::from(secret.token.request)]),
        render: is_managed.then_some(constants().render),
        content: None,
        renew_request: None,
        previous_expires_at: Seconds::default(),
        returned_again: false,
        labelled: secret.labelled,
        deleting: false,
        controlled: false,
    }
}

pub(crate) fn desired(object: Object) -> DesiredToken {
    DesiredToken {
        request: constants().requests[usize::from(object.request)],
        render: constants().render,
        renew_before: RenewBefore::Default,
        suspend: false,
        max_lifetime: TimeDelta::seconds(3 * THIRD),
        ends_at: None,
    }
}

pub(crate) fn status_facts(object: Object) -> StatusFacts {
    let status = object.status;
    let expires_at = status.age.map(|age| times(Token { age, id: 0, request: 0 }).1);
    let mut facts = StatusFacts {
        observed_generation: GENERATION,
        expires_at: expires_at.into(),
        secret_version: u64::from(status.version),
        other_secret: status.name.filter(|name| *name != object.name).map(|name| (&*secret_key(name).name).into()),
        issuances: u32::from(status.issued),
        ..StatusFacts::default()
    };
    if status.contested {
        facts.conditions[2] = ConditionFacts { status: Some(true), reason: CONTESTED.into(), since: now().into() };
    }
    facts
}

/// Returns the facts of a composed status that the next decisions read. `token` is the token in the Secret.
pub(crate) fn status(status: &VideoAccessTokenStatus, token: Option<Token>) -> Status {
    let condition = |at: usize| &status.conditions[at];
    let is_true = |at: usize| condition(at).status == videotoken_api::condition::ConditionStatus::True;
    let version = status.secret_resource_version.as_deref().and_then(|version| version.parse().ok());
    Status {
        version: version.unwrap_or_default(),
        name: status.secret_name.as_deref().map(|name| u8::from(*name == *secret_key(1).name)),
        age: status.expires_at.and(token).map(|token| token.age),
        issued: status.issuances > 0,
        ready: is_true(0),
        contested: is_true(2) && condition(2).reason == CONTESTED,
    }
}

pub(crate) fn queue(memory: &Memory) -> QueueState {
    match memory.queue {
        Queue::Out => QueueState::None,
        Queue::Waiting => QueueState::Waiting(Wait { since: now(), in_crowd: false }),
        Queue::Granted => QueueState::Granted,
    }
}

/// Returns an issued token with its record.
pub(crate) fn unsaved(token: Token) -> UnsavedToken {
    let (issued_at, expires_at) = times(token);
    let request = constants().requests[usize::from(token.request)];
    let token = String::new().into();
    let record = TokenRecord {
        token,
        values: std::collections::BTreeMap::new(),
        issued_at,
        expires_at,
        request,
        renew_request: None,
        previous: None,
        returned_again: false,
    };
    UnsavedToken { record, notes: Notes::default() }
}

fn token(unsaved: &UnsavedToken, among: &[Token]) -> Option<Token> {
    among.iter().copied().find(|token| {
        let (issued_at, _) = times(*token);
        unsaved.record.issued_at == issued_at
            && unsaved.record.request == constants().requests[usize::from(token.request)]
    })
}

pub(crate) fn error(trouble: Trouble) -> ApiError {
    match trouble {
        Trouble::Failing => ApiError::Failing(String::new()),
        Trouble::Unanswered => ApiError::Unanswered(String::new()),
        Trouble::Conflict => ApiError::Conflict,
    }
}

fn failure_of(trouble: Trouble, failures: u8) -> WriteFailure {
    write_failure(&error(trouble), u32::from(failures.max(1)), None, None, now(), uid(1))
}

pub(crate) fn call_failure(class: Class) -> Failure {
    Failure {
        time: now(),
        class,
        reason: "Refused".to_owned(),
        message: String::new(),
        request_id: None,
        next_attempt_at: Some(now() + TimeDelta::seconds(1)),
    }
}

/// Returns the operator's own state for this memory. `attempt_hash` is the one of the object's current inputs.
pub(crate) fn state(memory: &Memory, owner: u8, attempt_hash: u64) -> ObjectState {
    let failed = |class| LastAttempt::Failed { failure: Arc::new(call_failure(class)), attempts: 1, attempt_hash };
    ObjectState {
        of: uid(owner),
        unsaved: memory.unsaved.map(|token| Arc::new(unsaved(token))),
        spare: memory.spare.map(|token| Arc::new(unsaved(token))),
        data: memory.data.map(|(version, view)| (u64::from(version), view.into())),
        lookup: memory.lookup.map(|found| SecretLookup {
            at: now(),
            of: TRIGGER,
            found: LookupResult::from(found.map(facts).as_ref()),
        }),
        last_attempt: match memory.attempt {
            Attempt::None => None,
            Attempt::Issued => Some(LastAttempt::Success),
            Attempt::Failed => Some(failed(Class::Transient)),
            Attempt::Rejected => Some(failed(Class::Configuration)),
        },
        write_failure: memory.trouble.map(|trouble| (failure_of(trouble, memory.failures), attempt_hash)),
        write_failures: u32::from(memory.failures),
        unanswered: memory.unanswered,
        issued: u32::from(memory.issued),
        repaired: memory.repaired,
        contest: memory.contest.clone(),
        ..ObjectState::default()
    }
}

/// Returns the finite form of a state. `tokens` are the tokens that it can contain, `secrets` the Secrets.
pub(crate) fn memory(state: &ObjectState, queue: Queue, tokens: &[Token], secrets: &[Secret]) -> Memory {
    let trouble = |failure: &WriteFailure| match (failure.met.is_some(), &*failure.message) {
        (true, _) => Trouble::Conflict,
        (false, message) if message == error(Trouble::Unanswered).to_string() => Trouble::Unanswered,
        (false, _) => Trouble::Failing,
    };
    let view = |data| match data {
        DataView::Verified => Some(View(Data::Whole)),
        DataView::Altered => Some(View(Data::Altered)),
        DataView::Lost => Some(View(Data::Lost)),
        DataView::Unverified | DataView::NotWritable(_) => None,
    };
    let found = |facts: &SecretFacts| {
        secrets.iter().copied().find(|secret| u64::from(secret.version) == facts.resource_version)
    };
    let rank = |version: u64| u8::try_from(version).unwrap_or_default();
    Memory {
        unsaved: state.unsaved.as_ref().and_then(|unsaved| token(unsaved, tokens)),
        spare: state.spare.as_ref().and_then(|unsaved| token(unsaved, tokens)),
        data: state.data.and_then(|(version, data)| Some((rank(version), view(data)?))),
        lookup: state.lookup.as_ref().map(|lookup| match &lookup.found {
            LookupResult::Nothing => None,
            LookupResult::Secret(facts) => found(facts).map(Secret::metadata),
        }),
        attempt: match &state.last_attempt {
            None => Attempt::None,
            Some(LastAttempt::Success) => Attempt::Issued,
            Some(LastAttempt::Failed { failure, .. }) if failure.class == Class::Configuration => Attempt::Rejected,
            Some(LastAttempt::Failed { .. }) => Attempt::Failed,
        },
        trouble: state.write_failure.as_ref().map(|(failure, _)| trouble(failure)),
        failures: rank(u64::from(state.write_failures.min(4))),
        unanswered: state.unanswered,
        issued: state.issued > 0,
        repaired: state.repaired,
        contest: state.contest.clone(),
        queue,
    }
}
