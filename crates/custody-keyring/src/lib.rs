//! Encryption zones: their stored keyrings, and the leases under which their keys are in memory.
//!
//! A [`Keyring`] holds the zones of one cluster. Each [`Zone`] lends its key for one use at a time, and only before the
//! deadline of its lease, which is looked at on every use. One task per root key renews the lease of all its zones by
//! a real decrypt in a fresh session; what the KMS answers decides whether they stay available, are served on grace, or
//! are sealed. `docs/keyring.md` specifies the stored form, `docs/adr/0003-leases.md` the lease.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod clock;
mod copies;
mod create;
mod error;
mod fake_clock;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod keyring;
mod lease;
mod limited;
mod object;
mod policy;
mod status;
mod task;
mod term;
mod vault;
mod zone;

pub use clock::{Clock, Moment, SystemClock};
pub use copies::{CopyFault, CopyName, CopyProblem, Unusable};
pub use error::{CreateError, DeleteError, OpenError, SetupError, UnknownKey};
pub use fake_clock::FakeClock;
pub use keyring::{Keyring, SetGraceError};
pub use object::ObjectError;
pub use policy::{LONGEST_GRACE, LeasePolicy, PolicyError};
pub use status::{SealReason, ZoneStatus};
pub use task::KeyCheck;
pub use vault::StoreError;
pub use zone::{Zone, ZoneError};

/// What a failure says about a key; see [`ZoneStatus::outcome`].
pub use custody_kms::Outcome;
