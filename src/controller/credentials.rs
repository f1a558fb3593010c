//! What a provider object refers to: credentials, which must be meant for us, and CA bundles.

use super::apply::{Applier, ApplyError};
use super::secrets::lock;
use crate::api::key::ObjectKey;
use crate::api::names;
use crate::api::provider::{CaBundleKind, ProviderSpec, SecretKeyRef};
use crate::plan::facts::resource_version;
use crate::plan::view::Refusal;
use chrono::TimeDelta;
use k8s_openapi::api::core::v1::Secret;
use secrecy::SecretString;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// Reads for one provider object, and notes what it read.
pub(super) struct References<'a> {
    applier: &'a Applier,
    namespace: &'a str,
    /// The hosts that a credential must allow, where the provider has no fixed public ones.
    hosts: Vec<String>,
    seen: Arc<Mutex<BTreeMap<ObjectKey, u64>>>,
}

impl<'a> References<'a> {
    /// References of a provider resolve in `namespace` and nowhere else.
    pub(super) fn new(applier: &'a Applier, namespace: &'a str) -> Self {
        Self { applier, namespace, hosts: Vec::new(), seen: Arc::default() }
    }

    /// The same for credentials that are sent to these hosts, which are no public ones of their provider.
    #[must_use]
    pub(super) fn sent_to(&self, hosts: Vec<String>) -> Self {
        Self { applier: self.applier, namespace: self.namespace, hosts, seen: self.seen.clone() }
    }

    /// The objects that were asked for, with the resourceVersion that each had (0: it wasn't there).
    pub(super) fn seen(&self) -> BTreeMap<ObjectKey, u64> {
        lock(&self.seen).clone()
    }

    /// One key of a credential Secret.
    pub(super) async fn credential(&self, field: &str, reference: &SecretKeyRef) -> Result<SecretString, Refusal> {
        self.credential_key(field, &reference.name, &reference.key).await
    }

    /// One key of a credential Secret that carries the label, and allows the hosts that it would be sent to.
    pub(super) async fn credential_key(&self, field: &str, name: &str, key: &str) -> Result<SecretString, Refusal> {
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

    async fn secret(&self, field: &str, name: &str) -> Result<Secret, Refusal> {
        let object = ObjectKey::new(self.namespace, name);
        let read = self.applier.read(&object).await.map_err(|error| unreadable(field, &error))?;
        let version = read.as_ref().map_or(0, |s| resource_version(s.metadata.resource_version.as_deref()));
        lock(&self.seen).insert(object, version);
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
    pub(super) async fn ca(&self, spec: &ProviderSpec) -> Result<Option<String>, Refusal> {
        const FIELD: &str = "spec.caBundleRef";
        let Some(reference) = &spec.ca_bundle_ref else { return Ok(spec.ca_bundle.clone()) };
        let (name, key) = (&reference.name, &reference.key);
        let object = ObjectKey::new(self.namespace, name);
        let (version, text) = match &reference.kind {
            CaBundleKind::ConfigMap => {
                let read = self.applier.config_map(&object).await.map_err(|error| unreadable(FIELD, &error))?;
                let version = read.as_ref().and_then(|map| map.metadata.resource_version.clone());
                (version, read.and_then(|map| map.data?.remove(key)))
            }
            CaBundleKind::Secret => {
                let read = self.applier.read(&object).await.map_err(|error| unreadable(FIELD, &error))?;
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
        lock(&self.seen).insert(object, resource_version(version.as_deref()));
        text.map(Some).ok_or_else(|| {
            let message =
                format!("{FIELD}: there is no text under the key {key} of {name} in namespace {}", self.namespace);
            Refusal::new("CaBundleMissing", message).again(TimeDelta::minutes(1))
        })
    }
}

fn unreadable(field: &str, error: &ApplyError) -> Refusal {
    Refusal::new("ReferenceUnreadable", format!("{field}: {error}")).again(TimeDelta::seconds(10))
}
