//! References of a provider object: credentials, which must be for the operator, and CA bundles.

use super::allowed_hosts::Guarded;
use super::spec::Owner;
use super::text::{Blanks, text, without_mark};
use crate::azure_auth::AssertionSource;
use async_trait::async_trait;
use chrono::TimeDelta;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use parking_lot::{Mutex, MutexGuard};
use secrecy::{ExposeSecret, SecretSlice, SecretString};
use std::collections::BTreeMap;
use std::sync::Arc;
use videotoken_api::key::ObjectKey;
use videotoken_api::names;
use videotoken_api::provider::{CaBundleKind, LARGEST_CA_BUNDLE, ProviderSpec, SecretKeyRef};
use videotoken_api::request::FieldError;
use videotoken_core::plan::facts::resource_version;
use videotoken_core::plan::view::Refusal;

/// Source of the objects that a spec refers to.
#[async_trait]
pub trait ReferenceSource: Send + Sync {
    /// Returns a whole Secret, or `None` if it doesn't exist.
    async fn secret(&self, key: &ObjectKey) -> Result<Option<Secret>, Unreadable>;

    /// Returns a whole `ConfigMap`, or `None` if it doesn't exist.
    async fn config_map(&self, key: &ObjectKey) -> Result<Option<ConfigMap>, Unreadable>;

    /// Returns the annotations of a `ServiceAccount`, or `None` if it doesn't exist.
    async fn service_account(&self, key: &ObjectKey) -> Result<Option<BTreeMap<String, String>>, Unreadable>;

    /// Returns the source of assertions of this `ServiceAccount` for this audience. The source supplies assertions only
    /// while the `ServiceAccount` permits sending them to `sent_to`.
    fn assertions(
        &self,
        account: &ObjectKey,
        audience: &str,
        sent_to: &Guarded,
    ) -> Result<Arc<dyn AssertionSource>, Refusal>;

    /// Returns true if the reader of a message has the Secrets anyway, so that it may list the keys of a Secret.
    fn shows_keys(&self) -> bool {
        false
    }

    /// Returns the value that a command-line flag supplies for this key instead of the Secret or `ConfigMap`. It needs
    /// no label, because only the user of the command can set flags.
    fn override_value(&self, _object: &ObjectKey, _key: &str) -> Result<Option<SecretSlice<u8>>, Unreadable> {
        Ok(None)
    }
}

/// Reason why an object is currently unreadable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unreadable(pub String);

/// Use of a credential.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    /// Sent to the destinations of the references.
    Sent,
    /// Signs tokens in this process.
    Signs,
}

/// Reads the references of one provider object, and records the objects that it reads.
pub struct References<'a> {
    source: &'a dyn ReferenceSource,
    owner: Owner,
    namespace: &'a str,
    /// Destinations that a credential must permit.
    sent_to: Guarded,
    seen: Arc<Mutex<BTreeMap<ObjectKey, u64>>>,
}

impl<'a> References<'a> {
    /// Creates references, which resolve in `namespace` only.
    pub fn new(source: &'a dyn ReferenceSource, owner: Owner, namespace: &'a str) -> Self {
        Self { source, owner, namespace, sent_to: Guarded::PUBLIC, seen: Arc::default() }
    }

    /// Returns the owner of the provider object.
    pub fn owner(&self) -> Owner {
        self.owner
    }

    /// Returns the namespace of the references.
    pub fn namespace(&self) -> &str {
        self.namespace
    }

    /// Returns the source of assertions of this `ServiceAccount` for this audience. In a namespace, the
    /// `ServiceAccount` must permit the destinations of its assertions, as a credential must: a user that can write a
    /// provider isn't necessarily the owner of the `ServiceAccount`.
    pub async fn assertions(
        &self,
        field: &str,
        name: &str,
        audience: &str,
    ) -> Result<Arc<dyn AssertionSource>, Refusal> {
        let account = ObjectKey::new(self.namespace, name);
        let sent_to = if self.owner == Owner::Namespace { &self.sent_to } else { &Guarded::PUBLIC };
        let source = self.source.assertions(&account, audience, sent_to)?;
        if sent_to.urls.is_empty() {
            return Ok(source);
        }
        let read = self.source.service_account(&account).await.map_err(|error| unreadable(field, &error))?;
        let annotations = read.ok_or_else(|| {
            let message =
                format!("{field}: there is no ServiceAccount {name} in namespace {}: create it", self.namespace);
            Refusal::new("ServiceAccountMissing", message).retry_after(ACCOUNTS_ARE_NOT_WATCHED)
        })?;
        match not_allowed(sent_to, annotations.get(names::ALLOWED_HOSTS), "serviceaccount", &account) {
            None => Ok(source),
            Some(why) => Err(Refusal::new("CredentialsHostNotAllowed", format!("{field}: {why}"))
                .retry_after(ACCOUNTS_ARE_NOT_WATCHED)),
        }
    }

