//! Faults that last: their begin, what they excuse, and their end.

use super::Stage;
use crate::episode::{Active, Episode, Excuse};
use crate::operator::Operator;
use crate::users;
use chrono::TimeDelta;
use std::time::Duration;
use tokio::time::Instant;

/// Longest time for which a status holds calls back, after a refused credential, with a minute until it is read.
const LONGEST_HOLD: TimeDelta = TimeDelta::seconds(1020);

/// Time after an episode until a new leader has certainly seen all objects.
const UNTIL_LISTED: TimeDelta = TimeDelta::seconds(150);

impl Stage<'_> {
    /// Begins one or two random episodes. A user acts before or during half of them, because they matter for what
    /// changes meanwhile.
    pub(super) fn begin(&mut self) {
        for _ in 0..=self.world.below(2) {
            let episode = Episode::any(&self.world);
            let time = episode.duration(&self.world);
            let delay = Duration::from_millis(self.world.below(30_000));
            self.pending.push((Instant::now() + delay, episode, time));
            if self.plan.faults.users && self.world.below(2) == 0 {
                let users = self.users();
                let milliseconds = delay + time.min(Duration::from_mins(1));
                let milliseconds = u64::try_from(milliseconds.as_millis()).unwrap_or_default();
                tokio::spawn(async move {
                    users.world.pause(0, milliseconds).await;
                    users.act(None).await;
                });
            }
        }
    }

    /// Begins an episode, unless one of its kind is in progress.
    pub(super) fn begin_episode(&mut self, episode: Episode, time: Duration) {
        let is_on = self.ends.iter().any(|(_, active)| active.episode == episode);
        if is_on || episode == Episode::Forbidden && self.served().is_empty() {
            return;
        }
        self.episodes += 1;
        let namespace = if self.plan.episode.is_some() {
            users::key_of(self.plan.token()).0
        } else {
            let all = users::namespaces(self.plan.tokens);
            all[usize::try_from(self.world.below(all.len() as u64)).unwrap_or_default()].clone()
        };
        let version = self.world.store.lock().version;
        let active = Active { episode, namespace: namespace.clone(), version };
        self.world.note(&format!("{active:?} for {:.1} s", time.as_secs_f64()));
        self.world.episodes.lock().push(active.clone());
        self.ends.push((Instant::now() + time, active));
        let seconds = time.as_secs().cast_signed() + 1;
        if let Some(tail) = episode.tail() {
            let namespace = episode.is_of_namespace().then_some(namespace);
            self.excuse(namespace, seconds + tail, episode == Episode::SlowSecrets);
        }
        self.blind(episode, seconds);
        if episode.hides_calls() {
            self.hidden_until = self.hidden_until.max(self.world.now() + TimeDelta::seconds(seconds) + UNTIL_LISTED);
        }
        match episode {
            Episode::Down | Episode::Restored => self.world.restart_api(),
            Episode::StalledLists => self.world.change(crate::api_server::store::Store::compact),
            Episode::LeaseHangs if self.has_users() => {
                let users = self.users();
                tokio::spawn(async move { users.edit(time).await });
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

    /// Lets the holds of single namespaces that were in effect within `past` begin again.
    fn hold_again(&self, past: TimeDelta) {
        let (now, mut ledger) = (self.world.now(), self.ledger.lock());
        let from = now - past;
        let held = ledger.excuses.iter().filter(|excuse| excuse.until > from && excuse.namespace.is_some()).cloned();
        let held: Vec<_> = held.map(|excuse| Excuse { from, until: now + LONGEST_HOLD, ..excuse }).collect();
        ledger.excuses.extend(held);
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

    pub(super) fn end(&mut self, active: &Active) {
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
                    // The restored statuses hold calls back as long as they did before.
                    self.hold_again(TimeDelta::minutes(15));
                    let until = self.world.now();
                    let from = until - TimeDelta::minutes(15);
                    self.ledger.lock().excuses.push(Excuse { from, until, namespace: None, only_late: false });
                    self.world.change(|store| store.restore(&backup));
                    self.api.calls.lock().allow(|_| true);
                    self.leader_changes();
                }
                self.world.restart_api();
            }
            Episode::ClockAhead(_) => {
                self.set_clocks(0);
                // A leader whose clock was wrong stored the end of a hold by it. The next leader holds calls back for the
                // longest time, because that end is impossible.
                self.hold_again(TimeDelta::minutes(5));
            }
            Episode::StaleWatch(_) => self.world.wake_watches(),
            _ => {}
        }
    }
}
