//! From the applied YAML to a renewal, each claim checked as it is made.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use chrono::{DateTime, Utc};
use kube::api::Api;
use kube::core::DynamicObject;
use serde_json::{Value, json};
use testkit::emulator::example;
use testkit::stand::wait::{condition, own_kind, poll, video_access_tokens};
use tokio::time::{Instant, sleep};

use crate::screen::Screen;
use crate::stand::{LIFE_SECONDS, Stand};
use crate::tokens::{self, Token};
use crate::{NAMESPACE, PROVIDER, TOKENS};

const SOON: Duration = Duration::from_secs(30);
const RENEWAL: Duration = Duration::from_secs(LIFE_SECONDS as u64 + 15);
const GLANCE: Duration = Duration::from_millis(200);

/// The table of tokens. `applied` is when their YAML was.
pub(crate) async fn table(screen: &mut Screen, stand: &Stand, applied: Instant) -> Result<()> {
    screen.step("The table of tokens");
    let client = stand.plane.client()?;
    let objects = video_access_tokens(&client, NAMESPACE);
    for name in TOKENS {
        poll(SOON, &format!("VideoAccessToken {name} is ready"), async || ready(&objects, name).await).await?;
    }
    let took = applied.elapsed().as_secs_f64();
    let providers = Api::all_with(client, &own_kind("ClusterTokenProvider"));
    let what = format!("ClusterTokenProvider {PROVIDER} is ready and counts its tokens");
    poll(SOON, &what, async || {
        ready(&providers, PROVIDER).await?;
        let status = providers.get(PROVIDER).await?.data["status"].take();
        ensure!(status["tokens"] == TOKENS.len(), "its status is {status}");
        Ok(())
    })
    .await?;
    stand.kubectl.show(screen, "get vat,cvtp").await?;
    screen.note(format_args!("Ready {took:.1} s after they were applied."));
    Ok(())
}

async fn ready(objects: &Api<DynamicObject>, name: &str) -> Result<()> {
    let object = objects.get(name).await?;
    let observed = object.data.pointer("/status/observedGeneration").and_then(Value::as_i64);
    let is_ready = condition(&object, "Ready").is_some_and(|ready| ready.status == "True");
    ensure!(is_ready && observed == object.metadata.generation, "its status is {}", object.data["status"]);
    Ok(())
}

/// What the provider was asked, and what one Secret holds; never the token itself.
pub(crate) async fn secret(screen: &mut Screen, stand: &Stand) -> Result<BTreeMap<String, Token>> {
    screen.step("What Video Indexer was asked");
    asked(screen, stand)?;

    screen.step("What a workload mounts");
    let described = stand.kubectl.show(screen, "describe secret lobby-camera").await?;
    ensure!(described.contains("videotoken.dev/owner-uid"), "the Secret has no annotations");
    let tokens = tokens::read(stand).await?;
    let token = tokens.get("lobby-camera").context("no Secret lobby-camera")?;
    screen.note("The claims of the token in it, decoded:");
    for (claim, value) in &token.claims {
        screen.note(format_args!("  {claim}: {}", shortened(value)));
    }
    screen.note(format_args!(
        "Its exp is {}, as the Secret says.",
        token.truth.expires_at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
    ));
    Ok(tokens)
}

/// The requests that were granted, held against those of Azure's reference.
fn asked(screen: &Screen, stand: &Stand) -> Result<()> {
    let mut expected = BTreeMap::from([
        ("Account", json!({"scope": "Account", "extensionId": example::EXTENSION_ID})),
        (
            "Video",
            json!({
                "scope": "Video",
                "videoId": "07ec9e38d4",
                "extensionId": example::EXTENSION_ID,
                "tokenLifetimeInSeconds": 43_200,
            }),
        ),
    ]);
    for seen in stand.azure.video_indexer.control().requests() {
        let body = seen.call.json().unwrap_or_default();
        let wanted = expected.remove(body["scope"].as_str().unwrap_or_default());
        ensure!(
            seen.status == Some(200) && wanted.as_ref() == Some(&body),
            "it was asked for {body}: {:?}",
            seen.status
        );
        let operation = seen.call.path().rsplit('/').next().unwrap_or_default();
        screen.note(format_args!("{} …/accounts/{}/{operation}", seen.call.method, example::ACCOUNT_NAME));
        for (field, value) in body.as_object().into_iter().flatten() {
            screen.note(format_args!("  {field}: {}", shortened(value)));
        }
    }
    ensure!(expected.is_empty(), "it was not asked for {:?}", expected.keys());
    Ok(())
}

