//! Checks of the permissions of the user and of the operator, by the API server.

use super::super::error::CliError;
use super::super::session::Session;
use super::operator::Operator;
use super::report::Report;
use crate::manifest;
use futures::{StreamExt as _, stream};
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec, SubjectAccessReview,
    SubjectAccessReviewSpec,
};
use k8s_openapi::api::rbac::v1::PolicyRule;
use kube::Api;
use kube::api::PostParams;
use std::collections::BTreeMap;

const YOURS: &str = "Your rights";
const ITS: &str = "Its rights";

/// Permissions that the commands need, and these commands.
const NEEDS: [(&str, &str, &str, &str); 9] = [
    ("list", "videotoken.dev", "videoaccesstokens", "status"),
    ("watch", "videotoken.dev", "videoaccesstokens", "status --watch and renew --wait"),
    ("get", "videotoken.dev", "videoaccesstokens", "status NAME and describe"),
    ("patch", "videotoken.dev", "videoaccesstokens", "renew"),
    ("get", "", "secrets", "inspect"),
    ("list", "", "events", "the events of describe"),
    ("list", "videotoken.dev", "tokenproviders", "doctor"),
    ("list", "videotoken.dev", "clustertokenproviders", "doctor"),
    ("get", "videotoken.dev", "tokenproviders", "the provider of describe"),
];

/// Cluster-scoped resources.
const CLUSTER_RESOURCES: [&str; 3] = ["clustertokenproviders", "clustertokenproviders/status", "namespaces"];

/// Maximum number of concurrent requests.
const MAX_CONCURRENT_REQUESTS: usize = 8;

/// Checks the permissions of the user.
pub(super) async fn yours(session: &Session, report: &mut Report) -> Result<(), CliError> {
    let api: Api<SelfSubjectAccessReview> = Api::all(session.client.clone());
    let mut lacking = Vec::new();
    for (verb, group, resource, used_by) in NEEDS {
        let namespace = session.namespace.as_deref().filter(|_| !CLUSTER_RESOURCES.contains(&resource));
        let spec = SelfSubjectAccessReviewSpec {
            resource_attributes: Some(attributes(verb, group, resource, namespace)),
            ..SelfSubjectAccessReviewSpec::default()
        };
        let review = SelfSubjectAccessReview { spec, ..SelfSubjectAccessReview::default() };
        let params = PostParams::default();
        let asked = api.create(&params, &review);
        match session.request("create", "selfsubjectaccessreviews.authorization.k8s.io", asked).await {
            Ok(review) if review.status.as_ref().is_some_and(|status| status.allowed) => {}
            Ok(_) => lacking.push(format!("{verb} {} ({used_by})", qualified(group, resource))),
            Err(error) => {
                return report.warning(YOURS, error.to_string(), "");
            }
        }
    }
    let namespace_phrase = session.namespace_phrase();
    if lacking.is_empty() {
        return report.ok(YOURS, format!("you may use all commands {namespace_phrase}"));
    }
    let action = "the ClusterRoles view, edit and admin contain video-token-operator-view and -edit";
    report.warning(YOURS, format!("{namespace_phrase} you may not {}", lacking.join(", ")), action)
}

fn attributes(verb: &str, group: &str, resource: &str, namespace: Option<&str>) -> ResourceAttributes {
    let (resource, subresource) = resource.split_once('/').map_or((resource, None), |(of, sub)| (of, Some(sub)));
    ResourceAttributes {
        verb: Some(verb.to_owned()),
        group: Some(group.to_owned()),
        resource: Some(resource.to_owned()),
        subresource: subresource.map(str::to_owned),
        namespace: namespace.map(str::to_owned),
        ..ResourceAttributes::default()
    }
}

fn qualified(group: &str, resource: &str) -> String {
    if group.is_empty() { resource.to_owned() } else { format!("{resource}.{group}") }
}

/// A permission that the operator needs.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Right {
    verb: String,
    group: String,
    resource: String,
    namespace: Option<String>,
    /// Name of the only object that the permission is for.
    name: Option<String>,
}

/// The manifests that the chart installs.
const MANIFESTS: &str = include_str!("../../../../../../deploy/rbac.yaml");

/// Returns the permissions that the operator needs, from the manifests and its namespaces.
fn rights(operator: &Operator) -> Vec<Right> {
    let mut rights = Vec::new();
    let manifest = manifest::read(&manifest::Text { name: "deploy/rbac.yaml".to_owned(), text: MANIFESTS.to_owned() });
    for object in manifest.objects {
        let named = |kind: &str, name: &str| object.kind() == kind && object.name() == name;
        let of_lease = named("Role", "video-token-operator-lease");
        // Without an election, the chart creates no Role for the Lease.
        let is_needed = if of_lease { operator.lease.is_some() } else { named("ClusterRole", "video-token-operator") };
        if !is_needed {
            continue;
        }
        let rules: Vec<PolicyRule> = serde_json::from_value(object.value["rules"].clone()).unwrap_or_default();
        for rule in rules {
            rights.extend(of_rule(&rule, operator, of_lease));
        }
    }
    rights
}

