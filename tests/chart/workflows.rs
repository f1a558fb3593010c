//! The workflows of `.github/`. `make lint` runs actionlint over them; these are the rules that it doesn't have.

use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use testkit::chart::{publisher, run};
use testkit::stand::controlplane::repository;
use testkit::stand::process::Scratch;

fn workflows() -> BTreeMap<String, String> {
    let files = fs::read_dir(repository().join(".github/workflows")).unwrap().map(|file| file.unwrap());
    files.map(|file| (file.file_name().into_string().unwrap(), fs::read_to_string(file.path()).unwrap())).collect()
}

/// Returns the lines that take an action by a name that can move.
fn unpinned(workflow: &str) -> Vec<&str> {
    let pinned = |line: &&str| {
        let Some((action, version)) = line.split_once(" # v") else { return false };
        let digest = action.rsplit_once('@').map_or("", |(_, digest)| digest);
        digest.len() == 40 && digest.bytes().all(|byte| byte.is_ascii_hexdigit()) && version.contains('.')
    };
    workflow.lines().filter(|line| line.contains("uses:")).filter(|line| !pinned(line)).collect()
}

#[test]
fn every_action_is_pinned_by_its_commit_and_names_its_version() {
    for (name, text) in workflows() {
        assert!(text.contains("uses: actions/checkout@"), "{name}");
        assert!(unpinned(&text).is_empty(), "{name}: {:?}", unpinned(&text));
    }
    assert_eq!(unpinned("- uses: actions/checkout@v7 # v7.0.1").len(), 1);
    assert_eq!(unpinned("- uses: actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1").len(), 1);
}

#[test]
fn a_workflow_may_read_and_only_the_release_may_write() {
    for (name, text) in workflows() {
        let workflow: Value = serde_yaml_ng::from_str(&text).unwrap();
        assert_eq!(workflow["permissions"], serde_json::json!({"contents": "read"}), "{name}");
        for (job, content) in workflow["jobs"].as_object().unwrap() {
            let more = content["permissions"].is_object();
            assert!(!more || name == "release.yml", "{name}: {job} has permissions of its own");
            assert!(content["timeout-minutes"].is_u64(), "{name}: {job} may hang");
        }
        assert!(!text.contains("pull_request_target"), "{name} runs a stranger's code with this repository's rights");
    }
}

#[test]
fn actionlint_takes_every_workflow_and_finds_what_is_wrong() {
    let actionlint = publisher("actionlint").unwrap();
    let scratch = Scratch::new("vto-workflow-").unwrap();
    for (name, text) in workflows() {
        run(&actionlint, &["-"], &text).unwrap_or_else(|error| panic!("{name}: {error:#}"));
        let broken = scratch.write(&name, &text.replacen("runs-on:", "run-on:", 1)).unwrap();
        assert!(run(&actionlint, &[broken.to_str().unwrap()], "").is_err(), "{name}");
    }
}

/// What `make lint` and `make image` leave out where it is missing isn't missing there.
#[test]
fn the_workflows_install_what_make_would_leave_out() {
    let all = workflows();
    for (name, what) in [
        ("ci.yml", "cargo install cargo-deny --version "),
        ("nightly.yml", "cargo install cargo-deny --version "),
        ("nightly.yml", "cargo deny check"),
        ("release.yml", "rustup target add aarch64-unknown-linux-gnu"),
        ("release.yml", "gcc-aarch64-linux-gnu"),
    ] {
        assert!(all[name].contains(what), "{name}: {what}");
    }
}

/// Each lock file of a program is kept up to date.
#[test]
fn dependabot_reads_every_lock_file() {
    let text = fs::read_to_string(repository().join(".github/dependabot.yml")).unwrap();
    let config: Value = serde_yaml_ng::from_str(&text).unwrap();
    let updates = config["updates"].as_array().unwrap().iter().filter(|update| update["package-ecosystem"] == "cargo");
    let named: Vec<&str> = updates
        .flat_map(|update| update["directories"].as_array().unwrap())
        .map(|name| name.as_str().unwrap())
        .collect();
    let locks = run("git".as_ref(), &["ls-files", "--", "*Cargo.lock"], "").unwrap();
    let folders = locks.lines().map(|lock| format!("/{}", lock.trim_end_matches("Cargo.lock").trim_end_matches('/')));
    for folder in folders {
        assert!(named.contains(&folder.as_str()), "{folder}: {named:?}");
    }
}

#[test]
fn every_make_target_of_a_workflow_is_there() {
    let makefile = fs::read_to_string(repository().join("Makefile")).unwrap();
    let mut named = 0;
    for (name, text) in workflows() {
        for target in text.split("make ").skip(1).filter_map(|rest| rest.split_whitespace().next()) {
            assert!(makefile.contains(&format!("\n{target}:")), "{name}: make {target}");
            named += 1;
        }
    }
    assert!(named >= 5, "{named}");
}
