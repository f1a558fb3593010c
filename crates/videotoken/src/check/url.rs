//! The CEL rule that all fields with a URL share. The API server evaluates it with Go's `net/url` (`ParseRequestURI`), but
//! the CEL library of this program follows the rules of WHATWG.

use super::Violation;
use crate::manifest::{Path, Step};
use serde_json::Value;
use std::net::Ipv6Addr;
use videotoken_api::schema::{NO_URL, URL_RULE};

/// Removes the rule from a schema. [`check`] evaluates it.
pub(super) fn without_rule(mut schema: Value) -> Value {
    match &mut schema {
        Value::Object(members) => {
            if let Some(Value::Array(rules)) = members.get_mut("x-kubernetes-validations") {
                rules.retain(|rule| rule["rule"] != URL_RULE);
            }
            members.values_mut().for_each(|member| *member = without_rule(member.take()));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| *item = without_rule(item.take())),
        _ => {}
    }
    schema
}

/// Evaluates the rule for each field whose schema has it.
pub(super) fn check(value: &Value, schema: &Value) -> Vec<Violation> {
    let mut violations = Vec::new();
    check_below(value, schema, &Path::default(), &mut violations);
    violations
}

fn check_below(value: &Value, schema: &Value, path: &Path, violations: &mut Vec<Violation>) {
    let rules = schema["x-kubernetes-validations"].as_array().into_iter().flatten();
    match value {
        Value::String(text) if rules.into_iter().any(|rule| rule["rule"] == URL_RULE) && !is_url(text) => {
            violations.push(Violation::new(path, format!("Invalid value: {NO_URL}")));
        }
        Value::Object(members) => {
            for (name, member) in members {
                let (below, step) = match schema["properties"].get(name) {
                    Some(named) => (named, Step::Field(name.clone())),
                    None => (&schema["additionalProperties"], Step::Key(name.clone())),
                };
                check_below(member, below, &path.with(step), violations);
            }
        }
        Value::Array(items) => {
            for (number, item) in items.iter().enumerate() {
                check_below(item, &schema["items"], &path.with(Step::Item(number)), violations);
            }
        }
        _ => {}
    }
}

/// Returns the result of [`URL_RULE`] for a text.
fn is_url(text: &str) -> bool {
    if text.contains(['@', '?', '#']) || text.bytes().any(|byte| byte < b' ' || byte == 0x7f) {
        return false;
    }
    let Some((scheme, rest)) = text.split_once(':') else { return false };
    if !["https", "http"].iter().any(|known| scheme.eq_ignore_ascii_case(known)) {
        return false;
    }
    let Some(rest) = rest.strip_prefix("//") else { return false };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    is_authority(authority) && is_escaped(path, |_| true)
}

/// Returns true for a host with an optional port.
fn is_authority(authority: &str) -> bool {
    match authority.rfind('[') {
        Some(0) => {
            let Some((host, port)) = authority[1..].rsplit_once(']') else { return false };
            is_port(port) && is_ipv6(host)
        }
        Some(_) => false,
        None => {
            let (host, port) = authority.split_at(authority.find(':').unwrap_or(authority.len()));
            !authority.is_empty() && is_port(port) && is_host(host)
        }
    }
}

/// Returns true for an empty text, or a colon and any number of digits.
fn is_port(text: &str) -> bool {
    text.is_empty() || text.strip_prefix(':').is_some_and(|port| port.bytes().all(|byte| byte.is_ascii_digit()))
}

fn is_ipv6(host: &str) -> bool {
    let (address, zone) = match host.find("%25") {
        Some(at) => (&host[..at], Some(&host[at + 3..])),
        None => (host, None),
    };
    let zone_fits = |zone: &str| {
        !zone.is_empty()
            && is_escaped(zone, |byte| byte < 0x80 && (byte == b' ' || byte == b'%' || may_stand_in_host(byte)))
            && zone.bytes().all(|byte| byte == b'%' || may_stand_in_host(byte))
    };
    address.parse::<Ipv6Addr>().is_ok() && zone.is_none_or(zone_fits)
}

/// Returns true for a host in which only a percent sign and characters that aren't ASCII are escaped.
fn is_host(host: &str) -> bool {
    is_escaped(host, |byte| byte >= 0x80 || byte == b'%')
        && host.bytes().all(|byte| byte == b'%' || may_stand_in_host(byte))
}

/// Returns true if each `%` begins an escape of a byte that `may` be escaped.
fn is_escaped(text: &str, may: impl Fn(u8) -> bool) -> bool {
    text.split('%').skip(1).all(|escape| {
        let byte = escape.get(..2).filter(|hex| hex.bytes().all(|digit| digit.is_ascii_hexdigit()));
        byte.and_then(|hex| u8::from_str_radix(hex, 16).ok()).is_some_and(&may)
    })
}

fn may_stand_in_host(byte: u8) -> bool {
    byte >= 0x80 || byte.is_ascii_alphanumeric() || b"-_.~!$&'()*+,;=:[]<>\"".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Another test compares many more with the API server.
    #[test]
    fn a_url_is_what_go_accepts_as_one() {
        for (text, expected) in [
            ("https://a.example", true),
            ("HTTPS://a.example/x%20y", true),
            ("http://localhost", true),
            ("http://localhost:8080", true),
            ("https://a:99999", true),
            ("https://a:", true),
            ("https://xn--a.example", true),
            ("https://[fe80::1%25eth0]", true),
            ("https://[::1]:6443/x", true),
            ("https://b\u{fc}cher.example", true),
            ("https:a.example", false),
            ("https:/a.example", false),
            ("https:///x", false),
            ("https://a.example\\x", false),
            ("https://a.example/%zz", false),
            ("https://a.example/%", false),
            ("https://a%41.example", false),
            ("https://a b", false),
            ("https://a:b", false),
            ("https://[::1", false),
            ("https://[1.2.3.4]", false),
            ("https://a?b", false),
            ("https://u@a", false),
            ("ftp://a", false),
            ("//a.example", false),
            ("", false),
        ] {
            assert_eq!(is_url(text), expected, "{text}");
        }
    }
}
