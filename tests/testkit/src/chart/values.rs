//! The table of values in the chart's README, made from the comments of `values.yaml`.
//!
//! A comment that begins with `# --` describes the key below it; its further lines begin with `#`. Keys without one are
//! described by a key above or below them.

use std::fmt::Write as _;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// One described key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// Its path, with dots.
    pub path: String,
    /// What the comment says.
    pub text: String,
    /// Its default as JSON.
    pub default: String,
}

/// The described keys in their order. An error names the first leaf that nothing describes.
pub fn described(yaml: &str) -> Result<Vec<Described>> {
    let values: Value = serde_yaml_ng::from_str(yaml).context("values.yaml")?;
    let mut found: Vec<Described> = Vec::new();
    let mut path: Vec<(usize, String)> = Vec::new();
    let mut comment: Option<String> = None;
    for line in yaml.lines() {
        let text = line.trim_start();
        if let Some(begun) = text.strip_prefix("# -- ") {
            comment = Some(begun.to_owned());
        } else if let (Some(more), Some(comment)) = (text.strip_prefix("# "), comment.as_mut()) {
            comment.push(' ');
            comment.push_str(more);
        } else if let Some((key, _)) = text.split_once(':').filter(|(key, _)| is_key(key)) {
            let indent = line.len() - text.len();
            path.retain(|(outer, _)| *outer < indent);
            path.push((indent, key.to_owned()));
            if let Some(text) = comment.take() {
                let keys: Vec<&str> = path.iter().map(|(_, key)| key.as_str()).collect();
                let value = values.pointer(&format!("/{}", keys.join("/"))).context("a key that YAML doesn't see")?;
                found.push(Described { path: keys.join("."), text, default: value.to_string() });
            }
        }
    }
    let mut undescribed = None;
    leaves("", &values, &mut |leaf| {
        let covered = |d: &Described| leaf == d.path || leaf.starts_with(&format!("{}.", d.path));
        if undescribed.is_none() && !found.iter().any(covered) {
            undescribed = Some(leaf.to_owned());
        }
    });
    match undescribed {
        None => Ok(found),
        Some(leaf) => bail!("values.yaml: nothing describes {leaf}: write a comment `# -- …` above it"),
    }
}

/// The table, in Markdown.
pub fn table(yaml: &str) -> Result<String> {
    let mut table = "| Value | Default | What it does |\n|---|---|---|\n".to_owned();
    for Described { path, text, default } in described(yaml)? {
        writeln!(table, "| `{path}` | `{default}` | {} |", text.replace('|', "\\|"))?;
    }
    Ok(table)
}

/// `text` with what stands between the markers `<!-- NAME -->` and `<!-- /NAME -->` replaced.
pub fn replaced(text: &str, name: &str, by: &str) -> Result<String> {
    let (open, close) = (format!("<!-- {name} -->\n"), format!("<!-- /{name} -->"));
    let (before, rest) = text.split_once(&open).with_context(|| format!("no {open}"))?;
    let (_, after) = rest.split_once(&close).with_context(|| format!("no {close}"))?;
    Ok(format!("{before}{open}{by}{close}{after}"))
}

fn is_key(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn leaves(path: &str, value: &Value, each: &mut impl FnMut(&str)) {
    match value {
        Value::Object(members) if !members.is_empty() => {
            for (key, member) in members {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                leaves(&path, member, each);
            }
        }
        _ => each(path),
    }
}
