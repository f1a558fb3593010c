//! The YAML that a reader could take home, and what the demo changes about it: where Azure is.

use anyhow::{Context as _, Result};
use serde_json::json;
use testkit::stand::controlplane::repository;

use crate::screen::Screen;
use crate::stand::Stand;

/// The example, from the repository's root.
const EXAMPLE: &str = "deploy/examples/video-indexer.yaml";

/// Applies the example as it is but for a patch, both shown.
pub(crate) async fn apply(screen: &mut Screen, stand: &Stand) -> Result<()> {
    screen.step("What an admin applies");
    let path = repository().join(EXAMPLE);
    let example = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let overlay = stand.scratch.file("example");
    std::fs::create_dir(&overlay)?;
    std::fs::write(overlay.join("video-indexer.yaml"), example)?;
    std::fs::write(overlay.join("kustomization.yaml"), kustomization(stand)?)?;
    screen.note(format_args!("{EXAMPLE} as it is. Only its provider gets a patch, since Azure is emulated here:"));
    screen.gap();
    screen.note(patch(stand, "(the emulators' certificate)"));
    screen.gap();
    stand.kubectl.show(screen, &format!("apply --kustomize {}", overlay.display())).await?;
    Ok(())
}

/// A merge patch, as YAML to be read.
fn patch(stand: &Stand, ca_bundle: &str) -> String {
    format!(
        "spec:\n  \
           videoIndexer:\n    \
             endpoints:\n      \
               resourceManager: {}\n      \
               authority: {}\n  \
           caBundle: {ca_bundle}\n  \
           limits:\n    \
             windows: [{{requests: 1000, period: 1s}}]\n",
        stand.azure.resource_manager_url(),
        stand.azure.authority_url(),
    )
}

fn kustomization(stand: &Stand) -> Result<String> {
    let certificate = serde_json::to_string(&stand.azure.ca_pem())?;
    let kustomization = json!({
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": ["video-indexer.yaml"],
        "patches": [{
            "target": {"kind": "ClusterTokenProvider"},
            "patch": format!("apiVersion: v1\nkind: Patch\nmetadata: {{name: any}}\n{}", patch(stand, &certificate)),
        }],
    });
    Ok(serde_yaml_ng::to_string(&kustomization)?)
}
