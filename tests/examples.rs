//! Checks that the API server accepts the files of deploy/examples unchanged, and that provider pages show them.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use testkit::stand::{shared, yaml};

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(repository().join(path)).unwrap()
}

/// Returns the files of a folder with this extension in alphabetical order.
fn files(folder: &str, extension: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(repository().join(folder)).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries.filter(|path| path.extension().is_some_and(|found| found == extension)).collect();
    files.sort();
    files
}

#[tokio::test]
async fn the_api_server_takes_each_example_as_it_is() {
    let plane = shared().await.unwrap();
    let client = plane.client().unwrap();
    let mut examples = files("deploy/examples", "yaml");
    assert!(!examples.is_empty());
    examples.extend(files("deploy/examples/platforms", "yaml"));
    examples.push(repository().join("deploy/quick-start.yaml"));
    for path in examples {
        let example = fs::read_to_string(&path).unwrap();
        let objects = yaml::parse(&example).unwrap();
        let namespaces: BTreeSet<_> = objects.iter().filter_map(|object| object.metadata.namespace.clone()).collect();
        for namespace in &namespaces {
            let home = format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {namespace}}}\n");
            yaml::apply(&client, namespace, &home).await.unwrap();
        }
        // unknown fields are errors, as with kubectl; objects without a namespace must be cluster-scoped
        let applied = yaml::apply(&client, "named-by-nobody", &example).await;
        assert!(applied.is_ok(), "{}: {applied:?}", path.display());
    }
}

fn assert_shows(page: &Path, example: &str) {
    let yaml = read(example);
    let shown = fs::read_to_string(page).unwrap().contains(&format!("```yaml\n{yaml}```\n"));
    assert!(shown, "copy {example} into {}", page.display());
}

#[test]
fn the_page_of_a_provider_shows_its_example_as_it_is() {
    let mut shown = 0;
    for page in files("docs/providers", "md") {
        let name = page.file_stem().unwrap().to_str().unwrap();
        // any-platform is a guide for the providers that declare their API
        if name != "README" && name != "any-platform" {
            assert_shows(&page, &format!("deploy/examples/{name}.yaml"));
            shown += 1;
        }
    }
    assert!(shown > 0);
}

#[test]
fn the_readme_shows_the_quick_start_as_it_is() {
    assert_shows(&repository().join("README.md"), "deploy/quick-start.yaml");
}
