//! Store of all `VideoAccessToken`s in slim form, with indexes of the Secrets, providers and workloads that they name.
//!
//! The store is filled in place, so that a relist needs no second copy of all objects.

use crate::controller::stores::index::Index;
use crate::controller::stores::provider_key::ProviderKey;
use crate::controller::stores::relist::{Relist, WritesDuringRelist};
use crate::controller::stores::token::Token;
use crate::controller::stores::weights::Weights;
use chrono::TimeDelta;
use kube::runtime::watcher::Event;
use parking_lot::{Mutex, RwLock};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use videotoken_api::key::ObjectKey;
use videotoken_api::workload::Workload;
use videotoken_core::plan::claim::{self, Claim};
use videotoken_core::plan::facts::{Seconds, StatusFacts, Uid};
use videotoken_providers::clock::Timestamp;

/// The store of all objects.
pub(crate) struct Tokens {
    all: RwLock<BTreeMap<ObjectKey, Arc<Token>>>,
    /// Held from the comparison with the stored version until the new one is stored.
    writing: Mutex<()>,
    own_writes: Mutex<WritesDuringRelist>,
    named: Mutex<Named>,
    weights: Mutex<Weights>,
    /// Unix second before which no token of a status expires. May be too early, but never too late.
    earliest_expiry: AtomicI64,
}

/// Indexes by what the objects name.
#[derive(Default)]
struct Named {
    /// Objects by Secret, if the name of the Secret differs from the name of the object.
    secrets: Index<ObjectKey, Claim>,
    /// Objects by provider.
    providers: Index<ProviderKey>,
    /// Objects by workload, within a namespace.
    workloads: Index<(Arc<str>, Workload)>,
    uids: HashMap<Uid, ObjectKey>,
}

/// Effects of an event.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// Objects that were deleted or replaced by others of the same name. Their state must not pass to the new objects.
    pub(crate) gone: Vec<ObjectKey>,
    /// Objects to reconcile.
    pub(crate) trigger: Vec<ObjectKey>,
    /// Objects with a new request for a renewal.
    pub(crate) demanded: Vec<ObjectKey>,
}

impl Default for Tokens {
    fn default() -> Self {
        let (all, writing, own_writes, named, weights) = Default::default();
        Self { all, writing, own_writes, named, weights, earliest_expiry: AtomicI64::new(i64::MAX) }
    }
}

impl Tokens {
    /// Returns the latest version of the object, from the watch or the operator's own write.
    pub(crate) fn get(&self, key: &ObjectKey) -> Option<Arc<Token>> {
        // `show` of [`Self::each`] may call this function.
        self.all.read_recursive().get(key).cloned()
    }

    /// Calls `show` for each object, without copying all objects.
    pub(crate) fn each(&self, show: impl FnMut(&Token)) {
        self.all.read().values().map(|token| &**token).for_each(show);
    }

    /// Returns for how many seconds Secrets contained expired tokens between the two times, as the sum over all tokens.
    /// Reads the objects only if one of their tokens has expired.
    pub(crate) fn expired_between(&self, from: Timestamp, to: Timestamp) -> f64 {
        if self.earliest_expiry.load(Ordering::Acquire) > to.timestamp() {
            return 0.0;
        }
        // Objects that are stored during the loop lower it again.
        self.earliest_expiry.store(i64::MAX, Ordering::Release);
        let (mut sum, mut earliest) = (TimeDelta::zero(), i64::MAX);
        self.each(|token| {
            if let Some(expires_at) = token.status.expires_at.time() {
                sum += (to - expires_at.max(from)).max(TimeDelta::zero());
                earliest = earliest.min(expires_at.timestamp());
            }
        });
        self.earliest_expiry.fetch_min(earliest, Ordering::AcqRel);
        sum.as_seconds_f64()
    }

    /// Lowers the earliest expiry. The object must be stored already, because a concurrent search may raise it.
    fn note_expiry(&self, expires_at: Seconds) {
        if let Some(expires_at) = expires_at.time() {
            self.earliest_expiry.fetch_min(expires_at.timestamp(), Ordering::AcqRel);
        }
    }

    /// Returns every object.
    pub(crate) fn all(&self) -> Vec<Arc<Token>> {
        self.all.read().values().cloned().collect()
    }

