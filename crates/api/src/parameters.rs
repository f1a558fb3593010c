//! Parameters and lifetimes of declared providers: the provider object declares them, and a VideoAccessToken fills them.
//!
//! A provider of the types in [`DECLARED`] has templates instead of code. Its administrator declares the parameters of
//! the templates, each with a type and a pattern. A VideoAccessToken sets their values and nothing else.

use super::cel::{cel, cel_saying};
use super::duration::{GoDuration, is_duration};
use super::lifetime::LifetimeRule;
use super::request::FieldError;
use super::schema::strings;
use regex::{Regex, RegexBuilder};
use regex_syntax::hir::{Class, Hir, HirKind};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema, transform::Transform};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

/// Provider types whose spec declares parameters.
pub const DECLARED: &[&str] = &["http", "signed"];

/// Parameters that a provider declares, by name.
pub type Parameters = BTreeMap<String, Parameter>;

/// Maximum number of parameters of one provider.
pub const MOST_PARAMETERS: usize = 16;
/// Maximum bytes of a value.
pub const LONGEST_VALUE: usize = 512;
/// Maximum characters of a pattern.
const LONGEST_PATTERN: usize = 256;
/// Maximum bytes of a compiled pattern.
const LARGEST_PATTERN: usize = 512 * 1024;
/// Maximum depth of groups in a pattern.
const DEEPEST_PATTERN: u32 = 32;
/// Maximum values of one parameter in `allowedScopes.parameters`.
const MOST_ALLOWED: u32 = 64;

/// CEL pattern of the name of a parameter or of a further value.
const NAME: &str = "^[A-Za-z_][A-Za-z0-9_]{0,62}$";

/// Names that a parameter can't have: the other variables of templates, and words of their language.
pub const RESERVED: &[&str] = &[
    "issued_at",
    "expires_at",
    "lifetime",
    "uuid",
    "message",
    "signature",
    "key",
    "token",
    "values",
    "true",
    "false",
    "none",
    "True",
    "False",
    "None",
    "and",
    "or",
    "not",
    "in",
    "is",
    "if",
    "else",
    "self",
    "loop",
];

const NO_NAME: &str = "must be a word of letters, digits and underscores that begins with a letter, and no variable of templates such as lifetime or token";

/// Characters of a value without a pattern. The set has none of the separators of signed messages, which are
/// `~ ! & = ? " { } %` and blanks.
const PLAIN: &str = "[A-Za-z0-9._:/*@-]{1,256}";

/// A parameter that a VideoAccessToken sets.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parameter {
    /// Regular expression that the whole value must match. Default: 1 to 256 of the characters `A-Za-z0-9._:/*@-`; for
    /// an integer its digits, for a boolean true or false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = LONGEST_PATTERN))]
    pub pattern: Option<String>,
    /// Type of the value in templates: string (default), integer or boolean.
    #[serde(rename = "type", default)]
    pub type_: ParameterType,
    /// Value for VideoAccessTokens that set none. Default: none, so that each must set one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = LONGEST_VALUE))]
    pub default: Option<String>,
    /// Description for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub description: Option<String>,
}

/// Types of a parameter.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[schemars(transform = super::cel::known)]
pub enum ParameterType {
    /// A text.
    #[default]
    String,
    /// A whole number.
    Integer,
    /// True or false.
    Boolean,
    /// A value of another version of this API.
    #[serde(untagged)]
    Other(String),
}

/// Returns the schema of declared parameters.
pub(super) fn parameters(generator: &mut SchemaGenerator) -> Schema {
    let each = generator.subschema_for::<Parameter>();
    let mut schema = json_schema!({"type": "object", "maxProperties": MOST_PARAMETERS, "additionalProperties": each});
    cel(format!("self.all(name, name.matches('{NAME}') && !(name in {RESERVED:?}))"), NO_NAME).transform(&mut schema);
    schema
}

/// Returns the schema of the values that `allowedScopes.parameters` lists.
pub(super) fn allowed_values(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object", "maxProperties": MOST_PARAMETERS,
        "additionalProperties": {
            "type": "array", "maxItems": MOST_ALLOWED, "x-kubernetes-list-type": "set",
            "items": {"type": "string", "maxLength": LONGEST_VALUE}
        }
    })
}

/// Scope of a declared provider's token: the values of the provider's parameters.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeclaredScope {
    /// Values of the parameters that the provider declares, as texts.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "values")]
    pub parameters: BTreeMap<String, String>,
}

