//! The state of a world: Secrets, VideoAccessTokens, and what each operator knows.
//!
//! Every number is a rank or an age, so that the set of states is finite: after each step, versions and tokens are
//! numbered anew in their order, and what nothing can refer to any more is dropped.

use videotoken_core::plan::contest::Contest;
use videotoken_core::plan::view::DataView;

/// Number of names for Secrets.
pub const NAMES: usize = 2;
/// Owner of a Secret that isn't managed.
pub const NOBODY: u8 = 0;
/// Owner that no longer exists.
pub const GONE: u8 = 9;
/// Age from which a token is due, in thirds of its lifetime.
pub const DUE: u8 = 2;
/// Age from which a token is expired.
pub const EXPIRED: u8 = 3;
/// Version that no Secret has any more.
pub const OLD_VERSION: u8 = 1;

/// A token, as the annotations of its Secret describe it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token {
    /// Age in thirds of the lifetime.
    pub age: u8,
    /// Rank in the order of issuance.
    pub id: u8,
    /// Token request that it was issued for.
    pub request: u8,
}

/// Data of a Secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Data {
    /// As the operator wrote it.
    Whole,
    /// The token is unchanged, other data is not.
    Altered,
    /// The token is lost.
    Lost,
}

/// A Secret. An operator knows its metadata only, so `data` is [`Data::Whole`] there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Secret {
    /// `resourceVersion`; no two versions of any Secrets share it.
    pub version: u8,
    /// VideoAccessToken that it was written for.
    pub owner: u8,
    /// Token that its annotations describe.
    pub token: Token,
    /// State of its data.
    pub data: Data,
    /// True if it has the label that the watch selects.
    pub labelled: bool,
}

impl Secret {
    /// Returns the metadata.
    #[must_use]
    pub fn metadata(self) -> Self {
        Self { data: Data::Whole, ..self }
    }

    /// Returns true if it contains a token for this object and request that isn't due.
    pub fn serves(self, owner: u8, request: u8) -> bool {
        self.owner == owner && self.data != Data::Lost && self.token.age < DUE && self.token.request == request
    }
}

/// An event of the watch: the metadata of a Secret, or the version of a deletion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Event {
    /// The Secret was created or changed.
    Put(u8, Secret),
    /// The Secret was deleted or lost the label.
    Deleted(u8, u8),
}

/// Failed request to the API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Trouble {
    /// The API server rejected the request.
    Failing,
    /// No response arrived.
    Unanswered,
    /// The Secret had changed.
    Conflict,
}

/// Place in the queue of the account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Queue {
    /// Not in the queue.
    #[default]
    Out,
    /// Waiting for a grant.
    Waiting,
    /// Granted.
    Granted,
}

/// Last call of the token API.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Attempt {
    /// No call since the last status.
    #[default]
    None,
    /// A token was issued.
    Issued,
    /// The call failed, and the next one has to wait.
    Failed,
    /// The provider rejected the request, and the next call has to wait.
    Rejected,
}

/// In-memory state of one object at one operator, in ranks: the finite form of
/// [`ObjectState`](videotoken_core::plan::object_state::ObjectState).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Memory {
    pub(crate) unsaved: Option<Token>,
    pub(crate) spare: Option<Token>,
    pub(crate) data: Option<(u8, View)>,
    pub(crate) lookup: Option<Option<Secret>>,
    pub(crate) attempt: Attempt,
    pub(crate) trouble: Option<Trouble>,
    pub(crate) failures: u8,
    pub(crate) unanswered: bool,
    pub(crate) issued: bool,
    pub(crate) repaired: bool,
    pub(crate) contest: Option<Box<Contest>>,
    pub(crate) queue: Queue,
}

/// State of the data, as an inspection found it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct View(pub(crate) Data);

impl From<View> for DataView {
    fn from(view: View) -> Self {
        match view.0 {
            Data::Whole => Self::Verified,
            Data::Altered => Self::Altered,
            Data::Lost => Self::Lost,
        }
    }
}