    /// Returns true if an object of this UID exists in the namespace.
    pub(crate) fn has_uid(&self, namespace: &str, uid: Uid) -> bool {
        self.named.lock().uids.get(&uid).is_some_and(|key| *key.namespace == *namespace)
    }

    /// Applies an event of the watch over `namespace` (`None`: all).
    pub(crate) fn apply(&self, relist: &mut Relist, namespace: Option<&str>, event: Event<Token>) -> Changes {
        let mut changes = Changes::default();
        match event {
            Event::Init => self.own_writes.lock().begin(relist),
            Event::InitApply(token) => {
                relist.name(&token.key);
                self.put(token, Some(relist), &mut changes);
            }
            Event::Apply(token) => self.put(token, None, &mut changes),
            Event::Delete(token) => self.remove(&token.key, &mut changes),
            Event::InitDone => {
                let Some(listed) = relist.end() else { return changes };
                let is_gone = |key: &ObjectKey| {
                    namespace.is_none_or(|namespace| *key.namespace == *namespace) && !listed.contains(key)
                };
                let gone: Vec<_> = self.all.read().keys().filter(|key| is_gone(key)).cloned().collect();
                for key in gone {
                    self.remove(&key, &mut changes);
                }
                self.own_writes.lock().end();
            }
        }
        changes
    }

    /// Removes an object that the API server reports as deleted before the watch does. An object with another UID
    /// stays.
    pub(crate) fn remove_deleted(&self, seen: &Token) -> Changes {
        let mut changes = Changes::default();
        if self.get(&seen.key).is_some_and(|current| current.uid == seen.uid) {
            self.remove(&seen.key, &mut changes);
        }
        changes
    }

    /// Stores the operator's own status write. The write was based on the resourceVersion of `written`, so the rest of
    /// the object is unchanged, and the new version is newer, whatever the versions are.
    pub(crate) fn apply_own_status_write(&self, written: &Token, status: StatusFacts, resource_version: &str) {
        let token = written.with_status(status, resource_version);
        let _writing = self.writing.lock();
        self.own_writes.lock().wrote(&token.key);
        let newer = |current: &Token| current.version == written.version || current.version < token.version;
        if self.get(&token.key).is_some_and(|current| current.uid == token.uid && newer(&current)) {
            self.store(token);
        }
    }

    /// Stores a newer version. An object of a list replaces the stored one, unless the operator wrote it during the list.
    fn put(&self, token: Token, list: Option<&Relist>, changes: &mut Changes) {
        let _writing = self.writing.lock();
        let old = self.get(&token.key);
        let mut restored = false;
        if let Some(old) = &old {
            let weighed = list.is_none_or(|list| self.own_writes.lock().has(&token.key, list));
            let same = old.uid == token.uid && old.version == token.version;
            if same || weighed && old.version >= token.version {
                return;
            }
            restored = list.is_some() && (old.version > token.version || old.status.hash != token.status.hash);
            if old.uid != token.uid {
                changes.gone.push(token.key.clone());
            } else if token.renew_requested_at.is_some() && old.renew_requested_at != token.renew_requested_at {
                changes.demanded.push(token.key.clone());
            }
        }
        let before = old.as_ref().map_or(0, |old| old.spec_length());
        let fits = self.weights.lock().replace(&token.key.namespace, before, token.spec_length());
        let token = if fits { token } else { token.shed() };
        changes.trigger.extend(self.update_indexes(old.as_deref(), Some(&token)));
        if restored || old.is_none_or(|old| old.needs_reconcile(&token)) {
            changes.trigger.push(token.key.clone());
        }
        self.store(token);
    }

    fn store(&self, mut token: Token) {
        let expires_at = token.status.expires_at;
        let mut all = self.all.write();
        if let Some(old) = all.get_mut(&token.key) {
            // The other stores share the text of the first key.
            token.key = old.key.clone();
            *old = Arc::new(token);
        } else {
            all.insert(token.key.clone(), Arc::new(token));
        }
        drop(all);
        self.note_expiry(expires_at);
    }

    fn remove(&self, key: &ObjectKey, changes: &mut Changes) {
        let _writing = self.writing.lock();
        let Some(old) = self.get(key) else { return };
        self.weights.lock().remove(&key.namespace, old.spec_length());
        self.all.write().remove(key);
        changes.gone.push(key.clone());
        changes.trigger.extend(self.update_indexes(Some(&old), None));
        changes.trigger.push(key.clone());
    }

