//! The messages.

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf};

use custody_kms::{HandedFailure, HandedSession, KeyRefError, LedgerEntry, Outcome, RootKeyRef};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::{
    handed::{SessionAnswer, unix_ms},
    work::{WorkOrder, WorkReport},
};

/// What a node sends. There is no `Debug`: the token would be in it.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToControl {
    /// The first message: who this is.
    Hello {
        /// The cluster's id.
        cluster: String,
        /// What the control plane gave the process, so that nobody else answers for the cluster.
        #[serde(with = "crate::hidden")]
        token: Zeroizing<String>,
    },
    /// How the node is.
    Report(Report),
    /// Asks for a session on a key; answered by [`ToNode::Session`] of the same id.
    AskSession {
        /// Names the ask.
        id: u64,
        /// The key's ARN.
        key_arn: String,
        /// [`Purpose`](custody_kms::Purpose) as one word.
        purpose: String,
    },
    /// Asks for a session on the cluster's part of the bucket; answered by [`ToNode::Session`] of the same id.
    AskStorage {
        /// Names the ask.
        id: u64,
        /// Not the cluster's own part, but where the backups of this cluster are: its own, or the one that it restores from.
        #[serde(default)]
        backups_of: Option<String>,
    },
    /// Asks what the holder of a control plane's API key may do; answered by [`ToNode::Access`] of the same id.
    AskAccess {
        /// Names the ask.
        id: u64,
        /// The key's SHA-256, as hex.
        digest: String,
    },
    /// Calls to KMS that the node made.
    Calls(Vec<CallRecord>),
    /// What the node has done so far.
    Figures(Figures),
    /// How far the cluster has come, as JSON: ids and numbers alone. It is for the control plane to keep, as it is, and to
    /// give back as [`NodeConfig::anchor`]; a later one takes the place of those before it.
    Anchor(String),
    /// How a long piece of work is. Told as it goes on and when it ends, and again after each reconnect.
    Work(WorkReport),
}

/// What the control plane sends. There is no `Debug`: credentials would be in it.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToNode {
    /// The answer to Hello.
    Configure(Box<NodeConfig>),
    /// Another policy, to be followed from now on.
    Keys(KeyPolicy),
    /// The answer to [`ToControl::AskSession`] or [`ToControl::AskStorage`].
    Session {
        /// The ask's.
        id: u64,
        /// The session, or why there is none.
        result: SessionAnswer,
    },
    /// The answer to [`ToControl::AskAccess`].
    Access {
        /// The ask's.
        id: u64,
        /// Which calls the key's holder may make.
        level: Access,
        /// Whether the holder may put databases under keys of their own.
        #[serde(default)]
        uses_keys: bool,
    },
    /// Seal the cluster by hand.
    Seal,
    /// End a seal by hand, and one that waits for a person after a revocation.
    Unseal,
    /// A long piece of work. One that the node has of the same job already is not begun again.
    Work(Box<WorkOrder>),
    /// Give a job's work up, and undo what it has made.
    CancelWork {
        /// The job.
        job: String,
    },
    /// End the process, cleanly.
    Stop,
}

impl ToNode {
    /// The answer to an ask for a session.
    pub fn session(id: u64, result: Result<HandedSession, HandedFailure>) -> Self {
        Self::Session { id, result: result.map(Into::into).map_err(Into::into) }
    }
}

/// Which calls the holder of a control plane's API key may make to a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// Nothing.
    None,
    /// Reading calls.
    Read,
    /// All but managing users.
    Write,
    /// All.
    Admin,
}

/// A root key and the way to it. There is no `Debug`: the external id would be in it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRef {
    /// Who keeps it: `aws` or `local`.
    pub provider: String,
    /// Its full ARN.
    pub arn: String,
    /// The role that may use it.
    pub role: Option<String>,
    /// The external id that the role's trust policy demands.
    pub external_id: Option<String>,
}

impl KeyRef {
    /// The same, parsed.
    pub fn reference(&self) -> Result<RootKeyRef, KeyRefError> {
        RootKeyRef::parse(&self.provider, &self.arn, self.role.as_deref(), self.external_id.as_deref())
    }
}

impl From<&RootKeyRef> for KeyRef {
    fn from(key: &RootKeyRef) -> Self {
        Self {
            provider: key.provider().to_string(),
            arn: key.key_arn().to_string(),
            role: key.role_arn().map(ToString::to_string),
            external_id: key.external_id().map(|id| id.expose().to_owned()),
        }
    }
}

