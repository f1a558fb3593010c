//! Measures both goals of redaction (P11): text that an administrator needs remains, and secrets are removed.
//!
//! Rates for random text by length: of 20 characters about 5% remain, of 24 characters 1% to 2%, of 32 characters 0.2%,
//! and of 44 or more characters none in 10,000. Of words, names and paths in this repository's documentation, fewer
//! than 0.2% are treated as a secret.

use super::{REDACTED, Redactor};
use proptest::prelude::*;
use std::fmt::Write as _;
use std::path::Path;

/// Texts and names from providers, gateways and API servers that must remain.
const SHOWN: &[&str] = &[
    // Codes.
    "ARM_ACCOUNT_MUST_BE_MANAGED_BY_ARM: Account is an ARM account",
    "AccountIsNotConnectedToAzureMediaServices: connect it",
    "InvalidAuthenticationTokenTenant: The access token is from the wrong issuer 'https://sts.windows.net/72f988bf-86f1-41af-91ab-2d7cd011db47/'",
    "LinkedAuthorizationFailed",
    "RequestDisallowedByPolicy",
    "SubscriptionNotRegistered",
    "MissingSubscriptionRegistration",
    "USER_NOT_ALLOWED",
    "VIDEO_ALREADY_IN_PROGRESS",
    "ACCOUNT_TRIAL_QUOTA_EXCEEDED_FOR_THIS_SUBSCRIPTION",
    "AADSTS7000215",
    "AADSTS700211",
    "GWM_0003",
    "RESOURCE_TYPE_VOD_EVENT_EXTERNAL",
    "PAYLOAD_TOO_LARGE_FOR_REQUEST",
    "HTTP_PROXY_CONNECT_FAILED_502",
    "DLPPolicyViolationException",
    "java.lang.NullPointerException",
    "com.esri.arcgis.discovery.admin.rest.AdminException",
    "type.googleapis.com/google.rpc.BadRequest",
    "generateExtensionRestrictedViewerAccessToken is not allowed",
    "Ocp-Apim-Subscription-Key is missing",
    // IDs and paths.
    "The Resource 'Microsoft.VideoIndexer/accounts/vi-p-weu-01' under resource group 'rg-p-weu-vi-01' was not found.",
    "/subscriptions/24237b72-8546-4da5-b204-8c3cb76dd930/resourceGroups/rg-p/providers/Microsoft.Kubernetes/ConnectedClusters/edge01/providers/Microsoft.KubernetesConfiguration/extensions/videoindexer",
    "/subscriptions/24237b72-8546-4da5-b204-8c3cb76dd930/resourceGroups/sub-p-weu-vi-01/providers/Microsoft.Storage/storageAccounts/stcontosovideoprodweu01",
    "over scope '/subscriptions/24237B72-8546-4DA5-B204-8C3CB76DD930/resourceGroups/contoso' or the scope is invalid",
    "resource 7f3e9a1b2c4d5e6f8091a2b3c4d5e6f7 not found",
    "resource 7F3E9A1B2C4D5E6F8091A2B3C4D5E6F7 not found",
    "/accounts/023e105f4ecef8ad9ca31a8372d0c353/stream/6b9e68b07dfee8cc2d116e4c51d6a957",
    "https://www.videoindexer.ai/embed/player/4f1c2d7e-93b4-4a58-8c1b-6a0e2d9f7b35/07ec9e38d4/",
    "traceId 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    "trace 4bf92f3577b34da6a3ce929d0e0e4736",
    "Root=1-67891233-abcdef012345678912345678",
    "WESTEUROPE:20261122T101112Z:9f6b7c9e-9a0e-4f1e-8d2f-0a1b2c3d4e5f",
    "request 0HN7GLLP2J4C8:00000003",
    "ray 8f3c2a1b9d4e5f60-FRA",
    "session 5e1f9c3a-7b2d-4e8f-9a6c-1d3b5f7e9a2c_5e1f9c3a",
    "aks-nodepool1-31718369-vmss000002",
    "video-token-operator-7d9f8b6c5d-x2x4z is forbidden",
    "vi-p-weu-01.westeurope.cloudapp.azure.com",
    "edge-k3s-rpi4b-01-berlin-lab2",
    "x86_64-unknown-linux-gnu",
    "westeurope.api.cognitive.microsoft.com/sts/v1.0/issueToken",
    "2026-11-28T08:00:00.0000000Z",
    "3.141.59-rc.1+build.20261127",
    // Sentences, also in other languages.
    "Access denied due to invalid subscription key or wrong API endpoint. Make sure to provide a valid key.",
    "Bundesministerium-Verkehrsinfrastruktur-Videoueberwachung ist gesperrt",
    "przedsiebiorstwo-wideomonitoring-krakow",
    "hrvatska-televizija-zagreb-k8s-prod",
    "Zugriffstokenberechtigungspruefung fehlgeschlagen",
    "admission webhook \"validate.kyverno.svc-fail\" denied the request: require-labels: validation error",
];

