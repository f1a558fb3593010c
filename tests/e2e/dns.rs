//! What the operator asks of the cluster's DNS, and what the loss of DNS costs.

use crate::SOON;
use crate::cluster::Cluster;
use crate::providers::{self, Providers};
use crate::workload::Workload;
use chrono::{DateTime, TimeDelta, Utc};
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use serde_json::Value;
use std::collections::BTreeSet;
use testkit::emulator::Fault;
use testkit::stand::eventually;

/// How DNS is lost.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Loss {
    /// Its port is closed.
    Stopped,
    /// It doesn't answer.
    Paused,
}

/// The names that the operators have asked for, whose `resolv.conf` has the kubelet's search list and ndots 5.
pub(crate) async fn names_asked_for(cluster: &Cluster) -> BTreeSet<String> {
    for pod in cluster.operators().await {
        let container = pod.status.unwrap().container_statuses.unwrap().remove(0).container_id.unwrap();
        let settings = cluster.node.file_in(&container, "/etc/resolv.conf").unwrap();
        let list = "search video-token-operator.svc.cluster.local svc.cluster.local cluster.local";
        assert!(settings.contains(list) && settings.contains("ndots:5"), "{settings}");
    }
    let operators = cluster.operators_addresses().await;
    let asked = cluster.dns.questions().unwrap().into_iter().filter(|asked| operators.contains(&asked.from));
    asked.map(|asked| asked.name).collect()
}

/// Takes DNS away and asks for a renewal over a new connection: the status must name DNS, and the token stays. Once DNS
/// is back, the renewal must come with the next attempt that the status has named. Returns the seconds that it took.
pub(crate) async fn lost_and_found(
    cluster: &mut Cluster,
    providers: &Providers,
    workload: &Workload,
    loss: Loss,
    said: &str,
) -> i64 {
    const NAME: &str = "speech";
    let client = cluster.plane.client().unwrap();
    let secrets: Api<Secret> = Api::namespaced(client.clone(), providers::NAMESPACE);
    let stored = async || secrets.get(&format!("{NAME}-token")).await.unwrap().data;
    let tokens = providers::tokens(&client);
    let last_failure = async || -> Result<Value, String> {
        let object = tokens.get(NAME).await.map_err(|error| error.to_string())?;
        Ok(object.data["status"]["lastFailure"].clone())
    };
    let control = providers.control(NAME).unwrap();
    let (token, issued) = (stored().await, control.tokens().len());

    match loss {
        Loss::Stopped => cluster.dns.stop(),
        Loss::Paused => cluster.dns.pause().unwrap(),
    }
    control.play_once(Fault::ConnectionReset);
    Providers::ask_for_renewal(&client, NAME).await;
    let name = format!("the name {NAME}.{} can't be resolved: ", testkit::dns::ZONE);
    eventually(SOON, "the status names DNS", async || {
        let failure = last_failure().await?;
        let message = failure["message"].as_str().unwrap_or_default();
        let named = failure["reason"] == "DnsFailed" && message.contains(&name) && message.contains(said);
        if named { Ok(()) } else { Err(failure.to_string()) }
    })
    .await;
    workload.goes_on().await;
    assert_eq!(stored().await, token, "the token stays");

    match loss {
        Loss::Stopped => cluster.dns.start_again().await.unwrap(),
        Loss::Paused => cluster.dns.resume().unwrap(),
    }
    control.clear_faults();
    let back = Utc::now();
    let mut next = back;
    eventually(SOON, "the renewal", async || {
        if let Some(attempt) = last_failure().await?["nextAttemptAt"].as_str() {
            next = next.max(attempt.parse::<DateTime<Utc>>().map_err(|error| error.to_string())?);
        }
        if control.tokens().len() > issued { Ok(()) } else { Err(format!("next attempt at {next}")) }
    })
    .await;
    let late = Utc::now() - next;
    assert!(late < TimeDelta::seconds(5), "{late} after the attempt that was named");
    providers.all_ready(&client).await;
    assert_ne!(stored().await, token, "the token is renewed");
    (Utc::now() - back).num_seconds()
}
