//! Checks of the operator: Deployment, Pods and leader.

use super::super::error::CliError;
use super::super::session::Session;
use super::Options;
use super::report::Report;
use chrono::TimeDelta;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::ListParams;
use kube::{Api, ResourceExt as _};
use videotoken_core::summary::text::span;
use videotoken_providers::clock;
use videotoken_providers::hosts::HostPattern;

const AREA: &str = "Operator";

/// Label of the chart's Deployment.
const LABEL: &str = "app.kubernetes.io/name=video-token-operator";

/// Settings of the operator from its Deployment, or the defaults without one.
#[derive(Clone, Debug)]
pub(super) struct Operator {
    /// Namespace.
    pub(super) namespace: String,
    /// ServiceAccount.
    pub(super) service_account: String,
    /// `--watch-namespaces`; empty: all.
    pub(super) watches: Vec<String>,
    /// `--cluster-providers`.
    pub(super) cluster_providers: bool,
    /// `--cluster-resource-namespace`.
    pub(super) cluster_resources: String,
    /// `--allowed-endpoint`.
    pub(super) allowed: Vec<HostPattern>,
    /// Lease; `None` without leader election.
    pub(super) lease: Option<String>,
}

impl Operator {
    fn from_options(options: &Options) -> Self {
        Self {
            namespace: options.operator_namespace.clone(),
            service_account: "video-token-operator".to_owned(),
            watches: Vec::new(),
            cluster_providers: true,
            cluster_resources: options.operator_namespace.clone(),
            allowed: options.allowed_endpoint.clone(),
            lease: Some(options.lease.clone()),
        }
    }

    /// Reads the arguments of a Deployment, as the chart writes them.
    fn from_deployment(deployment: &Deployment, options: &Options) -> Self {
        let namespace = deployment.namespace().unwrap_or_default();
        let pod = deployment.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
        let args: Vec<&String> = pod
            .map(|pod| pod.containers.iter().flat_map(|container| container.args.iter().flatten()).collect())
            .unwrap_or_default();
        let all = |flag: &str| {
            let values =
                args.iter().filter_map(|arg| arg.strip_prefix(flag)?.strip_prefix('=')).flat_map(|v| v.split(','));
            values.map(|value| value.trim().to_owned()).filter(|value| !value.is_empty()).collect::<Vec<_>>()
        };
        let one = |flag: &str| all(flag).pop();
        let alone = one("--leader-elect").is_some_and(|value| value == "false");
        let mut allowed = options.allowed_endpoint.clone();
        allowed.extend(all("--allowed-endpoint").iter().filter_map(|pattern| pattern.parse().ok()));
        Self {
            service_account: pod
                .and_then(|pod| pod.service_account_name.clone())
                .unwrap_or_else(|| "default".to_owned()),
            watches: all("--watch-namespaces"),
            cluster_providers: one("--cluster-providers").is_none_or(|value| value != "false"),
            cluster_resources: one("--cluster-resource-namespace").unwrap_or_else(|| namespace.clone()),
            allowed,
            lease: (!alone).then(|| one("--lease-name").unwrap_or_else(|| options.lease.clone())),
            namespace,
        }
    }
}

/// Checks Deployment and Lease. `skew`: time by which the API server's clock is ahead of this machine's.
pub(super) async fn check(
    session: &Session,
    options: &Options,
    skew: TimeDelta,
    report: &mut Report,
) -> Result<Operator, CliError> {
    let (deployments, seen) = match deployments(session, options).await {
        Ok(found) => (found, true),
        Err(error) => {
            report.warning(
                AREA,
                format!("the Deployment can't be read: {error}"),
                "ask a user who may list Deployments in that namespace",
            )?;
            (Vec::new(), false)
        }
    };
    let operators: Vec<Operator> =
        deployments.iter().map(|deployment| Operator::from_deployment(deployment, options)).collect();
    for deployment in &deployments {
        pods(deployment, report)?;
    }
    let operator = operators.first().cloned().unwrap_or_else(|| Operator::from_options(options));
    let leads = leader(session, &operator, skew, report).await?;
    if seen && deployments.is_empty() {
        let found = format!("no Deployment with the label {LABEL}");
        let action = "install the operator with `helm install video-token-operator`, or set --operator-namespace";
        if leads {
            report.warning(AREA, format!("{found}, but there is a leader"), action)?;
        } else {
            report.failed(AREA, found, action)?;
        }
    }
    Ok(operator)
}

/// Lists the Deployments of the cluster if the user may, else of the operator's namespace.
async fn deployments(session: &Session, options: &Options) -> Result<Vec<Deployment>, CliError> {
    let params = ListParams::default().labels(LABEL);
    let all: Api<Deployment> = Api::all(session.client.clone());
    if let Ok(list) = session.request("list", "deployments.apps", all.list(&params)).await {
        return Ok(list.items);
    }
    let api: Api<Deployment> = Api::namespaced(session.client.clone(), &options.operator_namespace);
    Ok(session.request("list", "deployments.apps", api.list(&params)).await?.items)
}

