//! Log lines and their filter.
//!
//! Lines are written to standard error as JSON or text, filtered by `RUST_LOG`. Other crates never log below info, because
//! h2, hyper, rustls and the HTTP clients then print headers and bodies with tokens. The part of the Kubernetes client that
//! logs a response that it can't parse is limited to error. [`log_panics`] logs panics without data.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic::PanicHookInfo;
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::filter::{EnvFilter, FilterExt, ParseError, filter_fn};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::Registry;

/// Crates of this workspace, which never log bodies. Only they may log below info.
const OWN_CRATES: [&str; 6] = [
    "video_token_operator",
    "videotoken",
    "videotoken_api",
    "videotoken_core",
    "videotoken_providers",
    "videotoken_runtime",
];

/// Environment variable with the filter, in the directives of `tracing`.
const FILTER: &str = "RUST_LOG";

/// Why logging can't start.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter is invalid.
    #[error("{FILTER}: {0}. Write it like info or info,video_token_operator=debug.")]
    Filter(#[from] ParseError),
    /// Logging was started twice.
    #[error("logging is already set up: {0}")]
    Twice(#[from] tracing::subscriber::SetGlobalDefaultError),
}

/// Starts logging to standard error for the whole process, including panics.
pub fn init(json: bool) -> Result<(), TelemetryError> {
    let filter = std::env::var(FILTER).unwrap_or_default();
    tracing::subscriber::set_global_default(subscriber(json, &filter, std::io::stderr)?)?;
    std::panic::set_hook(Box::new(log_panics));
    Ok(())
}

/// Returns the subscriber that [`init`] installs, for any writer. An empty `filter` means `info`.
pub fn subscriber<W>(json: bool, filter: &str, writer: W) -> Result<impl Subscriber + Send + Sync, ParseError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let filter = EnvFilter::builder().with_default_directive(Level::INFO.into()).parse(filter)?;
    let lines = tracing_subscriber::fmt::layer().with_writer(writer);
    let lines: Box<dyn Layer<Registry> + Send + Sync> = if json {
        lines.json().flatten_event(true).with_span_list(false).boxed()
    } else {
        lines.with_ansi(false).boxed()
    };
    Ok(Registry::default().with(lines.with_filter(filter.and(filter_fn(is_level_allowed)))))
}

/// Returns true if the crate of a line may log at its level, whatever the filter is.
fn is_level_allowed(metadata: &Metadata<'_>) -> bool {
    let target = metadata.target();
    let most = if OWN_CRATES.into_iter().any(|own| within(target, own)) {
        Level::TRACE
    } else if within(target, "kube_client::client") {
        Level::ERROR
    } else if ["typespec_client_core", "azure_core", "azure_identity"].into_iter().any(|own| within(target, own)) {
        // they log each failed call at info, which this program logs as a warning
        Level::WARN
    } else {
        Level::INFO
    };
    *metadata.level() <= most
}

