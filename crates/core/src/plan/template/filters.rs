//! Filters for tokens, and replacements of the engine's filters whose work its fuel does not limit. All are strict: an
//! undefined value is an error, and no error contains a value. Each filter pays before it runs.

// The engine passes arguments by value.
#![allow(clippy::needless_pass_by_value)]

use base64::Engine as _;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, STANDARD, URL_SAFE_NO_PAD};
use base64::engine::{DecodePaddingMode, GeneralPurposeConfig};
use chrono::format::{Item, StrftimeItems};
use chrono::{DateTime, Utc};
use minijinja::value::{Rest, ValueOrKwargs};
use minijinja::{Environment, Error, ErrorKind, State, Value};
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::fmt::Write as _;
use std::io;

/// Bytes per unit of fuel, as the engine counts.
const BYTES_PER_FUEL: usize = 64;
/// Each piece of a split text costs one unit: it has a list entry and its own bytes.
const BYTES_PER_PIECE: usize = BYTES_PER_FUEL;
/// Maximum bytes of a date format. The longest item writes about 30 characters.
const LONGEST_FORMAT: usize = 64;

/// Error of a filter. It is a constant, so that it can't contain a value.
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
    environment.add_filter("minutes", minutes);
    environment.add_filter("round_up", round_up);
    environment.add_filter("sha256", sha256);
    environment.add_filter("b64urlencode", b64urlencode);
    environment.add_filter("cloudfront", cloudfront);
    environment.add_filter("escape", escape);
    environment.add_filter("e", escape);
    environment.add_filter("format", format);
    environment.add_filter("lines", lines);
    environment.add_filter("split", split);
    // these filters can repeat a text many times, or run before they pay; a Secret has no use for them
    for filter in [
        "attr",
        "batch",
        "chain",
        "dictsort",
        "groupby",
        "items",
        "map",
        "max",
        "min",
        "pprint",
        "reject",
        "rejectattr",
        "select",
        "selectattr",
        "slice",
        "sort",
        "sum",
        "unique",
        "zip",
    ] {
        environment.remove_filter(filter);
    }
}

/// Pays for this number of bytes.
fn charge(state: &State<'_, '_>, bytes: usize) -> Result<(), Error> {
    state.consume_fuel((bytes / BYTES_PER_FUEL) as u64 + 1)
}

/// Returns the error of a filter of this module.
pub(super) fn reason(error: &Error) -> Option<&'static str> {
    std::error::Error::source(error)?.downcast_ref::<Reason>().map(|reason| reason.0)
}

fn failed(reason: &'static str) -> Error {
    Error::from(ErrorKind::InvalidOperation).with_source(Reason(reason))
}

fn b64encode(state: &State<'_, '_>, text: Cow<'_, str>) -> Result<String, Error> {
    charge(state, text.len().div_ceil(3) * 4)?;
    Ok(STANDARD.encode(text.as_bytes()))
}

/// Encodes with the alphabet for URLs, without padding.
fn b64urlencode(state: &State<'_, '_>, text: Cow<'_, str>) -> Result<String, Error> {
    charge(state, text.len().div_ceil(3) * 4)?;
    Ok(URL_SAFE_NO_PAD.encode(text.as_bytes()))
}

/// Encodes as CloudFront expects: base64 with `-`, `_` and `~` for `+`, `=` and `/`.
fn cloudfront(state: &State<'_, '_>, text: Cow<'_, str>) -> Result<String, Error> {
    charge(state, text.len().div_ceil(3) * 4)?;
    Ok(super::cloudfront(text.as_bytes()))
}

/// SHA-256 in hexadecimal digits.
fn sha256(state: &State<'_, '_>, text: Cow<'_, str>) -> Result<String, Error> {
    // The digest takes several times as long as a copy.
    charge(state, text.len() * 8 + 64)?;
    let mut digits = String::new();
    for byte in Sha256::digest(text.as_bytes()) {
        write!(digits, "{byte:02x}").map_err(|_| failed("can't be written in digits"))?;
    }
    Ok(digits)
}

/// Seconds in whole minutes, rounded up.
fn minutes(seconds: i64) -> Result<i64, Error> {
    round_up(seconds, 60).map(|seconds| seconds / 60)
}

/// The next multiple of `step`.
fn round_up(number: i64, step: i64) -> Result<i64, Error> {
    if step < 1 {
        return Err(failed("needs a positive number as its step"));
    }
    let more = (step - number.rem_euclid(step)) % step;
    number.checked_add(more).ok_or_else(|| failed("is too large a number"))
}

/// Decodes the standard and the URL alphabet, with or without padding, so that it reads the parts of a JWT.
fn b64decode(state: &State<'_, '_>, text: Cow<'_, str>) -> Result<String, Error> {
    const ANY_PADDING: GeneralPurposeConfig =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    const LENIENT: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, ANY_PADDING);
    charge(state, text.len() * 3)?;
    let standard = text.trim().replace('-', "+").replace('_', "/");
    let bytes = LENIENT.decode(standard).map_err(|_| failed("is not base64"))?;
    String::from_utf8(bytes).map_err(|_| failed("is base64 of bytes that are not UTF-8 text"))
}

