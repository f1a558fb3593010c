//! Plays the faults of a schedule.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use chrono::{DateTime, TimeDelta, Utc};
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::chronicle::Whose;
use super::schedule::{Dice, Fault, Kind};
use super::stage::{Account, Stage};
use crate::emulator::{Control, Fault as Failure, Seen};
use crate::stand::Traffic;

/// How many types of provider a fault hits at once.
const TYPES: usize = 2;

/// How many Secrets another hand reaches for.
const SECRETS: usize = 10;

/// What API latency is, for each request.
const LATENCY: Duration = Duration::from_millis(300);

/// How long a provider stalls: longer than the operator waits.
const STALL: Duration = Duration::from_mins(1);

/// `--provider-timeout`'s default.
const PROVIDER_TIMEOUT: TimeDelta = TimeDelta::seconds(10);

/// What a throttled provider asks for.
const RETRY_AFTER: u64 = 5;

/// How long something that the API server must do is tried.
const PERSISTENCE: Duration = Duration::from_mins(2);

/// Plays one fault from its beginning to its end.
pub(super) async fn play(stage: &Stage, fault: Fault) -> Result<()> {
    let mut dice = Dice::new(fault.choice);
    let what = fault.kind.to_string();
    let number = stage.chronicle.begin(|pages| &mut pages.faults, (fault.kind, what.clone()));
    let played = match fault.kind {
        Kind::LeaderKilled | Kind::LeaderSwitched | Kind::LeaderPartitioned => leader(stage, fault, &mut dice).await,
        Kind::ApiServerRestarted | Kind::EtcdRestarted => restart(stage, fault).await,
        Kind::WatchesCut => watches(stage, fault).await,
        Kind::ApiLatency => latency(stage, fault).await,
        Kind::CredentialRevoked => credential(stage, fault, &mut dice, number).await,
        Kind::SecretsDeleted | Kind::SecretsAltered => secrets(stage, fault.kind, &mut dice).await,
        Kind::NamespaceDeleted => namespace(stage, &mut dice).await,
        Kind::Fights
        | Kind::SlowWebhook
        | Kind::LargeObjects
        | Kind::Churn
        | Kind::ForcedRenewals
        | Kind::ProviderEdits
        | Kind::HostileTemplates => {
            stage.neighbours.play(fault, &mut dice).await;
            Ok(())
        }
        Kind::ThrottledWithWait
        | Kind::ThrottledWithoutWait
        | Kind::ServerErrors
        | Kind::Stalls
        | Kind::CutBodies
        | Kind::Resets => providers(stage, fault, &mut dice, number).await,
    };
    stage.chronicle.end(|pages| &mut pages.faults, number);
    played.context(what)
}

/// Kills, stops or cuts off whoever leads; if nobody does, one of the two.
async fn leader(stage: &Stage, fault: Fault, dice: &mut Dice) -> Result<()> {
    let leads = stage.leader().await.map(|(seat, _)| seat);
    let number = leads.unwrap_or_else(|| dice.index(2));
    let seat = &stage.operators.seats[number];
    match fault.kind {
        Kind::LeaderKilled => {
            stage.chronicle.upset();
            seat.kill().await;
        }
        Kind::LeaderSwitched => seat.stop().await?,
        _ => {
            let upset = stage.chronicle.begin(|pages| &mut pages.upsets, ());
            seat.cut_off(if dice.below(2) == 0 { Traffic::Silent } else { Traffic::Closed });
            sleep(fault.lasts).await;
            seat.cut_off(Traffic::Open);
            stage.chronicle.end(|pages| &mut pages.upsets, upset);
            return Ok(());
        }
    }
    sleep(fault.lasts).await;
    stage.operators.keep_log(number).await;
    seat.start(number).await
}

/// Kills the API server or etcd, and starts it again.
async fn restart(stage: &Stage, fault: Fault) -> Result<()> {
    let upset = stage.chronicle.begin(|pages| &mut pages.upsets, ());
    let mut plane = stage.plane.lock().await;
    let started = if fault.kind == Kind::EtcdRestarted {
        plane.stop_etcd();
        sleep(fault.lasts / 2).await;
        plane.start_etcd().await
    } else {
        plane.stop_apiserver();
        sleep(fault.lasts / 2).await;
        plane.start_apiserver().await
    };
    stage.chronicle.end(|pages| &mut pages.upsets, upset);
    started
}

