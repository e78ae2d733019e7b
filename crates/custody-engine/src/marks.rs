//! What is known to be durable, map by map and zone by zone: it begins with the anchor that the cluster was opened with, and
//! grows with every log object and manifest that the storage has taken.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use custody_store::{ZoneId, ZoneStore};

use crate::{Anchor, Below, BelowAnchor, MapAnchor, MapName, ZoneAnchor};

/// How far one map has come.
#[derive(Debug)]
pub(crate) struct Mark {
    name: MapName,
    manifest: AtomicU64,
    log: AtomicU64,
    /// Under which of its openings this process holds the map, or held it last; none is 0.
    tenure: AtomicU64,
    /// Whether the next opening may be below it.
    pardon: AtomicBool,
    /// Why the map was not opened, last.
    refused: Mutex<Option<BelowAnchor>>,
    moment: Arc<Moment>,
}

/// What every write of every map passes: whoever holds it alone sees all maps as of one moment.
type Moment = tokio::sync::RwLock<()>;

impl Mark {
    fn new(name: MapName, anchor: MapAnchor, below: Below, moment: &Arc<Moment>) -> Arc<Self> {
        Arc::new(Self {
            name,
            manifest: anchor.manifest.into(),
            log: anchor.log.into(),
            tenure: AtomicU64::new(0),
            pardon: (below == Below::Warn).into(),
            refused: Mutex::default(),
            moment: Arc::clone(moment),
        })
    }

    /// Held by a write until its place among the others is settled.
    pub(crate) async fn moving(&self) -> tokio::sync::RwLockReadGuard<'_, ()> {
        self.moment.read().await
    }

    /// How far the map has come.
    pub(crate) fn figures(&self) -> MapAnchor {
        MapAnchor { manifest: self.manifest.load(Ordering::Acquire), log: self.log.load(Ordering::Acquire) }
    }

    /// Under which of its openings this process holds the map, or held it last. Each opening gives the next one, and fences
    /// those before it out.
    pub(crate) fn tenure(&self) -> Option<u64> {
        Some(self.tenure.load(Ordering::Acquire)).filter(|tenure| *tenure > 0)
    }

    /// The map was taken under an opening of this process's own.
    pub(crate) fn hold(&self, tenure: u64) {
        self.tenure.store(tenure, Ordering::Release);
    }

    /// A manifest is durable.
    pub(crate) fn raise_manifest(&self, id: u64) {
        self.manifest.fetch_max(id, Ordering::AcqRel);
    }

    /// A log object is durable.
    pub(crate) fn raise_log(&self, id: u64) {
        self.log.fetch_max(id, Ordering::AcqRel);
    }

    /// Compares what was `expected` with what the storage has, before the map is opened. Where that is less, the map is refused,
    /// or pardoned once. Figures that have grown since the look began say nothing of what it could find.
    pub(crate) fn settle(&self, expected: MapAnchor, found: MapAnchor) -> Result<(), BelowAnchor> {
        let pardoned = self.pardon.swap(false, Ordering::AcqRel);
        let below = BelowAnchor::Map { name: self.name, expected, found };
        if found.covers(expected) {
            self.raise_manifest(found.manifest);
            self.raise_log(found.log);
        } else if pardoned {
            tracing::warn!(map = %self.name, "opened below its anchor, as was asked: {below}");
            self.manifest.store(found.manifest, Ordering::Release);
            self.log.store(found.log, Ordering::Release);
        } else {
            tracing::error!(map = %self.name, "refused: {below}");
            *lock(&self.refused) = Some(below.clone());
            return Err(below);
        }
        *lock(&self.refused) = None;
        Ok(())
    }
}

/// How far a zone has come.
struct ZoneMarks {
    /// The zone itself once it is open: it knows the versions of its key.
    store: Option<ZoneStore>,
    keyring: Option<u32>,
    pardon: bool,
    refused: Option<BelowAnchor>,
    catalog: Arc<Mark>,
    collections: BTreeMap<i64, Arc<Mark>>,
}

impl ZoneMarks {
    fn new(zone: ZoneId, anchor: &ZoneAnchor, below: Below, moment: &Arc<Moment>) -> Self {
        let mark = |collection, figures| Mark::new(MapName { zone, collection }, figures, below, moment);
        Self {
            store: None,
            keyring: anchor.keyring,
            pardon: below == Below::Warn,
            refused: None,
            catalog: mark(None, anchor.catalog.unwrap_or_default()),
            collections: anchor.collections.iter().map(|(id, figures)| (*id, mark(Some(*id), *figures))).collect(),
        }
    }

