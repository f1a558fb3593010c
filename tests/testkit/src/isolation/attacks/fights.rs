//! Other writers of the same Secrets.

use std::time::Duration;

use anyhow::Result;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;

use super::{again, names};
use crate::isolation::attack::{Attack, FOUGHT_OVER};
use crate::isolation::ground::Ground;
use crate::isolation::tenant::Tenant;
use crate::scene::SOON;

/// From one blow to the next.
const EVERY: Duration = Duration::from_millis(500);

/// Fights over some Secrets, each twice a second.
pub(crate) async fn fight(attacker: &Tenant, attack: Attack) -> Result<()> {
    let names = names("fought", FOUGHT_OVER);
    attacker.make_tokens(names.clone(), &json!({})).await?;
    attacker.ready(names.len(), SOON).await?;
    let secrets: Api<Secret> = Api::namespaced(attacker.admin.clone(), &attacker.namespace);
    again(EVERY, async |n| {
        for name in &names {
            strike(&secrets, attack, name, n).await;
        }
    })
    .await
}

/// One blow. What the API server says of it is no matter: the next one comes.
async fn strike(secrets: &Api<Secret>, attack: Attack, name: &str, n: usize) {
    match attack {
        Attack::FightApply => {
            let theirs = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name},
                "stringData": {"token": format!("theirs {n}"), "extra": "x"}});
            let params = PatchParams::apply("externalsecrets").force();
            let _ = secrets.patch(name, &params, &Patch::Apply(&theirs)).await;
        }
        Attack::FightLabels => {
            let patch = json!({"metadata": {"labels": {"app.kubernetes.io/managed-by": "platform-team"}}});
            let _ = secrets.patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await;
        }
        Attack::FightDelete => {
            let _ = secrets.delete(name, &DeleteParams::default()).await;
        }
        _ => {
            let patch = json!({"stringData": {"token": format!("theirs {n}")}});
            let _ = secrets.patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await;
        }
    }
}

/// A policy of the platform's that stamps its own label on every Secret of the namespace.
pub(super) async fn policy(ground: &Ground) -> Result<()> {
    let namespace = &ground.attacker.namespace;
    let name = format!("isolation-{namespace}");
    let policy = |kind: &str, spec: serde_json::Value| json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": name}, "spec": spec});
    let expression = r#"Object{metadata: Object.metadata{labels: {"app.kubernetes.io/managed-by": "platform-team"}}}"#;
    ground
        .apply_for_now(policy(
            "MutatingAdmissionPolicy",
            json!({
                "failurePolicy": "Fail",
                "reinvocationPolicy": "Never",
                "matchConstraints": {
                    "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
                    "resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"],
                        "resources": ["secrets"]}],
                },
                "mutations": [{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}}],
            }),
        ))
        .await?;
    ground.apply_for_now(policy("MutatingAdmissionPolicyBinding", json!({"policyName": name}))).await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    ground.attacker.make_tokens(names("stamped", FOUGHT_OVER), &json!({})).await?;
    super::for_ever().await
}
