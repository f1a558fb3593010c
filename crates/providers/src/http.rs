//! HTTP client of all issuers, of the Microsoft Entra credential, and of the operator's traces.
//!
//! The client trusts the system's CAs and the CAs of the provider. It follows no redirect, retries no request, reads at
//! most [`MAX_BODY`] of a response, checks [`super::hosts`] before it connects, and assigns a failure class to every
//! error. The issuer interprets the response.

mod call;
mod error_body;
mod fault;
mod proxy;
mod resolve;
mod response;
mod transport;

pub use call::Call;
pub use fault::length;
pub use proxy::{Proxies, environment_fault};
pub use response::{ClockSkew, MAX_RETRY_AFTER, ProviderResponse, class_of};
pub use transport::Transport;

use super::hosts::{HostPolicy, HostRefusal, Route};
use super::redact::Redactor;
use super::{Class, IssueError};
use crate::clock::{self, Timestamp};
use parking_lot::{Mutex, MutexGuard};
use proxy::ProxyRules;
use reqwest::Certificate;
use reqwest::header::{CONTENT_ENCODING, HeaderMap};
use resolve::Screened;
use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Weak};
use std::time::Duration;
use transport::{Carrier, Unanswered};
use url::Url;
use videotoken_api::request::FieldError;

/// Maximum size of a response body that is read, in bytes.
pub const MAX_BODY: usize = 64 * 1024;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Interval between HTTP/2 pings on a silent connection, and timeout of the response to a ping. Without pings, every
/// retry would use a connection that a firewall dropped or whose server hangs.
const PING: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(5));

/// Client settings of one provider object.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HttpOptions {
    /// CAs in PEM format, trusted in addition to the system's CAs.
    pub ca_pem: Option<String>,
    /// Field that contains the CAs, for messages.
    pub ca_source: String,
    /// Timeout of a call, from the name lookup to the last byte of the response.
    pub timeout: Duration,
    /// Hosts that may be called.
    pub hosts: HostPolicy,
    /// Permits plain HTTP (`--allow-insecure-endpoints`).
    pub allow_insecure: bool,
    /// Proxies that calls go through.
    pub proxies: Proxies,
}

impl Default for HttpOptions {
    /// Returns the default settings: any host, a timeout of 15 seconds, HTTPS only, and the proxies from the
    /// environment.
    fn default() -> Self {
        Self {
            ca_pem: None,
            ca_source: "spec.caBundle".to_owned(),
            timeout: Duration::from_secs(15),
            hosts: HostPolicy::Any,
            allow_insecure: false,
            proxies: Proxies::Environment,
        }
    }
}

/// HTTP client. Clones share connections.
#[derive(Clone)]
pub struct Http {
    shared: Arc<Shared>,
    timeout: Duration,
    ca_source: Arc<str>,
}

/// Parts that clients with the same CAs, hosts and proxies share.
struct Shared {
    options: Arc<HttpOptions>,
    proxies: ProxyRules,
    /// Client, built for the first call. Dropped when [`MOST_CLIENTS`] other clients were used since.
    client: Mutex<Option<Carrier>>,
    recent: Arc<Recent>,
    transport: Option<Arc<dyn Transport>>,
}

/// Maximum number of built clients. Each client keeps its own copy of the system's CAs and its idle connections, which
/// take several hundred kilobytes. Without a limit, 1,000 providers with different CAs would keep 1,000 clients.
const MOST_CLIENTS: usize = 32;

/// Owners of the built clients. The least recently used owner comes first.
#[derive(Default)]
struct Recent(Mutex<VecDeque<Weak<Shared>>>);

impl Recent {
    /// Records that `shared` was used now, and drops the least recently used clients above the limit.
    fn used(&self, shared: &Arc<Shared>) {
        let mut recent = self.0.lock();
        let it = Arc::downgrade(shared);
        recent.retain(|other| other.strong_count() > 0 && !other.ptr_eq(&it));
        recent.push_back(it);
        while recent.len() > MOST_CLIENTS {
            if let Some(oldest) = recent.pop_front().and_then(|oldest| oldest.upgrade()) {
                *oldest.client() = None;
            }
        }
    }
}

impl Http {
    /// Creates a client that shares nothing with other clients. The error names the invalid field.
    pub fn new(options: &HttpOptions) -> Result<Self, FieldError> {
        Self::create(&Arc::new(options.clone()), options, Arc::default(), None)
    }

    /// Creates a client. `shared` contains the common settings, `own` the settings of this client.
    fn create(
        shared: &Arc<HttpOptions>,
        own: &HttpOptions,
        recent: Arc<Recent>,
        transport: Option<Arc<dyn Transport>>,
    ) -> Result<Self, FieldError> {
        let (options, proxies) = (shared.clone(), shared.proxies.rules());
        let shared = Shared { options, proxies, client: Mutex::new(None), recent, transport };
        let shared = Arc::new(shared);
        // Build the client now, so that an invalid CA bundle is reported now.
        shared.built(&own.ca_source)?;
        Ok(Self::new_of(shared, own))
    }

