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
    reason(&["InvalidSpec"], "the message names the field", "as it says"),
    reason(
        &["BadRequest", "NotFound", "Forbidden"],
        "the provider refuses this request: no such extension, no role",
        "mend it there; tried again after 1 min, then ever more rarely, up to 30 min",
    ),
];

/// Of `Issuing`: the operator is at it.
pub const ISSUING: &[Reason] = &[
    reason(
        &["CredentialRejected", "EntraRefused"],
        "Entra or the provider refuses the account's credential",
        "tried again when it changes, else every 15 min; status.lastFailure of one of its tokens says why",
    ),
    reason(
        &["LoginsUsedUp"],
        "ArcGIS: three logins within 15 min didn't work, and five would lock the user",
        "the next is made when the oldest is 15 min ago",
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
        &["SecretWriteFailed"],
        "the API server didn't take the Secret",
        "the token is kept and written later, not issued again",
    ),
];

/// What a reason means, if it is one of ours; a provider's own words have only their message.
pub fn of(word: &str) -> Option<&'static Reason> {
    [STALLED, ISSUING].into_iter().flatten().find(|reason| reason.words.contains(&word))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// The rows of the README's table below this head: the words, what they mean, the way out.
    fn rows(head: &str) -> Vec<[String; 3]> {
        let readme = include_str!("../../README.md");
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
        let mut words: Vec<_> = [STALLED, ISSUING].into_iter().flatten().flat_map(|reason| reason.words).collect();
        words.sort();
        assert!(words.is_sorted_by(|a, b| a < b), "{words:?}");
    }
}
