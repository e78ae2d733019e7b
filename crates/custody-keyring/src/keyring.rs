//! All zones of one cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use custody_kms::{KeyArn, Probe, RootKeyRef, RootKms, probe};
use custody_seal::{ClusterId, ZoneId};
use object_store::ObjectStore;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::clock::Clock;
use crate::copies::Pins;
use crate::create;
use crate::error::{CreateError, DeleteError, OpenError, SetupError, UnknownKey};
use crate::lease::{Lease, Surroundings};
use crate::limited::Limited;
use crate::policy::{LeasePolicy, PolicyError};
use crate::status::{SealReason, ZoneStatus};
use crate::task::{self, KeyCheck, Request};
use crate::vault::Vault;
use crate::zone::{Zone, ZoneKeys};

/// The zones of one cluster, their keys, and the leases under which they are in memory.
///
/// Dropping the keyring seals every zone for good and ends all renewal: keep it until everything that reads or writes
/// the zones is closed.
pub struct Keyring {
    inner: Arc<Inner>,
}

struct Inner {
    around: Arc<Surroundings>,
    cluster_key: KeyArn,
    policy: LeasePolicy,
    sealed_all: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    keys: BTreeMap<KeyArn, Allowed>,
    leases: BTreeMap<KeyArn, Renewed>,
    zones: BTreeMap<ZoneId, Arc<Zone>>,
    /// Zones that open sealed by hand.
    sealed: BTreeSet<ZoneId>,
    closed: bool,
}

/// A key that zones may be under, and the policy of its lease.
struct Allowed {
    key: RootKeyRef,
    policy: LeasePolicy,
}

/// A lease and the task that renews it.
struct Renewed {
    lease: Arc<Lease>,
    requests: mpsc::Sender<Request>,
    task: JoinHandle<()>,
}