/// An operator.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Operator {
    /// Managed Secrets that it knows, by name.
    pub(crate) store: [Option<Secret>; NAMES],
    /// Events of the watch that it hasn't received.
    pub(crate) inbox: Vec<Event>,
    /// State of each object.
    pub(crate) memory: Vec<Memory>,
}

impl Operator {
    /// Returns an operator that has just listed the managed Secrets.
    pub fn started(secrets: &[Option<Secret>; NAMES], objects: usize) -> Self {
        let store = secrets.map(|secret| secret.filter(|secret| secret.labelled).map(Secret::metadata));
        Self { store, inbox: Vec::new(), memory: vec![Memory::default(); objects] }
    }

    /// Receives the oldest event of the watch, as the store of Secrets takes it: an older version than the known one
    /// changes nothing.
    pub fn receive(&mut self) {
        if self.inbox.is_empty() {
            return;
        }
        match self.inbox.remove(0) {
            Event::Put(name, secret) => {
                let known = &mut self.store[usize::from(name)];
                if known.is_none_or(|known| known.version < secret.version) {
                    *known = Some(secret);
                }
            }
            Event::Deleted(name, version) => {
                self.store[usize::from(name)].take_if(|known| known.version <= version);
            }
        }
    }
}

/// Status of an object, as far as decisions depend on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Status {
    /// `secretResourceVersion`; 0 is none.
    pub version: u8,
    /// `secretName`.
    pub name: Option<u8>,
    /// Age of the token that it reports.
    pub age: Option<u8>,
    /// True if `issuances` is above zero.
    pub issued: bool,
    /// Condition Ready.
    pub ready: bool,
    /// True if `Stalled` has the reason `SecretContested`.
    pub contested: bool,
}

/// A VideoAccessToken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Object {
    /// Name of the Secret in the spec.
    pub name: u8,
    /// Token request of the spec.
    pub request: u8,
    /// Its status.
    pub status: Status,
}

/// What the last step broke.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Violations {
    /// A Secret that isn't managed, or whose object is gone and had another request, was written.
    pub foreign: bool,
    /// A Secret of another object was written or deleted.
    pub rival: bool,
    /// A token replaced a newer one.
    pub older: bool,
    /// A token was issued although one was in memory or in a Secret that the operator knew as it was.
    pub call: bool,
    /// A single operator issued a token although the Secret contained one that serves.
    pub needless: bool,
    /// A token that serves was lost from memory or deleted, and no other one replaces it.
    pub dropped: bool,
}

impl Violations {
    /// Returns true if anything is broken.
    pub fn any(self) -> bool {
        self != Self::default()
    }
}

/// A state of the world.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    /// Secrets by name, as the API server has them.
    pub secrets: [Option<Secret>; NAMES],
    /// All objects. The owner of a Secret is the index plus one.
    pub objects: Vec<Object>,
    /// All operators.
    pub operators: Vec<Operator>,
    /// Faults that may still happen; 255 is without end.
    pub faults: u8,
    /// What the last step broke. Nothing follows from such a state.
    pub broken: Violations,
}

impl World {
    fn each_secret(&mut self, change: &mut dyn FnMut(&mut Secret)) {
        self.secrets.iter_mut().flatten().for_each(&mut *change);
        for operator in &mut self.operators {
            operator.store.iter_mut().flatten().for_each(&mut *change);
            for event in &mut operator.inbox {
                if let Event::Put(_, secret) = event {
                    change(secret);
                }
            }
            for memory in &mut operator.memory {
                memory.lookup.iter_mut().flatten().for_each(&mut *change);
            }
        }
    }

    /// Changes each token that a Secret or an operator has.
    pub fn each_token(&mut self, change: &mut dyn FnMut(&mut Token)) {
        self.each_secret(&mut |secret| {
            if secret.owner != NOBODY {
                change(&mut secret.token);
            }
        });
        for memory in self.operators.iter_mut().flat_map(|operator| &mut operator.memory) {
            memory.unsaved.iter_mut().chain(&mut memory.spare).for_each(&mut *change);
        }
    }

