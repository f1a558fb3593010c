//! Finds text that looks like a secret without being known: JWTs, long hexadecimal text, and random characters.
//!
//! Codes, names, paths and IDs consist of words, in which the letters follow each other as in English. In random text
//! any character can follow any other. Each pair of neighbours counts for or against randomness, and a stretch whose
//! pairs add up to [`SURE`] is treated as a secret. A short secret, or one made of words, can't be distinguished from a
//! name. The secrets of a call are known and need no guess.
//!
//! Hexadecimal text of one case with up to [`LONGEST_ID`] digits is an ID (of a trace, a resource or a request). The
//! tests measure the rates of both kinds of error.

use std::ops::Range;

/// Maximum number of hexadecimal digits of an ID: 32 of a trace or of a GUID without dashes, plus some of a version
/// prefix.
const LONGEST_ID: usize = 36;

/// Minimum length of a stretch that is treated as a secret. Shorter stretches are names: a Pod name can end in 16
/// random letters and digits.
const SHORTEST: usize = 17;

/// Minimum sum of a stretch that is treated as a secret, in hundredths of the natural logarithm of the likelihood ratio
/// between random text and words.
const SURE: i32 = 1000;

/// Weight of a pair that is rare in words: 72% of the pairs in random text, 12% in words.
const FOR_CHANCE: i32 = 180;

/// Weight of a pair that is common in words: 28% of the pairs in random text, 88% in words.
const FOR_WORDS: i32 = -115;

/// Common successors of each letter. They cover 93% of the pairs in this repository, its documentation and
/// the providers' references.
const FOLLOWERS: [&[u8]; 26] = [
    b"bcdgiklmnprstuvy",     // a
    b"aeilorsu",             // b
    b"acehiklortu",          // c
    b"adeiorsu",             // d
    b"acdefgilmnopqrstvwxy", // e
    b"aefiloru",             // f
    b"aehinorsu",            // g
    b"aeiot",                // h
    b"abcdefglmnoprstvz",    // i
    b"e",                    // j
    b"eis",                  // k
    b"adeilostuy",           // l
    b"aeimopsu",             // m
    b"acdefginopstv",        // n
    b"abcdgiklmnoprstuvw",   // o
    b"aeiloprstu",           // p
    b"u",                    // q
    b"acdegiklmnorstuvy",    // r
    b"acehiopstu",           // s
    b"acehilorstuy",         // t
    b"abcdeilmnprst",        // u
    b"aei",                  // v
    b"aeinor",               // w
    b"ept",                  // x
    b"p",                    // y
    b"",                     // z
];

/// Returns the spans of `text` that look like a secret.
pub(super) fn spans(text: &[u8]) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < text.len() {
        if let Some(end) = jwt(text, at) {
            found.push(at..end);
            at = end;
        } else if is_part(text[at]) {
            let end = (at..text.len()).find(|i| !is_part(text[*i]) || jwt(text, *i).is_some()).unwrap_or(text.len());
            found.extend(in_run(&text[at..end]).into_iter().map(|span| at + span.start..at + span.end));
            at = end;
        } else {
            at += 1;
        }
    }
    found
}

/// Returns the end of the JWT that begins at `at`, whole or truncated. A JWT begins with `eyJ`, the base64 of `{"`.
fn jwt(text: &[u8], at: usize) -> Option<usize> {
    let rest = &text[at..];
    if !rest.starts_with(b"eyJ") {
        return None;
    }
    let mut len = rest.iter().take_while(|b| is_part(**b)).count();
    while rest[len - 1] == b'.' {
        len -= 1;
    }
    (len >= 12).then_some(at + len)
}

/// Returns the secrets in a run of letters, digits and the punctuation of base64, names and paths.
fn in_run(run: &[u8]) -> Vec<Range<usize>> {
    let (ids, mut found) = hex(run);
    let mut begin = 0;
    for (end, next) in ids.iter().map(|id| (id.start, id.end)).chain([(run.len(), run.len())]) {
        found.extend(by_chance(&run[begin..end]).into_iter().map(|span| begin + span.start..begin + span.end));
        begin = next;
    }
    found
}

/// Returns the IDs, which are kept, and the secrets in hexadecimal text: chains of digit groups with one separator
/// between groups.
fn hex(run: &[u8]) -> (Vec<Range<usize>>, Vec<Range<usize>>) {
    let (mut ids, mut secrets) = (Vec::new(), Vec::new());
    let mut at = 0;
    while at < run.len() {
        let begins = at == 0 || !run[at - 1].is_ascii_alphanumeric();
        let Some((end, digits)) = begins.then(|| chain(run, at)).flatten() else {
            // More digits than an ID has are a secret, whatever precedes them.
            let len = run[at..].iter().take_while(|b| b.is_ascii_hexdigit()).count();
            if len > LONGEST_ID {
                secrets.push(at..at + len);
            }
            at += len.max(1);
            continue;
        };
        if digits > LONGEST_ID && !is_traceparent(&run[at..end]) {
            secrets.push(at..end);
        } else if digits >= 8 {
            ids.push(at..end);
        }
        at = end;
    }
    (ids, secrets)
}

