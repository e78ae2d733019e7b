//! What a cluster is known to have had, from outside its storage (rule 6).
//!
//! Whoever writes to the bucket can put an older state back, or cut off the end of a log, and both are sound by themselves.
//! An anchor names what was durable, and a cluster is not opened below it. It holds opaque ids and numbers alone.

use std::{collections::BTreeMap, fmt};

use custody_store::ZoneId;
use serde::{Deserialize, Serialize};

/// How far a map had come: both numbers only ever grow, over restarts, compaction, garbage collection and fencing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MapAnchor {
    /// Its newest manifest.
    pub manifest: u64,
    /// Its newest log object, whether it still lies there or has gone into sorted files and was collected.
    pub log: u64,
}

impl MapAnchor {
    /// Whether this is at or above another in both numbers.
    pub(crate) fn covers(self, other: Self) -> bool {
        self.manifest >= other.manifest && self.log >= other.log
    }
}

impl fmt::Display for MapAnchor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "manifest {} and log object {}", self.manifest, self.log)
    }
}

/// How far a zone had come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ZoneAnchor {
    /// The newest version of its key; `None` in a cluster that is not encrypted.
    pub keyring: Option<u32>,
    /// Its catalog: the cluster's in the cluster's own zone, a database's in any other.
    pub catalog: Option<MapAnchor>,
    /// Its collections that were ever opened.
    pub collections: BTreeMap<i64, MapAnchor>,
}

/// How far a cluster had come: the floor below which it is not opened. It is kept as JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Text", into = "Text")]
pub struct Anchor {
    /// Its zones.
    pub zones: BTreeMap<ZoneId, ZoneAnchor>,
}

impl Anchor {
    /// Whether it names nothing, as before a cluster was ever made.
    pub fn is_empty(&self) -> bool {
        self.zones.is_empty()
    }
}

/// What to do where something is below the anchor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Below {
    /// Not to open it.
    #[default]
    Refuse,
    /// To open it once, with a warning, and to hold it to what was found from then on.
    Warn,
}

/// What an anchor names besides keyrings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MapName {
    /// The zone that it lies in.
    pub zone: ZoneId,
    /// The collection; `None` is the zone's catalog.
    pub collection: Option<i64>,
}

impl fmt::Display for MapName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.collection {
            Some(collection) => write!(f, "collection {collection:016x} in zone {}", self.zone),
            None => write!(f, "the catalog of zone {}", self.zone),
        }
    }
}

impl MapName {
    fn place(self) -> String {
        match self.collection {
            Some(collection) => format!("zones/{}/collections/{collection:016x}", self.zone),
            None => format!("zones/{}/catalog", self.zone),
        }
    }
}

/// What is older than the anchor says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BelowAnchor {
    /// A catalog or a collection.
    #[error(
        "{name} is below its anchor: {found} are the newest here, and {expected} were durable. The storage was rolled back, or \
         the newest objects of the log were deleted. Restore the objects under {}, or start the node once with --below-anchor: \
         what is missing is then given up", .name.place()
    )]
    Map {
        /// What it is.
        name: MapName,
        /// What was durable.
        expected: MapAnchor,
        /// What is there.
        found: MapAnchor,
    },
    /// The versions of a zone's key.
    #[error(
        "the keyring of zone {zone} is below its anchor: version {found} is the newest here, and version {expected} was in use. \
         The storage was rolled back. Restore the objects under zones/{zone}/keyring, or start the node once with \
         --below-anchor: what was sealed under later versions does not open then"
    )]
    Keyring {
        /// The zone.
        zone: ZoneId,
        /// The version that was in use.
        expected: u32,
        /// The newest that is there; 0 if the zone is not sealed at all.
        found: u32,
    },
    /// The whole cluster.
    #[error(
        "the storage holds nothing of this cluster, and its anchor says that it was there: it was deleted, or the storage is \
         another one. Restore the cluster's prefix, or start the node once with --below-anchor to begin anew"
    )]
    Empty,
}

/// An anchor as it is written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    /// The version of this form.
    anchor: u32,
    zones: BTreeMap<String, ZoneText>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ZoneText {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    keyring: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    catalog: Option<MapAnchor>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    collections: BTreeMap<String, MapAnchor>,
}

/// The version of the form that is written.
const FORM: u32 = 1;

impl From<Anchor> for Text {
    fn from(anchor: Anchor) -> Self {
        let zone = |(id, zone): (ZoneId, ZoneAnchor)| {
            let collections = zone.collections.into_iter().map(|(id, map)| (format!("{id:016x}"), map)).collect();
            (id.to_string(), ZoneText { keyring: zone.keyring, catalog: zone.catalog, collections })
        };
        Self { anchor: FORM, zones: anchor.zones.into_iter().map(zone).collect() }
    }
}

impl TryFrom<Text> for Anchor {
    type Error = String;

    fn try_from(text: Text) -> Result<Self, String> {
        if text.anchor != FORM {
            return Err(format!("the anchor has form {}, and this version knows form {FORM}", text.anchor));
        }
        let collection = |(id, map): (String, MapAnchor)| {
            let parsed = i64::from_str_radix(&id, 16).ok().filter(|parsed| format!("{parsed:016x}") == id);
            parsed.map(|id| (id, map)).ok_or_else(|| format!("'{id}' is not the id of a collection"))
        };
        let zone = |(id, zone): (String, ZoneText)| {
            let parsed: ZoneId = id.parse().map_err(|_| format!("'{id}' is not the id of a zone"))?;
            let collections = zone.collections.into_iter().map(collection).collect::<Result<_, String>>()?;
            Ok((parsed, ZoneAnchor { keyring: zone.keyring, catalog: zone.catalog, collections }))
        };
        Ok(Self { zones: text.zones.into_iter().map(zone).collect::<Result<_, String>>()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_anchor_is_read_as_it_was_written_and_nothing_else_is_taken_for_one() {
        let map = |manifest, log| MapAnchor { manifest, log };
        let mut anchor = Anchor::default();
        let cluster = ZoneAnchor { keyring: Some(2), catalog: Some(map(4, 17)), collections: BTreeMap::new() };
        let other = ZoneAnchor { keyring: None, catalog: None, collections: BTreeMap::from([(10, map(3, 9))]) };
        anchor.zones.extend([(ZoneId::CLUSTER, cluster), (ZoneId::new([7; 16]), other)]);
        let text = serde_json::to_string(&anchor).unwrap();
        assert!(text.contains("\"000000000000000a\":{\"manifest\":3,\"log\":9}"), "{text}");
        assert_eq!(serde_json::from_str::<Anchor>(&text).unwrap(), anchor);
        assert!(serde_json::from_str::<Anchor>("{\"anchor\":1,\"zones\":{}}").unwrap().is_empty());
        for (from, to) in [
            ("\"anchor\":1", "\"anchor\":2"),
            ("\"anchor\":1,", ""),
            ("0707", "07"),
            ("000000000000000a", "a"),
            ("000000000000000a", "+00000000000000a"),
            ("\"log\":9", "\"log\":-9"),
            (",\"log\":9", ""),
            ("\"keyring\"", "\"keyrings\""),
        ] {
            let broken = text.replacen(from, to, 1);
            assert_ne!(broken, text);
            assert!(serde_json::from_str::<Anchor>(&broken).is_err(), "{broken}");
        }
    }
}
