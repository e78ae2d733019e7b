//! Sealed files: the format in which everything of an encrypted cluster is stored, and the keys that open it.
//!
//! A sealed file is a header of 256 bytes and a body of equal chunks. The header carries the file's own data key,
//! wrapped under the key of its encryption zone, and commits to it; the body hangs on the data key alone, so that a new
//! header re-keys or moves a file. `docs/format.md` specifies every byte, and the golden vectors in `vectors/sealed`
//! pin it.
//!
//! The crate is synchronous, does no IO and holds no state. Data keys never leave it: what a caller gets is a
//! [`ZoneKey`] to put in, and opaque keys that seal and open.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod derive;
mod error;
mod header;
mod id;
mod key;
mod layout;
mod random;
mod sealer;
mod suite;
#[cfg(any(test, feature = "vectors"))]
pub mod vectors;
mod zone_key;

pub use error::{ChunkError, HeaderError, OpenError, UnsealError};
pub use header::{FORMAT_VERSION, FileContext, HEADER_LEN, Header};
pub use id::{ClusterId, InvalidClusterId, InvalidZoneId, ZoneId};
pub use key::{BodyKey, DataKey};
pub use layout::{ChunkSize, FileLayout, ImpossibleLength, Layout, Span, TooLong};
pub use random::RandomError;
pub use sealer::{NewFile, SealError, Sealer, open, seal};
pub use suite::Suite;
pub use zone_key::{ForgedKeyring, InvalidZoneKey, ZoneKey};
