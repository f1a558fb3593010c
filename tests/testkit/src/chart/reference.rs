//! The reference of the objects, in Markdown, from the CRDs' schemas.

use std::fmt::Write as _;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::stand::controlplane::repository;

/// The whole of `docs/reference/api.md`.
pub fn markdown() -> Result<String> {
    let mut text =
        "# Reference\n\nGenerated from `crds/` by `make chart`. Group `videotoken.dev`, version `v1alpha1`.\n"
            .to_owned();
    for plural in ["videoaccesstokens", "tokenproviders", "clustertokenproviders"] {
        let path = repository().join(format!("crds/videotoken.dev_{plural}.yaml"));
        let crd: Value = serde_yaml_ng::from_str(&std::fs::read_to_string(path)?)?;
        let names = &crd["spec"]["names"];
        let version = &crd["spec"]["versions"][0];
        let schema = &version["schema"]["openAPIV3Schema"];
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let short = names["shortNames"].as_array().into_iter().flatten().map(word).collect::<Vec<_>>().join("`, `");
        write!(text, "\n## {}\n\n", word(&names["kind"]))?;
        writeln!(
            text,
            "{} `kubectl get {plural}`, short `{short}`; scope {}.\n",
            line(schema),
            word(&crd["spec"]["scope"])
        )?;
        text.push_str("| Field | Type | Description |\n|---|---|---|\n");
        for part in ["spec", "status"] {
            let inner = schema["properties"].get(part).context("a CRD without spec or status")?;
            fields(&mut text, part, inner)?;
        }
    }
    Ok(text)
}

fn fields(text: &mut String, path: &str, schema: &Value) -> Result<()> {
    let required: Vec<&str> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        let needed = if required.contains(&name.as_str()) { ", required" } else { "" };
        writeln!(text, "| `{path}` | {}{needed} | {} |", kind(field), cell(field))?;
        fields(text, &path, field)?;
        fields(text, &format!("{path}[]"), &field["items"])?;
        fields(text, &format!("{path}.NAME"), &field["additionalProperties"])?;
    }
    Ok(())
}

fn kind(field: &Value) -> String {
    let plain = |schema: &Value| schema["type"].as_str().map_or_else(|| "integer or string".to_owned(), str::to_owned);
    let mut text = match field["type"].as_str() {
        Some("array") => format!("list of {}", plain(&field["items"])),
        Some("object") if field["additionalProperties"].is_object() => {
            format!("map of {}", plain(&field["additionalProperties"]))
        }
        _ => plain(field),
    };
    if let Some(values) = field["enum"].as_array() {
        let values: Vec<String> =
            values.iter().map(|value| format!("`{}`", value.as_str().unwrap_or_default())).collect();
        text = values.join(", ");
    }
    if let Some(default) = field.get("default") {
        text = format!("{text}, default `{default}`");
    }
    text
}

/// A description in a cell of a table.
fn cell(schema: &Value) -> String {
    let text = line(schema);
    if text.is_empty() { "-".to_owned() } else { text }
}

/// A description on one line, fit for a table.
fn line(schema: &Value) -> String {
    let words: Vec<&str> = schema["description"].as_str().unwrap_or_default().split_whitespace().collect();
    words.join(" ").replace('|', "\\|")
}