    /// Returns references for credentials that are sent to these URLs, which are not public URLs of the provider.
    #[must_use]
    pub fn for_hosts(&self, sent_to: Guarded) -> Self {
        Self { source: self.source, owner: self.owner, namespace: self.namespace, sent_to, seen: self.seen.clone() }
    }

    /// Returns the objects that were read, each with its resourceVersion. 0 means that the object didn't exist.
    pub fn seen(&self) -> BTreeMap<ObjectKey, u64> {
        self.noted().clone()
    }

    fn noted(&self) -> MutexGuard<'_, BTreeMap<ObjectKey, u64>> {
        self.seen.lock()
    }

    /// Returns the credential under one key of a Secret.
    pub async fn credential(&self, field: &str, reference: &SecretKeyRef) -> Result<SecretString, Refusal> {
        self.credential_key(field, &reference.name, &reference.key).await
    }

    /// Returns the credential under one key of a Secret. The Secret must carry the label and permit the hosts that
    /// receive the credential.
    pub async fn credential_key(&self, field: &str, name: &str, key: &str) -> Result<SecretString, Refusal> {
        self.read(field, name, key, Use::Sent).await
    }

    /// Returns the key that signs. In a namespace, the Secret must say that its keys may sign: a user that can write a
    /// provider, but can't read the Secret, could otherwise sign with any credential of the namespace.
    pub async fn signing_key(&self, field: &str, reference: &SecretKeyRef) -> Result<SecretString, Refusal> {
        self.read(field, &reference.name, &reference.key, Use::Signs).await
    }

    async fn read(&self, field: &str, name: &str, key: &str, used: Use) -> Result<SecretString, Refusal> {
        if let Some(value) = self.override_value(field, name, key)? {
            return self.text(field, name, key, value.expose_secret(), Blanks::Cut);
        }
        let secret = self.secret(field, name).await?;
        self.check_credential_labels(field, name, &secret)?;
        let is_true = |annotation: &str| {
            let annotations = secret.metadata.annotations.as_ref();
            annotations.and_then(|all| all.get(annotation)).is_some_and(|value| value == "true")
        };
        if used == Use::Signs && self.owner == Owner::Namespace && !is_true(names::SIGNING_KEY) {
            let namespace = self.namespace;
            let message = format!(
                "{field}: the Secret {name} doesn't say that a TokenProvider may sign with its keys: kubectl annotate \
                 secret -n {namespace} {name} {}=true",
                names::SIGNING_KEY
            );
            return Err(Refusal::new("CredentialsNotForSigning", message));
        }
        let bytes = secret.data.as_ref().and_then(|data| data.get(key)).map(|bytes| bytes.0.as_slice());
        let blanks = if is_true(names::KEEP_WHITESPACE) { Blanks::Kept } else { Blanks::Cut };
        if bytes.is_none() && self.source.shows_keys() {
            let namespace = self.namespace;
            let keys: Vec<_> = secret.data.iter().flat_map(BTreeMap::keys).map(String::as_str).collect();
            let keys = if keys.is_empty() { "no keys".to_owned() } else { format!("only {}", keys.join(", ")) };
            let message = format!("{field}: the Secret {name} in namespace {namespace} has no key {key}, but {keys}");
            return Err(Refusal::new("CredentialsMissing", message));
        }
        self.text(field, name, key, bytes.unwrap_or_default(), blanks)
    }

    /// Returns the credential in the bytes of a key.
    fn text(&self, field: &str, name: &str, key: &str, bytes: &[u8], blanks: Blanks) -> Result<SecretString, Refusal> {
        let namespace = self.namespace;
        let missing = || {
            let message =
                format!("{field}: the Secret {name} in namespace {namespace} has no text under the key {key}");
            Refusal::new("CredentialsMissing", message)
        };
        let text = text(bytes, blanks).map_err(|why| {
            let message =
                format!("{field}: what the Secret {name} in namespace {namespace} holds under the key {key} {why}");
            Refusal::new("CredentialsUnusable", message)
        })?;
        text.ok_or_else(missing)
    }

    fn override_value(&self, field: &str, name: &str, key: &str) -> Result<Option<SecretSlice<u8>>, Refusal> {
        let value = self.source.override_value(&ObjectKey::new(self.namespace, name), key);
        value.map_err(|error| unreadable(field, &error))
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

    fn check_credential_labels(&self, field: &str, name: &str, secret: &Secret) -> Result<(), Refusal> {
        let namespace = self.namespace;
        if !is_labelled(secret) {
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
        let object = ObjectKey::new(namespace, name);
        not_allowed(&self.sent_to, allowed, "secret", &object)
            .map_or(Ok(()), |why| Err(Refusal::new("CredentialsHostNotAllowed", format!("{field}: {why}"))))
    }

    fn no_ca_secret(&self, field: &str, name: &str) -> Refusal {
        let (namespace, label) = (self.namespace, names::CREDENTIALS);
        let message = format!(
            "{field}: there is no Secret {name} in namespace {namespace} that is labelled for this operator: create it, \
             kubectl label secret -n {namespace} {name} {label}=true, or keep the CAs in a ConfigMap"
        );
        Refusal::new("CaBundleMissing", message).retry_after(TimeDelta::minutes(1))
    }

    /// Returns the provider's own CAs in PEM format, if the spec sets any.
    pub async fn ca(&self, spec: &ProviderSpec) -> Result<Option<String>, Refusal> {
        const FIELD: &str = "spec.caBundleRef";
        let Some(reference) = &spec.ca_bundle_ref else {
            let bundle = spec.ca_bundle.as_deref().map(without_mark);
            return bundle.map(|pem| short_enough("spec.caBundle", pem, LARGEST_CA_BUNDLE)).transpose();
        };
        let (name, key) = (&reference.name, &reference.key);
        if let Some(value) = self.override_value(FIELD, name, key)? {
            let text = std::str::from_utf8(value.expose_secret()).map_err(|_| {
                Refusal::new("CaBundleMissing", format!("{FIELD}: what is handed over for {name} isn't PEM in UTF-8"))
            })?;
            return short_enough(FIELD, without_mark(text), LARGEST_CA_OBJECT).map(Some);
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
                // A Secret without the label counts as missing. Otherwise a provider could probe its name and keys.
                let read = read.filter(is_labelled);
                let version = read.as_ref().and_then(|secret| secret.metadata.resource_version.clone());
                if read.is_none() {
                    self.noted().insert(object, 0);
                    return Err(self.no_ca_secret(FIELD, name));
                }
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
            Refusal::new("CaBundleMissing", message).retry_after(CONFIG_MAPS_ARE_NOT_WATCHED)
        })?;
        short_enough(FIELD, without_mark(&text), LARGEST_CA_OBJECT).map(Some)
    }
}

