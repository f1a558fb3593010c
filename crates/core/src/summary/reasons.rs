//! Meanings and actions of the reasons of conditions and events. docs/reference/reasons.md and
//! docs/reference/events.md are generated from these tables.

/// Meaning of a reason, and the required action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReasonHelp {
    /// Reasons that share the meaning, in CamelCase.
    pub words: &'static [&'static str],
    /// Meaning.
    pub meaning: &'static str,
    /// Action as an imperative, and the time of the retry.
    pub action: &'static str,
}

const fn reason(words: &'static [&'static str], meaning: &'static str, action: &'static str) -> ReasonHelp {
    ReasonHelp { words, meaning, action }
}

/// Reasons of `Stalled`: a user or an administrator must change something.
pub const STALLED: &[ReasonHelp] = &[
    reason(
        &["ProviderNotFound"],
        "spec.providerRef names no provider",
        "create the provider, or set kind: ClusterTokenProvider",
    ),
    reason(
        &["NotAllowed"],
        "the ClusterTokenProvider doesn't admit this namespace or this scope",
        "ask its administrator to extend allowedNamespaces or allowedScopes",
    ),
    reason(
        &["SecretNotOwned"],
        "a Secret of that name exists and isn't managed for this VideoAccessToken",
        "choose another spec.secret.name, or delete that Secret",
    ),
    reason(&["SecretClaimed"], "an older VideoAccessToken writes that Secret", "choose another spec.secret.name"),
    reason(
        &["SecretImmutable"],
        "another client made the Secret immutable",
        "delete the Secret, or choose another spec.secret.name. The token moves there",
    ),
    reason(
        &["SecretTypeDiffers"],
        "the Secret of a previous VideoAccessToken has another type",
        "delete the Secret, or choose another spec.secret.name",
    ),
    reason(
        &["SecretTerminating"],
        "the Secret is being deleted and has a finalizer",
        "wait, or remove the finalizer. The operator writes the next Secret when this one is gone",
    ),
    reason(
        &["SecretContested"],
        "another client, which the message names, changes or deletes the Secret repeatedly",
        "stop that client, or choose another spec.secret.name. Until then the operator repairs the Secret every \
         5 minutes",
    ),
    reason(
        &["SecretOverridden"],
        "an admission policy or webhook changes the label, annotation or key that the message names",
        "exempt the Secret, or choose another spec.secret.name. The operator retries every 5 minutes",
    ),
    reason(
        &["CredentialsMissing"],
        "the credential's Secret or its key doesn't exist",
        "create the Secret with that key",
    ),
    reason(
        &["CredentialsUnusable"],
        "the value in the Secret is not a usable credential, such as UTF-16 text, a PFX file, an encrypted key \
         or a value that SOPS encrypted",
        "replace the value as the message says",
    ),
    reason(
        &["CredentialsUnlabelled"],
        "the Secret doesn't allow the operator to read it",
        "add the label videotoken.dev/credentials=true if the operator may use the Secret",
    ),
    reason(
        &["CredentialsNotForSigning"],
        "the Secret doesn't allow a TokenProvider to sign with its keys",
        "add the annotation videotoken.dev/signing-key=true if the keys may sign",
    ),
    reason(
        &["CredentialsHostNotAllowed"],
        "the Secret or the ServiceAccount doesn't allow the host",
        "add the annotation videotoken.dev/allowed-hosts=HOST,HOST",
    ),
    reason(
        &["HostNotAllowed"],
        "a TokenProvider names a host that isn't public for its type",
        "start the operator with --allowed-endpoint, or use a ClusterTokenProvider",
    ),
    reason(
        &["ClusterProvidersNotServed"],
        "this operator doesn't serve ClusterTokenProviders",
        "use a TokenProvider, or start the operator with --cluster-providers",
    ),
    reason(
        &["ReferenceUnreadable"],
        "the operator can't read an object that the provider refers to",
        "follow the message. The operator retries after 10 seconds",
    ),
    reason(
        &["CaBundleMissing"],
        "caBundleRef names a key that doesn't exist or holds no text",
        "create the key. A Secret also needs the label videotoken.dev/credentials=true",
    ),
    reason(
        &["ServiceAccountMissing", "TokenRequestForbidden"],
        "the operator can't get a token of the namespace's ServiceAccount",
        "create the ServiceAccount, or the Role that the message shows",
    ),
    reason(
        &["SecretRefused"],
        "the API server rejects the Secret because of a quota, a policy or a permission",
        "change the quota, the policy or the permission. The operator retries every minute",
    ),
    reason(&["NamespaceTerminating"], "the namespace is being deleted", "no action required"),
    reason(
        &["Ended"],
        "the fixed expiry in the spec (BlendVision's expiredAt) has passed",
        "no action required, or set a later expiredAt",
    ),
    reason(&["InvalidSpec"], "a field of the spec is invalid", "change the field that the message names"),
    reason(
        &["SiteAdministrator"],
        "the token API logs the user in as the primary site administrator, and the provider rejects such tokens",
        "use a user with fewer rights, or remove refuseSiteAdministrator from the provider",
    ),
    reason(
        &["WindowsAuthentication"],
        "a web server in front of the token API requires Windows authentication before the login",
        "exempt the path of the logins from it, or name the server's own port in url. The login isn't counted",
    ),
    reason(
        &["BadRequest", "NotFound", "Forbidden"],
        "the token API rejects this token request, for example because an extension or a role is missing",
        "correct the request or the permission. The operator retries after 1 minute, with back-off up to 30 \
         minutes",
    ),
    reason(
        &["InvalidTemplate"],
        "a template of the provider can't take the value of a parameter",
        "correct the parameter, its pattern or the template that the message names",
    ),
    reason(
        &["Unprocessable"],
        "the token API understands the token request and rejects it",
        "correct the value that the message names. The operator retries after 1 minute, with back-off up to 30 \
         minutes",
    ),
    reason(
        &["Unauthorized", "BadCredential"],
        "the token API rejects the credential of this token, or no header can carry the credential",
        "put the correct credential into the Secret. The operator retries at once",
    ),
    reason(
        &["InternalError"],
        "the operator failed to process the provider",
        "report the error in the operator's log. The operator retries every minute",
    ),
    reason(
        &["InsecureEndpoint"],
        "the provider names an endpoint without https",
        "use https, or start the operator with --allow-insecure-endpoints",
    ),
];