/// Returns the end of the chain of hexadecimal groups that begins at `at`, and the number of its digits. Each group has
/// one case. A GUID counts as one ID and ends a chain.
fn chain(run: &[u8], at: usize) -> Option<(usize, usize)> {
    let (mut end, mut digits) = (at, 0);
    if let Some(end) = guid(run, at) {
        return Some((end, 32));
    }
    loop {
        let group = run[end..].iter().take_while(|b| b.is_ascii_hexdigit()).count();
        let word = &run[end..end + group];
        let is_one_case = !(word.iter().any(u8::is_ascii_lowercase) && word.iter().any(u8::is_ascii_uppercase));
        let is_whole = run.get(end + group).is_none_or(|next| !next.is_ascii_alphanumeric());
        if group == 0 || !is_one_case || !is_whole {
            // The separator before this position isn't part of the chain.
            return (digits > 0).then(|| (end - 1, digits));
        }
        (end, digits) = (end + group, digits + group);
        let is_joined = run.get(end).is_some_and(|b| matches!(b, b'-' | b'_' | b'.'));
        if !is_joined || guid(run, end + 1).is_some() {
            return Some((end, digits));
        }
        end += 1;
    }
}

/// Returns true for W3C's `traceparent`: version, trace, span, flags.
fn is_traceparent(chain: &[u8]) -> bool {
    chain.split(|b| *b == b'-').map(<[u8]>::len).eq([2, 32, 16, 2])
}

/// Returns the end of the GUID that begins at `at`. A GUID is an ID, not a secret.
fn guid(text: &[u8], at: usize) -> Option<usize> {
    const GROUPS: [usize; 5] = [8, 4, 4, 4, 12];
    let mut end = at;
    for (i, group) in GROUPS.into_iter().enumerate() {
        if i > 0 {
            (*text.get(end)? == b'-').then_some(())?;
            end += 1;
        }
        text.get(end..end + group)?.iter().all(u8::is_ascii_hexdigit).then_some(())?;
        end += group;
    }
    text.get(end).is_none_or(|next| !next.is_ascii_alphanumeric()).then_some(end)
}

/// Returns the stretches of random characters, extended to the adjacent letters and digits.
fn by_chance(run: &[u8]) -> Vec<Range<usize>> {
    let mut found: Vec<Range<usize>> = Vec::new();
    let (mut begin, mut sum, mut best) = (0, 0, (0, 0));
    for at in 1..=run.len() {
        let weight = if at < run.len() { weight(run, at) } else { i32::MIN / 2 };
        sum += weight;
        if sum > best.0 {
            best = (sum, at + 1);
        }
        if sum <= 0 || (best.0 >= SURE && best.0 - sum >= SURE) {
            let span = whole(run, begin..best.1.max(begin));
            if best.0 >= SURE && span.len() >= SHORTEST {
                found.push(span);
            }
            (begin, sum, best) = (at, 0, (0, 0));
        }
    }
    found
}

/// Extends a stretch to the adjacent letters and digits, and to the padding of base64.
fn whole(run: &[u8], span: Range<usize>) -> Range<usize> {
    let start = (0..span.start).rev().find(|i| !run[*i].is_ascii_alphanumeric()).map_or(0, |i| i + 1);
    let end = (span.end..run.len()).find(|i| !run[*i].is_ascii_alphanumeric()).unwrap_or(run.len());
    let padding = run[end..].iter().take_while(|b| **b == b'=').count();
    start..end + padding
}

/// Returns the weight of the pair before and at `at`. Pairs with punctuation have no weight.
fn weight(run: &[u8], at: usize) -> i32 {
    let (before, this) = (run[at - 1], run[at]);
    if !before.is_ascii_alphanumeric() || !this.is_ascii_alphanumeric() {
        return 0;
    }
    let follows = || {
        let row = FOLLOWERS.get(usize::from(before.to_ascii_lowercase().wrapping_sub(b'a')));
        row.is_some_and(|row| row.contains(&this.to_ascii_lowercase()))
    };
    let is_usual = match (kind(before), kind(this)) {
        (Kind::Digit, Kind::Digit) => true,
        (Kind::Small, Kind::Small) | (Kind::Capital, Kind::Capital | Kind::Small) => follows(),
        // Start of a new word: two lower-case letters before the capital, and one after it.
        (Kind::Small, Kind::Capital) => {
            let small = |i: Option<usize>| i.and_then(|i| run.get(i)).is_some_and(u8::is_ascii_lowercase);
            small(at.checked_sub(2)) && small(Some(at + 1))
        }
        _ => false,
    };
    if is_usual { FOR_WORDS } else { FOR_CHANCE }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Small,
    Capital,
    Digit,
}

fn kind(byte: u8) -> Kind {
    match byte {
        b'a'..=b'z' => Kind::Small,
        b'A'..=b'Z' => Kind::Capital,
        _ => Kind::Digit,
    }
}

/// Returns true for the characters of base64, names and paths.
fn is_part(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=' | b'-' | b'_' | b'.' | b'~')
}
