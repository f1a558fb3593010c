//! Each provider object: what it says of itself, and whether its credentials are there and meant for the operator.

use super::super::fault::Fault;
use super::super::session::Session;
use super::operator::Operator;
use super::report::Report;
use chrono::TimeDelta;
use k8s_openapi::api::core::v1::Secret;
use kube::api::ListParams;
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use kube::{Api, ResourceExt as _};
use videotoken_api::condition::ConditionStatus;
use videotoken_api::provider::ProviderSpec;
use videotoken_api::provider_status::ProviderStatus;
use videotoken_api::{GROUP, VERSION, names, wire_time};
use videotoken_core::summary::reasons;
use videotoken_core::summary::text::relative_time;
use videotoken_providers::account::destinations::{Destinations, destinations};
use videotoken_providers::clock::{self, Timestamp};

const AREA: &str = "Providers";
const CREDENTIALS: &str = "Credentials";

/// A credential that ends sooner is to be replaced.
const SOON: TimeDelta = TimeDelta::days(14);

/// A provider object, as far as it can be read.
pub(super) struct Provider {
    /// `TokenProvider cinema/indexer`.
    pub(super) shown: String,
    /// Its namespace; none: a ClusterTokenProvider.
    pub(super) namespace: Option<String>,
    /// Its spec.
    pub(super) spec: ProviderSpec,
    /// Where its issuer goes.
    pub(super) destinations: Option<Destinations>,
}

/// Looks at those of the namespace and at those of the cluster.
pub(super) async fn look(session: &Session, operator: &Operator, report: &mut Report) -> Result<Vec<Provider>, Fault> {
    let resource = |kind: &str| ApiResource::from_gvk(&GroupVersionKind::gvk(GROUP, VERSION, kind));
    let namespaced = resource("TokenProvider");
    let lists: [(&str, Api<DynamicObject>); 2] = [
        (
            "tokenproviders.videotoken.dev",
            match &session.namespace {
                Some(namespace) => Api::namespaced_with(session.client.clone(), namespace, &namespaced),
                None => Api::all_with(session.client.clone(), &namespaced),
            },
        ),
        (
            "clustertokenproviders.videotoken.dev",
            Api::all_with(session.client.clone(), &resource("ClusterTokenProvider")),
        ),
    ];
    let now = clock::now().wall;
    let (mut found, mut unseen) = (Vec::new(), false);
    for (what, api) in lists {
        let listed = session.ask("list", what, api.list(&ListParams::default())).await;
        let objects = match listed {
            Ok(list) => list.items,
            Err(fault) => {
                report.warning(AREA, format!("not seen: {fault}"), "ask someone who may list them")?;
                unseen = true;
                continue;
            }
        };
        for object in &objects {
            let provider = read(object);
            conditions(&provider, object, now, report)?;
            credentials(session, operator, &provider, report).await?;
            found.push(provider);
        }
    }
    if found.is_empty() && !unseen {
        let way_out = "apply one, such as those of deploy/examples";
        report.warning(AREA, format!("none {}, and none of the cluster", session.whereabouts()), way_out)?;
    }
    Ok(found)
}

fn read(object: &DynamicObject) -> Provider {
    let namespace = object.namespace();
    let shown = match &namespace {
        Some(namespace) => format!("TokenProvider {namespace}/{}", object.name_any()),
        None => format!("ClusterTokenProvider {}", object.name_any()),
    };
    let spec: ProviderSpec = serde_json::from_value(object.data["spec"].clone()).unwrap_or_default();
    let destinations = spec.account().ok().and_then(|account| destinations(&account).ok());
    Provider { shown, namespace, spec, destinations }
}

fn conditions(provider: &Provider, object: &DynamicObject, now: Timestamp, report: &mut Report) -> Result<(), Fault> {
    let status: ProviderStatus = serde_json::from_value(object.data["status"].clone()).unwrap_or_default();
    let shown = &provider.shown;
    let Some(ready) = status.conditions.iter().find(|says| says.type_ == "Ready") else {
        let way_out = "no operator that serves it may be at work: see above";
        return report.warning(AREA, format!("{shown}: no operator has looked at it yet"), way_out);
    };
    let way_out = |reason: &str, message: &str| {
        let known = reasons::find(reason).map(|reason| format!("{}: {}", reason.meaning, reason.action));
        known.unwrap_or_else(|| message.to_owned())
    };
    if ready.status == ConditionStatus::True {
        let (type_, account) = (status.type_.unwrap_or_default(), status.account.unwrap_or_default());
        let tokens = status.tokens.unwrap_or_default();
        report.ok(AREA, format!("{shown}: ready, {type_} {account}, {tokens} tokens"))?;
    } else {
        let found = format!("{shown}: {}: {}", ready.reason, ready.message);
        report.failed(AREA, found, way_out(&ready.reason, ""))?;
    }
    let warnings = ["Oversubscribed", "ClockSkewed"];
    for says in status.conditions.iter().filter(|says| warnings.contains(&&*says.type_)) {
        if says.status == ConditionStatus::True {
            report.warning(AREA, format!("{shown}: {}", says.type_), says.message.clone())?;
        }
    }
    let Some(ends) = status.credentials_expire_at else { return Ok(()) };
    let found = format!("{shown}: its credential expires {} ({})", relative_time(ends, now), wire_time::text(ends));
    let way_out = "replace it; the operator takes up the new one at once";
    match ends - now {
        left if left <= TimeDelta::zero() => report.failed(CREDENTIALS, found, way_out),
        left if left < SOON => report.warning(CREDENTIALS, found, way_out),
        _ => report.ok(CREDENTIALS, found),
    }
}

/// Of each Secret only the metadata is read.
async fn credentials(
    session: &Session,
    operator: &Operator,
    provider: &Provider,
    report: &mut Report,
) -> Result<(), Fault> {
    let Some(destinations) = &provider.destinations else { return Ok(()) };
    let namespace = provider.namespace.as_ref().unwrap_or(&operator.cluster_resources);
    let api: Api<Secret> = Api::namespaced(session.client.clone(), namespace);
    for name in &destinations.secrets {
        let what = format!("{}: Secret {namespace}/{name}", provider.shown);
        match session.ask("get", "secrets", api.get_metadata_opt(name)).await {
            Ok(None) => {
                let way_out = format!("create it, with the label {}=true", names::CREDENTIALS);
                report.failed(CREDENTIALS, format!("{what} isn't there"), way_out)?;
            }
            Ok(Some(secret)) if secret.labels().get(names::CREDENTIALS).is_none_or(|value| value != "true") => {
                let way_out = format!("kubectl label secret -n {namespace} {name} {}=true", names::CREDENTIALS);
                report.failed(CREDENTIALS, format!("{what} isn't labelled: the operator won't read it"), way_out)?;
            }
            Ok(Some(_)) => report.ok(CREDENTIALS, format!("{what} is there and labelled"))?,
            Err(fault) => {
                report.warning(
                    CREDENTIALS,
                    format!("{what} isn't seen: {fault}"),
                    "ask someone who may get Secrets there",
                )?;
            }
        }
    }
    Ok(())
}
