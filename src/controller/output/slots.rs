//! Limit of concurrent requests to the API server, shared fairly among namespaces.
//!
//! API Priority and Fairness rejects requests of a client that has hundreds of waiting requests, including Lease
//! renewals. Therefore requests wait here.
//!
//! A request that takes longer than [`SLOW`] is assumed to hang in an admission webhook of its namespace. It costs the
//! API server next to nothing, so it no longer counts in the total, and requests of other namespaces continue. Its own
//! namespace gets at most [`Slots::per_namespace`] such requests.

use parking_lot::Mutex;
use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// Duration after which a request counts as hanging.
pub(crate) const SLOW: Duration = Duration::from_secs(3);

/// Number of hanging requests at which a namespace gets no further slot.
const SLOW_AT_MOST: usize = 4;

/// Limit of concurrent requests; see the documentation of the module.
#[derive(Debug)]
pub(crate) struct Slots {
    most: usize,
    per_namespace: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    /// Namespace and start of each request, by number.
    taken: BTreeMap<u64, (Arc<str>, Instant)>,
    waiting: BTreeMap<Arc<str>, VecDeque<oneshot::Sender<u64>>>,
    /// Namespace that was served last.
    last: Option<Arc<str>>,
}

/// A slot, which is returned on drop.
#[derive(Debug)]
pub(crate) struct Slot {
    slots: Arc<Slots>,
    number: u64,
}

impl Slots {
    /// Creates slots for `most` requests that don't hang, and for `per_namespace` requests of one namespace, including
    /// those that hang.
    pub(crate) fn new(most: usize, per_namespace: usize) -> Arc<Self> {
        Arc::new(Self { most, per_namespace, state: Mutex::default() })
    }

    /// Waits for a slot. Waiting namespaces are served in round-robin order.
    pub(crate) async fn acquire(self: &Arc<Self>, namespace: &Arc<str>) -> Slot {
        let turn = {
            let mut state = self.state.lock();
            let (give, turn) = oneshot::channel();
            state.waiting.entry(namespace.clone()).or_default().push_back(give);
            self.hand_out(&mut state, Instant::now());
            turn
        };
        // The sender stays in the queue until it is served: only `hand_out` removes it.
        WaitingTask { slots: self.clone(), turn: Some(turn) }.served().await
    }

    /// Takes a slot immediately, even above the limits, for a request that is already in progress.
    pub(crate) fn occupy(self: &Arc<Self>, namespace: &Arc<str>) -> Slot {
        let number = self.state.lock().insert(namespace.clone(), Instant::now());
        Slot { slots: self.clone(), number }
    }

    /// Returns how many more requests the total limit permits now.
    pub(crate) fn room(&self) -> usize {
        self.most.saturating_sub(self.state.lock().held(Instant::now()))
    }

    /// Returns the number of taken slots, including those of requests that hang.
    pub(crate) fn taken(&self) -> usize {
        self.state.lock().taken.len()
    }

    /// Grants the slots that became free because a request hangs. Called once a second.
    pub(crate) fn tick(&self) {
        self.hand_out(&mut self.state.lock(), Instant::now());
    }

    fn give_back(&self, number: u64) {
        let mut state = self.state.lock();
        state.taken.remove(&number);
        self.hand_out(&mut state, Instant::now());
    }

    fn hand_out(&self, state: &mut State, now: Instant) {
        let mut held = if state.waiting.is_empty() { return } else { state.held(now) };
        while held < self.most {
            let Some(namespace) = self.next(state, now) else { return };
            let Some(queue) = state.waiting.get_mut(&namespace) else { return };
            let waiting = queue.pop_front();
            if queue.is_empty() {
                state.waiting.remove(&namespace);
            }
            state.last = Some(namespace.clone());
            let Some(give) = waiting else { continue };
            let number = state.insert(namespace, now);
            if give.send(number).is_err() {
                // The waiting task has ended.
                state.taken.remove(&number);
            } else {
                held += 1;
            }
        }
    }

    /// Returns the next namespace, in round-robin order, that may take a slot.
    fn next(&self, state: &State, now: Instant) -> Option<Arc<str>> {
        let after = match &state.last {
            Some(last) => Bound::Excluded(last.clone()),
            None => Bound::Unbounded,
        };
        let behind = state.waiting.range((after, Bound::Unbounded));
        let may = |namespace: &&Arc<str>| {
            let (all, slow) = state.count_of(namespace, now);
            all < self.per_namespace && slow < SLOW_AT_MOST
        };
        behind.chain(state.waiting.iter()).map(|(namespace, _)| namespace).find(may).cloned()
    }
}

