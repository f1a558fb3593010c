//! JSON schemas for kubeconform: of each supported Kubernetes from its own OpenAPI document, and of our kinds from their
//! CRDs. Strict: a field that no schema knows is an error.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

use super::{run, tool};
use crate::stand::controlplane::{built, repository};

const DEFINITIONS: &str = "#/definitions/";

/// The supported Kubernetes versions, oldest first: minor version, and its OpenAPI document.
pub fn kubernetes() -> Result<Vec<(String, Value)>> {
    let mut found = Vec::new();
    for file in std::fs::read_dir(built("tests/tools/openapi.sh")?)? {
        let path = file?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            let minor = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            found.push((minor, serde_json::from_slice(&std::fs::read(&path)?)?));
        }
    }
    found.sort_by(|(one, _), (other, _)| one.cmp(other));
    Ok(found)
}

/// Writes a folder of schemas for kubeconform: the OpenAPI document's kinds of these names, and ours.
pub fn write(folder: &Path, openapi: &Value, kinds: &BTreeSet<String>) -> Result<()> {
    std::fs::create_dir_all(folder)?;
    let definitions = openapi["definitions"].as_object().context("no definitions")?;
    for (name, definition) in definitions {
        for gvk in definition["x-kubernetes-group-version-kind"].as_array().into_iter().flatten() {
            let text = |field: &str| gvk[field].as_str().unwrap_or_default();
            if kinds.contains(text("kind")) {
                let schema = standalone(definitions, name);
                std::fs::write(folder.join(file(text("group"), text("version"), text("kind"))), schema.to_string())?;
            }
        }
    }
    for (group, version, kind, schema) in own()? {
        std::fs::write(folder.join(file(&group, &version, &kind)), schema.to_string())?;
    }
    Ok(())
}

/// Runs kubeconform over manifests with the schemas of `folder`; these kinds are checked elsewhere. Returns its summary.
pub fn conform(folder: &Path, manifests: &[PathBuf], elsewhere: &[&str]) -> Result<String> {
    let schemas = format!("{}/{{{{.ResourceKind}}}}{{{{.KindSuffix}}}}.json", folder.display());
    let elsewhere = elsewhere.join(",");
    let mut args = vec!["-strict", "-summary", "-n", "1", "-schema-location", &schemas, "-skip", &elsewhere];
    let paths: Vec<String> = manifests.iter().map(|path| path.display().to_string()).collect();
    args.extend(paths.iter().map(String::as_str));
    run(&tool("kubeconform")?, &args, "")
}

/// As kubeconform names it: the kind, the first part of the group where there is one, and the version.
fn file(group: &str, version: &str, kind: &str) -> String {
    let group = group.split('.').next().filter(|group| !group.is_empty());
    let parts = [Some(kind), group, Some(version)];
    format!("{}.json", parts.into_iter().flatten().collect::<Vec<_>>().join("-").to_lowercase())
}

/// One definition with all that it refers to.
fn standalone(definitions: &Map<String, Value>, name: &str) -> Value {
    let mut needed = Map::new();
    let mut open = vec![name.to_owned()];
    while let Some(name) = open.pop() {
        if needed.contains_key(&name) {
            continue;
        }
        let mut schema = definitions.get(&name).cloned().unwrap_or(json!(false));
        strict(&mut schema);
        references(&schema, &mut open);
        if name.ends_with(".Quantity") {
            schema = json!({"type": ["string", "number"]});
        }
        needed.insert(name, schema);
    }
    json!({"$ref": format!("{DEFINITIONS}{name}"), "definitions": needed})
}

/// No field beside the named ones; and what OpenAPI says in its own words, in JSON Schema's.
fn strict(schema: &mut Value) {
    let Value::Object(members) = schema else { return };
    let either = members.get("format").is_some_and(|format| format == "int-or-string");
    if either || members.contains_key("x-kubernetes-int-or-string") {
        members.insert("type".to_owned(), json!(["string", "integer"]));
    }
    let open =
        members.contains_key("additionalProperties") || members.contains_key("x-kubernetes-preserve-unknown-fields");
    if members.contains_key("properties") && !open {
        members.insert("additionalProperties".to_owned(), false.into());
    }
    for (word, inner) in members.iter_mut() {
        match (word.as_str(), inner) {
            ("properties", Value::Object(properties)) => properties.values_mut().for_each(strict),
            ("allOf" | "anyOf" | "oneOf", Value::Array(schemas)) => schemas.iter_mut().for_each(strict),
            ("items" | "additionalProperties" | "not", inner) => strict(inner),
            _ => {}
        }
    }
}

fn references(schema: &Value, into: &mut Vec<String>) {
    match schema {
        Value::Object(members) => {
            if let Some(name) = members.get("$ref").and_then(Value::as_str).and_then(|to| to.strip_prefix(DEFINITIONS))
            {
                into.push(name.to_owned());
            }
            members.values().for_each(|member| references(member, into));
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, into)),
        _ => {}
    }
}

/// Our kinds, from `crds/`: group, version, kind, schema.
fn own() -> Result<Vec<(String, String, String, Value)>> {
    let mut found = Vec::new();
    for file in std::fs::read_dir(repository().join("crds"))? {
        let crd: Value = serde_yaml_ng::from_str(&std::fs::read_to_string(file?.path())?)?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        for version in crd["spec"]["versions"].as_array().into_iter().flatten() {
            let mut schema = version["schema"]["openAPIV3Schema"].clone();
            schema["properties"]["apiVersion"] = json!({"type": "string"});
            schema["properties"]["kind"] = json!({"type": "string"});
            schema["properties"]["metadata"] = json!({"type": "object"});
            strict(&mut schema);
            schema["properties"]["metadata"] = json!({"type": "object"});
            found.push((
                text(&crd["spec"]["group"]),
                text(&version["name"]),
                text(&crd["spec"]["names"]["kind"]),
                schema,
            ));
        }
    }
    Ok(found)
}