/// Tokens, keys and opaque secrets that were not part of a call. Each is tested within a sentence.
const HIDDEN: &[&str] = &[
    "eyJhbGciOiJIUzI1NiJ9.eyJleHAiOjE3NjMzOTI1NDR9.c2lnbmF0dXJlLWJ5dGVz",
    "eyJhbGciOiJIUzI1NiJ9.eyJle",
    // Opaque, of 20, 24, 35 and 48 bytes.
    "wJalrXUtnFEMIK7MDENG",
    "q8Zr1-XvT0pLw_3mYbKc5Nd7",
    "kX81pQz-vR20Yq_aBcT9wLm3GhJ6sDf4Ue0",
    "k7Qp2/xV9+bT4mZs8WdR1eYc6HgJ3uNfA5oLiKqXwPzE0tMv==",
    // An Entra client secret, a storage key, a SAS signature, an API Management key with 84 characters.
    "3Xr8Q~nLk2VbT9.yWmZc4PdHs7JfGa1Ue_RqXo0",
    "Zm9vYmFyK2tleStmb3IrYStzdG9yYWdlK2FjY291bnQrdGVzdA==",
    "sig=7vJ3nQ9xL2mP5kR8tW1yB4zD6fH0cG3sN5aE7uT9qXo=",
    "D8kL2mXqR7vN4pT9wZ1cY6bH3jF5gS0aE8uQ2xKdWnVrBtMzCyPfGhJkLsXeUoIiA4QjQJQQJ99BKACYeBjFXJ3w3",
    // ArcGIS, hexadecimal text of 40 and 64 digits, two IDs in one, base32.
    "3f0c8a4e9b1d4f6a83f0c8a4e9b1d4f6_3f0c8a4e9b1d4f6a83f0c8a4e9b1d4f6..",
    "8f14e45fceea167a5a36dedd4bea2543d3d94468",
    "vi8f14e45fceea167a5a36dedd4bea25438f14e45fceea167a5a36dedd4bea2543",
    "JBSWY3DPEHPK3PXPTQ5ZRA2LMXGNW7VK",
    "ghp_9fQ2xLm7RkT4vWz1YbN8cHdJ3sPgA6uE0oXi",
    "glpat-kT9wLm3GhJ6sDf4Ue0Qz8RvX",
];

#[test]
fn p11_what_an_admin_needs_is_shown() {
    for said in SHOWN {
        assert_eq!(Redactor::default().quote_within(1024, said), *said);
        let json = format!("{{\"message\":\"{said}\"}}");
        assert!(!Redactor::default().quote_within(1024, json).contains(REDACTED), "{said}");
    }
}

#[test]
fn p11_what_nobody_may_see_is_not() {
    for secret in HIDDEN {
        for said in [format!("token {secret} is bad"), format!("\"{secret}\""), format!("/tokens/{secret}/player")] {
            let quoted = Redactor::default().quote_within(1024, &said);
            let shown = secret.as_bytes().windows(12).any(|piece| quoted.as_bytes().windows(12).any(|w| w == piece));
            assert!(quoted.contains(REDACTED) && !shown, "{secret}: {quoted}");
        }
    }
}

#[test]
fn p11_a_key_of_32_hex_digits_is_hidden_since_it_is_known() {
    let key = "7f3e9a1b2c4d5e6f8091a2b3c4d5e6f7";
    let said = format!("key {key} is wrong for resource 6b9e68b07dfee8cc2d116e4c51d6a957");
    assert_eq!(Redactor::default().quote(&said), said, "a guess would take ids, too");
    let knows = Redactor::new(vec![key.into()]);
    assert_eq!(knows.quote(&said), "key [redacted] is wrong for resource 6b9e68b07dfee8cc2d116e4c51d6a957");
}

