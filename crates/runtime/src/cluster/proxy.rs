//! Selection of the proxy for the API server, by the rules of Go's `net/http`, which kubectl follows.
//!
//! `proxy-url` of the cluster takes precedence. Otherwise `HTTPS_PROXY` applies, or `HTTP_PROXY` to a plain http server,
//! unless `NO_PROXY` matches. Variables never apply to the local machine.

use super::Unusable;
use http::{HeaderValue, Uri};
use hyper_util::client::proxy::matcher::Matcher;
use ipnet::IpNet;
use secrecy::SecretString;
use std::net::IpAddr;

/// A proxy.
#[derive(Clone)]
pub(super) struct Proxy {
    pub(super) kind: Kind,
    /// `host:port`.
    pub(super) authority: String,
    /// Login for an http proxy.
    pub(super) basic: Option<HeaderValue>,
    /// Login for a SOCKS proxy.
    pub(super) user: Option<(String, SecretString)>,
}

/// Protocol of a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Http,
    Https,
    Socks5,
}

/// Values of the environment variables.
#[derive(Clone, Debug, Default)]
pub(super) struct Environment {
    pub(super) https: String,
    pub(super) http: String,
    /// Servers without a proxy.
    pub(super) except: String,
}

/// Parses `proxy-url` of a cluster in the kubeconfig.
pub(super) fn of_kubeconfig(text: &str) -> Result<Proxy, Unusable> {
    proxy(text).ok_or_else(|| invalid_proxy_url("proxy-url of the kubeconfig's cluster"))
}

/// Returns an error without the value, which may contain a password.
fn invalid_proxy_url(source: &str) -> Unusable {
    Unusable(format!(
        "{source} is not the URL of a proxy. Write http://HOST:PORT, https://HOST:PORT or socks5://HOST:PORT."
    ))
}

impl Environment {
    /// Reads the variables in upper or lower case. An empty variable counts as unset.
    pub(super) fn read() -> Self {
        let first = |names: [&str; 2]| {
            names.iter().find_map(|name| std::env::var(name).ok().filter(|text| !text.is_empty())).unwrap_or_default()
        };
        Self {
            https: first(["HTTPS_PROXY", "https_proxy"]),
            http: first(["HTTP_PROXY", "http_proxy"]),
            except: first(["NO_PROXY", "no_proxy"]),
        }
    }

    /// Returns the proxy for a server. The error names the variable that isn't a URL.
    pub(super) fn proxy_for(&self, server: &Uri) -> Result<Option<Proxy>, Unusable> {
        let (variable, text, port) = match server.scheme_str() {
            Some("https") => ("HTTPS_PROXY", &self.https, 443),
            Some("http") => ("HTTP_PROXY", &self.http, 80),
            _ => return Ok(None),
        };
        let host = server.host().unwrap_or_default().trim_matches(['[', ']']);
        if text.is_empty() || self.excepts(host, server.port_u16().unwrap_or(port)) {
            return Ok(None);
        }
        proxy(text).ok_or_else(|| invalid_proxy_url(variable)).map(Some)
    }

    fn excepts(&self, host: &str, port: u16) -> bool {
        let host = host.to_ascii_lowercase();
        let address = host.parse::<IpAddr>().ok().map(|address| address.to_canonical());
        if host == "localhost" || address.is_some_and(|address| address.is_loopback()) {
            return true;
        }
        self.except.split(',').map(|entry| entry.trim().to_ascii_lowercase()).any(|entry| {
            if entry == "*" {
                return true;
            }
            if let Ok(range) = entry.parse::<IpNet>() {
                return address.is_some_and(|address| range.contains(&address));
            }
            let (name, only) = split_port(&entry);
            if only.is_some_and(|only| only != port.to_string()) {
                return false;
            }
            match (name.parse::<IpAddr>(), address) {
                (Ok(named), Some(address)) => named.to_canonical() == address,
                (Ok(_), None) | (Err(_), Some(_)) => false,
                (Err(_), None) => is_within(&host, name),
            }
        })
    }
}

/// Splits `host:port` and `[address]:port`. An IPv6 address without brackets has no port.
fn split_port(entry: &str) -> (&str, Option<&str>) {
    if let Some((host, port)) = entry.strip_prefix('[').and_then(|rest| rest.split_once("]:")) {
        return (host, Some(port));
    }
    match entry.split_once(':') {
        Some((host, port)) if !port.contains(':') => (host, Some(port)),
        _ => (entry, None),
    }
}

/// Returns true if the host matches: `example.com` matches the host and its subdomains, `.example.com` and `*.example.com`
/// only subdomains.
fn is_within(host: &str, domain: &str) -> bool {
    let below = domain.strip_prefix("*.").or_else(|| domain.strip_prefix('.'));
    let name = below.unwrap_or(domain);
    let is_below = host.strip_suffix(name).is_some_and(|rest| rest.ends_with('.'));
    !name.is_empty() && (is_below || (below.is_none() && host == name))
}