impl Keyring {
    /// A keyring over `store`, whose root is the cluster's prefix. Nothing is read or asked yet.
    ///
    /// What is trusted comes in here, from outside the storage: the cluster's id, its key, and the other keys that the
    /// operator allows for single zones. `kms` must reach all of them.
    pub fn new(
        store: Arc<dyn ObjectStore>,
        cluster: ClusterId,
        kms: Arc<dyn RootKms>,
        cluster_key: RootKeyRef,
        other_keys: Vec<RootKeyRef>,
        policy: LeasePolicy,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, SetupError> {
        policy.check()?;
        let context = cluster.as_str().parse().map_err(|_| SetupError::Cluster(cluster.to_string()))?;
        let kms = Arc::new(Limited::new(kms, Arc::clone(&clock), policy.call_timeout));
        let around = Arc::new(Surroundings { cluster, context, kms, vault: Vault::new(store), clock });
        let inner = Inner {
            around,
            cluster_key: cluster_key.key_arn().clone(),
            policy,
            sealed_all: AtomicBool::new(false),
            state: Mutex::default(),
        };
        let keyring = Self { inner: Arc::new(inner) };
        for key in std::iter::once(cluster_key).chain(other_keys) {
            keyring.allow_key(key)?;
        }
        Ok(keyring)
    }

    /// Allows one more key for zones of this cluster.
    pub fn allow_key(&self, key: RootKeyRef) -> Result<(), SetupError> {
        let mut state = self.inner.lock();
        match state.keys.get(key.key_arn()) {
            Some(known) if known.key != key => Err(SetupError::Contradiction(key.key_arn().clone())),
            Some(_) => Ok(()),
            None => {
                let policy = self.inner.policy;
                state.keys.insert(key.key_arn().clone(), Allowed { key, policy });
                Ok(())
            }
        }
    }

    /// Sets the grace of one key, as its owner decided; it counts from the last success.
    pub fn set_grace(&self, key: &KeyArn, grace: Duration) -> Result<(), SetGraceError> {
        let policy = LeasePolicy { grace, ..self.inner.policy };
        policy.check()?;
        let mut state = self.inner.lock();
        let allowed = state.keys.get_mut(key).ok_or_else(|| UnknownKey::NotAllowed(key.clone()))?;
        allowed.policy = policy;
        if let Some(renewed) = state.leases.get(key) {
            renewed.lease.set_policy(policy);
        }
        Ok(())
    }

    /// Proves a key usable before anything depends on it: describes it, wraps and unwraps. `None` means the cluster's.
    pub async fn probe(&self, key: Option<&str>) -> Result<Probe, UnknownKey> {
        let key = self.inner.key(key)?;
        let around = &self.inner.around;
        let delay = self.inner.policy.deny_confirm_delay;
        let pause = async { around.clock.sleep_until(around.clock.now().after(delay)).await };
        Ok(probe(&*around.kms, &key, &around.context, pause).await)
    }

    /// Makes a zone under `key`, the ARN of one of the allowed keys; `None` means the cluster's.
    ///
    /// All or nothing: on failure nothing of it stays in the storage. It is carried through even if the caller stops
    /// waiting for it.
    pub async fn create_zone(&self, id: ZoneId, key: Option<&str>) -> Result<Arc<Zone>, CreateError> {
        let key = self.inner.key(key)?;
        let inner = Arc::clone(&self.inner);
        let made = tokio::spawn(async move { inner.create_zone(id, key).await });
        made.await.map_err(|_| CreateError::Closed)?
    }

    /// Makes the next version of an open zone's key and lets new files be sealed under it. The versions before it stay.
    pub async fn new_version(&self, zone: ZoneId) -> Result<u32, CreateError> {
        let inner = Arc::clone(&self.inner);
        let made = tokio::spawn(async move { inner.new_version(zone).await });
        made.await.map_err(|_| CreateError::Closed)?
    }

    /// Opens a zone that is under `key`; `None` means the cluster's. A keyring that names anything else is refused.
    ///
    /// If KMS does not give the keys now, the zone opens **sealed**, with the reason as its status, and recovers by
    /// itself. A zone that is open already is returned as it is.
    pub async fn open_zone(&self, id: ZoneId, key: Option<&str>) -> Result<Arc<Zone>, OpenError> {
        self.open_zone_at_least(id, key, 1).await
    }

    /// The same, and refuses a keyring whose newest version is below `version`, as known from outside the storage.
    pub async fn open_zone_at_least(
        &self,
        id: ZoneId,
        key: Option<&str>,
        version: u32,
    ) -> Result<Arc<Zone>, OpenError> {
        let key = self.inner.key(key)?;
        self.inner.open_zone(id, key, version).await
    }

    /// Seals the zone for good and deletes its keyring: nothing sealed under it can be opened by anybody any more. The
    /// caller has deleted the zone's files, or lets them become unreadable on purpose. Can be repeated.
    pub async fn delete_zone(&self, id: ZoneId) -> Result<(), DeleteError> {
        self.inner.forget(id, SealReason::Deleted);
        Ok(self.inner.around.vault.delete(id).await?)
    }

    /// Seals the zone by hand, without asking KMS, until [`unseal`](Self::unseal). False if it is not open.
    pub fn seal(&self, id: ZoneId) -> bool {
        self.zone(id).map(|zone| zone.hold(SealReason::Manual)).is_some()
    }

    /// Seals every zone by hand, those too that are opened later, until [`unseal_all`](Self::unseal_all).
    pub fn seal_all(&self) {
        self.inner.sealed_all.store(true, Ordering::SeqCst);
        self.zones().iter().for_each(|zone| zone.hold(SealReason::Manual));
    }

    /// Lets a zone that is not open yet open sealed by hand: KMS is not asked for its key, until it is unsealed.
    pub fn seal_at_opening(&self, id: ZoneId) {
        self.inner.lock().sealed.insert(id);
    }

    /// Ends a seal by hand; the zone opens as soon as its key is proven. False if it is not open.
    pub fn unseal(&self, id: ZoneId) -> bool {
        self.inner.lock().sealed.remove(&id);
        self.zone(id).map(|zone| self.inner.release(&zone)).is_some()
    }

    /// Ends all seals by hand.
    pub fn unseal_all(&self) {
        self.inner.sealed_all.store(false, Ordering::SeqCst);
        self.inner.lock().sealed.clear();
        self.zones().iter().for_each(|zone| self.inner.release(zone));
    }

    /// Ends all renewal, and returns once no check is under way: each call to KMS has then been recorded, given up or
    /// not. For the moment before the process is replaced: no zone can be opened any more, and leases run out by themselves.
    pub async fn end_checks(&self) {
        let leases = {
            let mut state = self.inner.lock();
            state.closed = true;
            std::mem::take(&mut state.leases)
        };
        for Renewed { task, .. } in leases.into_values() {
            task.abort();
            // It was cancelled, and that is what it says.
            let _ = task.await;
        }
    }

    /// An open zone, sealed or not.
    pub fn zone(&self, id: ZoneId) -> Option<Arc<Zone>> {
        self.inner.lock().zones.get(&id).cloned()
    }

    /// All open zones, sealed or not.
    pub fn zones(&self) -> Vec<Arc<Zone>> {
        self.inner.lock().zones.values().cloned().collect()
    }

    /// Checks every key that has zones now, and returns once all have been checked and what could be opened is open.
    pub async fn check_now(&self) -> Vec<KeyCheck> {
        let requests: Vec<_> = self.inner.lock().leases.values().map(|it| it.requests.clone()).collect();
        let mut answers = Vec::new();
        // All are asked before any is waited for: one key's trouble does not delay the others'.
        for request in requests {
            let (sender, answer) = oneshot::channel();
            if request.send(sender).await.is_ok() {
                answers.push(answer);
            }
        }
        let mut checks = Vec::new();
        for answer in answers {
            checks.extend(answer.await);
        }
        checks
    }
}

/// Why a key's grace can't be set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SetGraceError {
    /// The grace is out of range.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The key is not allowed.
    #[error(transparent)]
    Key(#[from] UnknownKey),
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyring").field("cluster", &self.inner.around.cluster).finish_non_exhaustive()
    }
}

