//! Signals that end a process.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Resolves at SIGTERM or SIGINT. After this call neither signal ends the process by itself, even before the future is
/// awaited.
pub fn wait_for_stop() -> impl Future<Output = bool> {
    let signals = [SignalKind::terminate(), SignalKind::interrupt()].map(|kind| signal(kind).ok());
    async move {
        let [terminate, interrupt] = signals.map(received);
        tokio::select! {
            () = terminate => {}
            () = interrupt => {}
        }
        true
    }
}

/// Waits for a signal. Without a handler the signal ends the process by default.
async fn received(signal: Option<Signal>) {
    match signal {
        Some(mut signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}
