//! One object, one step after the other: gather, decide, act; and in the end, record.

use super::Context;
use super::accounts::Said;
use super::apply::ApplyError;
use super::contests;
use super::dereference::Seen;
use super::logins;
use super::memo::{Found, Held, Memo, Outcome, Probe};
use super::record::record;
use super::renders::ASK_AGAIN;
use super::restarts;
use super::slots::Slot;
use super::token::Token;
use super::traced;
use super::write_health::{Extent, Passage};
use crate::api::key::ObjectKey;
use crate::api::request::TokenRequest;
use crate::api::secret::DeletionPolicy;
use crate::api::wire_time;
use crate::budget::{self, Ask, Lock};
use crate::clock;
use crate::issuer::{Class, IssueError, Issued};
use crate::plan::backoff;
use crate::plan::contest::Contender;
use crate::plan::decide::{Act, Cause, Decision, Delay, decide};
use crate::plan::facts::{Failure, SecretFacts, resource_version, secret_facts};
use crate::plan::hash::request_hash;
use crate::plan::secret::{Fixed, Guard, Material, Previous, Verdict, contender};
use crate::plan::view::{Before, DataView, WriteTrouble};
use crate::telemetry::journey::Written;
use chrono::{SubsecRound, TimeDelta};
use kube::runtime::controller::Action;
use secrecy::ExposeSecret;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

/// More steps than any object needs in a row; the rest is left to the next look.
const STEPS: usize = 12;

/// A call is begun only when the lease lasts at least this long.
pub(super) const SHORTEST_CALL: Duration = Duration::from_secs(2);

/// After a panic the object is left alone this long.
const AFTER_PANIC: TimeDelta = TimeDelta::minutes(1);

/// For kube's Controller. The work runs in a task of its own: one reconcile that computes for long holds up no other, and
/// a panic costs its object alone.
pub(super) async fn reconcile(token: Arc<Token>, context: Arc<Context>) -> Result<Action, Infallible> {
    let key = token.key.clone();
    drop(token);
    let (all, mine) = (context.clone(), key.clone());
    let mut work = Work(tokio::spawn(async move { run(&all, &mine).await }));
    if (&mut work.0).await.is_err_and(|error| error.is_panic()) {
        drop(context.take_grant(&key));
        context.turns.leave(&key, clock::now());
        context.memos.change(&key, |memo| memo.queued = None);
        context.look_again(&key, AFTER_PANIC);
    }
    Ok(Action::await_change())
}

/// A reconcile's task, which ends with the Controller that awaits it.
struct Work(tokio::task::JoinHandle<()>);

impl Drop for Work {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Takes steps until there is nothing to do but wait.
pub(super) async fn run(context: &Context, key: &ObjectKey) {
    context.timetable.clear(key);
    let in_flight = InFlight::of(context, key);
    for _ in 0..STEPS {
        if !context.lease.is_leader() {
            context.look_again(key, TimeDelta::seconds(1));
            return;
        }
        let now = clock::now();
        let Some(seen) = Seen::gather(context, key, now) else {
            context.forget(key);
            context.turns.leave(key, clock::now());
            return;
        };
        if seen.unjudged {
            // what waits for its turn holds nothing: there may be many
            drop(seen);
            let current = || context.tokens.get(key)?.spec().ok().map(|spec| spec.secret);
            if !context.renders.judge(&key.namespace, current).await {
                context.look_again(key, TimeDelta::from_std(ASK_AGAIN).unwrap_or_default());
            }
            continue;
        }
        let mut decision = decide(&seen.view(), now.wall);
        tracing::trace!(%key, act = ?decision.act, cause = ?decision.cause, "decided");
        match act(context, &seen, &decision).await {
            Next::Step => continue,
            Next::Settled => {}
            Next::Held(delay) => decision.delay = delay,
        }
        // the token is stored, or waits: what follows keeps no other waiting
        drop(in_flight);
        let restarted_for = restarts::follow(context, &seen, &decision).await;
        if record(context, &seen, &decision, restarted_for).await {
            let memo = context.memos.get(key);
            context.traces.settled(key, memo.queued.is_some(), memo.held.is_some());
        }
        return;
    }
    context.look_again(key, TimeDelta::seconds(1));
}

/// Counts a granted object from its turn until its token is stored.
struct InFlight<'a> {
    context: &'a Context,
    slot: Option<Slot>,
}

