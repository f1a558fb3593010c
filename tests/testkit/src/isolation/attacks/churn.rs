//! Many edits, many objects, many renewals.

use std::time::Duration;

use anyhow::Result;
use chrono::{TimeDelta, Utc};
use futures::future::join_all;
use kube::api::DeleteParams;
use serde_json::json;
use tokio::time::sleep;

use super::{again, for_ever, names};
use crate::isolation::attack::{CHURNED_CALLS, FORCED};
use crate::isolation::ground::Ground;
use crate::isolation::tenant::{PROVIDER, Tenant};
use crate::scene::SOON;

/// Providers that are edited in turn.
const EDITED: usize = 50;

/// Providers that read their certificates from a ConfigMap; each has a token.
pub(crate) async fn many_providers(attacker: &Tenant) -> Result<()> {
    let spec = attacker.token_provider(PROVIDER, &json!({}));
    attacker
        .apply(&json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "ca"},
            "data": {"ca.crt": spec["spec"]["caBundle"]}}))
        .await?;
    let by_reference = json!({"caBundle": null, "caBundleRef": {"kind": "ConfigMap", "name": "ca", "key": "ca.crt"}});
    let providers = names("edited", EDITED);
    let made = providers.iter().map(|name| attacker.token_provider(name, &by_reference));
    attacker.make(&attacker.api("TokenProvider"), made.collect()).await?;
    let tokens = providers.iter().map(|name| attacker.token(name, &json!({"providerRef": {"name": name}})));
    attacker.make(&attacker.api("VideoAccessToken"), tokens.collect()).await
}

/// 1,000 edits a minute.
pub(crate) async fn provider_edits(attacker: &Tenant) -> Result<()> {
    again(Duration::from_millis(50), async |n| {
        let patch = json!({"spec": {"limits": {"concurrency": 1 + n % 60}}});
        attacker.press("TokenProvider", &format!("edited-{}", n % EDITED), &patch).await;
    })
    .await
}

/// An account that may be asked a few times an hour, and takes its time.
pub(crate) async fn narrow_account(attacker: &Tenant) -> Result<()> {
    attacker.control().set_latency(Duration::from_millis(300));
    let narrow = json!({"limits": {"windows": [{"requests": CHURNED_CALLS, "period": "1h"}], "concurrency": 2}});
    attacker.apply(&attacker.token_provider(PROVIDER, &narrow)).await
}

/// Objects are made, and deleted while their call is under way.
pub(crate) async fn create_and_delete(attacker: &Tenant) -> Result<()> {
    let api = attacker.api("VideoAccessToken");
    let loops = (0..8_usize).map(async |hand| {
        again(Duration::ZERO, async |n| {
            let name = format!("churned-{hand}-{}", n % 4);
            let made = attacker.make_tokens([name.clone()], &json!({})).await;
            // it may be while the provider takes its time
            sleep(Duration::from_millis(100 + 60 * (n as u64 % 5))).await;
            let _ = api.delete(&name, &DeleteParams::default()).await;
            if made.is_err() {
                sleep(Duration::from_millis(200)).await;
            }
        })
        .await
    });
    join_all(loops).await.into_iter().collect()
}

/// Renewals of the same tokens are asked for in a loop.
pub(crate) async fn forced_renewals(attacker: &Tenant) -> Result<()> {
    let names = names("forced", FORCED);
    attacker.make_tokens(names.clone(), &json!({})).await?;
    attacker.ready(names.len(), SOON).await?;
    again(Duration::from_millis(300), async |n| {
        let seconds = TimeDelta::try_seconds(i64::try_from(n).unwrap_or(0)).unwrap_or_default();
        let asked = (Utc::now() + TimeDelta::minutes(1) + seconds).to_rfc3339();
        let patch = json!({"metadata": {"annotations": {"videotoken.dev/renew-requested-at": asked}}});
        join_all(names.iter().map(|name| attacker.press("VideoAccessToken", name, &patch))).await;
    })
    .await
}

/// Many objects name one Secret, and the one that has it lets it go and takes it back.
pub(super) async fn one_secret(ground: &Ground) -> Result<()> {
    let attacker = &ground.attacker;
    let shared = json!({"secret": {"name": "shared"}});
    attacker.make_tokens(["holder".to_owned()], &shared).await?;
    attacker.make_tokens(names("claimant", ground.size.of(1_000, 200)), &shared).await?;
    again(Duration::from_secs(3), async |n| {
        let name = if n % 2 == 0 { "its-own" } else { "shared" };
        attacker.press("VideoAccessToken", "holder", &json!({"spec": {"secret": {"name": name}}})).await;
    })
    .await
}

/// Many new objects.
pub(super) async fn crowd(ground: &Ground) -> Result<()> {
    let names = names("crowd", ground.size.of(10_000, 300));
    ground.attacker.make_tokens(names, &json!({})).await?;
    for_ever().await
}
