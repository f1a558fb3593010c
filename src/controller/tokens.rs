//! All `VideoAccessToken`s, slim, and who names which Secret and which workload.
//!
//! The store is kube's, since its Controller reads from it; it is filled in place, so that a relist holds no second
//! copy of everything, and our own status writes enter it by the same door as the watch.

use super::index::Index;
use super::relist::Relist;
use super::secrets::lock;
use super::token::Token;
use crate::api::key::ObjectKey;
use crate::api::workload::Workload;
use crate::plan::facts::{StatusFacts, Uid};
use kube::runtime::reflector::{ObjectRef, Store, store::Writer};
use kube::runtime::watcher::Event;
use std::sync::{Arc, Mutex};

/// The store of all objects.
pub(super) struct Tokens {
    writer: Mutex<Writer<Token>>,
    reader: Store<Token>,
    /// Who names a Secret that isn't called like the object itself.
    claims: Mutex<Index<ObjectKey>>,
    /// Who names a workload to be restarted, by namespace.
    workloads: Mutex<Index<(Arc<str>, Workload)>>,
}

impl Default for Tokens {
    fn default() -> Self {
        let mut writer = Writer::<Token>::default();
        // kube's Controller waits for this; what may wake an object is held back until the caches are filled
        writer.apply_watcher_event(&Event::Init);
        writer.apply_watcher_event(&Event::InitDone);
        let reader = writer.as_reader();
        Self { writer: Mutex::new(writer), reader, claims: Mutex::default(), workloads: Mutex::default() }
    }
}

/// How kube names the object.
pub(super) fn reference(key: &ObjectKey) -> ObjectRef<Token> {
    ObjectRef::new(&key.name).within(&key.namespace)
}

impl Tokens {
    /// For kube's Controller.
    pub(super) fn reader(&self) -> Store<Token> {
        self.reader.clone()
    }

    /// The object, as last seen or written.
    pub(super) fn get(&self, key: &ObjectKey) -> Option<Arc<Token>> {
        self.reader.get(&reference(key))
    }

    /// Shows each object, without a copy of them all.
    pub(super) fn each(&self, mut show: impl FnMut(&Token)) {
        let show = std::cell::RefCell::new(&mut show);
        // of what the store offers, only this shows its objects without copying
        let _ = self.reader.find(|token| {
            show.borrow_mut()(token);
            false
        });
    }

    /// All objects.
    pub(super) fn all(&self) -> Vec<Arc<Token>> {
        self.reader.state()
    }

    /// Is an object of this UID in the namespace? A scan: asked only about a Secret that another object wrote.
    pub(super) fn has_uid(&self, namespace: &str, uid: Uid) -> bool {
        self.reader.find(|token| *token.key.namespace == *namespace && token.uid == uid).is_some()
    }

    /// Takes an event of the watch over `namespace` (`None`: all) and returns the objects to reconcile.
    pub(super) fn apply(&self, relist: &mut Relist, namespace: Option<&str>, event: Event<Token>) -> Vec<ObjectKey> {
        match event {
            Event::Init => {
                relist.begin();
                Vec::new()
            }
            Event::InitApply(token) => {
                relist.name(&token.key);
                self.put(token)
            }
            Event::Apply(token) => self.put(token),
            Event::Delete(token) => self.remove(&token.key),
            Event::InitDone => {
                let listed = relist.end().unwrap_or_default();
                let gone = self.reader.state().into_iter().filter(|token| {
                    namespace.is_none_or(|namespace| *token.key.namespace == *namespace) && !listed.contains(&token.key)
                });
                gone.flat_map(|token| self.remove(&token.key)).collect()
            }
        }
    }

    /// What our own status write brought. It was guarded by `written`'s resourceVersion, so the rest is as it was.
    pub(super) fn learn_status(&self, written: &Token, status: StatusFacts, resource_version: &str) {
        let token = written.with_status(status, resource_version);
        let mut writer = lock(&self.writer);
        let current = self.get(&token.key);
        if current.is_some_and(|current| current.uid == token.uid && current.version < token.version) {
            writer.apply_watcher_event(&Event::Apply(token));
        }
    }