fn values(_: &mut SchemaGenerator) -> Schema {
    strings(16, 512)
}

/// Lifetimes of a declared provider's tokens.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[schemars(transform = lifetimes)]
pub struct DeclaredLifetime {
    /// Shortest lifetime that a VideoAccessToken may request. Default: 1m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<GoDuration>,
    /// Longest lifetime that a VideoAccessToken may request, up to 8784h (366 days).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<GoDuration>,
    /// Lifetime of a token whose VideoAccessToken requests none. Default: 1h, or max if it is shorter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<GoDuration>,
}

/// Shortest lifetime of a declared provider's token.
const SHORTEST: Duration = Duration::from_secs(10);
/// Longest lifetime of a declared provider's token.
const LONGEST: Duration = Duration::from_hours(366 * 24);
const BOUNDS: &str = "must be 10s to 8784h";
const ORDER: &str = "must be at most the next one: min, default, max";

fn lifetimes(schema: &mut Schema) {
    for member in ["min", "max", "default"] {
        let field = format!("self.{member}");
        let rule = format!(
            "!has({field}) || !{} || (duration({field}) >= duration('10s') && duration({field}) <= duration('8784h'))",
            is_duration(&field)
        );
        cel(rule, BOUNDS).at(&format!(".{member}")).transform(schema);
    }
    for (low, high) in [("min", "default"), ("default", "max"), ("min", "max")] {
        let (a, b) = (format!("self.{low}"), format!("self.{high}"));
        let rule = format!(
            "!has({a}) || !has({b}) || !{} || !{} || duration({a}) <= duration({b})",
            is_duration(&a),
            is_duration(&b)
        );
        cel_saying(rule, format!("'{low} ' + {a} + ' must be at most {high} ' + {b}"))
            .at(&format!(".{low}"))
            .transform(schema);
    }
}

impl DeclaredLifetime {
    /// Returns the supported lifetimes. `field` is the path of this struct, for errors.
    pub(super) fn rule(&self, field: &str) -> Result<LifetimeRule, FieldError> {
        let read = |member: &str, text: Option<&GoDuration>| match text.map(|text| (text, text.parse())) {
            None => Ok(None),
            Some((_, Some(lifetime))) if (SHORTEST..=LONGEST).contains(&lifetime) => Ok(Some(lifetime)),
            Some(_) => Err(FieldError::new(format!("{field}.{member}"), BOUNDS)),
        };
        let (min, max) = (read("min", self.min.as_ref())?, read("max", self.max.as_ref())?);
        let default = read("default", self.default.as_ref())?;
        let most = max.unwrap_or(LONGEST);
        let usual = default.unwrap_or_else(|| Duration::from_hours(1).min(most).max(min.unwrap_or_default()));
        let least = min.unwrap_or_else(|| Duration::from_mins(1).min(usual));
        if least > usual || usual > most {
            return Err(FieldError::new(field, ORDER));
        }
        Ok(LifetimeRule::Asked { least, most: Some(most), default: usual, issuer: Cow::Borrowed("the provider") })
    }
}

/// Checks the declaration of parameters. `field` is its path.
pub(super) fn check(field: &str, declared: &Parameters) -> Result<(), FieldError> {
    if declared.len() > MOST_PARAMETERS {
        return Err(FieldError::new(field, format!("declare at most {MOST_PARAMETERS} parameters")));
    }
    for (name, parameter) in declared {
        if !is_name(name) || RESERVED.contains(&name.as_str()) {
            return Err(FieldError::new(format!("{field}[{name}]"), NO_NAME));
        }
        parameter.check(&format!("{field}.{name}"))?;
    }
    Ok(())
}

/// Returns true if `text` can be the name of a parameter or of a further value.
pub fn is_name(text: &str) -> bool {
    text.len() <= 63
        && text.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_')
        && text.bytes().next().is_some_and(|c| !c.is_ascii_digit())
}

/// Schema transform of a map: its names can be names of further values.
pub(super) fn value_names(schema: &mut Schema) {
    cel(
        format!("self.all(name, name.matches('{NAME}'))"),
        "each name must be a word of letters, digits and underscores that begins with a letter",
    )
    .transform(schema);
}

