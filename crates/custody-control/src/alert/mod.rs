//! Alerts of a project: what is raised, which rules ask for it, and how it reaches a webhook: what may be reached, what is
//! sent, and when it is tried again.

mod address;
mod deliver;
mod payload;
mod raise;
mod resolver;
mod rules;
mod schedule;
mod signature;
mod target;
mod webhook;

pub use address::{Allowed, AllowedError, Kind, Refusal};
pub use payload::{AuditHead, Payload};
pub use raise::AlertKind;
pub use resolver::{Resolver, SystemResolver};
pub use rules::{Alert, AlertRule, NewRule, Sent};
pub use schedule::next_try;
pub use signature::{Secret, SecretError};
pub use target::{Target, TargetError};
pub use webhook::{Delivered, Delivery, DeliveryError, Sender};

pub(crate) use raise::raise;
