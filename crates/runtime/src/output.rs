//! Standard output, and the report of a failure.

use std::io::Write as _;

/// Failure of a command, with a message for its user.
pub type Failure = Box<dyn std::error::Error>;

/// Writes `text` to standard output at once. A closed pipe is no failure: a reader such as `head` needs no more.
pub fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(format!("the output can't be written: {error}").into())
        }
        _ => Ok(()),
    }
}

/// Reports why the process ends, in the log if it is set up, else on standard error.
pub fn report(error: &str) {
    if tracing::dispatcher::has_been_set() {
        tracing::error!("{error}");
    } else {
        // a failure to print can't be reported
        let _ = writeln!(std::io::stderr(), "error: {error}");
    }
}