/// Returns the field of a provider's own CAs, for messages.
pub(super) fn ca_source(spec: &ProviderSpec) -> String {
    match &spec.ca_bundle_ref {
        None => "spec.caBundle".to_owned(),
        Some(reference) => {
            let kind = match &reference.kind {
                CaBundleKind::ConfigMap => "ConfigMap",
                CaBundleKind::Secret => "Secret",
                CaBundleKind::Other(kind) => kind,
            };
            format!("spec.caBundleRef ({kind} {}, key {})", reference.name, reference.key)
        }
    }
}

/// Returns the rejection of unusable CAs. CAs from a `ConfigMap` are read again later, because `ConfigMap`s are not
/// watched.
pub(super) fn unfit_ca(spec: &ProviderSpec, error: &FieldError) -> Refusal {
    let refusal = Refusal::new("InvalidSpec", error.to_string());
    let unwatched = spec.ca_bundle_ref.as_ref().is_some_and(|reference| reference.kind == CaBundleKind::ConfigMap);
    if unwatched { refusal.retry_after(CONFIG_MAPS_ARE_NOT_WATCHED) } else { refusal }
}

/// Delay before an unusable `ConfigMap` is read again the first time. `ConfigMap`s are not watched.
const CONFIG_MAPS_ARE_NOT_WATCHED: TimeDelta = TimeDelta::seconds(5);

/// Maximum bytes of CAs in a referenced object. The whole bundle of a system fits.
const LARGEST_CA_OBJECT: usize = 256 * 1024;

fn short_enough(field: &str, pem: &str, most: usize) -> Result<String, Refusal> {
    if pem.len() <= most {
        return Ok(pem.to_owned());
    }
    let message = format!("{field}: is longer than {} KiB; name only the CAs of this provider", most / 1024);
    Err(Refusal::new("InvalidSpec", message))
}

/// Delay before an unsuitable `ServiceAccount` is read again. `ServiceAccount`s are not watched.
const ACCOUNTS_ARE_NOT_WATCHED: TimeDelta = TimeDelta::seconds(10);

/// Returns true if the Secret carries the label for credentials of the operator.
fn is_labelled(secret: &Secret) -> bool {
    let labels = secret.metadata.labels.as_ref();
    labels.and_then(|labels| labels.get(names::CREDENTIALS)).is_some_and(|value| value == "true")
}

/// Returns the reason why the annotation of an object forbids these destinations, with the command that permits them.
/// `kind` is the name that kubectl uses.
pub fn not_allowed(sent_to: &Guarded, annotation: Option<&String>, kind: &str, object: &ObjectKey) -> Option<String> {
    let missing = sent_to.missing(annotation.map(String::as_str))?;
    let ObjectKey { namespace, name } = object;
    let shown = if kind == "secret" { "Secret" } else { "ServiceAccount" };
    Some(format!(
        "the {shown} {name} doesn't allow the host {}{}: kubectl annotate {kind} -n {namespace} {name} --overwrite {}={}",
        missing.host,
        sent_to.because,
        names::ALLOWED_HOSTS,
        missing.annotation
    ))
}

fn unreadable(field: &str, error: &Unreadable) -> Refusal {
    Refusal::new("ReferenceUnreadable", format!("{field}: {error}")).retry_after(TimeDelta::seconds(10))
}
