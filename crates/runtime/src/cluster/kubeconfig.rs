//! Which kubeconfig, and which of its contexts.

use super::Unusable;
use http::HeaderValue;
use kube::Config;
use kube::config::{AuthInfo, KubeConfigOptions, Kubeconfig, KubeconfigError};
use secrecy::{ExposeSecret as _, SecretString};
use std::collections::HashMap;
use std::path::PathBuf;

/// Which API server is meant.
#[derive(Clone, Debug, Default)]
pub struct Place {
    /// The kubeconfig; none: `$KUBECONFIG`, else `~/.kube/config`, else the Pod's own login.
    pub kubeconfig: Option<PathBuf>,
    /// One of its contexts; none: the current one.
    pub context: Option<String>,
}

/// What a kubeconfig, or a Pod, says of an API server.
pub(super) struct Chosen {
    pub(super) config: Config,
    /// `proxy-url` of the cluster.
    pub(super) proxy_url: Option<String>,
    /// The Pod's own login.
    pub(super) in_cluster: bool,
}

const WAY_OUT: &str = "name one by --kubeconfig or $KUBECONFIG, and its context by --context";

/// A URL that keeps kube from reading `HTTPS_PROXY`, and is taken off again.
const NO_PROXY_READ: &str = "http://unused.invalid";

/// Reads the file, or the files that `$KUBECONFIG` names. As with kubectl those that aren't there are left out, if one
/// is.
pub(super) fn choose(place: &Place) -> Result<Chosen, Unusable> {
    let (files, named_by) = match &place.kubeconfig {
        Some(file) => (vec![file.clone()], "--kubeconfig"),
        None => match from_environment() {
            files if !files.is_empty() => (files, "$KUBECONFIG"),
            _ => (default_file().into_iter().collect(), ""),
        },
    };
    let there: Vec<_> = files.iter().filter(|file| file.exists()).collect();
    let unusable = |why: String| Unusable(format!("the kubeconfig can't be used: {why}; {WAY_OUT}"));
    let absent = || {
        let names: Vec<_> = files.iter().map(|file| file.display().to_string()).collect();
        match named_by {
            "" => format!("there is none: neither {} nor the login of a Pod", names.join(", ")),
            by => format!("{by} names {}, which isn't there", names.join(", ")),
        }
    };
    let asked_for = place.kubeconfig.is_some() || place.context.is_some();
    if there.is_empty() {
        return match in_cluster().filter(|_| !asked_for) {
            Some(chosen) => Ok(chosen),
            None => Err(unusable(absent())),
        };
    }
    let mut merged = Kubeconfig::default();
    for file in there {
        let read = Kubeconfig::read_from(file).and_then(|next| std::mem::take(&mut merged).merge(next));
        merged = read.map_err(|error| unusable(format!("{}: {}", file.display(), told(&error))))?;
    }
    match of(merged, place.context.as_ref()) {
        Ok(chosen) => Ok(chosen),
        Err(KubeconfigError::CurrentContextNotSet) if !asked_for => match in_cluster() {
            Some(chosen) => Ok(chosen),
            None => Err(unusable(KubeconfigError::CurrentContextNotSet.to_string())),
        },
        Err(error) => Err(unusable(told(&error))),
    }
}

fn from_environment() -> Vec<PathBuf> {
    let named = std::env::var_os("KUBECONFIG").unwrap_or_default();
    std::env::split_paths(&named).filter(|path| !path.as_os_str().is_empty()).collect()
}

fn default_file() -> Option<PathBuf> {
    std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".kube/config"))
}

fn in_cluster() -> Option<Chosen> {
    let mut config = Config::incluster().ok()?;
    config.apply_debug_overrides();
    Some(Chosen { config, proxy_url: None, in_cluster: true })
}

/// Without the lines of the file that the YAML reader would show: they may hold a token or a key.
fn told(error: &KubeconfigError) -> String {
    let text = error.to_string();
    if !matches!(error, KubeconfigError::Parse(_)) {
        return text;
    }
    let number_after =
        |word: &str| text.split_once(word)?.1.split_whitespace().next()?.trim_end_matches(':').parse().ok();
    match (number_after(" line "), number_after(" column ")) {
        (Some::<usize>(line), Some::<usize>(column)) => format!("no kubeconfig: line {line}, column {column}"),
        _ => "no kubeconfig".to_owned(),
    }
}

/// Takes a line end off a token, as `kubectl create token` writes one behind it, and leaves an empty one out. A file that
/// ends with one is read now: kube would send the line end.
fn tidy(user: &mut AuthInfo) {
    let trimmed = |token: &str| Some(token.trim()).filter(|token| !token.is_empty()).map(SecretString::from);
    user.token = user.token.take().and_then(|token| trimmed(token.expose_secret()));
    let read = user.token_file.as_ref().and_then(|file| std::fs::read_to_string(file).ok());
    if let Some(text) = read.filter(|text| text.trim().len() < text.len() && user.token.is_none()) {
        (user.token, user.token_file) = (trimmed(&text), None);
    }
}

/// What one context says. kube's future is ready at once.
fn of(mut file: Kubeconfig, context: Option<&String>) -> Result<Chosen, KubeconfigError> {
    let name = context.or(file.current_context.as_ref()).cloned().unwrap_or_default();
    let cluster = file.contexts.iter().find(|named| named.name == name).and_then(|named| named.context.as_ref());
    let cluster = cluster.map(|context| context.cluster.clone()).unwrap_or_default();
    let mut proxies = HashMap::new();
    for named in &mut file.clusters {
        if let Some(cluster) = &mut named.cluster {
            if let Some(server) = cluster.server.as_mut().filter(|server| !server.contains("://")) {
                // as kubectl takes it
                *server = format!("http://{server}");
            }
            let proxy = cluster.proxy_url.replace(NO_PROXY_READ.to_owned());
            proxies.entry(named.name.clone()).or_insert(proxy);
        }
    }
    let proxy_url = proxies.remove(&cluster).flatten().filter(|url| !url.is_empty());
    let options = KubeConfigOptions { context: Some(name).filter(|name| !name.is_empty()), ..Default::default() };
    let reading = std::pin::pin!(Config::from_custom_kubeconfig(file, &options));
    let mut config = futures::FutureExt::now_or_never(reading).unwrap_or(Err(KubeconfigError::FindPath))?;
    config.apply_debug_overrides();
    tidy(&mut config.auth_info);
    let is_header = |token: &SecretString| HeaderValue::try_from(token.expose_secret()).is_ok();
    if config.auth_info.token.as_ref().is_some_and(|token| !is_header(token)) {
        let message = "the user's token has characters that a header can't carry, such as a line end inside";
        return Err(KubeconfigError::ReadConfig(std::io::Error::other(message), PathBuf::from("users")));
    }
    if let Some(cluster) = config.auth_info.exec.as_mut().and_then(|exec| exec.cluster.as_mut()) {
        cluster.proxy_url.clone_from(&proxy_url);
    }
    if config.default_namespace.is_empty() {
        "default".clone_into(&mut config.default_namespace);
    }
    Ok(Chosen { config, proxy_url, in_cluster: false })
}
