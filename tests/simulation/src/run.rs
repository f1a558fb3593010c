//! One run: the scenario, its faults, and the verdict.

use crate::api_server::store::Snapshot;
use crate::episode::{Active, Episode, Excuse};
use crate::ledger::Ledger;
use crate::operator::Operator;
use crate::token_api::{Call, NARROW, TokenApi};
use crate::users::{self, Users};
use crate::world::{Rates, Strike, World};
use chrono::TimeDelta;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

mod plan;
mod verdict;

pub use plan::{Faults, Plan};

/// Time at the end without faults, in which everything must become Ready.
const CALM: Duration = Duration::from_mins(20);

/// Time at the end in which the operators may ask for what is due only (P18).
const QUIET: Duration = Duration::from_mins(10);

/// Time after which the user of a story acts.
const STORY: Duration = Duration::from_mins(2);

/// Longest time for which a status holds calls back, after a refused credential, with a minute until it is read.
const LONGEST_HOLD: TimeDelta = TimeDelta::seconds(1020);

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
    /// Requests that a crash can hit.
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
    /// Ends of the episodes in progress.
    ends: Vec<(Instant, Active)>,
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
            ends: Vec::new(),
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
        if let Some(action) = self.plan.story {
            let users = self.users();
            tokio::spawn(async move {
                tokio::time::sleep(STORY).await;
                users.tell(0, action).await;
            });
        }
        let mut next = self.after_mean(600);
        let mut episode = self.after_mean(400);
        let mut tick = begin;
        loop {
            let back = self.down.iter().map(|(at, _)| *at).min().unwrap_or(end);
            let over = self.ends.iter().map(|(at, _)| *at).min().unwrap_or(end);
            tokio::select! {
                biased;
                () = self.world.crashed.notified() => self.bury(),
                () = tokio::time::sleep_until(end.min(next).min(back).min(over).min(episode).min(tick)) => {}
            }
            let now = Instant::now();
            for n in self.down.extract_if(.., |(at, _)| *at <= now).map(|(_, n)| n).collect::<Vec<_>>() {
                self.operators[n] = Some(self.start());
            }
            for (_, active) in self.ends.extract_if(.., |(at, _)| *at <= now).collect::<Vec<_>>() {
                self.end(&active);
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
                (next, episode) = (end, end);
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
                self.disturb().await;
                next = self.after_mean(600).min(calm);
            }
        }
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
        if self.plan.faults.episodes && passed.as_secs().is_multiple_of(60) {
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

    /// Forgets the calls that no object records.
    fn forget_calls(&self) {
        let (now, ledger) = (self.world.now(), self.ledger.lock());
        let mut calls = self.api.calls.lock();
        // What its watches may not show yet isn't known either.
        let blind =
            ledger.blind.iter().chain(&ledger.excuses).any(|excuse| excuse.namespace.is_none() && excuse.until > now);
        let certain = now - if blind { TimeDelta::minutes(10) } else { TimeDelta::seconds(2) };
        calls.keep_recent(|call| ledger.has(call, certain));
    }

    /// Excuses delays for so many seconds from now on.
    fn excuse(&self, namespace: Option<String>, seconds: i64, only_late: bool) {
        let (from, mut ledger) = (self.world.now(), self.ledger.lock());
        let until = from + TimeDelta::seconds(seconds);
        ledger.excuses.retain(|excuse| excuse.until + TimeDelta::hours(3) > from);
        ledger.excuses.push(Excuse { from, until, namespace, only_late });
    }

    /// Removes the operator that a request killed, which starts again after 5 seconds, or does what it brings on.
    fn bury(&mut self) {
        let asked = self.world.asked.lock().take();
        if let Some(strike) = asked {
            if strike == Strike::Lapse {
                self.begin_episode(Episode::LeaseHangs, 12);
            }
            self.users().strike(strike);
        }
        let cut = self.operators.iter().position(|it| it.as_ref().is_some_and(Operator::is_cut));
        let Some(n) = cut else { return };
        self.kill(n, Duration::from_secs(5));
    }

    fn kill(&mut self, n: usize, down: Duration) {
        if let Some(operator) = self.operators[n].take() {
            if operator.leads() || self.plan.operators == 1 {
                self.excuse(None, down.as_secs().cast_signed() + 45, false);
            }
            self.world.note(&format!("{} is killed", operator.name()));
            operator.kill();
            // Before another leads: its call may follow within the second.
            self.leader_changes();
            self.crashes += 1;
            self.down.push((Instant::now() + down, n));
        }
    }

    /// Begins one or two random episodes.
    fn begin(&mut self) {
        for _ in 0..=self.world.below(2) {
            let episode = Episode::any(&self.world);
            let (from, to) = episode.bounds();
            let seconds = from + self.world.below(to - from);
            if self.ends.iter().all(|(_, active)| active.episode != episode)
                && (episode != Episode::Forbidden || !self.served().is_empty())
            {
                self.begin_episode(episode, seconds);
            }
        }
    }

    fn begin_episode(&mut self, episode: Episode, seconds: u64) {
        self.episodes += 1;
        let all = users::namespaces(self.plan.tokens);
        let namespace = all[usize::try_from(self.world.below(all.len() as u64)).unwrap_or_default()].clone();
        let version = self.world.store.lock().version;
        let active = Active { episode, namespace: namespace.clone(), version };
        self.world.note(&format!("{active:?} for {seconds} s"));
        self.world.episodes.lock().push(active.clone());
        self.ends.push((Instant::now() + Duration::from_secs(seconds), active));
        let seconds = seconds.cast_signed();
        if let Some(tail) = episode.tail() {
            let namespace = episode.is_of_namespace().then_some(namespace);
            self.excuse(namespace, seconds + tail, episode == Episode::SlowSecrets);
        }
        self.blind(episode, seconds);
        match episode {
            Episode::Down | Episode::Restored => self.world.restart_api(),
            Episode::StalledLists => self.world.change(crate::api_server::store::Store::compact),
            Episode::LeaseHangs if self.plan.faults.users => {
                let users = self.users();
                tokio::spawn(async move {
                    for _ in 0..(seconds + 3) * 4 {
                        users.edit();
                        users.world.pause(200, 300).await;
                    }
                });
            }
            Episode::Forbidden => {
                self.world.restart_api();
                let leader = self.operators.iter().position(|it| it.as_ref().is_some_and(Operator::leads));
                self.kill(leader.unwrap_or_default(), Duration::from_secs(1));
            }
            Episode::ClockAhead(hours) => self.set_clocks(hours),
            _ => {}
        }
    }

    /// Excuses edits that stay unseen.
    fn blind(&self, episode: Episode, seconds: i64) {
        let tail = match episode {
            Episode::StaleWatch("videoaccesstokens") => 20,
            Episode::StalledLists => 150,
            _ => return,
        };
        let from = self.world.now();
        let until = from + TimeDelta::seconds(seconds + tail);
        self.ledger.lock().blind.push(Excuse { from, until, namespace: None, only_late: true });
    }

    /// Sets the leader's clock. Each token may be issued again, because the old ones seem to have expired, or the new
    /// ones to come from the future.
    fn set_clocks(&self, hours: i64) {
        let leader = self.operators.iter().flatten().find(|it| it.leads());
        if hours == 0 {
            self.operators.iter().flatten().for_each(|operator| operator.set_clock(0));
        } else if let Some(operator) = leader {
            operator.set_clock(hours * 3_600_000);
        }
        for _ in 0..3 {
            self.api.calls.lock().allow(|_| true);
        }
    }

    fn end(&mut self, active: &Active) {
        self.world.note(&format!("the end of {active:?}"));
        let mut episodes = self.world.episodes.lock();
        if let Some(n) = episodes.iter().position(|it| it.episode == active.episode) {
            episodes.remove(n);
        }
        drop(episodes);
        match active.episode {
            Episode::Restored => {
                if let Some(backup) = self.backups.pop_front() {
                    self.backups.clear();
                    // What was renewed since the backup is due again.
                    let (until, mut ledger) = (self.world.now(), self.ledger.lock());
                    let from = until - TimeDelta::minutes(15);
                    // The restored statuses hold calls back as long as they did before.
                    let held = ledger.excuses.iter().filter(|excuse| excuse.until > from).cloned();
                    let held: Vec<_> =
                        held.map(|excuse| Excuse { from, until: until + LONGEST_HOLD, ..excuse }).collect();
                    ledger.excuses.extend(held.into_iter().filter(|excuse| excuse.namespace.is_some()));
                    ledger.excuses.push(Excuse { from, until, namespace: None, only_late: false });
                    drop(ledger);
                    self.world.change(|store| store.restore(&backup));
                    self.api.calls.lock().allow(|_| true);
                    self.leader_changes();
                }
                self.world.restart_api();
            }
            Episode::ClockAhead(_) => self.set_clocks(0),
            Episode::StaleWatch(_) => self.world.wake_watches(),
            _ => {}
        }
    }

    /// Makes one random disturbance of the enabled kinds.
    async fn disturb(&mut self) {
        let faults = self.plan.faults;
        match self.world.below(6) {
            0 | 1 if faults.users => {
                let users = self.users();
                tokio::spawn(async move { users.act().await });
            }
            2 if faults.crashes => {
                let leader = self.operators.iter().position(|it| it.as_ref().is_some_and(Operator::leads));
                let n = leader.filter(|_| self.world.below(4) > 0).unwrap_or_else(|| self.any());
                let down = Duration::from_millis(1 + self.world.below(60_000));
                self.kill(n, down);
            }
            3 if faults.crashes => self.stop_one().await,
            4 if faults.clocks => {
                let by = self.below_signed(AHEAD);
                let n = self.any();
                if let Some(operator) = &self.operators[n] {
                    operator.set_clock(by);
                }
            }
            5 if faults.api => self.world.change(crate::api_server::store::Store::compact),
            _ => {}
        }
    }

    /// Stops an operator, which must store what it has issued (P15).
    async fn stop_one(&mut self) {
        let n = self.any();
        let Some(old) = self.operators[n].take() else { return };
        self.excuse(None, 60, false);
        let (name, begun) = (old.name().to_owned(), Instant::now());
        self.world.note(&format!("{name} is stopped"));
        if !old.stop().await {
            self.faults.push("P15: an operator didn't end cleanly".to_owned());
        }
        self.forget_calls();
        let took = begun.elapsed().as_secs_f64();
        if took > 20.0 {
            self.faults.push(format!("P15: a stop took {took:.1} s"));
        }
        if self.plan.faults.is_strict()
            && self.world.episodes.lock().iter().all(|it| it.episode == Episode::SlowProvider)
        {
            let (now, ledger) = (self.world.now(), self.ledger.lock());
            let calls = self.api.calls.lock();
            let open = calls.open.keys().filter(|(by, _)| *by == name).count();
            let lost =
                |call: &&Call| call.by == name && now - call.issued < TimeDelta::seconds(30) && !ledger.has(call, now);
            let lost = calls.last.values().filter(lost).count();
            if open + lost > 0 {
                self.faults.push(format!("P15: {open} calls and {lost} issued tokens were lost by a clean stop"));
            }
        }
        self.operators[n] = Some(self.start());
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
