//! Resolved provider objects: spec, credential, issuer and budget key of each.

use crate::controller::stores::provider_key::ProviderKey;
use crate::controller::stores::relist::Relist;
use crate::controller::stores::secrets::SecretMeta;
use kube::runtime::watcher::Event;
use parking_lot::{Mutex, MutexGuard};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use videotoken_api::key::ObjectKey;
use videotoken_api::provider::ProviderSpec;
use videotoken_api::video_access_token::VideoAccessTokenSpec;
use videotoken_core::budget::AccountKey;
use videotoken_core::plan::facts::Uid;
use videotoken_core::plan::hash::Hash;
use videotoken_core::plan::view::Refusal;
use videotoken_providers::Issuer;
use videotoken_providers::clock::Timestamp;
use videotoken_providers::provider_setup::AllowedUse;

/// A provider object that is resolved and ready to issue.
pub(crate) struct ReadyProvider {
    /// Key of the provider object.
    pub(crate) provider_key: ProviderKey,
    /// Key of the budget.
    pub(crate) key: AccountKey,
    /// Provider type, as named in the API.
    pub(crate) type_name: &'static str,
    /// Spec of the provider object.
    pub(crate) spec: ProviderSpec,
    /// Issuer of its tokens.
    pub(crate) issuer: Arc<dyn Issuer>,
    /// Namespaces and scopes that the provider allows; `None` for a TokenProvider.
    pub(crate) admission: Option<AllowedUse>,
    /// Hash of spec, credential and CA. After a change, recorded failures no longer count.
    pub(crate) version: u64,
    /// Hash of the account and its credential, based on the versions of the objects that contain the credential.
    pub(crate) credentials: Hash,
    /// History of its calls.
    pub(crate) history: Arc<Mutex<AccountHistory>>,
}

/// History of an account's calls. It survives edits that leave the account unchanged, also for a call in progress.
#[derive(Default)]
pub(crate) struct AccountHistory {
    /// Time of the last issuance.
    pub(crate) last_issued: Option<Timestamp>,
    /// Last response of the token API that rejected the credential or throttled the account.
    pub(crate) refusal: Option<Said>,
    /// Time since which TLS connections fail with the current CAs.
    pub(crate) untrusted_since: Option<Timestamp>,
}

impl AccountHistory {
    /// Records an issuance.
    pub(crate) fn issued(&mut self, now: Timestamp) {
        self.last_issued = Some(now);
        self.untrusted_since = None;
    }
}

/// Response of a token API to a rejected request.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    /// Namespace of the request.
    pub(crate) namespace: Box<str>,
    /// Reason in one CamelCase word of the operator.
    pub(crate) reason: Cow<'static, str>,
    /// Message of the token API, which may contain details of that request.
    pub(crate) message: String,
}

impl Said {
    /// Returns reason and message.
    pub(crate) fn whole(&self) -> String {
        format!("{}: {}", self.reason, self.message)
    }

    /// Returns the part that users of this namespace may read: the message only if the request came from their
    /// namespace.
    pub(crate) fn to(&self, namespace: &str) -> String {
        if *self.namespace == *namespace { self.whole() } else { self.reason.to_string() }
    }
}

impl ReadyProvider {
    /// Locks the history.
    pub(crate) fn history(&self) -> MutexGuard<'_, AccountHistory> {
        self.history.lock()
    }
}

/// Result of resolving one provider object.
#[derive(Clone)]
pub(crate) struct Resolved {
    /// The account, or the reason why it can't be used.
    pub(crate) state: Result<Arc<ReadyProvider>, Refusal>,
    /// Objects that the provider object refers to, with the resourceVersions that were read.
    pub(crate) refers: BTreeMap<ObjectKey, u64>,
}

/// Result of resolving the provider reference of a VideoAccessToken.
pub(crate) enum Lookup {
    /// The provider object exists and will be resolved soon.
    Unresolved,
    /// The provider can't be used.
    Refused(Refusal),
    /// The provider is ready.
    Found(Arc<ReadyProvider>),
}

