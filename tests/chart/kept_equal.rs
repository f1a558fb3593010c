//! What is made from something else, and committed: `make chart` writes all of it anew.

use std::collections::BTreeMap;
use std::path::Path;
use std::{env, fs};
use testkit::chart::{folder, manifests, reference, values};

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The file is as it should be; with UPDATE=1 it is made so.
fn holds(path: &Path, content: &str) {
    if env::var_os("UPDATE").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    let committed = fs::read_to_string(path).unwrap_or_default();
    assert!(committed == content, "{} is not what it is made from: run `make chart`", path.display());
}

fn file_names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|file| file.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn the_charts_crds_are_those_of_the_types() {
    let mut names: Vec<String> = Vec::new();
    for (name, content) in video_token_operator::crds::files() {
        holds(&folder().join("definitions").join(&name), &content);
        names.push(name);
    }
    names.sort();
    assert_eq!(file_names(&folder().join("definitions")), names);
}

#[test]
fn the_readmes_table_is_that_of_the_values() {
    let readme = folder().join("README.md");
    let table = values::table(&fs::read_to_string(folder().join("values.yaml")).unwrap()).unwrap();
    holds(&readme, &values::replaced(&fs::read_to_string(&readme).unwrap(), "values", &table).unwrap());
}

#[test]
fn the_reference_is_that_of_the_crds() {
    holds(&repository().join("docs/reference/api.md"), &reference::markdown().unwrap());
}

#[test]
fn the_plain_manifests_are_what_the_chart_renders() {
    let files: BTreeMap<_, _> = manifests::files().unwrap();
    for (name, content) in &files {
        holds(&repository().join("deploy").join(name), content);
    }
    let kustomization = fs::read_to_string(repository().join("deploy/kustomization.yaml")).unwrap();
    for name in files.keys() {
        assert!(kustomization.contains(&format!("- {name}\n")), "deploy/kustomization.yaml lacks {name}");
    }
}

#[test]
fn the_chart_has_the_version_of_the_program() {
    let chart = fs::read_to_string(folder().join("Chart.yaml")).unwrap();
    assert!(chart.contains(concat!("\nappVersion: ", env!("CARGO_PKG_VERSION"), "\n")), "appVersion in {chart}");
}
