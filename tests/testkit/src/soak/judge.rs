//! Brings together what the observer saw, what the emulators issued and what the harness knows, and judges it.

use std::collections::{BTreeMap, HashMap, HashSet};

use chrono::{DateTime, TimeDelta, Utc};

use super::ideal::{self, Cause, Issue, Story};
use super::promise::{self, Life, chance};
use super::spans::Span;
use super::stage::Stage;
use super::types::Token;
use crate::emulator::Fault;
use crate::stand::observer::{Report, Stretch, What};

/// An expired token, judged.
#[derive(Clone, Debug)]
pub(super) struct Judged {
    pub(super) stretch: Stretch,
    /// What type of provider issued it.
    pub(super) type_: &'static str,
    /// The token, and from when it could have been renewed, if it could.
    pub(super) life: Option<Life>,
    pub(super) chance: Option<DateTime<Utc>>,
}

/// All issues of all objects, by their causes; and the needless ones in words.
#[derive(Debug, Default)]
pub(super) struct Issues {
    pub(super) tally: BTreeMap<Cause, u64>,
    pub(super) needless: Vec<(DateTime<Utc>, String)>,
}

/// The tokens of each object, oldest first, with whether their answers were lost.
fn ledger(stage: &Stage) -> Vec<Vec<(Token, bool)>> {
    let mut all = vec![Vec::new(); stage.estate().objects.len()];
    for one in &stage.types {
        let requests = one.control().map(|control| control.requests()).unwrap_or_default();
        let lost: HashSet<u64> = requests
            .iter()
            .filter_map(|seen| {
                let lost = matches!(seen.call.fault(), Some(Fault::CutBody | Fault::Stall(_)));
                lost.then_some(seen.call.number)
            })
            .collect();
        for token in one.tokens() {
            if let Some(tokens) = all.get_mut(token.object) {
                tokens.push((token, token.call.is_some_and(|call| lost.contains(&call))));
            }
        }
    }
    for tokens in &mut all {
        tokens.sort_by_key(|(token, _)| (token.life.issued_at, token.key));
    }
    all
}

/// Each stretch in which a Secret held an expired token, save in a namespace that was going.
pub(super) fn expired(stage: &Stage, report: &Report) -> Vec<Judged> {
    let (ledger, now) = (ledger(stage), Utc::now());
    let objects = stage.estate().objects.clone();
    let mut judged = Vec::new();
    for stretch in &report.stretches {
        let Some(number) = objects.iter().position(|object| object.secret() == stretch.secret) else { continue };
        let object = &objects[number];
        let ended = stage.chronicle.pages().ended.iter().find(|(_, name)| *name == object.namespace).map(|(at, _)| *at);
        if ended.is_some_and(|ended| ended <= stretch.from) {
            continue;
        }
        let type_ = stage.estate().accounts[object.account].type_;
        let life =
            ledger[number].iter().map(|(token, _)| token.life).find(|life| life.expires_at == stretch.expires_at);
        let well = stage.chronicle.pages().well(type_, object.account, now);
        let chance = life.and_then(|life| chance(life, &well, stage.queue(object.account)));
        judged.push(Judged { stretch: stretch.clone(), type_: stage.types[type_].name(), life, chance });
    }
    judged
}

/// A renewal that came later than P17 promises.
#[derive(Clone, Debug)]
pub(super) struct Late {
    pub(super) secret: String,
    /// When it was due.
    pub(super) due: DateTime<Utc>,
    /// By how much it was too late.
    pub(super) by: TimeDelta,
}

/// When a token was seen in its Secret first, and when it expires.
type Stored = (DateTime<Utc>, DateTime<Utc>);

/// The tokens of each Secret in the order in which they were seen.
fn stored(report: &Report) -> HashMap<&str, Vec<Stored>> {
    let mut stored: HashMap<&str, Vec<Stored>> = HashMap::new();
    for event in &report.timeline {
        if let What::Token(Some(expires_at)) = event.what {
            stored.entry(&event.secret).or_default().push((event.at, expires_at));
        }
    }
    stored
}