/// Provider objects, with indexes of their credentials and budgets.
pub(crate) struct ProviderRegistry {
    registry: Mutex<Registry>,
    serves_cluster: bool,
}

#[derive(Default)]
struct Registry {
    /// Results by provider object; `None` for an object that isn't resolved yet.
    known: HashMap<ProviderKey, Option<Resolved>>,
    referring: HashMap<ObjectKey, BTreeSet<ProviderKey>>,
    sharing: HashMap<AccountKey, BTreeSet<ProviderKey>>,
    /// Labelled credentials, as their watches report them: UID and resourceVersion.
    credentials: HashMap<ObjectKey, (Uid, u64)>,
    /// Reads in progress, and the credentials that changed since each read began.
    readings: BTreeMap<u64, BTreeSet<ObjectKey>>,
    next_reading: u64,
}

impl Registry {
    fn put(&mut self, key: &ProviderKey, resolved: Option<Resolved>) -> Option<Resolved> {
        if let Some(resolved) = &resolved {
            for object in resolved.refers.keys() {
                self.referring.entry(object.clone()).or_default().insert(key.clone());
            }
            if let Ok(account) = &resolved.state {
                self.sharing.entry(account.key.clone()).or_default().insert(key.clone());
            }
        }
        let before = self.known.insert(key.clone(), resolved).flatten();
        self.unlink(key, before.as_ref());
        before
    }

    fn remove(&mut self, key: &ProviderKey) -> Option<Resolved> {
        let before = self.known.remove(key).flatten();
        self.unlink(key, before.as_ref());
        before
    }

    /// Removes an earlier result from the indexes, except for entries that the current result contains too.
    fn unlink(&mut self, key: &ProviderKey, before: Option<&Resolved>) {
        fn drop_from<K: Eq + std::hash::Hash>(
            index: &mut HashMap<K, BTreeSet<ProviderKey>>,
            of: &K,
            key: &ProviderKey,
        ) {
            if let Some(all) = index.get_mut(of) {
                all.remove(key);
                if all.is_empty() {
                    index.remove(of);
                }
            }
        }
        let Some(before) = before else { return };
        let now = self.known.get(key).and_then(Option::as_ref);
        for object in before.refers.keys().filter(|object| now.is_none_or(|now| !now.refers.contains_key(object))) {
            drop_from(&mut self.referring, object, key);
        }
        if let Ok(account) = &before.state
            && now.and_then(|now| now.state.as_ref().ok()).is_none_or(|now| now.key != account.key)
        {
            drop_from(&mut self.sharing, &account.key, key);
        }
    }

    /// Applies a credential that its watch reports, and returns the providers that refer to it.
    fn credential(&mut self, key: &ObjectKey, is: Option<(Uid, u64)>) -> Vec<ProviderKey> {
        let before = match is {
            Some(is) => self.credentials.insert(key.clone(), is),
            None => self.credentials.remove(key),
        };
        if before == is {
            return Vec::new();
        }
        for changed in self.readings.values_mut() {
            changed.insert(key.clone());
        }
        self.referring.get(key).map(|all| all.iter().cloned().collect()).unwrap_or_default()
    }
}

/// A read of a provider's references in progress. Until its result is registered, the registry can't find the provider
/// of a credential that changes.
#[must_use = "a credential that changed during the read requires another read"]
pub(crate) struct Reading<'a> {
    accounts: &'a ProviderRegistry,
    number: u64,
}

impl Reading<'_> {
    /// Returns true if an object that was read has changed since the read began. Call it after the result is
    /// registered.
    pub(crate) fn is_outdated(&self, key: &ProviderKey) -> bool {
        let registry = self.accounts.registry.lock();
        let Some(changed) = registry.readings.get(&self.number) else { return false };
        let resolved = registry.known.get(key).and_then(Option::as_ref);
        resolved.is_some_and(|resolved| changed.iter().any(|object| resolved.refers.contains_key(object)))
    }
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        self.accounts.registry.lock().readings.remove(&self.number);
    }
}

