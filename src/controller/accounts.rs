//! Provider objects, resolved: spec, credentials and issuer of each, and the budget's key.

use super::secrets::lock;
use crate::account::{Admission, Owner};
use crate::api::key::ObjectKey;
use crate::api::provider::ProviderSpec;
use crate::api::video_access_token::{ProviderKind, ProviderRef, VideoAccessTokenSpec};
use crate::budget::AccountKey;
use crate::clock::Timestamp;
use crate::issuer::Issuer;
use crate::plan::hash::Hash;
use crate::plan::view::Refusal;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

/// Names a provider object.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct ProviderKey {
    /// `None`: a `ClusterTokenProvider`.
    pub(super) namespace: Option<String>,
    /// Its name.
    pub(super) name: String,
}

impl fmt::Display for ProviderKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind(), self.name)
    }
}

impl ProviderKey {
    /// What a token of this namespace refers to; `None`: a kind that isn't known here.
    pub(super) fn named(reference: &ProviderRef, namespace: &str) -> Option<Self> {
        let namespace = match reference.kind {
            ProviderKind::TokenProvider => Some(namespace.to_owned()),
            ProviderKind::ClusterTokenProvider => None,
            ProviderKind::Other(_) => return None,
        };
        Some(Self { namespace, name: reference.name.clone() })
    }

    /// The object's kind.
    pub(super) fn kind(&self) -> &'static str {
        if self.is_cluster() { "ClusterTokenProvider" } else { "TokenProvider" }
    }

    /// Whose it is.
    pub(super) fn owner(&self) -> Owner {
        if self.is_cluster() { Owner::Cluster } else { Owner::Namespace }
    }

    /// It names a `ClusterTokenProvider`.
    pub(super) fn is_cluster(&self) -> bool {
        self.namespace.is_none()
    }
}

/// One provider object that is ready to issue.
pub(super) struct Account {
    /// Which object.
    pub(super) of: ProviderKey,
    /// Its budget.
    pub(super) key: AccountKey,
    /// Its type, as the API names it.
    pub(super) type_name: &'static str,
    /// Its spec.
    pub(super) spec: ProviderSpec,
    /// Who issues.
    pub(super) issuer: Arc<dyn Issuer>,
    /// For whom, and what; `None` for a namespaced one.
    pub(super) admission: Option<Admission>,
    /// Of spec, credentials and CA: another one excuses a failure.
    pub(super) version: u64,
    /// Of the account and its credentials, by the versions of the objects that hold them.
    pub(super) credentials: Hash,
    /// What has happened with it.
    pub(super) history: Arc<Mutex<History>>,
}

/// What has happened with an account; an edit that leaves the account as it is keeps it, also from a call under way.
#[derive(Default)]
pub(super) struct History {
    /// When a token was last issued.
    pub(super) last_issued: Option<Timestamp>,
    /// What the provider said when it last refused the credential or throttled.
    pub(super) refusal: Option<Said>,
}

/// What a provider said to a request.
#[derive(Clone, Debug)]
pub(super) struct Said {
    /// Whose request it was.
    pub(super) namespace: Box<str>,
    /// One word of ours.
    pub(super) reason: &'static str,
    /// The provider's own words; they may be about that request.
    pub(super) message: String,
}

impl Said {
    /// All of it.
    pub(super) fn whole(&self) -> String {
        format!("{}: {}", self.reason, self.message)
    }

    /// As much as those of this namespace may read: what was said to another's request is that one's.
    pub(super) fn to(&self, namespace: &str) -> String {
        if *self.namespace == *namespace { self.whole() } else { self.reason.to_owned() }
    }
}

impl Account {
    /// Who reads or changes what has happened.
    pub(super) fn history(&self) -> MutexGuard<'_, History> {
        lock(&self.history)
    }
}

/// What is known of one provider object.
#[derive(Clone)]
pub(super) struct Resolved {
    /// The account, or why it can't be used.
    pub(super) state: Result<Arc<Account>, Refusal>,
    /// What it refers to, and the resourceVersions that were read.
    pub(super) refers: BTreeMap<ObjectKey, u64>,
}

/// What a token's reference leads to.
pub(super) enum Lookup {
    /// The provider object is there and will be resolved in a moment.
    Unresolved,
    /// It can't be used.
    Refused(Refusal),
    /// Here it is.
    Found(Arc<Account>),
}