fn pods(deployment: &Deployment, report: &mut Report) -> Result<(), CliError> {
    let name = format!("Deployment {}/{}", deployment.namespace().unwrap_or_default(), deployment.name_any());
    let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let ready = deployment.status.as_ref().and_then(|status| status.ready_replicas).unwrap_or_default();
    let version = deployment.labels().get("app.kubernetes.io/version").map_or("", String::as_str);
    let found = format!("{name}: {ready} of {wanted} Pods ready, version {version}");
    let ours = env!("CARGO_PKG_VERSION");
    if ready == 0 {
        report.failed(
            AREA,
            found,
            format!("see `kubectl -n {} get pods` and the logs", deployment.namespace().unwrap_or_default()),
        )
    } else if ready < wanted {
        report.warning(AREA, found, "a Pod that is not ready can't take over")
    } else if version != ours && !version.is_empty() {
        report.warning(AREA, found, format!("this program has version {ours}. Use the version of the operator."))
    } else {
        report.ok(AREA, found)
    }
}

/// Checks the Lease. Returns true if there is a leader.
async fn leader(
    session: &Session,
    operator: &Operator,
    skew: TimeDelta,
    report: &mut Report,
) -> Result<bool, CliError> {
    let Some(name) = &operator.lease else {
        report.ok(AREA, "leader election is disabled")?;
        return Ok(true);
    };
    let what = format!("Lease {}/{name}", operator.namespace);
    let action = format!("see the logs of the Pods: `kubectl -n {} logs -l {LABEL}`", operator.namespace);
    let api: Api<Lease> = Api::namespaced(session.client.clone(), &operator.namespace);
    let lease = match session.request("get", "leases.coordination.k8s.io", api.get_opt(name)).await {
        Ok(lease) => lease,
        Err(error) => {
            report.warning(
                AREA,
                format!("{what} can't be read: {error}"),
                "ask a user who may get Leases in that namespace",
            )?;
            return Ok(false);
        }
    };
    let spec = lease.and_then(|lease| lease.spec);
    let holder = spec.as_ref().and_then(|spec| spec.holder_identity.clone()).filter(|holder| !holder.is_empty());
    let (Some(spec), Some(holder)) = (spec, holder) else {
        report.failed(AREA, format!("{what}: there is no leader, so no token is issued"), action)?;
        return Ok(false);
    };
    let now = clock::now().wall + skew;
    let seconds = |at: i64| now - videotoken_providers::clock::Timestamp::from_timestamp(at, 0).unwrap_or_default();
    let renewed = spec.renew_time.as_ref().map_or(TimeDelta::MAX, |at| seconds(at.0.as_second()));
    let duration = TimeDelta::seconds(spec.lease_duration_seconds.unwrap_or(30).into());
    if renewed > duration {
        let found = format!("{what}: there is no leader. The last one, {holder}, renewed it {} ago", span(renewed));
        report.failed(AREA, found, action)?;
        return Ok(false);
    }
    let since = spec
        .acquire_time
        .as_ref()
        .map_or_else(String::new, |at| format!(", acquired {} ago", span(seconds(at.0.as_second()))));
    report.ok(AREA, format!("{holder} is the leader{since}, renewed {} ago", span(renewed.max(TimeDelta::zero()))))?;
    Ok(true)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_deployments_arguments_are_read_as_the_chart_writes_them() {
        let options = Options {
            operator_namespace: "elsewhere".into(),
            lease: "default-lease".into(),
            allowed_endpoint: vec!["here.example".parse().unwrap()],
            offline: false,
            output: None,
        };
        let deployment = |args: &[&str]| -> Deployment {
            serde_json::from_value(json!({"metadata": {"namespace": "vto", "name": "vto"}, "spec": {"selector": {},
                "template": {"spec": {"serviceAccountName": "sa", "containers": [{"name": "operator", "args": args}]}}}}))
            .unwrap()
        };
        let plain = Operator::from_deployment(&deployment(&[]), &options);
        assert_eq!((&*plain.namespace, &*plain.cluster_resources, plain.watches.len()), ("vto", "vto", 0));
        assert_eq!((plain.lease.as_deref(), plain.cluster_providers), (Some("default-lease"), true));
        let args = [
            "--lease-name=mine",
            "--watch-namespaces=a, b",
            "--cluster-providers=false",
            "--cluster-resource-namespace=c",
            "--allowed-endpoint=*.example,other.example",
        ];
        let operator = Operator::from_deployment(&deployment(&args), &options);
        assert_eq!((operator.lease.as_deref(), operator.cluster_providers), (Some("mine"), false));
        assert_eq!(
            (operator.watches, &*operator.cluster_resources, operator.allowed.len()),
            (vec!["a".into(), "b".into()], "c", 3)
        );
        assert_eq!(Operator::from_deployment(&deployment(&["--leader-elect=false"]), &options).lease, None);
    }
}
