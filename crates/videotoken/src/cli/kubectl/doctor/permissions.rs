//! What you and the operator may do, as the API server judges it.

use super::super::fault::Fault;
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

/// What the commands need, and which.
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

/// Where only the cluster as a whole can be asked about.
const OF_CLUSTER: [&str; 3] = ["clustertokenproviders", "clustertokenproviders/status", "namespaces"];

/// So many questions are open at a time.
const AT_ONCE: usize = 8;

/// What of the commands you may use.
pub(super) async fn yours(session: &Session, report: &mut Report) -> Result<(), Fault> {
    let api: Api<SelfSubjectAccessReview> = Api::all(session.client.clone());
    let mut lacking = Vec::new();
    for (verb, group, resource, used_by) in NEEDS {
        let namespace = session.namespace.as_deref().filter(|_| !OF_CLUSTER.contains(&resource));
        let spec = SelfSubjectAccessReviewSpec {
            resource_attributes: Some(attributes(verb, group, resource, namespace)),
            ..SelfSubjectAccessReviewSpec::default()
        };
        let review = SelfSubjectAccessReview { spec, ..SelfSubjectAccessReview::default() };
        let params = PostParams::default();
        let asked = api.create(&params, &review);
        match session.ask("create", "selfsubjectaccessreviews.authorization.k8s.io", asked).await {
            Ok(review) if review.status.as_ref().is_some_and(|status| status.allowed) => {}
            Ok(_) => lacking.push(format!("{verb} {} ({used_by})", qualified(group, resource))),
            Err(fault) => {
                return report.warning(YOURS, fault.to_string(), "");
            }
        }
    }
    let whereabouts = session.whereabouts();
    if lacking.is_empty() {
        return report.ok(YOURS, format!("you may use every command {whereabouts}"));
    }
    let way_out = "the ClusterRoles video-token-operator-view and -edit are part of view, edit and admin";
    report.warning(YOURS, format!("{whereabouts} you may not {}", lacking.join(", ")), way_out)
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

/// One thing that the operator must be allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Right {
    verb: String,
    group: String,
    resource: String,
    namespace: Option<String>,
}

/// The manifests that are installed, so that no second list can differ from them.
const MANIFESTS: &str = include_str!("../../../../../../deploy/rbac.yaml");

/// Which rights the operator needs, by the manifests and by what it watches.
fn rights(operator: &Operator) -> Vec<Right> {
    let mut rights = Vec::new();
    let manifest = manifest::read(&manifest::Text { name: "deploy/rbac.yaml".to_owned(), text: MANIFESTS.to_owned() });
    for object in manifest.objects {
        let named = |kind: &str, name: &str| object.kind() == kind && object.name() == name;
        let of_lease = named("Role", "video-token-operator-lease");
        if !of_lease && !named("ClusterRole", "video-token-operator") {
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
        let of_cluster = OF_CLUSTER.contains(&resource.as_str());
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
                });
            }
        }
    }
    rights
}

/// What the operator's ServiceAccount lacks.
pub(super) async fn of_operator(session: &Session, operator: &Operator, report: &mut Report) -> Result<(), Fault> {
    let Operator { namespace, service_account, .. } = operator;
    let rights = rights(operator);
    let count = rights.len();
    let answers =
        stream::iter(rights.into_iter().map(|right| async move { (may(session, operator, &right).await, right) }));
    let answers: Vec<_> = answers.buffered(AT_ONCE).collect().await;
    let mut lacking: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (answer, right) in answers {
        match answer {
            Ok(true) => {}
            Ok(false) => {
                let whereabouts = right.namespace.as_ref().map(|name| format!(" in {name}")).unwrap_or_default();
                let resource = format!("{}{whereabouts}", qualified(&right.group, &right.resource));
                lacking.entry(resource).or_default().push(right.verb);
            }
            Err(fault) => {
                let way_out = "ask someone who may create subjectaccessreviews: a cluster's admin may";
                return report.warning(ITS, format!("not checked: {fault}"), way_out);
            }
        }
    }
    let account = format!("ServiceAccount {namespace}/{service_account}");
    if lacking.is_empty() {
        return report.ok(ITS, format!("{account} may do all that the operator needs to, {count} checks"));
    }
    let lacking = lacking.into_iter().map(|(resource, verbs)| format!("{} {resource}", verbs.join(", ")));
    let way_out = "upgrade the chart with rbac.create, or `kubectl apply -f deploy/rbac.yaml`";
    report.failed(ITS, format!("{account} may not {}", lacking.collect::<Vec<_>>().join("; ")), way_out)
}

async fn may(session: &Session, operator: &Operator, right: &Right) -> Result<bool, Fault> {
    let namespace = &operator.namespace;
    let spec = SubjectAccessReviewSpec {
        user: Some(format!("system:serviceaccount:{namespace}:{}", operator.service_account)),
        groups: Some(vec![
            "system:serviceaccounts".to_owned(),
            format!("system:serviceaccounts:{namespace}"),
            "system:authenticated".to_owned(),
        ]),
        resource_attributes: Some(attributes(&right.verb, &right.group, &right.resource, right.namespace.as_deref())),
        ..SubjectAccessReviewSpec::default()
    };
    let review = SubjectAccessReview { spec, ..SubjectAccessReview::default() };
    let api: Api<SubjectAccessReview> = Api::all(session.client.clone());
    let params = PostParams::default();
    let asked = api.create(&params, &review);
    let answer = session.ask("create", "subjectaccessreviews.authorization.k8s.io", asked).await?;
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
            lease: None,
        }
    }

    #[test]
    fn the_rights_are_those_of_the_manifests_where_the_operator_works() {
        let has = |rights: &[Right], verb: &str, resource: &str, namespace: Option<&str>| {
            rights.iter().any(|r| r.verb == verb && r.resource == resource && r.namespace.as_deref() == namespace)
        };
        let all = rights(&operator(&[], true));
        assert!(has(&all, "patch", "secrets", None) && has(&all, "update", "leases", Some("vto")));
        assert!(has(&all, "patch", "clustertokenproviders/status", None) && has(&all, "list", "namespaces", None));
        let some = rights(&operator(&["a", "b"], false));
        assert!(has(&some, "patch", "secrets", Some("b")) && !has(&some, "patch", "secrets", None));
        assert!(!some.iter().any(|right| right.resource.starts_with("clustertokenproviders")));
    }
}