const ALPHABETS: [&str; 4] = [
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/",
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_",
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789",
    "abcdefghijklmnopqrstuvwxyz0123456789",
];

/// Random number generator with a fixed sequence (splitmix64).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn token(&mut self, alphabet: &str, len: usize) -> String {
        let letters = alphabet.as_bytes();
        let pick = |dice: &mut Self| char::from(letters[usize::try_from(dice.next() % letters.len() as u64).unwrap()]);
        (0..len).map(|_| pick(self)).collect()
    }
}

/// Checks the maximum number of 1,000 opaque tokens that remain, for each length and over all alphabets.
#[test]
fn p11_opaque_tokens_are_hidden_at_these_rates() {
    const EACH: usize = 1000;
    let mut dice = Dice(7);
    let mut measured = String::new();
    for (len, most) in [(20, 75), (22, 40), (24, 25), (27, 12), (32, 5), (35, 3), (44, 1), (64, 0)] {
        for alphabet in ALPHABETS {
            let pass = |_: &usize| {
                let token = dice.token(alphabet, len);
                Redactor::default().quote(format!("status 999: {token}")).contains(&token)
            };
            let passed = (0..EACH).filter(pass).count();
            let _ = writeln!(measured, "{len} of {}: {passed} of {EACH}", alphabet.len());
            assert!(passed <= most, "{measured}");
        }
    }
}

/// IDs, sessions and a key in the gallery of platforms that are as random as tokens. Nothing distinguishes them from a
/// secret, so messages don't show them.
const OPAQUE: &[&str] = &[
    "4qTr5MpBs8xLkuZv3W01",
    "1_MX4xMjM0NTY3OH5-MTcwMDAwMDAwMDAwMH4",
    "1_MX4yZjBhNmNmNC02YTM2LTRjZGItYTNiNy0zZjVjN2M2YTlhMDF-fjE3MDAwMDAwMDAwMDB-",
    "5CFd2fd1755d40ecb72977518be15d3b",
    "970CA35de60c44645bbae8a215061b33",
    "AVPHwEuBfnPOnTqzVFT4IONX2Qqhu9EJ4ubO-bNnQ",
    "Ab1Cd2Ef3Gh4Ij5Kl6Mn7O",
    "DJUcnLguVFKmVCFnWGubG1MZg7fWAnxacMjKDhVZMGI=",
];

/// Checks words, names and paths of the documentation, the CRDs and the examples.
#[test]
fn p11_names_of_the_documentation_are_shown_at_this_rate() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut names = std::collections::BTreeSet::new();
    let mut folders = vec![root.join("docs"), root.join("crds"), root.join("deploy")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(text) = std::fs::read_to_string(&path) {
                let words = text.split(|c: char| !c.is_ascii_graphic() || "\"'`()[]{}<>,;:|*".contains(c));
                names.extend(words.filter(|word| word.len() >= 17 && !word.starts_with("eyJ")).map(str::to_owned));
            }
        }
    }
    let taken = names.iter().filter(|name| !Redactor::default().is_clean(name));
    let (opaque, taken): (Vec<_>, Vec<_>) = taken.partition(|name| OPAQUE.iter().any(|id| name.contains(id)));
    let stale: Vec<_> = OPAQUE.iter().filter(|id| !opaque.iter().any(|name| name.contains(*id))).collect();
    assert!(stale.is_empty(), "shown, or no longer in the gallery: {stale:?}");
    assert!(names.len() > 500 && taken.len() * 500 <= names.len(), "{} of {}: {taken:?}", taken.len(), names.len());
}

proptest! {
    #[test]
    fn p11_an_opaque_token_is_hidden_wherever_it_stands(
        seed in any::<u64>(),
        len in 40usize..64,
        alphabet in 0usize..4,
        before in "[a-z]{0,12}[ /=:\"']",
        after in "[ /&:\"'][a-z]{0,12}",
    ) {
        let token = Dice(seed).token(ALPHABETS[alphabet], len);
        let quoted = Redactor::default().quote(format!("{before}{token}{after}"));
        prop_assert!(!quoted.contains(&token[8..32]), "{token}: {quoted}");
    }
}
