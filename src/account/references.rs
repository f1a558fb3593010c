//! What a provider object refers to: credentials, which must be meant for us, and CA bundles.

use super::spec::Owner;
use crate::api::key::ObjectKey;
use crate::api::names;
use crate::api::provider::{CaBundleKind, LARGEST_CA_BUNDLE, ProviderSpec, SecretKeyRef};
use crate::issuer::azure_auth::AssertionSource;
use crate::plan::facts::resource_version;
use crate::plan::view::Refusal;
use async_trait::async_trait;
use chrono::TimeDelta;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use secrecy::{ExposeSecret, SecretString};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Where the objects are that a spec refers to.
#[async_trait]
pub trait Source: Send + Sync {
    /// A whole Secret. `None`: there is none.
    async fn secret(&self, key: &ObjectKey) -> Result<Option<Secret>, Unreadable>;

    /// A whole `ConfigMap`. `None`: there is none.
    async fn config_map(&self, key: &ObjectKey) -> Result<Option<ConfigMap>, Unreadable>;

    /// Who makes assertions of this `ServiceAccount` for this audience.
    fn assertions(&self, account: &ObjectKey, audience: &str) -> Result<Arc<dyn AssertionSource>, Refusal>;

    /// What whoever runs the process hands over himself, in place of that key of that Secret or `ConfigMap`. It needs no
    /// label: nobody else can have put it there.
    fn handed(&self, _object: &ObjectKey, _key: &str) -> Result<Option<SecretString>, Unreadable> {
        Ok(None)
    }
}

/// What can't be read just now, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unreadable(pub String);

/// Reads for one provider object, and notes what it read.
pub struct References<'a> {
    source: &'a dyn Source,
    owner: Owner,
    namespace: &'a str,
    /// The hosts that a credential must allow, where the provider has no fixed public ones.
    hosts: Vec<String>,
    seen: Arc<Mutex<BTreeMap<ObjectKey, u64>>>,
}

impl<'a> References<'a> {
    /// References of a provider resolve in `namespace` and nowhere else.
    pub fn new(source: &'a dyn Source, owner: Owner, namespace: &'a str) -> Self {
        Self { source, owner, namespace, hosts: Vec::new(), seen: Arc::default() }
    }

    /// Whose the provider object is.
    pub fn owner(&self) -> Owner {
        self.owner
    }

    /// Where its references resolve.
    pub fn namespace(&self) -> &str {
        self.namespace
    }

    /// Who makes assertions of the `ServiceAccount` of this name for this audience.
    pub fn assertions(&self, name: &str, audience: &str) -> Result<Arc<dyn AssertionSource>, Refusal> {
        self.source.assertions(&ObjectKey::new(self.namespace, name), audience)
    }

    /// The same for credentials that are sent to these hosts, which are no public ones of their provider.
    #[must_use]
    pub fn sent_to(&self, hosts: Vec<String>) -> Self {
        Self { source: self.source, owner: self.owner, namespace: self.namespace, hosts, seen: self.seen.clone() }
    }

    /// The objects that were asked for, with the resourceVersion that each had (0: it wasn't there).
    pub fn seen(&self) -> BTreeMap<ObjectKey, u64> {
        self.noted().clone()
    }

    fn noted(&self) -> MutexGuard<'_, BTreeMap<ObjectKey, u64>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One key of a credential Secret.
    pub async fn credential(&self, field: &str, reference: &SecretKeyRef) -> Result<SecretString, Refusal> {
        self.credential_key(field, &reference.name, &reference.key).await
    }

    /// One key of a credential Secret that carries the label, and allows the hosts that it would be sent to.
    pub async fn credential_key(&self, field: &str, name: &str, key: &str) -> Result<SecretString, Refusal> {
        if let Some(handed) = self.handed(field, name, key)? {
            return Ok(handed);
        }
        let secret = self.secret(field, name).await?;
        self.meant_for_us(field, name, &secret)?;
        let bytes = secret.data.as_ref().and_then(|data| data.get(key));
        let text = bytes.and_then(|bytes| std::str::from_utf8(&bytes.0).ok()).map(str::trim_end);
        match text {
            Some(text) if !text.is_empty() => Ok(text.into()),
            _ => Err(Refusal::new(
                "CredentialsMissing",
                format!("{field}: the Secret {name} in namespace {} has no text under the key {key}", self.namespace),
            )),
        }
    }

    fn handed(&self, field: &str, name: &str, key: &str) -> Result<Option<SecretString>, Refusal> {
        let handed = self.source.handed(&ObjectKey::new(self.namespace, name), key);
        handed.map_err(|error| unreadable(field, &error))
    }