fn of_rule(rule: &PolicyRule, operator: &Operator, of_lease: bool) -> Vec<Right> {
    let everywhere = || match operator.watches.as_slice() {
        [] => vec![None],
        some => some.iter().cloned().map(Some).collect(),
    };
    let mut rights = Vec::new();
    for resource in rule.resources.iter().flatten() {
        let of_cluster = CLUSTER_RESOURCES.contains(&resource.as_str());
        if of_cluster && !operator.cluster_providers {
            continue;
        }
        let namespaces = match (of_lease, of_cluster) {
            (true, _) => vec![Some(operator.namespace.clone())],
            (false, true) => vec![None],
            (false, false) => everywhere(),
        };
        for (namespace, verb) in
            namespaces.iter().flat_map(|namespace| rule.verbs.iter().map(move |verb| (namespace, verb)))
        {
            for group in rule.api_groups.iter().flatten() {
                rights.push(Right {
                    verb: verb.clone(),
                    group: group.clone(),
                    resource: resource.clone(),
                    namespace: namespace.clone(),
                    // The Role names one object, the Lease.
                    name: rule.resource_names.as_ref().and(operator.lease.clone()),
                });
            }
        }
    }
    rights
}

/// Checks the permissions of the operator's ServiceAccount.
pub(super) async fn of_operator(session: &Session, operator: &Operator, report: &mut Report) -> Result<(), CliError> {
    let Operator { namespace, service_account, .. } = operator;
    let rights = rights(operator);
    let count = rights.len();
    let answers =
        stream::iter(rights.into_iter().map(|right| async move { (may(session, operator, &right).await, right) }));
    let answers: Vec<_> = answers.buffered(MAX_CONCURRENT_REQUESTS).collect().await;
    let mut lacking: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (answer, right) in answers {
        match answer {
            Ok(true) => {}
            Ok(false) => {
                let namespace_phrase = right.namespace.as_ref().map(|name| format!(" in {name}")).unwrap_or_default();
                let resource = format!("{}{namespace_phrase}", qualified(&right.group, &right.resource));
                lacking.entry(resource).or_default().push(right.verb);
            }
            Err(error) => {
                let action = "ask a cluster administrator, who may create subjectaccessreviews";
                return report.warning(ITS, format!("not checked: {error}"), action);
            }
        }
    }
    let account = format!("ServiceAccount {namespace}/{service_account}");
    if lacking.is_empty() {
        return report.ok(ITS, format!("{account} has all {count} permissions that the operator needs"));
    }
    let lacking = lacking.into_iter().map(|(resource, verbs)| format!("{} {resource}", verbs.join(", ")));
    let action = "upgrade the chart with rbac.create, or run `kubectl apply -f deploy/rbac.yaml`";
    report.failed(ITS, format!("{account} may not {}", lacking.collect::<Vec<_>>().join("; ")), action)
}

async fn may(session: &Session, operator: &Operator, right: &Right) -> Result<bool, CliError> {
    let namespace = &operator.namespace;
    let spec = SubjectAccessReviewSpec {
        user: Some(format!("system:serviceaccount:{namespace}:{}", operator.service_account)),
        groups: Some(vec![
            "system:serviceaccounts".to_owned(),
            format!("system:serviceaccounts:{namespace}"),
            "system:authenticated".to_owned(),
        ]),
        resource_attributes: Some(ResourceAttributes {
            name: right.name.clone(),
            ..attributes(&right.verb, &right.group, &right.resource, right.namespace.as_deref())
        }),
        ..SubjectAccessReviewSpec::default()
    };
    let review = SubjectAccessReview { spec, ..SubjectAccessReview::default() };
    let api: Api<SubjectAccessReview> = Api::all(session.client.clone());
    let params = PostParams::default();
    let asked = api.create(&params, &review);
    let answer = session.request("create", "subjectaccessreviews.authorization.k8s.io", asked).await?;
    Ok(answer.status.is_some_and(|status| status.allowed))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operator(watches: &[&str], cluster_providers: bool) -> Operator {
        Operator {
            namespace: "vto".into(),
            service_account: "vto".into(),
            watches: watches.iter().map(|name| (*name).to_owned()).collect(),
            cluster_providers,
            cluster_resources: "vto".into(),
            allowed: Vec::new(),
            lease: Some("mine".into()),
        }
    }

    #[test]
    fn the_permissions_are_those_of_the_manifests_in_the_operators_namespaces() {
        let has = |rights: &[Right], verb: &str, resource: &str, namespace: Option<&str>| {
            rights.iter().any(|r| r.verb == verb && r.resource == resource && r.namespace.as_deref() == namespace)
        };
        let all = rights(&operator(&[], true));
        assert!(has(&all, "patch", "secrets", None) && has(&all, "update", "leases", Some("vto")));
        assert!(has(&all, "patch", "clustertokenproviders/status", None) && has(&all, "list", "namespaces", None));
        let names =
            |verb: &str| all.iter().find(|r| r.verb == verb && r.resource == "leases").map(|r| r.name.as_deref());
        assert_eq!((names("create"), names("update")), (Some(None), Some(Some("mine"))));
        let alone = rights(&Operator { lease: None, ..operator(&[], true) });
        assert!(!alone.iter().any(|right| right.resource == "leases"));
        let some = rights(&operator(&["a", "b"], false));
        assert!(has(&some, "patch", "secrets", Some("b")) && !has(&some, "patch", "secrets", None));
        assert!(!some.iter().any(|right| right.resource.starts_with("clustertokenproviders")));
    }
}
