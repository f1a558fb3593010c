//! Meanings of Entra's errors: for each common AADSTS number, a message with the fix, and whether the error disappears
//! without a change. The table in docs/reference/entra.md has the same content, and a test compares them.
//!
//! Sources: "Microsoft Entra authentication and authorization error codes", and for federated credentials
//! "Troubleshooting: workload identity federation".

use super::super::Heals;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

/// Meaning of one AADSTS number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    /// Digits after `AADSTS`, as in `AADSTS7000215`.
    pub(super) number: i64,
    /// Message with the meaning and the fix. `{provider}` stands for the path of the account in the provider's spec.
    says: &'static str,
    /// How the error disappears without a change, if it does.
    pub(super) heals: Heals,
    /// `true` for errors about the assertion, whose claims are added to the message.
    pub(super) of_assertion: bool,
    /// `true` for temporary failures of Entra, which are not rejections.
    pub(super) passes: bool,
}

impl Refusal {
    /// Returns the message with the meaning and the fix. `provider` is the path of the account in the provider's spec.
    pub(super) fn says(&self, provider: &str) -> String {
        self.says.replace("{provider}", provider)
    }
}

const fn passes(number: i64, says: &'static str) -> Refusal {
    Refusal { number, says, heals: Heals::No, of_assertion: false, passes: true }
}

const fn stays(number: i64, says: &'static str) -> Refusal {
    Refusal { number, says, heals: Heals::No, of_assertion: false, passes: false }
}

const fn heals(number: i64, heals: Heals, says: &'static str) -> Refusal {
    Refusal { number, says, heals, of_assertion: false, passes: false }
}

const fn assertion(number: i64, heals: Heals, says: &'static str) -> Refusal {
    Refusal { number, says, heals, of_assertion: true, passes: false }
}

/// Returns the claims of an assertion that Entra compares with a federated credential: issuer, subject and audience.
/// The claims are not secret. Returns `None` if the application itself is the issuer, or if the assertion is
/// unreadable.
pub(super) fn presented(assertion: &str, client_id: &str) -> Option<String> {
    let claims = URL_SAFE_NO_PAD.decode(assertion.split('.').nth(1)?.trim_end_matches('=')).ok()?;
    let claims: Value = serde_json::from_slice(&claims).ok()?;
    let text = |claim: &Value| match claim {
        Value::Array(all) => all.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", "),
        one => one.as_str().unwrap_or_default().to_owned(),
    };
    let [issuer, subject, audience] = ["iss", "sub", "aud"].map(|claim| shown(&text(&claims[claim])));
    let is_own = issuer == client_id;
    (!is_own).then(|| format!("presented: issuer {issuer}, subject {subject}, audience {audience}"))
}

/// Returns a claim as one line of limited length.
fn shown(claim: &str) -> String {
    const LONGEST: usize = 256;
    let plain: String = claim.chars().filter(|c| !c.is_control()).take(LONGEST).collect();
    if plain.is_empty() { "(none)".to_owned() } else { plain }
}

/// Returns the meaning of a number, or `None` if it is unknown.
pub(super) fn find(number: i64) -> Option<&'static Refusal> {
    ALL.iter().find(|refusal| refusal.number == number)
}

