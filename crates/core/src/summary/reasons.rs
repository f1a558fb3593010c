//! Each reason that a token's conditions may have: what it means, and the way out. The tables of README.md say the same; a
//! test holds them together.

/// What a reason means to a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reason {
    /// The CamelCase words that share the meaning.
    pub words: &'static [&'static str],
    /// What it means.
    pub means: &'static str,
    /// The way out; of what the operator tries again by itself, what happens.
    pub way_out: &'static str,
}

const fn reason(words: &'static [&'static str], means: &'static str, way_out: &'static str) -> Reason {
    Reason { words, means, way_out }
}

/// Of `Stalled`: something has to be changed first.
pub const STALLED: &[Reason] = &[
    reason(&["ProviderNotFound"], "spec.providerRef names nothing", "create it, or set kind: ClusterTokenProvider"),
    reason(
        &["NotAllowed"],
        "the ClusterTokenProvider isn't for this namespace or this scope",
        "its admin widens allowedNamespaces or allowedScopes",
    ),
    reason(
        &["SecretNotOwned"],
        "a Secret of that name is there already",
        "another spec.secret.name, or delete that Secret",
    ),
    reason(&["SecretClaimed"], "an older object writes that Secret", "another spec.secret.name"),
    reason(
        &["SecretImmutable"],
        "another hand made the Secret immutable",
        "delete it, or another spec.secret.name: the token moves",
    ),
    reason(
        &["SecretTypeDiffers"],
        "the Secret of an object before this one has another type",
        "delete it, or another spec.secret.name",
    ),
    reason(
        &["SecretTerminating"],
        "the Secret is being deleted, and a finalizer holds it",
        "the next is written when it is gone",
    ),
    reason(
        &["SecretContested"],
        "another writer changes or deletes the Secret again and again: the message names it and what it changes",
        "let it leave the Secret alone, or another spec.secret.name; put right once in 5 min until then",
    ),
    reason(
        &["SecretOverridden"],
        "an admission policy or webhook changes the Secret as it is stored: the message names the label, annotation or key",
        "exempt the Secret from it, or another spec.secret.name; tried again every 5 min",
    ),
    reason(&["CredentialsMissing"], "the credential's Secret or its key isn't there", "create it"),
    reason(
        &["CredentialsUnusable"],
        "what stands under the Secret's key is no credential: UTF-16, a PFX, an encrypted key, a value that SOPS encrypted",
        "the message says what to write instead",
    ),
    reason(
        &["CredentialsUnlabelled"],
        "the Secret isn't meant for this operator",
        "label it videotoken.dev/credentials=true",
    ),
    reason(
        &["CredentialsHostNotAllowed"],
        "the Secret, or the ServiceAccount, doesn't name the host, and must",
        "annotate it videotoken.dev/allowed-hosts=HOST,HOST",
    ),
    reason(
        &["HostNotAllowed"],
        "a TokenProvider names a host that isn't its product's own",
        "start the operator with --allowed-endpoint, or use a ClusterTokenProvider",
    ),
    reason(
        &["ClusterProvidersNotServed"],
        "this operator serves no ClusterTokenProvider",
        "a TokenProvider of the namespace, or start the operator with --cluster-providers",
    ),
    reason(
        &["ReferenceUnreadable"],
        "what the provider refers to can't be read",
        "the message says why; tried again after 10 s",
    ),
    reason(
        &["CaBundleMissing"],
        "caBundleRef names no text",
        "create it; label a Secret videotoken.dev/credentials=true",
    ),
    reason(
        &["ServiceAccountMissing", "TokenRequestForbidden"],
        "the operator gets no token of the namespace's ServiceAccount",
        "create it, or the Role that the message prints",
    ),
    reason(
        &["SecretRefused"],
        "the API server refuses the Secret: a quota, a policy, a permission",
        "mend it there; tried again every minute",
    ),
    reason(&["NamespaceTerminating"], "the namespace is being deleted", "nothing is to be done"),
    reason(
        &["Ended"],
        "the fixed end that the spec asks for (BlendVision's expiredAt) has passed",
        "nothing is to be done; or write a later one",
    ),
    reason(&["InvalidSpec"], "the message names the field", "as it says"),
    reason(
        &["SiteAdministrator"],
        "ArcGIS logs the user in as the primary site administrator, and the provider refuses such tokens",
        "a user with fewer rights, or take refuseSiteAdministrator from the provider",
    ),
    reason(
        &["WindowsAuthentication"],
        "ArcGIS: a web server asks for Windows authentication before the login",
        "let it pass generateToken without, or name the server's own port in url; no login is counted",
    ),
    reason(
        &["BadRequest", "NotFound", "Forbidden"],
        "the provider refuses this request: no such extension, no role",
        "mend it there; tried again after 1 min, then ever more rarely, up to 30 min",
    ),
    reason(
        &["Unprocessable"],
        "the provider understands the request, and won't serve it",
        "correct what the message names; tried again after 1 min, then ever more rarely, up to 30 min",
    ),
    reason(
        &["Unauthorized", "BadCredential"],
        "the provider refuses the credential that this token was asked for with, or it can't be sent: it has a line end or \
         the like",
        "put the right one into the Secret: it is tried at once",
    ),
    reason(
        &["InternalError"],
        "the operator failed over the provider object: a fault of ours",
        "its log says where: report it; tried again every minute",
    ),
    reason(
        &["InsecureEndpoint"],
        "the provider object names an endpoint that isn't https",
        "write https, or start the operator with --allow-insecure-endpoints",
    ),
];