/// Reasons of `Issuing`: the operator must issue a token and has not stored one.
pub const ISSUING: &[ReasonHelp] = &[
    reason(
        &["CredentialRejected", "EntraRefused"],
        "the token API or Microsoft Entra rejects the account's credential",
        "correct what status.lastFailure of a token of the account names. The operator retries after a change \
         or a forced renewal, else after 15 minutes, or after 5 seconds to 5 minutes if Entra's refusal can \
         disappear with time",
    ),
    reason(
        &["LoginsUsedUp"],
        "three logins at the token API failed or got no response within 16 minutes, or four if a provider has logged in \
         before. More failures would lock the user",
        "wait until status.heldUntil, 16 minutes after the oldest login",
    ),
    reason(
        &["Throttled", "EntraThrottled"],
        "the token API or Microsoft Entra throttles the account",
        "no action required. All tokens of the account wait for the stated time",
    ),
    reason(
        &["WaitingForBudget"],
        "other tokens of the account use the budget of spec.limits, or the namespace has used its share of it by calls that \
         no schedule asked for",
        "raise spec.limits if the token API allows more, or find the client that causes the unscheduled calls",
    ),
    reason(
        &["IssuedTooOften"],
        "the token was lost, altered, renewed on demand or requested differently too often",
        "find the client that changes the Secret, the annotation or the spec. The message shows the time of the \
         next issuance",
    ),
    reason(
        &[
            "ServerError",
            "Timeout",
            "DnsFailed",
            "ConnectFailed",
            "TlsFailed",
            "BadAnswer",
            "EntraUnavailable",
            "EntraFailed",
            "TokenRequestFailed",
        ],
        "the operator can't reach the token API, or gets an unusable response",
        "check the network, DNS and CAs, and put a private CA into caBundle. The operator retries after 1 \
         second, with back-off up to 5 minutes",
    ),
    reason(
        &["RequestTimeout", "Conflict", "UnexpectedStatus"],
        "the token API returns an unexpected status, which the message shows",
        "check that the host is the token API and not a proxy. The operator retries after 1 second, with \
         back-off up to 5 minutes",
    ),
    reason(
        &["Redirected"],
        "the token API redirects the call, and the operator follows no redirects",
        "set the final endpoint in the provider. The operator retries with back-off up to 5 minutes",
    ),
    reason(
        &["BodyTooLarge"],
        "the response is too large to contain a token",
        "check that the host is the token API and not a web page. The operator retries with back-off up to 5 \
         minutes",
    ),
    reason(
        &["ExpiredToken"],
        "the token API issued a token that had already expired",
        "synchronize the clocks of the token API and of the operator's node by NTP. The operator retries with \
         back-off up to 5 minutes",
    ),
    reason(
        &["QuotaExceeded"],
        "the account has used all calls of its tier",
        "choose a higher tier, or wait until the time that the message names. The operator retries after at \
         most 1 hour",
    ),
    reason(
        &["AccountLocked"],
        "failed logins locked the user at the token API",
        "wait as long as the token API locks users, and find out who else logs in as that user",
    ),
    reason(
        &["AssertionFailed"],
        "the operator can't create its assertion for Entra from the token file or the certificate's key",
        "check the file that the message names, AZURE_FEDERATED_TOKEN_FILE, and that the key belongs to the \
         certificate",
    ),
    reason(
        &["AccessTokenRefused"],
        "a declared API rejects the access token that its OAuth endpoint or Microsoft Entra issued",
        "no action required. The operator retries with a new access token",
    ),
    reason(
        &["EntraTokenRefused"],
        "Azure Resource Manager rejects the token that Entra issued",
        "check that tenantId and endpoints belong to one cloud and one tenant. The operator retries with a new \
         token",
    ),
    reason(
        &["SecretWriteFailed"],
        "the API server didn't accept the Secret",
        "no action required. The operator keeps the token and writes it later",
    ),
];

