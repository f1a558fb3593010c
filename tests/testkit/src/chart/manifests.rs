//! The plain manifests of `deploy/`, rendered from the chart.

use std::collections::BTreeMap;

use anyhow::Result;

use super::template_alone;
use crate::stand::controlplane::OPERATOR;

const HEADER: &str = "# Rendered from charts/video-token-operator: `make manifests` writes it anew.\n";

/// The image's name in `deploy/`, which a kustomization replaces. No registry can have a name in `.invalid` (RFC 2606), so
/// nothing is pulled by accident, and the kubelet's message shows what to do.
pub const PLACEHOLDER: &str = "set-your-registry.invalid/video-token-operator";

/// The rendered files of `deploy/`: name and content. Without what only Helm reads.
pub fn files() -> Result<BTreeMap<&'static str, String>> {
    let values = format!("image: {{repository: {PLACEHOLDER}}}\ncrds: {{keep: false}}\n");
    let rendered = template_alone(OPERATOR, OPERATOR, &values, &["--no-hooks"])?;
    let mut files = BTreeMap::new();
    for document in rendered.split("\n---\n").map(|document| document.trim_start_matches("---\n")) {
        let helms = ["# Source: ", "    helm.sh/chart: ", "    app.kubernetes.io/managed-by: Helm"];
        let lines = document.lines().filter(|line| !helms.iter().any(|prefix| line.starts_with(prefix)));
        let text: Vec<&str> = lines.skip_while(|line| line.trim().is_empty()).collect();
        let file = match text.iter().find_map(|line| line.strip_prefix("kind: ")) {
            None => continue,
            Some("CustomResourceDefinition") => "crds.yaml",
            Some("ServiceAccount" | "Role" | "RoleBinding" | "ClusterRole" | "ClusterRoleBinding") => "rbac.yaml",
            Some(_) => "operator.yaml",
        };
        let whole: &mut String = files.entry(file).or_default();
        let separator = if whole.is_empty() { HEADER } else { "---\n" };
        whole.push_str(separator);
        whole.push_str(text.join("\n").trim_end());
        whole.push('\n');
    }
    Ok(files)
}