/// The value, or beginning and end of it.
fn shortened(value: &Value) -> String {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let letters: Vec<char> = text.chars().collect();
    match letters.as_slice() {
        [start @ .., _] if start.len() >= 80 => {
            let (head, tail) = (&letters[..24], &letters[letters.len() - 48..]);
            format!("{}…{}", head.iter().collect::<String>(), tail.iter().collect::<String>())
        }
        _ => text,
    }
}

/// Waits until each token was renewed.
pub(crate) async fn renewal(screen: &mut Screen, stand: &Stand, old: BTreeMap<String, Token>) -> Result<()> {
    screen.step("A renewal, live");
    screen.note("Due when two thirds of a token's life are over, as the column RENEWS says. Waiting …");
    let mut waiting = old;
    let give_up = Instant::now() + RENEWAL;
    while !waiting.is_empty() {
        for (name, new) in tokens::read(stand).await? {
            if waiting.get(&name).is_some_and(|old| old.value != new.value) {
                renewed(screen, &name, waiting.remove(&name), &new)?;
            }
        }
        if Instant::now() > give_up {
            bail!("not renewed within {RENEWAL:?}: {:?}", waiting.keys());
        }
        sleep(GLANCE).await;
    }
    let objects = video_access_tokens(&stand.plane.client()?, NAMESPACE);
    for (name, token) in tokens::read(stand).await? {
        let what = format!("the status of {name} says the new expiry");
        poll(SOON, &what, async || says_expiry(&objects, &name, token.truth.expires_at).await).await?;
    }
    stand.kubectl.show(screen, "get vat").await?;
    Ok(())
}

fn renewed(screen: &Screen, name: &str, old: Option<Token>, new: &Token) -> Result<()> {
    let (old, now) = (old.context("renewed twice")?.truth, Utc::now());
    ensure!(old.is_good(now), "{name}: the old token expired at {} before it was replaced", old.expires_at);
    ensure!(new.truth.expires_at > old.expires_at, "{name}: the new token expires no later than the old one");
    screen.note(format_args!(
        "{}  {name}: now expires {}, was {}; the old token had {} s left",
        clock(now),
        clock(new.truth.expires_at),
        clock(old.expires_at),
        (old.expires_at - now).num_seconds(),
    ));
    Ok(())
}

async fn says_expiry(objects: &Api<DynamicObject>, name: &str, expires_at: DateTime<Utc>) -> Result<()> {
    let status = objects.get(name).await?.data["status"].take();
    let said = status["expiresAt"].as_str().and_then(|said| said.parse::<DateTime<Utc>>().ok());
    ensure!(said == Some(expires_at), "its status is {status}");
    Ok(())
}

fn clock(time: DateTime<Utc>) -> impl std::fmt::Display {
    time.format("%H:%M:%S")
}

/// What was seen from outside all the while.
pub(crate) async fn verdict(screen: &mut Screen, stand: &Stand) -> Result<()> {
    screen.step("What an observer saw, who looked at each Secret every second");
    let report = stand.observer.report();
    let issued = stand.azure.video_indexer.control().counters().issued;
    ensure!(report.faults().is_empty() && report.blind == 0, "the observer saw faults: {report}");
    ensure!(report.secrets.len() == TOKENS.len(), "the observer saw other Secrets: {report}");
    let expected = 2 * TOKENS.len() as u64;
    ensure!(issued == expected, "{issued} tokens were issued, {expected} were needed");
    let log = stand.operator.logs();
    for token in tokens::read(stand).await?.values() {
        ensure!(!log.contains(&token.value), "the operator's log holds a token");
    }
    let least = report.least_left().context("the observer saw no token")?;
    screen.note(format_args!("{} looks at {} Secrets: 0 s with an expired token.", report.looks, report.secrets.len()));
    screen.note(format_args!("No token had less than {} s left when it was seen.", least.num_seconds()));
    screen.note(format_args!(
        "Video Indexer issued {issued} tokens: one and one renewal for each Secret, none too many."
    ));
    Ok(())
}
