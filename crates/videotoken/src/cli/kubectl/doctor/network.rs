//! Whether this machine reaches the providers' hosts, by the client that the operator uses. Nothing secret is sent.
//!
//! A TokenProvider's host is called only if it is its product's own or one that the operator's admin allows: whoever may
//! write a TokenProvider can't have this machine call what they like.

use super::super::fault::Fault;
use super::super::session::Session;
use super::operator::Operator;
use super::providers::Provider;
use super::report::{Finding, Report, Verdict};
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

/// A host that doesn't answer within this is told as such.
const PATIENCE: Duration = Duration::from_secs(10);

/// A clock that is off by more is told; seconds.
const SKEW: i64 = 300;

/// Calls each host once.
pub(super) async fn look(
    session: &Session,
    operator: &Operator,
    providers: &[Provider],
    report: &mut Report,
) -> Result<(), Fault> {
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
                report.warning(AREA, format!("{}: not tried from this machine: {why}", provider.shown), "")?;
                continue;
            }
        };
        for (_, url) in &destinations.urls {
            let options = HttpOptions {
                ca_pem: ca_pem.clone(),
                timeout: PATIENCE,
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

/// The CAs that the provider object names.
async fn ca(session: &Session, operator: &Operator, provider: &Provider) -> Result<Option<String>, String> {
    let Some(reference) = &provider.spec.ca_bundle_ref else { return Ok(provider.spec.ca_bundle.clone()) };
    if reference.kind != CaBundleKind::ConfigMap {
        return Err("its CA is in a Secret, which isn't read".to_owned());
    }
    let namespace = provider.namespace.as_ref().unwrap_or(&operator.cluster_resources);
    let api: Api<ConfigMap> = Api::namespaced(session.client.clone(), namespace);
    let asked = session.ask("get", "configmaps", api.get(&reference.name)).await;
    let map = asked.map_err(|fault| format!("its CA isn't seen: {fault}"))?;
    let pem = map.data.and_then(|mut data| data.remove(&reference.key));
    pem.map(Some).ok_or_else(|| format!("its CA isn't there: no key {} in ConfigMap {}", reference.key, reference.name))
}

/// Any answer will do: it is name, route, port and certificate that are tried.
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
    let finding = |verdict, found, way_out| Finding { area: AREA, verdict, found, way_out };
    let took = begun.elapsed().as_millis();
    let asked = asked.as_ref().map_err(|(reason, why): &(Cow<'static, str>, String)| (&**reason, why));
    match asked {
        Ok(answer) if answer.clock_skew.is_some_and(|skew| skew.abs() > SKEW) => {
            let minutes = answer.clock_skew.unwrap_or_default() / 60;
            let found = format!("{host} answers from this machine, its clock {minutes} min off this machine's");
            finding(Verdict::Warning, found, Some("compare both with a third: NTP".to_owned()))
        }
        Ok(_) | Err(("Redirected" | "BodyTooLarge" | "BadAnswer", _)) => {
            finding(Verdict::Ok, format!("{host} answers from this machine, by TLS, in {took} ms"), None)
        }
        Err(("HostNotAllowed", why)) => {
            let found = format!("{host} of {shown} isn't tried from this machine: {why}");
            finding(Verdict::Warning, found, Some("if its admin allows it, so does --allowed-endpoint here".to_owned()))
        }
        Err((_, why)) => {
            let found = format!("{host} of {shown} isn't reached from this machine: {why}");
            let way_out = "the operator's Pods may reach it all the same: their logs and the conditions tell";
            finding(Verdict::Warning, found, Some(way_out.to_owned()))
        }
    }
}