/// Known numbers, grouped by topic.
pub(super) const ALL: &[Refusal] = &[
    // Tenant and cloud.
    stays(90_002, "there is no such tenant in this cloud: check tenantId, and {provider}.cloud"),
    stays(
        900_021,
        "tenantId is neither a tenant's id nor its domain: take the directory (tenant) ID of the app's overview",
    ),
    stays(
        900_023,
        "tenantId is neither a tenant's id nor its domain: take the directory (tenant) ID of the app's overview",
    ),
    stays(
        5_000_225,
        "the tenant is blocked since it was inactive: let one of its admins ask Microsoft to bring it back",
    ),
    stays(90_038, "the tenant is in another cloud: set {provider}.cloud to the tenant's"),
    stays(900_382, "the application is in another cloud: set {provider}.cloud to the application's"),
    stays(900_439, "the application is in Azure Government: set {provider}.cloud: USGovernment"),
    stays(
        9_001_023,
        "tenantId must be one tenant's, not common, organizations or consumers: give the tenant that owns the account",
    ),
    stays(50_194, "the application isn't multi-tenant: set tenantId to its own tenant, or make it multi-tenant"),
    // Application.
    heals(
        700_016,
        Heals::New,
        "there is no such application in the tenant: check clientId (the application's, not an object's id) and tenantId; \
         one that was just made is known after some minutes",
    ),
    heals(
        70_001,
        Heals::New,
        "there is no such application in the tenant, or it is disabled: check clientId and tenantId; one that was just made \
         is known after some minutes",
    ),
    heals(
        7_000_229,
        Heals::New,
        "the application has no service principal in the tenant: make one with `az ad sp create --id CLIENT-ID`",
    ),
    stays(7_000_112, "the application is disabled: enable it under Enterprise applications in the Entra admin center"),
    stays(700_025, "the application is a public client: turn off \"Allow public client flows\" in its registration"),
    stays(50_105, "the application isn't assigned to what it asks for: assign it under Enterprise applications"),
    stays(501_051, "the application has no role at what it asks for: assign it one under Enterprise applications"),
    // Client secret.
    heals(
        7_000_215,
        Heals::New,
        "the client secret is wrong: put the secret's value, not its id, into the Secret; one that was just made is known \
         after some minutes",
    ),
    stays(7_000_222, "the client secret has expired: make another, and put its value into the Secret"),
    stays(
        70_002,
        "the credential is wrong: put a valid client secret or certificate of this application into the Secret",
    ),
    stays(
        7_000_216,
        "no client secret or assertion arrived: look at what stands between, such as a proxy that changes requests",
    ),
    stays(
        7_000_218,
        "no client secret or assertion arrived: look at what stands between, such as a proxy that changes requests",
    ),
    stays(7_000_113, "the application isn't authorized for this tenant: check clientId and tenantId"),
    // Certificate, or another assertion.
    stays(1_000_502, "the certificate has expired: make another, upload it, and put it with its key into the Secret"),
    assertion(
        700_222,
        Heals::No,
        "the assertion was issued by Entra itself, which serves as no federated credential: use a Kubernetes \
         ServiceAccount's",
    ),
    stays(
        700_027,
        "the certificate isn't registered with the application, or has expired: upload it under Certificates & secrets",
    ),
    stays(
        50_012,
        "the assertion's signature doesn't fit: upload the certificate that goes with this key under Certificates & secrets",
    ),
    stays(700_030, "the certificate isn't valid for this application: upload it under Certificates & secrets"),
    stays(700_021, "the assertion is another application's: check clientId, which must be its subject"),
    assertion(
        700_023,
        Heals::No,
        "the assertion's audience isn't Entra: check tenantId and {provider}.cloud, or endpoints.authority",
    ),
    assertion(
        700_024,
        Heals::Soon,
        "the assertion isn't valid now: compare the clock of the signer (the API server's machine, or for a \
         certificate the operator's) with the true time",
    ),
    assertion(
        500_133,
        Heals::Soon,
        "the assertion isn't valid now: compare the clock of the signer with the true time",
    ),
    assertion(50_027, Heals::No, "the assertion is no valid token: check what the projected token's file holds"),
    // Federated credential.
    assertion(
        70_021,
        Heals::Soon,
        "no federated credential of the application fits: add one with this issuer, subject and audience; one that was just \
         added is known after some minutes",
    ),
    assertion(
        70_025,
        Heals::Soon,
        "the application has no federated credential: add one with this issuer, subject and audience; one that was just \
         added is known after some minutes",
    ),
    assertion(
        700_211,
        Heals::Soon,
        "no federated credential of the application has this issuer: it must be the cluster's, letter by letter (`kubectl \
         get --raw /.well-known/openid-configuration` shows it)",
    ),
    assertion(
        700_212,
        Heals::Soon,
        "no federated credential of the application has this audience: it must be the one presented, letter by letter",
    ),
    assertion(
        700_213,
        Heals::Soon,
        "no federated credential of the application has this subject: it must be the one presented, letter by letter",
    ),
    assertion(
        700_236,
        Heals::No,
        "tokens of this issuer can't serve as a federated credential of this tenant's applications: use a Kubernetes \
         ServiceAccount's",
    ),
    assertion(
        50_166,
        Heals::Soon,
        "Entra can't read the issuer's keys: its /.well-known/openid-configuration must be reachable from the internet",
    ),
    assertion(
        90_061,
        Heals::Soon,
        "Entra can't read the issuer's keys: its /.well-known/openid-configuration must be reachable from the internet",
    ),
    // Requested scope.
    stays(70_011, "the scope isn't valid: check {provider}.endpoints.resourceManager"),
    stays(1_002_012, "the scope isn't valid: check {provider}.endpoints.resourceManager"),
    stays(
        500_011,
        "the tenant doesn't know the resource: check {provider}.cloud and endpoints.resourceManager, and tenantId",
    ),
    stays(500_014, "the resource is disabled in the tenant: its admin, or its subscription, must enable it"),
    stays(65_001, "no administrator consented to the application: let one of the tenant grant it consent"),
    stays(90_094, "an administrator must consent to the application: let one of the tenant grant it consent"),
    stays(
        53_003,
        "a Conditional Access policy blocks it: let an admin exclude the application, or its addresses, from the policy \
         (Sign-in logs, Service principal sign-ins, show which)",
    ),
    stays(
        900_144,
        "a part of the request is missing: look at what stands between, such as a proxy that changes requests",
    ),
    stays(9_002_313, "the request arrived broken: look at what stands between, such as a proxy that changes requests"),
    passes(90_024, "a limit of Entra is reached for a moment: it is tried again by itself"),
    passes(90_033, "a service behind Entra is away for a moment: it is tried again by itself"),
    passes(90_055, "a limit of Entra is reached for a moment: it is tried again by itself"),
    heals(50_196, Heals::Soon, "too many like requests were made: others may use the same application in a loop"),
];

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn each_number_is_there_once_and_says_what_it_means_and_what_to_do() {
        let numbers: BTreeSet<_> = ALL.iter().map(|refusal| refusal.number).collect();
        assert_eq!(numbers.len(), ALL.len());
        assert!(ALL.len() >= 30, "{}", ALL.len());
        for Refusal { number, says, .. } in ALL {
            let (means, way_out) = says.split_once(": ").unwrap_or_else(|| panic!("{number}: {says}"));
            assert!(means.len() > 15 && way_out.len() > 15 && !says.ends_with('.'), "{number}: {says}");
        }
    }

    #[test]
    fn an_assertion_tells_who_made_it_for_whom() {
        let jwt = |claims: &str| format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims));
        let long = "x".repeat(300);
        for (assertion, expected) in [
            (
                jwt(r#"{"iss":"https://oidc.example/","sub":"system:serviceaccount:cinema:lobby","aud":["api://AzureADTokenExchange"]}"#),
                Some("presented: issuer https://oidc.example/, subject system:serviceaccount:cinema:lobby, audience api://AzureADTokenExchange".to_owned()),
            ),
            (jwt(r#"{"iss":"i","aud":"a","sub":"s\n\u0007t"}"#), Some("presented: issuer i, subject st, audience a".to_owned())),
            (jwt("{}"), Some("presented: issuer (none), subject (none), audience (none)".to_owned())),
            (jwt(&format!(r#"{{"iss":"{long}","sub":"s","aud":"a"}}"#)), Some(format!("presented: issuer {}, subject s, audience a", &long[..256]))),
            (jwt(r#"{"iss":"app","sub":"app","aud":"https://login.example"}"#), None),
            ("no jwt".to_owned(), None),
            ("a.!.c".to_owned(), None),
        ] {
            assert_eq!(presented(&assertion, "app"), expected, "{assertion}");
        }
    }

    #[test]
    fn p07_what_time_heals_is_told_from_what_it_doesnt() {
        let of = |heals: Heals| -> Vec<_> {
            let mut all: Vec<_> = ALL.iter().filter(|one| one.heals == heals).map(|one| one.number).collect();
            all.sort_unstable();
            all
        };
        let soon = [50_166, 50_196, 70_021, 70_025, 90_061, 500_133, 700_024, 700_211, 700_212, 700_213];
        assert_eq!(of(Heals::Soon), soon);
        assert_eq!(of(Heals::New), [70_001, 700_016, 7_000_215, 7_000_229]);
    }

    /// Formats a number as the table row `| AADSTS90002 | meaning | action |`.
    #[test]
    fn the_page_says_the_same() {
        let page = include_str!("../../../../docs/reference/entra.md");
        let rows: Vec<_> = page.lines().filter(|line| line.starts_with("| AADSTS")).collect();
        let ours: Vec<_> = ALL
            .iter()
            .map(|refusal| {
                let (number, says) = (refusal.number, refusal.says("spec.videoIndexer"));
                let (means, way_out) = says.split_once(": ").unwrap();
                format!("| AADSTS{number} | {means} | {way_out} |")
            })
            .collect();
        assert_eq!(rows, ours);
    }
}