    fn each_version(&mut self, change: &mut dyn FnMut(&mut u8)) {
        self.each_secret(&mut |secret| change(&mut secret.version));
        for operator in &mut self.operators {
            for event in &mut operator.inbox {
                if let Event::Deleted(_, version) = event {
                    change(version);
                }
            }
            operator
                .memory
                .iter_mut()
                .filter_map(|memory| memory.data.as_mut())
                .for_each(|(version, _)| change(version));
        }
        self.objects.iter_mut().for_each(|object| change(&mut object.status.version));
    }

    /// Returns the version after all others.
    pub fn next_version(&mut self) -> u8 {
        let mut last = OLD_VERSION;
        self.each_version(&mut |version| last = last.max(*version));
        last + 1
    }

    /// Returns the rank of the next token.
    pub fn next_token(&mut self) -> u8 {
        let mut last = 0;
        self.each_token(&mut |token| last = last.max(token.id));
        last + 1
    }

    /// Numbers versions and tokens anew, and drops versions that no Secret and no view of one has.
    pub fn renumber(&mut self) {
        let mut present = [false; 256];
        self.each_secret(&mut |secret| present[usize::from(secret.version)] = true);
        for memory in self.operators.iter_mut().flat_map(|operator| &mut operator.memory) {
            let is_contested = memory.contest.is_some();
            memory.data.take_if(|(version, _)| !present[usize::from(*version)] && !is_contested);
            if let Some((version, _)) = memory.data.as_mut().filter(|(version, _)| !present[usize::from(*version)]) {
                *version = OLD_VERSION;
            }
        }
        for status in self.objects.iter_mut().map(|object| &mut object.status) {
            if status.version != 0 && !present[usize::from(status.version)] {
                status.version = OLD_VERSION;
            }
        }
        let mut versions = [false; 256];
        self.each_version(&mut |version| versions[usize::from(*version)] = true);
        let ranks = ranks(&versions, OLD_VERSION);
        self.each_version(&mut |version| *version = ranks[usize::from(*version)]);
        let mut tokens = [false; 256];
        self.each_token(&mut |token| tokens[usize::from(token.id)] = true);
        let ranks = self::ranks(&tokens, 0);
        self.each_token(&mut |token| token.id = ranks[usize::from(token.id)]);
    }

    /// Sends an event to all operators. A full inbox delivers its oldest event first.
    pub fn send(&mut self, event: Event, capacity: usize) {
        for operator in &mut self.operators {
            operator.inbox.push(event);
            if operator.inbox.len() > capacity {
                operator.receive();
            }
        }
    }

    /// Stores `after` under this name, and sends the event that a watch of labelled Secrets reports.
    pub fn replace(&mut self, name: u8, after: Option<Secret>, version: u8, capacity: usize) {
        let before = std::mem::replace(&mut self.secrets[usize::from(name)], after);
        match after.filter(|secret| secret.labelled) {
            Some(secret) => self.send(Event::Put(name, secret.metadata()), capacity),
            None if before.is_some_and(|secret| secret.labelled) => self.send(Event::Deleted(name, version), capacity),
            None => {}
        }
    }

    /// Counts a fault.
    pub fn spend(&mut self) {
        if self.faults != u8::MAX {
            self.faults = self.faults.saturating_sub(1);
        }
    }
}

/// Ranks of the numbers that are present; those up to `kept` keep theirs.
fn ranks(present: &[bool; 256], kept: u8) -> [u8; 256] {
    let mut ranks = [0; 256];
    let mut next = kept;
    for number in 0..=u8::MAX {
        if number <= kept {
            ranks[usize::from(number)] = number;
        } else if present[usize::from(number)] {
            next += 1;
            ranks[usize::from(number)] = next;
        }
    }
    ranks
}
