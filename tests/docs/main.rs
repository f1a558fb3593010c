//! Tests of the documentation: commands run, the API server accepts manifests, and links have targets.

#![allow(clippy::unwrap_used)]

mod commands;
mod manifests;
mod names;
mod pages;
mod parameters;
mod programs;
mod promises;
mod templates;
mod words;

use pages::{blocks, pages, repository, title};
use std::fs;
use std::path::Path;
use testkit::chart::run;
use testkit::stand::process::Scratch;

/// Returns true for a known fence. Blocks that are neither run nor applied show output, a diff or a diagram.
fn is_known(fence: &str) -> bool {
    let (language, rest) = fence.split_once(' ').unwrap_or((fence, ""));
    match language {
        "sh" => rest.is_empty() || rest.starts_with("needs-"),
        "yaml" => rest.is_empty() || rest == "values" || rest.starts_with("part-of="),
        "console" | "text" | "diff" => rest.is_empty(),
        _ => false,
    }
}

#[test]
fn every_block_says_what_it_is_so_that_none_goes_untested() {
    for page in pages() {
        for block in blocks(&page) {
            assert!(is_known(&block.fence), "{}: {:?} isn't known here:\n{}", title(&page), block.fence, block.text);
        }
    }
}

#[test]
fn what_needs_azure_is_marked() {
    for page in pages() {
        for block in blocks(&page).iter().filter(|block| block.fence == "sh") {
            let azure = block.text.lines().any(|line| line.trim_start().starts_with("az "));
            assert!(!azure, "{}: mark the block `sh needs-azure`:\n{}", title(&page), block.text);
        }
    }
}

/// Anchor of a heading, as GitHub generates it.
fn anchor(heading: &str) -> String {
    let kept = heading.to_lowercase();
    let kept = kept.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

fn anchors(page: &Path) -> Vec<String> {
    let text = fs::read_to_string(page).unwrap();
    let headings = text.lines().filter(|line| line.starts_with('#'));
    headings.map(|line| anchor(line.trim_start_matches('#').trim())).collect()
}

#[test]
fn every_link_leads_to_a_file_and_to_a_heading_in_it() {
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if target.contains("://") {
                continue;
            }
            let (file, heading) = target.split_once('#').unwrap_or((target, ""));
            let there = if file.is_empty() { page.clone() } else { page.parent().unwrap().join(file) };
            assert!(there.exists(), "{}: {target}", title(&page));
            let headings = if heading.is_empty() { Vec::new() } else { anchors(&there) };
            assert!(heading.is_empty() || headings.contains(&heading.to_owned()), "{}: {target}", title(&page));
        }
    }
}

/// Checks that the Makefile has each target that a page names as `make X`.
#[test]
fn every_make_target_that_a_page_names_is_there() {
    let makefile = fs::read_to_string(repository().join("Makefile")).unwrap();
    for page in pages() {
        let mut named: Vec<String> =
            blocks(&page).into_iter().filter(|block| block.fence == "sh").map(|b| b.text).collect();
        named.extend(pages::inline(&page));
        let lines = named.iter().flat_map(|text| text.lines());
        for target in lines.filter_map(|line| line.trim().strip_prefix("make ")?.split_whitespace().next()) {
            assert!(makefile.contains(&format!("\n{target}:")), "{}: make {target}", title(&page));
        }
    }
}

#[test]
fn make_demo_says_what_it_takes_before_it_builds() {
    let plan = run("make".as_ref(), &["-n", "demo"], "").unwrap();
    let places: Vec<_> =
        ["testkit/demo-takes.sh", "controlplane/build.sh", " build --workspace"].map(|step| plan.find(step)).into();
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{places:?} in {plan}");

    let scratch = Scratch::new("vto-demo-takes-").unwrap();
    let target = scratch.file("target");
    let cache = format!("VTO_CACHE={}", scratch.file("cache").display());
    let takes = |environment: &[&str], built: &Path| {
        let args = [environment, &["tests/testkit/demo-takes.sh", built.to_str().unwrap()]].concat();
        run("env".as_ref(), &args, "").unwrap()
    };
    let first = takes(&["-u", "KUBEBUILDER_ASSETS", &cache], &target);
    for part in ["time ", "memory ", "disk ", "ports ", "minutes for a Kubernetes control plane", "for the operator"] {
        assert!(first.contains(part), "{part}: {first}");
    }
    assert!(!scratch.file("cache").exists(), "it only asks");
    // with everything built
    fs::create_dir_all(target.join("debug")).unwrap();
    std::os::unix::fs::symlink("/bin/true", target.join("debug/demo")).unwrap();
    let later = takes(&[], &target);
    assert!(!later.contains("for the operator") && later.contains("ports "), "{later}");
}