/// Reasons of `Ready` that neither `Stalled` nor `Issuing` explains.
pub const READY: &[ReasonHelp] = &[
    reason(
        &["ExpiryAssumed"],
        "the token API didn't state when the token expires, or stated a later time than the operation promises",
        "no action required. The operator assumes the promised lifetime",
    ),
    reason(&["Suspended"], "spec.suspend is true, and the operator issues nothing", "set spec.suspend to false"),
    reason(
        &["Expired"],
        "the token in the Secret expired before the operator could renew it",
        "follow the message and status.lastFailure",
    ),
    reason(
        &["TokenLost"],
        "another client changed or removed the token in the Secret",
        "find that client. The operator is issuing another token",
    ),
    reason(
        &["Deleting"],
        "the VideoAccessToken is being deleted, and its Secret holds no token",
        "no action required. A finalizer of another controller delays the deletion",
    ),
];

/// Reasons of conditions that only providers have.
pub const PROVIDERS: &[ReasonHelp] = &[
    reason(
        &["CredentialsExpireSoon", "CredentialsExpired"],
        "CredentialsExpiring: the credential expires within 14 days, or has expired",
        "put a new credential into its Secret. The operator uses it at once",
    ),
    reason(
        &["DemandOverBudget"],
        "Oversubscribed: the tokens need more than 80% of spec.limits, or of what other clients of the account leave",
        "raise spec.limits if the token API allows more, or use more accounts",
    ),
    reason(
        &["ClockSkewed"],
        "the clock of the token API or of the API server differs from the operator's by more than 5 minutes",
        "synchronize the clock that the message names by NTP",
    ),
];

/// Reasons of events. An event that reports `Stalled` has the reason of the condition.
pub const EVENTS: &[ReasonHelp] = &[
    reason(
        &["IssueFailed"],
        "the operator couldn't issue a token. The event is published once until it can",
        "read status.lastFailure for the cause and the next attempt",
    ),
    reason(&["Recovered"], "the operator issues tokens again", "no action required"),
    reason(
        &["Repaired"],
        "another client changed the Secret, and the operator restored it",
        "find the client that writes the Secret",
    ),
    reason(
        &["RestartFailed"],
        "the API server rejected the restart of a workload three times",
        "check rbac.rolloutRestart and the message. The operator retries with back-off up to 5 minutes",
    ),
    reason(
        &["RestartNotAllowed"],
        "the workload hasn't opted in, has no Pod template, or is of a kind that the operator may not restart",
        "set the label videotoken.dev/restart-on-renewal=true on the workload, or name its kind in rbac.restartKinds of the \
         chart. The next renewal restarts it",
    ),
    reason(
        &["RestartTargetMissing"],
        "the workload doesn't exist in the namespace",
        "create the workload, or remove it from spec.rolloutRestart",
    ),
];

