//! Renders `spec.secret.template.data`: strict Jinja with limits of time and size.
//!
//! A template can use `token`, `issued_at` and `expires_at` (RFC 3339, UTC), `name`, `namespace`, `secret_name`,
//! `values.NAME` for further values of the provider, and `previous_token` if there is one. Other names are errors. The
//! filters are some of minijinja's, and those of [`filters`]; [`grammar`] contains the list.
//!
//! Three mechanisms limit the cost of a template. [`grammar`] checks the syntax tree before execution and rejects what
//! fuel does not measure: lists that are repeated without being built, and chains with quadratic time. Fuel pays for
//! each instruction and each byte, and every filter pays before it runs. The writer for the result has a maximum size.
//!
//! Error messages contain the kind of the error, its line and the expression from the template. minijinja's own
//! message is only used before any value exists, because a value may be the token.

pub mod declared;
mod filters;
mod grammar;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests;

use crate::clock::Timestamp;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::TimeDelta;
use minijinja::machinery::ast::Stmt;
use minijinja::machinery::parse;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Object;
use minijinja::{AutoEscape, Environment, Error, ErrorKind, Template, UndefinedBehavior, Value};
use secrecy::{ExposeSecret, SecretString};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use videotoken_api::request::FieldError;
use videotoken_api::wire_time;

/// Field of the templates.
const FIELD: &str = "spec.secret.template.data";
/// Maximum bytes of a rendered key.
const LARGEST_KEY: usize = 256 * 1024;
/// Maximum bytes of all rendered keys: a Secret can contain 1 MiB, with its other keys and its metadata.
const LARGEST_SUM: usize = 900 * 1024;
/// Fuel of one key. One unit pays for an instruction, or for 64 bytes that an expression creates or reads: about 2 MB.
const FUEL: u64 = 32_000;
/// Fuel of all keys together.
const FUEL_OF_ALL: u64 = 4 * FUEL;
/// Maximum bytes of a template. The schema has the same limits.
pub const LARGEST_TEMPLATE: usize = 16 * 1024;
/// Maximum bytes of all templates.
pub const LARGEST_TEMPLATES: usize = 64 * 1024;
/// Maximum stack for nested expressions, in bytes per byte of a template. A chain of minus signs takes 300.
const STACK_PER_BYTE: usize = 512;
/// Stack in bytes that a thread needs to call [`render`], [`check`] and their callers, including its other frames. The
/// engine recurses over expressions, and a chain of operators is as deep as it is long.
pub const STACK: usize = 1024 * 1024 + LARGEST_TEMPLATE * STACK_PER_BYTE;
/// Maximum characters of a quoted expression in an error.
const LONGEST_QUOTE: usize = 80;
/// Maximum characters of an error: an unknown name may be as long as the template.
const LONGEST_MESSAGE: usize = 512;

const STATEMENTS: [&str; 6] = ["if", "elif", "else", "endif", "raw", "endraw"];
const PREVIOUS_TOKEN: &str = "previous_token";
const VALUES: &str = "values";
/// Filter that keeps a value for the caller. Templates can't name it, because [`grammar`] doesn't know it.
const KEEP: &str = "keep";
const NAMES: [&str; 8] =
    ["token", "expires_at", "issued_at", "name", "namespace", "secret_name", PREVIOUS_TOKEN, VALUES];
/// Maximum number of further values that the templates of one spec read. No provider declares more.
const MOST_VALUES: usize = 8;

/// Variables of a template.
#[derive(Clone, Copy, Debug)]
pub struct Variables<'a> {
    /// Token that the Secret will contain.
    pub token: &'a SecretString,
    /// Issue time.
    pub issued_at: Timestamp,
    /// Expiry.
    pub expires_at: Timestamp,
    /// Name of the `VideoAccessToken`.
    pub name: &'a str,
    /// Namespace of the `VideoAccessToken` and the Secret.
    pub namespace: &'a str,
    /// Name of the Secret.
    pub secret_name: &'a str,
    /// Previous token, while it is valid and the spec declares a key for it.
    pub previous_token: Option<&'a SecretString>,
    /// Further values that came with the token. `None` stands for any values, for a check.
    pub values: Option<&'a BTreeMap<String, SecretString>>,
}

