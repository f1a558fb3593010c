//! The three CustomResourceDefinitions.

use super::cluster_token_provider::ClusterTokenProvider;
use super::token_provider::TokenProvider;
use super::video_access_token::{VideoAccessToken, type_with_name};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::APIResourceList;
use kube_core::CustomResourceExt;

/// Returns the CRDs of the three kinds.
pub fn all() -> Vec<CustomResourceDefinition> {
    let mut crds = vec![VideoAccessToken::crd(), TokenProvider::crd(), ClusterTokenProvider::crd()];
    schemas(&mut crds).for_each(tidy);
    // A rule for the whole object; the derive adds rules only to spec and status.
    let rules = vec![type_with_name()];
    schemas(&mut crds[..1]).for_each(|schema| schema.x_kubernetes_validations = Some(rules.clone()));
    crds
}

fn schemas(crds: &mut [CustomResourceDefinition]) -> impl Iterator<Item = &mut JSONSchemaProps> {
    let versions = crds.iter_mut().flat_map(|crd| &mut crd.spec.versions);
    versions.filter_map(|version| version.schema.as_mut()?.open_api_v3_schema.as_mut())
}

/// Corrects the schemas that the derive produces. Removes `nullable` (the API server would store nulls and skip their
/// defaults), null as a value of an enum, and formats that Kubernetes does not know (a warning at each apply).
fn tidy(schema: &mut JSONSchemaProps) {
    schema.nullable = None;
    schema.format.take_if(|format| format.starts_with("uint"));
    if let Some(values) = &mut schema.enum_ {
        values.retain(|value| !value.0.is_null());
    }
    schema.properties.iter_mut().flat_map(|properties| properties.values_mut()).for_each(tidy);
    match &mut schema.items {
        Some(JSONSchemaPropsOrArray::Schema(items)) => tidy(items),
        Some(JSONSchemaPropsOrArray::Schemas(items)) => items.iter_mut().for_each(tidy),
        None => {}
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &mut schema.additional_properties {
        tidy(values);
    }
}

/// Resources that the API server must serve: the kinds and their status subresources.
const SERVED: [&str; 6] = [
    "videoaccesstokens",
    "videoaccesstokens/status",
    "tokenproviders",
    "tokenproviders/status",
    "clustertokenproviders",
    "clustertokenproviders/status",
];

/// Returns the kinds and subresources of this API that `served` lacks.
pub fn missing(served: &APIResourceList) -> Vec<&'static str> {
    let is_served = |name: &&&str| served.resources.iter().any(|resource| resource.name == **name);
    SERVED.iter().filter(|name| !is_served(name)).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::APIResource;

    #[test]
    fn what_older_crds_lack_is_named() {
        let resource = |name: &&str| APIResource { name: (*name).to_owned(), ..APIResource::default() };
        let list = |names: &[&str]| APIResourceList {
            resources: names.iter().map(resource).collect(),
            ..APIResourceList::default()
        };
        assert!(missing(&list(&SERVED)).is_empty());
        assert_eq!(missing(&list(&SERVED[..4])), SERVED[4..]);
    }
}
