//! What a KMS call that failed means, and what to do about it.

use std::fmt;

use crate::arn::{AliasArn, KeyArn, Named};
use crate::description::KeyState;

/// What a failure says about the key: the one thing a lease decides by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// KMS refused us, once. Policies change in steps and answers can be stale, so only a second refusal of a fresh
    /// session a few seconds later counts as [`Revoked`](Self::Revoked); see [`confirmed`](crate::confirmed).
    Denied,
    /// KMS said no: the key is disabled, gone, or may not be used by us.
    Revoked,
    /// No answer, or one that says "not now": network, time-out, throttling, a fault on AWS's side.
    Unreachable,
    /// Our own fault, never the key owner's: our base credential, our signature, our clock, our file.
    Ours,
    /// What was asked can't work whatever the owner allows: wrong context, wrong kind of key, damaged keyring.
    Misconfigured,
}

impl Outcome {
    /// One word for logs and records.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Denied => "denied",
            Self::Revoked => "revoked",
            Self::Unreachable => "unreachable",
            Self::Ours => "ours",
            Self::Misconfigured => "misconfigured",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A call to KMS or STS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Action {
    /// `sts:AssumeRole`.
    AssumeRole,
    /// `kms:Encrypt`.
    Encrypt,
    /// `kms:Decrypt`.
    Decrypt,
    /// `kms:DescribeKey`.
    DescribeKey,
}

impl Action {
    /// As it is called in a policy.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AssumeRole => "sts:AssumeRole",
            Self::Encrypt => "kms:Encrypt",
            Self::Decrypt => "kms:Decrypt",
            Self::DescribeKey => "kms:DescribeKey",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a call failed, in terms that a message to a person can be made of.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cause {
    /// The role would not be assumed: it is gone, its trust policy does not name us, or the external id is wrong.
    RoleRefused,
    /// Neither the role's policy nor the key's allows this action.
    PermissionMissing(Action),
    /// The key is disabled.
    KeyDisabled,
    /// The key is scheduled for deletion.
    KeyPendingDeletion,
    /// The key's material has not been imported, or has expired.
    KeyPendingImport,
    /// The key's region knows no such key.
    KeyNotFound,
    /// The key is between states, or its key store is not connected.
    KeyNotReady(KeyState),
    /// The key is not a symmetric one for encryption.
    WrongKeyUsage(String),
    /// The ciphertext was not made by this key under this context, or is damaged.
    WrongCiphertext,
    /// The answer came from another key than the one that was named.
    WrongKeyReturned(String),
    /// Too many calls.
    Throttled,
    /// No connection to the endpoint.
    NoConnection,
    /// No answer in time.
    TimedOut,
    /// A fault inside AWS.
    ServerFault,
    /// Our base credential can't be had, is expired or is not accepted.
    BaseCredential,
    /// The session that the role gave is not accepted any more, or not yet.
    Session,
    /// The signature was not accepted.
    BadSignature,
    /// Our clock and AWS's are apart.
    ClockSkew,
    /// STS is not active for our account in the key's region.
    RegionInactive,
    /// The endpoint is plain http and not on this machine.
    InsecureEndpoint(String),
    /// The file of development keys can't be used.
    LocalFile(String),
    /// The key is of a provider that is not enabled here.
    ProviderDisabled,
    /// The provider knows no aliases.
    NoAliases,
    /// The request was malformed.
    InvalidRequest,
    /// An answer that this version does not know.
    Unexpected,
}

impl Cause {
    /// What to do about it, addressed to whoever can.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::RoleRefused => {
                "check that the role exists, that its trust policy names our principal and this external id, and that our own identity may assume it"
            }
            Self::PermissionMissing(_) => {
                "allow the action on this key in the role's policy, and in the key's policy if the key is of another account"
            }
            Self::KeyDisabled => "enable the key (`aws kms enable-key`)",
            Self::KeyPendingDeletion => {
                "cancel the deletion (`aws kms cancel-key-deletion`) and enable the key, before its date passes"
            }
            Self::KeyPendingImport => "import the key's material again",
            Self::KeyNotFound => "check the ARN and its region; a deleted key can't come back",
            Self::KeyNotReady(_) => "wait, or connect the key's custom key store",
            Self::WrongKeyUsage(_) => "use a symmetric key with usage ENCRYPT_DECRYPT",
            Self::WrongCiphertext => {
                "the wrapped key is damaged, or belongs to another cluster, zone or version; restore it"
            }
            Self::WrongKeyReturned(_) => "check the endpoint: it answers for another key",
            Self::Throttled => "nothing, unless it lasts: then raise the account's KMS quota",
            Self::NoConnection | Self::TimedOut => {
                "check the network between this machine and KMS and STS in the key's region"
            }
            Self::ServerFault => "wait; look at the AWS health dashboard",
            Self::BaseCredential => "renew this service's own AWS credentials; the key's owner is not at fault",
            Self::Session => "nothing, unless it lasts: the next check opens a new session",
            Self::BadSignature => "check this service's own AWS secret key and what stands between it and AWS",
            Self::ClockSkew => "set this machine's clock (NTP)",
            Self::RegionInactive => "activate STS for the region in this service's own AWS account",
            Self::InsecureEndpoint(_) => "use https; plain http is allowed on loopback only",
            Self::LocalFile(_) => "mend the file of development keys on this machine",
            Self::ProviderDisabled => "use a key of an enabled provider",
            Self::NoAliases => "give the ARN of the key itself",
            Self::InvalidRequest => "check the key's ARN; if it is right, report this",
            Self::Unexpected => "read AWS's text",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RoleRefused => f.write_str("the role refused us: wrong external id or trust policy, or no such role"),
            Self::PermissionMissing(action) => write!(f, "missing permission {action}"),
            Self::KeyDisabled => f.write_str("the key is disabled"),
            Self::KeyPendingDeletion => f.write_str("the key is pending deletion"),
            Self::KeyPendingImport => f.write_str("the key has no key material (pending import)"),
            Self::KeyNotFound => f.write_str("no such key in its region"),
            Self::KeyNotReady(state) => write!(f, "the key is not ready ({state})"),
            Self::WrongKeyUsage(what) => write!(f, "wrong key usage ({what})"),
            Self::WrongCiphertext => {
                f.write_str("the wrapped key does not belong to this key and context, or is damaged")
            }
            Self::WrongKeyReturned(arn) => write!(f, "another key answered: {arn:?}"),
            Self::Throttled => f.write_str("throttled"),
            Self::NoConnection => f.write_str("no connection"),
            Self::TimedOut => f.write_str("no answer in time"),
            Self::ServerFault => f.write_str("a fault inside the KMS"),
            Self::BaseCredential => f.write_str("our own base credential is missing, expired or not accepted"),
            Self::Session => f.write_str("the role's session was not accepted: it has expired, or was ended"),
            Self::BadSignature => f.write_str("our signature was not accepted"),
            Self::ClockSkew => f.write_str("our clock differs from AWS's"),
            Self::RegionInactive => f.write_str("STS is not active for our account in the key's region"),
            Self::InsecureEndpoint(endpoint) => {
                write!(f, "refused to send anything to {endpoint:?}: plain http off loopback")
            }
            Self::LocalFile(what) => write!(f, "the file of development keys can't be used: {what}"),
            Self::ProviderDisabled => f.write_str("the key's provider is not enabled here"),
            Self::NoAliases => f.write_str("keys of this provider have no aliases"),
            Self::InvalidRequest => f.write_str("the request was not accepted as well-formed"),
            Self::Unexpected => f.write_str("an answer we do not know"),
        }
    }
}