/// Renders every key. The error names the field of the first failure and contains neither the token nor rendered text.
/// The calling thread needs [`STACK`] bytes of stack.
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
            .render(source, &NAMES, &context)
            .map_err(|message| FieldError::new(format!("{FIELD}[{key}]"), cut(message)))?;
        sum += rendered.text.len();
        fuel += rendered.fuel;
        if sum > LARGEST_SUM {
            return Err(FieldError::new(
                FIELD,
                "all keys together render to more than 900 KiB. Shorten the templates.",
            ));
        }
        if fuel > FUEL_OF_ALL {
            return Err(FieldError::new(FIELD, "all keys together exceed the work limit of templates. Shorten them."));
        }
        data.insert(key.clone(), SecretString::from(rendered.text));
    }
    Ok(data)
}

/// Returns an error if the templates exceed the maximum size together.
pub fn fits(bytes: usize) -> Result<(), FieldError> {
    if bytes > LARGEST_TEMPLATES {
        return Err(FieldError::new(FIELD, "all templates together are longer than 64 KiB. Shorten them."));
    }
    Ok(())
}

/// Encodes as CloudFront expects: base64 with `-`, `_` and `~` for `+`, `=` and `/`.
pub fn cloudfront(bytes: &[u8]) -> String {
    STANDARD.encode(bytes).replace('+', "-").replace('=', "_").replace('/', "~")
}

fn cut(message: String) -> String {
    match message.char_indices().nth(LONGEST_MESSAGE) {
        Some((end, _)) => format!("{}…", &message[..end]),
        None => message,
    }
}

/// Renders every key with sample values, so that an error is found before a token is issued. Returns the result
/// without a previous token and, if a template uses it, with one. The calling thread needs [`STACK`] bytes of stack.
pub fn check(templates: &BTreeMap<String, String>) -> Result<Vec<BTreeMap<String, SecretString>>, FieldError> {
    // In the form of a JWT, for templates that read its parts.
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
        values: None,
    };
    let mut rendered = vec![render(templates, &first)?];
    if templates.values().any(|source| source.contains(PREVIOUS_TOKEN)) {
        rendered.push(render(templates, &Variables { previous_token: Some(&token), ..first })?);
    }
    Ok(rendered)
}

/// Returns the names of the further values that the templates read. The templates were checked.
pub fn values_read(templates: &BTreeMap<String, String>) -> Result<Vec<String>, FieldError> {
    if !templates.values().any(|source| source.contains(VALUES)) {
        return Ok(Vec::new());
    }
    let engine = Engine::new();
    let mut names = BTreeSet::new();
    for (key, source) in templates {
        let wrong = |message: String| FieldError::new(format!("{FIELD}[{key}]"), message);
        let template = engine.environment.template_from_str(source).map_err(|error| wrong(syntax_message(&error)))?;
        for path in template.undeclared_variables(true) {
            let mut parts = path.split('.');
            match (parts.next(), parts.next()) {
                (Some(VALUES), Some(name)) => drop(names.insert(name.to_owned())),
                (Some(VALUES), None) => {
                    return Err(wrong("`values` is not a value itself. Write values.NAME.".to_owned()));
                }
                _ => {}
            }
        }
        if names.len() > MOST_VALUES {
            return Err(wrong(format!("reads more than {MOST_VALUES} further values. No provider has as many.")));
        }
    }
    Ok(names.into_iter().collect())
}

/// Further values of any name, for a check.
#[derive(Debug)]
struct AnyValue;

impl Object for AnyValue {
    fn get_value(self: &Arc<Self>, _: &Value) -> Option<Value> {
        Some(Value::from("sample-value-0123456789"))
    }
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
    let values = match variables.values {
        Some(values) => Value::from_pairs(values.iter().map(|(name, value)| (name.as_str(), secret(value)))),
        None => Value::from_object(AnyValue),
    };
    Value::from(always.into_iter().chain(previous).chain([(VALUES, values)]).collect::<BTreeMap<_, _>>())
}

/// Rendered key, and the fuel that it used.
struct Rendered {
    text: String,
    fuel: u64,
}

/// Template engine: strict, without escaping, with the trailing newline kept.
struct Engine {
    environment: Environment<'static>,
    syntax: SyntaxConfig,
    /// Functions that a template can call.
    functions: Vec<&'static str>,
}

