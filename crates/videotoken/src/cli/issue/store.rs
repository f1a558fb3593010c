//! The files that hold the token: a file for each key of the Secret, or the Secret as one. Each is replaced as a whole,
//! and only its owner can read it.

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

/// What stands beside the keys: the Secret without what it holds. No key can have this name.
const RECORD: &str = "..secret";

/// Where the token is kept.
#[derive(Clone, Debug)]
pub(super) struct Store {
    /// A file for each key.
    pub(super) folder: Option<PathBuf>,
    /// The whole Secret as YAML.
    pub(super) file: Option<PathBuf>,
}

impl Store {
    /// Writes all files; those of keys that the Secret has no longer are removed. The error names the file.
    pub(super) fn write(&self, shape: &DesiredSecret) -> io::Result<()> {
        if let Some(folder) = &self.folder {
            write_folder(folder, shape)?;
        }
        if let Some(file) = &self.file {
            let manifest = shape.manifest(WritePrecondition::None);
            let yaml: SecretString = serde_yaml_ng::to_string(&manifest).map_err(io::Error::other)?.into();
            replace(file, &yaml).map_err(|error| named(file, &error))?;
        }
        Ok(())
    }

    /// What says that a token was written and the command for it hasn't succeeded yet: also after a crash.
    fn mark(&self) -> Option<PathBuf> {
        match (&self.folder, &self.file) {
            (Some(folder), _) => Some(folder.join("..pending")),
            (None, Some(file)) => Some(beside(file, "pending")),
            (None, None) => None,
        }
    }

    /// The command is to run for what is written next.
    pub(super) fn set_pending(&self) -> io::Result<()> {
        if let Some(folder) = &self.folder {
            make(folder).map_err(|error| named(folder, &error))?;
        }
        let Some(mark) = self.mark() else { return Ok(()) };
        replace(&mark, &String::new().into()).map_err(|error| named(&mark, &error))
    }

    /// The command has succeeded.
    pub(super) fn clear_pending(&self) -> io::Result<()> {
        self.mark().map_or(Ok(()), |mark| remove(&mark).map_err(|error| named(&mark, &error)))
    }

    /// The command is still to run for the token in the files.
    pub(super) fn is_pending(&self) -> bool {
        self.mark().is_some_and(|mark| mark.exists())
    }

    /// The token that an earlier run left in all files, if nobody changed them.
    pub(super) fn held(&self, subject: SecretTarget<'_>) -> Option<TokenRecord> {
        let folder = self.folder.as_deref().map(read_folder);
        let file = self.file.as_deref().map(read_whole);
        let mut held: Option<TokenRecord> = None;
        for secret in [folder, file].into_iter().flatten() {
            let secret = secret?;
            let facts = secret_facts(&secret.metadata);
            let SecretIntegrity::Intact(material) = inspect(&secret, &facts, subject) else { return None };
            let same = held.as_ref().is_none_or(|held| held.token.expose_secret() == material.token.expose_secret());
            held = Some(material).filter(|_| same);
            held.as_ref()?;
        }
        held
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

/// A name beside the file's that no key of a Secret can have.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!("..{name}.{suffix}"))
}

/// Removes a file, if it is there.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Whether the file that stands at a path can be replaced. What can't is told before a token is asked for.
///
/// # Errors
/// It is a folder, a mount of its own, or immutable.
pub(super) fn replaceable(path: &Path) -> io::Result<()> {
    const EPERM: i32 = 1;
    let Ok(metadata) = fs::symlink_metadata(path) else { return Ok(()) };
    if metadata.is_dir() {
        return Err(io::Error::new(io::ErrorKind::IsADirectory, "is a folder, where a file is to be: remove it"));
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let absolute = path.canonicalize().unwrap_or_default();
    if mounts.lines().filter_map(|line| line.split(' ').nth(4)).any(|mounted| Path::new(mounted) == absolute) {
        let message = "is a mount of its own, which can't be replaced: mount its folder, and name the file in it";
        return Err(io::Error::new(io::ErrorKind::ResourceBusy, message));
    }
    match OpenOptions::new().append(true).open(path) {
        // one that merely isn't writable can be replaced all the same
        Err(error) if metadata.is_file() && error.raw_os_error() == Some(EPERM) => Err(error),
        _ => Ok(()),
    }
}

/// The files of a folder that the next token replaces, as far as an earlier one tells.
pub(super) fn replaced_in(folder: &Path) -> Vec<PathBuf> {
    let keys = read_record(folder).and_then(|record| keys(&record)).unwrap_or_default();
    keys.iter().map(|key| folder.join(key)).chain([folder.join(RECORD)]).collect()
}

/// Writes beside the file and renames: who reads sees the old one or the new one, whole.
pub(super) fn replace(path: &Path, content: &SecretString) -> io::Result<()> {
    let beside = beside(path, "new");
    remove(&beside)?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
    let written = file.write_all(content.expose_secret().as_bytes()).and_then(|()| file.sync_all());
    let placed = written.and_then(|()| fs::rename(&beside, path));
    // on a full disk what was begun would take the room that is left
    if placed.is_err() { remove(&beside).and(placed) } else { placed }
}

fn read_record(folder: &Path) -> Option<Value> {
    serde_json::from_slice(&fs::read(folder.join(RECORD)).ok()?).ok()
}

/// The keys of a record that are names of files.
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
    // a device may have no end
    if !file.is_file() {
        return None;
    }
    serde_yaml_ng::from_slice(&fs::read(file).ok()?).ok()
}
