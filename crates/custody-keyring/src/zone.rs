//! One encryption zone, as the rest of the system holds it.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use custody_kms::KeyArn;
use custody_seal::{ZoneId, ZoneKey};
use tokio::sync::watch;

use crate::copies::{CopyFault, VersionCopies};
use crate::status::{SealReason, ZoneStatus};
use crate::term::Term;

/// The unwrapped keys of a zone, by version.
pub(crate) type ZoneKeys = BTreeMap<u32, ZoneKey>;

/// Why a zone's key could not be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ZoneError {
    /// The zone is sealed.
    #[error("zone {zone} is sealed: {reason}")]
    Sealed {
        /// The zone.
        zone: ZoneId,
        /// Why.
        reason: SealReason,
    },
    /// The zone has no such version of its key.
    #[error(
        "zone {zone} has no version {version} of its key; its keyring was rolled back, or the file is of a later time"
    )]
    NoSuchVersion {
        /// The zone.
        zone: ZoneId,
        /// The version that was asked for.
        version: u32,
    },
}

/// One encryption zone: its keys while its lease lasts, and its status always.
pub struct Zone {
    id: ZoneId,
    key: KeyArn,
    term: Arc<Term>,
    state: RwLock<State>,
    status: watch::Sender<ZoneStatus>,
}

struct State {
    /// `None` while the zone is sealed: sealing drops the keys, and dropping zeroizes them.
    keys: Option<ZoneKeys>,
    copies: BTreeMap<u32, VersionCopies>,
    faults: Vec<CopyFault>,
    /// Whether the zone was sealed by hand, or for good.
    held: Option<SealReason>,
}

impl Zone {
    /// A zone that has no keys yet.
    pub(crate) fn new(id: ZoneId, key: KeyArn, term: Arc<Term>, copies: Vec<VersionCopies>) -> Self {
        let faults = copies.iter().flat_map(|version| version.faults.clone()).collect();
        let copies = copies.into_iter().map(|copies| (copies.version, copies)).collect();
        let state = RwLock::new(State { keys: None, copies, faults, held: None });
        let sealed = ZoneStatus::Sealed(SealReason::Expired { last: None });
        Self { id, key, term, state, status: watch::Sender::new(sealed) }
    }

    /// The zone's id.
    pub fn id(&self) -> ZoneId {
        self.id
    }

    /// The root key that the zone is under.
    pub fn key(&self) -> &KeyArn {
        &self.key
    }

    /// Runs `work` with the newest version of the zone's key.
    ///
    /// The lease's deadline is looked at first, every time. Sealing waits for `work`, so let it be short, and don't call
    /// the zone again in it.
    pub fn use_current<T>(&self, work: impl FnOnce(u32, &ZoneKey) -> T) -> Result<T, ZoneError> {
        self.with_keys(|keys| keys.last_key_value().map(|(version, key)| work(*version, key)).ok_or(0))
    }

    /// Runs `work` with one version of the zone's key; see [`use_current`](Self::use_current).
    pub fn use_version<T>(&self, version: u32, work: impl FnOnce(&ZoneKey) -> T) -> Result<T, ZoneError> {
        self.with_keys(|keys| keys.get(&version).map(work).ok_or(version))
    }

    fn with_keys<T>(&self, work: impl FnOnce(&ZoneKeys) -> Result<T, u32>) -> Result<T, ZoneError> {
        {
            let state = self.read();
            let Some(keys) = &state.keys else { return Err(self.sealed_error()) };
            if self.term.is_live() {
                return work(keys).map_err(|version| ZoneError::NoSuchVersion { zone: self.id, version });
            }
        }
        // The lease's own task seals at the deadline; where it comes late, as after a suspend, the first use does.
        self.expire();
        Err(self.sealed_error())
    }

    /// The zone's status now. It never says that a zone is usable past the end of its lease.
    pub fn status(&self) -> ZoneStatus {
        let status = self.status.borrow().clone();
        if status.is_usable() && !self.term.is_live() {
            self.expire();
            return self.status.borrow().clone();
        }
        status
    }

    /// The status as it changes. For the status at a moment, [`status`](Self::status) is more exact.
    pub fn subscribe(&self) -> watch::Receiver<ZoneStatus> {
        self.status.subscribe()
    }

    /// The newest version of the zone's key, sealed or not.
    pub fn current_version(&self) -> u32 {
        self.read().copies.last_key_value().map_or(0, |(version, _)| *version)
    }

    /// What was wrong with stored copies of the zone's keyring since it was opened, and whether it was mended.
    pub fn faults(&self) -> Vec<CopyFault> {
        self.read().faults.clone()
    }

    fn sealed_error(&self) -> ZoneError {
        let reason = match &*self.status.borrow() {
            ZoneStatus::Sealed(reason) => reason.clone(),
            // Opened again this very moment: whoever asked was told that it is sealed, and can ask again.
            ZoneStatus::Available | ZoneStatus::Grace { .. } => SealReason::Expired { last: None },
        };
        ZoneError::Sealed { zone: self.id, reason }
    }