/// Parses a URL, or `host:port` of an http proxy.
fn proxy(text: &str) -> Option<Proxy> {
    let url = Matcher::builder().all(text.trim()).build().intercept(&Uri::from_static("https://host.invalid"))?;
    let (kind, port) = match url.uri().scheme_str()? {
        "http" => (Kind::Http, 80),
        "https" => (Kind::Https, 443),
        "socks5" | "socks5h" => (Kind::Socks5, 1080),
        _ => return None,
    };
    let host = url.uri().host().filter(|host| !host.is_empty())?;
    Some(Proxy {
        kind,
        authority: format!("{host}:{}", url.uri().port_u16().unwrap_or(port)),
        basic: url.basic_auth().cloned(),
        user: url.raw_auth().map(|(name, password)| (name.to_owned(), password.into())),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret as _;

    #[test]
    fn no_proxy_is_read_as_kubectl_reads_it() {
        // NO_PROXY, the API server, true without a proxy
        for (no_proxy, server, direct) in [
            ("", "https://api.example:6443", false),
            ("", "https://localhost:6443", true),
            ("", "https://127.0.0.1:6443", true),
            ("", "https://127.8.8.8", true),
            ("", "https://[::1]:6443", true),
            ("", "https://[::ffff:127.0.0.1]", true),
            ("*", "https://api.example", true),
            ("a.example, *", "https://api.example", true),
            ("api.example", "https://api.example:6443", true),
            ("API.Example", "https://api.example:6443", true),
            ("example", "https://api.example", true),
            ("ample", "https://api.example", false),
            (".example", "https://api.example", true),
            (".api.example", "https://api.example", false),
            ("*.example", "https://api.example", true),
            ("*.api.example", "https://api.example", false),
            ("api.example:6443", "https://api.example:6443", true),
            ("api.example:443", "https://api.example", true),
            ("api.example:443", "https://api.example:6443", false),
            (".example:6443", "https://api.example:6443", true),
            (" a.example , api.example , ", "https://api.example", true),
            ("a.example,,api.example", "https://api.example", true),
            ("10.0.0.0/8", "https://10.1.2.3:6443", true),
            ("10.0.0.0/8", "https://11.1.2.3:6443", false),
            ("10.0.0.0/8", "https://api.example", false),
            ("2001:db8::/32", "https://[2001:db8::1]:6443", true),
            ("10.1.2.3", "https://10.1.2.3:6443", true),
            ("10.1.2.3:6443", "https://10.1.2.3:6443", true),
            ("10.1.2.3:443", "https://10.1.2.3:6443", false),
            ("2001:db8::1", "https://[2001:db8::1]", true),
            ("[2001:db8::1]:6443", "https://[2001:db8::1]:6443", true),
            ("[2001:db8::1]:443", "https://[2001:db8::1]:6443", false),
            ("1.2.3", "https://10.1.2.3", false),
            ("nonsense/99,:80,.", "https://api.example", false),
        ] {
            let environment = Environment {
                https: "http://squid:3128".to_owned(),
                except: no_proxy.to_owned(),
                ..Environment::default()
            };
            let proxy = environment.proxy_for(&server.parse().unwrap()).unwrap();
            assert_eq!(proxy.is_none(), direct, "NO_PROXY={no_proxy} {server}");
        }
    }

    #[test]
    fn each_scheme_has_its_variable_and_each_proxy_its_form() {
        let of = |https: &str, http: &str, server: &str| {
            let environment = Environment { https: https.into(), http: http.into(), except: String::new() };
            let found = environment.proxy_for(&server.parse().unwrap());
            found.map(|found| found.map(|proxy| (proxy.kind, proxy.authority))).map_err(|error| error.to_string())
        };
        let (https, http) = ("https://api.example", "http://api.example");
        for (text, kind, authority) in [
            ("http://squid:3128", Kind::Http, "squid:3128"),
            ("http://squid", Kind::Http, "squid:80"),
            ("squid:3128", Kind::Http, "squid:3128"),
            ("squid", Kind::Http, "squid:80"),
            ("https://squid", Kind::Https, "squid:443"),
            ("socks5://squid", Kind::Socks5, "squid:1080"),
            ("socks5h://[2001:db8::1]:1081/", Kind::Socks5, "[2001:db8::1]:1081"),
        ] {
            assert_eq!(of(text, "", https), Ok(Some((kind, authority.to_owned()))), "{text}");
        }
        assert_eq!(of("http://a:1", "http://b:2", http), Ok(Some((Kind::Http, "b:2".to_owned()))));
        assert_eq!(of("http://a:1", "", http), Ok(None));
        for wrong in ["ftp://squid", "http://", "socks4://squid", "http://a b"] {
            let said = of(wrong, "", https).unwrap_err();
            assert!(said.contains("HTTPS_PROXY is not the URL of a proxy"), "{said}");
        }
        let http = proxy("http://us%40er:p%3Aw@squid:1").unwrap();
        assert_eq!(http.basic.as_ref().unwrap(), "Basic dXNAZXI6cDp3");
        let socks = proxy("socks5://us%40er:p%3Aw@squid:1").unwrap();
        let (name, password) = socks.user.as_ref().unwrap();
        assert_eq!((&**name, password.expose_secret()), ("us@er", "p:w"));
        assert!(!invalid_proxy_url("HTTPS_PROXY").to_string().contains("p:w"));
    }
}