impl Engine {
    fn new() -> Self {
        let syntax = SyntaxConfig::builder().keep_trailing_newline(true).build().unwrap_or_default();
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        environment.set_fuel(Some(FUEL));
        environment.set_syntax(syntax.clone());
        // `debug` would print all variables; a Secret has no use for the others.
        for function in ["debug", "dict", "namespace", "range"] {
            environment.remove_global(function);
        }
        filters::add_to(&mut environment);
        Self { environment, syntax, functions: Vec::new() }
    }

    /// Compiles a template whose names are all among `names`. Returns the error message otherwise.
    fn compile<'a>(&'a self, source: &'a str, names: &[impl AsRef<str>]) -> Result<Template<'a, 'a>, String> {
        let template = self.parsed(source)?;
        unknown_name(source, &template, names).map_or(Ok(template), Err)
    }

    /// Compiles a template with any names. Returns the error message if its syntax or its grammar is wrong.
    fn parsed<'a>(&'a self, source: &'a str) -> Result<Template<'a, 'a>, String> {
        if source.len() > LARGEST_TEMPLATE {
            return Err("is longer than 16 KiB. Shorten it.".into());
        }
        if let Some(message) = other_statement(source) {
            return Err(message);
        }
        let tree = parse(source, "", self.syntax.clone()).map_err(|error| syntax_message(&error))?;
        grammar::check(&tree, &self.functions)?;
        drop(tree);
        self.environment.template_from_str(source).map_err(|error| syntax_message(&error))
    }

    /// Returns the expression of a template that consists of nothing else.
    fn lone_expression<'a>(&self, source: &'a str) -> Result<Option<&'a str>, String> {
        let tree = parse(source, "", self.syntax.clone()).map_err(|error| syntax_message(&error))?;
        let Stmt::Template(template) = &tree else { return Ok(None) };
        let [Stmt::EmitExpr(_)] = template.children.as_slice() else { return Ok(None) };
        let Some(inner) = source.strip_prefix("{{").and_then(|rest| rest.strip_suffix("}}")) else { return Ok(None) };
        let inner = inner.strip_prefix(['-', '+']).unwrap_or(inner);
        Ok(Some(inner.strip_suffix(['-', '+']).unwrap_or(inner)))
    }

    /// Renders a template that consists of `expression` and passes its value to the filter [`KEEP`]. Returns the value
    /// and the fuel that it used, or the error message. This way fuel and size are limited as in each other render.
    fn evaluate(
        &self,
        source: &str,
        expression: &str,
        names: &[impl AsRef<str>],
        context: &Value,
    ) -> Result<(Value, u64), String> {
        self.compile(source, names)?;
        let source = format!("{{{{ ({expression}) | {KEEP} }}}}");
        let template = self.environment.template_from_str(&source).map_err(|error| syntax_message(&error))?;
        let rendered = template.render_captured(context.clone()).map_err(|error| message(&source, &error))?;
        let state = rendered.state();
        let fuel = state.fuel_levels().map_or(0, |(consumed, _)| consumed);
        Ok((state.get_temp(KEEP).unwrap_or_default(), fuel))
    }

    /// Returns the rendered text, or the error message.
    fn render(&self, source: &str, names: &[impl AsRef<str>], context: &Value) -> Result<Rendered, String> {
        let template = self.compile(source, names)?;
        let mut text = Bounded::default();
        let rendered = template.render_captured_to(context.clone(), &mut text);
        if text.full {
            return Err("renders to more than 256 KiB. Shorten it.".into());
        }
        let rendered = rendered.map_err(|error| message(source, &error))?;
        let fuel = rendered.state().fuel_levels().map_or(0, |(consumed, _)| consumed);
        let text = String::from_utf8(text.bytes).map_err(|_| "does not render to UTF-8 text.".to_owned())?;
        Ok(Rendered { text, fuel })
    }
}

/// Writer with a limit of [`LARGEST_KEY`] bytes.
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

