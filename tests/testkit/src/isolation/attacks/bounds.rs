//! Objects as large as the API server takes them, and templates that cost.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Result, bail};
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Map, Value, json};

use super::{again, for_ever, names};
use crate::isolation::attack::Attack;
use crate::isolation::ground::Ground;
use crate::isolation::tenant::Tenant;
use crate::tls::CertificateAuthority;

/// Templates of which each costs seconds or hundreds of megabytes where nothing bounds it.
pub(crate) async fn templates(attacker: &Tenant) -> Result<()> {
    let hostile = [
        "{{ expires_at | date('%c' * 3000000) | length }}",
        "{{ ([1] * 100000000) | tojson | length }}",
        "{{ expires_at | date('%c' * 300000) | length }}",
        "{{ ([1] * 3000000) | tojson | length }}",
    ];
    for (n, template) in hostile.into_iter().enumerate() {
        let changes = json!({"secret": {"template": {"data": {"k": template}}}});
        attacker.make_tokens([format!("hostile-{n}")], &changes).await?;
    }
    let many: Map<String, Value> =
        (0..32).map(|n| (format!("k{n}"), "{{ expires_at | date('%c' * 60000) | length }}".into())).collect();
    let changes = json!({"secret": {"keys": {"previousToken": "previous"}, "template": {"data": many}}});
    attacker.make_tokens(names("costly", 3), &changes).await?;
    for_ever().await
}

/// Tokens with as much of templates as the CRD takes: 32 keys of 16 KB, or less.
pub(crate) async fn specs(attacker: &Tenant, count: usize) -> Result<()> {
    let api = attacker.api("VideoAccessToken");
    for length in [16_384, 2_000, 1_000, 250] {
        let data: Map<String, Value> = (0..32).map(|n| (format!("k{n}"), "x".repeat(length).into())).collect();
        let changes = json!({"secret": {"template": {"data": data}}});
        let tokens: Vec<_> = names("large", count).iter().map(|name| attacker.token(name, &changes)).collect();
        if attacker.make(&api, tokens).await.is_ok() {
            return Ok(());
        }
    }
    bail!("no size of template is taken")
}

/// Providers each with many certificates of their own: 120 KB, or less.
pub(super) async fn ca_bundles(ground: &Ground) -> Result<()> {
    let attacker = &ground.attacker;
    let api = attacker.api("TokenProvider");
    for bytes in [120_000, 60_000, 30_000, 15_000, 7_000] {
        let mut bundle = String::new();
        while bundle.len() < bytes {
            let _ = write!(bundle, "{}", CertificateAuthority::generate()?.ca_pem());
        }
        let providers = names("trusting", ground.size.of(200, 40));
        let providers = providers.iter().map(|name| attacker.token_provider(name, &json!({"caBundle": bundle})));
        if attacker.make(&api, providers.collect()).await.is_ok() {
            return Ok(());
        }
    }
    bail!("no size of bundle is taken")
}

/// Secrets that carry the operator's label and nothing else of the operator's.
pub(super) async fn stranger_secrets(ground: &Ground) -> Result<()> {
    let api: Api<Secret> = Api::namespaced(ground.admin.clone(), &ground.attacker.namespace);
    let long = "x".repeat(250_000);
    let secrets = names("stranger", ground.size.of(450, 100)).into_iter().map(|name| {
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name,
            "labels": {"app.kubernetes.io/managed-by": "video-token-operator"},
            "annotations": {"example.com/long": long}}})
    });
    ground.attacker.make(&api, secrets.collect()).await
}

/// What is large is edited, several times a second.
pub(super) async fn touch(ground: &Ground, attack: Attack) -> Result<()> {
    let secrets: Api<Secret> = Api::namespaced(ground.admin.clone(), &ground.attacker.namespace);
    again(Duration::from_millis(200), async |n| {
        let patch = json!({"metadata": {"labels": {"touched": n.to_string()}}});
        let n = n % 40;
        match attack {
            Attack::Specs => ground.attacker.press("VideoAccessToken", &format!("large-{n}"), &patch).await,
            Attack::CaBundles => {
                let patch = json!({"spec": {"limits": {"concurrency": 1 + n}}});
                ground.attacker.press("TokenProvider", &format!("trusting-{n}"), &patch).await;
            }
            _ => {
                let name = format!("stranger-{n}");
                let _ = secrets.patch_metadata(&name, &PatchParams::default(), &Patch::Merge(&patch)).await;
            }
        }
    })
    .await
}