impl ProviderRegistry {
    /// Creates an empty registry. `serves_cluster` is true if `ClusterTokenProvider`s are watched.
    pub(crate) fn new(serves_cluster: bool) -> Self {
        Self { registry: Mutex::default(), serves_cluster }
    }

    /// Begins a read. Call it before reading the objects that a provider refers to.
    pub(crate) fn reading(&self) -> Reading<'_> {
        let mut registry = self.registry.lock();
        let number = registry.next_reading;
        registry.next_reading += 1;
        registry.readings.insert(number, BTreeSet::new());
        Reading { accounts: self, number }
    }

    /// Applies an event of the watch of labelled credentials in `namespace` (`None`: all), and returns the providers to
    /// resolve again.
    pub(crate) fn credential(
        &self,
        relist: &mut Relist,
        namespace: Option<&str>,
        event: &Event<SecretMeta>,
    ) -> Vec<ProviderKey> {
        let mut registry = self.registry.lock();
        match event {
            Event::Init => {
                relist.begin();
                Vec::new()
            }
            Event::Apply(secret) | Event::InitApply(secret) => {
                let (key, facts) = (secret.key(), secret.facts());
                relist.name(&key);
                registry.credential(&key, Some((facts.uid, facts.resource_version)))
            }
            Event::Delete(secret) => registry.credential(&secret.key(), None),
            Event::InitDone => {
                let Some(listed) = relist.end() else { return Vec::new() };
                let gone: Vec<_> = registry
                    .credentials
                    .keys()
                    .filter(|key| namespace.is_none_or(|namespace| *key.namespace == *namespace))
                    .filter(|key| !listed.contains(*key))
                    .cloned()
                    .collect();
                gone.iter().flat_map(|key| registry.credential(key, None)).collect()
            }
        }
    }

    /// Resolves the provider reference of a VideoAccessToken. Also returns the provider as "Kind/name". `knows_cluster`
    /// is true if the lists that a `ClusterTokenProvider` needs are complete.
    pub(crate) fn lookup(&self, namespace: &str, spec: &VideoAccessTokenSpec, knows_cluster: bool) -> (String, Lookup) {
        let reference = &spec.provider_ref;
        let Some(key) = ProviderKey::named(reference, namespace) else {
            let kind = reference.kind.as_str();
            let message = format!("spec.providerRef.kind: must be TokenProvider or ClusterTokenProvider, not {kind}");
            return (format!("{kind}/{}", reference.name), Lookup::Refused(Refusal::new("InvalidSpec", message)));
        };
        let found = match self.registry.lock().known.get(&key) {
            None if key.namespace.is_none() && !self.serves_cluster => Lookup::Refused(not_served(&key)),
            _ if key.is_cluster() && !knows_cluster => Lookup::Unresolved,
            None => Lookup::Refused(missing(&key)),
            Some(None) => Lookup::Unresolved,
            Some(Some(Resolved { state: Ok(account), .. })) => Lookup::Found(account.clone()),
            Some(Some(Resolved { state: Err(refusal), .. })) => Lookup::Refused(Refusal {
                message: format!("spec.providerRef: {key} isn't ready: {}", refusal.message),
                reason: refusal.reason.clone(),
                retry_after: None,
            }),
        };
        (key.to_string(), found)
    }

    /// Adds an object that isn't resolved yet. Its VideoAccessTokens wait.
    pub(crate) fn mark_unresolved(&self, key: &ProviderKey) {
        self.registry.lock().known.entry(key.clone()).or_default();
    }

    /// Stores a result and returns the previous one.
    pub(crate) fn resolve(&self, key: &ProviderKey, resolved: Resolved) -> Option<Resolved> {
        self.registry.lock().put(key, Some(resolved))
    }

    /// Removes a deleted object and returns its last result.
    pub(crate) fn remove(&self, key: &ProviderKey) -> Option<Resolved> {
        self.registry.lock().remove(key)
    }

    /// Returns the result of one provider object.
    pub(crate) fn get(&self, key: &ProviderKey) -> Option<Resolved> {
        self.registry.lock().known.get(key).cloned().flatten()
    }

    /// Returns every resolved provider object.
    pub(crate) fn all(&self) -> Vec<(ProviderKey, Resolved)> {
        let registry = self.registry.lock();
        registry.known.iter().filter_map(|(key, resolved)| Some((key.clone(), resolved.clone()?))).collect()
    }

    /// Returns the type of the providers that use this budget.
    pub(crate) fn type_of(&self, account: &AccountKey) -> Option<&'static str> {
        let registry = self.registry.lock();
        let first = registry.sharing.get(account)?.first()?;
        Some(registry.known.get(first)?.as_ref()?.state.as_ref().ok()?.type_name)
    }

    /// Returns the accounts of all provider objects that use this budget.
    pub(crate) fn providers_of_account(&self, account: &AccountKey) -> Vec<Arc<ReadyProvider>> {
        let registry = self.registry.lock();
        let state = |key| registry.known.get(key)?.as_ref()?.state.as_ref().ok().cloned();
        registry.sharing.get(account).map(|all| all.iter().filter_map(state).collect()).unwrap_or_default()
    }
}

