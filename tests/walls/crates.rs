//! What a crate may not depend on, by way of others too.

use crate::table::{Check, ROWS};
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// Returns each package of the table, with the crates that must not be in its tree of dependencies.
fn walls() -> BTreeMap<&'static str, Vec<&'static str>> {
    let mut walls: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for check in ROWS.iter().flat_map(|(_, clauses)| *clauses).flat_map(|(_, checks)| *checks) {
        if let Check::Crates(package, forbidden) = check {
            walls.entry(*package).or_default().extend(*forbidden);
        }
    }
    walls
}

/// The crates in the tree of dependencies of `package`, without those of its tests.
fn tree(package: &str) -> BTreeSet<String> {
    let mut command = Command::new(env!("CARGO"));
    command.args(["tree", "--locked", "--edges", "normal", "--prefix", "none", "--package", package]);
    let output = command.current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).unwrap();
    lines.lines().filter_map(|line| Some(line.split_whitespace().next()?.to_owned())).collect()
}

fn crossings(tree: &BTreeSet<String>, forbidden: &[&str]) -> Vec<String> {
    forbidden.iter().filter(|name| tree.contains(**name)).map(ToString::to_string).collect()
}

#[test]
fn no_crate_depends_on_what_its_wall_keeps_out() {
    for (package, forbidden) in walls() {
        let mut tree = tree(package);
        tree.remove(package);
        assert_eq!(crossings(&tree, &forbidden), [""; 0], "{package}");
        // a wall that is crossed is found
        tree.insert(forbidden[0].to_owned());
        assert_eq!(crossings(&tree, &forbidden), [forbidden[0]], "{package}");
    }
}

/// Crates that nothing in the workspace uses any more.
const GONE: [&str; 1] = ["nu-ansi-term"];

/// A name that is in no tree would forbid nothing.
#[test]
fn each_name_is_that_of_a_crate_in_use() {
    let lock = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.lock")).unwrap();
    for (package, forbidden) in walls() {
        for name in [package].iter().chain(&forbidden) {
            assert!(lock.contains(&format!("name = \"{name}\"\n")) != GONE.contains(name), "{name}");
        }
    }
}
