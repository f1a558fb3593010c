//! Keys of provider objects.

use kube::core::{ApiResource, GroupVersionKind};
use std::fmt;
use videotoken_api::key::ObjectKey;
use videotoken_api::video_access_token::{ProviderKind, ProviderRef};
use videotoken_api::{GROUP, VERSION};
use videotoken_providers::provider_setup::Owner;

/// Key of a provider object.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ProviderKey {
    /// Namespace of the object; `None` for a `ClusterTokenProvider`.
    pub(crate) namespace: Option<String>,
    /// Name of the object.
    pub(crate) name: String,
}

impl fmt::Display for ProviderKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind(), self.name)
    }
}

impl ProviderKey {
    /// Returns the provider object that a VideoAccessToken of this namespace refers to, or `None` for an unknown kind.
    pub(crate) fn named(reference: &ProviderRef, namespace: &str) -> Option<Self> {
        let namespace = match reference.kind {
            ProviderKind::TokenProvider => Some(namespace.to_owned()),
            ProviderKind::ClusterTokenProvider => None,
            ProviderKind::Other(_) => return None,
        };
        Some(Self { namespace, name: reference.name.clone() })
    }

    /// Returns the kind of the object.
    pub(crate) fn kind(&self) -> &'static str {
        if self.is_cluster() { "ClusterTokenProvider" } else { "TokenProvider" }
    }

    /// Returns the scope of the provider object: the cluster or a namespace.
    pub(crate) fn owner(&self) -> Owner {
        if self.is_cluster() { Owner::Cluster } else { Owner::Namespace }
    }

    /// Returns true for a `ClusterTokenProvider`.
    pub(crate) fn is_cluster(&self) -> bool {
        self.namespace.is_none()
    }
}

/// Returns kube's description of a provider kind.
pub(crate) fn provider_resource(kind: &str) -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk(GROUP, VERSION, kind))
}

/// Returns the key as an [`ObjectKey`], with an empty namespace for a `ClusterTokenProvider`.
pub(crate) fn as_object(key: &ProviderKey) -> ObjectKey {
    ObjectKey::new(key.namespace.as_deref().unwrap_or_default(), &key.name)
}