    fn new_of(shared: Arc<Shared>, own: &HttpOptions) -> Self {
        Self { shared, timeout: own.timeout, ca_source: own.ca_source.as_str().into() }
    }

    /// Returns the timeout of a call.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Checks whether the host policy permits a call to `url`, as far as the name of the host decides.
    pub fn admits(&self, url: &Url) -> Result<(), HostRefusal> {
        let proxies = &self.shared.proxies;
        // The resolved address of a proxy isn't checked either.
        let unchecked = proxies.intercept(url) || url.host_str().is_some_and(|host| proxies.is_proxy(host));
        self.shared.options.hosts.admits(url, if unchecked { Route::Proxied } else { Route::Direct })
    }

    /// Sends one call and returns the response, with any status except a redirect.
    ///
    /// # Errors
    /// `HostNotAllowed` and `InsecureEndpoint` (configuration) before anything is sent. All other errors are transient:
    /// `Timeout`, `DnsFailed`, `ConnectFailed`, `TlsFailed`, `Redirected`, `BodyTooLarge` and `BadAnswer` (a successful
    /// response that ends early). [`IssueError::unsent`] shows whether the request was sent.
    pub async fn send(&self, call: Call) -> Result<ProviderResponse, IssueError> {
        self.permit(&call.url).map_err(IssueError::unsent)?;
        let url = call.url.clone();
        let origin = Origin {
            host: display_host(&url),
            proxy: self.shared.proxies.through(&url),
            limit: self.timeout,
            ca_source: self.ca_source.clone(),
        };
        let (request, redactor) = call.into_request(self.timeout).map_err(IssueError::unsent)?;
        let sent_at = clock::now().wall;
        let client = self.shared.built(&self.ca_source).map_err(|error| {
            // The same options were built successfully before.
            IssueError::new(Class::Configuration, "InvalidSpec", error.to_string()).unsent()
        })?;
        let response = match client.execute(request, self.timeout).await {
            Ok(response) => response,
            Err(Unanswered::Simulated(error)) => return Err(error),
            // Name resolution, the connection, TLS and a proxy's CONNECT precede the first byte of the request.
            Err(Unanswered::Network(error)) => {
                let unsent = error.is_connect();
                let refused = fault::is_refused_tunnel(&error);
                let why = if refused { self.shared.proxies.refusal(&url).await } else { None };
                return Err(IssueError { unsent, ..fault::classify(&error, &origin, &redactor, why) });
            }
        };
        let head = Head { headers: response.headers().clone(), sent_at, arrived_at: clock::now().wall };
        let mut answer = read(response, &head, &origin, redactor).await?;
        if let Some(encoding) = compressed(&head.headers) {
            // The body is unreadable, but the status of an error response still counts.
            answer.body.clear();
            if answer.is_success() {
                let message = format!(
                    "HTTP {}: the answer of {} is compressed ({}), which wasn't asked for: let the server, or what stands \
                     before it, send it as it is",
                    answer.status,
                    origin.host,
                    answer.quote(encoding)
                );
                return Err(answer.failure(Class::Transient, "BadAnswer", message));
            }
        }
        tracing::debug!(
            host = origin.host,
            status = answer.status,
            request_id = answer.request_id,
            correlation_id = answer.correlation_id,
            millis = (clock::now().wall - sent_at).num_milliseconds(),
            "token API answered"
        );
        answer.reject_redirect()
    }

    fn permit(&self, url: &Url) -> Result<(), IssueError> {
        let refuse = |reason, message: String| IssueError::new(Class::Configuration, reason, message);
        match url.scheme() {
            "https" => {}
            "http" if self.shared.options.allow_insecure => {}
            "http" => {
                let message = format!("{} would be called without TLS: use https", display_host(url));
                return Err(refuse("InsecureEndpoint", message));
            }
            _ => return Err(refuse("InsecureEndpoint", "only https endpoints are called".to_owned())),
        }
        self.admits(url).map_err(|refusal| refuse("HostNotAllowed", refusal.to_string()))
    }
}