impl Parameter {
    fn check(&self, field: &str) -> Result<(), FieldError> {
        if let ParameterType::Other(_) = self.type_ {
            return Err(FieldError::new(format!("{field}.type"), "must be string, integer or boolean"));
        }
        if let Some(pattern) = &self.pattern {
            compiled(pattern).map_err(|why| FieldError::new(format!("{field}.pattern"), why))?;
        }
        match &self.default {
            Some(default) => self.value(default).map(drop).map_err(|why| {
                FieldError::new(format!("{field}.default"), format!("{why}, as the parameter itself declares"))
            }),
            None => Ok(()),
        }
    }

    /// Returns the value of this text in its type, or what the text must be.
    fn value(&self, text: &str) -> Result<Value, String> {
        if text.len() > LONGEST_VALUE {
            return Err(format!("must be at most {LONGEST_VALUE} bytes long"));
        }
        let value = match &self.type_ {
            ParameterType::String => Value::from(text),
            ParameterType::Integer => match text.parse::<i64>() {
                Ok(number) if number.to_string() == text => number.into(),
                _ => return Err("must be a whole number such as 1".to_owned()),
            },
            ParameterType::Boolean => match text {
                "true" => true.into(),
                "false" => false.into(),
                _ => return Err("must be true or false".to_owned()),
            },
            ParameterType::Other(_) => return Err("has a type that is not known here".to_owned()),
        };
        let fits = match &self.pattern {
            Some(pattern) => compiled(pattern)?.is_match(text),
            None => self.type_ != ParameterType::String || is_plain(text),
        };
        let pattern = || self.pattern.as_deref().unwrap_or(PLAIN);
        if fits { Ok(value) } else { Err(format!("must match {}", pattern())) }
    }

    /// Returns a value for renders that only check templates: the default, else one that fits type and pattern.
    fn sample(&self) -> Value {
        let made = || self.pattern.as_deref().and_then(sample_of);
        let usual = match self.type_ {
            ParameterType::Integer => "1",
            ParameterType::Boolean => "true",
            ParameterType::String | ParameterType::Other(_) => "sample",
        };
        let texts = [self.default.clone(), Some(usual.to_owned()), made()];
        let fitting = texts.into_iter().flatten().find_map(|text| self.value(&text).ok());
        fitting.unwrap_or_else(|| match self.type_ {
            ParameterType::Integer => 1.into(),
            ParameterType::Boolean => true.into(),
            ParameterType::String | ParameterType::Other(_) => usual.into(),
        })
    }
}

/// Returns true if [`PLAIN`] matches the whole text.
fn is_plain(text: &str) -> bool {
    (1..=256).contains(&text.len()) && text.bytes().all(|c| c.is_ascii_alphanumeric() || b"._:/*@-".contains(&c))
}

/// Compiles a pattern so that it matches whole texts. The pattern must be valid on its own, so that a parenthesis can't
/// close the anchored group.
fn compiled(pattern: &str) -> Result<Regex, String> {
    let build =
        |pattern: &str| RegexBuilder::new(pattern).size_limit(LARGEST_PATTERN).nest_limit(DEEPEST_PATTERN).build();
    let wrong = |error: &regex::Error| match error {
        regex::Error::CompiledTooBig(_) => {
            "is too large: write [A-Za-z0-9_] instead of \\w, and fewer repetitions".to_owned()
        }
        _ => "is no regular expression: lookarounds and references are not available; test it as RE2".to_owned(),
    };
    if pattern.chars().count() > LONGEST_PATTERN {
        return Err(format!("must be at most {LONGEST_PATTERN} characters long"));
    }
    build(pattern).and_then(|_| build(&format!(r"\A(?:{pattern})\z"))).map_err(|error| wrong(&error))
}

/// Returns a short text that matches the pattern, without regard to anchors.
fn sample_of(pattern: &str) -> Option<String> {
    fn write(hir: &Hir, out: &mut String) -> Option<()> {
        if out.len() > LONGEST_VALUE {
            return None;
        }
        match hir.kind() {
            HirKind::Empty | HirKind::Look(_) => {}
            HirKind::Literal(literal) => out.push_str(std::str::from_utf8(&literal.0).ok()?),
            HirKind::Class(Class::Unicode(class)) => out.push(class.ranges().first()?.start()),
            HirKind::Class(Class::Bytes(class)) => out.push(class.ranges().first()?.start().into()),
            HirKind::Repetition(repetition) => {
                // one of something optional shows more of a template than none
                let times = repetition.min.max(u32::from(repetition.max != Some(0)));
                for _ in 0..times {
                    write(&repetition.sub, out)?;
                }
            }
            HirKind::Capture(capture) => write(&capture.sub, out)?,
            HirKind::Concat(parts) => parts.iter().try_for_each(|part| write(part, out))?,
            HirKind::Alternation(choices) => write(choices.first()?, out)?,
        }
        Some(())
    }
    let hir = regex_syntax::Parser::new().parse(pattern).ok()?;
    let mut text = String::new();
    write(&hir, &mut text)?;
    Some(text)
}

