//! The API server and what stands around it: webhooks, statuses, events, lists, rights.

use std::time::Duration;

use anyhow::Result;
use serde_json::json;
use tokio::time::sleep;

use super::{again, for_ever, names};
use crate::emulator::{Fault, Life};
use crate::isolation::ground::Ground;
use crate::stand::{Failure, Manner, Matcher, Webhook};

/// Tokens behind a webhook.
const BEHIND: usize = 60;

/// Tokens behind a webhook that denies.
pub(in crate::isolation) const DENIED: usize = BEHIND;

/// Longer than anybody waits.
const FOR_LONG: Duration = Duration::from_mins(2);

/// How long a provider's status takes.
const SLOW_STATUS: Duration = Duration::from_secs(6);

/// As long as k-webhook-slow.yaml has it.
const WEBHOOK_SECONDS: u8 = 8;

/// A webhook of the attacker's namespace; short-lived tokens there are renewed again and again behind it.
pub(super) async fn webhook(ground: &Ground, manner: Manner, policy: &str) -> Result<()> {
    if !matches!(manner, Manner::Denies(..)) {
        ground.attacker.control().set_life(Life::Between(21, 36));
    }
    let webhook = Webhook::start(manner).await?;
    let name = format!("isolation-{}", ground.attacker.namespace);
    let namespace = &ground.attacker.namespace;
    ground.apply_for_now(webhook.configuration(&name, namespace, policy, WEBHOOK_SECONDS)).await?;
    // the API server takes the configuration up in its own time
    sleep(Duration::from_secs(1)).await;
    // one after the other, so that their retries don't come in step
    for name in names("behind", BEHIND) {
        ground.attacker.make_tokens([name], &json!({})).await?;
        sleep(Duration::from_millis(100)).await;
    }
    for_ever().await
}

/// Many Secrets that can't be written; their retries don't come in step.
pub(super) async fn secrets_unwritable(ground: &Ground) -> Result<()> {
    let matcher = Matcher::patch("secrets").namespace(&ground.attacker.namespace);
    let _failing = ground.proxy.fail(matcher, Failure::Status(500));
    for name in names("unwritable", ground.size.of(300, 100)) {
        ground.attacker.make_tokens([name], &json!({})).await?;
        sleep(Duration::from_millis(30)).await;
    }
    for_ever().await
}

/// Nobody's events are taken, and many tokens of the attacker's have news to tell.
pub(super) async fn events_hang(ground: &Ground) -> Result<()> {
    let _new = ground.proxy.delay(Matcher::create("events"), FOR_LONG);
    let _more = ground.proxy.delay(Matcher::patch("events"), FOR_LONG);
    let refused = Fault::Status { code: 403, body: "{}".to_owned(), headers: Vec::new() };
    ground.attacker.control().play(refused);
    ground.attacker.make_tokens(names("refused", 150), &json!({})).await?;
    for_ever().await
}

/// Many providers have news again and again, and it takes long to write them down.
pub(super) async fn statuses_hang(ground: &Ground) -> Result<()> {
    const PROVIDERS: usize = 30;
    let attacker = &ground.attacker;
    let providers = names("provider", PROVIDERS);
    for provider in &providers {
        attacker.apply(&attacker.token_provider(provider, &json!({}))).await?;
    }
    sleep(Duration::from_secs(6)).await;
    let slow = Matcher::patch("tokenproviders/status").namespace(&attacker.namespace);
    let _slow = ground.proxy.delay(slow, SLOW_STATUS);
    again(Duration::from_secs(5), async |n| {
        let tokens = providers
            .iter()
            .map(|provider| attacker.token(&format!("{provider}-{n}"), &json!({"providerRef": {"name": provider}})));
        let _ = attacker.make(&attacker.api("VideoAccessToken"), tokens.collect()).await;
    })
    .await
}

/// The operator starts anew, and the attacker's tokens are listed in half.
pub(super) async fn list_stalls(ground: &Ground) -> Result<()> {
    ground.attacker.make_tokens(names("listed", 5), &json!({})).await?;
    let matcher = Matcher::list("videoaccesstokens").namespace(&ground.attacker.namespace);
    let _stalled = ground.proxy.fail(matcher, Failure::StalledBody(300));
    ground.restart().await?;
    for_ever().await
}

/// The operator starts anew, and may do nothing in the attacker's namespace.
pub(super) async fn no_role(ground: &Ground) -> Result<()> {
    let _forbidden = ground.proxy.fail(Matcher::any().namespace(&ground.attacker.namespace), Failure::Status(403));
    ground.restart().await?;
    for_ever().await
}