    fn expire(&self) {
        let last = match &*self.status.borrow() {
            ZoneStatus::Grace { reason, .. } => Some(reason.clone()),
            _ => None,
        };
        let mut state = self.write();
        if state.keys.is_some() && !self.term.is_live() {
            self.seal_locked(&mut state, SealReason::Expired { last });
        }
    }

    /// Drops the keys and tells why. A zone that is held keeps the reason of its hold.
    pub(crate) fn seal(&self, reason: SealReason) {
        self.seal_locked(&mut self.write(), reason);
    }

    fn seal_locked(&self, state: &mut State, reason: SealReason) {
        state.keys = None;
        let reason = state.held.clone().unwrap_or(reason);
        self.tell(ZoneStatus::Sealed(reason));
    }

    /// Seals the zone until it is released, or for good.
    pub(crate) fn hold(&self, reason: SealReason) {
        let mut state = self.write();
        // What is deleted or closed does not come back by a later hold of another kind.
        if !matches!(state.held, Some(SealReason::Deleted | SealReason::Closed)) {
            state.held = Some(reason);
        }
        self.seal_locked(&mut state, SealReason::Manual);
    }

    /// Ends a hold by hand; the zone stays sealed until its key is proven.
    pub(crate) fn release(&self) {
        let mut state = self.write();
        if state.held == Some(SealReason::Manual) {
            state.held = None;
        }
    }

    pub(crate) fn is_held(&self) -> bool {
        self.read().held.is_some()
    }

    pub(crate) fn has_keys(&self) -> bool {
        self.read().keys.is_some()
    }

    pub(crate) fn copies(&self) -> Vec<VersionCopies> {
        self.read().copies.values().cloned().collect()
    }

    /// Takes the keys of all versions. Refused while the zone is held, and where a version has come meanwhile.
    pub(crate) fn install(&self, keys: ZoneKeys, status: ZoneStatus) -> bool {
        let mut state = self.write();
        if state.held.is_some() || !state.copies.keys().eq(keys.keys()) {
            return false;
        }
        state.keys = Some(keys);
        self.tell(status);
        true
    }

    /// Takes a new version, made and proven just now.
    pub(crate) fn add_version(&self, copies: VersionCopies, key: ZoneKey) {
        let mut state = self.write();
        if let Some(keys) = &mut state.keys {
            keys.insert(copies.version, key);
        }
        state.copies.insert(copies.version, copies);
    }

    /// Replaces what is known of a version's copies, once one of them has been authenticated.
    pub(crate) fn settle(&self, copies: VersionCopies) {
        let mut state = self.write();
        state.faults.retain(|fault| fault.version != copies.version);
        state.faults.extend(copies.faults.iter().cloned());
        state.copies.insert(copies.version, copies);
    }

    /// Changes the status of a zone that has its keys.
    pub(crate) fn serve(&self, status: ZoneStatus) {
        let state = self.read();
        if state.keys.is_some() {
            self.tell(status);
        }
    }

    /// Called with the state's lock held, so that statuses go out in the order of the changes.
    fn tell(&self, status: ZoneStatus) {
        self.status.send_if_modified(|old| {
            let changed = *old != status;
            if changed {
                tracing::info!(zone = %self.id, key = self.key.as_str(), status = %status, "zone status");
                *old = status;
            }
            changed
        });
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Zone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Zone").field("id", &self.id).field("key", &self.key).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::Clock;
    use crate::fake_clock::FakeClock;

    const KEY: &str = "arn:aws:kms:us-west-2:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";

    fn zone() -> (Zone, Arc<FakeClock>) {
        let clock = Arc::new(FakeClock::new());
        let term = Arc::new(Term::new(clock.clone()));
        term.set_end(Some(clock.now().after(Duration::from_mins(1))));
        (Zone::new(ZoneId::CLUSTER, KEY.parse().unwrap(), term, Vec::new()), clock)
    }

    #[test]
    fn a_zone_that_was_sealed_by_hand_while_its_keys_were_on_their_way_does_not_take_them() {
        let (zone, _) = zone();
        zone.hold(SealReason::Manual);
        assert!(!zone.install(ZoneKeys::new(), ZoneStatus::Available) && !zone.has_keys());
        zone.release();
        assert!(zone.install(ZoneKeys::new(), ZoneStatus::Available) && zone.has_keys());
        zone.hold(SealReason::Deleted);
        zone.hold(SealReason::Manual);
        zone.release();
        assert!(!zone.install(ZoneKeys::new(), ZoneStatus::Available), "what is deleted stays so");
    }

    #[test]
    fn keys_that_do_not_cover_every_version_are_not_taken() {
        let (zone, _) = zone();
        let keys = ZoneKeys::from([(1, ZoneKey::generate().unwrap())]);
        assert!(!zone.install(keys, ZoneStatus::Available) && !zone.has_keys());
    }

    #[test]
    fn a_use_past_the_end_of_the_lease_drops_the_keys() {
        let (zone, clock) = zone();
        assert!(zone.install(ZoneKeys::new(), ZoneStatus::Available));
        clock.advance(Duration::from_mins(1));
        assert!(zone.use_version(1, |_| ()).is_err());
        assert!(!zone.has_keys());
    }
}
