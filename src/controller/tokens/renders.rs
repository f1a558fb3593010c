//! Renders templates outside the reconcile tasks, to check specs and to build Secrets.
//!
//! A template costs a limited amount of work, but other objects must not wait for it. Therefore templates are rendered
//! on blocking threads, a few at the same time, one per namespace, and with a deadline. The verdict on a spec depends
//! only on the spec. It is stored by hash, so that an observation renders nothing.
//!
//! A large Secret uses memory until it is written. Its bytes count in one budget, and each namespace may use the budget
//! for one Secret at a time.

use k8s_openapi::api::core::v1::Secret;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use videotoken_api::key::ObjectKey;
use videotoken_api::request::FieldError;
use videotoken_api::secret::SecretSpec;
use videotoken_core::plan::desired::Fit;
use videotoken_core::plan::facts::SecretFacts;
use videotoken_core::plan::hash::Hash;
use videotoken_core::plan::secret::{
    DesiredSecret, NotWritable, SecretIntegrity, SecretTarget, TokenRecord, ValueUse, build_secret, inspect,
    not_writable,
};

/// Number of concurrent renders, over all namespaces.
const AT_ONCE: usize = 2;
/// Deadline of one render. The fuel of a template runs out in a fraction of this time, except on an overloaded machine.
const DEADLINE: Duration = Duration::from_secs(10);
/// Time after which a verdict that came from the deadline is renewed.
pub(crate) const ASK_AGAIN: Duration = Duration::from_mins(10);
/// Number of verdicts in one generation; two generations are kept. An entry takes about 150 bytes, and a rejection or
/// names of further values up to 2 KiB more.
const VERDICTS: usize = 10_000;
/// Size up to which Secrets don't count in the budget. The maximum number of such Secrets in flight takes a few
/// megabytes.
pub(crate) const SMALL: usize = 32 * 1024;
/// Memory in KiB for all large Secrets together while they are read, built and written.
const BUDGET: u32 = 16 * 1024;
/// Number of copies of a Secret in memory: as text, as base64, as JSON and as the body of a request.
const COPIES: usize = 4;
/// Memory of the largest Secret in KiB: 1 MiB of data, and metadata.
const LARGEST: u32 = 6 * 1024;

/// Renderer of templates.
pub(crate) struct Renders {
    verdicts: Mutex<Verdicts>,
    workers: Arc<Semaphore>,
    budget: Arc<Semaphore>,
    rendering: Mutex<NamespacePermits>,
    large: Mutex<NamespacePermits>,
}

impl Default for Renders {
    fn default() -> Self {
        Self {
            verdicts: Mutex::default(),
            workers: Arc::new(Semaphore::new(AT_ONCE)),
            budget: Arc::new(Semaphore::new(BUDGET as usize)),
            rendering: Mutex::default(),
            large: Mutex::default(),
        }
    }
}

/// Memory of a large Secret, returned on drop.
#[derive(Debug)]
pub(crate) struct Room {
    _permit: OwnedSemaphorePermit,
    _bytes: OwnedSemaphorePermit,
}

/// A Secret to write, with the memory that it uses.
pub(crate) struct Shaped {
    /// The Secret.
    pub(crate) shape: DesiredSecret,
    #[allow(dead_code)] // held until the write is done
    room: Option<Room>,
}

impl Renders {
    /// Returns the known verdict on the spec, or `None` if its template must be rendered first.
    pub(crate) fn verdict(&self, render: Hash, spec: &SecretSpec) -> Option<Fit> {
        if !spec.has_templates() {
            return Some(Fit::check(spec));
        }
        let verdict = self.verdicts.lock().get(render, Instant::now())?;
        Some(Fit { render, verdict })
    }

    /// Waits for the permit of the namespace, renders the spec that `current` returns, and stores the verdict. Waiting
    /// tasks therefore keep no spec in memory. Returns true if the verdict is permanent.
    pub(crate) async fn judge(&self, namespace: &Arc<str>, current: impl FnOnce() -> Option<SecretSpec>) -> bool {
        let permit = NamespacePermits::acquire(&self.rendering, namespace).await;
        let worker = acquire(&self.workers, 1).await;
        let Some(spec) = current() else { return true };
        let render = videotoken_core::plan::secret::render_hash(&spec);
        if self.verdicts.lock().get(render, Instant::now()).is_some() {
            return true;
        }
        let judged = off(move || {
            let _held = (permit, worker);
            Fit::check(&spec)
        });
        let judged = judged.await.map(|fit| fit.verdict);
        let lasts = judged.is_ok();
        let until = (!lasts).then(|| Instant::now() + ASK_AGAIN);
        let verdict = judged.unwrap_or_else(Err);
        self.verdicts.lock().put(render, verdict, until);
        lasts
    }

    /// Builds the Secret. For a large Secret, waits for memory, which the result keeps until it is dropped.
    pub(crate) async fn shape(
        &self,
        key: &ObjectKey,
        uid: &str,
        spec: SecretSpec,
        record: &TokenRecord,
    ) -> Result<Shaped, FieldError> {
        let first = self.shape_once(key, uid, &spec, record).await?;
        let size = first.size();
        if size <= SMALL {
            return Ok(Shaped { shape: first, room: None });
        }
        // Dropped during the wait, because many tasks may wait.
        drop(first);
        let room = self.room(&key.namespace, size).await;
        let shape = self.shape_once(key, uid, &spec, record).await?;
        Ok(Shaped { shape, room: Some(room) })
    }

