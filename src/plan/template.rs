//! Renders `spec.secret.template.data`: strict Jinja, bounded in time and size.
//!
//! A text may use `token`, `issued_at` and `expires_at` (RFC 3339, UTC), `name`, `namespace`, `secret_name`, and
//! `previous_token` while there is one. Any other name is an error. Beside minijinja's own filters there are
//! `b64encode`, `b64decode`, `tojson` (compact), `urlencode`, `date("%Y-%m-%d")` and `unix`.
//!
//! What goes wrong is told by its kind, its line and the expression as the template has it. minijinja's own message
//! is used only where no value exists yet: a value may be the token.

mod filters;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests;

use crate::api::request::FieldError;
use crate::clock::Timestamp;
use chrono::{SecondsFormat, TimeDelta};
use minijinja::syntax::SyntaxConfig;
use minijinja::{AutoEscape, Environment, Error, ErrorKind, Template, UndefinedBehavior, Value};
use secrecy::{ExposeSecret, SecretString};
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// The field that holds the templates.
const FIELD: &str = "spec.secret.template.data";
/// Bytes that one key may render to.
const LARGEST_KEY: usize = 256 * 1024;
/// Bytes that all keys may render to: a Secret holds 1 MiB, with its other keys and its metadata.
const LARGEST_SUM: usize = 900 * 1024;
/// One fuel is an instruction, or 64 bytes that an expression makes or reads: some 13 MB for one key.
const FUEL: u64 = 200_000;
/// Of an expression that is quoted in an error.
const LONGEST_QUOTE: usize = 80;

const PREVIOUS_TOKEN: &str = "previous_token";
const NAMES: [&str; 7] = ["token", "expires_at", "issued_at", "name", "namespace", "secret_name", PREVIOUS_TOKEN];

/// What a template may use.
#[derive(Clone, Copy, Debug)]
pub struct Variables<'a> {
    /// The token that the Secret will hold.
    pub token: &'a SecretString,
    /// When it was asked for.
    pub issued_at: Timestamp,
    /// When it ends.
    pub expires_at: Timestamp,
    /// The `VideoAccessToken`'s name.
    pub name: &'a str,
    /// The namespace of both.
    pub namespace: &'a str,
    /// The Secret's name.
    pub secret_name: &'a str,
    /// The token before, while it lives and the spec asks for it.
    pub previous_token: Option<&'a SecretString>,
}

/// Renders every key. Fails with the field of the first that doesn't: neither the token nor anything rendered is in
/// the error.
pub fn render(
    templates: &BTreeMap<String, String>,
    variables: &Variables<'_>,
) -> Result<BTreeMap<String, SecretString>, FieldError> {
    if templates.is_empty() {
        return Ok(BTreeMap::new());
    }
    let context = context(variables);
    let mut sum = 0;
    let mut data = BTreeMap::new();
    for (key, source) in templates {
        let text =
            render_key(source, &context).map_err(|message| FieldError::new(format!("{FIELD}[{key}]"), message))?;
        sum += text.len();
        if sum > LARGEST_SUM {
            return Err(FieldError::new(FIELD, "all keys together render to more than 900 KiB; shorten them"));
        }
        data.insert(key.clone(), SecretString::from(text));
    }
    Ok(data)
}

/// Renders every key with sample values, so that a mistake costs no token.
pub fn check(templates: &BTreeMap<String, String>) -> Result<(), FieldError> {
    if templates.is_empty() {
        return Ok(());
    }
    // Shaped as a JWT, for templates that read its parts.
    let token = SecretString::from("eyJhbGciOiJub25lIn0.eyJzdWIiOiJzYW1wbGUifQ.c2FtcGxl");
    let issued_at = Timestamp::UNIX_EPOCH;
    let first = Variables {
        token: &token,
        issued_at,
        expires_at: issued_at + TimeDelta::hours(1),
        name: "sample",
        namespace: "sample",
        secret_name: "sample",
        previous_token: None,
    };
    render(templates, &first)?;
    if templates.values().any(|source| source.contains(PREVIOUS_TOKEN)) {
        render(templates, &Variables { previous_token: Some(&token), ..first })?;
    }
    Ok(())
}