/// Of `Issuing`: the operator is at it.
pub const ISSUING: &[Reason] = &[
    reason(
        &["CredentialRejected", "EntraRefused"],
        "Entra or the provider refuses the account's credential",
        "tried again when it changes, else every 15 min; of Entra's refusals what time heals after 5 s, then ever more \
         rarely, up to every 5 min, and all when a renewal is asked for; status.lastFailure of one of its tokens says why",
    ),
    reason(
        &["LoginsUsedUp"],
        "ArcGIS: three logins within 15 min failed, or their answer was lost, and five failures would lock the user",
        "the next is made 16 min after the oldest; status.heldUntil says when",
    ),
    reason(
        &["Throttled", "EntraThrottled"],
        "the provider asks for a pause",
        "all of the account's tokens wait as long as it asked",
    ),
    reason(
        &["WaitingForBudget"],
        "other tokens of the account use up spec.limits",
        "raise them if the provider allows more",
    ),
    reason(
        &["IssuedTooOften"],
        "the token is lost or altered, renewed on demand or asked for anew, again and again",
        "the message says when the next is issued; find who else writes the Secret, the annotation or the spec",
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
        "the provider can't be reached, or answers nonsense",
        "tried again after 1 s, then ever more rarely, up to 5 min; a private CA goes into caBundle",
    ),
    reason(
        &["RequestTimeout", "Conflict", "UnexpectedStatus"],
        "the provider answers with a status that says nothing of the request: the message has its number and words",
        "tried again after 1 s, then ever more rarely, up to 5 min; is the host the token API, and not a proxy before it?",
    ),
    reason(
        &["Redirected"],
        "the provider answers that it is elsewhere, and no redirect is followed",
        "name the final endpoint in the provider object; tried again, up to every 5 min",
    ),
    reason(
        &["BodyTooLarge"],
        "the answer is larger than any that holds a token",
        "is the host the token API, and not a web page? Tried again, up to every 5 min",
    ),
    reason(
        &["ExpiredToken"],
        "the provider issued a token that had expired when it came",
        "the clock of the provider or of the operator's node is wrong: set it by NTP; tried again, up to every 5 min",
    ),
    reason(
        &["QuotaExceeded"],
        "the calls of the account's tier are used up",
        "a higher tier, or wait until the time that the message names; looked at again after an hour at most",
    ),
    reason(
        &["AccountLocked"],
        "ArcGIS: failed logins locked the user",
        "wait 15 min; see who else logs in as that user",
    ),
    reason(
        &["AssertionFailed"],
        "the operator's own proof for Entra can't be made: the token file or the certificate's key",
        "the message names the file; is AZURE_FEDERATED_TOKEN_FILE there, and does the key belong to the certificate?",
    ),
    reason(
        &["EntraTokenRefused"],
        "Azure Resource Manager refuses the token that Entra issued",
        "tried again with a new one; if it lasts: tenantId and endpoints belong to different clouds or tenants",
    ),
    reason(
        &["SecretWriteFailed"],
        "the API server didn't take the Secret",
        "the token is kept and written later, not issued again",
    ),
];

