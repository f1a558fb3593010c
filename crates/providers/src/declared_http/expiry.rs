//! Expiry of a token in the form that the spec declares.
//!
//! The form is declared and never guessed. A number in another unit is found by its size: a lifetime is longer than 10
//! seconds and at most 366 days, and at most a tenth longer than the lifetime that was asked for.

use super::path::JsonPath;
use crate::clock::Timestamp;
use crate::expiry::{ResponseTimes, add_lifetime, parse_expiry};
use crate::http::ProviderResponse;
use crate::{Class, IssueError, jwt};
use chrono::{DateTime, TimeDelta};
use serde_json::Value;
use std::time::Duration;
use videotoken_api::duration::GoDuration;
use videotoken_api::http::Expires;
use videotoken_api::request::FieldError;

/// Longest lifetime that an answer may state.
pub(super) const LONGEST: Duration = Duration::from_hours(366 * 24);

/// Longest lifetime that a step of the reading names.
const FARTHEST: Duration = Duration::from_hours(1000 * 366 * 24);

/// Shorter lifetimes are a mistake: a number in another unit, or a token that is dead before it is stored.
const SHORTEST: Duration = Duration::from_secs(10);

/// Time by which an API may round a lifetime up.
const ROUNDING: Duration = Duration::from_mins(1);

/// Form in which an answer states the expiry.
#[derive(Debug)]
pub(super) enum Form {
    /// `exp` of the token.
    Jwt,
    /// Number in a unit.
    Number(Unit, JsonPath),
    /// RFC 3339.
    Timestamp(JsonPath),
    /// Documented lifetime of each token.
    After(Duration),
    /// Lifetime that the request asked for.
    Asked,
}

/// Unit of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Seconds,
    Milliseconds,
    Epoch,
    EpochMillis,
}

/// Facts for the expiry of a token, in addition to its response.
pub(super) struct ExpiryContext<'a> {
    pub(super) token: &'a str,
    pub(super) body: Option<&'a Value>,
    /// Lifetime that the request asked for, if the API takes one.
    pub(super) asked: Option<Duration>,
    /// Current time.
    pub(super) now: Timestamp,
}

impl Form {
    /// Reads the declared form. The error names the invalid field below `field`.
    pub(super) fn new(expires: &Expires, field: &str) -> Result<Self, FieldError> {
        let path = |name: &str, text: &String| JsonPath::parse(&format!("{field}.{name}"), text);
        let number = |unit: Unit, text: &String| Ok(Self::Number(unit, path(unit.name(), text)?));
        let forms = [
            expires.jwt.map(|_| Ok(Self::Jwt)),
            expires.seconds.as_ref().map(|text| number(Unit::Seconds, text)),
            expires.milliseconds.as_ref().map(|text| number(Unit::Milliseconds, text)),
            expires.epoch.as_ref().map(|text| number(Unit::Epoch, text)),
            expires.epoch_millis.as_ref().map(|text| number(Unit::EpochMillis, text)),
            expires.timestamp.as_ref().map(|text| Ok(Self::Timestamp(path("timestamp", text)?))),
            expires.after.as_ref().map(|text| {
                let wrong =
                    || FieldError::new(format!("{field}.after"), "must be more than 10s and at most 8784h (366 days)");
                text.parse()
                    .filter(|lifetime| *lifetime > SHORTEST && *lifetime <= LONGEST)
                    .map(Self::After)
                    .ok_or_else(wrong)
            }),
            expires.asked.map(|_| Ok(Self::Asked)),
        ];
        let mut set = forms.into_iter().flatten();
        match (set.next(), set.next()) {
            (Some(form), None) => form,
            _ => Err(FieldError::new(
                field,
                "set exactly one of jwt, seconds, milliseconds, epoch, epochMillis, timestamp, after and asked",
            )),
        }
    }