async fn watches(stage: &Stage, fault: Fault) -> Result<()> {
    let end = Instant::now() + fault.lasts;
    while Instant::now() < end {
        stage.operators.seats.iter().for_each(|seat| seat.proxy.cut_watches());
        sleep(Duration::from_secs(3)).await;
    }
    Ok(())
}

async fn latency(stage: &Stage, fault: Fault) -> Result<()> {
    stage.operators.seats.iter().for_each(|seat| seat.proxy.set_latency(LATENCY));
    sleep(fault.lasts).await;
    stage.operators.seats.iter().for_each(|seat| seat.proxy.set_latency(Duration::ZERO));
    Ok(())
}

/// What the emulators do, and for how long a call that it is played on is without a token for sure.
fn failure(kind: Kind, dice: &mut Dice) -> (Failure, TimeDelta) {
    let status = |code| Failure::Status { code, body: "{}".to_owned(), headers: Vec::new() };
    match kind {
        Kind::ThrottledWithWait => {
            let wait = TimeDelta::try_seconds(RETRY_AFTER.cast_signed()).unwrap_or_default();
            (Failure::Throttle { retry_after: Some(RETRY_AFTER) }, wait)
        }
        Kind::ThrottledWithoutWait => (Failure::Throttle { retry_after: None }, TimeDelta::zero()),
        Kind::ServerErrors => (status(if dice.below(2) == 0 { 500 } else { 503 }), TimeDelta::zero()),
        Kind::Stalls => (Failure::Stall(STALL), PROVIDER_TIMEOUT),
        Kind::CutBodies => (Failure::CutBody, TimeDelta::zero()),
        // a hung connection is found by its pings
        _ if dice.below(2) == 0 => (Failure::ConnectionHang, PROVIDER_TIMEOUT * 2),
        _ => (Failure::ConnectionReset, TimeDelta::zero()),
    }
}

/// Some types of provider fail. When they no longer do, a call that they failed in the end may still wait.
async fn providers(stage: &Stage, fault: Fault, dice: &mut Dice, number: usize) -> Result<()> {
    let callers: Vec<_> = stage.callers().collect();
    let hit: Vec<_> = dice.indices(TYPES, callers.len()).into_iter().map(|index| callers[index]).collect();
    let (failure, wait) = failure(fault.kind, dice);
    let names: Vec<_> = hit.iter().map(|(type_, _)| stage.types[*type_].name()).collect();
    stage.name_fault(number, &names.join(", "));
    let begun = Utc::now();
    let mut impaired = Vec::new();
    for (type_, control) in &hit {
        impaired.push(stage.chronicle.begin(|pages| &mut pages.impaired, Whose::Type(*type_)));
        control.play(failure.clone());
    }
    sleep(fault.lasts).await;
    for ((type_, control), impaired) in hit.into_iter().zip(impaired) {
        control.clear_faults();
        stage.chronicle.end(|pages| &mut pages.impaired, impaired);
        wait_on(stage, (type_, control), begun, wait);
    }
    Ok(())
}

/// Writes down until when each account's last failed call waits.
fn wait_on(stage: &Stage, (type_, control): (usize, &Control), begun: DateTime<Utc>, wait: TimeDelta) {
    let one = &stage.types[type_];
    let failed: Vec<Seen> = control.requests();
    let failed = failed.iter().filter(|seen| seen.call.time >= begun && seen.call.fault().is_some());
    let failed: Vec<_> = failed.map(|seen| (&seen.call.target.account, seen.call.time)).collect();
    let accounts = stage.estate().accounts.len();
    let now = Utc::now();
    for account in (0..accounts).filter(|account| stage.estate().accounts[*account].type_ == type_) {
        let name = one.account(account);
        let last = failed.iter().filter(|(target, _)| target.contains(&name)).map(|(_, at)| *at).max();
        if let Some(until) = last.map(|at| at + wait).filter(|until| *until > now) {
            let stretch = super::chronicle::Stretch { what: Whose::Account(account), from: now, to: Some(until) };
            stage.chronicle.pages().impaired.push(stretch);
        }
    }
}

