//! What Artifact Hub shows of the CRDs, generated into Chart.yaml.

use std::fmt::Write as _;
use std::fs;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::folder;
use crate::stand::controlplane::repository;

/// The examples, in the order of their cards.
const EXAMPLES: [&str; 2] = ["video-indexer", "own-account"];

/// The annotations `artifacthub.io/crds` and `artifacthub.io/crdsExamples`, as lines of Chart.yaml.
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
    for (name, value) in [("crds", crds), ("crdsExamples", examples)] {
        writeln!(lines, "  artifacthub.io/{name}: |")?;
        for line in serde_yaml_ng::to_string(&value)?.lines() {
            writeln!(lines, "    {line}")?;
        }
    }
    Ok(lines)
}