    fn key_version(&self) -> Option<u32> {
        self.keyring.max(self.store.as_ref().and_then(ZoneStore::key_version))
    }

    fn anchor(&self) -> ZoneAnchor {
        let figures = |mark: &Mark| Some(mark.figures()).filter(|figures| *figures != MapAnchor::default());
        let collections = self.collections.iter().filter_map(|(id, mark)| Some((*id, figures(mark)?))).collect();
        ZoneAnchor { keyring: self.key_version(), catalog: figures(&self.catalog), collections }
    }
}

/// How far a cluster has come.
pub(crate) struct Marks {
    zones: Mutex<BTreeMap<ZoneId, ZoneMarks>>,
    moment: Arc<Moment>,
    /// Collections whose objects stay where they are, dropped or not: they are being copied, or were brought from elsewhere
    /// and are in no catalog yet.
    pinned: Mutex<BTreeSet<(ZoneId, i64)>>,
}

impl Marks {
    pub(crate) fn new(anchor: &Anchor, below: Below) -> Arc<Self> {
        let moment = Arc::<Moment>::default();
        let zones = anchor.zones.iter().map(|(zone, anchor)| (*zone, ZoneMarks::new(*zone, anchor, below, &moment)));
        Arc::new(Self { zones: Mutex::new(zones.collect()), moment, pinned: Mutex::default() })
    }

