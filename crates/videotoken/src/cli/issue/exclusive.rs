//! The lock on the files, and the check that they can be written. Both come before a token is requested.

use super::store::{Store, make, named, replace, replaceable, replaced_in, sibling};
use secrecy::SecretString;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Time between two attempts to lock a file.
const RETRY_INTERVAL: Duration = Duration::from_millis(50);

/// Bytes that are written to check the free space. Most Secrets are smaller.
const REQUIRED_SPACE: usize = 64 * 1024;

/// Lock on the files. No other run writes them until it is dropped.
pub(super) struct Exclusive {
    /// Locked until they are closed.
    _files: Vec<File>,
}

impl Store {
    /// Waits until no other run writes these files, at most for `within`, and checks that they can be written. The error
    /// names the file.
    pub(super) async fn exclusive(&self, within: Duration) -> io::Result<Exclusive> {
        let end = Instant::now() + within;
        if let Some(file) = self.file.as_ref().filter(|file| file.exists() && !file.is_file()) {
            // a device would be replaced by a file
            return Err(named(
                file,
                &io::Error::new(io::ErrorKind::InvalidInput, "it is not a file. Name a file in a directory."),
            ));
        }
        if let Some(folder) = &self.folder {
            make(folder).map_err(|error| named(folder, &error))?;
        }
        let mut files = Vec::new();
        for path in self.locks() {
            let options = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
            let file = options.map_err(|error| named(&path, &error))?;
            while let Err(refused) = file.try_lock() {
                match refused {
                    TryLockError::WouldBlock if Instant::now() < end => sleep(RETRY_INTERVAL).await,
                    TryLockError::WouldBlock => {
                        let message = format!("another run has locked it for {} s", within.as_secs_f32());
                        return Err(named(&path, &io::Error::new(io::ErrorKind::WouldBlock, message)));
                    }
                    // the file system has no locks
                    TryLockError::Error(error) if error.kind() == io::ErrorKind::Unsupported => break,
                    TryLockError::Error(error) => return Err(named(&path, &error)),
                }
            }
            files.push(file);
        }
        self.try_write()?;
        Ok(Exclusive { _files: files })
    }

    /// Returns the lock files, always in this order, so that two runs never wait for each other.
    fn locks(&self) -> Vec<PathBuf> {
        let folder = self.folder.iter().map(|folder| folder.join("..lock"));
        folder.chain(self.file.iter().map(|file| sibling(file, "lock"))).collect()
    }

    fn try_write(&self) -> io::Result<()> {
        let replaced = self.folder.iter().flat_map(|folder| replaced_in(folder)).chain(self.file.clone());
        for path in replaced {
            replaceable(&path).map_err(|error| named(&path, &error))?;
        }
        let tried = self.folder.iter().map(|folder| folder.join("..try"));
        let mut tried = tried.chain(self.file.iter().map(|file| sibling(file, "try")));
        tried.try_for_each(|path| tried_at(&path).map_err(|error| named(&path, &error)))
    }
}

fn tried_at(path: &Path) -> io::Result<()> {
    let written = replace(path, &SecretString::from("\n".repeat(REQUIRED_SPACE)));
    super::store::remove(path).and(written)
}