    /// Updates the indexes. If the object released a Secret, returns the next object that may use it.
    fn update_indexes(&self, old: Option<&Token>, new: Option<&Token>) -> Option<ObjectKey> {
        if let (Some(old), Some(new)) = (old, new)
            && old.uid == new.uid
            && !old.needs_reconcile(new)
        {
            return None;
        }
        let mut named = self.named.lock();
        if let Some(old) = old {
            named.uids.remove(&old.uid);
            named.secrets.remove(&old.secret_key(), &claim(old));
            if let Some(provider) = old.provider() {
                named.providers.remove(&provider, &old.key);
            }
            for workload in old.workloads() {
                named.workloads.remove(&(old.key.namespace.clone(), workload), &old.key);
            }
        }
        if let Some(new) = new {
            named.uids.insert(new.uid, new.key.clone());
            let secret = new.secret_key();
            if secret != new.key {
                named.secrets.add(secret, claim(new));
            }
            if let Some(provider) = new.provider() {
                named.providers.add(provider, new.key.clone());
            }
            for workload in new.workloads() {
                named.workloads.add((new.key.namespace.clone(), workload), new.key.clone());
            }
        }
        drop(named);
        let left = old.map(Token::secret_key).filter(|left| new.is_none_or(|new| new.secret_key() != *left))?;
        // The store may still contain the old object under its name.
        self.first_but(&left, old.map(|old| old.uid)).map(|next| next.key.clone())
    }

    /// Returns the objects that name this workload of their namespace.
    pub(crate) fn tokens_for_workload(&self, namespace: &Arc<str>, workload: &Workload) -> Vec<Arc<Token>> {
        let keys = self.named.lock().workloads.referring_to(&(namespace.clone(), workload.clone()));
        keys.iter().filter_map(|key| self.get(key)).collect()
    }

    /// Returns the objects that name this provider.
    pub(crate) fn using(&self, provider: &ProviderKey) -> Vec<ObjectKey> {
        self.named.lock().providers.referring_to(provider)
    }

    /// Returns the number of objects that name this provider.
    pub(crate) fn users(&self, provider: &ProviderKey) -> usize {
        self.named.lock().providers.count(provider)
    }

    /// Returns the objects to trigger when this Secret changes: the object that it was written for, and the first of
    /// the objects that name it. All further objects wait for these two.
    pub(crate) fn concerned(&self, secret: &ObjectKey, owner: Option<Uid>) -> Vec<ObjectKey> {
        let owner = owner.and_then(|owner| self.named.lock().uids.get(&owner).cloned());
        let mut all: Vec<_> = owner.filter(|owner| owner.namespace == secret.namespace).into_iter().collect();
        if let Some(first) = self.first_but(secret, None).filter(|first| !all.contains(&first.key)) {
            all.push(first.key.clone());
        }
        all
    }

    /// Returns the oldest object that names the Secret, except the object with the UID `left_out`.
    fn first_but(&self, secret: &ObjectKey, left_out: Option<Uid>) -> Option<Arc<Token>> {
        let namesake = self.get(secret).filter(|token| token.secret_key() == *secret && Some(token.uid) != left_out);
        let other = self.named.lock().secrets.first(secret).cloned();
        let other = other.and_then(|(_, key)| self.get(&key));
        match (namesake, other) {
            (Some(one), Some(other)) => Some(if claim(&one) < claim(&other) { one } else { other }),
            (one, other) => one.or(other),
        }
    }

    /// Returns the object that takes precedence over `token` for the same Secret. `holder` is the UID of the object that
    /// the Secret was written for.
    pub(crate) fn conflicting_claim(&self, token: &Token, holder: Option<Uid>) -> Option<ObjectKey> {
        let secret = token.secret_key();
        let holder = holder.and_then(|holder| self.named.lock().uids.get(&holder).cloned());
        let holder = holder.filter(|holder| self.get(holder).is_some_and(|holder| holder.secret_key() == secret));
        let oldest = self.first_but(&secret, None).map(|token| claim(&token));
        claim::conflicting_claim(&token.key, holder.as_ref(), &oldest).cloned()
    }
}