impl<'a> InFlight<'a> {
    fn of(context: &'a Context, key: &ObjectKey) -> Self {
        Self { context, slot: context.take_grant(key) }
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        if self.slot.take().is_some() {
            self.context.turns.room_again();
        }
    }
}

enum Next {
    /// Something was learnt: decide again.
    Step,
    /// Nothing to do but wait.
    Settled,
    /// It may not ask for a turn now: what the status says of it, if the wait has lasted.
    Held(Option<Delay>),
}

async fn act(context: &Context, seen: &Seen, decision: &Decision) -> Next {
    let key = &seen.token.key;
    // what no budget bounds waits its turn here
    let unbounded = matches!(decision.act, Act::Probe | Act::Inspect | Act::Render | Act::Move | Act::RemoveFormer);
    let _slot = if unbounded { Some(context.looks.take(&key.namespace).await) } else { None };
    if !context.lease.is_leader() {
        // a crowd's wait may outlast the lease
        return Next::Step;
    }
    match &decision.act {
        Act::Wait => return Next::Settled,
        Act::Probe => probe(context, seen).await,
        Act::Inspect => look_inside(context, seen).await,
        Act::Render => render(context, seen).await,
        Act::Move => move_here(context, seen).await,
        Act::RemoveFormer => remove_former(context, seen).await,
        Act::Store => store(context, seen, decision.cause).await,
        Act::Discard => match (&seen.memo.held, seen.secret_facts()) {
            // a write whose answer was lost has stored it
            (Some(held), Some(facts)) if is_of(facts, seen, held) => stored(context, seen, held, decision.cause),
            _ => context.memos.change(key, |memo| (memo.held, memo.spare) = (None, None)),
        },
        Act::Withdraw => {
            context.turns.leave(key, clock::now());
            context.memos.change(key, |memo| memo.queued = None);
        }
        &Act::Enqueue { first, expires_at, urgent_at, unplanned } => {
            let Some(account) = &seen.account else { return Next::Settled };
            if let Err(wait) = context.admit(&key.namespace) {
                let left = wait.until.saturating_duration_since(clock::now().mono);
                context.look_again(key, TimeDelta::from_std(left).unwrap_or_default());
                let message = "Secrets of this namespace can't be written now, so no token is issued: see the \
                               VideoAccessTokens of this namespace whose reason is SecretWriteFailed too";
                let delay = Delay { reason: "SecretWriteFailed".to_owned(), message: message.to_owned() };
                return Next::Held(wait.lasts.then_some(delay));
            }
            let ask = Ask { key: key.clone(), first, expires_at, urgent_at, unplanned };
            let now = clock::now();
            context.memos.change(key, |memo| memo.queued = Some((account.key.clone(), now.wall)));
            let due = decision.renewal.filter(|_| decision.cause == Some(Cause::Due)).map(|renewal| renewal.due);
            context.traces.asked(key, || traced::subject(seen, decision), due);
            context.turns.ask(&account.key, ask, now);
        }
        Act::Issue => issue(context, seen, decision).await,
    }
    Next::Step
}

/// One metadata GET of what stands at the Secret's name.
async fn probe(context: &Context, seen: &Seen) {
    match context.applier.probe(&seen.secret_key).await {
        Ok(found) => {
            context.memos.change(&seen.token.key, |memo| {
                // what lies in the Secret as it stands is no less true for this look
                memo.trouble.take_if(|(trouble, _)| trouble.met.is_none());
                note_found(memo, seen, found);
                if let Some(Probe { found: Found::Nothing, .. }) = &memo.probe
                    && memo.elsewhere.is_none()
                    && (seen.token.status.issuances > 0 || memo.issued > 0)
                {
                    // it was renamed and renamed back: its token may stand at the name between
                    memo.elsewhere = context.secrets.written_for(&seen.token.key.namespace, seen.token.uid);
                }
            });
        }
        Err(error) => trouble(context, seen, &error),
    }
}

/// Notes what stands at the Secret's name. Nothing, where the status knows a live token: another hand deleted it.
pub(super) fn note_found(memo: &mut Memo, seen: &Seen, found: Option<SecretFacts>) {
    let (now, status) = (clock::now().wall, &seen.token.status);
    let expected = status.expires_at.time().is_some_and(|expires| expires > now) && status.other_secret.is_none();
    memo.repaired |= found.is_none() && expected;
    memo.probe = Some(Probe { at: now, of: seen.token.wake, found: found.into() });
}