/// Of `Ready`, where neither `Stalled` nor `Issuing` says more.
pub const READY: &[Reason] = &[
    reason(
        &["ExpiryAssumed"],
        "the Secret holds a token whose end its provider didn't tell",
        "nothing is to be done: it is taken to live as long as the operation promises",
    ),
    reason(&["Suspended"], "spec.suspend is true: nothing is issued", "set it to false"),
    reason(
        &["Expired"],
        "the token in the Secret expired before another could be issued",
        "the message and status.lastFailure say what kept it",
    ),
    reason(
        &["TokenLost"],
        "another hand changed or removed the token in the Secret",
        "the next is being issued; find who else writes the Secret",
    ),
    reason(
        &["Deleting"],
        "the object is being deleted: no token is asked for",
        "a finalizer that holds it is another's",
    ),
];

/// Of the conditions that only provider objects have.
pub const PROVIDERS: &[Reason] = &[
    reason(
        &["CredentialsExpireSoon", "CredentialsExpired"],
        "CredentialsExpiring: the credential ends within 14 days, or has ended",
        "put a new one into its Secret: it counts at once",
    ),
    reason(
        &["DemandOverBudget"],
        "Oversubscribed: its tokens ask for more than 80 % of spec.limits",
        "raise them if the provider allows more, or spread the tokens over accounts",
    ),
    reason(
        &["ClockSkewed"],
        "the provider's clock or the API server's is more than 5 min off the operator's",
        "set the clocks by NTP; the message says whose differs",
    ),
];