/// Returns the values of all declared parameters in their types. `scope` is the path of the scope's parameters.
pub(super) fn fill(
    declared: &Parameters,
    scope: &str,
    given: &BTreeMap<String, String>,
) -> Result<Map<String, Value>, FieldError> {
    let names = || {
        let names = declared.keys().cloned().collect::<Vec<_>>().join(", ");
        if names.is_empty() { "none: remove it".to_owned() } else { names }
    };
    if let Some(unknown) = given.keys().find(|name| !declared.contains_key(*name)) {
        return Err(FieldError::new(
            format!("{scope}.{unknown}"),
            format!("is no parameter of the provider; the provider declares {}", names()),
        ));
    }
    let mut values = Map::new();
    for (name, parameter) in declared {
        let field = || format!("{scope}.{name}");
        let text = given.get(name).or(parameter.default.as_ref()).ok_or_else(|| {
            let about = parameter.description.as_deref().map(|about| format!(" ({about})")).unwrap_or_default();
            FieldError::new(field(), format!("is required{about}: set it"))
        })?;
        values.insert(name.clone(), parameter.value(text).map_err(|why| FieldError::new(field(), why))?);
    }
    Ok(values)
}

/// Returns a sample value for each parameter, for renders that only check templates.
pub fn samples(declared: &Parameters) -> Map<String, Value> {
    declared.iter().map(|(name, parameter)| (name.clone(), parameter.sample())).collect()
}

/// `allowedScopes.parameters`: the values of each parameter that a ClusterTokenProvider allows.
pub type AllowedValues = BTreeMap<String, Vec<String>>;

/// Checks the values against `allowedScopes.parameters`. A parameter that isn't listed there may have each value that
/// fits its pattern. `scope` is the path of the scope's parameters.
pub(super) fn admits(allowed: &AllowedValues, scope: &str, given: &BTreeMap<String, String>) -> Result<(), FieldError> {
    for (name, value) in given {
        let Some(listed) = allowed.get(name) else { continue };
        if !listed.contains(value) {
            let values = if listed.is_empty() { "no value: leave it out".to_owned() } else { listed.join(", ") };
            let message = format!("the ClusterTokenProvider's allowedScopes admit {values}");
            return Err(FieldError::new(format!("{scope}.{name}"), message));
        }
    }
    Ok(())
}

/// Checks `allowedScopes.parameters` of a ClusterTokenProvider: each name is declared, and a default is allowed.
pub(super) fn check_allowed(declared: &Parameters, allowed: &AllowedValues) -> Result<(), FieldError> {
    for (name, listed) in allowed {
        let field = || format!("spec.allowedScopes.parameters.{name}");
        let Some(parameter) = declared.get(name) else {
            return Err(FieldError::new(field(), "is no parameter that the provider declares: correct the name"));
        };
        if let Some(default) = parameter.default.as_ref().filter(|default| !listed.contains(default)) {
            return Err(FieldError::new(field(), format!("lacks the parameter's default {default}: add it")));
        }
        if let Some(why) = listed.iter().find_map(|value| parameter.value(value).err()) {
            return Err(FieldError::new(field(), why));
        }
    }
    Ok(())
}

/// Schema transform of a ClusterTokenProvider: `allowedScopes.parameters` has declared names only.
pub(super) fn of_cluster(schema: &mut Schema) {
    let has = "has(self.allowedScopes) && has(self.allowedScopes.parameters)";
    let of =
        |type_: &str| format!("(has(self.{type_}) && has(self.{type_}.parameters) && name in self.{type_}.parameters)");
    let any = DECLARED.iter().map(|type_| of(type_)).collect::<Vec<_>>().join(" || ");
    cel(
        format!("!({has}) || self.allowedScopes.parameters.all(name, {any})"),
        "allowedScopes.parameters has a name that the provider doesn't declare in its parameters",
    )
    .at(".allowedScopes.parameters")
    .transform(schema);
}
