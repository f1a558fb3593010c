//! Decides which hosts may receive the credential of a provider object.
//!
//! An administrator owns a `ClusterTokenProvider`, which may call any host. A namespaced provider may call the public
//! hosts of its provider and the hosts that `--allowed-endpoint` admits. It may call an address of the machine, the
//! cluster or the platform only if a pattern names that host or address literally. All decisions are pure.
//! [`super::http`] applies them before each call and to each resolved address.

use ipnet::IpNet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;
use std::sync::Arc;
use url::{Host, Url};

/// Azure's platform address (`WireServer`), which every Azure VM can reach and trusts.
const AZURE_PLATFORM: IpAddr = IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16));

/// Addresses of instance metadata outside the link-local range: AWS (IPv6), Google Cloud (IPv6), Alibaba Cloud and
/// Oracle Cloud.
const METADATA: [IpAddr; 4] = [
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
];

/// Pattern of `--allowed-endpoint`: `host`, `host:port`, `*.suffix` or `*.suffix:port`. Without a port it admits every
/// port. A suffix admits the names below it, but not the suffix itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostPattern {
    host: HostMatch,
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum HostMatch {
    Name(String),
    Address(IpAddr),
    /// Suffix with its leading dot.
    Suffix(String),
}

impl FromStr for HostPattern {
    type Err = String;

    /// Parses a pattern. The error names what is wrong with the pattern.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| Err(format!("endpoint pattern {text:?}: {why}; write host, host:port or *.suffix"));
        let (host, port) = match split_port(text) {
            Some((host, port)) => match port.parse() {
                Ok(port) => (host, Some(port)),
                Err(_) => return wrong("no port number after the colon"),
            },
            None => (text, None),
        };
        let (is_suffix, name) = host.strip_prefix("*.").map_or((false, host), |suffix| (true, suffix));
        let Ok(parsed) = Host::parse(&bracketed(name)) else {
            return wrong("no host name");
        };
        if matches!(&parsed, Host::Domain(name) if canonical(name).split('.').any(str::is_empty)) {
            return wrong("no host name");
        }
        let host = match (parsed, is_suffix) {
            (Host::Domain(name), _) if name.contains('*') => return wrong("a star stands only for the first labels"),
            (Host::Domain(name), false) => HostMatch::Name(canonical(&name).to_owned()),
            (Host::Domain(name), true) => HostMatch::Suffix(format!(".{}", canonical(&name))),
            (_, true) => return wrong("an address has no subdomains"),
            (Host::Ipv4(ip), false) => HostMatch::Address(ip.into()),
            (Host::Ipv6(ip), false) => HostMatch::Address(embedded(ip.into())),
        };
        Ok(Self { host, port })
    }
}

impl HostPattern {
    fn admits_port(&self, port: Option<u16>) -> bool {
        self.port.is_none() || self.port == port
    }

    fn admits_name(&self, name: &str) -> bool {
        match &self.host {
            HostMatch::Name(exact) => exact == name,
            HostMatch::Suffix(suffix) => name.len() > suffix.len() && name.ends_with(suffix),
            HostMatch::Address(_) => false,
        }
    }

    fn is_name(&self, name: &str) -> bool {
        matches!(&self.host, HostMatch::Name(exact) if exact == name)
    }

    fn is_address(&self, ip: IpAddr) -> bool {
        matches!(&self.host, HostMatch::Address(exact) if *exact == ip)
    }
}

/// Splits `host:port`, where the host may be an address in brackets. A bare IPv6 address has no port.
fn split_port(text: &str) -> Option<(&str, &str)> {
    let (host, port) = text.rsplit_once(':')?;
    (!host.contains(':') || host.ends_with(']')).then_some((host, port))
}

/// Puts a bare IPv6 address into the brackets that a URL requires.
fn bracketed(host: &str) -> String {
    if host.parse::<Ipv6Addr>().is_ok() { format!("[{host}]") } else { host.to_owned() }
}