/// One GET: did another hand change the data?
async fn look_inside(context: &Context, seen: &Seen) {
    let Some(Read { facts, verdict, fixed, contender }) = read(context, seen, &seen.secret_key).await else { return };
    let data = match (fixed, &verdict) {
        (Some(fixed), _) => DataView::Fixed(fixed),
        (None, Verdict::Intact(_)) => DataView::Verified,
        (None, Verdict::Altered(_) | Verdict::Outdated(_)) => DataView::Altered,
        (None, Verdict::Lost) => DataView::Lost,
    };
    let repaired = fixed.is_none() && matches!(verdict, Verdict::Altered(_) | Verdict::Lost);
    contests::looked(context, seen, contender.filter(|_| repaired));
    context.memos.change(&seen.token.key, |memo| {
        memo.data = Some((facts.resource_version, data));
        memo.repaired |= repaired;
    });
}

/// A Secret that was read whole.
struct Read {
    facts: SecretFacts,
    verdict: Verdict,
    fixed: Option<Fixed>,
    /// Who changed what of ours.
    contender: Option<Contender>,
}

impl Read {
    /// It is as the decision saw it: what was decided may be written over it. Else the next decision is made of what
    /// was learnt.
    fn is(&self, seen: Option<&Arc<SecretFacts>>) -> bool {
        seen.is_some_and(|seen| seen.version() == self.facts.version())
    }
}

/// Reads a Secret whole. `None`: it is gone or couldn't be read, and that is noted.
async fn read(context: &Context, seen: &Seen, key: &ObjectKey) -> Option<Read> {
    let spec = seen.secret_spec()?;
    let look = context.secrets.look(key);
    match context.applier.read(key, &context.renders).await {
        Ok(Some((secret, _room))) => {
            let facts = secret_facts(&secret.metadata);
            let contender = contender(&secret, &spec);
            contests::learnt(context, seen, look, Some(facts.clone()));
            let (of, uid) = (&seen.token.key, seen.token.uid_text());
            match context.renders.inspect(of, uid, spec, secret, &facts).await {
                Ok((verdict, fixed)) => Some(Read { facts, verdict, fixed, contender }),
                Err(error) => {
                    trouble(context, seen, &ApplyError::Misshapen(error.to_string()));
                    None
                }
            }
        }
        Ok(None) => {
            context.secret_gone(look);
            context.memos.change(&seen.token.key, |memo| memo.probe = None);
            None
        }
        Err(error) => {
            trouble(context, seen, &error);
            None
        }
    }
}

/// Writes the Secret anew from the token that it holds.
async fn render(context: &Context, seen: &Seen) {
    let Some(read) = read(context, seen, &seen.secret_key).await else { return };
    if !read.is(seen.secret_facts()) {
        return;
    }
    let Read { facts, verdict, .. } = read;
    match verdict {
        Verdict::Intact(mut material) | Verdict::Altered(mut material) | Verdict::Outdated(mut material) => {
            let now = clock::now().wall;
            material.previous = material.previous.filter(|previous| now + TimeDelta::seconds(5) < previous.expires_at);
            write(context, seen, &material, Some(&facts), None).await;
        }
        Verdict::Lost => {
            let lost = Some((facts.resource_version, DataView::Lost));
            context.memos.change(&seen.token.key, |memo| memo.data = lost);
        }
    }
}

/// Writes the Secret of the new name from the token in the former one.
async fn move_here(context: &Context, seen: &Seen) {
    let Some((former, facts)) = &seen.former else { return };
    let Some(read) = read(context, seen, former).await else { return };
    if !read.is(Some(facts)) {
        return;
    }
    match read.verdict {
        Verdict::Intact(material) | Verdict::Altered(material) | Verdict::Outdated(material) => {
            if write(context, seen, &material, None, None).await {
                context.memos.change(&seen.token.key, |memo| memo.elsewhere = Some(former.clone()));
            }
        }
        // nothing to move: without its facts the next decision issues
        Verdict::Lost => context.secrets.forget(former),
    }
}

