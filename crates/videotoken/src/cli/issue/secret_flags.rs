//! Flags that supply credentials: they contain the names of files and variables, never values.

use super::source::Manifests;
use crate::manifest::Object;
use clap::Args;
use secrecy::SecretSlice;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;
use videotoken_api::duration::flag as duration;
use videotoken_api::names::OPERATOR;
use videotoken_providers::hosts::{HostPattern, NetworkGuard};
use videotoken_providers::provider_setup::{OutboundPolicy, Owner, Unreadable};

/// Largest credential in bytes.
const MAX_SIZE: u64 = 64 * 1024;

/// Where the credentials of a provider come from, and what they may be sent to.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct CredentialFlags {
    /// Namespace of objects without a namespace
    #[arg(short, long, value_name = "NAMESPACE", default_value = "default")]
    pub namespace: String,

    /// Read a key of a Secret or ConfigMap from a file, or all keys from a directory; repeatable
    #[arg(long, value_name = "NAME/KEY=PATH|NAME=DIR")]
    pub secret_file: Vec<FromFile>,

    /// Read a key of a Secret or ConfigMap from an environment variable; repeatable
    #[arg(long, value_name = "NAME/KEY=VARIABLE")]
    pub secret_env: Vec<FromEnvironment>,

    /// Namespace of the Secrets and ConfigMaps of ClusterTokenProviders
    #[arg(long, env = "VTO_CLUSTER_RESOURCE_NAMESPACE", value_name = "NAMESPACE", default_value = OPERATOR)]
    pub cluster_resource_namespace: String,

    /// Host that a TokenProvider may call in addition to the public hosts of its token API; repeatable
    #[arg(long = "allowed-endpoint", env = "VTO_ALLOWED_ENDPOINT", value_delimiter = ',', value_name = "PATTERN")]
    pub allowed_endpoints: Vec<HostPattern>,

    /// Timeout of one call of a token API
    #[arg(long, env = "VTO_PROVIDER_TIMEOUT", value_name = "DURATION", default_value = "10s", value_parser = duration)]
    pub provider_timeout: Duration,
}

impl CredentialFlags {
    /// Returns the Secrets and `ConfigMap`s of the manifests and the flags.
    ///
    /// # Errors
    /// Returns a message if a manifest of a Secret or `ConfigMap` is invalid.
    pub(in crate::cli) fn manifests(&self, objects: &[Object]) -> Result<Manifests, String> {
        Manifests::new(objects, &self.namespace, self.secret_file.clone(), self.secret_env.clone())
    }

    /// Returns the first flag that supplies none of these keys, as it was written, and without its file or variable.
    pub(in crate::cli) fn unused(&self, keys: &[(&str, &str)]) -> Option<String> {
        let is_used = |name: &str, key: Option<&str>| {
            keys.iter().any(|(known, wanted)| *known == name && key.is_none_or(|key| key == *wanted))
        };
        let shown = |flag: &str, name: &str, key: Option<&str>| match key {
            Some(key) => format!("{flag} {name}/{key}"),
            None => format!("{flag} {name}"),
        };
        let files = self.secret_file.iter().map(|file| ("--secret-file", file.name.as_str(), file.key.as_deref()));
        let variables =
            self.secret_env.iter().map(|from| ("--secret-env", from.name.as_str(), Some(from.key.as_str())));
        let mut unused = files.chain(variables).filter(|(_, name, key)| !is_used(name, *key));
        unused.next().map(|(flag, name, key)| shown(flag, name, key))
    }

    /// Returns the namespace of the Secrets and `ConfigMap`s of a provider; `namespace` is that of a `TokenProvider`.
    pub(in crate::cli) fn home<'a>(&'a self, owner: Owner, namespace: &'a str) -> &'a str {
        match owner {
            Owner::Cluster => &self.cluster_resource_namespace,
            Owner::Namespace => namespace,
        }
    }

    /// Returns the reach of calls over TLS.
    pub(in crate::cli) fn reach(&self) -> OutboundPolicy {
        OutboundPolicy {
            network: Arc::new(NetworkGuard { allowed: self.allowed_endpoints.clone(), ..NetworkGuard::default() }),
            allow_insecure: false,
            timeout: self.provider_timeout,
            metadata_endpoint: None,
            transport: None,
        }
    }
}

/// `NAME/KEY=PATH`: one key of a Secret or ConfigMap; or `NAME=DIRECTORY`: one file for each key, as in a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FromFile {
    name: String,
    key: Option<String>,
    path: PathBuf,
}

impl FromStr for FromFile {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (of, path) = split(text, '=', "write NAME/KEY=PATH, or NAME=DIRECTORY")?;
        let (name, key) = match of.split_once('/') {
            None => (of, None),
            Some((name, key)) if !name.is_empty() && !key.is_empty() => (name, Some(key.to_owned())),
            Some(_) => return Err("write NAME/KEY=PATH, or NAME=DIRECTORY".to_owned()),
        };
        Ok(Self { name: name.to_owned(), key, path: path.into() })
    }
}