/// Returns the name without the final dot of an absolute name. The URL parser normalizes the case.
fn canonical(name: &str) -> &str {
    name.strip_suffix('.').unwrap_or(name)
}

/// Facts about the network of the process, shared by all namespaced providers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct NetworkGuard {
    /// Patterns of `--allowed-endpoint`.
    pub allowed: Vec<HostPattern>,
    /// Addresses of the API server.
    pub api_server: Vec<IpAddr>,
    /// Service ranges of the cluster.
    pub services: Vec<IpNet>,
}

/// Hosts that one provider object may call.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HostPolicy {
    /// Any host, for a `ClusterTokenProvider`.
    Any,
    /// The provider's public hosts and the allowed patterns, for a namespaced provider.
    Guarded {
        /// Public hosts of the provider.
        public: Arc<[HostPattern]>,
        /// Facts about the network.
        guard: Arc<NetworkGuard>,
    },
}

/// Route of a call to its host, which determines who resolves the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// The operator resolves the name and checks the resolved addresses.
    Direct,
    /// The proxy resolves the name, so its addresses are unchecked. Only the provider's public hosts and names in
    /// literal patterns are permitted.
    Proxied,
}

/// Reason why a host is rejected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostRefusal {
    /// The host is neither public nor allowed.
    #[error(
        "a namespaced provider may not call {0}: it is no public host of this provider and matches no \
         --allowed-endpoint; ask the operator's admin, or use a ClusterTokenProvider"
    )]
    NotAllowed(String),
    /// Only a wildcard admits the host, which isn't sufficient if the address can't be checked.
    #[error(
        "{0} is called through a proxy, so that its address can't be checked: --allowed-endpoint must name it exactly"
    )]
    NotExact(String),
    /// The name resolves to an address of the machine, the cluster or the platform.
    #[error("{host} is at {address}, {owner}: no --allowed-endpoint names it")]
    Reserved {
        /// Host of the URL.
        host: String,
        /// Resolved address.
        address: IpAddr,
        /// Owner of the address.
        owner: &'static str,
    },
    /// The URL has no host.
    #[error("the URL has no host")]
    NoHost,
}

impl HostPolicy {
    /// Returns the policy of a namespaced provider with the public hosts `public` (each a host or `*.suffix`).
    pub fn guarded<S: AsRef<str>>(public: &[S], guard: Arc<NetworkGuard>) -> Self {
        let public = public.iter().filter_map(|host| host.as_ref().parse().ok()).collect();
        Self::Guarded { public, guard }
    }

    /// Checks whether a call may go to `url`. For a name, [`HostPolicy::admits_address`] must permit the address too.
    pub fn admits(&self, url: &Url, route: Route) -> Result<(), HostRefusal> {
        let Some(host) = url.host() else { return Err(HostRefusal::NoHost) };
        let Self::Guarded { public, guard } = self else { return Ok(()) };
        let port = url.port_or_known_default();
        let refused = || HostRefusal::NotAllowed(host.to_string());
        let allowed = || guard.allowed.iter().filter(|pattern| pattern.admits_port(port));
        match &host {
            Host::Ipv4(ip) => allowed().any(|p| p.is_address((*ip).into())).then_some(()).ok_or_else(refused),
            Host::Ipv6(ip) => allowed().any(|p| p.is_address(embedded((*ip).into()))).then_some(()).ok_or_else(refused),
            Host::Domain(name) => {
                let name = canonical(name);
                let is_public = public.iter().any(|p| p.admits_port(port) && p.admits_name(name));
                let is_exact = allowed().any(|p| p.is_name(name));
                match (is_public || is_exact, allowed().any(|p| p.admits_name(name)), route) {
                    (true, _, _) | (false, true, Route::Direct) => Ok(()),
                    (false, true, Route::Proxied) => Err(HostRefusal::NotExact(name.to_owned())),
                    (false, false, _) => Err(refused()),
                }
            }
        }
    }

