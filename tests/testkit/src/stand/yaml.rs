//! Manifests: YAML with any number of documents, applied as kubectl would.

use std::collections::HashMap;

use anyhow::{Context, Result, bail};
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, ValidationDirective};
use kube::core::GroupVersionKind;
use kube::discovery::{Scope, pinned_kind};
use kube::{Client, ResourceExt};
use serde::Deserialize as _;

/// The field manager of what [`apply`] applies.
pub const FIELD_MANAGER: &str = "stand";

/// Reads every document; empty ones are left out.
pub fn parse(yaml: &str) -> Result<Vec<DynamicObject>> {
    let mut objects = Vec::new();
    for document in serde_yaml_ng::Deserializer::from_str(yaml) {
        let value = serde_yaml_ng::Value::deserialize(document).context("not YAML")?;
        if !value.is_null() {
            let object: DynamicObject = serde_yaml_ng::from_value(value).context("not a Kubernetes object")?;
            if object.types.is_none() || object.metadata.name.is_none() {
                bail!("a document lacks apiVersion, kind or metadata.name");
            }
            objects.push(object);
        }
    }
    Ok(objects)
}

/// Applies every document in its order by server-side apply with strict field validation, and returns what the API
/// server stored. `namespace` is for namespaced objects that name none.
pub async fn apply(client: &Client, namespace: &str, yaml: &str) -> Result<Vec<DynamicObject>> {
    send(client, namespace, parse(yaml)?, false).await
}

/// The same, but nothing is stored: what the API server would say, admission included.
pub async fn dry_run(client: &Client, namespace: &str, objects: Vec<DynamicObject>) -> Result<Vec<DynamicObject>> {
    send(client, namespace, objects, true).await
}

async fn send(
    client: &Client,
    namespace: &str,
    objects: Vec<DynamicObject>,
    dry_run: bool,
) -> Result<Vec<DynamicObject>> {
    let params = PatchParams {
        dry_run,
        field_validation: Some(ValidationDirective::Strict),
        ..PatchParams::apply(FIELD_MANAGER).force()
    };
    let mut kinds = HashMap::new();
    let mut stored = Vec::new();
    for object in objects {
        let (api, name) = api_of(client, namespace, &object, &mut kinds).await?;
        let kind = object.types.as_ref().map(|types| types.kind.clone()).unwrap_or_default();
        stored.push(api.patch(&name, &params, &Patch::Apply(&object)).await.with_context(|| format!("{kind} {name}"))?);
    }
    Ok(stored)
}

/// Deletes what the documents name; what is not there is as good as deleted.
pub async fn delete(client: &Client, namespace: &str, yaml: &str) -> Result<()> {
    let mut kinds = HashMap::new();
    for object in parse(yaml)? {
        let (api, name) = api_of(client, namespace, &object, &mut kinds).await?;
        match api.delete(&name, &DeleteParams::default()).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => return Err(error).context(name),
        }
    }
    Ok(())
}

async fn api_of(
    client: &Client,
    namespace: &str,
    object: &DynamicObject,
    kinds: &mut HashMap<GroupVersionKind, (ApiResource, Scope)>,
) -> Result<(Api<DynamicObject>, String)> {
    let types = object.types.as_ref().context("a document lacks apiVersion or kind")?;
    let gvk = GroupVersionKind::try_from(types).context("apiVersion")?;
    if !kinds.contains_key(&gvk) {
        let (resource, capabilities) =
            pinned_kind(client, &gvk).await.with_context(|| format!("look up {} {}", types.api_version, types.kind))?;
        kinds.insert(gvk.clone(), (resource, capabilities.scope));
    }
    let (resource, scope) = &kinds[&gvk];
    let api = match scope {
        Scope::Cluster => Api::all_with(client.clone(), resource),
        Scope::Namespaced => {
            let namespace = object.metadata.namespace.as_deref().unwrap_or(namespace);
            Api::namespaced_with(client.clone(), namespace, resource)
        }
    };
    Ok((api, object.name_any()))
}
