//! What happens to the operators by chance, or at a request.

use super::{AHEAD, Stage};
use crate::episode::Episode;
use crate::operator::Operator;
use crate::token_api::Call;
use crate::users;
use crate::world::Strike;
use chrono::TimeDelta;
use std::time::Duration;
use tokio::time::Instant;

impl Stage<'_> {
    /// Removes the operator that a request killed, which starts again after 5 seconds, or does what it brings on.
    pub(super) async fn bury(&mut self) {
        let asked = self.world.asked.lock().take();
        match asked {
            Some((Strike::Lapse, _)) => {
                let time = Duration::from_millis(9000 + self.world.below(3000));
                self.begin_episode(Episode::LeaseHangs, time);
            }
            Some((Strike::Stopped, name)) => {
                for n in 0..self.operators.len() {
                    if self.operators[n].as_ref().is_some_and(|it| name.is_empty() || it.name() == name) {
                        self.stop(n).await;
                    }
                }
            }
            Some((strike, _)) => self.users().strike(self.plan.token(), strike),
            None => {}
        }
        let cut = self.operators.iter().position(|it| it.as_ref().is_some_and(Operator::is_cut));
        let Some(n) = cut else { return };
        self.kill(n, Duration::from_secs(5));
    }

    pub(super) fn kill(&mut self, n: usize, down: Duration) {
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

    /// Makes one random disturbance of the enabled kinds. A user acts on the token of this number, or on a random one.
    pub(super) async fn disturb(&mut self, token: Option<u64>) {
        let faults = self.plan.faults;
        match self.world.below(6) {
            0 | 1 if faults.users => {
                let users = self.users();
                tokio::spawn(async move { users.act(token).await });
            }
            2 if faults.crashes => {
                let leader = self.operators.iter().position(|it| it.as_ref().is_some_and(Operator::leads));
                let n = leader.filter(|_| self.world.below(4) > 0).unwrap_or_else(|| self.any());
                let down = Duration::from_millis(1 + self.world.below(60_000));
                self.kill(n, down);
            }
            3 if faults.crashes => self.stop(self.any()).await,
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

    /// Stops an operator, which must store what it has issued (P15), and starts another.
    async fn stop(&mut self, n: usize) {
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
        let lost = self.lost_by(&name);
        if self.plan.faults.is_strict() && self.world.episodes.lock().iter().all(|it| !it.episode.hinders_storing()) {
            let (open, lost) = lost;
            if open + lost > 0 {
                self.faults.push(format!("P15: {open} calls and {lost} issued tokens were lost by a clean stop"));
            }
        }
        self.operators[n] = Some(self.start());
    }

    /// Returns the calls that an operator left open, and the tokens of the last half minute that it did not store.
    fn lost_by(&self, name: &str) -> (usize, usize) {
        let (now, ledger) = (self.world.now(), self.ledger.lock());
        let calls = self.api.calls.lock();
        let open = calls.open.keys().filter(|(by, _)| by == name).count();
        let of = |call: &&Call| call.by == name && now - call.issued < TimeDelta::seconds(30);
        let lost = calls.last.values().filter(of);
        (open, lost.filter(|call| ledger.has_lost(call, &users::key_of_video(&call.video))).count())
    }
}