/// One account's credential is withdrawn. In the end it gets another, and the admin puts it into the Secret. At that time
/// another account, which signs, gets another key: until then it signs with the old one, since nobody is asked.
async fn credential(stage: &Stage, fault: Fault, dice: &mut Dice, number: usize) -> Result<()> {
    let [(calls, was), (signs, signed)] = [true, false].map(|calls| replaced_account(stage, dice, calls));
    let named = [&was, &signed].map(|account| {
        let of = account.namespace.as_deref().unwrap_or("the cluster");
        format!("{} of {of}", stage.types[account.type_].name())
    });
    stage.name_fault(number, &named.join(", "));
    let impaired = stage.chronicle.begin(|pages| &mut pages.impaired, Whose::Account(calls));
    stage.types[was.type_].revoke(calls, was.generation);
    sleep(fault.lasts).await;
    let given = give(stage, calls, &was).await;
    stage.chronicle.end(|pages| &mut pages.impaired, impaired);
    given?;
    give(stage, signs, &signed).await?;
    stage.chronicle.pages().rekeyed.push((Utc::now(), signs, signed.generation + 1));
    Ok(())
}

/// An account that calls a provider, or one that signs, as it was until it gets another credential.
fn replaced_account(stage: &Stage, dice: &mut Dice, calls: bool) -> (usize, Account) {
    let mut estate = stage.estate();
    let is_alive = |account: &Account| account.namespace.as_ref().is_none_or(|own| estate.namespaces.contains(own));
    let fits = |account: &Account| stage.types[account.type_].control().is_some() == calls && is_alive(account);
    let fitting: Vec<_> = (0..estate.accounts.len()).filter(|number| fits(&estate.accounts[*number])).collect();
    let number = fitting[dice.index(fitting.len())];
    let was = estate.accounts[number].clone();
    estate.accounts[number].generation += 1;
    (number, was)
}

/// Puts an account's present credential into its Secret, unless its namespace went meanwhile.
async fn give(stage: &Stage, number: usize, account: &Account) -> Result<()> {
    persist(async || match stage.give_credential(number).await {
        Err(_) if account.namespace.as_ref().is_some_and(|own| !stage.estate().namespaces.contains(own)) => Ok(()),
        given => given,
    })
    .await
}

/// Some Secrets are deleted; or their token is overwritten in every other, and in the rest what doesn't cost one.
async fn secrets(stage: &Stage, kind: Kind, dice: &mut Dice) -> Result<()> {
    let objects = stage.living();
    for (n, index) in dice.indices(SECRETS, objects.len()).into_iter().enumerate() {
        let object = &objects[index];
        let api: Api<Secret> = Api::namespaced(stage.admin.clone(), &object.namespace);
        let costs = kind == Kind::SecretsDeleted || n % 2 == 0;
        if costs {
            stage.chronicle.pages().touched.push((Utc::now(), object.secret()));
        }
        let key = if costs { "token" } else { "expires-at" };
        persist(async || {
            let done = if kind == Kind::SecretsDeleted {
                api.delete(&object.name, &DeleteParams::default()).await.map(drop)
            } else {
                let patch = json!({"stringData": {key: "written by another hand"}});
                api.patch(&object.name, &PatchParams::default(), &Patch::Merge(&patch)).await.map(drop)
            };
            done.or_else(gone_is_done)
        })
        .await?;
        if costs {
            // the API server may have been away for a while
            stage.chronicle.pages().touched.push((Utc::now(), object.secret()));
        }
    }
    Ok(())
}

fn gone_is_done(error: kube::Error) -> Result<()> {
    match error {
        kube::Error::Api(status) if status.code == 404 => Ok(()),
        error => Err(error.into()),
    }
}

/// A namespace with all that is in it goes; as many objects are made in a new one.
async fn namespace(stage: &Stage, dice: &mut Dice) -> Result<()> {
    let ends = {
        let mut estate = stage.estate();
        let index = dice.index(estate.namespaces.len());
        estate.namespaces.remove(index)
    };
    let objects = stage.estate().objects.iter().filter(|object| object.namespace == ends).count();
    stage.chronicle.pages().ended.push((Utc::now(), ends.clone()));
    let api: Api<Namespace> = Api::all(stage.admin.clone());
    persist(async || api.delete(&ends, &DeleteParams::default()).await.map(drop).or_else(gone_is_done)).await?;
    // not before the API server is there: what is half made isn't made again
    persist(async || api.list_metadata(&kube::api::ListParams::default().limit(1)).await.map(drop).map_err(Into::into))
        .await?;
    stage.populate(objects).await.map(drop)
}

/// Tries until it works.
async fn persist(mut work: impl AsyncFnMut() -> Result<()>) -> Result<()> {
    let end = Instant::now() + PERSISTENCE;
    loop {
        match tokio::time::timeout(Duration::from_secs(15), work()).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) if Instant::now() > end => return Err(error),
            Err(_) if Instant::now() > end => bail!("no answer"),
            _ => sleep(Duration::from_millis(500)).await,
        }
    }
}
