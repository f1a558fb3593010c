//! What Artifact Hub shows of the CRDs and of the changes, generated into Chart.yaml.

use std::fmt::Write as _;
use std::fs;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::folder;
use crate::stand::controlplane::repository;

/// The examples, in the order of their cards.
const EXAMPLES: [&str; 2] = ["video-indexer", "own-account"];

/// The entries of the changelog's first release, each with its kind.
fn changes(changelog: &str) -> Vec<Value> {
    let mut found = Vec::new();
    let (mut releases, mut kind) = (0, None);
    for line in changelog.lines().map(str::trim) {
        if line.starts_with("## ") {
            (releases, kind) = (releases + 1, None);
        } else if let Some(section) = line.strip_prefix("### ") {
            let section = section.to_lowercase();
            let known = ["added", "changed", "deprecated", "removed", "fixed", "security"];
            kind = known.contains(&section.as_str()).then_some(section);
        } else if releases == 1 && !line.is_empty() && !line.ends_with(':') {
            let description = line.trim_start_matches("- ");
            found.extend(kind.iter().map(|kind| json!({"kind": kind, "description": description})));
        }
    }
    found
}

/// The annotations `artifacthub.io/changes`, `artifacthub.io/crds` and `artifacthub.io/crdsExamples`, as lines of
/// Chart.yaml.
///
/// # Errors
///
/// Fails if a definition or an example is no YAML.
pub fn generated() -> Result<String> {
    let mut crds = Vec::new();
    let mut names: Vec<_> = fs::read_dir(folder().join("definitions"))?.collect::<std::io::Result<_>>()?;
    names.sort_by_key(fs::DirEntry::path);
    for file in names {
        let crd: Value = serde_yaml_ng::from_str(&fs::read_to_string(file.path())?)?;
        let version = &crd["spec"]["versions"][0];
        crds.push(json!({
            "kind": crd["spec"]["names"]["kind"], "version": version["name"], "name": crd["metadata"]["name"],
            "displayName": crd["spec"]["names"]["kind"],
            "description": version.pointer("/schema/openAPIV3Schema/description").context("a CRD's description")?,
        }));
    }
    let mut examples: Vec<Value> = Vec::new();
    for name in EXAMPLES {
        let file = repository().join(format!("deploy/examples/{name}.yaml"));
        for document in serde_yaml_ng::Deserializer::from_str(&fs::read_to_string(file)?) {
            let object: Value = serde::Deserialize::deserialize(document)?;
            // one example of each kind
            let ours = object["apiVersion"].as_str().is_some_and(|version| version.starts_with("videotoken.dev/"));
            if ours && !examples.iter().any(|other| other["kind"] == object["kind"]) {
                examples.push(object);
            }
        }
    }
    let mut lines = String::new();
    let changes = changes(&fs::read_to_string(repository().join("CHANGELOG.md"))?);
    for (name, value) in [("changes", changes), ("crds", crds), ("crdsExamples", examples)] {
        writeln!(lines, "  artifacthub.io/{name}: |")?;
        for line in serde_yaml_ng::to_string(&value)?.lines() {
            writeln!(lines, "    {line}")?;
        }
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_those_of_the_newest_release_by_their_kind() {
        let changelog = "# Changelog\n\n## 2\n\nWords.\n\n### Added\n\n- A.\n- B.\n\n### Fixed\n\nThese:\n\n- C.\n\nD.\n\n\
                         ### Upgrade\n\nE.\n\n## 1\n\n### Added\n\n- F.\n";
        let found = changes(changelog)
            .iter()
            .map(|change| format!("{} {}", change["kind"], change["description"]))
            .collect::<Vec<_>>();
        assert_eq!(found.join(", ").replace('"', ""), "added A., added B., fixed C., fixed D.");
    }
}