fn claim(token: &Token) -> Claim {
    (token.claim_order(), token.key.clone())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::controller::stores::token::ListedToken;
    use serde_json::json;

    fn token(name: &str, uid: u64, version: u64, spec: &serde_json::Value) -> Token {
        let uid = format!("00000000-0000-0000-0000-{uid:012}");
        let metadata = json!({"name": name, "namespace": "n", "uid": uid, "resourceVersion": version.to_string(),
            "generation": 1, "creationTimestamp": "2026-01-01T00:00:00Z"});
        let listed: ListedToken = serde_json::from_value(json!({"metadata": metadata, "spec": spec})).unwrap();
        listed.token
    }

    fn naming(secret: &str) -> serde_json::Value {
        json!({"providerRef": {"name": "p"}, "secret": {"name": secret}})
    }

    fn key(name: &str) -> ObjectKey {
        ObjectKey::new("n", name)
    }

    fn apply(tokens: &Tokens, token: Token) -> Changes {
        tokens.apply(&mut Relist::default(), None, Event::Apply(token))
    }

    fn relist(tokens: &Tokens, listed: Vec<Token>, during: impl FnOnce()) -> Changes {
        let (mut relist, mut all) = (Relist::default(), Changes::default());
        tokens.apply(&mut relist, None, Event::Init);
        during();
        let events = listed.into_iter().map(Event::InitApply).chain([Event::InitDone]);
        for changes in events.map(|event| tokens.apply(&mut relist, None, event)).collect::<Vec<_>>() {
            all.gone.extend(changes.gone);
            all.trigger.extend(changes.trigger);
        }
        all
    }

    #[test]
    fn p18_a_list_replaces_what_a_restored_etcd_never_knew() {
        let tokens = Tokens::default();
        relist(&tokens, vec![token("a", 1, 900, &naming("s"))], || {});
        let changes = relist(&tokens, vec![token("a", 1, 700, &naming("t"))], || {});
        assert_eq!((changes.gone, changes.trigger), (vec![], vec![key("a")]));
        let seen = tokens.get(&key("a")).unwrap();
        assert_eq!((seen.version, seen.secret_key()), (700, key("t")));
        tokens.apply_own_status_write(&seen, StatusFacts::default(), "650");
        assert_eq!(tokens.get(&key("a")).unwrap().version, 650, "newer than what it was written over");
        let seen = tokens.get(&key("a")).unwrap();
        relist(&tokens, vec![token("a", 1, 650, &naming("t"))], || {
            tokens.apply_own_status_write(&seen, StatusFacts::default(), "651");
        });
        assert_eq!(tokens.get(&key("a")).unwrap().version, 651, "a list from before our write");
    }

    #[test]
    fn p07_a_renewal_that_is_asked_for_is_told_once() {
        let tokens = Tokens::default();
        let demanded = |version: u64, asked: Option<&str>| {
            let mut new = token("a", 1, version, &naming("s"));
            new.renew_requested_at = asked.map(Into::into);
            apply(&tokens, new).demanded
        };
        assert_eq!(demanded(1, Some("2026-01-01T00:00:00Z")), [], "it was there from the beginning");
        assert_eq!(demanded(2, Some("2026-01-01T00:00:00Z")), []);
        assert_eq!(demanded(3, Some("2026-01-02T00:00:00Z")), [key("a")]);
        assert_eq!(demanded(4, None), []);
        assert_eq!(demanded(5, Some("2026-01-02T00:00:00Z")), [key("a")]);
        assert_eq!(demanded(4, Some("2026-01-03T00:00:00Z")), [], "an older version");
    }

    #[test]
    fn p15_another_object_of_the_name_inherits_nothing() {
        let tokens = Tokens::default();
        relist(&tokens, vec![token("a", 1, 5, &naming("s"))], || {});
        let changes = relist(&tokens, vec![token("a", 2, 9, &naming("s"))], || {});
        assert_eq!((changes.gone, changes.trigger), (vec![key("a")], vec![key("a")]));
        assert!(tokens.has_uid("n", Uid(2)) && !tokens.has_uid("n", Uid(1)) && !tokens.has_uid("m", Uid(2)));
        let changes = apply(&tokens, token("a", 3, 10, &naming("s")));
        assert_eq!(changes.gone, [key("a")]);
        let changes = relist(&tokens, vec![], || {});
        assert_eq!((changes.gone, changes.trigger), (vec![key("a")], vec![key("a")]));
        assert!(!tokens.has_uid("n", Uid(3)) && tokens.using(&provider()).is_empty());
    }

    fn provider() -> ProviderKey {
        ProviderKey { namespace: Some("n".to_owned()), name: "p".to_owned() }
    }

    #[test]
    fn p18_a_change_of_a_cluster_provider_concerns_its_own_tokens_alone() {
        let tokens = Tokens::default();
        let of = |kind: &str, name: &str| json!({"providerRef": {"kind": kind, "name": name}});
        for (n, (name, spec)) in [
            ("own", of("TokenProvider", "p")),
            ("cluster", of("ClusterTokenProvider", "p")),
            ("other", of("ClusterTokenProvider", "q")),
        ]
        .iter()
        .enumerate()
        {
            apply(&tokens, token(name, n as u64 + 1, n as u64 + 1, spec));
        }
        let cluster = ProviderKey { namespace: None, name: "p".to_owned() };
        assert_eq!(tokens.using(&cluster), [key("cluster")]);
        assert_eq!(tokens.using(&provider()), [key("own")]);
    }

    #[test]
    #[allow(clippy::cast_possible_truncation)] // whole seconds
    fn the_time_with_expired_tokens_is_summed_whatever_changes() {
        let tokens = Tokens::default();
        let at = |second: i64| Timestamp::from_timestamp(1_790_000_000 + second, 0).unwrap();
        let expires_at = |second| StatusFacts { expires_at: Seconds(at(second).timestamp()), ..StatusFacts::default() };
        for (name, uid, expiry) in [("a", 1, 10), ("b", 2, 20), ("c", 3, 500)] {
            apply(&tokens, token(name, uid, uid, &naming("s")));
            let seen = tokens.get(&key(name)).unwrap();
            tokens.apply_own_status_write(&seen, expires_at(expiry), "9");
        }
        let expired = |from, to| tokens.expired_between(at(from), at(to)) as i64;
        assert_eq!([expired(8, 9), expired(9, 10), expired(10, 15), expired(15, 25)], [0, 0, 5, 10 + 5]);
        // both are renewed
        for name in ["a", "b"] {
            let seen = tokens.get(&key(name)).unwrap();
            tokens.apply_own_status_write(&seen, expires_at(300), "10");
        }
        assert_eq!([expired(25, 26), expired(26, 299), expired(299, 302)], [0, 0, 4]);
        tokens.apply(&mut Relist::default(), None, Event::Delete((*tokens.get(&key("a")).unwrap()).clone()));
        assert_eq!([expired(302, 303), expired(303, 510)], [1, 207 + 10]);
    }

    #[test]
    fn p17_of_many_that_name_one_secret_only_the_next_is_woken() {
        let tokens = Tokens::default();
        for n in 0..2000 {
            apply(&tokens, token(&format!("t{n}"), 5000 - n, n + 1, &naming("s")));
        }
        let holder = tokens.get(&key("t7")).unwrap();
        let oldest = tokens.get(&key("t1999")).unwrap();
        assert_eq!(tokens.conflicting_claim(&oldest, Some(holder.uid)).unwrap(), holder.key);
        assert!(tokens.conflicting_claim(&holder, Some(holder.uid)).is_none());
        assert!(tokens.conflicting_claim(&oldest, None).is_none());
        assert_eq!(tokens.concerned(&key("s"), Some(holder.uid)), [holder.key.clone(), oldest.key.clone()]);
        let changes = apply(&tokens, token("t7", 4993, 9000, &naming("own")));
        assert_eq!(changes.trigger, [oldest.key.clone(), holder.key.clone()]);
        assert_eq!(tokens.users(&provider()), 2000);
        // An object with the name of the Secret is ordered among the others.
        apply(&tokens, token("s", 1, 9001, &naming("s")));
        assert_eq!(tokens.conflicting_claim(&oldest, None).unwrap(), key("s"));
        let changes = tokens.apply(&mut Relist::default(), None, Event::Delete(token("s", 1, 9002, &naming("s"))));
        assert_eq!(changes.trigger, [oldest.key.clone(), key("s")]);
    }
}