    async fn secret(&self, field: &str, name: &str) -> Result<Secret, Refusal> {
        let object = ObjectKey::new(self.namespace, name);
        let read = self.source.secret(&object).await.map_err(|error| unreadable(field, &error))?;
        let version = read.as_ref().map_or(0, |s| resource_version(s.metadata.resource_version.as_deref()));
        self.noted().insert(object, version);
        read.ok_or_else(|| {
            Refusal::new(
                "CredentialsMissing",
                format!("{field}: there is no Secret {name} in namespace {}: create it", self.namespace),
            )
        })
    }

    fn meant_for_us(&self, field: &str, name: &str, secret: &Secret) -> Result<(), Refusal> {
        let namespace = self.namespace;
        let labels = secret.metadata.labels.as_ref();
        if labels.and_then(|labels| labels.get(names::CREDENTIALS)).map(String::as_str) != Some("true") {
            return Err(Refusal::new(
                "CredentialsUnlabelled",
                format!(
                    "{field}: the Secret {name} isn't labelled as credentials for this operator, so it isn't used: \
                     kubectl label secret -n {namespace} {name} {}=true",
                    names::CREDENTIALS
                ),
            ));
        }
        let allowed = secret.metadata.annotations.as_ref().and_then(|all| all.get(names::ALLOWED_HOSTS));
        let allowed: Vec<_> = allowed.map(|list| list.split(',').map(str::trim).collect()).unwrap_or_default();
        match self.hosts.iter().find(|host| !allowed.contains(&host.as_str())) {
            None => Ok(()),
            Some(host) => Err(Refusal::new(
                "CredentialsHostNotAllowed",
                format!(
                    "{field}: the Secret {name} doesn't allow the host {host}: kubectl annotate secret -n {namespace} \
                     {name} --overwrite {}={}",
                    names::ALLOWED_HOSTS,
                    self.hosts.join(",")
                ),
            )),
        }
    }

    /// The provider's CAs in PEM, if it names any.
    pub async fn ca(&self, spec: &ProviderSpec) -> Result<Option<String>, Refusal> {
        const FIELD: &str = "spec.caBundleRef";
        let Some(reference) = &spec.ca_bundle_ref else {
            let bundle = spec.ca_bundle.clone();
            return bundle.map(|pem| short_enough("spec.caBundle", pem, LARGEST_CA_BUNDLE)).transpose();
        };
        let (name, key) = (&reference.name, &reference.key);
        if let Some(handed) = self.handed(FIELD, name, key)? {
            return Ok(Some(handed.expose_secret().to_owned()));
        }
        let object = ObjectKey::new(self.namespace, name);
        let (version, text) = match &reference.kind {
            CaBundleKind::ConfigMap => {
                let read = self.source.config_map(&object).await.map_err(|error| unreadable(FIELD, &error))?;
                let version = read.as_ref().and_then(|map| map.metadata.resource_version.clone());
                (version, read.and_then(|map| map.data?.remove(key)))
            }
            CaBundleKind::Secret => {
                let read = self.source.secret(&object).await.map_err(|error| unreadable(FIELD, &error))?;
                let version = read.as_ref().and_then(|secret| secret.metadata.resource_version.clone());
                let bytes = read.and_then(|secret| secret.data?.remove(key));
                (version, bytes.and_then(|bytes| String::from_utf8(bytes.0).ok()))
            }
            CaBundleKind::Other(kind) => {
                return Err(Refusal::new(
                    "InvalidSpec",
                    format!("{FIELD}.kind: must be ConfigMap or Secret, not {kind}"),
                ));
            }
        };
        self.noted().insert(object, resource_version(version.as_deref()));
        let text = text.ok_or_else(|| {
            let message =
                format!("{FIELD}: there is no text under the key {key} of {name} in namespace {}", self.namespace);
            Refusal::new("CaBundleMissing", message).again(TimeDelta::minutes(1))
        })?;
        short_enough(FIELD, text, LARGEST_CA_OBJECT).map(Some)
    }
}

/// Bytes of CAs that a provider refers to: a system's whole bundle.
const LARGEST_CA_OBJECT: usize = 256 * 1024;

fn short_enough(field: &str, pem: String, most: usize) -> Result<String, Refusal> {
    if pem.len() <= most {
        return Ok(pem);
    }
    let message = format!("{field}: is longer than {} KiB; name only the CAs of this provider", most / 1024);
    Err(Refusal::new("InvalidSpec", message))
}

fn unreadable(field: &str, error: &Unreadable) -> Refusal {
    Refusal::new("ReferenceUnreadable", format!("{field}: {error}")).again(TimeDelta::seconds(10))
}
