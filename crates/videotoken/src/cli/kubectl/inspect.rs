//! `inspect`: what the token in a Secret says of itself. The token is shown only when asked for, its signature never
//! apart from it.

use super::fault::Fault;
use super::output::{Script, show};
use super::paint::{Paint, Tone, plain, width, wrap};
use super::session::{Session, object_name};
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

/// What to inspect.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub(super) struct Options {
    /// A VideoAccessToken
    #[arg(value_name = "NAME", value_parser = object_name)]
    name: String,

    /// Print the token itself, too: whoever sees it can use it
    #[arg(long)]
    show_token: bool,

    /// For scripts
    #[arg(short, long, value_name = "FORMAT", value_enum)]
    output: Option<Script>,
}

/// What there is to see of a Secret and of the token in it; the shape of `-o json` and `-o yaml`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Inspection {
    namespace: String,
    secret_name: String,
    secret_type: String,
    /// The keys and the sizes of their values in bytes.
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

/// Shows it.
pub(super) async fn run(session: &Session, options: &Options, paint: &Paint) -> Result<(), Fault> {
    let token = session.token(&options.name).await?;
    let (namespace, name) = (session.one_namespace()?, &token.row.secret_name);
    let api: Api<Secret> = Api::namespaced(session.client.clone(), namespace);
    let secret = session.ask("get", "secrets", api.get_opt(name)).await?;
    let secret = secret.ok_or_else(|| {
        let hint = format!("`kubectl videotoken describe {}` says why", options.name);
        Fault::unwell(format!("the Secret {namespace}/{name} isn't there yet; {hint}"))
    })?;
    let inspection = inspect(secret, namespace, name, options.show_token)?;
    match options.output {
        Some(script) => show(&script.document(&inspection)?),
        None => show(&page(&inspection, *paint, clock::now().wall)),
    }
}

/// The token's value leaves this function only if it is `shown`.
fn inspect(secret: Secret, namespace: &str, name: &str, shown: bool) -> Result<Inspection, Fault> {
    let mut annotations = secret.metadata.annotations.unwrap_or_default();
    annotations.retain(|name, _| name.starts_with("videotoken.dev/"));
    let token_key = annotations.get(names::TOKEN_KEY).cloned().ok_or_else(|| {
        Fault::unwell(format!(
            "the Secret {namespace}/{name} has no annotation {}: the operator didn't write it",
            names::TOKEN_KEY
        ))
    })?;
    let mut data = secret.data.unwrap_or_default();
    let keys = data.iter().map(|(key, value)| (key.clone(), value.0.len())).collect();
    let token = data.remove(&token_key).and_then(|bytes| String::from_utf8(bytes.0).ok()).map(SecretString::from);
    let token = token.ok_or_else(|| {
        Fault::unwell(format!(
            "the Secret {namespace}/{name} has no text in its key {token_key}: another hand changed it"
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

fn page(inspection: &Inspection, paint: Paint, now: Timestamp) -> String {
    let columns = paint.width().unwrap_or(usize::MAX);
    let Inspection { namespace, secret_name, secret_type, keys, token_key, .. } = inspection;
    let size = keys.get(token_key).copied().unwrap_or_default();
    let form = if inspection.is_jwt { "a JWT" } else { "opaque: it tells nothing of itself" };
    let title = |text: &str| paint.tone(Tone::Bold, text);
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
        lines.extend([String::new(), paint.tone(Tone::Warn, &differs)]);
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

/// The Secret tells another end than its token: the provider's clock is another, its promise is shorter, or another hand
/// was there.
fn differs(inspection: &Inspection) -> Option<String> {
    let told = wire_time::parse(inspection.annotations.get(names::EXPIRES_AT)?)?;
    let own = jwt::date(inspection.claims.as_ref()?.get("exp")?)?;
    let same = told.timestamp() == own.timestamp();
    (!same).then(|| {
        format!(
            "The Secret says that its token expires at {}, the token itself says {}: by its provider's clock, if that \
             differs from the operator's.",
            wire_time::text(told),
            wire_time::text(own)
        )
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::paint::When;
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
        page(&inspect(secret, "cinema", "lobby", show).unwrap(), Paint::of_stdout(When::Never), now())
    }

    #[test]
    fn claims_are_shown_with_readable_times_and_the_token_is_not() {
        let token = jwt();
        let page = shown(secret(&token, 1_790_003_600), false);
        for expected in ["a JWT", "alg", "RS256", "2026-09-21T15:13:20Z (in 1h), 1790003600", "Reader\\u{1b}[2J"] {
            assert!(page.contains(expected), "{expected} is not in\n{page}");
        }
        assert!(token.split('.').all(|part| !page.contains(part)), "{page}");
        assert!(!page.contains("theirs") && !page.contains("itself says"), "{page}");
        assert!(shown(secret(&token, 1_790_003_600), true).contains(&token));
    }

    #[test]
    fn an_opaque_token_and_an_end_that_differs_are_told() {
        assert!(
            shown(secret("opaque-token-opaque", 1_790_003_600), false).contains("19 bytes in the key token, opaque")
        );
        let page = shown(secret(&jwt(), 1_790_009_999), false);
        assert!(page.contains("expires at 2026-09-21T16:59:59Z, the token itself says 2026-09-21T15:13:20Z"), "{page}");
    }

    #[test]
    fn a_secret_of_another_hand_is_told_and_not_shown() {
        let mut foreign = secret("theirs-theirs", 0);
        foreign.metadata.annotations = None;
        let fault = inspect(foreign, "cinema", "lobby", true).err().unwrap().to_string();
        assert!(fault.contains("didn't write it") && !fault.contains("theirs"), "{fault}");
    }
}
