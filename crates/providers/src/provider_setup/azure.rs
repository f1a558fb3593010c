//! Identity of a provider that calls Microsoft Entra.

use super::build::unfit;
use super::references::References;
use super::spec::Owner;
use crate::azure_auth::AzureCredential;
use secrecy::{ExposeSecret, SecretString};
use videotoken_api::azure::{Auth, AzureAuth};
use videotoken_core::plan::hash::Hash;
use videotoken_core::plan::view::Refusal;

/// Returns the tenant that issues the Entra tokens. `field` is the path of `auth`.
pub fn tenant<'a>(auth: &'a AzureAuth, field: &str) -> Option<&'a str> {
    match auth.of_cluster(field).ok()? {
        Auth::ClientSecret(app) => Some(&app.tenant_id),
        Auth::ClientCertificate(app) => Some(&app.tenant_id),
        Auth::WorkloadIdentity(federated) => federated.tenant_id.as_deref(),
        Auth::ManagedIdentity(_) => None,
    }
}

/// Returns the identity for calls of Entra, and a hash of the values that define it. `field` is the path of `auth`.
pub async fn azure_credential(
    auth: &AzureAuth,
    field: &str,
    references: &References<'_>,
    audience: &str,
) -> Result<(AzureCredential, Hash), Refusal> {
    let auth = match references.owner() {
        Owner::Namespace => auth.of_namespace(field),
        Owner::Cluster => auth.of_cluster(field),
    };
    let proof = |parts: &[&str]| Hash::of(parts.iter().map(|part| part.as_bytes()));
    Ok(match auth.map_err(|error| unfit(&error))? {
        Auth::ClientSecret(app) => {
            let secret = references.credential(&format!("{field}.clientSecret.secretRef"), &app.secret_ref).await?;
            let identity = proof(&["secret", &app.tenant_id, &app.client_id, secret.expose_secret()]);
            let (tenant_id, client_id) = (app.tenant_id.clone(), app.client_id.clone());
            (AzureCredential::ClientSecret { tenant_id, client_id, secret }, identity)
        }
        Auth::ClientCertificate(app) => {
            let field = format!("{field}.clientCertificate.secretRef");
            let reference = &app.secret_ref;
            let certificate = references.credential_key(&field, &reference.name, &reference.certificate_key).await?;
            let key = references.credential_key(&field, &reference.name, &reference.private_key_key).await?;
            let pem = SecretString::from(format!("{}\n{}\n", certificate.expose_secret(), key.expose_secret()));
            let identity = proof(&["certificate", &app.tenant_id, &app.client_id, pem.expose_secret()]);
            let (tenant_id, client_id) = (app.tenant_id.clone(), app.client_id.clone());
            (AzureCredential::ClientCertificate { tenant_id, client_id, pem }, identity)
        }
        Auth::ManagedIdentity(machine) => {
            let client_id = machine.client_id.clone();
            let identity = proof(&["machine", client_id.as_deref().unwrap_or_default()]);
            (AzureCredential::ManagedIdentity { client_id }, identity)
        }
        Auth::WorkloadIdentity(federated) => {
            let (tenant, client) = (federated.tenant_id.clone(), federated.client_id.clone());
            let parts = [tenant.as_deref().unwrap_or_default(), client.as_deref().unwrap_or_default()];
            match &federated.service_account_name {
                None => {
                    let environment = |name: &str| std::env::var(name).ok();
                    let ambient = AzureCredential::ambient(field, tenant.clone(), client.clone(), environment);
                    (ambient.map_err(|error| unfit(&error))?, proof(&["ambient", parts[0], parts[1]]))
                }
                Some(name) => {
                    let namespace = references.namespace();
                    let field = format!("{field}.workloadIdentity.serviceAccountName");
                    let source = references.assertions(&field, name, audience).await?;
                    let from = |variable: &str| std::env::var(variable).unwrap_or_default();
                    let tenant_id = tenant.clone().unwrap_or_else(|| from("AZURE_TENANT_ID"));
                    let client_id = client.clone().unwrap_or_else(|| from("AZURE_CLIENT_ID"));
                    let identity = proof(&["account", namespace, name, &tenant_id, &client_id]);
                    (AzureCredential::Assertion { tenant_id, client_id, source }, identity)
                }
            }
        }
    })
}