    /// Returns the expiry by the local clock. `note` gets how it was read.
    ///
    /// # Errors
    /// `BadAnswer` and `ExpiredToken`, both transient.
    pub(super) fn expiry(
        &self,
        answer: &ProviderResponse,
        context: &ExpiryContext<'_>,
        note: &mut dyn FnMut(String),
    ) -> Result<Timestamp, IssueError> {
        let expires_at = match self {
            Self::After(lifetime) => add_lifetime(answer.sent_at, *lifetime),
            Self::Asked => add_lifetime(answer.sent_at, context.asked.unwrap_or_default()),
            Self::Jwt => {
                let exp = jwt::exp(context.token).ok_or_else(|| bad(answer, &no_exp(context.token)))?;
                by_provider(answer, context, exp)?
            }
            Self::Timestamp(path) => by_provider(answer, context, timestamp(answer, context, path)?)?,
            Self::Number(unit, path) => unit.expiry(answer, context, path)?,
        };
        // A token that states its own expiry is not used beyond it.
        let own = match self {
            Self::Jwt => None,
            _ => jwt::exp(context.token).and_then(|exp| by_provider(answer, context, exp).ok()),
        };
        let expires_at = own.map_or(expires_at, |own| own.min(expires_at));
        let lifetime = (expires_at - answer.sent_at).to_std().unwrap_or_default();
        // A number may state a time that no calendar has.
        note(if lifetime > FARTHEST {
            format!("expires in more than 1000 years, by {}", self.name())
        } else {
            format!("expires in {} ({}), by {}", GoDuration::from(lifetime), stamp(expires_at), self.name())
        });
        if lifetime > LONGEST {
            return Err(bad(
                answer,
                &format!(
                    "{}: the lifetime of the token would be longer than 366 days{}",
                    self.name(),
                    self.hint(context, answer)
                ),
            ));
        }
        if lifetime <= SHORTEST {
            return Err(bad(
                answer,
                &format!(
                    "{}: the lifetime of the token would be only {} s{}",
                    self.name(),
                    lifetime.as_secs(),
                    self.hint(context, answer)
                ),
            ));
        }
        let Some(asked) = context.asked else { return Ok(expires_at) };
        if lifetime > asked + ROUNDING.max(asked / 10) {
            let (lifetime, asked) = (GoDuration::from(lifetime), GoDuration::from(asked));
            let message = format!(
                "{}: the lifetime of the token would be {lifetime}, and the request asked for {asked}",
                self.name()
            );
            return Err(bad(answer, &(message + &self.hint(context, answer))));
        }
        Ok(expires_at.min(add_lifetime(answer.sent_at, asked + ROUNDING)))
    }

    /// Returns the form as the spec writes it.
    fn name(&self) -> String {
        match self {
            Self::Jwt => "expires.jwt".to_owned(),
            Self::Number(unit, path) => format!("expires.{} at {}", unit.name(), path.as_str()),
            Self::Timestamp(path) => format!("expires.timestamp at {}", path.as_str()),
            Self::After(_) => "expires.after".to_owned(),
            Self::Asked => "expires.asked".to_owned(),
        }
    }

    /// Returns a hint for a number that is no possible expiry: the unit in which it is one, or that the API may ignore the
    /// requested lifetime. Empty if neither fits.
    fn hint(&self, context: &ExpiryContext<'_>, answer: &ProviderResponse) -> String {
        let Self::Number(unit, path) = self else { return String::new() };
        let Some(number) = context.body.and_then(|body| number(path.of(body)?)) else { return String::new() };
        let lifetime = |unit: Unit| (unit.time(number, answer.sent_at)? - answer.sent_at).to_std().ok();
        let fits = |other: Unit| {
            // any number of some size is a short lifetime in milliseconds
            let least =
                context.asked.filter(|_| other.is_relative()).map_or(SHORTEST, |asked| SHORTEST.max(asked / 10));
            let most = context.asked.unwrap_or(LONGEST) + ROUNDING;
            other != *unit && lifetime(other).is_some_and(|lifetime| lifetime > least && lifetime <= most)
        };
        if let Some(unit) = Unit::ALL.into_iter().find(|unit| fits(*unit)) {
            return format!(". The number fits expires.{}", unit.name());
        }
        if context
            .asked
            .is_some_and(|asked| lifetime(*unit).is_some_and(|lifetime| lifetime > asked && lifetime <= LONGEST))
        {
            return ". The API may ignore the lifetime of the request: compare the field and its unit with the API's \
                    documentation"
                .to_owned();
        }
        String::new()
    }
}

impl Unit {
    /// Units of numbers. The most probable one for a number comes first.
    const ALL: [Self; 4] = [Self::Epoch, Self::EpochMillis, Self::Seconds, Self::Milliseconds];