async fn remove_former(context: &Context, seen: &Seen) {
    let Some((key, facts)) = &seen.former else { return };
    let look = context.secrets.look(key);
    match context.applier.delete_secret(key, facts).await {
        Ok(()) => {
            context.memos.change(&seen.token.key, |memo| memo.elsewhere.take_if(|elsewhere| elsewhere == key));
            context.secret_gone(look);
        }
        // another hand changed it: its watch event or the next look decides again
        Err(ApplyError::Conflict) => {
            let look = context.secrets.look(key);
            match context.applier.probe(key).await {
                Ok(found @ Some(_)) => contests::learnt(context, seen, look, found),
                Ok(None) => context.secret_gone(look),
                Err(error) => trouble(context, seen, &error),
            }
        }
        Err(error) => trouble(context, seen, &error),
    }
}

/// Stores the token at hand; over a plain renewal the one before is kept, if it is asked for.
async fn store(context: &Context, seen: &Seen, cause: Option<Cause>) {
    let Some(held) = seen.memo.held.clone() else { return };
    let there = seen.secret_facts();
    let keeps_previous = seen.spec.as_ref().is_some_and(|spec| spec.secret.keys.previous_token.is_some());
    let mut material = held.material.clone();
    if keeps_previous && cause == Some(Cause::Due) && there.is_some() {
        let Some(read) = read(context, seen, &seen.secret_key).await else { return };
        if !read.is(there) {
            return;
        }
        let Read { facts, verdict, .. } = read;
        if let Verdict::Intact(before) | Verdict::Altered(before) | Verdict::Outdated(before) = verdict {
            material.previous = (clock::now().wall + TimeDelta::seconds(5) < before.expires_at)
                .then_some(Previous { token: before.token, expires_at: before.expires_at });
        }
        if write(context, seen, &material, Some(&facts), cause).await {
            stored(context, seen, &held, cause);
        }
    } else if write(context, seen, &material, there.map(|facts| &**facts), cause).await {
        stored(context, seen, &held, cause);
    }
}

/// The Secret records the issue of the token at hand, for this object.
fn is_of(facts: &SecretFacts, seen: &Seen, held: &Held) -> bool {
    facts.owner == Some(seen.token.uid)
        && facts.issued_at == held.material.issued_at.into()
        && facts.expires_at == held.material.expires_at.into()
        && facts.request == Some(held.material.request)
}

fn stored(context: &Context, seen: &Seen, held: &Arc<Held>, cause: Option<Cause>) {
    context.memos.change_of(&seen.token.key, seen.token.uid, |memo| {
        // a spare one was counted when it was issued
        memo.issued += u32::from(memo.held.take().is_some());
        let fights = memo.contest.as_ref().is_some_and(|contest| contest.is_slowed());
        memo.spare = (fights && contests::is_repair(seen, cause)).then(|| held.clone());
        memo.expiry_assumed = Some(held.expiry_assumed);
    });
}

/// The only place that writes a Secret: on the one that the decision saw, or on none. Tells whether the token stands
/// there.
async fn write(
    context: &Context,
    seen: &Seen,
    material: &Material,
    there: Option<&SecretFacts>,
    cause: Option<Cause>,
) -> bool {
    let Some(spec) = seen.secret_spec() else { return false };
    let key = &seen.token.key;
    let mut shaped = match context.renders.shape(key, seen.token.uid_text(), spec, material).await {
        Ok(shaped) => shaped,
        Err(error) => {
            let trouble = ApplyError::Misshapen(error.to_string());
            self::trouble(context, seen, &trouble);
            return false;
        }
    };
    if there.is_some_and(|facts| facts.controlled) {
        shaped.shape = shaped.shape.beside_another_controller();
    }
    let guard = there.map_or(Guard::Create, |facts| Guard::Replace {
        uid: &facts.uid_text,
        resource_version: facts.resource_version,
    });
    if context.memos.change(key, |memo| std::mem::take(&mut memo.unanswered)) {
        // the last write's answer didn't come: it may have been served
        return look(context, seen, cause).await;
    }
    if there.is_none() && !still_there(context, seen).await {
        return false;
    }
    let _slot = context.writes.take(&key.namespace).await;
    if !context.lease.is_leader() {
        return false;
    }
    let begun = clock::now().wall;
    let request = context.secrets.look(&seen.secret_key);
    let written = context.applier.secret(&seen.secret_key, &shaped.shape, guard).await;
    context.traces.wrote(key, Written::Secret, begun, || written.as_ref().err().map(traced::fault));
    contests::wrote(context, seen, &written, cause);
    match written {
        Ok(stored) => {
            context.write_succeeded(&key.namespace);
            contests::stored(context, seen, request, &shaped.shape, &stored)
        }
        Err(ApplyError::Conflict) => {
            // not as it was seen: look at it afresh, with the same token in hand
            drop(request);
            look(context, seen, cause).await;
            if contests::conflicts_again(context, seen) {
                trouble(context, seen, &ApplyError::Conflict);
            }
            false
        }
        Err(ApplyError::Gone(why)) => {
            tracing::info!(%key, why, "the token is dropped: what it was for is going");
            context.memos.change(key, |memo| memo.held = None);
            trouble(context, seen, &ApplyError::Gone(why));
            false
        }
        Err(error) => {
            trouble(context, seen, &error);
            false
        }
    }
}

