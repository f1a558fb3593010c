//! Where an account's issuer goes, and what it takes along: URLs, and the Secrets that hold its credentials. For whoever
//! looks at an account from outside.

use crate::provider;
use crate::provider::Field;
use std::borrow::Cow;
use std::collections::BTreeSet;
use url::Url;
use videotoken_api::request::FieldError;
use videotoken_api::token_api::Account;

/// Where an account's issuer goes, and what it takes along.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destinations {
    /// The URLs that are called, each with its field from a provider object's root.
    pub urls: Vec<(Field, Url)>,
    /// The provider's own hosts.
    pub public_hosts: Vec<Cow<'static, str>>,
    /// The Secrets that hold its credentials.
    pub secrets: BTreeSet<String>,
}

/// Reads it from the spec; the error names the field at fault.
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

    /// The providers of deploy/examples, all five types.
    fn examples() -> Vec<ProviderSpec> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/examples");
        let files =
            std::fs::read_dir(folder).unwrap().map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap());
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
            if account.name() != "arcgisVideoServer" {
                let public = HostPolicy::guarded(&destinations.public_hosts, Arc::default());
                assert!(
                    destinations.urls.iter().all(|(_, url)| public.admits(url, Route::Direct).is_ok()),
                    "{destinations:?}"
                );
            }
            types.insert(account.name());
        }
        assert_eq!(types.len(), 5, "{types:?}");
    }
}