impl FromFile {
    /// Returns the bytes of this key, if this flag supplies it. The file is read each time, because it may change.
    pub(super) fn read(&self, name: &str, key: &str) -> Option<Result<SecretSlice<u8>, Unreadable>> {
        if self.name != name || self.key.as_deref().is_some_and(|own| own != key) {
            return None;
        }
        let path = if self.key.is_some() { self.path.clone() } else { self.path.join(key) };
        Some(bytes_of(&path))
    }
}

fn bytes_of(path: &Path) -> Result<SecretSlice<u8>, Unreadable> {
    let unreadable = |why: String| Unreadable(format!("--secret-file {}: {why}", path.display()));
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(|error| unreadable(error.to_string()))?;
    file.take(MAX_SIZE).read_to_end(&mut bytes).map_err(|error| unreadable(error.to_string()))?;
    not_empty(bytes).ok_or_else(|| unreadable("the file is empty".to_owned()))
}

/// `NAME/KEY=VARIABLE`: one key of a Secret or ConfigMap, in an environment variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FromEnvironment {
    name: String,
    key: String,
    variable: String,
}

impl FromStr for FromEnvironment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const FORM: &str = "write NAME/KEY=VARIABLE";
        let (of, variable) = split(text, '=', FORM)?;
        let (name, key) = split(of, '/', FORM)?;
        Ok(Self { name: name.to_owned(), key: key.to_owned(), variable: variable.to_owned() })
    }
}

impl FromEnvironment {
    /// Returns the name of the variable.
    pub(super) fn variable(&self) -> &str {
        &self.variable
    }

    /// Returns the bytes of this key, if this flag supplies it.
    pub(super) fn read(&self, name: &str, key: &str) -> Option<Result<SecretSlice<u8>, Unreadable>> {
        if self.name != name || self.key != key {
            return None;
        }
        let text = std::env::var_os(&self.variable).and_then(|text| not_empty(text.into_encoded_bytes()));
        let missing = || Unreadable(format!("--secret-env: the variable {} is not set or is empty", self.variable));
        Some(text.ok_or_else(missing))
    }
}

fn split<'a>(text: &'a str, at: char, form: &str) -> Result<(&'a str, &'a str), String> {
    text.split_once(at).filter(|(before, after)| !before.is_empty() && !after.is_empty()).ok_or_else(|| form.to_owned())
}

/// Returns the bytes unless they are blank. A trailing line break is removed as in a Secret.
fn not_empty(bytes: Vec<u8>) -> Option<SecretSlice<u8>> {
    (!bytes.trim_ascii().is_empty()).then(|| bytes.into())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret;

    #[test]
    fn a_flag_supplies_a_key_of_an_object() {
        let folder = std::env::temp_dir().join(format!("handed-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("key"), "one\n").unwrap();
        std::fs::write(folder.join("empty"), "\n").unwrap();
        for (form, name, key, expected) in [
            (format!("s/key={}/key", folder.display()), "s", "key", Some(Ok("one\n"))),
            (format!("s/key={}/key", folder.display()), "s", "other", None),
            (format!("s/key={}/key", folder.display()), "t", "key", None),
            (format!("s={}", folder.display()), "s", "key", Some(Ok("one\n"))),
            (format!("s={}", folder.display()), "s", "none", Some(Err("No such file"))),
            (format!("s={}", folder.display()), "s", "empty", Some(Err("the file is empty"))),
        ] {
            let read = form.parse::<FromFile>().unwrap().read(name, key);
            match (read, expected) {
                (None, None) => {}
                (Some(Ok(text)), Some(Ok(expected))) => assert_eq!(text.expose_secret(), expected.as_bytes(), "{form}"),
                (Some(Err(error)), Some(Err(expected))) => assert!(error.0.contains(expected), "{form}: {error}"),
                (read, _) => assert!(read.is_none() && expected.is_none(), "{form} {name} {key}"),
            }
        }
        std::fs::remove_dir_all(folder).unwrap();
        for wrong in ["s", "s/=x", "/k=x", "s/k=", "=x", ""] {
            assert!(wrong.parse::<FromFile>().is_err(), "{wrong}");
            assert!(wrong.parse::<FromEnvironment>().is_err(), "{wrong}");
        }
        assert!("s=x".parse::<FromEnvironment>().is_err());
        let unset = "s/k=VTO_NOT_SET_ANYWHERE".parse::<FromEnvironment>().unwrap();
        assert!(unset.read("s", "k").unwrap().unwrap_err().0.contains("VTO_NOT_SET_ANYWHERE"));
    }
}