    /// Returns the unit as the spec writes it.
    fn name(self) -> &'static str {
        match self {
            Self::Seconds => "seconds",
            Self::Milliseconds => "milliseconds",
            Self::Epoch => "epoch",
            Self::EpochMillis => "epochMillis",
        }
    }

    /// Returns true for a lifetime, false for a time.
    fn is_relative(self) -> bool {
        matches!(self, Self::Seconds | Self::Milliseconds)
    }

    /// Returns the time that a number in this unit states. A lifetime counts from `sent_at`.
    fn time(self, number: f64, sent_at: Timestamp) -> Option<Timestamp> {
        let millis = match self {
            Self::Seconds | Self::Epoch => number * 1000.0,
            Self::Milliseconds | Self::EpochMillis => number,
        };
        if !(0.0..9e15).contains(&millis) {
            return None;
        }
        #[allow(clippy::cast_possible_truncation)] // the range is checked
        let millis = millis as i64;
        match self {
            Self::Seconds | Self::Milliseconds => sent_at.checked_add_signed(TimeDelta::try_milliseconds(millis)?),
            Self::Epoch | Self::EpochMillis => DateTime::from_timestamp_millis(millis),
        }
    }

    fn expiry(
        self,
        answer: &ProviderResponse,
        context: &ExpiryContext<'_>,
        path: &JsonPath,
    ) -> Result<Timestamp, IssueError> {
        let found = context.body.and_then(|body| path.of(body));
        let number = found.and_then(number).ok_or_else(|| {
            let what = if found.is_some() { "not a number" } else { "nothing" };
            let timestamp = found.and_then(Value::as_str).filter(|text| DateTime::parse_from_rfc3339(text).is_ok());
            let hint = if timestamp.is_some() { ". The text fits expires.timestamp" } else { "" };
            bad(answer, &format!("expires.{}: {what} at {}{hint}", self.name(), path.as_str()))
        })?;
        if number < 0.0 {
            let what = "a negative number, by which APIs mean that the token has expired or never does. For the latter, \
                        declare expires.after";
            return Err(bad(answer, &format!("expires.{}: at {} is {what}", self.name(), path.as_str())));
        }
        let at = self.time(number, answer.sent_at).unwrap_or(DateTime::<chrono::Utc>::MAX_UTC);
        match self {
            Self::Seconds | Self::Milliseconds => Ok(at),
            // A lifetime, read as a time, is in 1970.
            Self::Epoch | Self::EpochMillis if at < answer.sent_at - TimeDelta::days(366) => Ok(answer.sent_at),
            Self::Epoch | Self::EpochMillis => by_provider(answer, context, at),
        }
    }
}

/// Returns the time at the path.
fn timestamp(answer: &ProviderResponse, context: &ExpiryContext<'_>, path: &JsonPath) -> Result<Timestamp, IssueError> {
    let found = context.body.and_then(|body| path.of(body));
    let text = found.and_then(Value::as_str).filter(|text| text.trim().parse::<f64>().is_err());
    text.and_then(|text| parse_expiry(&text.into())).ok_or_else(|| {
        let what = match found {
            None => "nothing",
            Some(value) if number(value).is_some() => "a number, which fits expires.epoch or expires.epochMillis,",
            Some(_) => "no time in RFC 3339, such as 2026-11-22T13:00:00Z,",
        };
        bad(answer, &format!("expires.timestamp: {what} at {}", path.as_str()))
    })
}

/// Returns a time of the provider by the local clock (P19).
fn by_provider(
    answer: &ProviderResponse,
    context: &ExpiryContext<'_>,
    ends: Timestamp,
) -> Result<Timestamp, IssueError> {
    let times = ResponseTimes {
        ends: Some(ends),
        issued: jwt::iat(context.token),
        date: answer.date,
        sent_at: answer.sent_at,
        arrived_at: context.now,
    };
    let expiry = times.expiry(LONGEST).map_err(|error| answer.failure(error.class, error.reason, error.message))?;
    match expiry {
        (expires_at, false) => Ok(expires_at),
        // It is later than the longest lifetime.
        (_, true) => Ok(DateTime::<chrono::Utc>::MAX_UTC),
    }
}

/// Returns what is wrong with the expiry of a token that should be a JWT. The claim is not secret.
fn no_exp(token: &str) -> String {
    match jwt::claims(token) {
        None => "expires.jwt is declared, but the token is not a JWT: declare another form".to_owned(),
        Some((_, claims)) => match claims.get("exp") {
            None | Some(Value::Null) => {
                "expires.jwt is declared, but the JWT has no exp: declare another form".to_owned()
            }
            Some(Value::Number(exp)) => format!("expires.jwt: exp is {exp}, and must be seconds since 1970"),
            Some(_) => "expires.jwt: exp is no number, and must be seconds since 1970".to_owned(),
        },
    }
}

fn bad(answer: &ProviderResponse, what: &str) -> IssueError {
    answer.failure(Class::Transient, "BadAnswer", format!("HTTP {}: {what}", answer.status))
}

/// Returns a number, also from a text.
fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok().filter(|number: &f64| number.is_finite()),
        _ => None,
    }
}

fn stamp(at: Timestamp) -> String {
    at.format("%FT%TZ").to_string()
}
