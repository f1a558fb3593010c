//! Selects the calls that go through a proxy. The host policy needs this, because a proxy resolves names out of the
//! operator's sight.

use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use reqwest::{ClientBuilder, NoProxy, Proxy, StatusCode};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use url::Url;
use videotoken_api::request::FieldError;

/// Source of the proxy settings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Proxies {
    /// `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`, with the meaning that curl gives them.
    #[default]
    Environment,
    /// No proxy, because the destination is on this machine or its link.
    Never,
    /// One proxy without credentials for all calls except those to the hosts in `except`.
    Through {
        /// URL of the proxy.
        proxy: String,
        /// Comma-separated hosts, suffixes and ranges that are called directly.
        except: String,
    },
}

/// Proxy rules of the client, for queries before a call.
pub(super) struct ProxyRules(Matcher);

impl Proxies {
    pub(super) fn rules(&self) -> ProxyRules {
        ProxyRules(match self {
            Self::Environment => Matcher::from_system(),
            Self::Never => Matcher::builder().build(),
            Self::Through { proxy, except } => Matcher::builder().all(proxy.as_str()).no(except.as_str()).build(),
        })
    }

    pub(super) fn apply(&self, client: ClientBuilder) -> Result<ClientBuilder, FieldError> {
        match self {
            Self::Environment => Ok(client),
            Self::Never => Ok(client.no_proxy()),
            Self::Through { proxy, except } => {
                let proxy = Proxy::all(proxy).map_err(|_| FieldError::new("proxy", "no URL of a proxy"))?;
                Ok(client.no_proxy().proxy(proxy.no_proxy(NoProxy::from_string(except))))
            }
        }
    }
}

/// Environment variables that name proxies, in upper and lower case. The first variable of a pair that is set applies.
const VARIABLES: [[&str; 2]; 3] =
    [["HTTPS_PROXY", "https_proxy"], ["HTTP_PROXY", "http_proxy"], ["ALL_PROXY", "all_proxy"]];

/// Returns an error for the first variable whose proxy the client would ignore silently and call directly. The error
/// doesn't contain the value, which may contain a password.
pub fn environment_fault() -> Option<FieldError> {
    VARIABLES.iter().find_map(|names| {
        let (name, value) = names.iter().find_map(|name| Some((*name, std::env::var(name).ok()?)))?;
        fault_of(name, &value)
    })
}

fn fault_of(name: &str, value: &str) -> Option<FieldError> {
    let url = "https://host.invalid".parse().ok()?;
    let authority = value.split_once("://").map_or(value, |(_, rest)| rest).split('/').next().unwrap_or_default();
    if authority.matches('@').count() > 1 {
        let message = "has an @ in the user or the password: write it as %40, or the rest would be taken for the host";
        return Some(FieldError::new(name, message));
    }
    if value.starts_with("socks") {
        let message = "names a SOCKS proxy, which the calls to providers can't use: give http://HOST:PORT, or unset it";
        return Some(FieldError::new(name, message));
    }
    let is_proxy = value.is_empty() || Matcher::builder().all(value).build().intercept(&url).is_some();
    let message = "is no URL of a proxy: give http://HOST:PORT, without spaces, or unset it";
    (!is_proxy).then(|| FieldError::new(name, message))
}

/// Timeout of the second request to a proxy, which determines why the proxy rejected the first.
const ASKED_AGAIN: Duration = Duration::from_secs(3);

impl ProxyRules {
    /// Returns `host:port` of the proxy for calls of `url`.
    pub(super) fn through(&self, url: &Url) -> Option<String> {
        let intercept = self.for_url(url.as_str())?;
        // Remove the user and password, if the client kept them.
        let authority = intercept.uri().authority()?.as_str();
        Some(authority.rsplit('@').next().unwrap_or_default().to_ascii_lowercase())
    }

    /// Returns the reason why a proxy opens no tunnel to `url`, and the fix. The client doesn't report the status, so
    /// this sends a second CONNECT. `None` if the proxy can't be called in plain text or doesn't reject the second
    /// request.
    pub(super) async fn refusal(&self, url: &Url) -> Option<String> {
        let intercept = self.for_url(url.as_str()).filter(|intercept| intercept.uri().scheme_str() == Some("http"))?;
        let asked = tokio::time::timeout(ASKED_AGAIN, probe(&intercept, url)).await.ok()??;
        let status = StatusCode::from_u16(asked).ok().filter(|status| !status.is_success())?;
        let name = status.canonical_reason().map(|name| format!(" ({name})")).unwrap_or_default();
        let to = format!("{}:{}", url.host_str()?, url.port_or_known_default()?);
        let way_out = match asked {
            300..400 => "it wants a login: let it pass this machine, or name another proxy".to_owned(),
            403 | 405 => format!("let its rules allow {to}"),
            502..=504 => format!("it doesn't reach {to}"),
            _ => "its log says why".to_owned(),
        };
        Some(format!("it refuses to CONNECT to {to} with HTTP {asked}{name}: {way_out}"))
    }

