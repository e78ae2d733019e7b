//! Root keys: the keys of a customer's own KMS, which wrap zone keys and nothing else.
//!
//! [`RootKms`] opens a fresh session on a key, and [`KmsSession`] wraps and unwraps in it. There are three adapters:
//! [`AwsKms`], [`LocalKms`] for development, and [`scripted`] for tests. All of them pass through one gate, which
//! records every call in a [`Ledger`], tries again where that makes sense, refuses another key's answer, and concludes
//! from each failure what it says about the key: its [`Outcome`].
//!
//! Only [`confirmed`] turns a denial into a revocation, after a second one a few seconds later.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod arn;
mod aws;
mod classify;
mod clock;
mod context;
mod description;
mod envelope;
mod error;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod gate;
mod hex;
mod key_ref;
mod ledger;
mod local;
mod probe;
mod providers;
mod retry;
mod root;
pub mod scripted;
mod secret;
mod wire;

pub use arn::{AliasArn, ArnError, KeyArn, LOCAL_ACCOUNT, LOCAL_REGION, Named, Partition, RoleArn};
pub use aws::{
    AwsKms, AwsOptions, AwsSessions, AwsTimeouts, BucketPart, BucketPartError, HandedFailure, HandedFailureKind,
    HandedSession, IdentityError, InsecureEndpoint, SessionName, SessionNameTooLong, SessionSource, configured_region,
};
pub use clock::ClockSkew;
pub use context::{ContextId, ContextPurpose, EncryptionContext, InvalidContextId};
pub use description::{KeyDescription, KeyState, KeyUsage};
pub use error::{Action, Cause, KmsError, Outcome};
pub use key_ref::{AliasRef, ExternalId, KeyRefError, Provider, RootKeyRef};
pub use ledger::{LEDGER_TARGET, Ledger, LedgerEntry, MemoryLedger};
pub use local::{LocalFileError, LocalKey, LocalKeyError, LocalKeys, LocalKms};
pub use probe::{Probe, Step, StepTold, probe, probe_telling};
pub use providers::Providers;
pub use retry::RetryPolicy;
pub use root::{KmsSession, Purpose, RootKms, confirmed};
pub use secret::Secret;
