//! Builds the issuer of a declared account from its spec: the hosts that may be called, the secrets and who receives
//! them, and the compiled declaration.
//!
//! A declared API has no public hosts. A namespaced provider calls only hosts that `--allowed-endpoint` names, since
//! its owner reads the whole answer; and each credential names the host that receives it.

use super::DeclaredHttp;
use super::auth::Auth;
use super::oauth2::{Oauth2Client, TokenCall};
use super::reader::Reader;
use super::request::{FIELD, Template};
use super::trial::Declared;
use crate::azure_auth::{EntraTokenOptions, EntraTokenSource};
use crate::hosts::canonical_host;
use crate::http::{ClockSkew, Http};
use crate::provider::{Field, Provider, url};
use crate::provider_setup::build::unfit;
use crate::provider_setup::{BuiltIssuer, Guarded, HttpContext, Owner, References, azure_credential, tenant};
use async_trait::async_trait;
use reqwest::header::HeaderName;
use secrecy::{ExposeSecret, SecretString};
use std::borrow::Cow;
use std::sync::Arc;
use url::Url;
use videotoken_api::azure::Auth as AzureWay;
use videotoken_api::http::request::is_allowed_auth_header;
use videotoken_api::http::{Auth as Declaration, EntraAuth, HttpAccount, Oauth2, SendClient};
use videotoken_api::provider::{ProviderSpec, SecretKeyRef};
use videotoken_api::request::FieldError;
use videotoken_core::plan::hash::Hash;
use videotoken_core::plan::view::Refusal;

pub(super) const AUTH: &str = "spec.http.auth";
pub(super) const RESPONSE: &str = "spec.http.response";

/// Because a declared API has no public hosts, each credential names its receivers.
fn to(urls: Vec<Url>) -> Guarded {
    Guarded { urls, because: ", and for a provider of type http it must" }
}

#[async_trait]
impl Provider for HttpAccount {
    fn endpoints(&self) -> Result<Vec<(Field, Url)>, FieldError> {
        let mut urls = vec![url("spec.http.url", &self.url)?];
        match self.auth()? {
            Declaration::Oauth2(oauth) => urls.push(url(format!("{AUTH}.oauth2.tokenUrl"), &oauth.token_url)?),
            Declaration::Entra(entra) => urls.push(url(format!("{AUTH}.entra.authority"), &entra.authority)?),
            Declaration::Bearer(_) | Declaration::Basic(_) | Declaration::Header(_) | Declaration::None => {}
        }
        Ok(urls)
    }

    /// Returns no hosts: a declared API may be anywhere.
    fn public_hosts(&self) -> Vec<Cow<'static, str>> {
        Vec::new()
    }

    fn secrets(&self) -> Result<Vec<String>, FieldError> {
        Ok(secret_refs(self)?.into_iter().map(|(_, reference)| reference.name).collect())
    }

    fn check(&self, owner: Owner) -> Result<(), FieldError> {
        sends_credential(self, owner)?;
        Declared::new(self).map(drop)
    }

    async fn check_secrets(&self, references: &References<'_>) -> Result<(), Refusal> {
        let urls = self.endpoints().map_err(|error| unfit(&error))?;
        let declaration = self.auth().map_err(|error| unfit(&error))?;
        let in_request = self.request.secret_refs(FIELD);
        let of_auth = auth_refs(&declaration).map_err(|error| unfit(&error))?;
        for (refs, receivers) in [(in_request, vec![urls[0].1.clone()]), (of_auth, receivers(&declaration, &urls))] {
            let received = references.for_hosts(to(receivers));
            for (field, reference) in refs {
                received.credential(&field, &reference).await?;
            }
        }
        Ok(())
    }

    async fn build(
        &self,
        via: &HttpContext<'_>,
        spec: &ProviderSpec,
        references: &References<'_>,
    ) -> Result<BuiltIssuer, Refusal> {
        let (issuer, identity) = issuer(self, via, spec, references).await?;
        let host = issuer.template.host();
        Ok(BuiltIssuer { issuer: Arc::new(issuer), identity, host })
    }
}

