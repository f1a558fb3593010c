//! What a run must show at its end.

use super::{Report, Stage};
use crate::operator::Operator;
use crate::users;
use std::fmt::Write as _;

impl Stage<'_> {
    /// Returns the requests that aren't about the Lease or a watch, and the tokens.
    pub(super) fn requests(&self) -> (u64, u64) {
        let trace = self.world.trace.lock();
        let counted = trace.counts.iter().filter(|(what, _)| !what.ends_with(" leases") && !what.starts_with("watch "));
        (counted.map(|(_, count)| count).sum(), self.api.calls.lock().issued)
    }

    /// Judges the run.
    pub(super) fn judge(mut self) -> Report {
        if self.operators.iter().flatten().any(Operator::has_ended) {
            self.faults.push("an operator ended by itself".to_owned());
        }
        let (requests, issued) = self.requests();
        if let Some((before, issued_before)) = self.before_quiet {
            let (asked, issued) = (requests - before, issued - issued_before);
            if asked > 30 + 8 * issued {
                self.faults.push(format!("P18: {asked} requests in ten quiet minutes with {issued} tokens"));
            }
        }
        let waiting = users::not_ready(&self.world.store.lock());
        let mut ledger = self.ledger.lock();
        ledger.finish(self.world.now());
        self.faults.append(&mut ledger.faults);
        self.faults.extend(waiting.into_iter().map(|token| format!("not Ready at the end: {token}")));
        let calls = self.api.calls.lock();
        for (video, early) in &calls.early {
            let caused = calls.caused.get(video).copied().unwrap_or_default();
            if *early > caused {
                self.faults.push(format!("P03: {early} tokens for {video} before they were due, {caused} had a cause"));
            }
        }
        for (account, (above, second)) in &calls.above {
            self.faults.push(format!("P06: {above} calls of account {account} above its limit (second {second})"));
        }
        let trace = self.world.trace.lock();
        let mut summary = format!(
            "requests {}, issued {}, stored {}, early {}, caused {}, crashes {}, episodes {}, throttled {}, failed {}",
            trace.total,
            calls.issued,
            ledger.stored,
            calls.early.values().sum::<u64>(),
            calls.caused.values().sum::<u64>(),
            self.crashes,
            self.episodes,
            calls.throttled,
            calls.failed
        );
        if let Some(at) = &trace.struck_at {
            let _ = write!(summary, ", struck at {at}");
        }
        Report { trace: trace.digest(), summary, faults: self.faults, requests: trace.counted }
    }
}