    /// Checks whether a call to the admitted `host` may go to `address`, one of its resolved addresses.
    pub fn admits_address(&self, host: &str, address: IpAddr) -> Result<(), HostRefusal> {
        let Self::Guarded { guard, .. } = self else { return Ok(()) };
        let Some(owner) = guard.owner(address) else { return Ok(()) };
        let host = canonical(host);
        let is_named = |p: &HostPattern| p.is_name(host) || p.is_address(embedded(address));
        if guard.allowed.iter().any(is_named) {
            return Ok(());
        }
        Err(HostRefusal::Reserved { host: host.to_owned(), address, owner })
    }
}

impl NetworkGuard {
    /// Returns the owner of an address that requires a literal pattern, so that no credential reaches it accidentally.
    fn owner(&self, address: IpAddr) -> Option<&'static str> {
        let address = embedded(address);
        if self.api_server.iter().any(|ip| embedded(*ip) == address) {
            return Some("the API server's");
        }
        if self.services.iter().any(|range| range.contains(&address)) {
            return Some("in the Service range");
        }
        match address {
            ip if ip.is_unspecified() => Some("the unspecified address"),
            ip if ip.is_loopback() => Some("a loopback address"),
            ip if ip.is_multicast() => Some("a multicast address"),
            ip if ip == AZURE_PLATFORM || METADATA.contains(&ip) => Some("the cloud platform's"),
            IpAddr::V4(ip) if ip.octets()[0] == 0 || ip.is_broadcast() => Some("not a host's"),
            IpAddr::V4(ip) if ip.is_link_local() => Some("a link-local address"),
            IpAddr::V6(ip) if ip.is_unicast_link_local() => Some("a link-local address"),
            IpAddr::V6(ip) if leads_elsewhere(ip) => Some("translated or tunnelled to another"),
            _ => None,
        }
    }
}

/// Returns true if an IPv6 address stands for another address that can't be derived from it: NAT64 with the network's
/// own prefix (RFC 8215), 6to4 (RFC 3056), Teredo (RFC 4380), and stateless translation (RFC 2765 §2.1).
fn leads_elsewhere(ip: Ipv6Addr) -> bool {
    matches!(ip.segments(), [0x64, 0xff9b, 1, ..] | [0x2002, ..] | [0x2001, 0, ..] | [0, 0, 0, 0, 0xffff, 0, ..])
}

/// Returns the host of a URL in canonical form: lower case, no final dot, and an IPv4 address instead of an IPv6
/// address that wraps it.
pub fn canonical_host(url: &Url) -> Option<String> {
    Some(match url.host()? {
        Host::Domain(name) => canonical(name).to_lowercase(),
        Host::Ipv4(ip) => ip.to_string(),
        Host::Ipv6(ip) => embedded(ip.into()).to_string(),
    })
}

