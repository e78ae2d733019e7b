//! Who may do what: users of the console, API keys, and their roles.

pub(crate) mod api_keys;
mod bootstrap;
mod caller;
mod role;
pub(crate) mod sessions;
pub(crate) mod users;

pub use api_keys::{ApiKeyInfo, NewApiKey};
pub use bootstrap::{ADMIN, AdminCredentials, FirstCredentials};
pub use caller::Caller;
pub use role::{Grant, Privilege, Role};
pub use sessions::{SignedIn, Visitor};
pub use users::UserInfo;

pub(crate) use bootstrap::bootstrap;
pub(crate) use sessions::Gatekeeper;

#[cfg(test)]
pub(crate) use caller::tests as callers;
