//! The file of development keys: JSON, readable by its owner alone, replaced as a whole.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::envelope::Material;
use crate::hex;

const FORMAT: &str = "custody local KMS keys";
const VERSION: u32 = 1;
/// More than ten thousand keys; anything larger is not our file.
const LONGEST: u64 = 4 << 20;

/// Why the file of development keys can't be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LocalFileError {
    /// It could not be read or written.
    #[error("cannot {what} {path}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// Others may read it.
    #[error(
        "{path} has mode {mode:04o}: others can read the keys in it; run `chmod 600`, and make new keys if it was so for long"
    )]
    Mode {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// It is not such a file.
    #[error("{path} is not a file of development keys that this version reads: {reason}; restore it or move it away")]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong with it. Never its content.
        reason: String,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    format: String,
    version: u32,
    keys: Vec<Record>,
}

/// Key material in hex.
#[derive(Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
struct MaterialText(String);

/// One key as stored.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Record {
    arn: String,
    state: StoredState,
    created_at: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    deletion_at: Option<u64>,
    material: MaterialText,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum StoredState {
    Enabled,
    Disabled,
    PendingDeletion,
}

/// One key, checked.
pub(crate) struct StoredKey {
    pub(crate) arn: crate::arn::KeyArn,
    pub(crate) state: StoredState,
    /// Seconds since 1970.
    pub(crate) created_at: u64,
    /// Seconds since 1970; set exactly while the deletion is pending.
    pub(crate) deletion_at: Option<u64>,
    pub(crate) material: Material,
}

/// Reads the keys; a file that does not exist holds none.
pub(crate) fn read(path: &Path) -> Result<Vec<StoredKey>, LocalFileError> {
    let io = |what, source| LocalFileError::Io { what, path: path.to_owned(), source };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(io("open", error)),
    };
    let about = file.metadata().map_err(|error| io("look at", error))?;
    if about.mode() & 0o077 != 0 {
        return Err(LocalFileError::Mode { path: path.to_owned(), mode: about.mode() & 0o7777 });
    }
    let mut text =
        Zeroizing::new(Vec::with_capacity(usize::try_from(about.len().min(LONGEST)).unwrap_or_default() + 1));
    file.take(LONGEST + 1).read_to_end(&mut text).map_err(|error| io("read", error))?;
    parse(&text).map_err(|reason| LocalFileError::Format { path: path.to_owned(), reason })
}

pub(crate) fn parse(text: &[u8]) -> Result<Vec<StoredKey>, String> {
    if text.len() as u64 > LONGEST {
        return Err("it is too large".to_owned());
    }
    // Only where the JSON breaks is told: serde's own text can quote a value.
    let document: Document = serde_json::from_slice(text)
        .map_err(|error| format!("malformed at line {}, column {}", error.line(), error.column()))?;
    if document.format != FORMAT || document.version != VERSION {
        return Err(format!("its format is not {FORMAT:?}, version {VERSION}"));
    }
    document.keys.iter().map(check).collect()
}

fn check(record: &Record) -> Result<StoredKey, String> {
    let arn: crate::arn::KeyArn = record.arn.parse().map_err(|_| "a key's ARN does not parse".to_owned())?;
    if arn.partition() != crate::arn::Partition::Custody {
        return Err(format!("{arn} is no development key"));
    }
    if (record.state == StoredState::PendingDeletion) != record.deletion_at.is_some() {
        return Err(format!("state and deletion date of {arn} contradict each other"));
    }
    let bytes = Zeroizing::new(hex::decode(&record.material.0).unwrap_or_default());
    let mut material = Material::new([0; 32]);
    if bytes.len() != material.len() {
        return Err(format!("the material of {arn} is not 32 bytes in hex"));
    }
    material.copy_from_slice(&bytes);
    let &Record { state, created_at, deletion_at, .. } = record;
    Ok(StoredKey { arn, state, created_at, deletion_at, material })
}

/// Replaces the file: written beside it with mode 0600, synced, renamed over it, the directory synced. A crash leaves
/// the old file or the new one.
pub(crate) fn write(path: &Path, keys: &[StoredKey]) -> Result<(), LocalFileError> {
    let io = |what, source| LocalFileError::Io { what, path: path.to_owned(), source };
    let text = text(keys).map_err(|error| io("write", error.into()))?;
    let beside = beside(path, "new");
    replace(path, &beside, &text).map_err(|error| {
        // What is left of a failed write holds keys. If it can't be removed either, the next write replaces it.
        let _ = fs::remove_file(&beside);
        io("replace", error)
    })
}

/// What stands in the file of these keys.
pub(crate) fn text(keys: &[StoredKey]) -> serde_json::Result<Zeroizing<Vec<u8>>> {
    let records = keys.iter().map(|key| Record {
        arn: key.arn.to_string(),
        state: key.state,
        created_at: key.created_at,
        deletion_at: key.deletion_at,
        material: MaterialText(hex::encode(key.material.as_slice())),
    });
    let document = Document { format: FORMAT.to_owned(), version: VERSION, keys: records.collect() };
    let mut text = Zeroizing::new(Vec::with_capacity(512 * (keys.len() + 1)));
    serde_json::to_writer_pretty(&mut *text, &document)?;
    text.push(b'\n');
    Ok(text)
}

fn replace(path: &Path, beside: &Path, text: &[u8]) -> io::Result<()> {
    match fs::remove_file(beside) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(beside)?;
    file.write_all(text)?;
    file.sync_all()?;
    fs::rename(beside, path)?;
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(directory)?.sync_all()
}

/// Takes the lock of whoever changes the file; it holds until the returned file is dropped.
pub(crate) fn lock(path: &Path) -> Result<File, LocalFileError> {
    let lock = beside(path, "lock");
    let io = |source| LocalFileError::Io { what: "lock", path: lock.clone(), source };
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&lock).map_err(io)?;
    file.lock().map_err(io)?;
    Ok(file)
}

/// `NAME.SUFFIX` in the same directory.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".");
    name.push(suffix);
    path.with_file_name(name)
}
