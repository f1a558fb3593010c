//! The documentation, taken at its word: its commands run and its links lead somewhere.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use testkit::chart::{folder, run, tool};
use testkit::stand::{ControlPlane, ControlPlaneOptions};

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn pages() -> Vec<PathBuf> {
    let mut pages =
        vec![repository().join("README.md"), repository().join("CONTRIBUTING.md"), folder().join("README.md")];
    for inside in ["docs", "docs/providers", "docs/runbooks"] {
        pages.extend(fs::read_dir(repository().join(inside)).unwrap().map(|file| file.unwrap().path()));
    }
    pages.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    pages.sort();
    pages
}

/// The blocks of a page by what stands behind their fence.
fn blocks(page: &Path, language: &str) -> Vec<String> {
    let text = fs::read_to_string(page).unwrap();
    let mut found = Vec::new();
    let mut open: Option<(bool, String)> = None;
    for line in text.lines() {
        match (line.trim_start().strip_prefix("```"), open.take()) {
            (Some(_), Some((wanted, block))) => found.extend(wanted.then_some(block)),
            (Some(fence), None) => open = Some((fence == language, String::new())),
            (None, Some((wanted, block))) => open = Some((wanted, block + line + "\n")),
            (None, None) => {}
        }
    }
    found
}

/// Quick start and the Arc page, one after the other on a cluster that nobody has touched.
#[tokio::test(flavor = "multi_thread")]
async fn the_commands_of_the_quick_start_and_of_the_arc_page_do_what_they_say() {
    let options = ControlPlaneOptions { install: false, ..ControlPlaneOptions::default() };
    let plane = ControlPlane::start(options).await.unwrap();
    let paths = [tool("helm").unwrap().parent().unwrap().to_owned(), plane.binaries().to_owned()];
    let paths = paths.map(|path| path.display().to_string()).join(":");
    let mut ran = 0;
    for page in ["docs/quick-start.md", "docs/arc.md"] {
        for block in blocks(&repository().join(page), "sh") {
            let script =
                format!("export PATH={paths}:$PATH KUBECONFIG={}\nset -eu\n{block}", plane.kubeconfig_path().display());
            run("bash".as_ref(), &["-s"], &script).unwrap_or_else(|error| panic!("{page}:\n{block}\n{error:#}"));
            ran += 1;
        }
    }
    assert_eq!(ran, 5, "blocks marked sh");
}

#[test]
fn what_needs_azure_is_marked() {
    for page in pages() {
        for block in blocks(&page, "sh") {
            let azure = block.lines().any(|line| line.trim_start().starts_with("az "));
            assert!(!azure, "{}: mark the block `sh needs-azure`:\n{block}", page.display());
        }
    }
}

#[test]
fn every_link_to_a_file_leads_to_one() {
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = target.split('#').next().unwrap();
            let elsewhere = target.contains("://") || file.is_empty();
            assert!(elsewhere || page.parent().unwrap().join(file).exists(), "{}: {target}", page.display());
        }
    }
}
