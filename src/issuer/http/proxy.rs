//! Which calls go through a proxy. The host policy must know: a proxy resolves names where we can't look.

use crate::api::request::FieldError;
use hyper_util::client::proxy::matcher::Matcher;
use reqwest::{ClientBuilder, NoProxy, Proxy};
use url::Url;

/// Where proxies are named.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Proxies {
    /// `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`, as curl reads them.
    #[default]
    Environment,
    /// None: what is called is on this machine or its link.
    Never,
    /// One for everything, but for a comma-separated list of hosts. Without credentials.
    Through {
        /// The proxy's URL.
        proxy: String,
        /// Hosts, suffixes and ranges that are called directly.
        except: String,
    },
}

/// The same rules as the client follows, to be asked beforehand.
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

impl ProxyRules {
    /// Whether a call of `url` goes through a proxy.
    pub(super) fn intercept(&self, url: &Url) -> bool {
        self.proxy_of(url.as_str()).is_some()
    }

    /// The proxies' own hosts: named by the operator's admin, and resolved for the client like any other.
    pub(super) fn hosts(&self) -> Vec<String> {
        ["https://host.invalid", "http://host.invalid"].into_iter().filter_map(|url| self.proxy_of(url)).collect()
    }

    /// Whether `host` is a proxy's.
    pub(super) fn is_proxy(&self, host: &str) -> bool {
        self.hosts().iter().any(|proxy| proxy == host)
    }

    fn proxy_of(&self, url: &str) -> Option<String> {
        let intercept = self.0.intercept(&url.parse().ok()?)?;
        Some(intercept.uri().host()?.to_ascii_lowercase())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

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
        let none = Proxies::Never.rules();
        assert!(!none.intercept(&"https://vi.example/".parse().unwrap()) && none.hosts().is_empty());
    }
}
