//! `inspect`: shows the claims of the token in a Secret. Only `--show-token` prints the token with its signature.

use super::error::CliError;
use super::output::{Script, show};
use super::session::{Session, object_name};
use super::terminal::{TerminalStyle, Tone, plain, width, wrap};
use clap::Args;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use videotoken_api::{names, wire_time};
use videotoken_core::summary::text::relative_time;
use videotoken_providers::clock::{self, Timestamp};
use videotoken_providers::jwt;

/// VideoAccessToken to inspect.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub(super) struct Options {
    /// Name of a VideoAccessToken
    #[arg(value_name = "NAME", value_parser = object_name)]
    name: String,

    /// Also print the token; anyone who can read it can use it
    #[arg(long)]
    show_token: bool,

    /// Output format for scripts
    #[arg(short, long, value_name = "FORMAT", value_enum)]
    output: Option<Script>,
}

/// Content of a Secret and claims of its token, as `-o json` and `-o yaml` print them.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Inspection {
    namespace: String,
    secret_name: String,
    secret_type: String,
    /// Keys, with the size of their values in bytes.
    keys: BTreeMap<String, usize>,
    token_key: String,
    is_jwt: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    header: Option<Map<String, Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    claims: Option<Map<String, Value>>,
    annotations: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
}

/// Runs the command.
pub(super) async fn run(session: &Session, options: &Options, style: &TerminalStyle) -> Result<(), CliError> {
    let token = session.token(&options.name).await?;
    let (namespace, name) = (session.one_namespace()?, &token.row.secret_name);
    let api: Api<Secret> = Api::namespaced(session.client.clone(), namespace);
    let secret = session.request("get", "secrets", api.get_opt(name)).await?;
    let secret = secret.ok_or_else(|| {
        let hint = format!("`kubectl videotoken describe {}` shows the cause", options.name);
        CliError::not_healthy(format!("the Secret {namespace}/{name} does not exist yet; {hint}"))
    })?;
    let inspection = inspect(secret, namespace, name, options.show_token)?;
    match options.output {
        Some(script) => show(&script.document(&inspection)?),
        None => show(&page(&inspection, *style, clock::now().wall)),
    }
}

/// Inspects the Secret. The result contains the token only if it is `shown`.
fn inspect(secret: Secret, namespace: &str, name: &str, shown: bool) -> Result<Inspection, CliError> {
    let mut annotations = secret.metadata.annotations.unwrap_or_default();
    annotations.retain(|name, _| name.starts_with("videotoken.dev/"));
    let token_key = annotations.get(names::TOKEN_KEY).cloned().ok_or_else(|| {
        CliError::not_healthy(format!(
            "the Secret {namespace}/{name} has no annotation {}, so the operator didn't write it",
            names::TOKEN_KEY
        ))
    })?;
    let mut data = secret.data.unwrap_or_default();
    let keys = data.iter().map(|(key, value)| (key.clone(), value.0.len())).collect();
    let token = data.remove(&token_key).and_then(|bytes| String::from_utf8(bytes.0).ok()).map(SecretString::from);
    let token = token.ok_or_else(|| {
        CliError::not_healthy(format!(
            "the Secret {namespace}/{name} has no text in its key {token_key}. Another client changed it."
        ))
    })?;
    let (header, claims) = jwt::claims(token.expose_secret()).unzip();
    Ok(Inspection {
        namespace: namespace.to_owned(),
        secret_name: name.to_owned(),
        secret_type: secret.type_.unwrap_or_default(),
        keys,
        token_key,
        is_jwt: claims.is_some(),
        header,
        claims,
        annotations,
        token: shown.then(|| token.expose_secret().to_owned()),
    })
}

/// Claims that are times (RFC 7519 §4.1).
const TIMES: [&str; 4] = ["exp", "nbf", "iat", "auth_time"];

