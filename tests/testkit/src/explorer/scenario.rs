//! What happens in a run before anything is disturbed.

use anyhow::Result;
use clap::ValueEnum;
use serde_json::{Value, json};

use super::stage::Stage;
use crate::emulator::{Life, example};
use crate::scene::client_secret;

/// The token that scenarios and users act on.
pub const TOKEN: &str = "lobby";

/// A short story. Its first part, [`Scenario::prepare`], is never disturbed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, ValueEnum)]
pub enum Scenario {
    /// The operator starts, and a token is made.
    FirstIssue,
    /// A renewal falls due.
    Renewal,
    /// A user asks for another token.
    ForcedRenewal,
    /// The Secret gets another name.
    Rename,
    /// The template changes.
    TemplateEdit,
    /// The token's key changes.
    KeyChange,
    /// The provider's credential is replaced.
    CredentialRotation,
    /// The provider's limits change.
    ProviderEdit,
    /// The object is deleted and created again.
    Recreate,
    /// The leader dies, and a standby renews a token on demand.
    Failover,
    /// The previous release's operator is replaced by this one.
    Upgrade,
    /// A renewal restarts a workload.
    RolloutRestart,
    /// Two objects want one Secret.
    TwoObjects,
}

impl Scenario {
    /// Returns the name, as on the command line.
    pub fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// Whether operators elect a leader in it.
    pub fn elects(self) -> bool {
        self == Self::Failover
    }

    /// Brings about what is there when the story begins. Everything is at rest after it.
    pub(super) async fn prepare(self, stage: &Stage) -> Result<()> {
        let scene = &stage.scene;
        scene.apply(&scene.credentials("azure-login", example::CLIENT_SECRET)).await?;
        let mut provider = scene.provider("indexer", &client_secret("azure-login"));
        provider["spec"]["limits"] = json!({"windows": [{"requests": 3, "period": "3s"}], "concurrency": 2});
        scene.apply(&provider).await?;
        scene.apply(&bystander()).await?;
        if self == Self::FirstIssue {
            return Ok(());
        }
        let control = scene.azure.video_indexer.control();
        if self == Self::Renewal {
            control.set_life(Life::Seconds(40));
        }
        if self == Self::RolloutRestart {
            scene.apply(&workload()).await?;
        }
        match self {
            Self::Upgrade => stage.start_previous().await?,
            Self::Failover => {
                stage.start().await?;
                stage.start().await?;
            }
            _ => stage.start().await?,
        }
        scene.apply(&self.token(stage)).await?;
        stage.rest(1).await?;
        control.set_life(Life::Promised);
        Ok(())
    }

    /// Tells the story.
    pub(super) async fn act(self, stage: &Stage) -> Result<()> {
        let scene = &stage.scene;
        match self {
            Self::FirstIssue => {
                stage.start().await?;
                scene.apply(&self.token(stage)).await
            }
            Self::Renewal => stage.issued(2).await,
            Self::ForcedRenewal | Self::RolloutRestart => stage.renew().await,
            Self::Rename => stage.patch(&json!({"spec": {"secret": {"name": "entrance"}}})).await,
            Self::TemplateEdit => stage.patch(&template("b={{ token }}")).await,
            Self::KeyChange => stage.patch(&json!({"spec": {"secret": {"keys": {"token": "jwt"}}}})).await,
            Self::CredentialRotation => {
                scene.azure.entra.add_secret(example::CLIENT_ID, "Another~secret.2");
                scene.apply(&scene.credentials("azure-login", "Another~secret.2")).await?;
                stage.renew().await
            }
            Self::ProviderEdit => {
                let limits = json!({"windows": [{"requests": 2, "period": "3s"}], "concurrency": 1});
                scene.patch_provider("indexer", &json!({"spec": {"limits": limits}})).await?;
                stage.renew().await
            }
            Self::Recreate => stage.recreate().await,
            Self::Failover => {
                stage.kill_first().await;
                stage.renew().await?;
                stage.start().await
            }
            Self::Upgrade => stage.replace().await,
            Self::TwoObjects => scene.apply(&scene.token("rival", &json!({"secret": {"name": TOKEN}}))).await,
        }
    }

    /// Returns how many tokens are issued if nothing is disturbed.
    pub(super) fn issues(self) -> usize {
        match self {
            // The rival is issued for only if it gets the Secret.
            Self::FirstIssue
            | Self::Rename
            | Self::TemplateEdit
            | Self::KeyChange
            | Self::Upgrade
            | Self::TwoObjects => 1,
            _ => 2,
        }
    }

    /// Returns the story's object.
    pub(super) fn token(self, stage: &Stage) -> Value {
        let spec = match self {
            Self::Renewal => json!({"renewBefore": "30s"}),
            Self::RolloutRestart => json!({"rolloutRestart": [{"kind": "Deployment", "name": "player"}]}),
            Self::TemplateEdit => template("a={{ token }}")["spec"].clone(),
            _ => json!({}),
        };
        stage.scene.token(TOKEN, &spec)
    }
}

/// Returns a change of the template.
pub(super) fn template(url: &str) -> Value {
    json!({"spec": {"secret": {"template": {"data": {"url": url}}}}})
}

/// A Secret that is nobody's business.
fn bystander() -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "bystander"}, "stringData": {"token": "mine"}})
}

fn workload() -> Value {
    let pods = json!({"app": "player"});
    let container = json!({"name": "player", "image": "player.example/player:1"});
    json!({"apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "player", "labels": {"videotoken.dev/restart-on-renewal": "true"}},
        "spec": {"replicas": 0, "selector": {"matchLabels": pods},
            "template": {"metadata": {"labels": pods}, "spec": {"containers": [container]}}}})
}
