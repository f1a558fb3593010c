//! Encodings and shapes of files: what kubectl reads is read alike, and what it refuses is a fault.

use crate::mutation::url;
use proptest::strategy::{Strategy as _, ValueTree as _};
use proptest::test_runner::TestRunner;
use serde_json::{Deserializer, Value};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use testkit::stand::process::Scratch;
use testkit::stand::{ControlPlane, shared};
use videotoken::manifest::{read, read_files};

/// An object of a name, in a line of YAML that is no JSON.
fn yaml(name: &str) -> String {
    format!("{{apiVersion: v1, kind: ConfigMap, metadata: {{name: {name}}}, data: {{k: \"caf\u{e9} \u{1f3a5}\"}}}}")
}

fn json(name: &str) -> String {
    let object = serde_json::json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name},
        "data": {"a/b": "x\ty\u{1f3a5}", "n": "1"}});
    // as encoders that write ASCII only do it
    object.to_string().replace("\u{1f3a5}", "\\ud83c\\udfa5").replace("a/b", "a\\/b").replace("a\\/b", "a.b")
}

fn block(name: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\ndata:\n  k: v\n  l: |\n    x\ty\n    z\n")
}

/// Texts that kubectl takes, and such that it refuses.
fn shapes() -> Vec<String> {
    let tabbed = |text: &str| text.replace(": ", ":\t");
    let (a, b, c) = ("a", "b", "c");
    vec![
        yaml(a),
        json(a),
        block(a),
        block(a).replace('\n', "\r\n"),
        block(a).trim_end().to_owned(),
        format!("\n\n{}", block(a)),
        format!("# first\n---\n# only this\n---\n{}---\n\n---\n{}", block(a), block(b)),
        format!("{}--- # next\n{}...\n", block(a), block(b)),
        format!("{}---\n{}\n---\n{}", yaml(a).replace("{a", "{ a") + "\n", json(b), block(c)),
        format!("{}{}", json(a), json(b)),
        format!("{}\n{}\n", json(a), json(b)),
        format!("  {}\n\n  {} {}", json(a), json(b), json(c)),
        format!("{}\n---\n{}", json(a), json(b)),
        format!("{}\n---\n{}", json(a), block(b)),
        format!("{}\n{}\n---\n{}", json(a), json(b), block(c)),
        format!("{}\n{}\nx", json(a), json(b)),
        format!("{} x", json(a)),
        format!("{{\"kind\": \"List\", \"apiVersion\": \"v1\", \"items\": [{}, {}]}}", json(a), json(b)),
        format!("[{}]", json(a)),
        json(a).replace(':', ":\t").replace(',', ",\n\t"),
        tabbed(&block(a)),
        tabbed(&yaml(a)),
        tabbed(&block(a)).replace("k:\tv", "k: \tv\t# tab"),
        block(a).replace("k: v", "k:\t\"a:\tb\"").replace("l: |", "l:\t|"),
        block(a).replace("k: v", "k: |-\n    a:\tb\n    c:\td"),
        block(a).replace("k: v", "k: 'a:\tb'\n  m:\tn"),
        block(a).replace("  k: v", "\tk: v"),
        block(a).replace("k: v", "? k\n  :\tv"),
        block(a).replace("data:", "data:\t").replace("k: v", "\"k\":\tv"),
        block(a).replace("k: v", "k: a\tb"),
        block(a).replace("k: v", "k: \"\\x41\""),
        block(a).replace("k: v", "k: \"\\u00e9\""),
        block(a).replace("k: v", "k: \"\\e\""),
        block(a).replace("k: v", "k: \"\\U0001f3a5\""),
        block(a).replace("k: v", "k: \"a\\\n    b\""),
        format!("{}# \u{1}\n", block(a)),
        block(a).replace("k: v", "k: \u{1}"),
        block(a).replace("k: v", "k: &x v\n  m: *x"),
        block(a).replace("k: v", "k: v\n  m: *x"),
        block(a).replace("k: v", "k: {"),
        block(a).replace("k: v", "k: @v"),
        block(a).replace("k: v", "k: `v`"),
        block(a).replace("k: v", "k: a: b"),
        block(a).replace("k: v", "k: \"a\n    b\"\n  m: a\n    b"),
        format!("--- {}", yaml(a)),
        format!("---\n{}--- x\n{}", block(a), block(b)),
        format!("----\n{}", block(a)),
        format!("%YAML 1.1\n---\n{}", block(a)),
        "x\n".to_owned(),
        "{\"a\": 1}".to_owned(),
    ]
}