    async fn shape_once(
        &self,
        key: &ObjectKey,
        uid: &str,
        spec: &SecretSpec,
        record: &TokenRecord,
    ) -> Result<DesiredSecret, FieldError> {
        if !spec.has_templates() {
            return build_secret(SecretTarget { key, uid: Some(uid), spec }, record);
        }
        let permit = NamespacePermits::acquire(&self.rendering, &key.namespace).await;
        let worker = acquire(&self.workers, 1).await;
        let (key, uid, spec, record) = (key.clone(), uid.to_owned(), spec.clone(), record.clone());
        off(move || {
            let _held = (permit, worker);
            build_secret(SecretTarget { key: &key, uid: Some(&uid), spec: &spec }, &record)
        })
        .await?
    }

    /// Compares a whole Secret with the spec.
    pub(crate) async fn inspect(
        &self,
        key: &ObjectKey,
        uid: &str,
        spec: SecretSpec,
        secret: Secret,
        facts: &SecretFacts,
    ) -> Result<(SecretIntegrity, Option<NotWritable>), FieldError> {
        if !spec.has_templates() {
            let verdict = inspect(&secret, facts, SecretTarget { key, uid: Some(uid), spec: &spec });
            return Ok((verdict, not_writable(&secret, &spec)));
        }
        let permit = NamespacePermits::acquire(&self.rendering, &key.namespace).await;
        let worker = acquire(&self.workers, 1).await;
        let (key, uid, facts) = (key.clone(), uid.to_owned(), facts.clone());
        off(move || {
            let _held = (permit, worker);
            let verdict = inspect(&secret, &facts, SecretTarget { key: &key, uid: Some(&uid), spec: &spec });
            (verdict, not_writable(&secret, &spec))
        })
        .await
    }

    /// Waits for the memory of a Secret of this size.
    pub(crate) async fn room(&self, namespace: &Arc<str>, bytes: usize) -> Room {
        let permit = NamespacePermits::acquire(&self.large, namespace).await;
        let kibibytes = u32::try_from(bytes * COPIES / 1024).unwrap_or(LARGEST).clamp(1, LARGEST);
        Room { _permit: permit, _bytes: acquire(&self.budget, kibibytes).await }
    }
}

impl Shaped {
    /// Returns true if the Secret is large and uses memory of the budget.
    #[cfg(test)]
    fn is_large(&self) -> bool {
        self.room.is_some()
    }
}

/// Runs `work` on a blocking thread. Returns an error after the deadline or a panic. After the deadline, the thread
/// still finishes `work`. A runtime of one thread, as in virtual time, runs `work` itself: with another thread, chance
/// would decide the order of events.
async fn off<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, FieldError> {
    const FIELD: &str = "spec.secret.template.data";
    if Handle::current().runtime_flavor() == RuntimeFlavor::CurrentThread {
        return catch_unwind(AssertUnwindSafe(work))
            .map_err(|_| FieldError::new(FIELD, "can't be rendered; shorten it"));
    }
    match tokio::time::timeout(DEADLINE, tokio::task::spawn_blocking(work)).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(_)) => Err(FieldError::new(FIELD, "can't be rendered; shorten it")),
        Err(_) => Err(FieldError::new(FIELD, format!("takes more than {} s; shorten it", DEADLINE.as_secs()))),
    }
}

/// Waits for permits of a semaphore that is never closed.
async fn acquire(semaphore: &Arc<Semaphore>, permits: u32) -> OwnedSemaphorePermit {
    loop {
        if let Ok(permit) = semaphore.clone().acquire_many_owned(permits).await {
            return permit;
        }
    }
}

/// Permits, one per namespace. A namespace without waiting tasks takes no memory.
#[derive(Default)]
struct NamespacePermits(HashMap<Arc<str>, Weak<Semaphore>>);

impl NamespacePermits {
    async fn acquire(permits: &Mutex<Self>, namespace: &Arc<str>) -> OwnedSemaphorePermit {
        let semaphore = permits.lock().semaphore(namespace);
        acquire(&semaphore, 1).await
    }

    fn semaphore(&mut self, namespace: &Arc<str>) -> Arc<Semaphore> {
        if let Some(semaphore) = self.0.get(namespace).and_then(Weak::upgrade) {
            return semaphore;
        }
        if self.0.len() >= 64 {
            self.0.retain(|_, semaphore| semaphore.strong_count() > 0);
        }
        let semaphore = Arc::new(Semaphore::new(1));
        self.0.insert(namespace.clone(), Arc::downgrade(&semaphore));
        semaphore
    }
}

/// Verdicts by render hash, in two generations: when the young generation is full, the old one is dropped. A verdict
/// that is used moves to the young generation, so that only the verdicts of deleted objects are dropped.
#[derive(Default)]
struct Verdicts {
    young: HashMap<Hash, Entry>,
    old: HashMap<Hash, Entry>,
}

