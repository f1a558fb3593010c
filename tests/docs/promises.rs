//! Checks the promises of docs/design.md: each number in use has a definition, and each definition has a test.

use crate::pages::{repository, title};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

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

/// Kinds of evidence, by column of the table in docs/design.md, and the files that contain it.
const KINDS: [(&str, &[&str]); 8] = [
    ("Unit", &["src", "crates"]),
    ("Property", &["src", "crates"]),
    ("Real API server", &["tests"]),
    ("Explorer", &["tests/testkit/src/explorer"]),
    ("Simulation", &["tests/simulation/src"]),
    ("Model", &["tests/model/src"]),
    ("Soak, isolation", &["tests/testkit/src/soak", "tests/testkit/src/isolation"]),
    ("End to end", &["tests/e2e"]),
];

/// Returns whether one of the files contains the evidence: a function, a property of the model, or a promise's number.
fn exists(kind: &str, name: &str, files: &BTreeMap<String, String>) -> bool {
    let Some((_, folders)) = KINDS.iter().find(|(known, _)| *known == kind) else { return false };
    let texts = files.iter().filter(|(file, _)| folders.iter().any(|folder| file.starts_with(&format!("{folder}/"))));
    let mut texts = texts.filter(|(_, text)| kind != "Property" || text.contains("proptest!")).map(|(_, text)| text);
    match (kind, name.strip_prefix('`').and_then(|name| name.strip_suffix('`'))) {
        ("Model", Some(name)) => texts.any(|text| text.contains(&format!("const {name}: &str"))),
        (_, Some(name)) => texts.any(|text| text.contains(&format!("fn {name}("))),
        (_, None) => texts.any(|text| in_words(&code(text)).any(|number| format!("P{number}") == name)),
    }
}

/// Returns the source without its comments: a rule reports the number of its promise.
fn code(text: &str) -> String {
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// Returns what is wrong with the table.
fn unwatched(design: &str, files: &BTreeMap<String, String>) -> Vec<String> {
    let cells = |line: &str| -> Vec<String> {
        line.trim().trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()
    };
    let table: Vec<_> = design.lines().skip_while(|line| !line.starts_with("| Promise |")).collect();
    let head = cells(table.first().copied().unwrap_or_default());
    let mut findings: Vec<_> =
        head.iter().skip(1).filter(|kind| KINDS.iter().all(|(known, _)| known != kind)).cloned().collect();
    let mut rows = BTreeSet::new();
    for row in table.iter().skip(2).take_while(|line| line.starts_with('|')).map(|line| cells(line)) {
        let promise = row[0].clone();
        let watched: Vec<_> = head.iter().zip(&row).skip(1).filter(|(_, cell)| *cell != "-").collect();
        if watched.len() < 2 {
            findings.push(format!("{promise} rests on one kind alone"));
        }
        for (kind, cell) in watched {
            let missing = cell.split(", ").filter(|name| !exists(kind, name, files));
            findings.extend(missing.map(|name| format!("{promise}: {kind} has no {name}")));
        }
        rows.extend(promise.strip_prefix('P').map(str::to_owned));
    }
    findings.extend(defined(design).difference(&rows).map(|number| format!("P{number} is in no row")));
    findings
}

#[test]
fn each_promise_is_watched_by_two_kinds_of_evidence_and_each_of_them_exists() {
    let mut paths = Vec::new();
    for place in ["src", "crates", "tests", "docs/design.md"] {
        files(&repository().join(place), &mut paths);
    }
    let files: BTreeMap<_, _> = paths.iter().map(|path| (title(path), fs::read_to_string(path).unwrap())).collect();
    let findings = unwatched(&files["docs/design.md"], &files);
    assert!(findings.is_empty(), "{findings:#?}");
}

#[test]
fn each_fault_of_the_past_can_be_put_back() {
    let folder = repository().join("tests/evidence/faults");
    let patches: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(patches.len() >= 15, "{patches:?}");
    for patch in patches {
        let check = Command::new("git").args(["apply", "--check"]).arg(&patch).current_dir(repository()).output();
        let said = check.unwrap();
        assert!(said.status.success(), "{}: {}", patch.display(), String::from_utf8_lossy(&said.stderr));
    }
}

/// Builds the numbers at run time, because another test searches this file.
#[test]
fn evidence_that_is_missing_or_alone_is_found() {
    let number = |digits: &str| format!("P{digits}");
    let [first, second] = ["71", "72"].map(number);
    let design = |rows: &str| {
        format!("- **{first} One.**\n\n| Promise | Unit | Model | Simulation |\n|---|---|---|---|\n{rows}\n")
    };
    let files = BTreeMap::from([
        ("src/lib.rs".to_owned(), "fn it_holds() {}".to_owned()),
        ("tests/simulation/src/run.rs".to_owned(), format!("// {second}\n\"{first}: late\"")),
        ("tests/model/src/check.rs".to_owned(), "const KEPT: &str".to_owned()),
    ]);
    for (row, expected) in [
        (format!("| {first} | `it_holds` | `KEPT` | {first} |"), None),
        (format!("| {first} | `it_holds` | - | - |"), Some(format!("{first} rests on one kind alone"))),
        (format!("| {first} | `it_falls` | `KEPT` | - |"), Some(format!("{first}: Unit has no `it_falls`"))),
        (format!("| {first} | `it_holds` | - | {second} |"), Some(format!("{first}: Simulation has no {second}"))),
        (String::new(), Some(format!("{first} is in no row"))),
    ] {
        assert_eq!(unwatched(&design(&row), &files), Vec::from_iter(expected), "{row}");
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
