//! Templates by grammar: every sequence of bytes is one, and most of them are such as the engine takes.
//!
//! Shared by the fuzz target and by the tests, which include this file. It knows the whole language of the engine, also
//! what the operator refuses of it: numbers large enough to break any bound, lists of lists, and every filter.

/// Texts that variables, strings and names are made of.
const NAMES: [&str; 7] = ["token", "expires_at", "issued_at", "name", "namespace", "secret_name", "previous_token"];
const TEXTS: [&str; 12] = [
    "'a'",
    "'%c'",
    "''",
    "'a\\nb'",
    "'%s'",
    "'%(a)s'",
    "'%1000000000d'",
    "'<&>\\''",
    "'{{'",
    "'ä字'",
    "'%Y-%m-%d'",
    "'\\x01'",
];
const NUMBERS: [&str; 12] =
    ["0", "1", "2", "3", "-1", "7.5", "64", "1000", "60000", "3000000", "100000000", "9223372036854775807"];
const FILTERS: [&str; 56] = [
    "abs",
    "attr",
    "b64decode",
    "b64encode",
    "batch",
    "bool",
    "capitalize",
    "chain",
    "count",
    "d",
    "date",
    "default",
    "dictsort",
    "e",
    "escape",
    "first",
    "float",
    "format",
    "groupby",
    "indent",
    "int",
    "items",
    "join",
    "last",
    "length",
    "lines",
    "list",
    "lower",
    "map",
    "max",
    "min",
    "pprint",
    "reject",
    "rejectattr",
    "replace",
    "reverse",
    "round",
    "safe",
    "select",
    "selectattr",
    "slice",
    "sort",
    "split",
    "string",
    "sum",
    "title",
    "tojson",
    "trim",
    "unique",
    "unix",
    "upper",
    "urlencode",
    "zip",
    "tojson",
    "date",
    "replace",
];
const TESTS: [&str; 12] = [
    "defined",
    "undefined",
    "string",
    "number",
    "sequence",
    "mapping",
    "in([1])",
    "eq(1)",
    "startingwith('a')",
    "divisibleby(3)",
    "sameas(1)",
    "filter",
];
const OPERATORS: [&str; 14] = ["+", "-", "*", "*", "*", "/", "//", "%", "**", "~", "==", "<", "in", "and"];
const FUNCTIONS: [&str; 6] = ["range", "dict", "namespace", "debug", "token", "lipsum"];

/// Deeper than this, only what has nothing below it.
const DEEPEST: u32 = 6;

struct Choices<'a> {
    bytes: &'a [u8],
    text: String,
}

impl Choices<'_> {
    /// The next choice among `of`; 0 when all are made.
    fn next(&mut self, of: usize) -> usize {
        let Some((first, rest)) = self.bytes.split_first() else { return 0 };
        self.bytes = rest;
        usize::from(*first) % of
    }

    fn pick(&mut self, of: &[&str]) {
        let chosen = of[self.next(of.len())];
        self.text.push_str(chosen);
    }

    fn statement(&mut self, depth: u32) {
        match self.next(if depth < DEEPEST { 8 } else { 5 }) {
            0..=3 => {
                self.text.push_str("{{ ");
                self.expression(depth);
                self.text.push_str(" }}");
            }
            4 => self.text.push_str("text\n"),
            5 => {
                self.text.push_str("{% if ");
                self.expression(depth + 1);
                self.text.push_str(" %}");
                self.statement(depth + 1);
                self.text.push_str("{% else %}");
                self.statement(depth + 1);
                self.text.push_str("{% endif %}");
            }
            6 => {
                self.text.push_str("{% for x in ");
                self.expression(depth + 1);
                self.text.push_str(" %}{{ x }}{% endfor %}");
            }
            _ => {
                self.text.push_str("{% set y = ");
                self.expression(depth + 1);
                self.text.push_str(" %}");
            }
        }
    }

    fn expression(&mut self, depth: u32) {
        match self.next(if depth < DEEPEST { 16 } else { 3 }) {
            0 => self.pick(&NAMES),
            1 => self.pick(&TEXTS),
            2 => self.pick(&NUMBERS),
            3..=5 => {
                self.text.push('(');
                self.expression(depth + 1);
                self.text.push(' ');
                self.pick(&OPERATORS);
                self.text.push(' ');
                self.expression(depth + 1);
                self.text.push(')');
            }
            6..=10 => {
                self.text.push('(');
                self.expression(depth + 1);
                self.text.push_str(" | ");
                self.pick(&FILTERS);
                self.arguments(depth);
                self.text.push(')');
            }
            11 | 12 => {
                let (open, close) = [("[", "]"), ("(", ",)"), ("{'a': ", "}")][self.next(3)];
                self.text.push_str(open);
                self.expression(depth + 1);
                if open != "{'a': " && self.next(2) == 1 {
                    self.text.push_str(", ");
                    self.expression(depth + 1);
                }
                self.text.push_str(close);
            }
            13 => {
                self.text.push('(');
                self.expression(depth + 1);
                self.text.push_str(" if ");
                self.expression(depth + 1);
                self.text.push_str(" else ");
                self.expression(depth + 1);
                self.text.push(')');
            }
            14 => {
                self.expression(depth + 1);
                let suffix = ["[0]", "[::-1]", "[1:60000:2]", "[-1]", ".a", " is "][self.next(6)];
                self.text.push_str(suffix);
                if suffix == " is " {
                    self.pick(&TESTS);
                }
            }
            _ => {
                self.pick(&FUNCTIONS);
                self.text.push('(');
                self.expression(depth + 1);
                self.text.push(')');
            }
        }
    }

    fn arguments(&mut self, depth: u32) {
        let count = self.next(4);
        if count == 0 {
            return;
        }
        self.text.push('(');
        for number in 0..count {
            if number > 0 {
                self.text.push_str(", ");
            }
            if self.next(6) == 5 {
                let name = ["indent=", "a=", "width=", "attribute=", "count=", "by="][self.next(6)];
                self.text.push_str(name);
            }
            self.expression(depth + 1);
        }
        self.text.push(')');
    }
}

/// The template that the bytes choose.
pub fn template(bytes: &[u8]) -> String {
    let mut choices = Choices { bytes, text: String::new() };
    loop {
        choices.statement(0);
        // what is longer is refused unread
        if choices.bytes.is_empty() || choices.text.len() > 16 * 1024 {
            return choices.text;
        }
    }
}