fn page(inspection: &Inspection, style: TerminalStyle, now: Timestamp) -> String {
    let columns = style.width().unwrap_or(usize::MAX);
    let Inspection { namespace, secret_name, secret_type, keys, token_key, .. } = inspection;
    let size = keys.get(token_key).copied().unwrap_or_default();
    let form = if inspection.is_jwt { "a JWT" } else { "opaque, without claims" };
    let title = |text: &str| style.tone(Tone::Bold, text);
    let mut lines = vec![
        format!("{} {namespace}/{secret_name}, {secret_type}", title("Secret")),
        format!("{} {size} bytes in the key {token_key}, {form}", title("Token")),
    ];
    let mut section = |name: &str, pairs: Vec<(String, String)>| {
        lines.extend([String::new(), title(name)]);
        let names = pairs.iter().map(|(name, _)| width(name)).max().unwrap_or_default();
        for (name, value) in pairs {
            for (n, line) in wrap(&value, columns.saturating_sub(names + 4)).iter().enumerate() {
                let name = if n == 0 { name.as_str() } else { "" };
                lines.push(format!("  {name}{}{line}", " ".repeat(names + 2 - width(name))));
            }
        }
    };
    if let (Some(header), Some(claims)) = (&inspection.header, &inspection.claims) {
        section("Header", header.iter().map(|(name, value)| (plain(name), claim(name, value, now))).collect());
        section("Claims", claims.iter().map(|(name, value)| (plain(name), claim(name, value, now))).collect());
    }
    section("Keys", keys.iter().map(|(key, size)| (key.clone(), format!("{size} bytes"))).collect());
    let annotations = inspection.annotations.iter().map(|(name, value)| {
        let time = wire_time::parse(value).map(|at| format!(" ({})", relative_time(at, now))).unwrap_or_default();
        (name.clone(), plain(value) + &time)
    });
    section("Annotations", annotations.collect());
    if let Some(differs) = differs(inspection) {
        lines.extend([String::new(), style.tone(Tone::Warn, &differs)]);
    }
    if let Some(token) = &inspection.token {
        lines.extend([String::new(), title("Value"), plain(token)]);
    }
    lines.join("\n") + "\n"
}

fn claim(name: &str, value: &Value, now: Timestamp) -> String {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    match jwt::date(value).filter(|_| TIMES.contains(&name)) {
        Some(at) => format!("{} ({}), {text}", wire_time::text(at), relative_time(at, now)),
        None => plain(&text),
    }
}

/// Returns a warning if the Secret and its token contain different expiries: the clock of the token API differs, or another
/// client changed the Secret.
fn differs(inspection: &Inspection) -> Option<String> {
    let recorded = wire_time::parse(inspection.annotations.get(names::EXPIRES_AT)?)?;
    let own = jwt::date(inspection.claims.as_ref()?.get("exp")?)?;
    let same = recorded.timestamp() == own.timestamp();
    (!same).then(|| {
        format!(
            "The expiry is {} in the Secret and {} in the token. The clocks of the token API and the operator may \
             differ.",
            wire_time::text(recorded),
            wire_time::text(own)
        )
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::terminal::When;
    use super::*;
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use serde_json::json;

    const SIGNATURE: &str = "c2lnbmF0dXJlLXNpZ25hdHVyZQ";

    fn now() -> Timestamp {
        Timestamp::from_timestamp(1_790_000_000, 0).unwrap()
    }

    fn jwt() -> String {
        let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let claims = json!({"aud": "https://api.example", "exp": 1_790_003_600, "Permission": "Reader\u{1b}[2J"});
        format!("{}.{}.{SIGNATURE}", part(json!({"alg": "RS256"})), part(claims))
    }

    fn secret(token: &str, expires: i64) -> Secret {
        let expires = wire_time::text(Timestamp::from_timestamp(expires, 0).unwrap());
        serde_json::from_value(json!({"type": "Opaque", "metadata": {"annotations": {
                names::TOKEN_KEY: "token", names::EXPIRES_AT: expires, "theirs": "x"}},
            "data": {"token": base64::engine::general_purpose::STANDARD.encode(token)}}))
        .unwrap()
    }

    fn shown(secret: Secret, show: bool) -> String {
        page(&inspect(secret, "cinema", "lobby", show).unwrap(), TerminalStyle::of_stdout(When::Never), now())
    }

    #[test]
    fn claims_are_shown_with_readable_times_and_the_token_is_not() {
        let token = jwt();
        let page = shown(secret(&token, 1_790_003_600), false);
        for expected in ["a JWT", "alg", "RS256", "2026-09-21T15:13:20Z (in 1h), 1790003600", "Reader\\u{1b}[2J"] {
            assert!(page.contains(expected), "{expected} is not in\n{page}");
        }
        assert!(token.split('.').all(|part| !page.contains(part)), "{page}");
        assert!(!page.contains("theirs") && !page.contains("The expiry is"), "{page}");
        assert!(shown(secret(&token, 1_790_003_600), true).contains(&token));
    }

    #[test]
    fn an_opaque_token_and_a_different_expiry_are_shown() {
        assert!(
            shown(secret("opaque-token-opaque", 1_790_003_600), false).contains("19 bytes in the key token, opaque")
        );
        let page = shown(secret(&jwt(), 1_790_009_999), false);
        assert!(
            page.contains("The expiry is 2026-09-21T16:59:59Z in the Secret and 2026-09-21T15:13:20Z in the token"),
            "{page}"
        );
    }

    #[test]
    fn a_secret_of_another_client_is_an_error() {
        let mut foreign = secret("theirs-theirs", 0);
        foreign.metadata.annotations = None;
        let error = inspect(foreign, "cinema", "lobby", true).err().unwrap().to_string();
        assert!(error.contains("didn't write it") && !error.contains("theirs"), "{error}");
    }
}
