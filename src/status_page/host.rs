//! Host names under which the status page is served.
//!
//! A page of another site can make the browser that shows it send requests to this server under the name of that site,
//! if that name resolves to this address (DNS rebinding). That site could then read the response. The Host header
//! contains the name that the browser used. The status page therefore accepts only names that no attacker can make
//! resolve to this address.

use std::net::IpAddr;

/// Returns true if the page may be served under this `Host`. `named` contains further names, in lower case.
pub(super) fn admits(host: Option<&str>, named: &[String]) -> bool {
    let Some(name) = host.and_then(name) else { return false };
    name.parse::<IpAddr>().is_ok()
        || name == "localhost"
        // Names of Services: public DNS has no top-level domain `svc`, and no `cluster.local`.
        || name.rsplit_once('.').is_some_and(|(_, last)| last == "svc")
        || name.ends_with(".svc.cluster.local")
        || named.contains(&name)
}

/// Returns the name or address of a `Host`, in lower case, without its port and without a trailing dot, which resolvers
/// ignore.
fn name(host: &str) -> Option<String> {
    let name = match host.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']')?;
            (port.is_empty() || port.starts_with(':')).then_some(address)?
        }
        None => host.split_once(':').map_or(host, |(name, _)| name),
    };
    Some(name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_read_only_under_names_that_no_stranger_can_have() {
        let named = ["status.corp.example".to_owned()];
        for (host, admitted) in [
            (Some("127.0.0.1:8080"), true),
            (Some("10.0.0.7"), true),
            (Some("[::1]:8080"), true),
            (Some("[fd00::7]"), true),
            (Some("localhost:8080"), true),
            (Some("LocalHost."), true),
            (Some("video-token-operator.video-token-operator.svc:8080"), true),
            (Some("video-token-operator.video-token-operator.svc.cluster.local:8080"), true),
            (Some("status.corp.example"), true),
            (Some("Status.Corp.Example:443"), true),
            (Some("rebound.example:8080"), false),
            (Some("localhost.rebound.example"), false),
            (Some("127.0.0.1.rebound.example"), false),
            (Some("a.svc.rebound.example"), false),
            (Some("a.svc.cluster.local.rebound.example"), false),
            (Some("other.status.corp.example"), false),
            (Some("notlocalhost"), false),
            (Some("[::1]rebound.example"), false),
            (Some("[::1"), false),
            (Some(""), false),
            (None, false),
        ] {
            assert_eq!(admits(host, &named), admitted, "{host:?}");
        }
    }
}