fn within(target: &str, module: &str) -> bool {
    target.strip_prefix(module).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// Logs the location of a panic, and its message if it is a `&'static str`. Any other message was formatted at run time,
/// as `unwrap` does with its error, and may contain a token.
fn log_panics(panic: &PanicHookInfo<'_>) {
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    let words =
        panic.payload().downcast_ref::<&'static str>().copied().unwrap_or("withheld because it may contain data");
    let backtrace = Backtrace::capture();
    if backtrace.status() == BacktraceStatus::Captured {
        tracing::error!(place, %backtrace, "panic: {words}");
    } else {
        tracing::error!(place, "panic: {words}");
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl Lines {
        fn capture(json: bool, filter: &str, log: impl FnOnce()) -> String {
            let lines = Self::default();
            let writer = lines.clone();
            let subscriber = subscriber(json, filter, move || writer.clone()).unwrap();
            tracing::subscriber::with_default(subscriber, log);
            String::from_utf8(lines.0.lock().unwrap().clone()).unwrap()
        }
    }

    macro_rules! at_every_level {
        ($($target:literal),*) => {$(
            tracing::trace!(target: $target, "TRACE of {}", $target);
            tracing::debug!(target: $target, "DEBUG of {}", $target);
            tracing::info!(target: $target, "INFO of {}", $target);
            tracing::warn!(target: $target, "WARN of {}", $target);
            tracing::error!(target: $target, "ERROR of {}", $target);
            let _span = tracing::debug_span!(target: $target, "inner", body = "a body").entered();
            tracing::info!(target: $target, "INFO within a span of {}", $target);
        )*};
    }

    #[test]
    fn p11_no_filter_opens_the_crates_that_see_bodies() {
        for filter in
            ["trace", "h2=trace,hyper=trace,rustls=trace,reqwest=trace,tower=trace,kube_client=trace,azure_core=trace"]
        {
            for json in [false, true] {
                let lines = Lines::capture(json, filter, || {
                    at_every_level!("h2", "h2::codec", "hyper", "hyper::proto", "hyper_util", "hyper_rustls");
                    at_every_level!("rustls", "reqwest", "tower", "tower_http::trace", "kube_client::client");
                    at_every_level!("kube_client::client::builder", "azure_core", "kube_runtime::watcher");
                });
                assert!(lines.contains("INFO of hyper"), "{lines}");
                assert!(lines.contains("ERROR of kube_client::client"), "{lines}");
                assert!(lines.contains("WARN of azure_core"), "{lines}");
                for never in ["INFO of azure_core", "TRACE of", "DEBUG of", "a body", "WARN of kube_client::client"] {
                    assert!(!lines.contains(never), "{filter:?} opens {never:?}: {lines}");
                }
            }
        }
    }

    #[test]
    fn lines_of_this_workspace_are_filtered_and_default_to_info() {
        for (filter, debug, info) in [
            ("", false, true),
            ("debug", true, true),
            ("warn", false, false),
            ("off,videotoken_runtime=debug", true, true),
        ] {
            let lines = Lines::capture(true, filter, || {
                tracing::debug!("a DEBUG line");
                tracing::info!("an INFO line");
            });
            assert_eq!((lines.contains("DEBUG line"), lines.contains("INFO line")), (debug, info), "{filter:?}");
        }
    }

    #[test]
    fn json_lines_are_objects_with_the_fields_at_the_top() {
        let line = Lines::capture(true, "", || {
            let _span = tracing::info_span!("reconcile", object = "a/b").entered();
            tracing::info!(expires = "soon", "issued");
        });
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(
            (&line["message"], &line["expires"], &line["level"]),
            (&"issued".into(), &"soon".into(), &"INFO".into())
        );
        assert_eq!(line["span"]["object"], "a/b");
        assert!(line["timestamp"].as_str().unwrap().ends_with('Z'));
    }

    #[test]
    fn a_wrong_filter_is_refused_by_the_name_of_its_variable() {
        let error = subscriber(true, "info,=,x=loud", std::io::sink).err().expect("refused");
        assert!(TelemetryError::from(error).to_string().starts_with("RUST_LOG: "));
    }

    #[derive(Debug)]
    struct Token;

    impl std::str::FromStr for Token {
        type Err = String;

        fn from_str(text: &str) -> Result<Self, String> {
            Err(format!("{text} is no token"))
        }
    }

    #[test]
    fn p11_a_panic_is_logged_without_what_was_put_together_at_run_time() {
        let token = String::from("eyJhbGciOi");
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(log_panics));
        let lines = Lines::capture(true, "", || {
            let _ = std::panic::catch_unwind(|| panic!("no such state"));
            let _ = std::panic::catch_unwind(|| panic!("refused {token}"));
            let _ = std::panic::catch_unwind(|| token.parse::<Token>().unwrap());
        });
        std::panic::set_hook(previous);
        let lines: Vec<_> = lines.lines().collect();
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert!(lines[0].contains("no such state") && lines[0].contains("logs.rs"), "{}", lines[0]);
        for line in &lines[1..] {
            assert!(!line.contains(&token) && line.contains("withheld") && line.contains("logs.rs"), "{line}");
        }
    }
}