fn not_served(key: &ProviderKey) -> Refusal {
    let message = format!(
        "spec.providerRef: {key}: this operator serves no ClusterTokenProvider (--cluster-providers=false): make a \
         TokenProvider in this namespace and set kind: TokenProvider"
    );
    Refusal::new("ClusterProvidersNotServed", message)
}

fn missing(key: &ProviderKey) -> Refusal {
    let state = match &key.namespace {
        Some(namespace) => format!(
            "does not exist in namespace {namespace}. Create it, or set kind: ClusterTokenProvider to use a \
             cluster-scoped provider."
        ),
        None => "does not exist. Create it, or set kind: TokenProvider to use one of this namespace.".to_owned(),
    };
    Refusal::new("ProviderNotFound", format!("spec.providerRef: {key} {state}"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;

    fn secret(version: u64) -> SecretMeta {
        let metadata = json!({"name": "s", "namespace": "n", "uid": "u", "resourceVersion": version.to_string()});
        serde_json::from_value(json!({"metadata": metadata})).unwrap()
    }

    #[test]
    fn p17_a_credential_that_changes_while_it_is_read_is_read_again() {
        let accounts = ProviderRegistry::new(false);
        let key = ProviderKey { namespace: Some("n".to_owned()), name: "p".to_owned() };
        let event = |event| accounts.credential(&mut Relist::default(), None, &event);
        let refers = |name: &str, version| {
            let refers = BTreeMap::from([(ObjectKey::new("n", name), version)]);
            Resolved { state: Err(Refusal::new("CredentialsMissing", "none")), refers }
        };
        accounts.mark_unresolved(&key);
        let reading = accounts.reading();
        assert!(event(Event::Apply(secret(5))).is_empty(), "no provider is known to refer to it");
        accounts.resolve(&key, refers("s", 0));
        assert!(reading.is_outdated(&key));
        drop(reading);
        let reading = accounts.reading();
        accounts.resolve(&key, refers("s", 5));
        assert!(!reading.is_outdated(&key));
        drop(reading);
        assert!(event(Event::InitApply(secret(5))).is_empty(), "a list that says nothing new");
        assert_eq!(event(Event::Apply(secret(6))), std::slice::from_ref(&key));
        // A list that no longer contains the credential.
        let mut relist = Relist::default();
        accounts.credential(&mut relist, None, &Event::Init);
        assert_eq!(accounts.credential(&mut relist, Some("n"), &Event::InitDone), std::slice::from_ref(&key));
        accounts.resolve(&key, refers("t", 1));
        assert!(event(Event::Apply(secret(7))).is_empty());
        accounts.remove(&key);
        assert!(accounts.registry.lock().referring.is_empty());
    }
}