/// Reads the secrets, and builds the issuer and the hash of its credential.
pub(super) async fn issuer(
    account: &HttpAccount,
    via: &HttpContext<'_>,
    spec: &ProviderSpec,
    references: &References<'_>,
) -> Result<(DeclaredHttp, Hash), Refusal> {
    let reader = Reader::new(&account.response, RESPONSE).map_err(|error| unfit(&error))?;
    let urls = account.endpoints().map_err(|error| unfit(&error))?;
    let http = via.http(&[], spec, references).await?;
    for (field, url) in &urls {
        http.admits(url).map_err(|refusal| Refusal::new("HostNotAllowed", format!("{field}: {refusal}")))?;
    }
    let endpoint = urls[0].1.clone();
    let declaration = account.auth().map_err(|error| unfit(&error))?;
    let refs = account.request.secret_refs(FIELD);
    sends_credential(account, via.owner).map_err(|error| unfit(&error))?;
    let received = references.for_hosts(to(vec![endpoint.clone()]));
    let mut secrets = Vec::new();
    for (field, reference) in refs {
        let secret = received.credential(&field, &reference).await?;
        secrets.push((reference, secret));
    }
    let (auth, mut identity) = auth(&declaration, &urls, http.clone(), via, references).await?;
    let parts = secrets.iter().map(|(_, secret)| secret.expose_secret().as_bytes().to_vec());
    identity.extend(parts);
    let identity = Hash::of(identity.iter().map(Vec::as_slice));
    let login = account.response.lockout.then(|| login(&endpoint, &auth, references, account));
    let template = Template::new(endpoint, account, secrets);
    let template = template.map_err(|error| unfit(&error))?;
    Ok((DeclaredHttp { template, auth, reader, http, skew: ClockSkew::default(), login }, identity))
}

/// Refuses a namespaced provider without a credential, which could call services that trust the operator's address.
fn sends_credential(account: &HttpAccount, owner: Owner) -> Result<(), FieldError> {
    let sends = !matches!(account.auth()?, Declaration::None) || !account.request.secret_refs(FIELD).is_empty();
    if sends || owner == Owner::Cluster {
        return Ok(());
    }
    let message = "a TokenProvider sends a credential: choose another way to authenticate, name a secretRef in the \
                   request, or ask the operator's admin for a ClusterTokenProvider";
    Err(FieldError::new(format!("{AUTH}.none"), message))
}

/// Returns the references of an account to keys of Secrets, each with its field.
pub fn secret_refs(account: &HttpAccount) -> Result<Vec<(String, SecretKeyRef)>, FieldError> {
    let mut all = auth_refs(&account.auth()?)?;
    all.extend(account.request.secret_refs(FIELD));
    Ok(all)
}

/// Returns the references of the authentication, each with its field.
fn auth_refs(declaration: &Declaration<'_>) -> Result<Vec<(String, SecretKeyRef)>, FieldError> {
    Ok(match declaration {
        Declaration::Bearer(reference) => vec![(format!("{AUTH}.bearer"), (*reference).clone())],
        Declaration::Basic(basic) => vec![
            (format!("{AUTH}.basic.usernameRef"), basic.username_ref.clone()),
            (format!("{AUTH}.basic.passwordRef"), basic.password_ref.clone()),
        ],
        Declaration::Header(header) => vec![(format!("{AUTH}.header.secretRef"), header.secret_ref.clone())],
        Declaration::Oauth2(oauth) => {
            oauth_refs(oauth).map(|(_, field, reference)| (field, reference.clone())).collect()
        }
        Declaration::Entra(entra) => match entra.auth.of_cluster(&format!("{AUTH}.entra"))? {
            AzureWay::ClientSecret(app) => {
                vec![(format!("{AUTH}.entra.clientSecret.secretRef"), app.secret_ref.clone())]
            }
            AzureWay::ClientCertificate(app) => {
                let reference =
                    SecretKeyRef { name: app.secret_ref.name.clone(), key: app.secret_ref.certificate_key.clone() };
                vec![(format!("{AUTH}.entra.clientCertificate.secretRef"), reference)]
            }
            AzureWay::WorkloadIdentity(_) | AzureWay::ManagedIdentity(_) => Vec::new(),
        },
        Declaration::None => Vec::new(),
    })
}

/// Returns the references of an OAuth 2.0 client, each with the name of its field in the form and its field in the spec.
fn oauth_refs(oauth: &Oauth2) -> impl Iterator<Item = (&'static str, String, &SecretKeyRef)> {
    let all = [
        ("client_id", "clientIdRef", &oauth.client_id_ref),
        ("client_secret", "clientSecretRef", &oauth.client_secret_ref),
        ("username", "usernameRef", &oauth.username_ref),
        ("password", "passwordRef", &oauth.password_ref),
        ("refresh_token", "refreshTokenRef", &oauth.refresh_token_ref),
    ];
    let set = all.into_iter().filter_map(|(name, member, reference)| Some((name, member, reference.as_ref()?)));
    set.map(|(name, member, reference)| (name, format!("{AUTH}.oauth2.{member}"), reference))
}

/// Returns the URLs that receive the secrets of the authentication. The secrets of an OAuth 2.0 client are for the token
/// endpoint only.
fn receivers(declaration: &Declaration<'_>, urls: &[(Field, Url)]) -> Vec<Url> {
    match declaration {
        Declaration::Entra(_) => urls.iter().map(|(_, url)| url.clone()).collect(),
        _ => urls.last().map(|(_, url)| url.clone()).into_iter().collect(),
    }
}

