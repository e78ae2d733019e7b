//! Managing development keys, as `custody kms` does.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::arn::KeyArn;
use crate::description::KeyState;
use crate::envelope;
use crate::hex;
use crate::local::file::{self, LocalFileError, StoredKey, StoredState};

/// Shortest and longest wait before a scheduled deletion, as AWS has them.
const WAIT_DAYS: std::ops::RangeInclusive<u32> = 7..=30;
const DAY: u64 = 24 * 60 * 60;

/// Why a development key can't be managed as asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LocalKeyError {
    /// The file of keys can't be used.
    #[error(transparent)]
    File(#[from] LocalFileError),
    /// There is no such key.
    #[error("no development key {0}; `custody kms list` shows those there are")]
    NotFound(KeyArn),
    /// The key's state does not allow it.
    #[error("{key} is {state}; {what}")]
    State {
        /// The key.
        key: KeyArn,
        /// Its state.
        state: KeyState,
        /// What to do instead.
        what: &'static str,
    },
    /// A wait that AWS would not accept either.
    #[error("a key can be deleted after 7 to 30 days, not {0}")]
    Wait(u32),
    /// No randomness to make a key of.
    #[error("the system gave no randomness for a new key")]
    Random,
}

/// One development key, without its material.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalKey {
    /// Its full ARN.
    pub arn: KeyArn,
    /// Its state.
    pub state: KeyState,
    /// When it was made.
    pub created_at: SystemTime,
    /// When it will be deleted, if that is scheduled.
    pub deletion_date: Option<SystemTime>,
}

/// The development keys in one file. Every change takes the file's lock and replaces the file as a whole.
#[derive(Debug, Clone)]
pub struct LocalKeys {
    path: PathBuf,
}

impl LocalKeys {
    /// The keys in the file at `path`; the first key made creates it.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes an enabled key.
    pub fn create(&self) -> Result<KeyArn, LocalKeyError> {
        self.change(|keys| {
            let arn = KeyArn::local(&new_id()?).map_err(|_| LocalKeyError::Random)?;
            let material = envelope::generate().map_err(|_| LocalKeyError::Random)?;
            let state = StoredState::Enabled;
            keys.push(StoredKey { arn: arn.clone(), state, created_at: now(), deletion_at: None, material });
            Ok(arn)
        })
    }

    /// All keys, oldest first.
    pub fn list(&self) -> Result<Vec<LocalKey>, LocalKeyError> {
        Ok(file::read(&self.path)?.iter().filter(|key| !is_gone(key)).map(LocalKey::from).collect())
    }

    /// Disables a key: whoever uses it is told so at once.
    pub fn disable(&self, arn: &KeyArn) -> Result<(), LocalKeyError> {
        self.set(arn, StoredState::Disabled)
    }

    /// Enables a key.
    pub fn enable(&self, arn: &KeyArn) -> Result<(), LocalKeyError> {
        self.set(arn, StoredState::Enabled)
    }

    fn set(&self, arn: &KeyArn, state: StoredState) -> Result<(), LocalKeyError> {
        self.change_key(arn, |key| {
            if key.state == StoredState::PendingDeletion {
                return Err(refuse(key, "cancel its deletion first"));
            }
            key.state = state;
            Ok(())
        })
    }

    /// Schedules a key's deletion in `days` days (7 to 30) and says when that is. Until then it can be cancelled; after
    /// it, nothing wrapped by the key can be opened by anybody.
    pub fn schedule_deletion(&self, arn: &KeyArn, days: u32) -> Result<SystemTime, LocalKeyError> {
        if !WAIT_DAYS.contains(&days) {
            return Err(LocalKeyError::Wait(days));
        }
        let at = now() + u64::from(days) * DAY;
        self.change_key(arn, |key| {
            if key.state == StoredState::PendingDeletion {
                return Err(refuse(key, "to change the date, cancel its deletion first"));
            }
            key.state = StoredState::PendingDeletion;
            key.deletion_at = Some(at);
            Ok(time(at))
        })
    }

    /// Cancels a scheduled deletion. As in AWS, the key is disabled then, to be enabled by a second decision.
    pub fn cancel_deletion(&self, arn: &KeyArn) -> Result<(), LocalKeyError> {
        self.change_key(arn, |key| {
            if key.state != StoredState::PendingDeletion {
                return Err(refuse(key, "there is no deletion to cancel"));
            }
            key.state = StoredState::Disabled;
            key.deletion_at = None;
            Ok(())
        })
    }

    fn change_key<T>(
        &self,
        arn: &KeyArn,
        change: impl FnOnce(&mut StoredKey) -> Result<T, LocalKeyError>,
    ) -> Result<T, LocalKeyError> {
        self.change(|keys| {
            let key = keys.iter_mut().find(|key| key.arn == *arn);
            change(key.ok_or_else(|| LocalKeyError::NotFound(arn.clone()))?)
        })
    }

    fn change<T>(
        &self,
        change: impl FnOnce(&mut Vec<StoredKey>) -> Result<T, LocalKeyError>,
    ) -> Result<T, LocalKeyError> {
        let _lock = file::lock(&self.path)?;
        let mut keys = file::read(&self.path)?;
        keys.retain(|key| !is_gone(key));
        let result = change(&mut keys)?;
        file::write(&self.path, &keys)?;
        Ok(result)
    }
}

impl From<&StoredKey> for LocalKey {
    fn from(key: &StoredKey) -> Self {
        Self {
            arn: key.arn.clone(),
            state: key.state.into(),
            created_at: time(key.created_at),
            deletion_date: key.deletion_at.map(time),
        }
    }
}

impl From<StoredState> for KeyState {
    fn from(state: StoredState) -> Self {
        match state {
            StoredState::Enabled => Self::Enabled,
            StoredState::Disabled => Self::Disabled,
            StoredState::PendingDeletion => Self::PendingDeletion,
        }
    }
}

/// Whether the date of a key's deletion has come: it is gone then, though its record stays until the next change.
pub(crate) fn is_gone(key: &StoredKey) -> bool {
    key.deletion_at.is_some_and(|at| at <= now())
}

pub(crate) fn time(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn refuse(key: &StoredKey, what: &'static str) -> LocalKeyError {
    LocalKeyError::State { key: key.arn.clone(), state: key.state.into(), what }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// A random UUID (version 4).
fn new_id() -> Result<String, LocalKeyError> {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| LocalKeyError::Random)?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let digits = hex::encode(&bytes);
    let parts = [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]];
    Ok(parts.join("-"))
}
