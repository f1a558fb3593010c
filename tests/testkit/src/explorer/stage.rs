//! Where one run takes place: a namespace, its emulators and its operators.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use kube::api::ListParams;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::disturbance::Action;
use super::judge::unrest;
use super::scenario::{Scenario, TOKEN, template};
use crate::scene::Scene;
use crate::stand::wait::poll;
use crate::stand::{Operator, OperatorOptions};

/// How long what is not disturbed may take, on a machine that does other things too.
const PATIENCE: Duration = Duration::from_mins(1);

/// Short, with room for a call and its write within the renew deadline.
const LEASE: [&str; 3] = ["--lease-duration=6s", "--lease-renew-deadline=4s", "--lease-retry-period=500ms"];

/// A namespace with operators that can be killed and started.
pub(super) struct Stage {
    pub(super) scene: Scene,
    scenario: Scenario,
    options: OperatorOptions,
    previous: Option<PathBuf>,
    operators: Mutex<Vec<Operator>>,
    logs: std::sync::Mutex<String>,
    /// Deaths so far, each of which may lose the token in flight.
    pub(super) deaths: AtomicUsize,
    /// Tokens that users' actions may have caused.
    pub(super) causes: AtomicUsize,
    /// The Lease is being lost: an operator that ends does as it should.
    pub(super) lapsing: std::sync::atomic::AtomicBool,
}

impl Stage {
    pub(super) async fn new(scenario: Scenario, binary: &str, previous: Option<PathBuf>, elects: bool) -> Result<Self> {
        let scene = Scene::bare("explore", binary).await?;
        let mut options = scene.options.clone();
        options.leader_elect = elects;
        options.args.extend(LEASE.map(str::to_owned));
        Ok(Self {
            scene,
            scenario,
            options,
            previous,
            operators: Mutex::default(),
            logs: std::sync::Mutex::default(),
            deaths: AtomicUsize::new(0),
            causes: AtomicUsize::new(0),
            lapsing: false.into(),
        })
    }

    /// Starts one more operator.
    pub(super) async fn start(&self) -> Result<()> {
        self.operators.lock().await.push(Operator::spawn(&self.options)?);
        Ok(())
    }

    /// Starts the previous release's operator.
    pub(super) async fn start_previous(&self) -> Result<()> {
        let mut options = self.options.clone();
        options.binary = self.previous.clone().context("no operator of the previous release: --previous")?;
        self.operators.lock().await.push(Operator::spawn(&options)?);
        Ok(())
    }

    /// Stops all operators, as an upgrade does, and starts this release's.
    pub(super) async fn replace(&self) -> Result<()> {
        let mut operators = self.operators.lock().await;
        for mut operator in operators.drain(..) {
            operator.terminate().await?;
            self.keep_log(&operator);
        }
        operators.push(Operator::spawn(&self.options)?);
        Ok(())
    }

    /// Kills all operators (SIGKILL).
    pub(super) async fn kill(&self) {
        for mut operator in self.operators.lock().await.drain(..) {
            operator.kill9();
            self.bury(&operator);
        }
    }

    /// Kills the operator that was started first.
    pub(super) async fn kill_first(&self) {
        let mut operators = self.operators.lock().await;
        if !operators.is_empty() {
            let mut operator = operators.remove(0);
            operator.kill9();
            self.bury(&operator);
        }
    }

    /// Starts anew what has ended by itself, as a kubelet does. Returns how it ended where it should not have.
    pub(super) async fn revive(&self) -> Result<Option<String>> {
        let mut told = None;
        let mut operators = self.operators.lock().await;
        for operator in operators.iter_mut() {
            if let Some(status) = operator.exited() {
                self.bury(operator);
                if !self.lapsing.load(Ordering::Relaxed) {
                    told = Some(format!("the operator ended by itself: {status}"));
                }
                *operator = Operator::spawn(&self.options)?;
            }
        }
        Ok(told)
    }

    fn bury(&self, operator: &Operator) {
        self.deaths.fetch_add(1, Ordering::Relaxed);
        self.keep_log(operator);
    }

    fn keep_log(&self, operator: &Operator) {
        let mut logs = self.logs.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        logs.push_str(&operator.logs());
        logs.push_str("-- end of this operator\n");
    }

    /// Returns all that the operators have logged.
    pub(super) async fn logs(&self) -> String {
        let mut logs = self.logs.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        for operator in self.operators.lock().await.iter() {
            logs.push_str(&operator.logs());
        }
        logs
    }

    /// Waits until this many tokens are issued and everything is at rest.
    pub(super) async fn rest(&self, issued: usize) -> Result<()> {
        self.issued(issued).await?;
        let probe = async || {
            let unrest = unrest(&self.scene).await.map_err(|error| format!("{error:#}"))?;
            unrest.map_or(Ok(()), Err)
        };
        poll(PATIENCE, "everything at rest before the story", probe).await
    }

    /// Waits until this many tokens are issued.
    pub(super) async fn issued(&self, count: usize) -> Result<()> {
        let probe = async || match self.scene.issued() {
            issued if issued >= count => Ok(()),
            issued => Err(format!("{issued} of {count}")),
        };
        poll(PATIENCE, "the tokens", probe).await
    }

    /// Deletes the story's object and creates it again.
    pub(super) async fn recreate(&self) -> Result<()> {
        self.delete().await?;
        self.scene.apply(&self.scenario.token(self)).await
    }

    async fn delete(&self) -> Result<()> {
        let params = kube::api::DeleteParams::default();
        match self.scene.tokens().delete(TOKEN, &params).await {
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            other => other.map(drop).map_err(Into::into),
        }
    }

    /// Acts as a user. What is not there is not edited.
    pub(super) async fn user(&self, action: Action) -> Result<()> {
        // what one gives up, the other may take
        let rival = usize::from(self.scenario == Scenario::TwoObjects);
        self.causes.fetch_add(action.causes() + rival, Ordering::Relaxed);
        if self.scene.tokens().get_opt(TOKEN).await?.is_none() {
            return Ok(());
        }
        match action {
            Action::Delete => self.delete().await,
            Action::Recreate => self.recreate().await,
            Action::Rename => self.patch(&json!({"spec": {"secret": {"name": "elsewhere"}}})).await,
            Action::Edit => self.patch(&template("c={{ token }}")).await,
            Action::Renew => self.renew().await,
        }
    }

    /// Asks for another token, if the object is still there.
    pub(super) async fn renew(&self) -> Result<()> {
        edited(self.scene.force_renewal(TOKEN).await.map(drop))
    }

    /// Edits the object, if it is still there.
    pub(super) async fn patch(&self, patch: &Value) -> Result<()> {
        edited(self.scene.patch(TOKEN, patch).await)
    }

    /// Returns the newest version of the store.
    pub(super) async fn version(&self) -> Result<u64> {
        let list = self.scene.tokens().list(&ListParams::default().limit(1)).await?;
        list.metadata.resource_version.context("no version")?.parse().context("the version")
    }
}

/// Takes an edit of an object that a user has deleted for none.
fn edited(result: Result<()>) -> Result<()> {
    match result {
        Err(error) if matches!(error.downcast_ref(), Some(kube::Error::Api(status)) if status.code == 404) => Ok(()),
        result => result,
    }
}

/// Returns the objects of a namespace as JSON.
pub(super) async fn objects(scene: &Scene) -> Result<Vec<Value>> {
    let list = scene.tokens().list(&ListParams::default()).await?;
    list.items.iter().map(|object| serde_json::to_value(object).map_err(Into::into)).collect()
}