/// Compact JSON.
fn tojson(state: &State<'_, '_>, value: &Value) -> Result<String, Error> {
    if value.is_undefined() {
        return Err(Error::from(ErrorKind::UndefinedError));
    }
    let mut json = Charged { state, text: Vec::new(), paid: 0, out_of_fuel: None };
    let written = serde_json::to_writer(&mut json, value);
    if let Some(error) = json.out_of_fuel {
        return Err(error);
    }
    written.map_err(|_| failed("can't be written as JSON"))?;
    String::from_utf8(json.text).map_err(|_| failed("can't be written as JSON"))
}

/// Writer that pays for each write and stops if the fuel is used up.
struct Charged<'a> {
    state: &'a State<'a, 'a>,
    text: Vec<u8>,
    paid: usize,
    out_of_fuel: Option<Error>,
}

impl io::Write for Charged<'_> {
    fn write(&mut self, more: &[u8]) -> io::Result<usize> {
        /// Writing a value takes longer than copying a text.
        const BYTES: usize = BYTES_PER_FUEL / 4;
        while self.paid < self.text.len() + more.len() {
            let missing = (self.text.len() + more.len() - self.paid).div_ceil(BYTES);
            self.paid += missing * BYTES;
            if let Err(error) = self.state.consume_fuel(missing as u64) {
                self.out_of_fuel = Some(error);
                return Err(io::ErrorKind::QuotaExceeded.into());
            }
        }
        self.text.extend_from_slice(more);
        Ok(more.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Escapes everything except letters, digits and `/ . - _`, for a part of a URL.
fn urlencode(state: &State<'_, '_>, text: Cow<'_, str>) -> Result<String, Error> {
    charge(state, text.len() * 4)?;
    minijinja::filters::urlencode(&Value::from(text.as_ref())).map_err(|_| failed("can't be escaped"))
}

/// Formats a timestamp with `strftime`, in UTC.
fn date(state: &State<'_, '_>, text: Cow<'_, str>, format: Cow<'_, str>) -> Result<String, Error> {
    if format.len() > LONGEST_FORMAT {
        return Err(failed("has a format that is longer than 64 bytes"));
    }
    charge(state, format.len() * 32)?;
    let at = timestamp(&text)?;
    let items: Vec<_> = StrftimeItems::new(&format).collect();
    if items.contains(&Item::Error) {
        return Err(failed("has an invalid strftime format"));
    }
    let mut out = String::new();
    write!(out, "{}", at.format_with_items(items.iter())).map_err(|_| failed("can't be written in that format"))?;
    Ok(out)
}

/// Returns a timestamp in seconds since 1970.
fn unix(text: Cow<'_, str>) -> Result<i64, Error> {
    timestamp(&text).map(|at| at.timestamp())
}

fn timestamp(text: &str) -> Result<DateTime<Utc>, Error> {
    DateTime::parse_from_rfc3339(text).map(|at| at.to_utc()).map_err(|_| failed("is not an RFC 3339 timestamp"))
}

/// Escapes a text for HTML and XML with the engine's filter. A character becomes up to six.
fn escape(state: &mut State<'_, '_>, value: &Value) -> Result<Value, Error> {
    let Some(text) = value.as_str() else { return Err(failed("is not a text")) };
    charge(state, text.len() * 6)?;
    minijinja::filters::escape(state, value)
}

/// Formats like `printf` with values by position: by name, one value could be repeated many times.
fn format(state: &mut State<'_, '_>, format: &Value, values: Rest<ValueOrKwargs>) -> Result<Value, Error> {
    let Some(text) = format.as_str() else { return Err(failed("is not a text")) };
    if text.contains("%(") {
        return Err(failed("takes its values by position, not by name"));
    }
    charge(state, text.len())?;
    minijinja::filters::format(state, format, values)
}

fn lines(state: &State<'_, '_>, value: &Value) -> Result<Value, Error> {
    let Some(text) = value.as_str() else { return Err(failed("is not a text")) };
    charge(state, (text.matches('\n').count() + 1) * BYTES_PER_PIECE + text.len())?;
    minijinja::filters::lines(value)
}

fn split(
    state: &State<'_, '_>,
    value: &Value,
    separator: Option<Cow<'_, str>>,
    most: Option<i64>,
) -> Result<Value, Error> {
    let Some(text) = value.as_str() else { return Err(failed("is not a text")) };
    let pieces = match separator.as_deref() {
        None => text.split_whitespace().count(),
        Some(separator) => text.matches(separator).count() + 1,
    };
    charge(state, pieces * BYTES_PER_PIECE + text.len())?;
    minijinja::filters::split(value, separator.map(|separator| separator.as_ref().into()), most)
}
