//! One run: the scenario, its faults, and the verdict.

use crate::api_server::store::Snapshot;
use crate::episode::{Active, Episode, Excuse};
use crate::ledger::Ledger;
use crate::operator::Operator;
use crate::token_api::{NARROW, TokenApi};
use crate::users::{self, Users};
use crate::world::{Rates, World, epoch};
use chrono::{DateTime, TimeDelta, Utc};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

mod disturbances;
mod episodes;
mod plan;
mod verdict;

pub use plan::{Faults, Plan};

/// Time at the end without faults, in which everything must become Ready.
const CALM: Duration = Duration::from_mins(20);

/// Time at the end in which the operators may ask for what is due only (P18).
const QUIET: Duration = Duration::from_mins(10);

/// Time after which the user of a story acts.
const STORY: Duration = Duration::from_mins(2);

/// Longest time of an episode beside a story.
const BESIDE: Duration = Duration::from_mins(5);

/// Milliseconds that a wall clock may be ahead or behind.
const AHEAD: u64 = 300_000;

/// Result of a run.
#[derive(Debug)]
pub struct Report {
    /// Hash of all requests.
    pub trace: String,
    /// What happened, in numbers.
    pub summary: String,
    /// Broken promises.
    pub faults: Vec<String>,
    /// Requests since the story began, leases not counted.
    pub requests: u64,
}

/// Runs the plan on a paused clock in this thread.
///
/// # Errors
/// Returns an error if the runtime can't start.
pub fn run(plan: &Plan) -> std::io::Result<Report> {
    fastrand::seed(plan.seed);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
    // Within the runtime, whose clock is the paused one.
    Ok(runtime.block_on(async { Stage::new(plan).play().await }))
}

/// The world during a run.
struct Stage<'a> {
    plan: &'a Plan,
    world: Arc<World>,
    api: Arc<TokenApi>,
    ledger: Arc<Mutex<Ledger>>,
    operators: Vec<Option<Operator>>,
    /// Operators that are down, and when they start again.
    down: Vec<(Instant, usize)>,
    /// Episodes that will begin, and for how long.
    pending: Vec<(Instant, Episode, Duration)>,
    /// Ends of the episodes in progress.
    ends: Vec<(Instant, Active)>,
    /// Time until which a new leader may not see all objects.
    hidden_until: DateTime<Utc>,
    /// Backups of the last minutes.
    backups: VecDeque<Snapshot>,
    /// The last leader.
    leader: String,
    /// Requests and issued tokens when the quiet begins.
    before_quiet: Option<(u64, u64)>,
    started: u64,
    crashes: u64,
    episodes: u64,
    faults: Vec<String>,
}

impl<'a> Stage<'a> {
    fn new(plan: &'a Plan) -> Self {
        let world = World::new(plan.seed, plan.faults.rates(), plan.struck);
        world.trace.lock().verbose = plan.verbose;
        // A clock that jumps between the call and the renewal moves the renewal by as much.
        let early = if plan.faults.clocks { 2 * AHEAD.cast_signed() / 1000 } else { 0 };
        let api = TokenApi::new(&world, early, plan.tokens);
        let mut ledger = Ledger::default();
        ledger.strict = plan.faults.is_strict() && plan.struck.is_none();
        ledger.narrow = users::namespace(NARROW);
        let ledger = Arc::new(Mutex::new(ledger));
        let (noted, calls) = (ledger.clone(), api.clone());
        world.change(|store| {
            store.observer = Box::new(move |kind, change| noted.lock().record(kind, change, &calls));
            users::create(store, plan.tokens);
        });
        Self {
            plan,
            world,
            api,
            ledger,
            operators: Vec::new(),
            down: Vec::new(),
            pending: Vec::new(),
            ends: Vec::new(),
            hidden_until: epoch(),
            backups: VecDeque::new(),
            leader: String::new(),
            before_quiet: None,
            started: 0,
            crashes: 0,
            episodes: 0,
            faults: Vec::new(),
        }
    }

    fn users(&self) -> Users {
        Users { world: self.world.clone(), api: self.api.clone(), tokens: self.plan.tokens }
    }

    async fn play(mut self) -> Report {
        let begin = Instant::now();
        let end = begin + self.plan.span;
        let calm = end - CALM.min(self.plan.span / 2);
        self.excuse(None, 60, false);
        for _ in 0..self.plan.operators {
            let operator = self.start();
            self.operators.push(Some(operator));
        }
        self.begin_story();
        let mut next = self.after_mean(300);
        let (mut calls, mut waits, mut token) = (self.api.begun.subscribe(), false, None);
        let mut episode = self.after_mean(400);
        let mut tick = begin;
        loop {
            let back = self.down.iter().map(|(at, _)| *at).min().unwrap_or(end);
            let over = self.ends.iter().map(|(at, _)| *at).min().unwrap_or(end);
            let pending = self.pending.iter().map(|(at, ..)| *at).min().unwrap_or(end);
            tokio::select! {
                biased;
                () = self.world.crashed.notified() => self.bury().await,
                _ = calls.changed(), if waits => {
                    (waits, token) = (false, users::number_of(&calls.borrow_and_update()));
                    next = Instant::now() + Duration::from_millis(self.world.below(300));
                }
                () = tokio::time::sleep_until(
                    end.min(next).min(back).min(over).min(pending).min(episode).min(tick)
                ) => {}
            }
            let now = Instant::now();
            for n in self.down.extract_if(.., |(at, _)| *at <= now).map(|(_, n)| n).collect::<Vec<_>>() {
                self.operators[n] = Some(self.start());
            }
            for (_, active) in self.ends.extract_if(.., |(at, _)| *at <= now).collect::<Vec<_>>() {
                self.end(&active);
            }
            for (_, episode, time) in self.pending.extract_if(.., |(at, ..)| *at <= now).collect::<Vec<_>>() {
                self.begin_episode(episode, time);
            }
            if now >= tick {
                tick += Duration::from_secs(1);
                self.tick(now - begin, end - now);
            }
            if now >= end {
                return self.judge();
            }
            if now >= calm {
                *self.world.rates.lock() = Rates::default();
                (next, episode, waits) = (end, end, false);
                self.pending.clear();
                for (_, active) in std::mem::take(&mut self.ends) {
                    self.end(&active);
                }
                continue;
            }
            if now >= episode {
                if self.plan.faults.episodes {
                    self.begin();
                }
                episode = self.after_mean(500).min(calm);
            }
            if now >= next {
                if !waits && token.is_none() && self.world.below(2) == 0 {
                    // Half of the disturbances come during a call, if one begins within a minute.
                    calls.mark_unchanged();
                    (waits, next) = (true, (now + Duration::from_mins(1)).min(calm));
                    continue;
                }
                self.disturb(token.take()).await;
                (waits, next) = (false, self.after_mean(300).min(calm));
            }
        }
    }