/// Returns the IPv4 address inside an IPv6 address that only wraps it: mapped and compatible addresses (RFC 4291
/// §2.5.5) and NAT64 translation (RFC 6052 §2.1).
fn embedded(address: IpAddr) -> IpAddr {
    let IpAddr::V6(ip) = address else { return address };
    let wraps = match ip.segments() {
        [0, 0, 0, 0, 0, 0xffff, ..] | [0x64, 0xff9b, 0, 0, 0, 0, ..] => true,
        [0, 0, 0, 0, 0, 0, ..] => !ip.is_unspecified() && !ip.is_loopback(),
        _ => false,
    };
    let [.., a, b, c, d] = ip.octets();
    if wraps { Ipv4Addr::new(a, b, c, d).into() } else { address }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            HostMatch::Name(name) => f.write_str(name)?,
            HostMatch::Suffix(suffix) => write!(f, "*{suffix}")?,
            HostMatch::Address(IpAddr::V4(ip)) => write!(f, "{ip}")?,
            HostMatch::Address(IpAddr::V6(ip)) => write!(f, "[{ip}]")?,
        }
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn policy(allowed: &[&str]) -> HostPolicy {
        let guard = NetworkGuard {
            allowed: allowed.iter().map(|p| p.parse().unwrap()).collect(),
            api_server: vec!["192.0.2.7".parse().unwrap()],
            services: vec!["10.96.0.0/12".parse().unwrap(), "fd12::/108".parse().unwrap()],
        };
        HostPolicy::guarded(&["api.videoindexer.ai", "*.cognitiveservices.azure.com"], Arc::new(guard))
    }

    fn url(text: &str) -> Url {
        text.parse().unwrap()
    }

    #[test]
    fn patterns_are_parsed_and_shown() {
        let patterns = [
            ("vi.example", "vi.example"),
            ("VI.Example.:8443", "vi.example:8443"),
            ("*.video.example", "*.video.example"),
            ("*.video.example:443", "*.video.example:443"),
            ("10.0.0.1:21443", "10.0.0.1:21443"),
            ("::1", "[::1]"),
            ("[2001:db8::1]:443", "[2001:db8::1]:443"),
            ("[::ffff:10.0.0.1]", "10.0.0.1"),
        ];
        for (text, shown) in patterns {
            assert_eq!(text.parse::<HostPattern>().unwrap().to_string(), shown);
        }
        for text in [
            "",
            "*",
            "*.",
            "a.*.b",
            "https://vi.example",
            "vi.example/x",
            "vi:x",
            "vi:99999",
            "*.10.0.0.1",
            "a b",
            ".",
            "*..",
            "a..b",
        ] {
            assert!(text.parse::<HostPattern>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_cluster_provider_reaches_any_host() {
        for target in ["https://10.96.0.1", "https://localhost", "https://[::1]:21443", "https://anything.example"] {
            assert_eq!(HostPolicy::Any.admits(&url(target), Route::Direct), Ok(()));
        }
        assert_eq!(HostPolicy::Any.admits_address("x", "127.0.0.1".parse().unwrap()), Ok(()));
    }

    #[test]
    fn a_namespaced_provider_reaches_public_and_allowed_hosts() {
        let policy = policy(&["arcgis.example:21443", "*.video.example", "10.0.0.9", "[2001:db8::9]:444"]);
        let admitted = [
            ("https://api.videoindexer.ai/Auth", true),
            ("https://API.VideoIndexer.ai.", true),
            ("https://evil.videoindexer.ai", false),
            ("https://face.cognitiveservices.azure.com", true),
            ("https://cognitiveservices.azure.com", false),
            ("https://evilcognitiveservices.azure.com", false),
            ("https://api.videoindexer.ai.evil.example", false),
            ("https://api.videoindexer.ai@evil.example", false),
            ("https://arcgis.example:21443/arcgis", true),
            ("https://arcgis.example/arcgis", false),
            ("https://eu.video.example", true),
            ("https://a.b.video.example:9", true),
            ("https://video.example", false),
            ("https://10.0.0.9", true),
            ("https://0xa.0.0.9", true),
            ("https://[::ffff:10.0.0.9]", true),
            ("https://10.0.0.10", false),
            ("https://[2001:db8::9]:444", true),
            ("https://[2001:db8::9]", false),
            ("https://127.0.0.1", false),
            ("https://2130706433", false),
            ("https://169.254.169.254", false),
        ];
        for (target, expected) in admitted {
            assert_eq!(policy.admits(&url(target), Route::Direct).is_ok(), expected, "{target}");
        }
    }

    #[test]
    fn behind_a_proxy_only_exact_names_count() {
        let policy = policy(&["arcgis.example", "*.video.example"]);
        for (target, expected) in [
            ("https://api.videoindexer.ai", Ok(())),
            ("https://face.cognitiveservices.azure.com", Ok(())),
            ("https://arcgis.example", Ok(())),
            ("https://eu.video.example", Err(HostRefusal::NotExact("eu.video.example".into()))),
            ("https://other.example", Err(HostRefusal::NotAllowed("other.example".into()))),
        ] {
            assert_eq!(policy.admits(&url(target), Route::Proxied), expected, "{target}");
        }
    }

    #[test]
    fn a_resolved_address_may_not_be_the_machines_the_clusters_or_the_platforms() {
        let policy = policy(&["*.video.example", "lab.example", "127.0.0.9"]);
        let addresses = [
            ("8.8.8.8", true),
            ("10.0.0.1", true),
            ("2001:db8::1", true),
            ("127.0.0.1", false),
            ("127.9.9.9", false),
            ("::1", false),
            ("0.0.0.0", false),
            ("0.1.2.3", false),
            ("::", false),
            ("169.254.169.254", false),
            ("fe80::1", false),
            ("168.63.129.16", false),
            ("fd00:ec2::254", false),
            ("fd20:ce::254", false),
            ("100.100.100.200", false),
            ("100.100.100.201", true),
            ("::ffff:100.100.100.200", false),
            ("192.0.0.192", false),
            ("64:ff9b:1::a9fe:a9fe", false),
            ("64:ff9b:1:ffff::1", false),
            ("64:ff9b:2::1", true),
            ("2002:a9fe:a9fe::1", false),
            ("2002::", false),
            ("2003::1", true),
            ("2001:0:4136:e378::1", false),
            ("::ffff:0:169.254.169.254", false),
            ("192.0.2.7", false),
            ("10.96.0.1", false),
            ("10.111.255.255", false),
            ("10.112.0.0", true),
            ("fd12::1", false),
            ("::ffff:127.0.0.1", false),
            ("::ffff:10.96.0.1", false),
            ("::127.0.0.1", false),
            ("64:ff9b::a9fe:a9fe", false),
            ("255.255.255.255", false),
            ("224.0.0.1", false),
            ("127.0.0.9", true),
            ("::ffff:127.0.0.9", true),
        ];
        for (address, expected) in addresses {
            let address: IpAddr = address.parse().unwrap();
            assert_eq!(policy.admits_address("eu.video.example", address).is_ok(), expected, "{address}");
            assert!(policy.admits_address("lab.example.", address).is_ok(), "named literally: {address}");
        }
    }

    #[test]
    fn a_host_has_one_spelling() {
        for (spelt, one) in [
            ("https://Video.Corp", "video.corp"),
            ("https://video.corp.:21443/x", "video.corp"),
            ("https://10.0.0.9:1", "10.0.0.9"),
            ("https://0xa.0.0.9", "10.0.0.9"),
            ("https://[::ffff:10.0.0.9]", "10.0.0.9"),
            ("https://[2001:DB8:0::9]", "2001:db8::9"),
        ] {
            assert_eq!(canonical_host(&url(spelt)).unwrap(), one, "{spelt}");
        }
    }

    #[test]
    fn a_refusal_says_why_and_what_to_do() {
        let policy = policy(&[]);
        insta::assert_snapshot!(policy.admits(&url("https://vi.example"), Route::Direct).unwrap_err(), @"a namespaced provider may not call vi.example: it is no public host of this provider and matches no --allowed-endpoint; ask the operator's admin, or use a ClusterTokenProvider");
        insta::assert_snapshot!(policy.admits_address("vi.example", "::1".parse().unwrap()).unwrap_err(), @"vi.example is at ::1, a loopback address: no --allowed-endpoint names it");
    }

    proptest! {
        #[test]
        fn any_text_is_a_pattern_or_an_error(text in "\\PC{0,40}") {
            if let Ok(pattern) = text.parse::<HostPattern>() {
                prop_assert_eq!(pattern.to_string().parse::<HostPattern>(), Ok(pattern));
            }
        }

        #[test]
        fn a_wrapped_address_is_judged_as_itself(ip in any::<Ipv4Addr>()) {
            let policy = policy(&[]);
            let bare = policy.admits_address("x", ip.into()).is_ok();
            prop_assert_eq!(policy.admits_address("x", ip.to_ipv6_mapped().into()).is_ok(), bare);
        }
    }
}