/// The bytes of a file in each encoding.
fn encodings(text: &str) -> Vec<Vec<u8>> {
    let units = |to: fn(u16) -> [u8; 2]| format!("\u{feff}{text}").encode_utf16().flat_map(to).collect::<Vec<_>>();
    let latin1 = [text.as_bytes(), b"\n# caf\xe9\n"].concat();
    vec![
        text.as_bytes().to_vec(),
        format!("\u{feff}{text}").into_bytes(),
        units(u16::to_le_bytes),
        units(u16::to_be_bytes),
        latin1,
    ]
}

/// The objects, or none where something is refused.
fn ours(file: &Path) -> Option<Vec<Value>> {
    let texts = read_files(&[file.to_owned()]).unwrap();
    let manifest = read(&texts[0]);
    let is_object = |value: &Value| value["kind"].is_string() && value["apiVersion"].is_string();
    let values: Vec<_> = manifest.objects.into_iter().map(|object| object.value).collect();
    (manifest.faults.is_empty() && !values.is_empty() && values.iter().all(is_object)).then_some(values)
}

fn theirs(plane: &ControlPlane, file: &Path) -> Option<Vec<Value>> {
    let output = std::process::Command::new(plane.binaries().join("kubectl"))
        .arg(format!("--kubeconfig={}", plane.kubeconfig_path().display()))
        .args(["create", "--dry-run=client", "--validate=false", "-o", "json", "-f"])
        .arg(file)
        .output()
        .unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    let values: Vec<Value> = Deserializer::from_str(&printed).into_iter().map(Result::unwrap).collect();
    output.status.success().then_some(values)
}

/// Returns the content of the file, without what kubectl adds.
fn bare(values: Option<Vec<Value>>) -> Option<Vec<(Value, Value, Value)>> {
    let bare = |value: &Value| (value["kind"].clone(), value["metadata"]["name"].clone(), value["data"].clone());
    values.map(|values| values.iter().map(bare).collect())
}

#[tokio::test]
async fn every_encoding_and_shape_is_read_as_kubectl_reads_it() {
    let plane = shared().await.unwrap();
    let folder = Scratch::new("vto-shapes-").unwrap();
    let mut differences = String::new();
    let mut files = Vec::new();
    for (shape, text) in shapes().iter().enumerate() {
        // each shape as it is, and in one other encoding
        let mut encodings = encodings(text);
        let others = encodings.split_off(1);
        files.push((shape, encodings.remove(0)));
        files.push((shape, others[shape % others.len()].clone()));
    }
    for bytes in encodings(&block("a")).into_iter().chain(encodings(&yaml("a"))) {
        files.push((usize::MAX, bytes));
    }
    let (mut taken, mut refused) = (0, 0);
    for (number, (shape, bytes)) in files.into_iter().enumerate() {
        let file = folder.path().join(format!("{number}.yaml"));
        fs::write(&file, &bytes).unwrap();
        let (ours, theirs) = (bare(ours(&file)), bare(theirs(plane, &file)));
        if theirs.is_some() {
            taken += 1;
        } else {
            refused += 1;
        }
        if ours != theirs {
            let text = String::from_utf8_lossy(&bytes);
            let _ = write!(differences, "\n{shape} {text:?}\n  kubectl: {theirs:?}\n  ours: {ours:?}");
        }
    }
    assert!(differences.is_empty(), "{differences}");
    assert!(taken > 50 && refused > 15, "{taken} {refused}");
}

#[test]
fn a_generated_url_is_of_every_kind() {
    let mut runner = TestRunner::deterministic();
    let urls: Vec<_> = (0..2000).map(|_| url().new_tree(&mut runner).unwrap().current()).collect();
    for part in ["http://localhost", "https:a", "https:///", "\\", "%zz", "[fe80::1%25", ":99999", "xn--"] {
        assert!(urls.iter().any(|url| url.contains(part)), "{part}");
    }
}
