//! Customer-managed keys: what a customer sets up, and what we prove of it before it is used.

mod field;
mod setup;
mod shell;
mod validate;

pub use field::{FieldError, KeyName, Place, Principal, RoleName, clean};
pub use setup::{Setup, SetupRequest};
pub use validate::{Check, CheckName, Progress, Validation, validate};