/// What a reason means, if it is one of ours; a provider's own words have only their message.
pub fn of(word: &str) -> Option<&'static Reason> {
    [STALLED, ISSUING, READY, PROVIDERS].into_iter().flatten().find(|reason| reason.words.contains(&word))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// The rows of the README's table below this head: the words, what they mean, the way out.
    fn rows(head: &str) -> Vec<[String; 3]> {
        let readme = include_str!("../../../../README.md");
        let table = readme.lines().skip_while(|line| *line != head).skip(2).take_while(|line| line.starts_with('|'));
        table
            .map(|line| {
                let cells: Vec<_> =
                    line.trim_matches('|').split(" | ").map(|cell| cell.trim().replace('`', "")).collect();
                cells.try_into().unwrap()
            })
            .collect()
    }

    #[test]
    fn the_readme_says_the_same() {
        for (head, reasons) in [
            ("| Reason | What it means | The way out |", STALLED),
            ("| Reason | What it means | What happens |", ISSUING),
            ("| Reason of `Ready` | What it means | The way out |", READY),
            ("| Reason of a provider object | What it means | The way out |", PROVIDERS),
        ] {
            let ours: Vec<_> = reasons
                .iter()
                .map(|reason| [reason.words.join(", "), reason.means.to_owned(), reason.way_out.to_owned()])
                .collect();
            assert_eq!(rows(head), ours);
        }
    }

    #[test]
    fn a_word_has_one_meaning() {
        assert_eq!(of("SecretClaimed").unwrap().means, "an older object writes that Secret");
        assert_eq!(of("TlsFailed"), of("Timeout"));
        assert_eq!(of("UserBlocked"), None);
        let all = [STALLED, ISSUING, READY, PROVIDERS].into_iter().flatten();
        let mut words: Vec<_> = all.flat_map(|reason| reason.words).collect();
        words.sort();
        assert!(words.is_sorted_by(|a, b| a < b), "{words:?}");
    }

    /// Words in capitals in the rooms that make reasons, which are none of a token's.
    #[rustfmt::skip]
    const NO_REASONS: &[&str] = &[
        // kinds, and parts of URLs and of objects
        "AccessToken", "AccessTokenWithPermission", "Accounts", "Auth", "Bearer", "ClusterTokenProvider", "Code",
        "ErrorType", "Message", "Namespace", "Opaque", "Projects", "Secret", "ServiceAccount", "TokenProvider", "True",
        "Users", "VideoAccessToken", "Videos", "ConfigMap",
        // conditions, and their reasons where all is well
        "AsExpected", "Issuing", "Overprivileged", "Pending", "Ready", "Stalled", "TokenIssued", "UpToDate",
        // classes of failures
        "Configuration", "Credential", "Denied", "Transient",
        // conditions of provider objects, and their reasons where all is well
        "Configured", "CredentialsExpiring", "Oversubscribed", "WithinBudget",
        // types and actions of events
        "Issue", "Normal", "Refuse", "Renew", "Repair", "Restart", "Warning",
        // words of logs and traces, names in Debug
        "Answer", "Apply", "Assertion", "AzureAuth", "CaUsedAsEndEntity", "Call", "Due", "Entra", "Failing", "First",
        "Forced", "Gone", "Http", "Immutable", "Lost", "Misshapen", "NotLeading", "Redactor", "Refused", "RequestChanged",
        "Unanswered", "Unavailable", "Unfit", "Wire",
        // words of others that are looked for
        "AgA", "AgB", "AgC", "AgD", "U2FsdGVkX1", "AuthorizationFailed", "AuthorizationPermissionMismatch", "DoesNotHaveAuthorization",
        "General", "LinkedAuthorizationFailed", "Other", "OtherError", "RequestDisallowedByPolicy",
        "UnsupportedCertSignatureAlgorithm", "UnsupportedSignatureAlgorithm",
    ];

    /// Reasons of events: the README has a table of them.
    const EVENTS: &[&str] =
        &["IssueFailed", "Recovered", "Repaired", "RestartFailed", "RestartNotAllowed", "RestartTargetMissing"];

    /// Reasons are made in these rooms, as literals.
    const ROOMS: [&str; 4] = ["crates/core/src", "crates/providers/src", "src/controller", "src/lease"];

    fn sources(folder: &std::path::Path, found: &mut Vec<(String, String)>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                sources(&path, found);
            } else if !["tests", "corpus", "summary"].iter().any(|tests| path.to_string_lossy().contains(tests)) {
                let text = std::fs::read_to_string(&path).unwrap();
                let text =
                    text.split("#[cfg(test)]\nmod ").next().unwrap().split("#[cfg(test)]\n#[allow").next().unwrap();
                let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
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
            // what stands between two quotes; an odd one out only offers more words
            for word in text.split('"').filter(|word| is_camel_case(word)) {
                made.entry(word).or_insert(file);
            }
        }
        assert!(made.len() > 60 && made.contains_key("ServerError") && made.contains_key("SecretContested"));
        let is_told = |word: &str| of(word).is_some() || NO_REASONS.contains(&word) || EVENTS.contains(&word);
        let untold: Vec<_> = made.iter().filter(|(word, _)| !is_told(word)).collect();
        assert!(
            untold.is_empty(),
            "{untold:#?}\nEach reason needs what it means and the way out: a line in STALLED, ISSUING or READY of \
             src/glance/reasons.rs (PROVIDERS: of provider objects) and the same row in the README's table; of an event: \
             EVENTS, here, and a row in the README's. A word that is no reason of a token: \
             NO_REASONS, here."
        );
        let events = rows("| Event | What it means | The way out |");
        let told: Vec<_> = events.iter().map(|[word, ..]| word.as_str()).collect();
        assert_eq!(told, EVENTS, "the README's table of events");
        let unmade: Vec<_> = [STALLED, ISSUING, READY, PROVIDERS]
            .into_iter()
            .flatten()
            .flat_map(|reason| reason.words)
            .filter(|word| !made.contains_key(*word))
            .collect();
        assert!(unmade.is_empty(), "nothing makes {unmade:?}: take their rows away, here and in the README");
    }
}
