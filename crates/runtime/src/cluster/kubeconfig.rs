//! The kubeconfig and its context.

use super::Unusable;
use http::HeaderValue;
use kube::Config;
use kube::config::{AuthInfo, KubeConfigOptions, Kubeconfig, KubeconfigError};
use secrecy::{ExposeSecret as _, SecretString};
use std::collections::HashMap;
use std::path::PathBuf;

/// Selection of the API server.
#[derive(Clone, Debug, Default)]
pub struct ClusterSelection {
    /// Kubeconfig; default: `$KUBECONFIG`, else `~/.kube/config`, else the ServiceAccount of the Pod.
    pub kubeconfig: Option<PathBuf>,
    /// Context; default: the current one.
    pub context: Option<String>,
}

/// Configuration from a kubeconfig or from a Pod.
pub(super) struct Selected {
    pub(super) config: Config,
    /// `proxy-url` of the cluster.
    pub(super) proxy_url: Option<String>,
    /// The configuration is that of the Pod.
    pub(super) in_cluster: bool,
}

const ACTION: &str = "Select a kubeconfig with --kubeconfig or $KUBECONFIG, and its context with --context.";

/// URL that prevents kube from reading `HTTPS_PROXY`. It is removed afterwards.
const NO_PROXY_READ: &str = "http://unused.invalid";

/// Reads the file, or the files of `$KUBECONFIG`. As in kubectl, missing files are skipped if at least one exists.
pub(super) fn select(selection: &ClusterSelection) -> Result<Selected, Unusable> {
    let (files, named_by) = match &selection.kubeconfig {
        Some(file) => (vec![file.clone()], "--kubeconfig"),
        None => match from_environment() {
            files if !files.is_empty() => (files, "$KUBECONFIG"),
            _ => (default_file().into_iter().collect(), ""),
        },
    };
    let there: Vec<_> = files.iter().filter(|file| file.exists()).collect();
    let unusable = |why: String| Unusable(format!("the kubeconfig can't be used: {why}. {ACTION}"));
    let absent = || {
        let names: Vec<_> = files.iter().map(|file| file.display().to_string()).collect();
        match named_by {
            "" => format!("there is neither {} nor the ServiceAccount of a Pod", names.join(", ")),
            by => format!("{by} names {}, which does not exist", names.join(", ")),
        }
    };
    let is_selected = selection.kubeconfig.is_some() || selection.context.is_some();
    if there.is_empty() {
        return match in_cluster().filter(|_| !is_selected) {
            Some(selected) => Ok(selected),
            None => Err(unusable(absent())),
        };
    }
    let mut merged = Kubeconfig::default();
    for file in there {
        let read = Kubeconfig::read_from(file).and_then(|next| std::mem::take(&mut merged).merge(next));
        merged = read.map_err(|error| unusable(format!("{}: {}", file.display(), safe_message(&error))))?;
    }
    match from_context(merged, selection.context.as_ref()) {
        Ok(selected) => Ok(selected),
        Err(KubeconfigError::CurrentContextNotSet) if !is_selected => match in_cluster() {
            Some(selected) => Ok(selected),
            None => Err(unusable(KubeconfigError::CurrentContextNotSet.to_string())),
        },
        Err(error) => Err(unusable(safe_message(&error))),
    }
}

fn from_environment() -> Vec<PathBuf> {
    let named = std::env::var_os("KUBECONFIG").unwrap_or_default();
    std::env::split_paths(&named).filter(|path| !path.as_os_str().is_empty()).collect()
}

fn default_file() -> Option<PathBuf> {
    std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".kube/config"))
}

fn in_cluster() -> Option<Selected> {
    let mut config = Config::incluster().ok()?;
    config.apply_debug_overrides();
    Some(Selected { config, proxy_url: None, in_cluster: true })
}

/// Returns the message of an error, without the lines of the file that the YAML reader quotes: they may contain a secret.
fn safe_message(error: &KubeconfigError) -> String {
    let text = error.to_string();
    if !matches!(error, KubeconfigError::Parse(_)) {
        return text;
    }
    let number_after =
        |word: &str| text.split_once(word)?.1.split_whitespace().next()?.trim_end_matches(':').parse().ok();
    match (number_after(" line "), number_after(" column ")) {
        (Some::<usize>(line), Some::<usize>(column)) => format!("not a kubeconfig: line {line}, column {column}"),
        _ => "not a kubeconfig".to_owned(),
    }
}

/// Removes the trailing line break of a token, as `kubectl create token` writes it, and empty tokens. A token file with a
/// line break is read here, because kube would send the line break.
fn trim_token(user: &mut AuthInfo) {
    let trimmed = |token: &str| Some(token.trim()).filter(|token| !token.is_empty()).map(SecretString::from);
    user.token = user.token.take().and_then(|token| trimmed(token.expose_secret()));
    let read = user.token_file.as_ref().and_then(|file| std::fs::read_to_string(file).ok());
    if let Some(text) = read.filter(|text| text.trim().len() < text.len() && user.token.is_none()) {
        (user.token, user.token_file) = (trimmed(&text), None);
    }
}

/// Returns the configuration of a context. The future of kube is ready at once.
fn from_context(mut file: Kubeconfig, context: Option<&String>) -> Result<Selected, KubeconfigError> {
    let name = context.or(file.current_context.as_ref()).cloned().unwrap_or_default();
    let cluster = file.contexts.iter().find(|named| named.name == name).and_then(|named| named.context.as_ref());
    let cluster = cluster.map(|context| context.cluster.clone()).unwrap_or_default();
    let mut proxies = HashMap::new();
    for named in &mut file.clusters {
        if let Some(cluster) = &mut named.cluster {
            if let Some(server) = cluster.server.as_mut().filter(|server| !server.contains("://")) {
                // as in kubectl
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
    trim_token(&mut config.auth_info);
    let is_header = |token: &SecretString| HeaderValue::try_from(token.expose_secret()).is_ok();
    if config.auth_info.token.as_ref().is_some_and(|token| !is_header(token)) {
        let message = "the token of the user has characters that a header can't contain, such as a line break";
        return Err(KubeconfigError::ReadConfig(std::io::Error::other(message), PathBuf::from("users")));
    }
    if let Some(cluster) = config.auth_info.exec.as_mut().and_then(|exec| exec.cluster.as_mut()) {
        cluster.proxy_url.clone_from(&proxy_url);
    }
    if config.default_namespace.is_empty() {
        "default".clone_into(&mut config.default_namespace);
    }
    Ok(Selected { config, proxy_url, in_cluster: false })
}