/// The one environment: strict, without escapes, a trailing newline kept as it was written.
static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_fuel(Some(FUEL));
    if let Ok(syntax) = SyntaxConfig::builder().keep_trailing_newline(true).build() {
        environment.set_syntax(syntax);
    }
    // `debug` would print all variables; the others make what a Secret has no use for.
    for function in ["debug", "dict", "namespace", "range"] {
        environment.remove_global(function);
    }
    filters::add_to(&mut environment);
    environment
});

fn context(variables: &Variables<'_>) -> Value {
    let time = |at: Timestamp| Value::from(at.to_rfc3339_opts(SecondsFormat::Secs, true));
    let secret = |secret: &SecretString| Value::from(secret.expose_secret());
    let always = [
        ("token", secret(variables.token)),
        ("issued_at", time(variables.issued_at)),
        ("expires_at", time(variables.expires_at)),
        ("name", Value::from(variables.name)),
        ("namespace", Value::from(variables.namespace)),
        ("secret_name", Value::from(variables.secret_name)),
    ];
    let previous = variables.previous_token.map(|previous| (PREVIOUS_TOKEN, secret(previous)));
    always.into_iter().chain(previous).collect()
}

/// The text, or what is wrong with its template.
fn render_key(source: &str, context: &Value) -> Result<String, String> {
    let template = compile(&ENVIRONMENT, source).map_err(|error| syntax_message(&error))?;
    if let Some(message) = unknown_name(source, &template) {
        return Err(message);
    }
    let text = template.render(context.clone()).map_err(|error| message(source, &error))?;
    if text.len() > LARGEST_KEY {
        return Err("renders to more than 256 KiB; shorten it".into());
    }
    Ok(text)
}

fn compile<'a>(environment: &'a Environment<'a>, source: &'a str) -> Result<Template<'a, 'a>, Error> {
    environment.template_from_str(source)
}

/// Strictness that doesn't depend on which branch runs: a filter or a test may take what is undefined.
fn unknown_name(source: &str, template: &Template<'_, '_>) -> Option<String> {
    let mut unknown: Vec<_> = template.undeclared_variables(false).into_iter().collect();
    unknown.retain(|name| !NAMES.contains(&name.as_str()));
    unknown.sort();
    let name = unknown.first()?;
    let word = |line: &str| line.split(|c: char| !(c.is_alphanumeric() || c == '_')).any(|word| word == name);
    let line = source.lines().position(word).map_or(1, |index| index + 1);
    Some(format!("line {line}: `{name}` is not known; use one of {}", NAMES.join(", ")))
}

/// Nothing has a value yet, so the engine's own words are safe.
fn syntax_message(error: &Error) -> String {
    let what = error.detail().unwrap_or("can't be read");
    format!("line {}: syntax error: {what}", error.line().unwrap_or(1))
}

/// From the kind of error and the template's own text alone.
fn message(source: &str, error: &Error) -> String {
    let quote = error.range().and_then(|range| source.get(range)).unwrap_or_default();
    let line = error.line().unwrap_or(1);
    let mut short: String = quote.lines().next().unwrap_or_default().chars().take(LONGEST_QUOTE).collect();
    if short.len() < quote.len() {
        short.push('…');
    }
    let at = if short.is_empty() { format!("line {line}") } else { format!("line {line}: `{short}`") };
    let what = match error.kind() {
        ErrorKind::UndefinedError if quote.contains(PREVIOUS_TOKEN) => {
            "is undefined while there is no previous token; write {% if previous_token is defined %} around it"
        }
        ErrorKind::UndefinedError => "is undefined",
        ErrorKind::UnknownFilter => "uses an unknown filter",
        ErrorKind::UnknownTest => "uses an unknown test",
        ErrorKind::UnknownFunction => "calls an unknown function",
        ErrorKind::UnknownMethod => "calls an unknown method",
        ErrorKind::MissingArgument => "lacks an argument",
        ErrorKind::TooManyArguments => "has an argument too many",
        ErrorKind::OutOfFuel => "makes more work than a template may (256 KiB a key is the most); shorten it",
        _ => filters::reason(error).unwrap_or("can't be evaluated"),
    };
    format!("{at} {what}")
}
