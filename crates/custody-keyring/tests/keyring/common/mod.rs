//! A cluster with a scripted KMS, a clock moved by hand, and storage in memory.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use custody_keyring::{Clock, FakeClock, Keyring, LeasePolicy, Zone, ZoneError, ZoneStatus};
use custody_kms::scripted::{Fault, ScriptedKms};
use custody_kms::{Action, RootKeyRef, RootKms};
use custody_seal::ZoneId;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

pub(crate) const INTERVAL: Duration = Duration::from_mins(10);
pub(crate) const GRACE: Duration = Duration::from_hours(1);
pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const DELAY: Duration = Duration::from_secs(5);
pub(crate) const DENIED: Fault = Fault::Code("AccessDeniedException");
pub(crate) const ZONE: ZoneId = ZoneId::new([1; 16]);
pub(crate) const OTHER: ZoneId = ZoneId::new([2; 16]);

pub(crate) struct World {
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) kms: Arc<ScriptedKms>,
    pub(crate) clock: Arc<FakeClock>,
    pub(crate) key: RootKeyRef,
    pub(crate) tenant: RootKeyRef,
    pub(crate) policy: LeasePolicy,
    pub(crate) keyring: Keyring,
}

pub(crate) fn policy() -> LeasePolicy {
    LeasePolicy { check_interval: INTERVAL, grace: GRACE, deny_confirm_delay: DELAY, call_timeout: 30 * SECOND }
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(policy(), Arc::new(InMemory::new()))
    }

    pub(crate) fn with(policy: LeasePolicy, store: Arc<dyn ObjectStore>) -> Self {
        let kms = Arc::new(ScriptedKms::new());
        let clock = Arc::new(FakeClock::new());
        let (key, tenant) = (kms.create_key(), kms.create_key());
        let keyring = keyring("in01-test", &store, kms.clone(), &key, vec![tenant.clone()], policy, &clock);
        Self { store, kms, clock, key, tenant, policy, keyring }
    }

    /// Another process on the same storage, as after a restart.
    pub(crate) fn restarted(&self) -> Keyring {
        self.restarted_with(self.kms.clone())
    }

    pub(crate) fn restarted_with(&self, kms: Arc<dyn RootKms>) -> Keyring {
        let tenants = vec![self.tenant.clone()];
        keyring("in01-test", &self.store, kms, &self.key, tenants, self.policy, &self.clock)
    }

    pub(crate) async fn zone(&self) -> Arc<Zone> {
        self.keyring.create_zone(ZONE, None).await.unwrap()
    }

    pub(crate) async fn tenant_zone(&self) -> Arc<Zone> {
        self.keyring.create_zone(OTHER, Some(self.tenant.key_arn().as_str())).await.unwrap()
    }

    /// The wall clock.
    pub(crate) fn now(&self) -> SystemTime {
        self.clock.now().wall
    }

    pub(crate) fn decrypts(&self) -> usize {
        self.kms.calls(Action::Decrypt)
    }

    pub(crate) fn sessions(&self) -> usize {
        self.kms.calls(Action::AssumeRole)
    }

    /// Time goes on in steps of a second, with room for the tasks after each, as it does outside of tests.
    pub(crate) async fn pass(&self, time: Duration) {
        for _ in 0..time.as_secs() {
            self.clock.advance(SECOND);
            settle().await;
        }
    }

    /// A whole check interval passes, and the check in it is done.
    pub(crate) async fn next_check(&self) {
        let decrypts = self.sessions();
        self.clock.advance(INTERVAL);
        until("a check begins", || self.sessions() > decrypts).await;
        settle().await;
    }

    pub(crate) async fn objects(&self) -> Vec<Path> {
        let mut paths = Vec::new();
        for zone in [ZONE, OTHER, ZoneId::CLUSTER] {
            let prefix = Path::from(format!("zones/{zone}/keyring"));
            let listed = self.store.list_with_delimiter(Some(&prefix)).await.unwrap();
            paths.extend(listed.objects.into_iter().map(|object| object.location));
        }
        paths.sort();
        paths
    }

    pub(crate) async fn read(&self, path: &Path) -> Vec<u8> {
        self.store.get(path).await.unwrap().bytes().await.unwrap().to_vec()
    }

    pub(crate) async fn write(&self, path: &Path, bytes: &[u8]) {
        self.store.put(path, bytes.to_vec().into()).await.unwrap();
    }
}

pub(crate) fn keyring(
    cluster: &str,
    store: &Arc<dyn ObjectStore>,
    kms: Arc<dyn RootKms>,
    key: &RootKeyRef,
    tenants: Vec<RootKeyRef>,
    policy: LeasePolicy,
    clock: &Arc<FakeClock>,
) -> Keyring {
    let (cluster, clock) = (cluster.parse().unwrap(), clock.clone());
    Keyring::new(store.clone(), cluster, kms, key.clone(), tenants, policy, clock).unwrap()
}

pub(crate) fn path(zone: ZoneId, version: u32, copy: &str) -> Path {
    Path::from(format!("zones/{zone}/keyring/{version:010}.{copy}"))
}

/// The key in use, as a fingerprint.
pub(crate) fn print_of(zone: &Zone) -> Result<[u8; 32], ZoneError> {
    zone.use_current(|_, key| key.keyring_mac(b"which key is it"))
}

pub(crate) fn is_grace(zone: &Zone) -> bool {
    matches!(zone.status(), ZoneStatus::Grace { .. })
}

pub(crate) fn is_sealed(zone: &Zone) -> bool {
    matches!(zone.status(), ZoneStatus::Sealed(_))
}

/// Lets every task run until it waits for something.
pub(crate) async fn settle() {
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
}

/// Waits for `condition`; nothing here takes longer than the tasks' own work.
pub(crate) async fn until(what: &str, condition: impl Fn() -> bool) {
    for _ in 0..100_000 {
        if condition() {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("never happened: {what}");
}
