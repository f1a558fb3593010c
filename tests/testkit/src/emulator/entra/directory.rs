//! Whom Entra knows: tenants, applications and their credentials, managed identities, resources.

use super::refusal::Refusal;
use rustls::pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};
use uuid::Uuid;

/// The audience that workload identity federation asks for in Azure's public cloud.
pub const TOKEN_EXCHANGE_AUDIENCE: &str = "api://AzureADTokenExchange";

/// A federated credential. All three must match what the assertion says, case too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Federation {
    /// `iss`.
    pub issuer: String,
    /// `sub`.
    pub subject: String,
    /// `aud`.
    #[serde(default = "token_exchange")]
    pub audience: String,
}

fn token_exchange() -> String {
    TOKEN_EXCHANGE_AUDIENCE.to_owned()
}

impl Federation {
    /// A Kubernetes `ServiceAccount`, in the public cloud.
    pub fn service_account(issuer: &str, namespace: &str, name: &str) -> Self {
        Self {
            issuer: issuer.to_owned(),
            subject: format!("system:serviceaccount:{namespace}:{name}"),
            audience: token_exchange(),
        }
    }
}

/// An application, or a managed identity.
#[derive(Clone, Debug, Default)]
pub(super) struct Application {
    pub(super) tenant_id: String,
    pub(super) client_id: String,
    pub(super) object_id: String,
    pub(super) secrets: Vec<String>,
    pub(super) certificates: Vec<CertificateDer<'static>>,
    pub(super) federations: Vec<Federation>,
}

impl Application {
    pub(super) fn new(tenant_id: &str, client_id: &str) -> Self {
        Self {
            tenant_id: tenant_id.to_owned(),
            client_id: client_id.to_owned(),
            object_id: Uuid::new_v4().to_string(),
            ..Self::default()
        }
    }

    pub(super) fn check_secret(&self, secret: &str) -> Result<(), Refusal> {
        let known = self.secrets.iter().any(|one| one == secret);
        known.then_some(()).ok_or_else(|| Refusal::invalid_secret(&self.client_id))
    }
}

#[derive(Default)]
pub(super) struct Directory {
    pub(super) tenants: HashSet<String>,
    /// By client id.
    pub(super) applications: HashMap<String, Application>,
    pub(super) resources: HashSet<String>,
    system_identity: Option<Application>,
    user_identities: Vec<Application>,
}

impl Directory {
    pub(super) fn register(&mut self, tenant_id: &str, client_id: &str) -> String {
        self.tenants.insert(tenant_id.to_lowercase());
        let fresh = || Application::new(tenant_id, client_id);
        self.applications.entry(client_id.to_owned()).or_insert_with(fresh).object_id.clone()
    }

    pub(super) fn add_managed_identity(&mut self, tenant_id: &str, client_id: &str, system_assigned: bool) -> String {
        let identity = Application::new(tenant_id, client_id);
        let object_id = identity.object_id.clone();
        if system_assigned {
            self.system_identity = Some(identity);
        } else {
            self.user_identities.push(identity);
        }
        object_id
    }

    pub(super) fn application(&self, tenant: &str, client_id: &str) -> Result<Application, Refusal> {
        if !self.tenants.contains(&tenant.to_lowercase()) {
            return Err(Refusal::unknown_tenant(tenant));
        }
        let known = self.applications.get(client_id).filter(|one| one.tenant_id.eq_ignore_ascii_case(tenant));
        known.cloned().ok_or_else(|| Refusal::unknown_application(client_id, tenant))
    }

    /// The managed identity with this client or object id; with none given, the system's own, or the only one.
    pub(super) fn managed_identity(&self, id: Option<&str>) -> Option<Application> {
        let Some(id) = id else {
            let only = self.user_identities.first().filter(|_| self.user_identities.len() == 1);
            return self.system_identity.as_ref().or(only).cloned();
        };
        let mut all = self.system_identity.iter().chain(&self.user_identities);
        all.find(|one| [&one.client_id, &one.object_id].iter().any(|known| known.eq_ignore_ascii_case(id))).cloned()
    }

    /// The resource of a `{resource}/.default` scope.
    pub(super) fn audience(&self, scope: &str) -> Result<String, Refusal> {
        let resource = scope.strip_suffix("/.default").ok_or_else(|| Refusal::invalid_scope(scope))?;
        self.resource(resource).ok_or_else(|| Refusal::unknown_resource(resource))
    }

    /// The resource as tokens name it, if tokens are issued for it.
    pub(super) fn resource(&self, resource: &str) -> Option<String> {
        let resource = resource.trim_end_matches('/');
        (self.resources.is_empty() || self.resources.contains(resource)).then(|| resource.to_owned())
    }
}
