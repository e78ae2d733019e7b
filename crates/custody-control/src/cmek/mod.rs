//! Customer-managed keys: what a customer sets up, and what we prove of it before it is used.

mod checks;
mod deputy;
mod field;
mod history;
mod keys;
mod ledger;
mod mend;
mod part;
mod setup;
mod shell;
mod status;
mod typed;
mod validate;

pub use field::{FieldError, KeyName, Place, Principal, RoleName, clean};
pub use history::KeyStatusChange;
pub use keys::{Allow, Key, KeyChange, KeyCount, KeyUser, NewKey, Recovery};
pub use ledger::{DbLedger, KmsCall};
pub use part::{Listed, Part};
pub use setup::{Setup, SetupRequest};
pub use status::KeyStatus;
pub use typed::Typed;
pub use validate::{Check, CheckName, Event, Progress, Validation, Wanted, validate};

pub(crate) use checks::NewestChecks;
pub(crate) use keys::DEFAULT_GRACE;