/// Looks at the Secret's name afresh, since what was known of it may be wrong. Nothing is written: `false`.
async fn look(context: &Context, seen: &Seen, cause: Option<Cause>) -> bool {
    let request = context.secrets.look(&seen.secret_key);
    match context.applier.probe(&seen.secret_key).await {
        Ok(found) => {
            // a write whose answer was lost may have stored the token at hand
            let held = seen.memo.held.as_ref().filter(|held| found.as_ref().is_some_and(|it| is_of(it, seen, held)));
            if let Some(held) = held {
                stored(context, seen, held, cause);
            }
            contests::learnt(context, seen, request, found);
        }
        Err(error) => trouble(context, seen, &error),
    }
    false
}

/// Before a Secret is created: does the object still exist, and as it was seen? The view of it may be stale while that of the Secrets is
/// fresh, and what is created for an object that is gone stays for ever where `deletionPolicy` is Retain. Elsewhere the
/// garbage collector removes it, so a first Secret costs no read; a repair asks all the same, since it would be made
/// again and again.
async fn still_there(context: &Context, seen: &Seen) -> bool {
    let retained = seen.spec.as_ref().is_some_and(|spec| spec.secret.deletion_policy == DeletionPolicy::Retain);
    let status = &seen.token.status;
    let is_first = status.issuances == 0 && status.expires_at.time().is_none() && seen.memo.issued == 0;
    if is_first && !retained {
        return true;
    }
    match context.applier.live(&*seen.token).await {
        // who may not ask goes on as before
        Err(ApplyError::Refused(_)) => true,
        // a restored etcd counts generations anew, too
        Ok(Some(live))
            if live.generation.unwrap_or_default() == seen.token.generation()
                && resource_version(live.resource_version.as_deref()) >= seen.token.version =>
        {
            true
        }
        Ok(Some(_)) => {
            // it may name another Secret by now: its watch will tell
            trouble(context, seen, &ApplyError::Conflict);
            false
        }
        Ok(None) => {
            tracing::info!(key = %seen.token.key, "the token is dropped: its object is gone");
            context.take(&context.tokens.gone(&seen.token));
            false
        }
        Err(error) => {
            trouble(context, seen, &error);
            false
        }
    }
}

/// Notes a failed request to the API server; until the next try nothing is written for this object.
fn trouble(context: &Context, seen: &Seen, error: &ApplyError) {
    let now = clock::now().wall;
    let (reason, stalled, again) = match error {
        ApplyError::Immutable => ("SecretImmutable", true, Some(TimeDelta::minutes(3))),
        ApplyError::Misshapen(_) => ("InvalidSpec", true, Some(TimeDelta::minutes(10))),
        ApplyError::Gone(_) => ("NamespaceTerminating", true, Some(TimeDelta::minutes(1))),
        ApplyError::Refused(_) => ("SecretRefused", true, Some(TimeDelta::minutes(1))),
        ApplyError::Conflict
        | ApplyError::Unfit(_)
        | ApplyError::Failing(_)
        | ApplyError::Unanswered(_)
        | ApplyError::Unavailable(_) => ("SecretWriteFailed", false, None),
    };
    let message = match error {
        ApplyError::Immutable => {
            "spec.secret.name: that Secret was made immutable: delete it, or choose another name".to_owned()
        }
        other => other.to_string(),
    };
    if let Some(extent) = error.extent() {
        context.write_failed(&seen.token.key.namespace, extent);
    }
    tracing::warn!(key = %seen.token.key, reason, message, "a request to the API server failed");
    let lies_in_the_secret = matches!(error, ApplyError::Immutable | ApplyError::Refused(_) | ApplyError::Conflict);
    context.memos.change(&seen.token.key, |memo| {
        memo.write_failures += 1;
        memo.unanswered |= error.may_be_served();
        let soonest = backoff::next_write(memo.write_failures, now, seen.token.uid.0);
        let next = again.map_or(soonest, |again| now + again);
        let met = lies_in_the_secret.then(|| seen.version());
        memo.trouble = Some((WriteTrouble { reason, message, next, stalled, met, soonest }, seen.trying));
        if let (ApplyError::Immutable, Some((_, version))) = (error, seen.version()) {
            memo.data = Some((version, DataView::Fixed(Fixed::Immutable)));
        }
    });
}

