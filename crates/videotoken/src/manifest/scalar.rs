//! What a plain word of YAML is.
//!
//! kubectl and the API server read YAML 1.1's words, in the way of Go's yaml.v2: `yes` and `on` are true, `0777` is
//! 511. A reader of YAML 1.2 would take them for text and let pass what the API server refuses.

use serde_json::{Number, Value};

/// The value of a plain, untagged word; an error for one that JSON can't hold.
pub(super) fn plain(word: &str) -> Result<Value, &'static str> {
    Ok(match word {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => Value::Bool(true),
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => Value::Bool(false),
        ".nan" | ".NaN" | ".NAN" | ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" | "-.inf" | "-.Inf"
        | "-.INF" => return Err("is no number that JSON can hold"),
        _ if word.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c)) => number(word)?,
        _ => Value::String(word.to_owned()),
    })
}

/// A number, or the word itself.
fn number(word: &str) -> Result<Value, &'static str> {
    let digits = word.replace('_', "");
    if let Some(whole) = whole(&digits) {
        return Ok(whole);
    }
    if is_decimal(&digits)
        && let Ok(number) = digits.parse::<f64>()
    {
        return fraction(number).ok_or("is no number that JSON can hold");
    }
    Ok(Value::String(word.to_owned()))
}

/// A whole number in Go's notation: with a prefix, or a leading 0 for base 8.
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
        // as JSON's reader takes it there
        #[allow(clippy::cast_precision_loss)]
        Err(_) => Number::from_f64(number as f64).map(Value::Number),
    }
}

/// `1`, `1.5`, `.5`, `1.` or `1e3`, signed or not.
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

/// On its way through JSON a fraction without a fractional part becomes a whole number.
pub(super) fn fraction(number: f64) -> Option<Value> {
    if number.fract() == 0.0 && number.abs() < 1e18 {
        return format!("{number:.0}").parse::<i64>().ok().map(Value::from);
    }
    Number::from_f64(number).map(Value::Number)
}