    /// Held while nothing is written: for as long as it takes to begin a checkpoint of every map.
    pub(crate) async fn hold_still(&self) -> tokio::sync::RwLockWriteGuard<'_, ()> {
        self.moment.write().await
    }

    /// Keeps a collection's objects where they are.
    pub(crate) fn pin(&self, zone: ZoneId, id: i64) {
        lock(&self.pinned).insert((zone, id));
    }

    /// Ends that.
    pub(crate) fn unpin(&self, zone: ZoneId, id: i64) {
        lock(&self.pinned).remove(&(zone, id));
    }

    /// Whether a collection's objects are to stay.
    pub(crate) fn is_pinned(&self, zone: ZoneId, id: i64) -> bool {
        lock(&self.pinned).contains(&(zone, id))
    }

    /// Whether objects of any of a zone's collections are to stay.
    pub(crate) fn has_pinned(&self, zone: ZoneId) -> bool {
        lock(&self.pinned).iter().any(|(of, _)| *of == zone)
    }

    fn with<T>(&self, zone: ZoneId, work: impl FnOnce(&mut ZoneMarks) -> T) -> T {
        let mut zones = lock(&self.zones);
        let new = || ZoneMarks::new(zone, &ZoneAnchor::default(), Below::Refuse, &self.moment);
        work(zones.entry(zone).or_insert_with(new))
    }

    /// The mark of a zone's catalog.
    pub(crate) fn catalog(&self, zone: ZoneId) -> Arc<Mark> {
        self.with(zone, |marks| Arc::clone(&marks.catalog))
    }

    /// The mark of a collection.
    pub(crate) fn collection(&self, zone: ZoneId, id: i64) -> Arc<Mark> {
        let name = MapName { zone, collection: Some(id) };
        let new = || Mark::new(name, MapAnchor::default(), Below::Refuse, &self.moment);
        self.with(zone, |marks| Arc::clone(marks.collections.entry(id).or_insert_with(new)))
    }

    /// Takes on a zone that was opened or made; refused where its keyring is older than it was.
    pub(crate) fn take_zone(&self, store: &ZoneStore) -> Result<(), BelowAnchor> {
        let zone = store.zone();
        self.with(zone, |marks| {
            let found = store.key_version();
            let pardoned = std::mem::replace(&mut marks.pardon, false);
            if found < marks.keyring {
                let (expected, found_version) = (marks.keyring.unwrap_or_default(), found.unwrap_or_default());
                let below = BelowAnchor::Keyring { zone, expected, found: found_version };
                if !pardoned {
                    tracing::error!(%zone, "refused: {below}");
                    marks.refused = Some(below.clone());
                    return Err(below);
                }
                tracing::warn!(%zone, "opened below its anchor, as was asked: {below}");
            }
            (marks.keyring, marks.refused, marks.store) = (found, None, Some(store.clone()));
            Ok(())
        })
    }

    /// Forgets all zones but these: the cluster's catalog says that the others were dropped.
    pub(crate) fn keep_zones(&self, known: &BTreeSet<ZoneId>) {
        lock(&self.zones).retain(|zone, _| known.contains(zone));
    }

    /// Forgets a zone that was dropped. Only once that is durable.
    pub(crate) fn forget_zone(&self, zone: ZoneId) {
        lock(&self.zones).remove(&zone);
    }

    /// Forgets all collections of a zone but those that its catalog knows.
    pub(crate) fn keep_collections(&self, zone: ZoneId, known: impl Fn(i64) -> bool) {
        self.with(zone, |marks| marks.collections.retain(|id, _| known(*id)));
    }

    /// The collections of a zone that may still be opened below their marks.
    pub(crate) fn pardoned(&self, zone: ZoneId) -> Vec<(i64, Arc<Mark>)> {
        let pardoned = |marks: &mut ZoneMarks| {
            let all = marks.collections.iter().filter(|(_, mark)| mark.pardon.load(Ordering::Acquire));
            all.map(|(id, mark)| (*id, Arc::clone(mark))).collect()
        };
        self.with(zone, pardoned)
    }

    /// Forgets a collection that was dropped. Only once that is durable.
    pub(crate) fn forget_collection(&self, zone: ZoneId, id: i64) {
        self.with(zone, |marks| marks.collections.remove(&id));
    }

    /// What is durable now.
    pub(crate) fn anchor(&self) -> Anchor {
        Anchor { zones: lock(&self.zones).iter().map(|(zone, marks)| (*zone, marks.anchor())).collect() }
    }

    /// What was refused, zone by zone, and has not been opened since.
    pub(crate) fn refused(&self) -> Vec<(ZoneId, BelowAnchor)> {
        let mut refused = Vec::new();
        for (zone, marks) in &*lock(&self.zones) {
            let maps = std::iter::once(&marks.catalog).chain(marks.collections.values());
            let maps = maps.filter_map(|mark| lock(&mark.refused).clone());
            refused.extend(marks.refused.iter().cloned().chain(maps).map(|below| (*zone, below)));
        }
        refused
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIVE: MapAnchor = MapAnchor { manifest: 5, log: 5 };

    fn marks(below: Below) -> (Arc<Marks>, Arc<Mark>) {
        let zone = ZoneAnchor { collections: BTreeMap::from([(1, FIVE)]), ..ZoneAnchor::default() };
        let marks = Marks::new(&Anchor { zones: BTreeMap::from([(ZoneId::CLUSTER, zone)]) }, below);
        let mark = marks.collection(ZoneId::CLUSTER, 1);
        (marks, mark)
    }

    #[test]
    fn a_map_is_refused_if_either_of_its_numbers_is_below() {
        let (marks, mark) = marks(Below::Refuse);
        for found in [MapAnchor { manifest: 4, ..FIVE }, MapAnchor { log: 4, ..FIVE }, MapAnchor::default()] {
            let below = mark.settle(mark.figures(), found).unwrap_err();
            assert_eq!(below, BelowAnchor::Map { name: mark.name, expected: FIVE, found });
            assert_eq!(marks.refused(), [(ZoneId::CLUSTER, below)]);
        }
        mark.settle(mark.figures(), FIVE).unwrap();
        assert!(marks.refused().is_empty());
    }

    #[test]
    fn what_was_durable_once_is_held_to_from_then_on() {
        let (marks, mark) = marks(Below::Refuse);
        mark.raise_log(9);
        mark.raise_log(7);
        let now = MapAnchor { manifest: 5, log: 9 };
        assert_eq!(marks.anchor().zones[&ZoneId::CLUSTER].collections[&1], now);
        mark.settle(mark.figures(), FIVE).unwrap_err();
    }

    #[test]
    fn what_becomes_durable_while_somebody_looks_is_not_missing() {
        let (marks, mark) = marks(Below::Refuse);
        let expected = mark.figures();
        // A put whose answer comes late, of a map that was just closed.
        mark.raise_manifest(6);
        mark.settle(expected, FIVE).unwrap();
        assert!(marks.refused().is_empty());
        assert_eq!(mark.figures(), MapAnchor { manifest: 6, ..FIVE });
    }

    #[test]
    fn a_pardon_is_for_one_opening_and_what_was_found_counts_from_then_on() {
        let (marks, mark) = marks(Below::Warn);
        let found = MapAnchor { manifest: 3, log: 2 };
        mark.settle(mark.figures(), found).unwrap();
        assert_eq!(marks.anchor().zones[&ZoneId::CLUSTER].collections[&1], found);
        mark.settle(mark.figures(), MapAnchor { manifest: 3, log: 1 }).unwrap_err();
    }
}