/// Returns the help for a reason. `None`: the reason comes from a provider and has only its message.
pub fn find(word: &str) -> Option<&'static ReasonHelp> {
    [STALLED, ISSUING, READY, PROVIDERS].into_iter().flatten().find(|reason| reason.words.contains(&word))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_word_has_one_meaning() {
        assert_eq!(find("SecretClaimed").unwrap().meaning, "an older VideoAccessToken writes that Secret");
        assert_eq!(find("TlsFailed"), find("Timeout"));
        assert_eq!(find("UserBlocked"), None);
        let all = [STALLED, ISSUING, READY, PROVIDERS].into_iter().flatten();
        let mut words: Vec<_> = all.flat_map(|reason| reason.words).collect();
        words.sort();
        assert!(words.is_sorted_by(|a, b| a < b), "{words:?}");
    }

    /// CamelCase words in the sources that are not reasons.
    #[rustfmt::skip]
    const NO_REASONS: &[&str] = &[
        // kinds, and parts of URLs and of objects
        "AccessToken", "AccessTokenWithPermission", "Accounts", "Auth", "Bearer", "ClusterTokenProvider", "Code",
        "ErrorType", "Message", "Namespace", "Opaque", "Projects", "Secret", "ServiceAccount", "TokenProvider", "True",
        "Users", "VideoAccessToken", "Videos", "ConfigMap",
        // conditions, and their reasons without a problem
        "AsExpected", "Issuing", "Overprivileged", "Pending", "Ready", "Stalled", "TokenIssued", "UpToDate",
        // classes of failures
        "Configuration", "Credential", "Denied", "Transient",
        // conditions of providers, and their reasons without a problem
        "Configured", "CredentialsExpiring", "Oversubscribed", "WithinBudget",
        // types and actions of events
        "Issue", "Normal", "Refuse", "Renew", "Repair", "Restart", "Warning",
        // names in logs, traces and `Debug`
        "Apply", "Assertion", "CaUsedAsEndEntity", "Call", "Due", "Entra", "EntraTokenSource", "ProviderResponse", "Failing", "First", "OAuth",
        "Forced", "Gone", "Http", "Immutable", "Lost", "Misshapen", "NotLeading", "Redactor", "Refused", "RequestChanged",
        "Unanswered", "Unavailable", "Unfit", "Wire",
        // values of other systems that the operator compares
        "AgA", "AgB", "AgC", "AgD", "U2FsdGVkX1", "Ed25519", "AuthorizationFailed", "AuthorizationPermissionMismatch", "DoesNotHaveAuthorization",
        "General", "LinkedAuthorizationFailed", "Other", "OtherError", "RequestDisallowedByPolicy",
        "UnsupportedCertSignatureAlgorithm", "UnsupportedSignatureAlgorithm",
    ];

    /// Folders whose sources contain reasons as literals.
    const ROOMS: [&str; 4] = ["crates/core/src", "crates/providers/src", "src/controller", "src/lease"];

    fn sources(folder: &std::path::Path, found: &mut Vec<(String, String)>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                sources(&path, found);
            } else if !["tests", "corpus", "summary"].iter().any(|tests| path.to_string_lossy().contains(tests)) {
                let text = std::fs::read_to_string(&path).unwrap();
                let lines = text
                    .split("\nmod tests {")
                    .next()
                    .unwrap()
                    .lines()
                    .filter(|line| !line.trim_start().starts_with("//"));
                found.push((path.display().to_string(), lines.collect::<Vec<_>>().join("\n")));
            }
        }
    }

    fn is_camel_case(word: &str) -> bool {
        word.len() > 2
            && word.starts_with(|c: char| c.is_ascii_uppercase())
            && word.chars().all(|c| c.is_ascii_alphanumeric())
            && word.chars().any(|c| c.is_ascii_lowercase())
    }

    #[test]
    fn each_reason_that_the_sources_make_has_words() {
        let mut files = Vec::new();
        for room in ROOMS {
            sources(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(room), &mut files);
        }
        let mut made = std::collections::BTreeMap::new();
        for (file, text) in &files {
            // texts between two quotes; an unbalanced quote only adds words
            for word in text.split('"').filter(|word| is_camel_case(word)) {
                made.entry(word).or_insert(file);
            }
        }
        assert!(made.len() > 60 && made.contains_key("ServerError") && made.contains_key("SecretContested"));
        let is_event = |word: &str| EVENTS.iter().any(|event| event.words.contains(&word));
        let is_explained = |word: &str| find(word).is_some() || NO_REASONS.contains(&word) || is_event(word);
        let unexplained: Vec<_> = made.iter().filter(|(word, _)| !is_explained(word)).collect();
        assert!(
            unexplained.is_empty(),
            "{unexplained:#?}\nEach reason needs its meaning and an action: a line in STALLED, ISSUING or READY of this file \
             (PROVIDERS: of provider objects, EVENTS: of events), then `make chart` for the pages. A word that is no \
             reason: NO_REASONS, here."
        );
        let unmade: Vec<_> = [STALLED, ISSUING, READY, PROVIDERS, EVENTS]
            .into_iter()
            .flatten()
            .flat_map(|reason| reason.words)
            .filter(|word| !made.contains_key(*word))
            .collect();
        assert!(unmade.is_empty(), "nothing makes {unmade:?}: take their rows away");
    }
}
