//! Checks of each provider: conditions, and the Secrets with credentials.

use super::super::error::CliError;
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
use videotoken_providers::clock::{self, Timestamp};
use videotoken_providers::provider_setup::destinations::{Destinations, destinations};

const AREA: &str = "Providers";
const CREDENTIALS: &str = "Credentials";

/// Time before the expiry of a credential from which the check is a warning.
const EXPIRY_WARNING: TimeDelta = TimeDelta::days(14);

/// A provider, as far as it can be read.
pub(super) struct Provider {
    /// `TokenProvider cinema/indexer`.
    pub(super) shown: String,
    /// Namespace; `None`: a ClusterTokenProvider.
    pub(super) namespace: Option<String>,
    /// Spec.
    pub(super) spec: ProviderSpec,
    /// Hosts and Secrets that the operator uses.
    pub(super) destinations: Option<Destinations>,
}

/// Checks the TokenProviders of the selected namespaces, and the ClusterTokenProviders.
pub(super) async fn check(
    session: &Session,
    operator: &Operator,
    report: &mut Report,
) -> Result<Vec<Provider>, CliError> {
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
        let listed = session.request("list", what, api.list(&ListParams::default())).await;
        let objects = match listed {
            Ok(list) => list.items,
            Err(error) => {
                report.warning(AREA, format!("not readable: {error}"), "ask a user who may list them")?;
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
        let action = "apply a provider, for example from deploy/examples";
        report.warning(
            AREA,
            format!("no TokenProvider {}, and no ClusterTokenProvider", session.namespace_phrase()),
            action,
        )?;
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

fn conditions(
    provider: &Provider,
    object: &DynamicObject,
    now: Timestamp,
    report: &mut Report,
) -> Result<(), CliError> {
    let status: ProviderStatus = serde_json::from_value(object.data["status"].clone()).unwrap_or_default();
    let shown = &provider.shown;
    let Some(ready) = status.conditions.iter().find(|condition| condition.type_ == "Ready") else {
        let action = "the operator might not be running or might not watch this namespace";
        return report.warning(AREA, format!("{shown}: the operator has not reported a status yet"), action);
    };
    let action = |reason: &str, message: &str| {
        let known = reasons::find(reason).map(|reason| format!("{}: {}", reason.meaning, reason.action));
        known.unwrap_or_else(|| message.to_owned())
    };
    if ready.status == ConditionStatus::True {
        let (type_, account) = (status.type_.unwrap_or_default(), status.account.unwrap_or_default());
        let tokens = status.tokens.unwrap_or_default();
        report.ok(AREA, format!("{shown}: ready, {type_} {account}, {tokens} tokens"))?;
    } else {
        let found = format!("{shown}: {}: {}", ready.reason, ready.message);
        report.failed(AREA, found, action(&ready.reason, ""))?;
    }
    let warnings = ["Oversubscribed", "ClockSkewed"];
    for condition in status.conditions.iter().filter(|condition| warnings.contains(&&*condition.type_)) {
        if condition.status == ConditionStatus::True {
            report.warning(AREA, format!("{shown}: {}", condition.type_), condition.message.clone())?;
        }
    }
    let Some(ends) = status.credentials_expire_at else { return Ok(()) };
    let found = format!("{shown}: the credential expires {} ({})", relative_time(ends, now), wire_time::text(ends));
    let action = "replace it. The operator uses the new one at once.";
    match ends - now {
        left if left <= TimeDelta::zero() => report.failed(CREDENTIALS, found, action),
        left if left < EXPIRY_WARNING => report.warning(CREDENTIALS, found, action),
        _ => report.ok(CREDENTIALS, found),
    }
}

/// Checks the Secrets with credentials. Only their metadata is read.
async fn credentials(
    session: &Session,
    operator: &Operator,
    provider: &Provider,
    report: &mut Report,
) -> Result<(), CliError> {
    let Some(destinations) = &provider.destinations else { return Ok(()) };
    let namespace = provider.namespace.as_ref().unwrap_or(&operator.cluster_resources);
    let api: Api<Secret> = Api::namespaced(session.client.clone(), namespace);
    for name in &destinations.secrets {
        let what = format!("{}: Secret {namespace}/{name}", provider.shown);
        match session.request("get", "secrets", api.get_metadata_opt(name)).await {
            Ok(None) => {
                let action = format!("create it with the label {}=true", names::CREDENTIALS);
                report.failed(CREDENTIALS, format!("{what} does not exist"), action)?;
            }
            Ok(Some(secret)) if secret.labels().get(names::CREDENTIALS).is_none_or(|value| value != "true") => {
                let action = format!("kubectl label secret -n {namespace} {name} {}=true", names::CREDENTIALS);
                report.failed(CREDENTIALS, format!("{what} has no label, so the operator does not read it"), action)?;
            }
            Ok(Some(_)) => report.ok(CREDENTIALS, format!("{what} exists and has the label"))?,
            Err(error) => {
                report.warning(
                    CREDENTIALS,
                    format!("{what} can't be read: {error}"),
                    "ask a user who may get Secrets in that namespace",
                )?;
            }
        }
    }
    Ok(())
}