/// All that a node has to know.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "switches that have nothing to do with each other")]
pub struct NodeConfig {
    /// The cluster's id.
    pub cluster: String,
    /// Its root key; without one it is stored in plain text.
    pub key: Option<KeyRef>,
    /// Where clusters are stored: `file:///DIR` or `s3://BUCKET/PREFIX`.
    pub storage: String,
    /// The address to listen on.
    pub listen: SocketAddr,
    /// Where local state lives.
    pub data_dir: PathBuf,
    /// How often each root key is checked.
    pub key_check_interval_ms: u64,
    /// The file of the local development KMS.
    pub kms_file: Option<PathBuf>,
    /// The certificate chain for TLS.
    pub tls_cert: Option<PathBuf>,
    /// The private key for TLS.
    pub tls_key: Option<PathBuf>,
    /// Run although swap is on.
    pub allow_swap: bool,
    /// Listen beyond loopback without TLS.
    pub insecure: bool,
    /// What to log.
    pub log: String,
    /// Log lines as JSON.
    pub log_json: bool,
    /// The argon2id hash (PHC) of root's first password, used only while there is no user root.
    pub root_hash: Option<String>,
    /// How keys are treated.
    pub policy: KeyPolicy,
    /// What the last [`ToControl::Anchor`] of this cluster held. The node does not open anything below it.
    #[serde(default)]
    pub anchor: Option<String>,
    /// Open what is below the anchor all the same, this time.
    #[serde(default)]
    pub below_anchor: bool,
    /// Zones (ids) whose key was revoked and which wait for a person, each with what was said of the revocation. They open
    /// sealed. While the node runs, what it knows itself counts.
    #[serde(default)]
    pub held_zones: BTreeMap<String, String>,
    /// The storage is a bucket, and sessions on the cluster's part of it come from [`ToControl::AskStorage`].
    #[serde(default)]
    pub storage_sessions: bool,
    /// The addresses of the control plane's console, `scheme://host:port`: a browser's page from there may call.
    #[serde(default)]
    pub console_origins: Vec<String>,
    /// The cluster is to be made from a backup: a [`Restore`](crate::Work::Restore). The node serves nothing before that is
    /// done; what an earlier try left, it removes first.
    #[serde(default)]
    pub restore: Option<Box<WorkOrder>>,
}

/// How a cluster's keys are treated. It changes while the node runs.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyPolicy {
    /// The grace of each key, by its ARN; an hour for those not named.
    pub grace_seconds: BTreeMap<String, u64>,
    /// Keys that databases may be created under, besides the cluster's.
    pub tenant_keys: Vec<KeyRef>,
    /// Keys (ARNs) after whose revocation a person has to unseal what was under them.
    pub manual_recovery: Vec<String>,
    /// The cluster is sealed by hand.
    pub hold: bool,
    /// The number of the last order to seal it by hand: the node says with it that it has heeded it. 0 if there was none.
    #[serde(default)]
    pub order: u64,
}

/// How a node is. Ids and statuses only: never a name, never a row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The process's state.
    pub state: NodeState,
    /// The zones of an encrypted cluster that are open, sealed or not.
    pub zones: Vec<ZoneReport>,
    /// The process.
    pub pid: u32,
}

/// What a node has done since its process began. Figures alone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Figures {
    /// Calls of Milvus' clients that were answered.
    pub requests: u64,
    /// Those of them that failed.
    pub failed: u64,
    /// How long all of them took together, in microseconds.
    pub micros: u64,
    /// The memory that the process has now, in bytes.
    pub resident: u64,
}

/// The outcome of a node that did not open its cluster because the storage is below the anchor, and of a zone some of which
/// it did not open. The node then waits for [`ToNode::Unseal`] before it looks again.
pub const ROLLED_BACK: &str = "rolled_back";

/// The state of a node's process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeState {
    /// It opens the cluster, or makes it from a backup.
    Starting,
    /// It serves.
    Serving,
    /// It holds no key and no data.
    Sealed {
        /// Why.
        reason: String,
        /// What the failure says about the key, if KMS had a part in it: one word. Or [`ROLLED_BACK`].
        outcome: Option<String>,
        /// The order ([`KeyPolicy::order`]) by which it stays so whatever its key does; 0 if it was not sealed by hand.
        #[serde(default)]
        heeded: u64,
    },
}

/// How a zone is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ZoneReport {
    /// The zone's id.
    pub zone: String,
    /// The root key that it is under.
    pub key_arn: String,
    /// The newest version of its own key.
    pub key_version: u32,
    /// Whether it can be used.
    pub status: ZoneState,
    /// What the failure says about the key, if there is one: one word. Or [`ROLLED_BACK`], whatever the status.
    pub outcome: Option<String>,
    /// Why it is sealed, or why its key could not be checked.
    pub reason: Option<String>,
    /// When it seals, if it is served on grace.
    pub grace_until_unix_ms: Option<u64>,
}

/// Whether a zone can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ZoneState {
    /// Its key was proven.
    Available,
    /// The last check had no answer.
    Grace,
    /// No key of it is in memory.
    Sealed,
}

/// A call to KMS or STS, as a [`LedgerEntry`] has it, in text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallRecord {
    /// When it began.
    pub at_unix_ms: u64,
    /// How long it took.
    pub took_ms: u64,
    /// Who was called.
    pub provider: String,
    /// Service and action, as in a policy.
    pub action: String,
    /// The key's ARN.
    pub key: String,
    /// The role's ARN.
    pub role: Option<String>,
    /// The session's assumed-role ARN.
    pub session: Option<String>,
    /// The EncryptionContext.
    pub context: Option<String>,
    /// Why the session was opened.
    pub purpose: String,
    /// `ok`, or what the failure means.
    pub outcome: String,
    /// AWS's error code.
    pub code: Option<String>,
    /// AWS's request id.
    pub request_id: Option<String>,
}

impl From<&LedgerEntry> for CallRecord {
    fn from(entry: &LedgerEntry) -> Self {
        Self {
            at_unix_ms: unix_ms(entry.at),
            took_ms: u64::try_from(entry.took.as_millis()).unwrap_or(u64::MAX),
            provider: entry.provider.to_string(),
            action: entry.action.to_string(),
            key: entry.key.to_string(),
            role: entry.role.as_ref().map(ToString::to_string),
            session: entry.session.clone(),
            context: entry.context.as_ref().map(ToString::to_string),
            purpose: entry.purpose.as_str().to_owned(),
            outcome: entry.result.map_or_else(Outcome::as_str, |()| "ok").to_owned(),
            code: entry.code.clone(),
            request_id: entry.request_id.clone(),
        }
    }
}