/// All provider objects. One that is there but isn't resolved yet stands as `None`.
pub(super) struct Accounts {
    known: Mutex<HashMap<ProviderKey, Option<Resolved>>>,
    serves_cluster: bool,
}

impl Accounts {
    /// None yet. `serves_cluster`: `ClusterTokenProvider`s are watched.
    pub(super) fn new(serves_cluster: bool) -> Self {
        Self { known: Mutex::default(), serves_cluster }
    }

    /// Follows a token's reference; tells the provider as "Kind/name" too.
    pub(super) fn lookup(&self, namespace: &str, spec: &VideoAccessTokenSpec) -> (String, Lookup) {
        let reference = &spec.provider_ref;
        let Some(key) = ProviderKey::named(reference, namespace) else {
            let kind = reference.kind.as_str();
            let message = format!("spec.providerRef.kind: must be TokenProvider or ClusterTokenProvider, not {kind}");
            return (format!("{kind}/{}", reference.name), Lookup::Refused(Refusal::new("InvalidSpec", message)));
        };
        let found = match lock(&self.known).get(&key) {
            None if key.namespace.is_none() && !self.serves_cluster => Lookup::Refused(not_served(&key)),
            None => Lookup::Refused(missing(&key)),
            Some(None) => Lookup::Unresolved,
            Some(Some(Resolved { state: Ok(account), .. })) => Lookup::Found(account.clone()),
            Some(Some(Resolved { state: Err(refusal), .. })) => Lookup::Refused(Refusal {
                message: format!("spec.providerRef: {key} isn't ready: {}", refusal.message),
                reason: refusal.reason.clone(),
                again: None,
            }),
        };
        (key.to_string(), found)
    }

    /// The object is there; its tokens wait until it is resolved.
    pub(super) fn announce(&self, key: &ProviderKey) {
        lock(&self.known).entry(key.clone()).or_default();
    }

    /// Takes what it was resolved to and gives what it was before.
    pub(super) fn resolve(&self, key: &ProviderKey, resolved: Resolved) -> Option<Resolved> {
        lock(&self.known).insert(key.clone(), Some(resolved)).flatten()
    }

    /// The object is gone.
    pub(super) fn remove(&self, key: &ProviderKey) -> Option<Resolved> {
        lock(&self.known).remove(key).flatten()
    }

    /// What it was resolved to.
    pub(super) fn get(&self, key: &ProviderKey) -> Option<Resolved> {
        lock(&self.known).get(key).cloned().flatten()
    }

    /// All that are resolved.
    pub(super) fn all(&self) -> Vec<(ProviderKey, Resolved)> {
        let all = lock(&self.known);
        all.iter().filter_map(|(key, resolved)| Some((key.clone(), resolved.clone()?))).collect()
    }

    /// Who refers to this object.
    pub(super) fn referring_to(&self, object: &ObjectKey) -> Vec<ProviderKey> {
        let refers = |(_, resolved): &(&ProviderKey, &Option<Resolved>)| {
            resolved.as_ref().is_some_and(|resolved| resolved.refers.contains_key(object))
        };
        lock(&self.known).iter().filter(refers).map(|(key, _)| key.clone()).collect()
    }

    /// The type of the providers that use this budget.
    pub(super) fn type_of(&self, account: &AccountKey) -> Option<&'static str> {
        self.sharing(account).first().map(|used| used.type_name)
    }

    /// The accounts of all provider objects that use this budget.
    pub(super) fn sharing(&self, account: &AccountKey) -> Vec<Arc<Account>> {
        let state = |resolved: &Option<Resolved>| resolved.as_ref().and_then(|r| r.state.as_ref().ok()).cloned();
        lock(&self.known).values().filter_map(state).filter(|used| used.key == *account).collect()
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
    let way_out = match &key.namespace {
        Some(namespace) => format!(
            "there is none of that name in namespace {namespace}: create it, or set kind: ClusterTokenProvider if the \
             cluster's is meant"
        ),
        None => "there is none of that name: create it, or set kind: TokenProvider if one of this namespace is meant"
            .to_owned(),
    };
    Refusal::new("ProviderNotFound", format!("spec.providerRef: {key}: {way_out}"))
}
