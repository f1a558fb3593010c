//! A text as it reads after unescaping, each byte with the place that it came from.

use std::ops::Range;

/// One byte of an unescaped text, and which bytes of the original spell it.
#[derive(Clone)]
struct Spelled {
    byte: u8,
    from: Range<usize>,
}

/// A text after none, one or two unescapings.
pub(super) struct View(Vec<Spelled>);

/// Every reading of `text`: as it stands, and unescaped up to twice as JSON, percent, form or HTML.
pub(super) fn views(text: &[u8]) -> Vec<View> {
    let plain = View(text.iter().enumerate().map(|(i, &byte)| Spelled { byte, from: i..i + 1 }).collect());
    let once: Vec<View> = unescaped(&plain);
    let twice: Vec<View> = once.iter().flat_map(unescaped).collect();
    [vec![plain], once, twice].into_iter().flatten().collect()
}

impl View {
    /// The original's spans that spell a `width`-byte piece which `wanted` recognises.
    pub(super) fn matches<'a>(
        &'a self,
        width: usize,
        wanted: impl Fn(&[u8]) -> bool + 'a,
    ) -> impl Iterator<Item = Range<usize>> + 'a {
        let bytes = self.bytes();
        let last = (bytes.len() + 1).saturating_sub(width);
        (0..last)
            .filter(move |&at| wanted(&bytes[at..at + width]))
            .map(move |at| self.0[at].from.start..self.0[at + width - 1].from.end)
    }

    /// The text of this reading.
    pub(super) fn bytes(&self) -> Vec<u8> {
        self.0.iter().map(|s| s.byte).collect()
    }
}

/// The readings of one unescaping that differ from `view`.
fn unescaped(view: &View) -> Vec<View> {
    [json as Unescape, percent, form, html].into_iter().filter_map(|rule| apply(view, rule)).collect()
}

/// Reads one escape at the beginning of a text: how many bytes it takes, and what it spells.
type Unescape = fn(&[u8]) -> Option<(usize, Vec<u8>)>;

/// `view` with `rule` applied from left to right; nothing where it never applied.
fn apply(view: &View, rule: Unescape) -> Option<View> {
    let bytes = view.bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let (mut at, mut changed) = (0, false);
    while at < bytes.len() {
        let Some((taken, spelled)) = rule(&bytes[at..]) else {
            out.push(view.0[at].clone());
            at += 1;
            continue;
        };
        let from = view.0[at].from.start..view.0[at + taken - 1].from.end;
        out.extend(spelled.into_iter().map(|byte| Spelled { byte: byte.max(b' '), from: from.clone() }));
        at += taken;
        changed = true;
    }
    changed.then_some(View(out))
}

/// `\n`, `\"`, `\u00e4` and surrogate pairs.
fn json(text: &[u8]) -> Option<(usize, Vec<u8>)> {
    if text.first() != Some(&b'\\') {
        return None;
    }
    match text.get(1)? {
        b'u' => {
            let high = hex(text.get(2..6)?)?;
            let pair = text.get(6..8).filter(|next| *next == b"\\u").and_then(|_| hex(text.get(8..12)?));
            if let (0xd800..0xdc00, Some(low @ 0xdc00..0xe000)) = (high, pair) {
                let code = 0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00);
                return Some((12, utf8(char::from_u32(code)?)));
            }
            Some((6, utf8(char::from_u32(high).unwrap_or(char::REPLACEMENT_CHARACTER))))
        }
        b'b' | b'f' | b'n' | b'r' | b't' => Some((2, vec![b' '])),
        c @ (b'"' | b'\\' | b'/') => Some((2, vec![*c])),
        _ => None,
    }
}

/// `%2F`.
fn percent(text: &[u8]) -> Option<(usize, Vec<u8>)> {
    if text.first() != Some(&b'%') {
        return None;
    }
    let byte = u8::try_from(hex(text.get(1..3)?)?).ok()?;
    Some((3, vec![byte]))
}

/// `%2F`, and `+` for a space.
fn form(text: &[u8]) -> Option<(usize, Vec<u8>)> {
    if text.first() == Some(&b'+') { Some((1, vec![b' '])) } else { percent(text) }
}

/// `&amp;`, `&#43;`, `&#x2F;`.
fn html(text: &[u8]) -> Option<(usize, Vec<u8>)> {
    if text.first() != Some(&b'&') {
        return None;
    }
    let end = text.iter().take(10).position(|b| *b == b';')?;
    let name = std::str::from_utf8(&text[1..end]).ok()?;
    let spelled = match name {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        _ => {
            let number = name.strip_prefix('#')?;
            let code = match number.strip_prefix(['x', 'X']) {
                Some(digits) => u32::from_str_radix(digits, 16),
                None => number.parse(),
            };
            char::from_u32(code.ok()?)?
        }
    };
    Some((end + 1, utf8(spelled)))
}

fn utf8(c: char) -> Vec<u8> {
    c.to_string().into_bytes()
}

/// The number that these hex digits spell; they are at most eight.
fn hex(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0, |n, d| Some(n * 16 + char::from(*d).to_digit(16)?))
}
