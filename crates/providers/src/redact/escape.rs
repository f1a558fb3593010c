//! Unescaped readings of a text, in which each byte keeps its position in the original.

use std::ops::Range;

/// Byte of an unescaped text, and the bytes of the original that represent it.
#[derive(Clone)]
struct Spelled {
    byte: u8,
    from: Range<usize>,
}

/// Text after zero, one or two rounds of unescaping.
pub(super) struct View(Vec<Spelled>);

/// Returns every reading of `text`: unchanged, and unescaped once or twice as JSON, percent encoding, form or HTML.
pub(super) fn views(text: &[u8]) -> Vec<View> {
    let plain = View(text.iter().enumerate().map(|(i, &byte)| Spelled { byte, from: i..i + 1 }).collect());
    let once: Vec<View> = unescaped(&plain);
    let twice: Vec<View> = once.iter().flat_map(unescaped).collect();
    [vec![plain], once, twice].into_iter().flatten().collect()
}

impl View {
    /// Returns the spans of the original that represent a `width`-byte piece for which `wanted` returns true.
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

    /// Returns the text of this reading.
    pub(super) fn bytes(&self) -> Vec<u8> {
        self.0.iter().map(|s| s.byte).collect()
    }
}

/// Returns the readings of `view` after one more round of unescaping, without those that equal `view`.
fn unescaped(view: &View) -> Vec<View> {
    [json as Unescape, percent, form, html].into_iter().filter_map(|rule| apply(view, rule)).collect()
}

/// Reads one escape at the start of a text and returns its length and the bytes that it represents.
type Unescape = fn(&[u8]) -> Option<(usize, Vec<u8>)>;

/// Applies `rule` to `view` from left to right. `None` if the rule never applies.
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

/// Reads `\n`, `\"`, `\u00e4` and surrogate pairs.
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

/// Reads `%2F`.
fn percent(text: &[u8]) -> Option<(usize, Vec<u8>)> {
    if text.first() != Some(&b'%') {
        return None;
    }
    let byte = u8::try_from(hex(text.get(1..3)?)?).ok()?;
    Some((3, vec![byte]))
}

/// Reads `%2F`, and `+` as a space.
fn form(text: &[u8]) -> Option<(usize, Vec<u8>)> {
    if text.first() == Some(&b'+') { Some((1, vec![b' '])) } else { percent(text) }
}

/// Reads `&amp;`, `&#43;`, `&#x2F;`.
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

/// Returns the value of at most eight hexadecimal digits.
fn hex(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0, |n, d| Some(n * 16 + char::from(*d).to_digit(16)?))
}
