//! Holding a request until the test lets it go: for what must happen while a call is in flight.

use super::{Target, locked};
use std::sync::{Arc, Mutex};
use tokio::sync::watch;

/// Where a request is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HoldPoint {
    /// Before anything is done: no token is issued yet.
    Request,
    /// After: the token is issued, the answer not yet sent.
    Answer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
enum Phase {
    Waiting,
    Reached,
    Released,
}

/// The test's end of a hold. Dropping it lets the request go.
#[derive(Debug)]
pub struct Hold {
    phase: Arc<watch::Sender<Phase>>,
}

impl Hold {
    /// Waits until a request is held here.
    pub async fn reached(&self) {
        let mut phase = self.phase.subscribe();
        // The sender lives in `self`, so this can't fail.
        let _ = phase.wait_for(|phase| *phase >= Phase::Reached).await;
    }

    /// Lets the request go.
    pub fn release(self) {}
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.phase.send_replace(Phase::Released);
    }
}

/// The emulator's end: each hold takes the first request that matches.
#[derive(Default)]
pub(super) struct Gate(Mutex<Vec<Waiting>>);

struct Waiting {
    point: HoldPoint,
    operation: Option<String>,
    phase: Arc<watch::Sender<Phase>>,
}

impl Gate {
    pub(super) fn hold(&self, point: HoldPoint, operation: Option<&str>) -> Hold {
        let phase = Arc::new(watch::Sender::new(Phase::Waiting));
        let waiting = Waiting { point, operation: operation.map(str::to_owned), phase: phase.clone() };
        locked(&self.0).push(waiting);
        Hold { phase }
    }

    pub(super) async fn pass(&self, point: HoldPoint, target: &Target) {
        let Some(phase) = self.claim(point, target) else { return };
        let mut released = phase.subscribe();
        phase.send_if_modified(|phase| {
            let waiting = *phase == Phase::Waiting;
            if waiting {
                *phase = Phase::Reached;
            }
            waiting
        });
        let _ = released.wait_for(|phase| *phase == Phase::Released).await;
    }

    fn claim(&self, point: HoldPoint, target: &Target) -> Option<Arc<watch::Sender<Phase>>> {
        let mut holds = locked(&self.0);
        // Those that the test has dropped before any request came.
        holds.retain(|hold| *hold.phase.borrow() != Phase::Released);
        let index = holds.iter().position(|hold| {
            hold.point == point
                && hold.operation.as_ref().is_none_or(|name| target.operation.eq_ignore_ascii_case(name))
        })?;
        Some(holds.remove(index).phase)
    }
}
