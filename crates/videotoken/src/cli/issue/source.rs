//! Objects that providers refer to, from the manifests and from flags.

use super::secret_flags::{FromEnvironment, FromFile};
use crate::check::secrets;
use crate::manifest::Object;
use async_trait::async_trait;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use secrecy::SecretSlice;
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use videotoken_api::key::ObjectKey;
use videotoken_core::plan::view::Refusal;
use videotoken_providers::azure_auth::AssertionSource;
use videotoken_providers::provider_setup::{Guarded, ReferenceSource, Unreadable};

/// Secrets and `ConfigMap`s of the manifests.
pub(in crate::cli) struct Manifests {
    secrets: HashMap<ObjectKey, Secret>,
    /// Names of Secrets that only a controller can decrypt.
    sealed: HashSet<ObjectKey>,
    config_maps: HashMap<ObjectKey, ConfigMap>,
    from_files: Vec<FromFile>,
    from_variables: Vec<FromEnvironment>,
}

impl Manifests {
    /// `namespace` is the namespace of objects without one. The error names an object that can't be read, but not its
    /// content.
    pub(in crate::cli) fn new(
        objects: &[Object],
        namespace: &str,
        from_files: Vec<FromFile>,
        from_variables: Vec<FromEnvironment>,
    ) -> Result<Self, String> {
        let mut all = Self {
            secrets: HashMap::new(),
            sealed: HashSet::new(),
            config_maps: HashMap::new(),
            from_files,
            from_variables,
        };
        for object in objects {
            let key = ObjectKey::new(object.namespace().unwrap_or(namespace), object.name());
            if object.is("v1", "Secret") {
                if let Some((path, message)) = secrets::unreadable(object) {
                    let line = object.place(&path).line;
                    return Err(format!("{}:{line}: the Secret {}: {path} {message}", object.file, object.name()));
                }
                all.secrets.insert(key, secrets::as_stored(typed(object)?));
            } else if object.kind() == "SealedSecret" {
                all.sealed.insert(key);
            } else if object.is("v1", "ConfigMap") {
                all.config_maps.insert(key, typed(object)?);
            }
        }
        Ok(all)
    }
}

/// Reads an object. The error names the field but not serde's message, which may quote a value.
fn typed<T: DeserializeOwned>(object: &Object) -> Result<T, String> {
    serde_path_to_error::deserialize(&object.value).map_err(|error| {
        let (line, field) = (object.start().line, error.path().to_string());
        format!("{}:{line}: the {} {} can't be read at {field}", object.file, object.kind(), object.name())
    })
}

#[async_trait]
impl ReferenceSource for Manifests {
    /// A `SealedSecret` can't be read.
    async fn secret(&self, key: &ObjectKey) -> Result<Option<Secret>, Unreadable> {
        let Some(secret) = self.secrets.get(key) else {
            let sealed = self.sealed.contains(key).then(|| {
                Unreadable(format!(
                    "the SealedSecret {} can only be decrypted in a cluster. Supply its keys with --secret-file or \
                     --secret-env.",
                    key.name
                ))
            });
            return sealed.map_or(Ok(None), Err);
        };
        Ok(Some(secret.clone()))
    }

    async fn config_map(&self, key: &ObjectKey) -> Result<Option<ConfigMap>, Unreadable> {
        Ok(self.config_maps.get(key).cloned())
    }

    /// Returns `None`: only an API server issues tokens of ServiceAccounts.
    async fn service_account(&self, _: &ObjectKey) -> Result<Option<BTreeMap<String, String>>, Unreadable> {
        Ok(None)
    }

    fn assertions(&self, account: &ObjectKey, _: &str, _: &Guarded) -> Result<Arc<dyn AssertionSource>, Refusal> {
        let message = format!(
            "spec.videoIndexer.auth.workloadIdentity.serviceAccountName: only an API server issues tokens of the \
             ServiceAccount {account}. Without a cluster, use clientSecret or clientCertificate; or, in a \
             ClusterTokenProvider, workloadIdentity without serviceAccountName, which reads AZURE_FEDERATED_TOKEN_FILE."
        );
        Err(Refusal::new("NeedsCluster", message))
    }

    fn shows_keys(&self) -> bool {
        true
    }

    fn override_value(&self, object: &ObjectKey, key: &str) -> Result<Option<SecretSlice<u8>>, Unreadable> {
        let files = self.from_files.iter().filter_map(|file| file.read(&object.name, key));
        let variables = self.from_variables.iter().filter_map(|variable| variable.read(&object.name, key));
        variables.chain(files).next().transpose()
    }
}
