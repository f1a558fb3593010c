//! Renders `spec.secret.template.data`: strict Jinja, bounded in time and size.
//!
//! A text may use `token`, `issued_at` and `expires_at` (RFC 3339, UTC), `name`, `namespace`, `secret_name`, and
//! `previous_token` while there is one. Any other name is an error. Beside some of minijinja's filters there are
//! `b64encode`, `b64decode`, `tojson` (compact), `urlencode`, `date("%Y-%m-%d")` and `unix`; [`grammar`] has the list.
//!
//! Three things bound what a template costs. [`grammar`] looks at the syntax tree before anything is computed and
//! refuses what no budget sees: lists that are repeated without being built, chains that take time by the square. Fuel
//! pays for each instruction and each byte, and every filter is charged for its work before it begins. What is
//! rendered goes through a writer that ends at its bound.
//!
//! What goes wrong is told by its kind, its line and the expression as the template has it. minijinja's own message
//! is used only where no value exists yet: a value may be the token.

mod filters;
mod grammar;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests;

use crate::clock::Timestamp;
use chrono::TimeDelta;
use minijinja::machinery::parse;
use minijinja::syntax::SyntaxConfig;
use minijinja::{AutoEscape, Environment, Error, ErrorKind, Template, UndefinedBehavior, Value};
use secrecy::{ExposeSecret, SecretString};
use std::collections::BTreeMap;
use std::io;
use videotoken_api::request::FieldError;
use videotoken_api::wire_time;

/// The field that holds the templates.
const FIELD: &str = "spec.secret.template.data";
/// Bytes that one key may render to.
const LARGEST_KEY: usize = 256 * 1024;
/// Bytes that all keys may render to: a Secret holds 1 MiB, with its other keys and its metadata.
const LARGEST_SUM: usize = 900 * 1024;
/// One fuel is an instruction, or 64 bytes that an expression makes or reads: some 2 MB for one key.
const FUEL: u64 = 32_000;
/// Fuel for all keys together.
const FUEL_OF_ALL: u64 = 4 * FUEL;
/// Bytes of one template, and of all. The schema has the same bounds.
pub const LARGEST_TEMPLATE: usize = 16 * 1024;
/// See [`LARGEST_TEMPLATE`].
pub const LARGEST_TEMPLATES: usize = 64 * 1024;
/// Stack that nesting costs at worst, in bytes per byte of a template. A chain of minus signs takes 300.
const STACK_PER_BYTE: usize = 512;
/// Bytes of stack that a thread needs to call [`render`], [`check`] and what uses them, with room for its other frames:
/// the engine recurses over expressions, and a chain of operators nests as deep as it is long.
pub const STACK: usize = 1024 * 1024 + LARGEST_TEMPLATE * STACK_PER_BYTE;
/// Of an expression that is quoted in an error.
const LONGEST_QUOTE: usize = 80;
/// Of a whole error: a name that isn't known may be as long as the template.
const LONGEST_MESSAGE: usize = 512;

const STATEMENTS: [&str; 6] = ["if", "elif", "else", "endif", "raw", "endraw"];
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
/// the error. The calling thread has [`STACK`].
pub fn render(
    templates: &BTreeMap<String, String>,
    variables: &Variables<'_>,
) -> Result<BTreeMap<String, SecretString>, FieldError> {
    if templates.is_empty() {
        return Ok(BTreeMap::new());
    }
    fits(templates.values().map(String::len).sum())?;
    let (engine, context) = (Engine::new(), context(variables));
    let (mut sum, mut fuel) = (0, 0);
    let mut data = BTreeMap::new();
    for (key, source) in templates {
        let rendered = engine
            .render(source, &context)
            .map_err(|message| FieldError::new(format!("{FIELD}[{key}]"), cut(message)))?;
        sum += rendered.text.len();
        fuel += rendered.fuel;
        if sum > LARGEST_SUM {
            return Err(FieldError::new(FIELD, "all keys together render to more than 900 KiB; shorten them"));
        }
        if fuel > FUEL_OF_ALL {
            return Err(FieldError::new(FIELD, "all keys together make more than templates may; shorten them"));
        }
        data.insert(key.clone(), SecretString::from(rendered.text));
    }
    Ok(data)
}

/// Whether templates of so many bytes together are rendered at all.
pub fn fits(bytes: usize) -> Result<(), FieldError> {
    if bytes > LARGEST_TEMPLATES {
        return Err(FieldError::new(FIELD, "all templates together are longer than 64 KiB; shorten them"));
    }
    Ok(())
}

fn cut(message: String) -> String {
    match message.char_indices().nth(LONGEST_MESSAGE) {
        Some((end, _)) => format!("{}…", &message[..end]),
        None => message,
    }
}

/// Renders every key with sample values, so that a mistake costs no token. Returns what came of it: without a previous
/// token and, if a template names it, with one. The calling thread has [`STACK`].
pub fn check(templates: &BTreeMap<String, String>) -> Result<Vec<BTreeMap<String, SecretString>>, FieldError> {
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
    let mut rendered = vec![render(templates, &first)?];
    if templates.values().any(|source| source.contains(PREVIOUS_TOKEN)) {
        rendered.push(render(templates, &Variables { previous_token: Some(&token), ..first })?);
    }
    Ok(rendered)
}

