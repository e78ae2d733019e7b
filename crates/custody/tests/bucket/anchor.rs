//! The same attacks on a cluster whose anchor is known (rule 6): none goes unnoticed.

use std::sync::Arc;

use custody_engine::{Anchor, Below, BelowAnchor, Engine, EngineError, MapAnchor, ZoneAnchor};
use custody_keyring::{Keyring, LeasePolicy, SystemClock};
use custody_kms::{LocalKeys, LocalKms, MemoryLedger, RootKeyRef};
use custody_store::{SealedZones, ZoneId, Zones};
use object_store::{ObjectStore, local::LocalFileSystem};

use crate::{
    common::{CLUSTER, Failure},
    contents::Contents,
    files::{Objects, Stopped},
};

/// The anchor of a cluster, by the names of its objects: what its node would have told.
pub(crate) fn anchor_of(objects: &Objects) -> Anchor {
    let mut anchor = Anchor::default();
    for path in objects.keys() {
        let parts: Vec<String> = path.parts().map(|part| part.as_ref().to_owned()).collect();
        let Some(number) = parts.last().and_then(|name| name.split('.').next()?.parse::<u64>().ok()) else { continue };
        let zone: ZoneId = parts[1].parse().expect("a zone");
        let zone = anchor.zones.entry(zone).or_insert_with(ZoneAnchor::default);
        let (map, kind) = match parts[2].as_str() {
            "keyring" => {
                zone.keyring = zone.keyring.max(u32::try_from(number).ok());
                continue;
            }
            "catalog" => (zone.catalog.get_or_insert_default(), &parts[3]),
            "collections" if parts[4] == "rows" => {
                let id = i64::from_str_radix(&parts[3], 16).expect("a collection");
                (zone.collections.entry(id).or_default(), &parts[5])
            }
            _ => continue,
        };
        let MapAnchor { manifest, log } = map;
        match kind.as_str() {
            "manifest" => *manifest = number.max(*manifest),
            "wal" => *log = number.max(*log),
            _ => {}
        }
    }
    anchor
}

impl Stopped {
    /// Opens some objects above an anchor, and reads all that is in them.
    pub(crate) async fn read_above(&self, objects: &Objects, anchor: &Anchor) -> Result<Contents, EngineError> {
        let zones = self.zones(objects).await.map_err(|error| EngineError::Zone(error.to_string()))?;
        let engine = Engine::open_above(zones as Arc<dyn Zones>, anchor, Below::Refuse).await?;
        let contents = Contents::read(&engine).await;
        engine.close().await;
        contents
    }
}

/// A small encrypted cluster on local files.
struct Small {
    directory: tempfile::TempDir,
    key: RootKeyRef,
}

impl Small {
    fn new() -> Result<Self, Failure> {
        let directory = tempfile::tempdir()?;
        std::fs::create_dir(directory.path().join("objects"))?;
        let arn = LocalKeys::new(directory.path().join("kms.json")).create()?.to_string();
        Ok(Self { directory, key: RootKeyRef::parse("local", &arn, None, None)? })
    }

    fn open(&self) -> Result<(Arc<Keyring>, Arc<dyn Zones>), Failure> {
        let objects = LocalFileSystem::new_with_prefix(self.directory.path().join("objects"))?;
        let store: Arc<dyn ObjectStore> = Arc::new(objects);
        let kms = Arc::new(LocalKms::new(self.directory.path().join("kms.json"), Arc::new(MemoryLedger::new(16))));
        let (policy, clock) = (LeasePolicy::default(), Arc::new(SystemClock));
        let cluster: custody_store::ClusterId = CLUSTER.parse()?;
        let keyring =
            Keyring::new(Arc::clone(&store), cluster.clone(), kms, self.key.clone(), Vec::new(), policy, clock)?;
        let keyring = Arc::new(keyring);
        Ok((Arc::clone(&keyring), Arc::new(SealedZones::new(store, keyring, cluster))))
    }

    fn remove_version(&self, zone: ZoneId, version: u32) -> Result<(), Failure> {
        for copy in ["a", "b"] {
            let name = format!("objects/zones/{zone}/keyring/{version:010}.{copy}");
            std::fs::remove_file(self.directory.path().join(name))?;
        }
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_keyring_put_back_is_opened_in_silence_without_an_anchor_and_refused_with_one() -> Result<(), Failure>
{
    for of_cluster in [true, false] {
        let small = Small::new()?;
        let (keyring, zones) = small.open()?;
        let engine = Engine::create(zones).await?;
        let first = engine.anchor();
        let zone = if of_cluster { ZoneId::CLUSTER } else { *first.zones.keys().next_back().expect("two zones") };
        engine.close().await;
        // Only now, so that nothing is sealed under it.
        assert_eq!((keyring.new_version(zone).await?, first.zones[&zone].keyring), (2, Some(1)));
        let anchor = engine.anchor();
        assert_eq!(anchor.zones[&zone].keyring, Some(2), "it is told at once");
        drop((engine, keyring));
        small.remove_version(zone, 2)?;

        let refused = Engine::open_above(small.open()?.1, &anchor, Below::Refuse).await;
        let Err(EngineError::BelowAnchor(refused)) = refused else { panic!("{of_cluster}: {refused:?}") };
        assert_eq!(refused, BelowAnchor::Keyring { zone, expected: 2, found: 1 });
        Engine::open(small.open()?.1).await?.close().await;

        let engine = Engine::open_above(small.open()?.1, &anchor, Below::Warn).await?;
        assert_eq!(engine.anchor().zones[&zone].keyring, Some(1), "taken anew");
        engine.close().await;
    }
    Ok(())
}
