//! The admission policy for authors of TokenProviders checks each reference to a Secret that the CRD has.

use serde_json::Value;
use std::fs;
use std::path::Path;

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// Collects the paths of objects that name a Secret and a key of it, or a Secret with a certificate. Lists and free
/// objects are left out.
fn references(schema: &Value, path: &str, found: &mut Vec<String>) {
    let properties = schema["properties"].as_object();
    let has = |name: &str| properties.is_some_and(|all| all.contains_key(name));
    if has("name") && !has("kind") && (has("key") || has("privateKeyKey")) {
        found.push(path.to_owned());
    }
    for (name, member) in properties.into_iter().flatten() {
        references(member, &if path.is_empty() { name.clone() } else { format!("{path}.?{name}") }, found);
    }
}

#[test]
fn p22_the_policy_knows_each_reference_to_a_credential() {
    let crd: Value = serde_yaml_ng::from_str(&read("crds/videotoken.dev_tokenproviders.yaml")).unwrap();
    let spec = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    let mut found = Vec::new();
    references(spec, "", &mut found);
    assert!(found.len() >= 8, "{found:?}");
    let policies = read("charts/video-token-operator/templates/admissionpolicies.yaml");
    let unknown: Vec<_> = found.iter().filter(|path| !policies.contains(&format!("\"{path}\""))).collect();
    assert!(
        unknown.is_empty(),
        "admissionpolicies.yaml lacks {unknown:?}: a user who can't get that Secret could use it"
    );
}