/// Our turn: one call of the provider, then the token is at hand.
async fn issue(context: &Context, seen: &Seen, decision: &Decision) {
    let (key, uid) = (&seen.token.key, seen.token.uid);
    let (Some(account), Some(request)) = (&seen.account, &seen.request) else { return };
    let queued_for = seen.memo.queued.as_ref().map(|(queue, _)| queue);
    if queued_for != Some(&account.key) || !may_pass(context, seen).await {
        return give_back(context, key).await;
    }
    let login = match logins::begin(context, account).await {
        Ok(login) => login,
        Err(logins::Held::UsedUp(next)) => {
            let now = clock::now();
            context.turns.lock(&account.key, Lock::LoginsUsedUp, (next - now.wall).to_std().unwrap_or_default(), now);
            context.report_soon(&account.of);
            return give_back(context, key).await;
        }
        Err(logins::Held::Unwritten) => return give_back(context, key).await,
    };
    if !context.lease.valid_for(SHORTEST_CALL) {
        if let Some(attempt) = login {
            logins::withdraw(context, account, attempt).await;
        }
        return give_back(context, key).await;
    }
    let begun = clock::now();
    // from here on the call counts, whatever becomes of the object
    let Some(call) = context.turns.begin(key, &account.key, begun) else {
        if let Some(attempt) = login {
            logins::withdraw(context, account, attempt).await;
        }
        return give_back(context, key).await;
    };
    if let Some(kind) = decision.unplanned {
        let Before { spells, generation, .. } = seen.before;
        context.memos.note_call((key, uid), kind, generation, spells, begun.wall);
    }
    let mut call = Call { context, begun: call, ended: false };
    let limit = context.settings.reach.timeout;
    let result = tokio::time::timeout(limit, account.issuer.issue(request))
        .await
        .unwrap_or_else(|_| Err(IssueError::timed_out(limit)));
    let took = begun.mono.elapsed();
    let now = clock::now();
    context.traces.called(key, || traced::call(account.type_name, (begun.wall, now.wall), &result));
    context.note_skew(account);
    context.memos.change_of(key, uid, |memo| memo.queued = None);
    match result {
        Ok(issued) => {
            let was_proven = context.turns.state(&account.key, now).proven;
            call.end(budget::Outcome::Issued, now);
            logins::worked(context, account);
            account.history().last_issued = Some(now.wall);
            context.metrics.issued(account.type_name, took);
            tracing::info!(%key, provider = seen.provider, expires_at = %issued.expires_at,
                request_id = issued.request_id, "issued");
            let held = Held { expiry_assumed: issued.expiry_assumed, material: material(seen, request, issued) };
            context.memos.change_of(key, uid, |memo| {
                memo.held = Some(Arc::new(held));
                memo.outcome = Some(Outcome::Success);
            });
            // only now: what stops this write must not cost the token
            if let Some(attempt) = login {
                logins::withdraw(context, account, attempt).await;
            }
            // after it: two writes of one status at once, and one is lost
            if !was_proven {
                context.report_soon(&account.of);
            }
        }
        Err(error) => {
            match login {
                Some(attempt) if error.reached_nobody() => logins::withdraw(context, account, attempt).await,
                None if error.class == Class::Credential => logins::note(context, account).await,
                _ => {}
            }
            failed(context, seen, call, &error, now, took);
        }
    }
}

