//! Destinations of an account's issuer: the URLs that it calls, and the Secrets with its credentials. For checks from
//! outside.

use crate::provider;
use crate::provider::Field;
use std::borrow::Cow;
use std::collections::BTreeSet;
use url::Url;
use videotoken_api::provider_types::Account;
use videotoken_api::request::FieldError;

/// URLs that an account's issuer calls, and Secrets with its credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destinations {
    /// URLs that the issuer calls, each with its field as a path from the root of the provider object.
    pub urls: Vec<(Field, Url)>,
    /// Public hosts of the provider.
    pub public_hosts: Vec<Cow<'static, str>>,
    /// Names of the Secrets with the credentials.
    pub secrets: BTreeSet<String>,
}

/// Returns the destinations in the spec. The error names the invalid field.
pub fn destinations(account: &Account<'_>) -> Result<Destinations, FieldError> {
    let provider = provider(account);
    let secrets = provider.secrets()?.into_iter().collect();
    Ok(Destinations { urls: provider.endpoints()?, public_hosts: provider.public_hosts(), secrets })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::hosts::{HostPolicy, Route};
    use std::path::Path;
    use std::sync::Arc;
    use videotoken_api::provider::ProviderSpec;

    /// Returns the providers of deploy/examples, which cover all types.
    fn examples() -> Vec<ProviderSpec> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/examples");
        let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
        let files = files.filter(|path| path.is_file()).map(|path| std::fs::read_to_string(path).unwrap());
        let documents = files.flat_map(|text| text.split("\n---\n").map(str::to_owned).collect::<Vec<_>>());
        let objects = documents.filter_map(|text| serde_yaml_ng::from_str::<serde_json::Value>(&text).ok());
        let providers =
            objects.filter(|object| object["kind"].as_str().is_some_and(|kind| kind.ends_with("TokenProvider")));
        providers.map(|object| serde_json::from_value(object["spec"].clone()).unwrap()).collect()
    }

    #[test]
    fn every_example_has_a_host_and_a_keyed_one_a_secret() {
        let mut types = BTreeSet::new();
        for spec in examples() {
            let account = spec.account().unwrap();
            let destinations = destinations(&account).unwrap();
            assert!(destinations.urls.iter().all(|(_, url)| url.scheme() == "https"), "{destinations:?}");
            assert!(account.name() == "videoIndexer" || !destinations.secrets.is_empty(), "{destinations:?}");
            // the hosts of these two are their users' own
            if !["arcgisVideoServer", "http"].contains(&account.name()) {
                let public = HostPolicy::guarded(&destinations.public_hosts, Arc::default());
                assert!(
                    destinations.urls.iter().all(|(_, url)| public.admits(url, Route::Direct).is_ok()),
                    "{destinations:?}"
                );
            }
            types.insert(account.name());
        }
        assert_eq!(types.len(), videotoken_api::provider_types::NAMES.len(), "{types:?}");
    }
}
