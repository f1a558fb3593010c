//! `crds/` is what the types say. `UPDATE=1 cargo test --test crds` rewrites it.

#![allow(clippy::unwrap_used)]

use std::{collections::BTreeSet, env, fs, path::Path};
use video_token_operator::crds;

#[test]
fn the_committed_crds_are_those_of_the_types() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("crds");
    let files = crds::files();
    if env::var_os("UPDATE").is_some() {
        fs::create_dir_all(&folder).unwrap();
        for (name, content) in &files {
            fs::write(folder.join(name), content).unwrap();
        }
    }
    for (name, content) in &files {
        let committed = fs::read_to_string(folder.join(name)).unwrap_or_default();
        assert!(committed == *content, "crds/{name} differs from the types: run `UPDATE=1 cargo test --test crds`");
    }
    assert_eq!(fs::read_dir(&folder).unwrap().count(), files.len(), "crds/ holds a file that no type stands for");
}

/// The API server reads the patterns as RE2, and `videotoken check` by the crate regex, which takes `--`, `&&` and `~~`
/// within brackets for operators on sets.
#[test]
fn no_pattern_of_a_rule_means_something_else_to_another_library() {
    let crds: String = crds::files().into_iter().map(|(_, content)| content).collect();
    let patterns: BTreeSet<_> = crds.split("matches('").skip(1).filter_map(|rest| rest.split("')").next()).collect();
    assert!(patterns.len() > 20, "{patterns:?}");
    for pattern in patterns {
        assert!(!["--", "&&", "~~"].iter().any(|operator| pattern.contains(operator)), "{pattern}");
    }
}
