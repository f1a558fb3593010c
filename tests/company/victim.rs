//! A token of another namespace and another account, whose renewals fall due beside an attack.

use crate::OPERATOR;
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use std::time::Duration;
use testkit::emulator::Life;
use testkit::scene::{Scene, hosts};

/// The lifetime of its tokens in seconds. Renewal is due after two thirds of it.
const LIFE: u32 = 30;

/// A healthy token is renewed within this of its due time (P17).
pub(crate) const IN_TIME: TimeDelta = TimeDelta::seconds(10);

/// See the module's text.
pub(crate) struct Victim(pub(crate) Scene);

impl Victim {
    /// Prepares the victim's namespace and account. `attacked` is the scene whose operator, not yet started, serves both.
    pub(crate) async fn beside(attacked: &mut Scene) -> Self {
        let scene = Scene::new("victim", OPERATOR).await.unwrap();
        attacked.options.watch_namespaces.push(scene.namespace.clone());
        attacked.options.allowed_endpoints.extend(hosts(&scene.azure));
        Self(scene)
    }

    /// Issues its first token.
    pub(crate) async fn ready(&self) {
        self.0.azure.video_indexer.control().set_life(Life::Seconds(LIFE));
        self.0.ready_token("victim", &json!({})).await.unwrap();
    }

    /// Waits for this many renewals and asserts that each was in time.
    pub(crate) async fn is_renewed_in_time(&self, times: usize) {
        for _ in 0..times {
            let late = self.next_renewal_is_late_by().await;
            assert!(late <= IN_TIME, "renewed {late} after its due time");
        }
    }

    /// How long after its due time the next renewal comes.
    async fn next_renewal_is_late_by(&self) -> TimeDelta {
        let object = serde_json::to_value(self.0.tokens().get("victim").await.unwrap()).unwrap();
        let (issuances, due) = (object["status"]["issuances"].as_u64().unwrap(), time(&object["status"]["renewAt"]));
        self.0
            .until_within(Duration::from_mins(2), "victim", "renewed", |object| {
                object["status"]["issuances"].as_u64() > Some(issuances)
            })
            .await
            .map(|object| time(&object["status"]["issuedAt"]) - due)
            .unwrap()
    }
}

fn time(text: &Value) -> DateTime<Utc> {
    DateTime::parse_from_rfc3339(text.as_str().unwrap()).unwrap().to_utc()
}