/// A call that is under way. One that nobody ends, since its reconcile panicked, failed.
struct Call<'a> {
    context: &'a Context,
    begun: budget::Begun,
    ended: bool,
}

impl Call<'_> {
    fn end(&mut self, outcome: budget::Outcome, now: clock::Now) {
        self.ended = true;
        self.context.turns.end(&self.begun, outcome, now);
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.end(budget::Outcome::Failed, clock::now());
        }
    }
}

/// Gives the turn back unused, and pauses: what held it back tells nobody when it ends.
async fn give_back(context: &Context, key: &ObjectKey) {
    context.turns.leave(key, clock::now());
    context.memos.change(key, |memo| memo.queued = None);
    tokio::time::sleep(Duration::from_millis(200)).await;
}

/// Could a token be stored now, as far as is known? After failures everywhere one metadata GET tells: a provider's call
/// costs more.
async fn may_pass(context: &Context, seen: &Seen) -> bool {
    let namespace = &seen.token.key.namespace;
    match context.passage(namespace) {
        Passage::Free => true,
        Passage::Blocked(_) => false,
        Passage::Trial => {
            let extent = context.applier.probe(&seen.secret_key).await.err().and_then(|error| error.extent());
            if let Some(extent) = extent {
                context.write_failed(namespace, extent);
            }
            extent != Some(Extent::Everywhere)
        }
    }
}

/// The token and its record.
fn material(seen: &Seen, request: &TokenRequest, issued: Issued) -> Material {
    debug_assert!(!issued.token.expose_secret().is_empty());
    let renew_request = seen.token.renew_requested_at.clone().filter(|asked| wire_time::parse(asked).is_some());
    Material::of(issued, request_hash(request), seen.issued_before(), renew_request)
}

fn failed(context: &Context, seen: &Seen, mut call: Call<'_>, error: &IssueError, now: clock::Now, took: Duration) {
    let (key, Some(account)) = (&seen.token.key, &seen.account) else { return };
    // a credential that works for others is refused for this object alone, as far as can be told
    let sure = account.issuer.login().is_some() || error.refuses_identity();
    let (class, outcome) = match error.class {
        Class::Credential if sure || context.turns.blames_credential(&account.key, key) => {
            (Class::Credential, budget::Outcome::CredentialRejected)
        }
        Class::Credential => (Class::Denied, budget::Outcome::CredentialDoubted),
        Class::Throttled => (Class::Throttled, budget::Outcome::Throttled { retry_after: error.retry_after }),
        class => (class, budget::Outcome::Failed),
    };
    context.metrics.issue_failed(account.type_name, class, error.reason, took);
    let attempts = seen.attempts + 1;
    let of_account = matches!(class, Class::Throttled | Class::Credential);
    if of_account {
        let namespace = (&*key.namespace).into();
        account.history().refusal = Some(Said { namespace, reason: error.reason, message: error.message.clone() });
    }
    call.end(outcome, now);
    let state = context.turns.state(&account.key, now);
    let expires_at = seen.secret_facts().and_then(|facts| facts.expires_at.time());
    let next = match state.locked_for.max(state.throttled_for).and_then(|wait| TimeDelta::from_std(wait).ok()) {
        // the account's own lock or throttle holds the object back: it waits in the queue, not by itself
        Some(wait) if of_account => {
            context.report_soon(&account.of);
            let longest = backoff::longest(expires_at, now.wall).filter(|_| error.retry_after.is_none());
            now.wall + longest.filter(|_| class == Class::Throttled).map_or(wait, |longest| wait.min(longest))
        }
        _ => backoff::next_attempt(class, attempts, error.retry_after, expires_at, now.wall, seen.token.uid.0),
    };
    tracing::warn!(%key, provider = seen.provider, ?class, reason = error.reason, message = error.message,
        request_id = error.request_id, attempts, next_attempt_at = %next, "the issue failed");
    let failure = Failure {
        time: now.wall.trunc_subsecs(0),
        class,
        reason: error.reason.to_owned(),
        message: error.message.clone(),
        request_id: error.request_id.clone(),
        next_attempt_at: Some(next),
    };
    context.memos.change_of(key, seen.token.uid, |memo| {
        memo.outcome = Some(Outcome::Failed { failure: Arc::new(failure), attempts, tried: seen.trying });
    });
}
