//! Checks that this machine can connect to the token APIs, with the client of the operator. No secret is sent.
//!
//! The host of a TokenProvider is called only if it is a public host of its type or an allowed one. Otherwise a user that can
//! create TokenProviders could make this machine call any host.

use super::super::error::CliError;
use super::super::session::Session;
use super::operator::Operator;
use super::providers::Provider;
use super::report::{CheckResult, Finding, Report};
use futures::future::join_all;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use url::Url;
use videotoken_api::provider::CaBundleKind;
use videotoken_providers::clock;
use videotoken_providers::hosts::{HostPolicy, NetworkGuard};
use videotoken_providers::http::{Call, Http, HttpOptions};

const AREA: &str = "Network";

/// Timeout of one request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Clock difference in seconds from which the check is a warning.
const WARNING_SKEW: i64 = 300;

/// Connects to each host once.
pub(super) async fn check(
    session: &Session,
    operator: &Operator,
    providers: &[Provider],
    report: &mut Report,
) -> Result<(), CliError> {
    let mut calls = BTreeMap::new();
    for provider in providers {
        let Some(destinations) = &provider.destinations else { continue };
        let guard = NetworkGuard { allowed: operator.allowed.clone(), ..NetworkGuard::default() };
        let hosts = match provider.namespace {
            None => HostPolicy::Any,
            Some(_) => HostPolicy::guarded(&destinations.public_hosts, Arc::new(guard)),
        };
        let ca_pem = match ca(session, operator, provider).await {
            Ok(ca) => ca,
            Err(why) => {
                report.warning(AREA, format!("{}: not checked from this machine: {why}", provider.shown), "")?;
                continue;
            }
        };
        for (_, url) in &destinations.urls {
            let options = HttpOptions {
                ca_pem: ca_pem.clone(),
                timeout: REQUEST_TIMEOUT,
                hosts: hosts.clone(),
                ..HttpOptions::default()
            };
            calls
                .entry((url.origin().ascii_serialization(), provider.namespace.is_some(), options.ca_pem.clone()))
                .or_insert_with(|| (url.clone(), options, provider.shown.clone()));
        }
    }
    let calls = calls.into_values().map(|(url, options, shown)| async move { call(&url, &options, &shown).await });
    for finding in join_all(calls).await {
        report.add(finding)?;
    }
    Ok(())
}

/// Returns the CA bundle of the provider.
async fn ca(session: &Session, operator: &Operator, provider: &Provider) -> Result<Option<String>, String> {
    let Some(reference) = &provider.spec.ca_bundle_ref else { return Ok(provider.spec.ca_bundle.clone()) };
    if reference.kind != CaBundleKind::ConfigMap {
        return Err("the CA bundle is in a Secret, which this command does not read".to_owned());
    }
    let namespace = provider.namespace.as_ref().unwrap_or(&operator.cluster_resources);
    let api: Api<ConfigMap> = Api::namespaced(session.client.clone(), namespace);
    let asked = session.request("get", "configmaps", api.get(&reference.name)).await;
    let map = asked.map_err(|error| format!("the CA bundle can't be read: {error}"))?;
    let pem = map.data.and_then(|mut data| data.remove(&reference.key));
    pem.map(Some).ok_or_else(|| {
        format!("the CA bundle does not exist: the ConfigMap {1} has no key {0}", reference.key, reference.name)
    })
}

/// Sends one request. Any response is sufficient, because the check is about name, route, port and certificate.
async fn call(url: &Url, options: &HttpOptions, shown: &str) -> Finding {
    let mut root = url.clone();
    root.set_path("/");
    root.set_query(None);
    let host = root.origin().ascii_serialization();
    let begun = clock::now().mono;
    let asked = match Http::new(options) {
        Ok(http) => http.send(Call::get(root)).await.map_err(|error| (error.reason, error.message)),
        Err(error) => Err(("InvalidSpec".into(), error.to_string())),
    };
    let finding = |verdict, found, action| Finding { area: AREA, verdict, found, action };
    let took = begun.elapsed().as_millis();
    let asked = asked.as_ref().map_err(|(reason, why): &(Cow<'static, str>, String)| (&**reason, why));
    match asked {
        Ok(answer) if answer.clock_skew.is_some_and(|skew| skew.abs() > WARNING_SKEW) => {
            let minutes = answer.clock_skew.unwrap_or_default() / 60;
            let found = format!("{host} responds to this machine, but the clocks differ by {minutes} minutes");
            finding(CheckResult::Warning, found, Some("compare both clocks with NTP".to_owned()))
        }
        Ok(_) | Err(("Redirected" | "BodyTooLarge" | "BadAnswer", _)) => {
            finding(CheckResult::Ok, format!("{host} responds to this machine over TLS in {took} ms"), None)
        }
        Err(("HostNotAllowed", why)) => {
            let found = format!("{host} of {shown} is not checked from this machine: {why}");
            finding(
                CheckResult::Warning,
                found,
                Some("if the operator allows the host, set --allowed-endpoint".to_owned()),
            )
        }
        Err((_, why)) => {
            let found = format!("{host} of {shown} can't be reached from this machine: {why}");
            let action = "the operator may still reach it: see its logs and the conditions of the provider";
            finding(CheckResult::Warning, found, Some(action.to_owned()))
        }
    }
}
