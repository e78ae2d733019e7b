//! Object storage that seals what it writes.
//!
//! [`SealedStore`] is an [`ObjectStore`](object_store::ObjectStore) for the objects of one encryption zone, over any other
//! one: what goes through it is sealed on the way in and opened on the way out, and what was altered below it does not
//! open. [`Zones`] is what an engine sees: it makes, opens and deletes zones, and hands out a [`ZoneStore`] for each,
//! sealed ([`SealedZones`]) or not ([`PlainZones`]).

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod bring;
mod cache;
mod chunks;
mod copy;
mod error;
mod parts;
mod plain;
mod read;
mod scope;
mod sealed;
mod sealed_zones;
mod unanswered;
mod upload;
mod verify;
mod zones;

pub use bring::Bring;
pub use custody_keyring::{UnknownKey, ZoneStatus};
pub use custody_seal::{ChunkSize, ClusterId, OpenError, Suite, ZoneId};
pub use error::StoreError;
pub use parts::put_stream;
pub use plain::PlainZones;
pub use sealed::SealedStore;
pub use sealed_zones::SealedZones;
pub use verify::{FileInfo, Finding, INSPECTED, inspect};
pub use zones::{ZoneStore, Zones, ZonesError};
