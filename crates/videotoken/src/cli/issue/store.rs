//! The files that contain the token: one for each key of the Secret, or one with the whole Secret. Each file is replaced
//! as a whole, and only its owner can read it.

use crate::manifest::{read, read_files};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use videotoken_core::plan::facts::secret_facts;
use videotoken_core::plan::secret::{
    DesiredSecret, SecretIntegrity, SecretTarget, TokenRecord, WritePrecondition, inspect,
};
use videotoken_runtime::yaml;

/// Name of the file with the metadata of the Secret. No key can have this name.
const RECORD: &str = "..secret";

/// Files that contain the token.
#[derive(Clone, Debug)]
pub(super) struct Store {
    /// Directory with one file for each key.
    pub(super) folder: Option<PathBuf>,
    /// File with the whole Secret as YAML.
    pub(super) file: Option<PathBuf>,
}

impl Store {
    /// Writes all files, and removes those of keys that the Secret no longer has. The error names the file.
    pub(super) fn write(&self, shape: &DesiredSecret) -> io::Result<()> {
        if let Some(folder) = &self.folder {
            write_folder(folder, shape)?;
        }
        if let Some(file) = &self.file {
            let manifest = shape.manifest(WritePrecondition::None);
            let yaml: SecretString = yaml::to_string(&manifest).map_err(io::Error::other)?.into();
            replace(file, &yaml).map_err(|error| named(file, &error))?;
        }
        Ok(())
    }

    /// Returns the file that exists, also after a crash, until the command for the last written token has succeeded.
    fn pending_marker(&self) -> Option<PathBuf> {
        match (&self.folder, &self.file) {
            (Some(folder), _) => Some(folder.join("..pending")),
            (None, Some(file)) => Some(sibling(file, "pending")),
            (None, None) => None,
        }
    }

    /// Records that the command must run for the token that is written next.
    pub(super) fn set_pending(&self) -> io::Result<()> {
        if let Some(folder) = &self.folder {
            make(folder).map_err(|error| named(folder, &error))?;
        }
        let Some(marker) = self.pending_marker() else { return Ok(()) };
        replace(&marker, &String::new().into()).map_err(|error| named(&marker, &error))
    }

    /// Records that the command has succeeded.
    pub(super) fn clear_pending(&self) -> io::Result<()> {
        self.pending_marker().map_or(Ok(()), |marker| remove(&marker).map_err(|error| named(&marker, &error)))
    }

    /// Returns true if the command must still run for the token in the files.
    pub(super) fn is_pending(&self) -> bool {
        self.pending_marker().is_some_and(|marker| marker.exists())
    }

    /// Returns the token that an earlier run left in all files, if they are unmodified.
    pub(super) fn valid_token(&self, subject: SecretTarget<'_>) -> Option<TokenRecord> {
        let folder = self.folder.as_deref().map(read_folder);
        let file = self.file.as_deref().map(read_whole);
        let mut valid: Option<TokenRecord> = None;
        for secret in [folder, file].into_iter().flatten() {
            let secret = secret?;
            let facts = secret_facts(&secret.metadata);
            let SecretIntegrity::Intact(record) = inspect(&secret, &facts, subject) else { return None };
            let same = |valid: &TokenRecord| valid.token.expose_secret() == record.token.expose_secret();
            if !valid.as_ref().is_none_or(same) {
                return None;
            }
            valid = Some(record);
        }
        valid
    }
}

pub(super) fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

fn write_folder(folder: &Path, shape: &DesiredSecret) -> io::Result<()> {
    make(folder).map_err(|error| named(folder, &error))?;
    let before = read_record(folder).and_then(|record| keys(&record));
    for (key, value) in shape.data() {
        let path = folder.join(key);
        replace(&path, value).map_err(|error| named(&path, &error))?;
    }
    for key in before.into_iter().flatten().filter(|key| !shape.data().contains_key(key)) {
        remove(&folder.join(key))?;
    }
    let mut record = shape.manifest(WritePrecondition::None);
    if let Some(data) = record["data"].as_object_mut() {
        data.values_mut().for_each(|value| *value = "".into());
    }
    replace(&folder.join(RECORD), &record.to_string().into())
}

pub(super) fn make(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// Returns a path in the same directory with a name that no key of a Secret can have.
pub(super) fn sibling(path: &Path, suffix: &str) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!("..{name}.{suffix}"))
}

/// Removes a file, if it exists.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Checks that the file at a path can be replaced, before a token is requested.
///
/// # Errors
/// The path is a directory, a mount point, or immutable.
pub(super) fn replaceable(path: &Path) -> io::Result<()> {
    const EPERM: i32 = 1;
    let Ok(metadata) = fs::symlink_metadata(path) else { return Ok(()) };
    if metadata.is_dir() {
        return Err(io::Error::new(io::ErrorKind::IsADirectory, "is a directory, not a file. Remove it."));
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let absolute = path.canonicalize().unwrap_or_default();
    if mounts.lines().filter_map(|line| line.split(' ').nth(4)).any(|mounted| Path::new(mounted) == absolute) {
        let message = "is a mount point, which can't be replaced. Mount its directory instead.";
        return Err(io::Error::new(io::ErrorKind::ResourceBusy, message));
    }
    match OpenOptions::new().append(true).open(path) {
        // a file without write permission can be replaced
        Err(error) if metadata.is_file() && error.raw_os_error() == Some(EPERM) => Err(error),
        _ => Ok(()),
    }
}

/// Returns the files of a directory that the next token replaces.
pub(super) fn replaced_in(folder: &Path) -> Vec<PathBuf> {
    let keys = read_record(folder).and_then(|record| keys(&record)).unwrap_or_default();
    keys.iter().map(|key| folder.join(key)).chain([folder.join(RECORD)]).collect()
}

/// Writes a new file and renames it: readers see the old content or the new one, never a part.
pub(super) fn replace(path: &Path, content: &SecretString) -> io::Result<()> {
    let new = sibling(path, "new");
    remove(&new)?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    let written = file.write_all(content.expose_secret().as_bytes()).and_then(|()| file.sync_all());
    let placed = written.and_then(|()| fs::rename(&new, path));
    // an incomplete file would use the remaining space of a full disk
    if placed.is_err() { remove(&new).and(placed) } else { placed }
}

fn read_record(folder: &Path) -> Option<Value> {
    serde_json::from_slice(&fs::read(folder.join(RECORD)).ok()?).ok()
}

/// Returns the keys of a record that are file names.
fn keys(record: &Value) -> Option<Vec<String>> {
    let keys = record["data"].as_object()?.keys();
    Some(keys.filter(|key| !key.contains('/') && !key.starts_with("..") && *key != ".").cloned().collect())
}

fn read_folder(folder: &Path) -> Option<Secret> {
    let record = read_record(folder)?;
    let mut data = BTreeMap::new();
    for key in keys(&record)? {
        data.insert(key.clone(), ByteString(fs::read(folder.join(&key)).ok()?));
    }
    let mut secret: Secret = serde_json::from_value(record).ok()?;
    secret.data = Some(data);
    Some(secret)
}

fn read_whole(file: &Path) -> Option<Secret> {
    // a device may never end
    if !file.is_file() {
        return None;
    }
    let [object] = <[_; 1]>::try_from(read(&read_files(&[file.to_owned()]).ok()?.pop()?).objects).ok()?;
    serde_json::from_value(object.value).ok()
}