/// Each renewal that came later than P17 promises, save in a namespace that was going.
pub(super) fn late(stage: &Stage, report: &Report, ended: DateTime<Utc>) -> Vec<Late> {
    let ledger = ledger(stage);
    let objects = stage.estate().objects.clone();
    let stored = stored(report);
    let mut all = Vec::new();
    for (object, tokens) in objects.iter().zip(ledger) {
        let secret = object.secret();
        let seen = stored.get(secret.as_str()).map(Vec::as_slice).unwrap_or_default();
        let type_ = stage.estate().accounts[object.account].type_;
        let pages = stage.chronicle.pages();
        let (went, well) = (pages.went(&object.namespace, ended), pages.well(type_, object.account, ended));
        drop(pages);
        let queue = stage.queue(object.account);
        let lives = tokens.into_iter().map(|(token, _)| token.life);
        for life in lives.filter(|life| seen.iter().any(|(_, end)| *end == life.expires_at)) {
            let renewed = seen.iter().find(|(_, end)| *end > life.expires_at).map_or(went, |(at, _)| *at);
            if let Some(by) = promise::late(life, renewed.min(went), &well, queue) {
                all.push(Late { secret: secret.clone(), due: life.due(), by });
            }
        }
    }
    all
}

/// A token that another key had to replace.
#[derive(Clone, Debug)]
pub(super) struct Rekeyed {
    pub(super) secret: String,
    /// When the key had been given.
    pub(super) given: DateTime<Utc>,
    /// When no token of an older key was left, or the namespace or the run ended.
    pub(super) replaced: DateTime<Utc>,
    /// By how much that was later than promised.
    pub(super) by: Option<TimeDelta>,
}

/// Each token whose key changed while it was stored, save in a namespace that had gone.
pub(super) fn rekeyed(stage: &Stage, report: &Report, ended: DateTime<Utc>) -> Vec<Rekeyed> {
    let (ledger, stored) = (ledger(stage), stored(report));
    let objects = stage.estate().objects.clone();
    let rekeyed = stage.chronicle.pages().rekeyed.clone();
    let mut all = Vec::new();
    for (given, account, generation) in rekeyed {
        for (object, tokens) in objects.iter().zip(&ledger).filter(|(object, _)| object.account == account) {
            let secret = object.secret();
            // of two that expire at the same time, the newer key's: they were signed in the same second
            let key = |expires_at: DateTime<Utc>| {
                let same = tokens.iter().filter(|(token, _)| token.life.expires_at == expires_at);
                same.map(|(token, _)| token.key).max()
            };
            let seen = stored.get(secret.as_str()).map(Vec::as_slice).unwrap_or_default();
            let seen: Vec<_> = seen.iter().filter_map(|(at, end)| Some((*at, key(*end)?))).collect();
            let type_ = stage.estate().accounts[account].type_;
            let pages = stage.chronicle.pages();
            let (went, well) = (pages.went(&object.namespace, ended), pages.well(type_, account, ended));
            drop(pages);
            let replaced = promise::replaced(&seen, generation).map_or(went, |at| at.min(went));
            let was_stored = seen.first().is_some_and(|(at, _)| *at < given);
            if was_stored && went > given {
                let by = promise::outdated(given, replaced, &well, stage.queue(account));
                all.push(Rekeyed { secret, given, replaced, by });
            }
        }
    }
    all
}

/// Why each token was issued.
pub(super) fn issues(stage: &Stage, report: &Report) -> Issues {
    let now = Utc::now();
    let objects = stage.estate().objects.clone();
    let pages = stage.chronicle.pages();
    let upsets: Vec<Span> = pages.upsets.iter().map(|upset| upset.span(now)).collect();
    let seen: HashSet<(&str, DateTime<Utc>)> = report
        .timeline
        .iter()
        .filter_map(|event| match event.what {
            What::Token(Some(expires_at)) => Some((event.secret.as_str(), expires_at)),
            _ => None,
        })
        .collect();
    let mut issues = Issues::default();
    for (object, tokens) in objects.iter().zip(ledger(stage)) {
        let secret = object.secret();
        let issue = |(Token { life, key, .. }, answer_lost): (Token, bool)| Issue {
            life,
            answer_lost,
            stored: seen.contains(&(secret.as_str(), life.expires_at)),
            key,
        };
        let touched = pages.touched.iter().filter(|(_, name)| *name == secret).map(|(at, _)| *at).collect();
        let story = Story { issues: tokens.into_iter().map(issue).collect(), touched };
        for ((cause, issue), before) in ideal::causes(&story, &upsets)
            .zip(&story.issues)
            .zip(std::iter::once(None).chain(story.issues.iter().map(Some)))
        {
            *issues.tally.entry(cause).or_default() += 1;
            if let (Cause::Needless, Some(before)) = (cause, before) {
                let age = (issue.life.issued_at - before.life.issued_at).num_seconds();
                let stored = if before.stored { "stored" } else { "never stored" };
                let life = before.life.length().num_seconds();
                let told = format!("{secret}: needless: the token before is {age} s old of {life}, and was {stored}");
                issues.needless.push((issue.life.issued_at, told));
            }
        }
    }
    issues
}