fn context(variables: &Variables<'_>) -> Value {
    let time = |at: Timestamp| Value::from(wire_time::text(at));
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
    Value::from(always.into_iter().chain(previous).collect::<BTreeMap<_, _>>())
}

/// What one key's template came to.
struct Rendered {
    text: String,
    fuel: u64,
}

/// The template engine: strict, without escapes, a trailing newline kept as it was written.
struct Engine {
    environment: Environment<'static>,
    syntax: SyntaxConfig,
}

impl Engine {
    fn new() -> Self {
        let syntax = SyntaxConfig::builder().keep_trailing_newline(true).build().unwrap_or_default();
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        environment.set_fuel(Some(FUEL));
        environment.set_syntax(syntax.clone());
        // `debug` would print all variables; the others make what a Secret has no use for.
        for function in ["debug", "dict", "namespace", "range"] {
            environment.remove_global(function);
        }
        filters::add_to(&mut environment);
        Self { environment, syntax }
    }

    /// Returns the text, or what is wrong with its template.
    fn render(&self, source: &str, context: &Value) -> Result<Rendered, String> {
        if source.len() > LARGEST_TEMPLATE {
            return Err("is longer than 16 KiB; shorten it".into());
        }
        if let Some(message) = other_statement(source) {
            return Err(message);
        }
        let tree = parse(source, "", self.syntax.clone()).map_err(|error| syntax_message(&error))?;
        grammar::check(&tree)?;
        drop(tree);
        let template = self.environment.template_from_str(source).map_err(|error| syntax_message(&error))?;
        if let Some(message) = unknown_name(source, &template) {
            return Err(message);
        }
        let mut text = Bounded::default();
        let rendered = template.render_captured_to(context.clone(), &mut text);
        if text.full {
            return Err("renders to more than 256 KiB; shorten it".into());
        }
        let rendered = rendered.map_err(|error| message(source, &error))?;
        let fuel = rendered.state().fuel_levels().map_or(0, |(consumed, _)| consumed);
        let text = String::from_utf8(text.bytes).map_err(|_| "renders to what is no text".to_owned())?;
        Ok(Rendered { text, fuel })
    }
}

/// Takes what is rendered, up to [`LARGEST_KEY`].
#[derive(Default)]
struct Bounded {
    bytes: Vec<u8>,
    full: bool,
}

impl io::Write for Bounded {
    fn write(&mut self, more: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + more.len() > LARGEST_KEY {
            self.full = true;
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(more);
        Ok(more.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Only `if` and `raw` are statements here. Variables are plain texts, so there is nothing to loop over; and without
/// loops and assignments, what a template makes is bounded by its length.
///
/// Looks at every `{%`, also where it is text: so it needs no knowledge of what the engine takes for text.
fn other_statement(source: &str) -> Option<String> {
    source.match_indices("{%").find_map(|(index, tag)| {
        let rest = source[index + tag.len()..].trim_start_matches(['-', '+']).trim_start();
        let word = rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap_or_default();
        if word.is_empty() || STATEMENTS.contains(&word) {
            return None;
        }
        let line = source[..index].matches('\n').count() + 1;
        Some(format!("line {line}: `{{% {word} %}}` is not available; use {} only", STATEMENTS.join(", ")))
    })
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
    let line = error.line().unwrap_or(1);
    let range = error.range().unwrap_or_default();
    let tag = source.get(..range.end).and_then(|before| before.rsplit("{{").next()).unwrap_or_default();
    if error.kind() == ErrorKind::UndefinedError && tag.contains(PREVIOUS_TOKEN) {
        return format!(
            "line {line}: `{PREVIOUS_TOKEN}` is undefined while there is none; \
             write {{% if {PREVIOUS_TOKEN} is defined %}} around it"
        );
    }
    let what = match error.kind() {
        ErrorKind::UndefinedError => "is undefined",
        ErrorKind::UnknownFilter => "is an unknown filter",
        ErrorKind::UnknownTest => "is an unknown test",
        ErrorKind::UnknownFunction => "calls an unknown function",
        ErrorKind::UnknownMethod => "calls an unknown method",
        ErrorKind::MissingArgument => "lacks an argument",
        ErrorKind::TooManyArguments => "has an argument too many",
        ErrorKind::OutOfFuel => "makes more than a template may; shorten it",
        _ => filters::reason(error).unwrap_or("can't be evaluated"),
    };
    match quote(source.get(range).unwrap_or_default()) {
        Some(quote) => format!("line {line}: `{quote}` {what}"),
        None => format!("line {line}: {what}"),
    }
}

/// The first line, cut.
fn quote(expression: &str) -> Option<String> {
    let mut short: String = expression.lines().next()?.chars().take(LONGEST_QUOTE).collect();
    if short.len() < expression.len() {
        short.push('…');
    }
    Some(short)
}