    fn put(&self, token: Token) -> Vec<ObjectKey> {
        let mut writer = lock(&self.writer);
        let old = self.get(&token.key);
        if let Some(old) = &old
            && old.uid == token.uid
            && old.version >= token.version
        {
            return Vec::new();
        }
        let mut wake = self.reclaim(old.as_deref(), Some(&token));
        self.rename(old.as_deref(), Some(&token));
        if old.is_none_or(|old| old.wakes(&token)) {
            wake.push(token.key.clone());
        }
        writer.apply_watcher_event(&Event::Apply(token));
        wake
    }

    fn remove(&self, key: &ObjectKey) -> Vec<ObjectKey> {
        let mut writer = lock(&self.writer);
        let Some(old) = self.get(key) else { return Vec::new() };
        let mut wake = self.reclaim(Some(&old), None);
        self.rename(Some(&old), None);
        wake.push(key.clone());
        writer.apply_watcher_event(&Event::Delete((*old).clone()));
        wake
    }

    /// Keeps the index of claims and returns those who claim a Secret that was let go.
    fn reclaim(&self, old: Option<&Token>, new: Option<&Token>) -> Vec<ObjectKey> {
        let (before, after) = (old.map(Token::secret_key), new.map(Token::secret_key));
        if before == after {
            return Vec::new();
        }
        let mut claims = lock(&self.claims);
        if let (Some(old), Some(secret)) = (old, &before) {
            claims.remove(secret, &old.key);
        }
        if let (Some(new), Some(secret)) = (new, after)
            && secret != new.key
        {
            claims.add(secret, &new.key);
        }
        drop(claims);
        before.map(|secret| self.claimants(&secret)).unwrap_or_default()
    }

    /// Keeps the index of workloads.
    fn rename(&self, old: Option<&Token>, new: Option<&Token>) {
        let named = |token: Option<&Token>| token.map(Token::workloads).unwrap_or_default();
        let (before, after) = (named(old), named(new));
        if before == after {
            return;
        }
        let mut workloads = lock(&self.workloads);
        if let Some(old) = old {
            for workload in before {
                workloads.remove(&(old.key.namespace.clone(), workload), &old.key);
            }
        }
        if let Some(new) = new {
            for workload in after {
                workloads.add((new.key.namespace.clone(), workload), &new.key);
            }
        }
    }

    /// All objects that name this workload of their namespace.
    pub(super) fn naming(&self, namespace: &Arc<str>, workload: &Workload) -> Vec<Arc<Token>> {
        let keys = lock(&self.workloads).of(&(namespace.clone(), workload.clone())).to_vec();
        keys.iter().filter_map(|key| self.get(key)).collect()
    }

    /// All objects that name this Secret.
    pub(super) fn claimants(&self, secret: &ObjectKey) -> Vec<ObjectKey> {
        let namesake = self.get(secret).filter(|token| token.secret_key() == *secret).map(|token| token.key.clone());
        let mut all: Vec<_> = namesake.into_iter().collect();
        all.extend_from_slice(lock(&self.claims).of(secret));
        all
    }

    /// Another object that names the same Secret and goes before this one, if there is one: the one that the Secret
    /// was written for (`holder`), or while there is none, the oldest. By age alone, two of the same second could take
    /// the Secret from each other.
    pub(super) fn rival(&self, token: &Token, holder: Option<Uid>) -> Option<Arc<Token>> {
        let claimants = self.claimants(&token.secret_key());
        let first = claimants
            .iter()
            .filter_map(|key| self.get(key))
            .min_by_key(|claimant| (Some(claimant.uid) != holder, claimant.seniority()))?;
        (first.key != token.key).then_some(first)
    }
}