impl std::fmt::Debug for Http {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Http").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

/// Returns the `Content-Encoding` of the body, unless it is `identity`.
fn compressed(headers: &HeaderMap) -> Option<&str> {
    let encoding = headers.get(CONTENT_ENCODING)?.to_str().unwrap_or_default().trim();
    (!encoding.is_empty() && !encoding.eq_ignore_ascii_case("identity")).then_some(encoding)
}

/// Clients by their shared settings. 1,000 providers with the same CAs, hosts and proxies share one set of connections
/// and one set of root certificates.
#[derive(Default)]
pub struct HttpPool {
    open: Mutex<HashMap<Arc<HttpOptions>, Weak<Shared>>>,
    recent: Arc<Recent>,
    transport: Option<Arc<dyn Transport>>,
}

impl HttpPool {
    /// Returns a pool whose clients send through `transport`, or through the network if there is none.
    pub fn over(transport: Option<Arc<dyn Transport>>) -> Self {
        Self { transport, ..Self::default() }
    }

    /// Returns the client for `options`. Clients that differ only in `timeout` or `ca_source` share connections.
    pub fn http(&self, options: &HttpOptions) -> Result<Http, FieldError> {
        let ca_source = String::new();
        let key = Arc::new(HttpOptions { timeout: Duration::ZERO, ca_source, ..options.clone() });
        let mut open = self.open.lock();
        open.retain(|_, shared| shared.strong_count() > 0);
        if let Some(shared) = open.get(&key).and_then(Weak::upgrade) {
            return Ok(Http::new_of(shared, options));
        }
        let http = Http::create(&key, options, self.recent.clone(), self.transport.clone())?;
        open.insert(key, Arc::downgrade(&http.shared));
        Ok(http)
    }
}

impl Shared {
    fn client(&self) -> MutexGuard<'_, Option<Carrier>> {
        self.client.lock()
    }

    /// Returns the client, and builds it first if necessary.
    fn built(self: &Arc<Self>, ca_source: &str) -> Result<Carrier, FieldError> {
        let mut slot = self.client();
        let client = match slot.take() {
            Some(client) => client,
            None => match &self.transport {
                Some(transport) => Carrier::Simulated(transport.clone()),
                None => Carrier::Network(Self::build(&self.options, &self.proxies, ca_source)?),
            },
        };
        *slot = Some(client.clone());
        drop(slot);
        self.recent.used(self);
        Ok(client)
    }

    fn build(options: &HttpOptions, proxies: &ProxyRules, ca_source: &str) -> Result<reqwest::Client, FieldError> {
        if let Some(fault) = environment_fault().filter(|_| options.proxies == Proxies::Environment) {
            return Err(fault);
        }
        let build = |trust: Option<Vec<Certificate>>| {
            let client = Self::builder(options, proxies)?;
            let client = match trust {
                Some(cas) if cas.is_empty() => client.tls_certs_only(cas),
                Some(cas) => client.tls_certs_merge(cas),
                None => client,
            };
            client.build().map_err(|_| FieldError::new(ca_source, "the TLS library can't use these CAs"))
        };
        match &options.ca_pem {
            Some(pem) => build(Some(certificates(pem, ca_source)?)),
            // On a machine without CAs, each call fails with an unknown issuer, and that message names the fix.
            None => build(None).or_else(|_| build(Some(Vec::new()))),
        }
    }

