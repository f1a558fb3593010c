//! Hostile text: lengths at a bound, characters that break naive code, and templates by a grammar.

use crate::soak::schedule::Dice;

/// Texts that have broken programs before, and texts that some field of the CRDs accepts.
const POOL: [&str; 44] = [
    "",
    " ",
    "\u{0}",
    "a\u{0}b",
    "\u{feff}bom",
    "\u{202e}txt.exe",
    "e\u{301}e\u{301}e\u{301}",
    "👩\u{200d}👩\u{200d}👧\u{200d}👦",
    "\u{ffff}\u{fffd}",
    "line\nline",
    "a\r\nX-Injected: yes",
    "\t",
    "../../../etc/passwd",
    "%2e%2e%2f",
    "a/b?c=d&e=f#g",
    "{{ token }}",
    "{% for x in range(1000000) %}{% endfor %}",
    "${jndi:ldap://example.com}",
    "' OR 1=1 --",
    "<script>alert(1)</script>",
    "null",
    "true",
    "NaN",
    "1e309",
    "-1",
    "0",
    "18446744073709551616",
    "0s",
    "1s",
    "300s",
    "1h",
    "8760h",
    "999999h",
    "2027-01-31T00:00:00Z",
    "9999-12-31T23:59:59Z",
    "Deployment",
    "Account",
    "Reader",
    "TokenProvider",
    "https://127.0.0.1:1/",
    "https://user:password@example.com/",
    "http://[::1]/",
    "xn--80ak6aa92e.com",
    "hostile",
];

/// Characters of one, two, three and four bytes.
const CHARACTERS: [&str; 4] = ["a", "é", "\u{4e16}", "\u{1d11e}"];

/// Returns a text for a field of these bounds in characters: inside, at, or just beyond one.
pub(super) fn text(dice: &mut Dice, shortest: usize, longest: Option<usize>) -> String {
    let longest = longest.unwrap_or(300);
    let character = CHARACTERS[dice.index(CHARACTERS.len())];
    match dice.below(8) {
        0 => character.repeat(longest),
        1 => character.repeat(longest + 1),
        2 => character.repeat(shortest.saturating_sub(1)),
        3 => character.repeat(shortest.max(1)),
        4 => format!("hostile-{}", dice.below(5)),
        _ => POOL[dice.index(POOL.len())].to_owned(),
    }
}

/// Returns a key of a map, valid most of the time. `number` tells it from the others.
pub(super) fn key(dice: &mut Dice, number: usize) -> String {
    const BAD: [&str; 12] = [
        "",
        "..",
        "a b",
        "__proto__",
        "ключ",
        "videotoken.dev/x",
        "app.kubernetes.io/managed-by",
        "kubernetes.io/x",
        "a/b/c",
        "-a",
        "example.com/",
        "{{ token }}",
    ];
    match dice.below(12) {
        0 => BAD[dice.index(BAD.len())].to_owned(),
        1 => "k".repeat(253),
        2 => "k".repeat(254),
        _ => format!("k{number}"),
    }
}

/// Names that a template knows, and one that it doesn't.
const VARIABLES: [&str; 10] = [
    "token",
    "token",
    "token",
    "expires_at",
    "expires_at",
    "issued_at",
    "name",
    "secret_name",
    "previous_token",
    "unknown",
];

/// Filters with their arguments.
const FILTERS: [&str; 22] = [
    "b64encode",
    "b64decode",
    "tojson",
    "upper",
    "length",
    "urlencode",
    "trim",
    "list",
    "lines",
    "first",
    "reverse",
    "unix",
    "default('x')",
    "replace('a', 'aaaaaaaaaa')",
    "replace('', 'x')",
    "split('')",
    "join('xxxxxxxxxxxxxxxx')",
    "indent(4000)",
    "date('%Y-%m-%dT%H:%M:%S%.9f%z')",
    "date('%c' * 60000)",
    "format(1, 2, 3)",
    "nofilter",
];

const OPERATORS: [&str; 12] = ["+", "-", "*", "/", "//", "%", "**", "~", "==", "<", "in", "and"];

/// Returns a template of at most `longest` bytes, now and then cut off in its middle.
pub(super) fn template(dice: &mut Dice, longest: usize) -> String {
    let mut made = String::new();
    for _ in 0..=dice.below(4) {
        made.push_str(&piece(dice, 4));
    }
    if dice.below(12) == 0 {
        // as long as it may be: the same over and over, or one deep expression
        made = match dice.below(3) {
            0 => made.repeat(longest / made.len().max(1)),
            1 => format!("{{{{ {}1{} }}}}", "(".repeat(longest / 2 - 8), ")".repeat(longest / 2 - 8)),
            _ => format!("{{{{ 1{} }}}}", " + 1".repeat(longest / 4 - 4)),
        };
    }
    let cut = if dice.below(10) == 0 { dice.index(made.len().max(1)) } else { longest };
    made.char_indices().take_while(|(at, character)| at + character.len_utf8() <= cut).map(|(_, one)| one).collect()
}

fn piece(dice: &mut Dice, depth: u64) -> String {
    let value = |dice: &mut Dice| expression(dice, depth.saturating_sub(1));
    match dice.below(if depth == 0 { 2 } else { 24 }) {
        0 => POOL[dice.index(POOL.len())].to_owned(),
        1..=19 => format!("{{{{ {} }}}}", value(dice)),
        20 => format!("{{% if {} %}}{}{{% else %}}x{{% endif %}}", value(dice), piece(dice, depth - 1)),
        21 => {
            let many = ["range(1000000)", "range(300)", "token", "values", "'x' * 100000"][dice.index(5)];
            let over = if dice.below(2) == 0 { many.to_owned() } else { value(dice) };
            format!("{{% for x in {over} %}}{}{{% endfor %}}", piece(dice, depth - 1))
        }
        22 => format!("{{% set x = {} %}}{{{{ x }}}}", value(dice)),
        _ => [
            "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
            "{% include 'x' %}",
            "{% raw %}{{",
            "{#",
            "{% endfor %}",
        ][dice.index(5)]
        .to_owned(),
    }
}

fn expression(dice: &mut Dice, depth: u64) -> String {
    if depth == 0 {
        return match dice.below(4) {
            0 => ["0", "-1", "3000000", "9223372036854775807", "1e300"][dice.index(5)].to_owned(),
            1 => ["''", "'x'", "'\u{1d11e}'", "'%c'", "\"\\u0000\""][dice.index(5)].to_owned(),
            _ => VARIABLES[dice.index(VARIABLES.len())].to_owned(),
        };
    }
    let inner = expression(dice, depth - 1);
    match dice.below(12) {
        0..=6 => format!("{inner} | {}", FILTERS[dice.index(FILTERS.len())]),
        7 | 8 => format!("({inner} {} {})", OPERATORS[dice.index(OPERATORS.len())], expression(dice, depth - 1)),
        9 => format!("[{inner}, {}] | join", expression(dice, depth - 1)),
        10 => format!("{inner}[{}]", expression(dice, depth - 1)),
        _ => format!("{{'k': {inner}}}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_is_within_its_length_and_depends_on_the_dice_alone() {
        for seed in 0..2000 {
            let made = template(&mut Dice::new(seed), 16_384);
            assert!(made.len() <= 16_384, "{seed}");
            assert_eq!(made, template(&mut Dice::new(seed), 16_384));
        }
    }
}
