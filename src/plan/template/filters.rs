//! The filters that tokens need. All are strict: what is undefined is an error, and no error holds a value.

// The engine hands every filter its arguments by value.
#![allow(clippy::needless_pass_by_value)]

use base64::Engine as _;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, STANDARD};
use base64::engine::{DecodePaddingMode, GeneralPurposeConfig};
use chrono::format::{Item, StrftimeItems};
use chrono::{DateTime, Utc};
use minijinja::{Environment, Error, ErrorKind, Value};
use std::borrow::Cow;
use std::fmt::Write as _;

/// Why a filter of ours failed. A constant, so it can't hold a value.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Reason(&'static str);

pub(super) fn add_to(environment: &mut Environment<'_>) {
    environment.add_filter("b64encode", b64encode);
    environment.add_filter("b64decode", b64decode);
    environment.add_filter("tojson", tojson);
    environment.add_filter("urlencode", urlencode);
    environment.add_filter("date", date);
    environment.add_filter("unix", unix);
}

/// What a filter of ours said, if it was one.
pub(super) fn reason(error: &Error) -> Option<&'static str> {
    std::error::Error::source(error)?.downcast_ref::<Reason>().map(|reason| reason.0)
}

fn failed(reason: &'static str) -> Error {
    Error::from(ErrorKind::InvalidOperation).with_source(Reason(reason))
}

fn b64encode(text: Cow<'_, str>) -> String {
    STANDARD.encode(text.as_bytes())
}

/// Takes the standard and the URL alphabet, padded or not, so that it reads a part of a JWT.
fn b64decode(text: Cow<'_, str>) -> Result<String, Error> {
    const ANY_PADDING: GeneralPurposeConfig =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    const LENIENT: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, ANY_PADDING);
    let standard = text.trim().replace('-', "+").replace('_', "/");
    let bytes = LENIENT.decode(standard).map_err(|_| failed("is not base64"))?;
    String::from_utf8(bytes).map_err(|_| failed("is base64 of bytes that are no text"))
}

/// Compact JSON.
fn tojson(value: &Value) -> Result<String, Error> {
    if value.is_undefined() {
        return Err(Error::from(ErrorKind::UndefinedError));
    }
    serde_json::to_string(value).map_err(|_| failed("has no form in JSON"))
}

/// For a part of a URL: all but letters, digits and `/ . - _` is escaped.
fn urlencode(text: Cow<'_, str>) -> Result<String, Error> {
    minijinja::filters::urlencode(&Value::from(text.as_ref())).map_err(|_| failed("can't be escaped"))
}

/// A timestamp in another form, by `strftime`'s letters; UTC.
fn date(text: Cow<'_, str>, format: Cow<'_, str>) -> Result<String, Error> {
    let at = timestamp(&text)?;
    let items: Vec<_> = StrftimeItems::new(&format).collect();
    if items.contains(&Item::Error) {
        return Err(failed("has a format that strftime doesn't know"));
    }
    let mut out = String::new();
    write!(out, "{}", at.format_with_items(items.iter())).map_err(|_| failed("can't be written in that format"))?;
    Ok(out)
}

/// A timestamp in seconds since 1970.
fn unix(text: Cow<'_, str>) -> Result<i64, Error> {
    timestamp(&text).map(|at| at.timestamp())
}

fn timestamp(text: &str) -> Result<DateTime<Utc>, Error> {
    DateTime::parse_from_rfc3339(text).map(|at| at.to_utc()).map_err(|_| failed("is no RFC 3339 timestamp"))
}
