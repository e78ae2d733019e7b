//! What crosses between the control plane and a node, and nothing else (rule 23).
//!
//! A node under a control plane has no AWS credentials of its own and no settings but those that come over this link: a Unix
//! socket in a directory that only their common user can enter. [`Listener`] is the control plane's end, [`Link`] the
//! node's. No row and no key ever crosses, and no name of a database or collection but those that somebody chose for a backup
//! or a restore.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod error;
mod frame;
mod handed;
pub mod hidden;
mod listener;
mod message;
mod node;
mod socket;
mod work;

pub use error::LinkError;
pub use frame::LONGEST;
pub use handed::{SessionAnswer, SessionFailure, SessionFailureKind, SessionParts};
pub use listener::{Connection, Incoming, Listener, Outgoing, Pending};
pub use message::{
    Access, CallRecord, Figures, KeyPolicy, KeyRef, NodeConfig, NodeState, ROLLED_BACK, Report, ToControl, ToNode,
    ZoneReport, ZoneState,
};
pub use node::{Command, Disconnected, Link};
pub use work::{
    BackupOrder, BackupSource, Chosen, Omitted, Renamed, RestoreMode, RestoreOrder, Work, WorkDone, WorkOrder,
    WorkReport, WorkState,
};
