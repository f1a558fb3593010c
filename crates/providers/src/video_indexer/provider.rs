//! Builds the issuer for a Video Indexer account in a provider's spec.

use super::{VideoIndexer, VideoIndexerResource};
use crate::azure_auth::{EntraTokenOptions, EntraTokenSource};
use crate::provider::{Field, Provider, hosts, url};
use crate::provider_setup::build::{OWN_CA, guarded, has_own_ca, unfit};
use crate::provider_setup::{BuiltIssuer, HttpContext, Owner, References, azure_credential, shown, tenant};
use async_trait::async_trait;
use std::borrow::Cow;
use std::sync::Arc;
use url::Url;
use videotoken_api::azure::{Auth, Cloud, CloudEndpoints};
use videotoken_api::provider::ProviderSpec;
use videotoken_api::request::FieldError;
use videotoken_api::video_indexer::VideoIndexerAccount;
use videotoken_core::plan::view::Refusal;

/// Field of the account in the spec.
const FIELD: &str = "spec.videoIndexer";
const OTHER_CLOUD: &str = ", and in another cloud than Public it must";

/// Returns Azure Resource Manager and the Entra authority of a cloud, each with its field.
fn urls(endpoints: &CloudEndpoints) -> Result<[(Field, Url); 2], FieldError> {
    Ok([
        url(format!("{FIELD}.endpoints.resourceManager"), &endpoints.resource_manager)?,
        url(format!("{FIELD}.endpoints.authority"), &endpoints.authority)?,
    ])
}

#[async_trait]
impl Provider for VideoIndexerAccount {
    fn endpoints(&self) -> Result<Vec<(Field, Url)>, FieldError> {
        let [resource_manager, authority] = urls(&self.cloud_endpoints()?)?;
        Ok(vec![authority, resource_manager])
    }

    fn public_hosts(&self) -> Vec<Cow<'static, str>> {
        hosts(&VideoIndexer::PUBLIC_HOSTS)
    }

    fn secrets(&self) -> Result<Vec<String>, FieldError> {
        Ok(match self.auth.of_cluster(&format!("{FIELD}.auth"))? {
            Auth::ClientSecret(app) => vec![app.secret_ref.name.clone()],
            Auth::ClientCertificate(app) => vec![app.secret_ref.name.clone()],
            Auth::WorkloadIdentity(_) | Auth::ManagedIdentity(_) => Vec::new(),
        })
    }

    async fn build(
        &self,
        via: &HttpContext<'_>,
        spec: &ProviderSpec,
        references: &References<'_>,
    ) -> Result<BuiltIssuer, Refusal> {
        let auth_field = format!("{FIELD}.auth");
        let endpoints = self.cloud_endpoints().map_err(|error| unfit(&error))?;
        let urls = urls(&endpoints).map_err(|error| unfit(&error))?;
        let http = via.http(&self.public_hosts(), spec, references).await?;
        for (field, url) in &urls {
            http.admits(url).map_err(|refusal| Refusal::new("HostNotAllowed", format!("{field}: {refusal}")))?;
        }
        let [(_, resource_manager), (_, authority)] = urls;
        let because = match &self.cloud {
            _ if self.endpoints.is_some() => Some(""),
            _ if has_own_ca(via.owner, spec) => Some(OWN_CA),
            Some(cloud) if via.owner == Owner::Namespace && *cloud != Cloud::Public => Some(OTHER_CLOUD),
            _ => None,
        };
        let references = references.for_hosts(guarded(because, || {
            // The path of the authority is ignored. The path of the tenant replaces it.
            let mut asked = authority.clone();
            asked.set_path(&format!("/{}/oauth2/v2.0/token", tenant(&self.auth, &auth_field).unwrap_or_default()));
            vec![resource_manager.clone(), asked]
        }));
        let (credential, identity) =
            azure_credential(&self.auth, &auth_field, &references, endpoints.assertion_audience).await?;
        let settings = VideoIndexerResource {
            api_version: endpoints.api_version,
            subscription_id: self.subscription_id.clone(),
            resource_group: self.resource_group.clone(),
            account_name: self.account_name.clone(),
            resource_manager,
        };
        let options = EntraTokenOptions {
            authority,
            scope: settings.entra_scope(),
            http: http.clone(),
            metadata_endpoint: via.reach.metadata_endpoint.clone(),
            field: FIELD.into(),
        };
        let auth = EntraTokenSource::new(credential, options).map_err(|error| unfit(&error))?;
        let host = shown(&settings.resource_manager);
        let issuer = VideoIndexer::new(settings, Arc::new(auth), http).map_err(|error| unfit(&error))?;
        Ok(BuiltIssuer { issuer: Arc::new(issuer), identity, host })
    }
}
