//! Checks of the API server: connection, version, clock and CRDs.

use super::super::error::{CliError, reason};
use super::super::session::Session;
use super::crd_diff::crd_diff;
use super::report::Report;
use chrono::{DateTime, TimeDelta, Utc};
use http::Request;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::client::Body;
use kube::{Api, ResourceExt as _};
use serde_json::Value;
use videotoken_api::{GROUP, VERSION, crds};
use videotoken_core::summary::text::span;
use videotoken_providers::clock;

/// Oldest supported minor version of Kubernetes 1.
const OLDEST: u32 = 33;

/// Clock difference from which the check is a warning.
const WARNING_SKEW: TimeDelta = TimeDelta::seconds(10);
/// Clock difference from which the check fails, because logins and certificates may fail.
const FAILURE_SKEW: TimeDelta = TimeDelta::minutes(5);

const SERVER: &str = "API server";
const CLOCK: &str = "Clock";
const DEFINITIONS: &str = "CRDs";

/// Checks connection, version and clock. Returns by how much the API server's clock is ahead of this machine's, or `None`
/// without a connection.
pub(super) async fn server(session: &Session, report: &mut Report) -> Result<Option<TimeDelta>, CliError> {
    let before = clock::now().wall;
    let (version, date) = match version(session).await {
        Ok(answer) => answer,
        Err(why) => {
            let action = "check the address, the network and the login, for example with `kubectl version`";
            report.failed(SERVER, format!("{} is not usable: {why}", session.url), action)?;
            return Ok(None);
        }
    };
    let text = version["gitVersion"].as_str().unwrap_or("an unknown version");
    let found = format!("{} answers, {text}", session.url);
    match minor(&version) {
        Some((1, minor)) if minor < OLDEST => {
            report.failed(SERVER, found, format!("upgrade the cluster to Kubernetes 1.{OLDEST} or later"))?;
        }
        Some(_) => report.ok(SERVER, found)?,
        None => {
            report.warning(SERVER, found, format!("make sure that the cluster runs Kubernetes 1.{OLDEST} or later"))?;
        }
    }
    let Some(date) = date else { return Ok(Some(TimeDelta::zero())) };
    // the header has whole seconds, which are half a second late on average
    let skew = date + TimeDelta::milliseconds(500) - (before + (clock::now().wall - before) / 2);
    let action = "synchronize both clocks, for example with NTP";
    let found = format!("the clock of the API server is {} {} this machine's", span(skew), ahead(skew));
    match skew.abs() {
        off if off > FAILURE_SKEW => report.failed(CLOCK, found, action)?,
        off if off > WARNING_SKEW => report.warning(CLOCK, found, action)?,
        _ => report.ok(CLOCK, "the clocks of the API server and of this machine agree")?,
    }
    Ok(Some(skew))
}

fn ahead(skew: TimeDelta) -> &'static str {
    if skew > TimeDelta::zero() { "ahead of" } else { "behind" }
}

/// Returns `/version` and the Date of the response.
async fn version(session: &Session) -> Result<(Value, Option<DateTime<Utc>>), String> {
    let request = Request::get("/version").body(Body::empty()).map_err(|error| error.to_string())?;
    let asked = async {
        let answer = session.client.send(request).await.map_err(|error| reason(&error))?;
        let (status, date) = (answer.status(), answer.headers().get("date").cloned());
        let body = answer.into_body().collect_bytes().await.map_err(|error| reason(&error))?;
        if !status.is_success() {
            return Err(format!("the response is {status}"));
        }
        let date = date.and_then(|date| DateTime::parse_from_rfc2822(date.to_str().ok()?).ok());
        let version = serde_json::from_slice(&body)
            .map_err(|_| "the response of /version isn't JSON, so this is no API server".to_owned())?;
        Ok((version, date.map(|date| date.with_timezone(&Utc))))
    };
    let late = format!("no response within {} s", session.request_timeout.as_secs_f32());
    tokio::time::timeout(session.request_timeout, asked).await.map_err(|_| late)?
}

/// Returns major and minor version. `33+`, as some distributions write it, is 33.
fn minor(version: &Value) -> Option<(u32, u32)> {
    let number = |name: &str| version[name].as_str()?.trim_end_matches('+').parse().ok();
    Some((number("major")?, number("minor")?))
}

/// Checks the CRDs. Returns true if the API server serves all kinds.
pub(super) async fn definitions(session: &Session, report: &mut Report) -> Result<bool, CliError> {
    let api: Api<CustomResourceDefinition> = Api::all(session.client.clone());
    let mut all = true;
    for ours in crds::all() {
        let name = ours.name_any();
        let action = "update the CRDs with the chart or with `video-token-operator crds | kubectl apply --server-side \
                      -f -`, or use the plugin of the operator's version";
        match session.request("get", "customresourcedefinitions", api.get_opt(&name)).await {
            Ok(Some(there)) if !is_established(&there) => {
                report.failed(
                    DEFINITIONS,
                    format!("{name} is not established"),
                    "`kubectl describe crd` shows the cause",
                )?;
                all = false;
            }
            Ok(Some(there)) => match crd_diff(&there, &ours).as_slice() {
                [] => report.ok(DEFINITIONS, format!("{name} matches this program"))?,
                [first, rest @ ..] => {
                    let more = if rest.is_empty() { String::new() } else { format!(", and {} more", rest.len()) };
                    report.warning(DEFINITIONS, format!("{name} differs: {first}{more}"), action)?;
                }
            },
            Ok(None) => {
                report.failed(DEFINITIONS, format!("{name} does not exist"), action)?;
                all = false;
            }
            // most users may not read CRDs, but may list the served kinds
            Err(_) => return served(session, report).await,
        }
    }
    Ok(all)
}

fn is_established(crd: &CustomResourceDefinition) -> bool {
    let conditions = crd.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|condition| condition.type_ == "Established" && condition.status == "True")
}

async fn served(session: &Session, report: &mut Report) -> Result<bool, CliError> {
    let group = format!("{GROUP}/{VERSION}");
    let action = "install or update the CRDs with the chart or with `video-token-operator crds`";
    let list = session.client.list_api_group_resources(&group);
    match session.request("get", "the kinds", list).await.map(|list| crds::missing(&list)) {
        Ok(missing) if missing.is_empty() => {
            report.ok(
                DEFINITIONS,
                format!("{group} is served. The CRDs are not compared, because you may not read them"),
            )?;
            Ok(true)
        }
        Ok(missing) => {
            report.failed(DEFINITIONS, format!("{group} lacks {}", missing.join(", ")), action)?;
            Ok(false)
        }
        Err(error) => {
            report.failed(DEFINITIONS, error.to_string(), action)?;
            Ok(false)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn versions_are_read_as_clusters_write_them() {
        for (major, minor_, expected) in
            [("1", "33", Some((1, 33))), ("1", "33+", Some((1, 33))), ("2", "0", Some((2, 0))), ("", "", None)]
        {
            assert_eq!(minor(&json!({"major": major, "minor": minor_})), expected);
        }
    }
}
