//! What looks like a secret without being known: JWTs, long runs of hex, long runs of base64.

use std::ops::Range;

/// The shortest run that is taken for a key or a token.
const LONG: usize = 32;

/// The places of `text` that look like a secret.
pub(super) fn spans(text: &[u8]) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < text.len() {
        if let Some(end) = guid(text, at) {
            at = end;
        } else if let Some(end) = jwt(text, at).or_else(|| run(text, at)) {
            found.push(at..end);
            at = end;
        } else {
            at = next_word(text, at);
        }
    }
    found
}

/// Where to look next: the next GUID or JWT may begin inside a run of word characters.
fn next_word(text: &[u8], at: usize) -> usize {
    let boundary = |i: &usize| !is_base64(text[i - 1]) || text[*i..].starts_with(b"eyJ") || guid(text, *i).is_some();
    (at + 1..text.len()).find(boundary).unwrap_or(text.len())
}

/// The end of the GUID that begins at `at`: an id, not a secret.
fn guid(text: &[u8], at: usize) -> Option<usize> {
    const GROUPS: [usize; 5] = [8, 4, 4, 4, 12];
    if at > 0 && text[at - 1].is_ascii_hexdigit() {
        return None;
    }
    let mut end = at;
    for (i, group) in GROUPS.into_iter().enumerate() {
        if i > 0 {
            (*text.get(end)? == b'-').then_some(())?;
            end += 1;
        }
        text.get(end..end + group)?.iter().all(u8::is_ascii_hexdigit).then_some(())?;
        end += group;
    }
    text.get(end).is_none_or(|next| !next.is_ascii_hexdigit()).then_some(end)
}

/// The end of the JWT, whole or cut, that begins at `at`: `{"` in base64 reads `eyJ`.
fn jwt(text: &[u8], at: usize) -> Option<usize> {
    let rest = &text[at..];
    if !rest.starts_with(b"eyJ") {
        return None;
    }
    let mut len = rest.iter().take_while(|b| is_base64(**b) || **b == b'.').count();
    while rest[len - 1] == b'.' {
        len -= 1;
    }
    (len >= 12).then_some(at + len)
}

/// The end of the run of hex or base64 that begins at `at`, when it is long and mixed as only chance mixes.
fn run(text: &[u8], at: usize) -> Option<usize> {
    let rest = &text[at..];
    let len = (0..rest.len()).find(|i| !is_base64(rest[*i]) || guid(text, at + i).is_some()).unwrap_or(rest.len());
    if len < LONG {
        return None;
    }
    let run = &rest[..len];
    let is_hex = run.iter().all(u8::is_ascii_hexdigit);
    // Words change between capitals, small letters, digits and marks once in five characters or less, base64 twice
    // in three.
    let changes = run.windows(2).filter(|pair| kind(pair[0]) != kind(pair[1])).count();
    (is_hex || changes * 3 >= len).then_some(at + len)
}

fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=' | b'-' | b'_')
}

fn kind(byte: u8) -> u8 {
    match byte {
        b'a'..=b'z' => 0,
        b'A'..=b'Z' => 1,
        b'0'..=b'9' => 2,
        _ => 3,
    }
}