impl Drop for Keyring {
    fn drop(&mut self) {
        let mut state = self.inner.lock();
        state.closed = true;
        state.leases.values().for_each(|renewed| renewed.task.abort());
        state.zones.values().for_each(|zone| zone.hold(SealReason::Closed));
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn key(&self, key: Option<&str>) -> Result<RootKeyRef, UnknownKey> {
        let arn = key.map_or_else(|| Ok(self.cluster_key.clone()), str::parse)?;
        let key = self.lock().keys.get(&arn).map(|allowed| allowed.key.clone());
        key.ok_or(UnknownKey::NotAllowed(arn))
    }

    /// The lease on an allowed key, with a task that renews it.
    fn lease(&self, key: &KeyArn) -> Result<Arc<Lease>, UnknownKey> {
        let mut state = self.lock();
        let State { keys, leases, .. } = &mut *state;
        let allowed = keys.get(key).ok_or_else(|| UnknownKey::NotAllowed(key.clone()))?;
        let renewed = leases.entry(key.clone()).or_insert_with(|| {
            let lease = Arc::new(Lease::new(allowed.key.clone(), Arc::clone(&self.around), allowed.policy));
            let (requests, receiver) = mpsc::channel(16);
            let task = tokio::spawn(task::renew(Arc::clone(&lease), receiver));
            Renewed { lease, requests, task }
        });
        Ok(Arc::clone(&renewed.lease))
    }

    async fn create_zone(&self, id: ZoneId, key: RootKeyRef) -> Result<Arc<Zone>, CreateError> {
        if self.sealed_all.load(Ordering::SeqCst) {
            return Err(CreateError::Sealed { zone: id, reason: SealReason::Manual });
        }
        if let Some(version) = self.around.vault.versions(id).await?.pop() {
            return Err(CreateError::Exists { zone: id, version });
        }
        let lease = self.lease(key.key_arn())?;
        let asked = lease.ask();
        let (zone_key, copies) = create::version(&lease, id, 1).await?;
        let zone = Arc::new(Zone::new(id, key.key_arn().clone(), Arc::clone(&lease.term), vec![copies]));
        lease.admit(&zone, ZoneKeys::from([(1, zone_key)]), &asked);
        match self.enter(&lease, &zone) {
            Entered::New => Ok(zone),
            Entered::Known(_) => Err(CreateError::Exists { zone: id, version: 1 }),
            Entered::Closed => {
                self.around.vault.delete(id).await?;
                Err(CreateError::Closed)
            }
        }
    }

    async fn new_version(&self, id: ZoneId) -> Result<u32, CreateError> {
        let zone = self.lock().zones.get(&id).cloned().ok_or(CreateError::NotOpen(id))?;
        let lease = self.lease(zone.key())?;
        if let ZoneStatus::Sealed(reason) = zone.status() {
            return Err(CreateError::Sealed { zone: id, reason });
        }
        let version = zone.current_version().checked_add(1).ok_or(CreateError::Versions(id))?;
        let (key, copies) = create::version(&lease, id, version).await?;
        zone.add_version(copies, key);
        if !self.holds(&zone) {
            // Deleted while its new key was being made: what was made must not outlive the zone.
            self.around.vault.delete(id).await?;
            return Err(CreateError::NotOpen(id));
        }
        Ok(version)
    }

    async fn open_zone(&self, id: ZoneId, key: RootKeyRef, expected: u32) -> Result<Arc<Zone>, OpenError> {
        if let Some(zone) = self.already_open(id, &key, expected)? {
            return Ok(zone);
        }
        let versions = self.around.vault.versions(id).await?;
        let found = *versions.last().ok_or(OpenError::NoKeyring(id))?;
        if found < expected {
            return Err(OpenError::RolledBack { zone: id, found, expected });
        }
        let pins = Pins { cluster: self.around.cluster.clone(), zone: id, key: key.clone() };
        let mut copies = Vec::new();
        for version in versions {
            copies.push(self.around.vault.read(&pins, version).await?);
        }
        let lease = self.lease(key.key_arn())?;
        let zone = Arc::new(Zone::new(id, key.key_arn().clone(), Arc::clone(&lease.term), copies));
        if self.opens_sealed(&self.lock(), id) {
            zone.hold(SealReason::Manual);
            lease.adopt(&zone);
        } else {
            lease.open(&zone).await?;
        }
        match self.enter(&lease, &zone) {
            Entered::New => Ok(zone),
            Entered::Known(known) => Ok(known),
            Entered::Closed => Err(OpenError::Closed),
        }
    }

    fn already_open(&self, id: ZoneId, key: &RootKeyRef, expected: u32) -> Result<Option<Arc<Zone>>, OpenError> {
        let Some(zone) = self.lock().zones.get(&id).cloned() else { return Ok(None) };
        if zone.key() != key.key_arn() {
            return Err(OpenError::OtherKey { zone: id, open: zone.key().clone(), asked: key.key_arn().clone() });
        }
        let found = zone.current_version();
        if found < expected {
            return Err(OpenError::RolledBack { zone: id, found, expected });
        }
        Ok(Some(zone))
    }

    /// Makes a zone that its lease has taken in known to all. Where another was quicker, or all is over, it leaves the
    /// lease again.
    fn enter(&self, lease: &Lease, zone: &Arc<Zone>) -> Entered {
        let mut state = self.lock();
        if !state.closed && !state.zones.contains_key(&zone.id()) {
            state.zones.insert(zone.id(), Arc::clone(zone));
            if self.opens_sealed(&state, zone.id()) {
                zone.hold(SealReason::Manual);
            }
            return Entered::New;
        }
        lease.remove(zone);
        zone.hold(SealReason::Closed);
        match state.zones.get(&zone.id()) {
            Some(known) if !state.closed => Entered::Known(Arc::clone(known)),
            _ => Entered::Closed,
        }
    }

    fn holds(&self, zone: &Arc<Zone>) -> bool {
        self.lock().zones.get(&zone.id()).is_some_and(|held| Arc::ptr_eq(held, zone))
    }

    fn opens_sealed(&self, state: &State, id: ZoneId) -> bool {
        self.sealed_all.load(Ordering::SeqCst) || state.sealed.contains(&id)
    }

    /// Seals a zone for good and lets go of it.
    fn forget(&self, id: ZoneId, reason: SealReason) {
        let mut state = self.lock();
        if let Some(zone) = state.zones.remove(&id) {
            if let Some(renewed) = state.leases.get(zone.key()) {
                renewed.lease.remove(&zone);
            }
            zone.hold(reason);
        }
    }

    fn release(&self, zone: &Zone) {
        zone.release();
        if let Some(renewed) = self.lock().leases.get(zone.key()) {
            renewed.lease.term.wake();
        }
    }
}

/// What became of a zone that was to be made known.
enum Entered {
    New,
    /// It is open already.
    Known(Arc<Zone>),
    Closed,
}
