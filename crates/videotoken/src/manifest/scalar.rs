//! Types of plain scalars.
//!
//! kubectl and the API server resolve scalars as Go's yaml.v2 does, by YAML 1.1: `yes` and `on` are true, `0777` is 511. A
//! reader of YAML 1.2 would return strings and accept what the API server rejects.

use serde_json::{Number, Value};

/// Returns the value of a plain scalar without a tag. The error is for values that JSON doesn't support.
pub(super) fn plain(word: &str) -> Result<Value, &'static str> {
    Ok(match word {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => Value::Bool(true),
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => Value::Bool(false),
        ".nan" | ".NaN" | ".NAN" | ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" | "-.inf" | "-.Inf"
        | "-.INF" => return Err("is not a number that JSON supports"),
        _ if word.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c)) => number(word)?,
        _ => Value::String(word.to_owned()),
    })
}

/// Returns a number, or the text itself.
fn number(word: &str) -> Result<Value, &'static str> {
    let digits = word.replace('_', "");
    if let Some(whole) = whole(&digits) {
        return Ok(whole);
    }
    if is_decimal(&digits)
        && let Ok(number) = digits.parse::<f64>()
    {
        return fraction(number).ok_or("is not a number that JSON supports");
    }
    Ok(Value::String(word.to_owned()))
}

/// Parses an integer in Go's notation: with a prefix, or a leading 0 for base 8.
fn whole(text: &str) -> Option<Value> {
    let (negative, unsigned) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let lower = unsigned.to_ascii_lowercase();
    let (radix, digits) = match lower.as_bytes() {
        [b'0', b'x', ..] => (16, &lower[2..]),
        [b'0', b'o', ..] => (8, &lower[2..]),
        [b'0', b'b', ..] => (2, &lower[2..]),
        [b'0', _, ..] => (8, &lower[1..]),
        _ => (10, &lower[..]),
    };
    if !digits.bytes().all(|digit| digit.is_ascii_alphanumeric()) {
        return None;
    }
    let size = u64::from_str_radix(digits, radix).ok()?;
    let number = if negative { -i128::from(size) } else { i128::from(size) };
    match i64::try_from(number) {
        Ok(number) => Some(number.into()),
        // as Go's JSON decoder reads it
        #[allow(clippy::cast_precision_loss)]
        Err(_) => Number::from_f64(number as f64).map(Value::Number),
    }
}

/// Returns true for `1`, `1.5`, `.5`, `1.` and `1e3`, with or without a sign.
fn is_decimal(text: &str) -> bool {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent.strip_prefix(['+', '-']).unwrap_or(exponent))),
        None => (unsigned, None),
    };
    let digits = |text: &str| text.bytes().all(|digit| digit.is_ascii_digit());
    let (before, after) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    digits(before)
        && digits(after)
        && !(before.is_empty() && after.is_empty())
        && exponent.is_none_or(|exponent| !exponent.is_empty() && digits(exponent))
}

/// Converts a float. Without a fractional part it becomes an integer, because kubectl converts YAML to JSON.
pub(super) fn fraction(number: f64) -> Option<Value> {
    if number.fract() == 0.0 && number.abs() < 1e18 {
        return format!("{number:.0}").parse::<i64>().ok().map(Value::from);
    }
    Number::from_f64(number).map(Value::Number)
}
