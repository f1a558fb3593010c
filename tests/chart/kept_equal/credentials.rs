//! The admission policy for authors of TokenProviders checks each reference to a Secret that the CRD has. A user who can't
//! get that Secret could use it otherwise.

use super::{holds, repository};
use serde_json::Value;
use std::fs;
use testkit::chart::folder;

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

/// The list of the references in the template of the policy.
const LIST: &str = "    {{- range list \"";

#[test]
fn p22_the_policy_knows_each_reference_to_a_credential() {
    let crd = fs::read_to_string(repository().join("crds/videotoken.dev_tokenproviders.yaml")).unwrap();
    let crd: Value = serde_yaml_ng::from_str(&crd).unwrap();
    let spec = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    let mut found = Vec::new();
    references(spec, "", &mut found);
    assert!(found.len() >= 8, "{found:?}");
    found.sort();
    let list = format!("{LIST}{}\" }}}}", found.join("\" \""));
    let template = folder().join("templates/admissionpolicies.yaml");
    let text = fs::read_to_string(&template).unwrap();
    let is_list = |line: &&str| line.starts_with(LIST) && line.contains("Ref\"");
    assert_eq!(text.lines().filter(is_list).count(), 1);
    let lines: Vec<_> = text.lines().map(|line| if is_list(&line) { list.as_str() } else { line }).collect();
    holds(&template, &(lines.join("\n") + "\n"));
}
