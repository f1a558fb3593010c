//! What looks like a secret without being known: JWTs, long runs of hex, and what only chance writes.
//!
//! Codes, names, paths and ids are made of words, and a word's letters follow each other as they do in English; chance
//! lets anything follow anything. Each pair of neighbours counts for or against chance, and a stretch of a run that adds
//! up to [`SURE`] is taken for a secret. What is short, or made of words, can't be told from a name: secrets that went
//! into a call are known, and need no guess.
//!
//! Hex of one case is an id (a trace, a resource, a request) up to [`LONGEST_ID`] digits. How often either goes wrong is
//! measured in the tests.

use std::ops::Range;

/// So many hex digits can be an id: 32 of a trace or a GUID without dashes, with some of a version before it.
const LONGEST_ID: usize = 36;

/// A stretch that is shorter is a name: a Pod's, say, ends in sixteen letters and digits by chance.
const SHORTEST: usize = 17;

/// What the pairs of a stretch must add up to, in hundredths of the natural logarithm of how much likelier chance is.
const SURE: i32 = 1000;

/// A pair that words rarely have: chance makes 72 of 100, words 12.
const FOR_CHANCE: i32 = 180;

/// A pair that words often have: chance makes 28 of 100, words 88.
const FOR_WORDS: i32 = -115;

/// The letters that often follow each letter: together 93 of 100 pairs in the words of this repository, its
/// documentation and the providers' references.
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

/// The places of `text` that look like a secret.
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

/// The end of the JWT, whole or cut, that begins at `at`: `{"` in base64 reads `eyJ`.
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

/// The secrets in a run of letters, digits and the marks of base64, names and paths.
fn in_run(run: &[u8]) -> Vec<Range<usize>> {
    let (ids, mut found) = hex(run);
    let mut begin = 0;
    for (end, next) in ids.iter().map(|id| (id.start, id.end)).chain([(run.len(), run.len())]) {
        found.extend(by_chance(&run[begin..end]).into_iter().map(|span| begin + span.start..begin + span.end));
        begin = next;
    }
    found
}

/// Ids, which are left alone, and secrets in hex: chains of groups of digits, one mark between them.
fn hex(run: &[u8]) -> (Vec<Range<usize>>, Vec<Range<usize>>) {
    let (mut ids, mut secrets) = (Vec::new(), Vec::new());
    let mut at = 0;
    while at < run.len() {
        let begins = at == 0 || !run[at - 1].is_ascii_alphanumeric();
        let Some((end, digits)) = begins.then(|| chain(run, at)).flatten() else {
            // forty digits and more are no id, whatever stands before them
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

/// The end of the chain of hex groups of one case that begins at `at`, and how many digits it has. A GUID counts as one
/// id, and ends a chain.
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
            // the mark before it is no part of the chain
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

/// W3C's `traceparent`: version, trace, span, flags.
fn is_traceparent(chain: &[u8]) -> bool {
    chain.split(|b| *b == b'-').map(<[u8]>::len).eq([2, 32, 16, 2])
}

/// The end of the GUID that begins at `at`: an id, not a secret.
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

/// The stretches that only chance writes, each with what is joined to it without a mark.
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

/// A stretch with the letters and digits that are joined to it, and the padding of base64.
fn whole(run: &[u8], span: Range<usize>) -> Range<usize> {
    let start = (0..span.start).rev().find(|i| !run[*i].is_ascii_alphanumeric()).map_or(0, |i| i + 1);
    let end = (span.end..run.len()).find(|i| !run[*i].is_ascii_alphanumeric()).unwrap_or(run.len());
    let padding = run[end..].iter().take_while(|b| **b == b'=').count();
    start..end + padding
}

/// What the pair before and at `at` counts for chance. Marks tell nothing.
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
        // a new word: two small letters before it, a small one after its capital
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

/// What base64, names and paths are made of.
fn is_part(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=' | b'-' | b'_' | b'.' | b'~')
}