/// Returns an error for statements other than `if` and `raw`. Variables are plain texts, so loops have no use. Without
/// loops and assignments, the length of a template limits its result.
///
/// Checks every `{%`, also in plain text, so that it does not depend on the engine's rules for text.
fn other_statement(source: &str) -> Option<String> {
    source.match_indices("{%").find_map(|(index, tag)| {
        let rest = source[index + tag.len()..].trim_start_matches(['-', '+']).trim_start();
        let word = rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap_or_default();
        if word.is_empty() || STATEMENTS.contains(&word) {
            return None;
        }
        let line = source[..index].matches('\n').count() + 1;
        Some(format!("line {line}: `{{% {word} %}}` is not available. Use {} only.", STATEMENTS.join(", ")))
    })
}

/// Returns an error for an unknown name in any branch. Filters and tests would accept an undefined value.
fn unknown_name(source: &str, template: &Template<'_, '_>, names: &[impl AsRef<str>]) -> Option<String> {
    let mut unknown: Vec<_> = template.undeclared_variables(false).into_iter().collect();
    unknown.retain(|name| !names.iter().any(|known| known.as_ref() == name));
    unknown.sort();
    let name = unknown.first()?;
    let word = |line: &str| line.split(|c: char| !(c.is_alphanumeric() || c == '_')).any(|word| word == name);
    let line = source.lines().position(word).map_or(1, |index| index + 1);
    if grammar::is_filter(name) {
        return Some(format!("line {line}: `{name}` is a filter: write it behind a value, as in expires_at | {name}."));
    }
    let names: Vec<_> = names.iter().map(AsRef::as_ref).collect();
    Some(format!("line {line}: `{name}` is not known. Use one of {}.", names.join(", ")))
}

/// Returns the message for a syntax error. No value exists yet, so the engine's message contains no secret.
fn syntax_message(error: &Error) -> String {
    let what = error.detail().unwrap_or("the template can't be parsed");
    format!("line {}: syntax error: {what}.", error.line().unwrap_or(1))
}

/// Returns the message for an error of execution, from its kind and the template only.
fn message(source: &str, error: &Error) -> String {
    let line = error.line().unwrap_or(1);
    let range = error.range().unwrap_or_default();
    let tag = source.get(..range.end).and_then(|before| before.rsplit("{{").next()).unwrap_or_default();
    if error.kind() == ErrorKind::UndefinedError && tag.contains(PREVIOUS_TOKEN) {
        return format!(
            "line {line}: `{PREVIOUS_TOKEN}` is undefined if the Secret has no previous token. Put {{% if {PREVIOUS_TOKEN} is defined %}} around it."
        );
    }
    let what = match error.kind() {
        ErrorKind::UndefinedError => "is undefined",
        ErrorKind::UnknownFilter => "is an unknown filter",
        ErrorKind::UnknownTest => "is an unknown test",
        ErrorKind::UnknownFunction => "calls an unknown function",
        ErrorKind::UnknownMethod => "calls an unknown method",
        ErrorKind::MissingArgument => "needs another argument",
        ErrorKind::TooManyArguments => "has too many arguments",
        ErrorKind::OutOfFuel => "exceeds the work limit of a template. Shorten it",
        _ => filters::reason(error).unwrap_or("can't be evaluated"),
    };
    let expression = source.get(range).unwrap_or_default();
    if error.kind() == ErrorKind::InvalidOperation
        && let (Some(time), Some(quote)) = (calculated_time(expression), quote(expression))
    {
        return format!("line {line}: `{quote}` can't be evaluated, as {time} is a text. Write ({time} | unix).");
    }
    match quote(expression) {
        Some(quote) => format!("line {line}: `{quote}` {what}."),
        None => format!("line {line}: {what}."),
    }
}

/// Returns the time with which an expression calculates as if it were a number.
fn calculated_time(expression: &str) -> Option<&'static str> {
    const SIGNS: [char; 5] = ['+', '-', '*', '/', '%'];
    ["issued_at", "expires_at"].into_iter().find(|name| {
        expression.match_indices(name).any(|(at, _)| {
            let before = expression[..at].trim_end().ends_with(SIGNS);
            let after = expression[at + name.len()..].trim_start();
            after.starts_with(SIGNS) || (before && !after.starts_with('|'))
        })
    })
}

/// Returns the first line of the expression, shortened.
fn quote(expression: &str) -> Option<String> {
    let mut short: String = expression.lines().next()?.chars().take(LONGEST_QUOTE).collect();
    if short.len() < expression.len() {
        short.push('…');
    }
    Some(short)
}
