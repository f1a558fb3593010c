//! By which names the page may be asked for.
//!
//! A page of another site can make the browser that shows it ask here, under that site's own name, once that name
//! resolves to this address (DNS rebinding); the answer would then be that site's to read. The name that the browser
//! went by is in the request's Host. So the page answers only by names that no stranger can have resolve here.

use std::net::IpAddr;

/// May the page be read by whoever asks for it under this `Host`? `named` are further names, in lower case.
pub(super) fn admits(host: Option<&str>, named: &[String]) -> bool {
    let Some(name) = host.and_then(name) else { return false };
    name.parse::<IpAddr>().is_ok()
        || name == "localhost"
        // Service names: there is no top-level domain of that name, and cluster.local is none either
        || name.rsplit_once('.').is_some_and(|(_, last)| last == "svc")
        || name.ends_with(".svc.cluster.local")
        || named.contains(&name)
}

/// The name or address of a `Host`, without its port, in lower case, as no resolver minds a dot at its end.
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