    /// Returns true if calls of `url` go through a proxy.
    pub(super) fn intercept(&self, url: &Url) -> bool {
        self.proxy_of(url.as_str()).is_some()
    }

    /// Returns the host names of the proxies. The operator's administrator configures them, and the client's resolver
    /// resolves them.
    pub(super) fn hosts(&self) -> Vec<String> {
        ["https://host.invalid", "http://host.invalid"].into_iter().filter_map(|url| self.proxy_of(url)).collect()
    }

    /// Returns true if `host` is the host of a proxy.
    pub(super) fn is_proxy(&self, host: &str) -> bool {
        self.hosts().iter().any(|proxy| proxy == host)
    }

    fn proxy_of(&self, url: &str) -> Option<String> {
        Some(self.for_url(url)?.uri().host()?.to_ascii_lowercase())
    }

    fn for_url(&self, url: &str) -> Option<Intercept> {
        self.0.intercept(&url.parse().ok()?)
    }
}

/// Sends a CONNECT and returns the status of the proxy's response.
async fn probe(proxy: &Intercept, url: &Url) -> Option<u16> {
    let host = proxy.uri().host()?.trim_start_matches('[').trim_end_matches(']');
    let mut stream = TcpStream::connect((host, proxy.uri().port_u16().unwrap_or(80))).await.ok()?;
    let to = format!("{}:{}", url.host_str()?, url.port_or_known_default()?);
    let mut head = format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n").into_bytes();
    if let Some(auth) = proxy.basic_auth() {
        head.extend([b"Proxy-Authorization: ", auth.as_bytes(), b"\r\n"].concat());
    }
    head.extend(b"\r\n");
    stream.write_all(&head).await.ok()?;
    let mut said = Vec::new();
    while said.len() < 64 && !said.contains(&b'\n') {
        if stream.read_buf(&mut said).await.ok()? == 0 {
            break;
        }
    }
    let line = String::from_utf8_lossy(&said);
    line.strip_prefix("HTTP/1.")?.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_that_names_no_proxy_is_told_without_its_value() {
        for (value, named) in [
            ("", true),
            ("http://squid.proxy.svc:3128", true),
            ("squid.proxy.svc:3128", true),
            ("squid", true),
            ("https://u:p@squid.proxy.svc:3128/", true),
            ("socks5://squid.proxy.svc:1080", false),
            ("http://u:p@sesame@squid:3128", false),
            ("http://u:p%40sesame@squid:3128", true),
            ("http://squid.proxy.svc:3128 ", false),
            ("http:// squid:3128", false),
            ("http://", false),
            ("ftp://squid:21", false),
            ("http://u:sesame@[squid:3128", false),
            ("/var/run/squid", false),
        ] {
            let fault = fault_of("HTTPS_PROXY", value);
            assert_eq!(fault.is_none(), named, "{value}: {fault:?}");
            assert!(fault.is_none_or(|fault| fault.field == "HTTPS_PROXY" && !fault.to_string().contains("sesame")));
        }
    }

    #[test]
    fn a_proxy_intercepts_all_but_its_exceptions() {
        let through =
            Proxies::Through { proxy: "http://squid.proxy.svc:3128".into(), except: ".local,10.0.0.0/8".into() };
        let rules = through.rules();
        for (url, expected) in [
            ("https://vi.example/", true),
            ("http://vi.example/", true),
            ("https://vi.local/", false),
            ("https://10.1.2.3/", false),
        ] {
            assert_eq!(rules.intercept(&url.parse().unwrap()), expected, "{url}");
        }
        assert_eq!(rules.hosts(), ["squid.proxy.svc", "squid.proxy.svc"]);
        let with_login = Proxies::Through { proxy: "http://u:p@ss:sesame@squid:3128".into(), except: String::new() };
        let named = with_login.rules().through(&"https://vi.example/".parse().unwrap());
        assert!(named.is_none_or(|named| !named.contains("sesame")));
        let none = Proxies::Never.rules();
        assert!(!none.intercept(&"https://vi.example/".parse().unwrap()) && none.hosts().is_empty());
    }
}
