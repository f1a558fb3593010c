//! Checks that the test programs and files that the documentation names exist.

use crate::pages::{blocks, inline, pages, repository, title};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// Test programs by package.
type Programs = BTreeMap<String, BTreeSet<String>>;

/// Returns the test programs of the workspace.
fn programs() -> Programs {
    let mut metadata = Command::new(env!("CARGO"));
    metadata.args(["metadata", "--offline", "--no-deps", "--format-version", "1"]).current_dir(repository());
    let metadata: serde_json::Value = serde_json::from_slice(&metadata.output().unwrap().stdout).unwrap();
    let of = |package: &serde_json::Value| {
        let targets = package["targets"].as_array().unwrap().iter();
        let tests = targets.filter(|target| target["kind"][0] == "test");
        let names = tests.map(|target| target["name"].as_str().unwrap().to_owned());
        (package["name"].as_str().unwrap().to_owned(), names.collect())
    };
    metadata["packages"].as_array().unwrap().iter().map(of).collect()
}

/// Returns what `cargo test` wouldn't find of this command.
fn missing(command: &str, programs: &Programs) -> Vec<String> {
    let words: Vec<_> = command.split_whitespace().collect();
    let Some(at) = words.windows(2).position(|two| two == ["cargo", "test"]) else { return Vec::new() };
    let words: Vec<_> = words[at..].iter().take_while(|word| !["--", "#"].contains(word)).collect();
    let after = |flag: &str| words.windows(2).filter(|two| *two[0] == flag).map(|two| *two[1]).collect::<Vec<_>>();
    let packages = if words.contains(&&"--workspace") {
        programs.keys().map(String::as_str).collect()
    } else {
        // Without a package, cargo takes the one in the root.
        let named = after("-p");
        if named.is_empty() { vec![env!("CARGO_PKG_NAME")] } else { named }
    };
    let found = |name: &str| packages.iter().any(|package| programs.get(*package).is_some_and(|of| of.contains(name)));
    after("--test").into_iter().filter(|name| !found(name)).map(str::to_owned).collect()
}

/// Returns the pages, and those that are beside the tests.
fn all_pages() -> Vec<PathBuf> {
    let mut all = pages();
    all.extend(["tests/README.md", "tests/testkit/README.md"].map(|page| repository().join(page)));
    all
}

#[test]
fn each_test_program_that_a_page_names_is_there() {
    let programs = programs();
    let mut named = 0;
    for page in all_pages() {
        let mut texts = inline(&page);
        texts.extend(blocks(&page).into_iter().map(|block| block.text));
        for command in texts.iter().flat_map(|text| text.lines()) {
            assert_eq!(missing(command, &programs), [""; 0], "{}: {command}", title(&page));
            named += usize::from(command.contains("cargo test"));
        }
    }
    assert!(named > 5, "{named}");
}

#[test]
fn a_test_program_of_another_package_is_missed() {
    let programs = programs();
    for (command, expected) in [
        ("cargo test --workspace --test plugin", None),
        ("cargo test -p videotoken --test plugin", None),
        ("UPDATE=1 cargo test --quiet --test crds # --test other", None),
        ("cargo test --test plugin", Some("plugin")),
        ("cargo test --workspace --test nowhere", Some("nowhere")),
        ("cargo test -p testkit --test crds", Some("crds")),
    ] {
        assert_eq!(missing(command, &programs), Vec::from_iter(expected.map(str::to_owned)), "{command}");
    }
}

/// Files of the crates are named from the root, and those beside the page from there.
#[test]
fn each_place_in_the_table_of_the_tests_is_there() {
    let page = fs::read_to_string(repository().join("tests/README.md")).unwrap();
    let table = page.lines().skip_while(|line| !line.starts_with("| Folder or file |")).skip(2);
    let cells: Vec<_> = table.map_while(|line| line.strip_prefix("| ")?.split(" | ").next()).collect();
    let places: Vec<_> = cells.iter().flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect();
    assert!(places.len() > 20, "{places:?}");
    for place in places {
        let [beside, below] = [repository().join("tests").join(place), repository().join(place)];
        assert!(beside.exists() || below.exists(), "{place}");
    }
}

#[test]
fn the_way_to_a_token_begins_at_main_and_has_at_most_12_files() {
    let page = fs::read_to_string(repository().join("CONTRIBUTING.md")).unwrap();
    let (_, way) = page.split_once("\n### From `main` to an issued token\n").unwrap();
    let steps = way.split("\n#").next().unwrap().lines().filter(|line| line.starts_with(|c: char| c.is_ascii_digit()));
    // in each step, the file; the words of a step name no other
    let files: Vec<Vec<_>> =
        steps.map(|step| step.split('`').skip(1).step_by(2).filter(|word| word.contains('/')).collect()).collect();
    assert!(files.len() <= 12 && files[0] == ["src/main.rs"], "{files:?}");
    for file in &files {
        assert!(file.len() == 1 && repository().join(file[0]).is_file(), "{file:?}");
    }
}
