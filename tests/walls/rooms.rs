//! What the sources of a room may not contain, where no crate boundary keeps it out.

use crate::imports::uses;
use crate::table::{Check, MACHINE_CLOCKS, ROWS};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The code of a file without comments and without the tests at its end, and then each path that it imports.
fn code(text: &str) -> String {
    let code = text.split("#[cfg(test)]\n#[allow").next().unwrap_or_default();
    let code = code.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
    let mut code = lines.collect::<Vec<_>>().join("\n");
    for path in uses(&code) {
        code.push('\n');
        code.push_str(&path);
    }
    code
}

/// Adds the sources of a file or a folder.
fn sources(path: &Path, found: &mut BTreeMap<PathBuf, String>) {
    let is_test = path.file_stem().is_some_and(|stem| stem == "tests" || stem.to_string_lossy().ends_with("_tests"));
    if is_test {
        return;
    }
    if path.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            sources(&entry.unwrap().path(), found);
        }
    } else if path.extension().is_some_and(|extension| extension == "rs") {
        found.insert(path.to_owned(), code(&fs::read_to_string(path).unwrap()));
    }
}

fn sources_of(paths: &[&str]) -> BTreeMap<PathBuf, String> {
    let mut files = BTreeMap::new();
    for path in paths {
        let before = files.len();
        sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join(path), &mut files);
        assert!(files.len() > before, "{path} has no sources");
    }
    files
}

/// Returns what follows `text` at each place where a word begins with it. The lifetime `'static` is another word than
/// `static`.
fn after<'a>(code: &'a str, text: &'a str) -> impl Iterator<Item = &'a str> {
    code.match_indices(text).filter_map(move |(at, _)| {
        let is_inside = |c: char| c.is_alphanumeric() || c == '_' || c == '\'';
        let begins = !text.starts_with(char::is_alphabetic) || !code[..at].ends_with(is_inside);
        begins.then(|| &code[at + text.len()..])
    })
}

fn crossings(files: &BTreeMap<PathBuf, String>, forbidden: &[&str]) -> Vec<String> {
    let of = |(file, code): (&PathBuf, &String)| {
        let found = forbidden.iter().filter(|text| after(code, text).next().is_some());
        found.map(|text| format!("{}: {text}", file.display())).collect::<Vec<_>>()
    };
    files.iter().flat_map(of).collect()
}

/// Returns the files in which something else follows `begin` than `allowed`.
fn beyond(files: &BTreeMap<PathBuf, String>, begin: &str, allowed: &[&str]) -> Vec<String> {
    let is_allowed = |rest: &str| rest.starts_with('{') || allowed.iter().any(|allowed| rest.starts_with(allowed));
    let crosses = |code: &str| after(code, begin).any(|rest| !is_allowed(rest));
    files.iter().filter(|(_, code)| crosses(code)).map(|(file, _)| file.display().to_string()).collect()
}

/// Returns what crosses this wall.
fn found(files: &BTreeMap<PathBuf, String>, check: &Check) -> Vec<String> {
    match check {
        Check::Sources(_, forbidden) => crossings(files, forbidden),
        Check::Only(_, begin, allowed) => beyond(files, begin, allowed),
        _ => Vec::new(),
    }
}

#[test]
fn no_room_contains_what_its_wall_keeps_out() {
    for (row, clauses) in ROWS {
        for (clause, check) in
            clauses.iter().flat_map(|(clause, checks)| checks.iter().map(move |check| (clause, check)))
        {
            let (mut files, crossing) = match check {
                Check::Sources(paths, forbidden) => (sources_of(paths), forbidden.to_vec()),
                Check::Only(path, begin, _) => (sources_of(&[path]), vec![*begin]),
                _ => continue,
            };
            assert_eq!(found(&files, check), [""; 0], "{row}: {clause}");
            // each wall is found to be crossed
            for text in crossing {
                files.insert(PathBuf::from("crossing.rs"), code(&format!("fn crossing() {{ {text}x }}\n")));
                let found = found(&files, check);
                assert!(found.len() == 1 && found[0].starts_with("crossing.rs"), "{row}: {text}: {found:?}");
            }
        }
    }
}

/// Text that crosses a wall of `crates/core`, as it would be written.
#[test]
fn a_crossing_in_a_group_of_imports_or_of_another_type_is_found() {
    let core = ROWS.iter().find(|(row, _)| *row == "`crates/core`").unwrap();
    let checks = || core.1.iter().flat_map(|(_, checks)| *checks);
    for (crossing, is_found) in [
        ("use std::{env, fs};", true),
        ("use tokio::{net::TcpStream, time};", true),
        ("pub(crate) use std::{collections::BTreeMap, sync::{atomic::AtomicU64, Arc}};", true),
        ("static CALLS: AtomicU64 = AtomicU64::new(0);", true),
        ("static NAME: &str = \"x\";", true),
        ("struct S { lock: parking_lot::RwLock<u8> }", true),
        ("let now = tokio::time::Instant::now();", true),
        ("use std::{collections::BTreeMap, sync::Arc};", false),
        ("const NAME: &'static str = \"x\";", false),
        ("// use std::env;", false),
    ] {
        let files = BTreeMap::from([(PathBuf::from("crossing.rs"), code(crossing))]);
        assert_eq!(checks().any(|check| !found(&files, check).is_empty()), is_found, "{crossing}");
    }
}

#[test]
fn one_file_reads_the_wall_clock() {
    let mut files = sources_of(&["src", "crates"]);
    let clock = Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/providers/src/clock.rs");
    let read = files.remove(&clock).unwrap();
    assert!(after(&read, "SystemTime::now").next().is_some());
    assert_eq!(crossings(&files, MACHINE_CLOCKS), [""; 0]);
}