impl State {
    fn insert(&mut self, namespace: Arc<str>, now: Instant) -> u64 {
        self.next += 1;
        self.taken.insert(self.next, (namespace, now));
        self.next
    }

    fn held(&self, now: Instant) -> usize {
        // Numbers increase with time, so the newest requests are at the end.
        self.taken.values().rev().take_while(|(_, since)| now.duration_since(*since) < SLOW).count()
    }

    /// Returns the number of slots of the namespace, and the number of those that hang.
    fn count_of(&self, namespace: &Arc<str>, now: Instant) -> (usize, usize) {
        let mine = self.taken.values().filter(|(of, _)| of == namespace);
        mine.fold((0, 0), |(all, slow), (_, since)| (all + 1, slow + usize::from(now.duration_since(*since) >= SLOW)))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.slots.give_back(self.number);
    }
}

/// A task that waits for its slot. If it stops waiting, a slot that it was given is returned.
struct WaitingTask {
    slots: Arc<Slots>,
    turn: Option<oneshot::Receiver<u64>>,
}

impl WaitingTask {
    async fn served(mut self) -> Slot {
        let slots = self.slots.clone();
        let number = match &mut self.turn {
            Some(turn) => turn.await.ok(),
            None => None,
        };
        self.turn = None;
        match number {
            Some(number) => Slot { slots, number },
            // The sender is dropped only together with the slots, which outlive this task.
            None => Slot { slots, number: 0 },
        }
    }
}

impl Drop for WaitingTask {
    fn drop(&mut self) {
        if let Some(number) = self.turn.as_mut().and_then(|turn| {
            turn.close();
            turn.try_recv().ok()
        }) {
            self.slots.give_back(number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    fn namespace(name: &str) -> Arc<str> {
        name.into()
    }

    #[tokio::test(start_paused = true)]
    async fn p17_requests_of_one_namespace_that_hang_hold_up_no_other() {
        let slots = Slots::new(4, 3);
        let [bad, good] = ["bad", "good"].map(namespace);
        let hanging = [slots.acquire(&bad).await, slots.acquire(&bad).await, slots.acquire(&bad).await];
        assert!(slots.acquire(&bad).now_or_never().is_none(), "a namespace has a bound of its own");
        let first = slots.acquire(&good).await;
        assert!(slots.acquire(&good).now_or_never().is_none(), "four are under way");
        let mut second = Box::pin(slots.acquire(&good));
        assert!((&mut second).now_or_never().is_none());
        tokio::time::advance(SLOW).await;
        slots.tick();
        let second = second.now_or_never();
        assert!(second.is_some(), "those that hang no longer count");
        assert!(slots.acquire(&bad).now_or_never().is_none(), "but in their own namespace they do");
        drop((first, second));
        drop(hanging);
        assert!(slots.acquire(&bad).now_or_never().is_some());
        assert_eq!(slots.taken(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn p17_namespaces_are_served_in_turn() {
        let slots = Slots::new(1, 1);
        let [crowd, single] = ["a-crowd", "single"].map(namespace);
        let first = slots.acquire(&crowd).await;
        let mut crowd_waits: Vec<_> = (0..100).map(|_| Box::pin(slots.acquire(&crowd))).collect();
        for one in &mut crowd_waits {
            assert!(one.now_or_never().is_none());
        }
        let mut waits = Box::pin(slots.acquire(&single));
        assert!((&mut waits).now_or_never().is_none());
        drop(first);
        let served = waits.now_or_never();
        assert!(served.is_some(), "it waits for one other, not for a hundred");
        drop(served);
        assert!(crowd_waits.remove(0).now_or_never().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn who_no_longer_waits_takes_no_slot() {
        let slots = Slots::new(1, 1);
        let all = namespace("a");
        let first = slots.acquire(&all).await;
        let mut served_late = Box::pin(slots.acquire(&all));
        assert!((&mut served_late).now_or_never().is_none());
        let mut gone = Box::pin(slots.acquire(&all));
        assert!((&mut gone).now_or_never().is_none());
        drop(gone);
        // Served, but dropped before the task runs.
        drop(first);
        drop(served_late);
        assert_eq!(slots.taken(), 0);
        assert!(slots.acquire(&all).now_or_never().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_under_way_already_counts() {
        let slots = Slots::new(2, 2);
        let all = namespace("a");
        let taken = [slots.occupy(&all), slots.occupy(&all), slots.occupy(&all)];
        assert_eq!((slots.room(), slots.taken()), (0, 3));
        tokio::time::advance(SLOW).await;
        assert_eq!(slots.room(), 2, "slow ones leave room");
        drop(taken);
    }
}
