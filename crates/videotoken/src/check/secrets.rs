//! Secrets among the objects: what the API server rejects in one that holds credentials, and what the operator rejects
//! where a provider refers to it. A Secret that isn't among the objects may exist in the cluster.

use super::Violation;
use crate::manifest::{Object, Path, Step};
use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use videotoken_api::key::ObjectKey;
use videotoken_api::names::OPERATOR;
use videotoken_core::plan::view::Refusal;
use videotoken_providers::azure_auth::AssertionSource;
use videotoken_providers::provider_setup::{Guarded, ReferenceSource, Unreadable};

/// Returns the member of a Secret that can't be read, and what to write there. The message has no value.
pub(crate) fn unreadable(object: &Object) -> Option<(Path, String)> {
    let members = |path: &Path, value: &Value| {
        let all = value.as_object().into_iter().flatten();
        all.map(|(key, value)| (path.with(Step::Key(key.clone())), value.clone())).collect::<Vec<_>>()
    };
    let root = Path::default();
    let metadata = &object.value["metadata"];
    let texts = [
        (root.field("metadata").field("labels"), &metadata["labels"]),
        (root.field("metadata").field("annotations"), &metadata["annotations"]),
        (root.field("stringData"), &object.value["stringData"]),
    ];
    for (path, value) in texts.iter().flat_map(|(path, value)| members(path, value)) {
        if !value.is_string() && !value.is_null() {
            let shown = if value.is_boolean() { format!(", such as \"{value}\"") } else { String::new() };
            return Some((path, format!("must be a text: write it in quotation marks{shown}")));
        }
    }
    for (path, value) in members(&root.field("data"), &object.value["data"]) {
        let is_base64 = value.as_str().is_some_and(|text| STANDARD.decode(text).is_ok());
        if !is_base64 && !value.is_null() {
            return Some((path, "is no base64: write plain text under stringData instead of data".to_owned()));
        }
    }
    None
}

/// Returns the Secret as the API server stores it, with `stringData` in `data`.
pub(crate) fn as_stored(mut secret: Secret) -> Secret {
    let plain = secret.string_data.take().unwrap_or_default();
    let data = secret.data.get_or_insert_default();
    data.extend(plain.into_iter().map(|(key, text)| (key, ByteString(text.into_bytes()))));
    secret
}

/// Secrets of the objects, as the API server would store them.
pub(super) struct Secrets(HashMap<ObjectKey, Secret>);

impl Secrets {
    /// Reads the Secrets of the objects. Those that can't be read are absent.
    pub(super) fn from_objects(objects: &[Object], home: &str) -> Self {
        let secrets = objects.iter().filter(|object| object.is("v1", "Secret") && unreadable(object).is_none());
        let read = secrets.filter_map(|object| {
            let secret = serde_json::from_value(object.value.clone()).ok()?;
            Some((ObjectKey::new(object.namespace().unwrap_or(home), object.name()), as_stored(secret)))
        });
        Self(read.collect())
    }

    /// Returns true if this Secret is among the objects and has keys. A Secret without any is filled elsewhere.
    pub(super) fn has(&self, namespace: &str, name: &str) -> bool {
        let secret = self.0.get(&ObjectKey::new(namespace, name));
        secret.is_some_and(|secret| secret.data.as_ref().is_some_and(|data| !data.is_empty()))
    }

    /// Returns the namespaces of the Secrets of this name.
    pub(super) fn namespaces(&self, name: &str) -> Vec<&str> {
        let mut all: Vec<_> = self.0.keys().filter(|key| &*key.name == name).map(|key| &*key.namespace).collect();
        all.sort_unstable();
        all
    }
}

/// Namespace of the Secrets of a `ClusterTokenProvider`, unless a flag of the operator sets another one.
pub(super) const HOME: &str = OPERATOR;

/// Returns the violation that a refusal describes, if it is about a Secret and not about what a placeholder holds.
pub(super) fn refused(refusal: &Refusal) -> Option<Violation> {
    const REASONS: [&str; 4] =
        ["CredentialsMissing", "CredentialsUnlabelled", "CredentialsHostNotAllowed", "CredentialsNotForSigning"];
    if !REASONS.contains(&&*refusal.reason) {
        return None;
    }
    let (field, message) = refusal.message.split_once(": ")?;
    Some(Violation::new(&Path::parse(field), message))
}

#[async_trait]
impl ReferenceSource for Secrets {
    async fn secret(&self, key: &ObjectKey) -> Result<Option<Secret>, Unreadable> {
        Ok(self.0.get(key).cloned())
    }

    async fn config_map(&self, _: &ObjectKey) -> Result<Option<ConfigMap>, Unreadable> {
        Ok(None)
    }

    async fn service_account(&self, _: &ObjectKey) -> Result<Option<BTreeMap<String, String>>, Unreadable> {
        Ok(None)
    }

    fn assertions(&self, _: &ObjectKey, _: &str, _: &Guarded) -> Result<Arc<dyn AssertionSource>, Refusal> {
        Err(Refusal::new("NeedsCluster", "only an API server issues tokens of ServiceAccounts"))
    }

    fn shows_keys(&self) -> bool {
        true
    }
}