    /// Lets the user of the story act, and the episode beside it begin. Without a story, all requests are part of it.
    fn begin_story(&mut self) {
        if let Some(episode) = self.plan.episode {
            let at = Instant::now() + STORY + Duration::from_millis(self.world.below(30_000));
            self.pending.push((at, episode, episode.duration(&self.world).min(BESIDE)));
        }
        let Some(action) = self.plan.story else { return self.world.begin_story() };
        let (users, token) = (self.users(), self.plan.token());
        tokio::spawn(async move {
            tokio::time::sleep(STORY).await;
            users.world.begin_story();
            users.tell(token, action).await;
        });
    }

    /// Returns true if users act besides the story.
    fn has_users(&self) -> bool {
        self.plan.faults.users || self.plan.episode.is_some() || self.plan.struck.is_some()
    }

    fn start(&mut self) -> Operator {
        self.started += 1;
        let ahead = if self.plan.faults.clocks { self.below_signed(AHEAD / 5) } else { 0 };
        let name = format!("operator-{}", self.started);
        Operator::start(&self.world, &self.api, &name, ahead, &self.served())
    }

    /// Returns the namespaces that the operators serve: half of the seeds name them.
    fn served(&self) -> Vec<String> {
        if self.plan.seed.is_multiple_of(2) { users::namespaces(self.plan.tokens) } else { Vec::new() }
    }

    /// Does each second what is due.
    fn tick(&mut self, passed: Duration, left: Duration) {
        self.world.change(|store| store.collect_garbage(users::TOKENS));
        if (self.plan.faults.episodes || self.plan.episode.is_some()) && passed.as_secs().is_multiple_of(60) {
            self.backups.push_back(self.world.store.lock().snapshot());
            if self.backups.len() > 10 {
                self.backups.pop_front();
            }
        }
        let leader = self.operators.iter().flatten().find(|it| it.leads()).map(|it| it.name().to_owned());
        if leader.is_none() {
            // Another may lead and call before the next second.
            self.forget_calls();
        }
        if let Some(leader) = leader.filter(|leader| *leader != self.leader) {
            self.world.note(&format!("{leader} leads"));
            self.leader = leader;
            self.leader_changes();
        }
        if left <= QUIET && passed >= QUIET && self.before_quiet.is_none() {
            self.before_quiet = Some(self.requests());
        }
    }

    /// Allows what a new leader can't know: tokens that were issued and not stored, and calls that no object records.
    fn leader_changes(&self) {
        let (now, ledger) = (self.world.now(), self.ledger.lock());
        self.api.calls.lock().allow(|call| !ledger.has(call, now));
        drop(ledger);
        self.forget_calls();
    }

    /// Forgets the calls of earlier leaders that no object records.
    fn forget_calls(&self) {
        let (now, ledger) = (self.world.now(), self.ledger.lock());
        let mut calls = self.api.calls.lock();
        // What its watches may not show yet isn't known either, and clocks that are off give a call another time.
        let hidden = self.hidden_until > now || self.plan.faults.clocks || self.plan.faults.api;
        let certain = now - if hidden { TimeDelta::minutes(10) } else { TimeDelta::seconds(2) };
        let leader = self.operators.iter().flatten().find(|it| it.leads()).map(Operator::name);
        calls.keep_recent(leader, |call| ledger.has(call, certain));
    }

    /// Excuses delays for so many seconds from now on.
    fn excuse(&self, namespace: Option<String>, seconds: i64, only_late: bool) {
        let (from, mut ledger) = (self.world.now(), self.ledger.lock());
        let until = from + TimeDelta::seconds(seconds);
        ledger.excuses.retain(|excuse| excuse.until + TimeDelta::hours(3) > from);
        ledger.excuses.push(Excuse { from, until, namespace, only_late });
    }

    fn any(&self) -> usize {
        usize::try_from(self.world.below(self.plan.operators)).unwrap_or_default()
    }

    fn below_signed(&self, most: u64) -> i64 {
        i64::try_from(self.world.below(2 * most)).unwrap_or_default() - i64::try_from(most).unwrap_or_default()
    }

    fn after_mean(&self, seconds: u64) -> Instant {
        Instant::now() + Duration::from_millis(1 + self.world.below(2000 * seconds))
    }
}
