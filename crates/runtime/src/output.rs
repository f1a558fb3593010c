//! What a program prints, and how it says why it ends.

use std::io::Write as _;

/// What ends a command early; its text is for the person who ran it.
pub type Failure = Box<dyn std::error::Error>;

/// Writes `text` to stdout, whole and at once. A reader that has enough, as `head` does, is no failure.
pub fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(format!("the output can't be written: {error}").into())
        }
        _ => Ok(()),
    }
}

/// Reports why the process ends: in its log if there is one, else on stderr.
pub fn report(error: &str) {
    if tracing::dispatcher::has_been_set() {
        tracing::error!("{error}");
    } else {
        // nobody is left to be told if this fails
        let _ = writeln!(std::io::stderr(), "error: {error}");
    }
}