    fn builder(options: &HttpOptions, proxies: &ProxyRules) -> Result<reqwest::ClientBuilder, FieldError> {
        let resolver = Screened { hosts: options.hosts.clone(), unscreened: proxies.hosts() };
        let client = options.proxies.apply(reqwest::Client::builder())?;
        Ok(client
            .user_agent(concat!("video-token-operator/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .https_only(!options.allow_insecure)
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_max_idle_per_host(4)
            .http2_keep_alive_interval(PING.0)
            .http2_keep_alive_timeout(PING.1)
            .http2_keep_alive_while_idle(true)
            .dns_resolver(Arc::new(resolver)))
    }
}

/// Parses and checks each CA of a PEM bundle. The TLS library accepts a bundle without certificates silently.
fn certificates(pem: &str, source: &str) -> Result<Vec<Certificate>, FieldError> {
    let mut found = Vec::new();
    for (number, section) in (1..).zip(CertificateDer::pem_slice_iter(pem.as_bytes())) {
        let wrong = || FieldError::new(source, format!("certificate {number} can't be read: give CAs as PEM"));
        let der = section.map_err(|_| wrong())?;
        RootCertStore::empty().add(der.clone()).map_err(|_| wrong())?;
        found.push(Certificate::from_der(&der).map_err(|_| wrong())?);
    }
    if found.is_empty() {
        return Err(FieldError::new(source, "no PEM certificate found"));
    }
    Ok(found)
}

/// Destination of a call, for messages.
struct Origin {
    host: String,
    /// `host:port` of the proxy that the call goes through.
    proxy: Option<String>,
    /// Timeout of the call.
    limit: Duration,
    /// Field that contains the provider's CAs.
    ca_source: Arc<str>,
}

/// Headers and times of a response, known before its body.
struct Head {
    headers: HeaderMap,
    sent_at: Timestamp,
    arrived_at: Timestamp,
}

/// Returns `host` or `host:port` of a URL.
fn display_host(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// Reads the body: the whole body of a success, or as much of an error response as arrives.
async fn read(
    mut response: reqwest::Response,
    head: &Head,
    origin: &Origin,
    redactor: Redactor,
) -> Result<ProviderResponse, IssueError> {
    let status = response.status();
    let mut body = Vec::new();
    let fault = loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() <= MAX_BODY => body.extend_from_slice(&chunk),
            Ok(Some(chunk)) => {
                body.extend_from_slice(&chunk[..MAX_BODY - body.len()]);
                let message = format!("{} answered with more than {} KiB", origin.host, MAX_BODY / 1024);
                break Some(IssueError::new(Class::Transient, "BodyTooLarge", message));
            }
            Ok(None) => break None,
            Err(error) => break Some(fault::classify(&error, origin, &redactor, None)),
        }
    };
    let answer = ProviderResponse::new(status.as_u16(), &head.headers, body, head.sent_at, head.arrived_at, redactor);
    let answer = answer.with_host(&origin.host);
    match fault {
        Some(fault) if status.is_success() => Err(answer.with_ids(fault)),
        _ => Ok(answer),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use testkit::tls::CertificateAuthority;

    fn options(ca_pem: &str) -> HttpOptions {
        HttpOptions { ca_pem: Some(ca_pem.to_owned()), ..HttpOptions::default() }
    }

    #[test]
    fn a_ca_bundle_is_checked_certificate_by_certificate() {
        let good = CertificateAuthority::generate().unwrap().ca_pem();
        let broken = "-----BEGIN CERTIFICATE-----\nbm8gY2VydGlmaWNhdGU=\n-----END CERTIFICATE-----\n";
        assert!(Http::new(&options(&format!("# the house's own\n{good}\n{good}"))).is_ok());
        for (pem, expected) in [
            ("", "spec.caBundle: no PEM certificate found".to_owned()),
            ("garbage", "spec.caBundle: no PEM certificate found".to_owned()),
            (&(good + broken), "spec.caBundle: certificate 2 can't be read: give CAs as PEM".to_owned()),
        ] {
            assert_eq!(Http::new(&options(pem)).unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn providers_with_the_same_cas_and_hosts_share_a_client() {
        let pool = HttpPool::default();
        let one = pool.http(&HttpOptions::default()).unwrap();
        let patient = HttpOptions { timeout: Duration::from_mins(1), ..HttpOptions::default() };
        let other = pool.http(&patient).unwrap();
        assert!(Arc::ptr_eq(&one.shared, &other.shared));
        assert_eq!(other.timeout(), Duration::from_mins(1));
        let own = pool.http(&options(&CertificateAuthority::generate().unwrap().ca_pem())).unwrap();
        assert!(!Arc::ptr_eq(&one.shared, &own.shared));
        drop((one, other));
        pool.http(&patient).unwrap();
        assert_eq!(pool.open.lock().len(), 2, "an unused client is forgotten");
    }

    #[test]
    fn p21_a_thousand_providers_with_cas_of_their_own_hold_few_clients() {
        let (pool, ca) = (HttpPool::default(), CertificateAuthority::generate().unwrap().ca_pem());
        let all: Vec<_> = (0..100).map(|n| pool.http(&options(&format!("# {n}\n{ca}"))).unwrap()).collect();
        let built = || all.iter().filter(|http| http.shared.client().is_some()).count();
        assert_eq!(built(), MOST_CLIENTS);
        assert!(all[0].shared.client().is_none() && all[99].shared.client().is_some());
        all[0].shared.built("spec.caBundle").unwrap();
        assert_eq!(built(), MOST_CLIENTS);
        assert!(all[0].shared.client().is_some());
    }

    #[test]
    fn an_empty_post_says_how_long_it_is() {
        let url: Url = "https://vi.example/x".parse().unwrap();
        let length = |call: Call| {
            let (request, _) = call.into_request(Duration::from_secs(1)).unwrap();
            request.headers().get("content-length").map(|value| value.to_str().unwrap().to_owned())
        };
        assert_eq!(length(Call::post(url.clone())).as_deref(), Some("0"));
        assert_eq!(length(Call::get(url.clone())), None);
        assert_eq!(length(Call::post(url).form([("a", "b")])), None, "the client counts it");
    }

    #[test]
    fn p11_a_call_shows_no_secret() {
        let call = Call::post("https://vi.example/x?key=sesame".parse().unwrap())
            .bearer(&"sesame".into())
            .form([("password", "sesame")])
            .knows(&"sesame".into());
        assert!(!format!("{call:?}").contains("sesame"));
        let (request, redactor) = call.into_request(Duration::from_secs(1)).unwrap();
        assert!(!format!("{:?} {redactor:?}", request.headers()).contains("sesame"));
    }
}
