//! Short hashes that show changes. They are stored in annotations of the Secret.

use sha2::{Digest, Sha256};
use std::fmt;
use videotoken_api::request::TokenRequest;

/// Prefix of each hash with the version of the scheme. A new scheme must still read this one.
const SCHEME: &str = "v1:";

/// First 128 bits of a SHA-256 over length-prefixed parts.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Hash([u8; 16]);

impl Hash {
    /// Hashes the parts in order. Different lists of parts have different hashes.
    pub fn of<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut sha = Sha256::new();
        for part in parts {
            sha.update((part.len() as u64).to_be_bytes());
            sha.update(part);
        }
        let mut short = [0; 16];
        short.copy_from_slice(&sha.finalize()[..16]);
        Self(short)
    }

    /// Reads a hash from an annotation. `None`: the text has another scheme or form.
    pub fn parse(text: &str) -> Option<Self> {
        let hex = text.strip_prefix(SCHEME)?;
        if hex.len() != 32 || !hex.is_ascii() {
            return None;
        }
        let mut bytes = [0; 16];
        for (byte, pair) in bytes.iter_mut().zip(hex.as_bytes().chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(Self(bytes))
    }

    /// Returns the first 64 bits.
    pub fn short(self) -> u64 {
        self.0.iter().take(8).fold(0, |sum, byte| (sum << 8) | u64::from(*byte))
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(SCHEME)?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Returns the hash of a token request: account, operation and fields (P03).
pub fn request_hash(request: &TokenRequest) -> Hash {
    let fields = serde_json::to_vec(&request.fields).unwrap_or_default();
    Hash::of([request.account.as_bytes(), request.operation.as_bytes(), &fields])
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;
    use videotoken_api::provider::ProviderSpec;
    use videotoken_api::video_access_token::VideoAccessTokenSpec;

    #[test]
    fn parts_do_not_run_into_each_other() {
        assert_ne!(Hash::of([b"ab".as_slice(), b"c"]), Hash::of([b"a".as_slice(), b"bc"]));
    }

    /// Every Secret contains this hash. If the hash of an unchanged request changes, an upgrade issues every token
    /// again (P03). The hash must not depend on the order that a feature of a dependency gives to JSON objects.
    #[test]
    fn b16_what_is_asked_has_the_hash_that_it_always_had() {
        let edge = "/subscriptions/any/resourceGroups/rg/providers/Microsoft.Kubernetes/ConnectedClusters/c/providers/Microsoft.KubernetesConfiguration/extensions/e";
        let key = json!({"name": "s", "key": "k"});
        for (type_, account, scope, lifetime, expected) in [
            (
                "videoIndexer",
                json!({"subscriptionId": "AAAAAAAA-0000-0000-0000-000000000000", "resourceGroup": "Contoso-RG",
                       "accountName": "Contoso-VI", "auth": {"workloadIdentity": {}}}),
                json!({"extensionId": edge, "permission": "RestrictedViewer", "mediaScope": "Video", "videoId": "v"}),
                Some("12h"),
                "v1:8ead40bec99e3f26ab1cbe7e2d672681",
            ),
            (
                "videoIndexerClassic",
                json!({"location": "EastUS", "accountId": "BBBBBBBB-0000-0000-0000-000000000000",
                       "subscriptionKeyRef": key}),
                json!({"video": {"videoId": "v"}}),
                None,
                "v1:2436c36722bd55ab2e43af07a921a950",
            ),
            (
                "blendVision",
                json!({"organization": "Org-1", "apiTokenRef": key}),
                json!({"resource": {"resourceId": "r", "resourceType": "RESOURCE_TYPE_VOD"}}),
                Some("2h"),
                "v1:6a51077a67e57ed2fc942c746061f471",
            ),
            (
                "cognitiveServices",
                json!({"endpoint": "https://Virginia.api.cognitive.microsoft.us/", "keyRef": key}),
                json!({"limitedAccess": {"targetAzureResourceId": "/r", "featureFlags": ["b", "a"]}}),
                Some("2h"),
                "v1:790c096fd352ca9eff1365ffbecefc86",
            ),
            (
                "arcgisVideoServer",
                json!({"url": "https://Video.example:21443/arcgis/admin/", "usernameRef": key, "passwordRef": key}),
                json!({"referer": "https://player.example"}),
                Some("2h"),
                "v1:efdaa40e42b8ce96b3975f7cb43cb703",
            ),
            (
                "signed",
                json!({"key": {"secretRef": key}, "parameters": {"room": {"description": "any"}}, "jwt": {
                       "algorithm": "HS256", "header": {"typ": ""}, "claims": {"sub": "{{ room }}", "n": 1, "a": [true]},
                       "variants": {"poster": {"aud": "t"}}}}),
                json!({"parameters": {"room": "lobby"}}),
                Some("2h"),
                "v1:616835fb73040c43e8827cfa8cf0be9c",
            ),
            (
                "http",
                json!({"url": "https://api.example/v1/", "auth": {"bearer": key}, "parameters": {"room": {"description": "any"}},
                       "request": {"path": "/rooms/{{ room }}", "query": {"a": "b"}, "headers": [{"name": "X-A", "value": "1"},
                       {"name": "X-K", "secretRef": key}], "json": {"key": {"secretRef": key}, "n": 1, "a": [true]}},
                       "response": {"token": {"json": "$.token"}, "expires": {"jwt": {}}}, "lifetime": {"max": "24h"}}),
                json!({"parameters": {"room": "lobby"}}),
                Some("2h"),
                "v1:ea2fba67b496697dbdc2e41be2db51fe",
            ),
        ] {
            let provider: ProviderSpec = serde_json::from_value(json!({type_: account})).unwrap();
            let token = json!({"providerRef": {"name": "p"}, "scope": {type_: scope}, "lifetime": lifetime});
            let token: VideoAccessTokenSpec = serde_json::from_value(token).unwrap();
            assert_eq!(request_hash(&token.request(&provider).unwrap()).to_string(), expected, "{type_}");
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_back(parts in proptest::collection::vec(any::<Vec<u8>>(), 0..4)) {
            let hash = Hash::of(parts.iter().map(Vec::as_slice));
            prop_assert_eq!(Hash::parse(&hash.to_string()), Some(hash));
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".{0,64}") {
            let _ = Hash::parse(&text);
        }
    }
}