/// Returns the credential, and the values that identify it.
async fn auth(
    declaration: &Declaration<'_>,
    urls: &[(Field, Url)],
    http: Http,
    via: &HttpContext<'_>,
    references: &References<'_>,
) -> Result<(Auth, Vec<Vec<u8>>), Refusal> {
    let endpoint = &urls[0].1;
    let (wanted, other) =
        (auth_refs(declaration).map_err(|error| unfit(&error))?, urls.get(1).map(|(_, url)| url.clone()));
    if let Declaration::Entra(entra) = declaration {
        let authority = other.unwrap_or_else(|| endpoint.clone());
        return entra_auth(entra, endpoint, authority, http, via, references).await;
    }
    let received = references.for_hosts(to(receivers(declaration, urls)));
    let mut secrets = Vec::new();
    for (field, reference) in &wanted {
        secrets.push(received.credential(field, reference).await?);
    }
    let identity = secrets.iter().map(|secret| secret.expose_secret().as_bytes().to_vec()).collect();
    let mut secrets = secrets.into_iter();
    let mut next = || secrets.next().unwrap_or_default();
    let auth = match declaration {
        Declaration::Bearer(_) => Auth::Bearer(next()),
        Declaration::Basic(_) => Auth::Basic { username: next(), password: next() },
        Declaration::Header(header) => {
            let wrong = |message: &str| unfit(&FieldError::new(format!("{AUTH}.header.name"), message));
            let name = HeaderName::try_from(header.name.as_str()).map_err(|_| wrong("is no name of a header"))?;
            if !is_allowed_auth_header(&header.name) {
                return Err(wrong("is not allowed: it belongs to the connection"));
            }
            Auth::Header { name, prefix: header.prefix.clone().unwrap_or_default(), secret: next() }
        }
        Declaration::Oauth2(oauth) => {
            let token_url = other.unwrap_or_else(|| endpoint.clone());
            let request = token_call(oauth, token_url, oauth_refs(oauth).map(|(name, ..)| name).zip(secrets));
            Auth::Oauth2(Oauth2Client::new(request.map_err(|error| unfit(&error))?, http))
        }
        Declaration::Entra(_) | Declaration::None => Auth::None,
    };
    Ok((auth, identity))
}

/// Returns the request of an access token.
fn token_call(
    oauth: &Oauth2,
    url: Url,
    secrets: impl Iterator<Item = (&'static str, SecretString)>,
) -> Result<TokenCall, FieldError> {
    let mut params: Vec<_> = oauth.params.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    params.push(("grant_type".to_owned(), oauth.grant.as_str().to_owned()));
    if !oauth.scopes.is_empty() {
        params.push(("scope".to_owned(), oauth.scopes.join(" ")));
    }
    let mut secrets: Vec<_> = secrets.collect();
    let mut take = |name: &str| {
        let at = secrets.iter().position(|(known, _)| *known == name)?;
        Some(secrets.remove(at).1)
    };
    let basic = match &oauth.send {
        SendClient::Body => None,
        SendClient::Basic if oauth.client_secret_ref.is_none() => None,
        SendClient::Basic => take("client_id").zip(take("client_secret")),
        SendClient::Other(_) => {
            return Err(FieldError::new(format!("{AUTH}.oauth2.send"), "must be basic or body"));
        }
    };
    Ok(TokenCall { url, basic, params, secrets })
}

async fn entra_auth(
    entra: &EntraAuth,
    endpoint: &Url,
    authority: Url,
    http: Http,
    via: &HttpContext<'_>,
    references: &References<'_>,
) -> Result<(Auth, Vec<Vec<u8>>), Refusal> {
    let field = format!("{AUTH}.entra");
    let mut asked = authority.clone();
    // The path of the authority is ignored. The path of the tenant replaces it.
    asked.set_path(&format!("/{}/oauth2/v2.0/token", tenant(&entra.auth, &field).unwrap_or_default()));
    let received = references.for_hosts(to(vec![endpoint.clone(), asked]));
    let (credential, identity) = azure_credential(&entra.auth, &field, &received, entra.assertion_audience()).await?;
    let options = EntraTokenOptions {
        authority,
        scope: entra.scope.clone(),
        http,
        field: field.into(),
        metadata_endpoint: via.reach.metadata_endpoint.clone(),
    };
    let auth = EntraTokenSource::new(credential, options).map_err(|error| unfit(&error))?;
    Ok((Auth::Entra(auth), vec![identity.to_string().into_bytes()]))
}

/// Returns a hash that identifies a login without revealing the user: the host, and the user name where the spec names
/// it, else the Secrets of the request. All ports and spellings of a host have the same hash.
fn login(endpoint: &Url, auth: &Auth, references: &References<'_>, account: &HttpAccount) -> String {
    let host = canonical_host(endpoint).unwrap_or_default();
    let user = auth.username().map_or_else(
        || format!("{}\n{}", references.namespace(), account.secrets().unwrap_or_default().join("\n")),
        |user| user.trim().to_lowercase(),
    );
    Hash::of([host.as_bytes(), user.as_bytes()]).to_string().trim_start_matches("v1:").to_owned()
}
