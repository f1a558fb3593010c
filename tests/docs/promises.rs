//! Checks the promises of docs/design.md: each number in use has a definition, and each definition has a test.

use crate::pages::{repository, title};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Folders and files that may use numbers.
const PLACES: [&str; 8] =
    ["src", "crates", "tests", "fuzz/src", "fuzz/fuzz_targets", "docs", "README.md", "CONTRIBUTING.md"];

/// Returns the two digits after each `mark` at the start of a word, if the rest satisfies `after`.
fn numbers<'a>(text: &'a str, mark: &'a str, after: impl Fn(&str) -> bool + 'a) -> impl Iterator<Item = String> + 'a {
    text.match_indices(mark).filter_map(move |(at, _)| {
        let starts_a_word = !text[..at].ends_with(|c: char| c.is_ascii_alphanumeric());
        let rest = &text[at + mark.len()..];
        let number = rest.get(..2).filter(|digits| digits.bytes().all(|digit| digit.is_ascii_digit()))?;
        (starts_a_word && after(&rest[2..])).then(|| number.to_owned())
    })
}

/// Returns the numbers in sentences and comments: `P04`.
fn in_words(text: &str) -> impl Iterator<Item = String> + '_ {
    numbers(text, "P", |rest| !rest.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_'))
}

/// Returns the numbers in names of functions: `fn p04_…` and `fn p03_p09_…`.
fn in_names(text: &str) -> BTreeSet<String> {
    let names = text.split("fn ").skip(1).filter_map(|rest| rest.split('(').next());
    let names = names.filter(|name| name.starts_with('p') && !name.contains(char::is_whitespace));
    names.flat_map(|name| numbers(name, "p", |rest| rest.starts_with('_'))).collect()
}

/// Returns the numbers that the design defines, each at the start of an item: `- **P04 Cost.**`.
fn defined(design: &str) -> BTreeSet<String> {
    design.lines().filter_map(|line| in_words(line.strip_prefix("- **")?.get(..3)?).next()).collect()
}

/// Returns the faults of the design and the files, given their text.
fn findings(design: &str, files: &BTreeMap<String, String>) -> Vec<String> {
    let defined = defined(design);
    let mut findings = Vec::new();
    let mut tested = BTreeSet::new();
    for (file, text) in files {
        let is_rust = Path::new(file).extension().is_some_and(|extension| extension == "rs");
        let in_names = if is_rust { in_names(text) } else { BTreeSet::new() };
        for number in in_words(text).chain(in_names.clone()).collect::<BTreeSet<_>>().difference(&defined) {
            findings.push(format!("{file} names P{number}, which docs/design.md doesn't define"));
        }
        tested.extend(in_names);
    }
    for number in defined.difference(&tested) {
        findings.push(format!("docs/design.md defines P{number}, and no test is named p{number}_…"));
    }
    findings
}

fn files(path: &Path, found: &mut Vec<PathBuf>) {
    if let Ok(entries) = fs::read_dir(path) {
        for entry in entries {
            files(&entry.unwrap().path(), found);
        }
    } else if path
        .extension()
        .is_some_and(|extension| ["rs", "md", "sh", "yaml"].iter().any(|known| extension == *known))
    {
        found.push(path.to_owned());
    }
}

#[test]
fn each_promise_that_is_named_is_defined_and_each_that_is_defined_has_a_test() {
    let mut paths = Vec::new();
    for place in PLACES {
        files(&repository().join(place), &mut paths);
    }
    let files: BTreeMap<_, _> = paths.iter().map(|path| (title(path), fs::read_to_string(path).unwrap())).collect();
    let design = &files["docs/design.md"];
    assert!(!defined(design).is_empty());
    let findings = findings(design, &files);
    assert!(findings.is_empty(), "{findings:#?}");
}

/// Builds the numbers at run time, because the test also searches this file.
#[test]
fn a_number_without_a_definition_and_one_without_a_test_are_found() {
    let number = |digits: &str| format!("P{digits}");
    let [first, second] = ["71", "72"].map(number);
    let design = format!("# Design\n\n- **{first} One.** As {second} says.\n- **{second} Two.**\n");
    let test = |name: &str| format!("#[test]\nfn {name}() {{}}\n");
    let both = test("p71_p72_both_hold");
    for (source, expected) in [
        (both.clone(), None),
        (test("p71_one_holds"), Some(format!("docs/design.md defines {second}, and no test is named p72_…"))),
        (
            format!("// ({})\n{both}", number("73")),
            Some(format!("src/lib.rs names {}, which docs/design.md doesn't define", number("73"))),
        ),
        (
            both.clone() + &test("p74_more"),
            Some(format!("src/lib.rs names {}, which docs/design.md doesn't define", number("74"))),
        ),
        (format!("// {}0, X{}\n{both}", number("73"), number("73")), None),
    ] {
        let files = BTreeMap::from([("docs/design.md".to_owned(), design.clone()), ("src/lib.rs".to_owned(), source)]);
        assert_eq!(findings(&design, &files), Vec::from_iter(expected), "{files:?}");
    }
}

#[test]
fn the_glossary_has_at_most_30_terms_each_once() {
    let design = fs::read_to_string(repository().join("docs/design.md")).unwrap();
    let glossary = design.split_once("\n## Glossary\n").unwrap().1.split("\n## ").next().unwrap();
    let rows = glossary.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next()).skip(1);
    let terms: Vec<_> = rows.collect();
    let unique: BTreeSet<_> = terms.iter().collect();
    assert!(terms.contains(&"grant") && terms.len() <= 30, "{} terms", terms.len());
    assert_eq!(unique.len(), terms.len());
}