/// A KMS or STS call that failed.
///
/// `Display` says what failed, why, and what to do, with AWS's own text; never any key material.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KmsError(Box<Inner>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Inner {
    outcome: Outcome,
    cause: Cause,
    about: Named,
    action: Option<Action>,
    code: Option<String>,
    text: Option<String>,
    request_id: Option<String>,
}

impl KmsError {
    /// A failure that no call to KMS brought about.
    pub fn new(key: &KeyArn, outcome: Outcome, cause: Cause) -> Self {
        Self::about(Named::Key(key.clone()), outcome, cause)
    }

    /// The same about an alias whose key was asked for.
    pub fn of_alias(alias: &AliasArn, outcome: Outcome, cause: Cause) -> Self {
        Self::about(Named::Alias(alias.clone()), outcome, cause)
    }

    pub(crate) fn about(about: Named, outcome: Outcome, cause: Cause) -> Self {
        Self(Box::new(Inner { outcome, cause, about, action: None, code: None, text: None, request_id: None }))
    }

    pub(crate) fn during(mut self, action: Action) -> Self {
        self.0.action = Some(action);
        self
    }

    pub(crate) fn answered(mut self, code: Option<String>, text: Option<String>, request_id: Option<String>) -> Self {
        self.0.code = code;
        self.0.text = text.filter(|text| !text.is_empty());
        self.0.request_id = request_id;
        self
    }

    /// The same failure, better understood.
    pub(crate) fn because(mut self, outcome: Outcome, cause: Cause) -> Self {
        self.0.outcome = outcome;
        self.0.cause = cause;
        self
    }

    /// A denial that a fresh session has met again.
    pub(crate) fn confirm(mut self) -> Self {
        if self.0.outcome == Outcome::Denied {
            self.0.outcome = Outcome::Revoked;
        }
        self
    }

    /// What it says about the key.
    pub fn outcome(&self) -> Outcome {
        self.0.outcome
    }

    /// Why.
    pub fn cause(&self) -> &Cause {
        &self.0.cause
    }

    /// The key or the alias that it is about.
    pub fn named(&self) -> &Named {
        &self.0.about
    }

    /// The call that failed, if it came to one.
    pub fn action(&self) -> Option<Action> {
        self.0.action
    }

    /// AWS's error code, as it came.
    pub fn code(&self) -> Option<&str> {
        self.0.code.as_deref()
    }

    /// AWS's text, as it came; or that of the layer which failed below it.
    pub fn text(&self) -> Option<&str> {
        self.0.text.as_deref()
    }

    /// AWS's request id, to look up in CloudTrail.
    pub fn request_id(&self) -> Option<&str> {
        self.0.request_id.as_deref()
    }
}

impl fmt::Display for KmsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let it = &self.0;
        if let Some(action) = it.action {
            write!(f, "{action} failed for {}: {}", it.about, it.cause)?;
        } else {
            write!(f, "{}: {}", it.about, it.cause)?;
        }
        let notes: Vec<String> = [
            it.code.clone(),
            it.text.as_ref().map(|text| format!("{text:?}")),
            it.request_id.as_ref().map(|id| format!("request id {id}")),
        ]
        .into_iter()
        .flatten()
        .collect();
        if !notes.is_empty() {
            write!(f, " ({})", notes.join(", "))?;
        }
        write!(f, "; {}", it.cause.remedy())
    }
}

impl std::error::Error for KmsError {}
