//! Hints: findings that are allowed and probably a mistake. A hint rejects nothing.

use super::Violation;
use super::secrets::{HOME, Secrets};
use crate::manifest::Path;
use videotoken_api::http::Auth;
use videotoken_api::provider_types::Account;
use videotoken_providers::provider_setup::ProviderObject;

/// Returns the hints for a provider of a namespace, or of the cluster.
pub(super) fn find(provider: &ProviderObject, namespace: Option<&str>, secrets: &Secrets) -> Vec<Violation> {
    let Ok(account) = provider.spec.account() else { return Vec::new() };
    let mut hints = Vec::new();
    let declared = videotoken_providers::provider(&account);
    for (field, url) in declared.endpoints().unwrap_or_default() {
        if url.scheme() == "http" {
            let message = "is called without TLS: write https. The operator calls it only with \
                           --allow-insecure-endpoints, and videotoken doesn't";
            hints.push(Violation::new(&Path::parse(&field), message));
        }
    }
    if let Account::Http(http) = account
        && let Ok(Auth::Header(header)) = http.auth()
        && let Some(prefix) = header.prefix.as_deref().filter(|prefix| prefix.ends_with(char::is_alphanumeric))
    {
        let message = format!(
            "ends in a letter or a digit, and the value of the Secret follows without a blank: write \"{prefix} \" if the \
             API expects one"
        );
        hints.push(Violation::new(&Path::parse("spec.http.auth.header.prefix"), message));
    }
    let home = namespace.unwrap_or(HOME);
    let mut names = declared.secrets().unwrap_or_default();
    names.sort();
    names.dedup();
    for name in names {
        let found = secrets.namespaces(&name);
        if found.is_empty() || found.contains(&home) {
            continue;
        }
        let whose = if namespace.is_some() {
            format!("a TokenProvider reads the Secrets of its own namespace, {home}")
        } else {
            format!("a ClusterTokenProvider reads the Secrets of the operator's namespace, {home} by default")
        };
        let message = format!("the Secret {name} is in namespace {} here, and {whose}", found.join(", "));
        hints.push(Violation::new(&Path::parse("spec"), message));
    }
    hints
}
