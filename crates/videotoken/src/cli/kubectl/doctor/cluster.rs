//! The API server: is it there, new enough, its clock right, and does it serve the kinds as this program knows them?

use super::super::fault::{Fault, reason};
use super::super::session::Session;
use super::drift::drift;
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

/// The oldest minor version of Kubernetes 1 that is supported.
const OLDEST: u32 = 33;

/// A clock that is off by more confuses people who compare times.
const NOTICED: TimeDelta = TimeDelta::seconds(10);
/// And by more than this logins and certificates, too.
const TOO_MUCH: TimeDelta = TimeDelta::minutes(5);

const SERVER: &str = "API server";
const CLOCK: &str = "Clock";
const DEFINITIONS: &str = "CRDs";

/// Asks for its version. Returns how far its clock is ahead of this machine's; nothing if it can't be asked.
pub(super) async fn server(session: &Session, report: &mut Report) -> Result<Option<TimeDelta>, Fault> {
    let before = clock::now().wall;
    let (version, date) = match version(session).await {
        Ok(answer) => answer,
        Err(why) => {
            let way_out = "is the address right, the network open, the login good? Try `kubectl version`";
            report.failed(SERVER, format!("{} can't be asked: {why}", session.url), way_out)?;
            return Ok(None);
        }
    };
    let text = version["gitVersion"].as_str().unwrap_or("an unknown version");
    let found = format!("{} answers, {text}", session.url);
    match minor(&version) {
        Some((1, minor)) if minor < OLDEST => {
            report.failed(
                SERVER,
                found,
                format!("upgrade the cluster: Kubernetes 1.{OLDEST} is the oldest supported"),
            )?;
        }
        Some(_) => report.ok(SERVER, found)?,
        None => report.warning(SERVER, found, format!("make sure that it is Kubernetes 1.{OLDEST} or later"))?,
    }
    let Some(date) = date else { return Ok(Some(TimeDelta::zero())) };
    // the header tells whole seconds: half of one is between it and the moment
    let skew = date + TimeDelta::milliseconds(500) - (before + (clock::now().wall - before) / 2);
    let way_out = "set one of them right, by NTP: times are compared across them";
    let found = format!("the API server's is {} {} this machine's", span(skew), ahead(skew));
    match skew.abs() {
        off if off > TOO_MUCH => report.failed(CLOCK, found, way_out)?,
        off if off > NOTICED => report.warning(CLOCK, found, way_out)?,
        _ => report.ok(CLOCK, "the API server's and this machine's agree")?,
    }
    Ok(Some(skew))
}

fn ahead(skew: TimeDelta) -> &'static str {
    if skew > TimeDelta::zero() { "ahead of" } else { "behind" }
}

/// `/version`, and the answer's Date.
async fn version(session: &Session) -> Result<(Value, Option<DateTime<Utc>>), String> {
    let request = Request::get("/version").body(Body::empty()).map_err(|error| error.to_string())?;
    let asked = async {
        let answer = session.client.send(request).await.map_err(|error| reason(&error))?;
        let (status, date) = (answer.status(), answer.headers().get("date").cloned());
        let body = answer.into_body().collect_bytes().await.map_err(|error| reason(&error))?;
        if !status.is_success() {
            return Err(format!("it answers {status}"));
        }
        let date = date.and_then(|date| DateTime::parse_from_rfc2822(date.to_str().ok()?).ok());
        let version =
            serde_json::from_slice(&body).map_err(|_| "it isn't an API server: no JSON at /version".to_owned())?;
        Ok((version, date.map(|date| date.with_timezone(&Utc))))
    };
    let late = format!("no answer within {} s", session.patience.as_secs_f32());
    tokio::time::timeout(session.patience, asked).await.map_err(|_| late)?
}

/// Major and minor; a provider's `33+` is 33.
fn minor(version: &Value) -> Option<(u32, u32)> {
    let number = |name: &str| version[name].as_str()?.trim_end_matches('+').parse().ok();
    Some((number("major")?, number("minor")?))
}

/// Whether the kinds are served, and as this program knows them.
pub(super) async fn definitions(session: &Session, report: &mut Report) -> Result<bool, Fault> {
    let api: Api<CustomResourceDefinition> = Api::all(session.client.clone());
    let mut all = true;
    for ours in crds::all() {
        let name = ours.name_any();
        let way_out = "bring the CRDs up to date: upgrade the chart, or `video-token-operator crds | kubectl apply \
                       --server-side -f -`; or use the plugin of the operator's version";
        match session.ask("get", "customresourcedefinitions", api.get_opt(&name)).await {
            Ok(Some(there)) if !is_established(&there) => {
                report.failed(DEFINITIONS, format!("{name} isn't established"), "`kubectl describe crd` says why")?;
                all = false;
            }
            Ok(Some(there)) => match drift(&there, &ours).as_slice() {
                [] => report.ok(DEFINITIONS, format!("{name} is as this program knows it"))?,
                [first, rest @ ..] => {
                    let more = if rest.is_empty() { String::new() } else { format!(", and {} more", rest.len()) };
                    report.warning(DEFINITIONS, format!("{name} differs: {first}{more}"), way_out)?;
                }
            },
            Ok(None) => {
                report.failed(DEFINITIONS, format!("{name} isn't there"), way_out)?;
                all = false;
            }
            // only a cluster's admin may read them; that they are served everybody is told
            Err(_) => return served(session, report).await,
        }
    }
    Ok(all)
}

fn is_established(crd: &CustomResourceDefinition) -> bool {
    let conditions = crd.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|says| says.type_ == "Established" && says.status == "True")
}

async fn served(session: &Session, report: &mut Report) -> Result<bool, Fault> {
    let group = format!("{GROUP}/{VERSION}");
    let way_out = "install or update the CRDs, by the chart or `video-token-operator crds`";
    let list = session.client.list_api_group_resources(&group);
    match session.ask("get", "the kinds", list).await.map(|list| crds::missing(&list)) {
        Ok(missing) if missing.is_empty() => {
            report.ok(DEFINITIONS, format!("{group} is served; you may not read the CRDs, so they aren't compared"))?;
            Ok(true)
        }
        Ok(missing) => {
            report.failed(DEFINITIONS, format!("{group} lacks {}", missing.join(", ")), way_out)?;
            Ok(false)
        }
        Err(fault) => {
            report.failed(DEFINITIONS, fault.to_string(), way_out)?;
            Ok(false)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn versions_are_read_as_clusters_tell_them() {
        for (major, minor_, expected) in
            [("1", "33", Some((1, 33))), ("1", "33+", Some((1, 33))), ("2", "0", Some((2, 0))), ("", "", None)]
        {
            assert_eq!(minor(&json!({"major": major, "minor": minor_})), expected);
        }
    }
}