#[derive(Clone)]
struct Entry {
    verdict: Result<Box<ValueUse>, Box<FieldError>>,
    until: Option<Instant>,
}

impl Verdicts {
    fn get(&mut self, render: Hash, now: Instant) -> Option<Result<ValueUse, FieldError>> {
        if let Some(entry) = self.old.remove(&render) {
            self.insert(render, entry);
        }
        let entry = self.young.get(&render).filter(|entry| entry.until.is_none_or(|until| now < until))?;
        Some(entry.verdict.clone().map(|values| *values).map_err(|error| *error))
    }

    fn put(&mut self, render: Hash, verdict: Result<ValueUse, FieldError>, until: Option<Instant>) {
        self.old.remove(&render);
        self.insert(render, Entry { verdict: verdict.map(Box::new).map_err(Box::new), until });
    }

    fn insert(&mut self, render: Hash, entry: Entry) {
        if self.young.len() >= VERDICTS && !self.young.contains_key(&render) {
            self.old = mem::take(&mut self.young);
        }
        self.young.insert(render, entry);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;

    fn hash(n: u32) -> Hash {
        Hash::of([n.to_be_bytes().as_slice()])
    }

    fn spec(template: &str) -> SecretSpec {
        serde_json::from_value(json!({"template": {"data": {"key": template}}})).unwrap()
    }

    fn record() -> TokenRecord {
        TokenRecord {
            token: "token".into(),
            values: std::collections::BTreeMap::new(),
            issued_at: "2026-11-22T10:00:00Z".parse().unwrap(),
            expires_at: "2026-11-22T11:00:00Z".parse().unwrap(),
            request: hash(0),
            renew_request: None,
            previous: None,
            returned_again: false,
        }
    }

    #[test]
    fn p21_verdicts_are_few_and_those_in_use_stay() {
        let (mut verdicts, now) = (Verdicts::default(), Instant::now());
        let in_use: Vec<_> = (0..100).map(hash).collect();
        for render in &in_use {
            verdicts.put(*render, Ok(ValueUse::default()), None);
        }
        for n in 1_000..100_000 {
            verdicts.put(hash(n), Err(FieldError::new("f", "m")), None);
            if n % 1_000 == 0 {
                assert!(in_use.iter().all(|render| verdicts.get(*render, now) == Some(Ok(ValueUse::default()))), "{n}");
            }
            assert!(verdicts.young.len() + verdicts.old.len() <= 2 * VERDICTS);
        }
        verdicts.put(hash(1), Ok(ValueUse::default()), Some(now + ASK_AGAIN));
        assert_eq!(verdicts.get(hash(1), now), Some(Ok(ValueUse::default())));
        assert_eq!(verdicts.get(hash(1), now + ASK_AGAIN), None);
    }

    #[tokio::test]
    async fn p21_a_spec_is_judged_once() {
        let renders = Renders::default();
        for (template, expected) in [("{{ token }}", None), ("{{ tokn }}", Some("spec.secret.template.data[key]"))] {
            let spec = spec(template);
            let render = videotoken_core::plan::secret::render_hash(&spec);
            assert!(renders.verdict(render, &spec).is_none());
            assert!(renders.judge(&"namespace".into(), || Some(spec.clone())).await);
            let field = renders.verdict(render, &spec).unwrap().verdict.err().map(|error| error.field);
            assert_eq!(field.as_deref(), expected);
        }
        assert!(renders.verdict(hash(0), &SecretSpec::default()).is_some(), "there is nothing to render");
    }

    #[tokio::test]
    async fn p21_large_secrets_share_a_budget_that_small_ones_do_not_need() {
        let renders = Renders::default();
        let large = spec(&"{{ 'x' * 4000 }}".repeat(60));
        let record = record();
        let mut held = Vec::new();
        // As many namespaces as the budget has memory for.
        for n in 0.. {
            let key = ObjectKey::new(&format!("n{n}"), "a");
            let shaped = renders.shape(&key, "uid", large.clone(), &record);
            match tokio::time::timeout(Duration::from_secs(3), shaped).await {
                Ok(shaped) => held.push(shaped.unwrap()),
                Err(_) => break,
            }
        }
        let taken: usize = held.iter().map(|shaped| shaped.shape.size()).sum();
        assert!(held.iter().all(Shaped::is_large) && held.len() > 8, "{}", held.len());
        assert!(taken * COPIES <= BUDGET as usize * 1024, "{taken}");
        let small = renders.shape(&ObjectKey::new("n0", "b"), "uid", spec("{{ token }}"), &record).await.unwrap();
        assert!(!small.is_large());
        held.clear();
        // Each namespace gets memory for one Secret at a time.
        let key = ObjectKey::new("n0", "a");
        let first = renders.shape(&key, "uid", large.clone(), &record).await.unwrap();
        let second = renders.shape(&key, "uid", large.clone(), &record);
        assert!(tokio::time::timeout(Duration::from_millis(300), second).await.is_err());
        drop(first);
        renders.shape(&key, "uid", large, &record).await.unwrap();
    }
}
