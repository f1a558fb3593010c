//! What the harness itself knows of a run: who led, whether the API server took writes, what was done to whom and when.

use std::sync::{Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};

use super::schedule::Kind;
use super::spans::{Looks, Span, Spans};

/// Whose provider didn't issue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    /// All accounts of this type.
    Type(usize),
    /// One account.
    Account(usize),
}

/// Something that goes on, or went on.
#[derive(Clone, Debug)]
pub(super) struct Stretch<T> {
    pub(super) what: T,
    pub(super) from: DateTime<Utc>,
    /// None: it still does.
    pub(super) to: Option<DateTime<Utc>>,
}

impl<T> Stretch<T> {
    /// As far as it is known at `now`.
    pub(super) fn span(&self, now: DateTime<Utc>) -> Span {
        Span { from: self.from, to: self.to.unwrap_or(now).max(self.from) }
    }
}

/// A fault that was played: its kind and what it was in particular.
pub(super) type Played = (Kind, String);

/// What was seen each second.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub(super) at: DateTime<Utc>,
    /// Tokens with less than a tenth of their life left, or none.
    pub(super) in_danger: u32,
    /// Those of them that have expired.
    pub(super) expired: u32,
}

#[derive(Debug, Default)]
pub(super) struct Pages {
    pub(super) faults: Vec<Stretch<Played>>,
    /// Providers that wouldn't issue.
    pub(super) impaired: Vec<Stretch<Whose>>,
    /// An operator killed or cut off, the API server away.
    pub(super) upsets: Vec<Stretch<()>>,
    /// When an account's key that signs had been replaced, and how often it had been by then.
    pub(super) rekeyed: Vec<(DateTime<Utc>, usize, u32)>,
    /// `namespace/name` of Secrets whose token another hand took away.
    pub(super) touched: Vec<(DateTime<Utc>, String)>,
    /// Namespaces that were deleted.
    pub(super) ended: Vec<(DateTime<Utc>, String)>,
    /// Who led, by a name that no restart repeats.
    pub(super) lease: Looks<String>,
    /// The API server took a write.
    pub(super) api: Looks<()>,
    pub(super) samples: Vec<Sample>,
    /// Everything else worth telling.
    pub(super) notes: Vec<(DateTime<Utc>, String)>,
}

/// Written by all that takes part.
#[derive(Debug, Default)]
pub(super) struct Chronicle(Mutex<Pages>);

impl Chronicle {
    /// To read, or to write down what isn't below.
    pub(super) fn pages(&self) -> MutexGuard<'_, Pages> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An operator was killed at this moment.
    pub(super) fn upset(&self) {
        let now = Utc::now();
        self.pages().upsets.push(Stretch { what: (), from: now, to: Some(now) });
    }

    /// Something begins; the number is for [`Self::end`].
    pub(super) fn begin<T>(&self, list: fn(&mut Pages) -> &mut Vec<Stretch<T>>, what: T) -> usize {
        let mut pages = self.pages();
        let list = list(&mut pages);
        list.push(Stretch { what, from: Utc::now(), to: None });
        list.len() - 1
    }

    /// It ends.
    pub(super) fn end<T>(&self, list: fn(&mut Pages) -> &mut Vec<Stretch<T>>, number: usize) {
        list(&mut self.pages())[number].to = Some(Utc::now());
    }
}

impl Pages {
    /// The faults in force.
    pub(super) fn in_force(&self) -> Vec<&str> {
        self.faults.iter().filter(|fault| fault.to.is_none()).map(|fault| fault.what.1.as_str()).collect()
    }

    /// When a namespace was deleted; if it wasn't, when the run `ended`.
    pub(super) fn went(&self, namespace: &str, ended: DateTime<Utc>) -> DateTime<Utc> {
        self.ended.iter().find(|(_, name)| name == namespace).map_or(ended, |(at, _)| *at)
    }

    /// When all was well for an account of this type: an operator led, writes were taken, the provider would issue.
    pub(super) fn well(&self, type_: usize, account: usize, now: DateTime<Utc>) -> Spans {
        let hit = |whose: Whose| whose == Whose::Type(type_) || whose == Whose::Account(account);
        let impaired = self.impaired.iter().filter(|stretch| hit(stretch.what)).map(|stretch| stretch.span(now));
        self.lease.spans().and(&self.api.spans()).without(impaired)
    }
}
