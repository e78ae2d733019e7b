//! The record of every KMS and STS call, to be laid beside the customer's CloudTrail line by line.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use aws_sdk_kms::primitives::{DateTime, DateTimeFormat};

use crate::arn::{Named, RoleArn};
use crate::context::EncryptionContext;
use crate::error::{Action, Outcome};
use crate::key_ref::Provider;
use crate::root::Purpose;

/// One call, whether answered or not. Retries are calls of their own, as they are in CloudTrail.
///
/// Only what was sent is a call: a credential of our own that can't be had, or an endpoint that we refuse, gives none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerEntry {
    /// When the call began.
    pub at: SystemTime,
    /// How long it took.
    pub took: Duration,
    /// Who was called.
    pub provider: Provider,
    /// Service and action.
    pub action: Action,
    /// The key it was about (for AssumeRole: the key that the session is for), or the alias whose key was asked for.
    pub key: Named,
    /// The role assumed, if the key has one.
    pub role: Option<RoleArn>,
    /// The session that made the call, as its assumed-role ARN; for AssumeRole, the one it opened.
    pub session: Option<String>,
    /// The EncryptionContext sent.
    pub context: Option<EncryptionContext>,
    /// Why the session was opened.
    pub purpose: Purpose,
    /// Success, or what the failure means.
    pub result: Result<(), Outcome>,
    /// AWS's error code.
    pub code: Option<String>,
    /// AWS's request id; `None` where no answer came, and AWS may or may not have seen the call.
    pub request_id: Option<String>,
}

/// Takes the record of each call. Called inside the call's path: be quick, and never fail it.
pub trait Ledger: Send + Sync {
    /// Takes one entry.
    fn record(&self, entry: LedgerEntry);
}

/// The newest entries, in memory.
pub struct MemoryLedger {
    capacity: usize,
    entries: Mutex<VecDeque<LedgerEntry>>,
}

impl MemoryLedger {
    /// Keeps the newest `capacity` entries (at least one).
    pub fn new(capacity: usize) -> Self {
        Self { capacity: capacity.max(1), entries: Mutex::default() }
    }

    /// The entries kept, oldest first.
    pub fn entries(&self) -> Vec<LedgerEntry> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

impl Ledger for MemoryLedger {
    fn record(&self, entry: LedgerEntry) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() == self.capacity {
            entries.pop_front();
        }
        entries.push_back(entry);
    }
}

/// The target of the events that the record is written as. Whoever sets up logging lets them through whatever else is
/// filtered: they are a record, not a hint for debugging.
pub const LEDGER_TARGET: &str = "custody_kms::ledger";

/// Writes every call as an event before it hands the entry on: what the log shows is what the ledger holds.
#[derive(Clone)]
pub(crate) struct Recorder(pub(crate) Arc<dyn Ledger>);

impl Recorder {
    pub(crate) fn record(&self, entry: LedgerEntry) {
        tracing::info!(
            target: LEDGER_TARGET,
            at = at(entry.at),
            provider = entry.provider.as_str(),
            action = entry.action.as_str(),
            key = entry.key.as_str(),
            role = entry.role.as_ref().map(RoleArn::as_str),
            session = entry.session.as_deref(),
            context = entry.context.as_ref().map(tracing::field::display),
            purpose = entry.purpose.as_str(),
            outcome = entry.result.map_or_else(Outcome::as_str, |()| "ok"),
            code = entry.code.as_deref(),
            request_id = entry.request_id.as_deref(),
            took_ms = u64::try_from(entry.took.as_millis()).unwrap_or(u64::MAX),
            "KMS call"
        );
        self.0.record(entry);
    }
}

/// As CloudTrail writes times: UTC, RFC 3339.
fn at(time: SystemTime) -> Option<String> {
    DateTime::from(time).fmt(DateTimeFormat::DateTimeWithOffset).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arn::KeyArn;

    fn entry(code: &str) -> LedgerEntry {
        LedgerEntry {
            at: SystemTime::UNIX_EPOCH,
            took: Duration::ZERO,
            provider: Provider::Local,
            action: Action::Decrypt,
            key: KeyArn::local("1234abcd-12ab-34cd-56ef-1234567890ab").unwrap().into(),
            role: None,
            session: None,
            context: None,
            purpose: Purpose::Renew,
            result: Err(Outcome::Unreachable),
            code: Some(code.to_owned()),
            request_id: None,
        }
    }

    #[test]
    fn the_ring_keeps_the_newest_and_never_grows_past_its_capacity() {
        let ledger = MemoryLedger::new(2);
        for code in ["first", "second", "third"] {
            ledger.record(entry(code));
        }
        let codes: Vec<_> = ledger.entries().into_iter().filter_map(|entry| entry.code).collect();
        assert_eq!(codes, ["second", "third"]);
    }

    #[test]
    fn times_are_written_as_cloudtrail_writes_them() {
        let time = SystemTime::UNIX_EPOCH + Duration::from_millis(1_767_225_600_123);
        assert_eq!(at(time).as_deref(), Some("2026-01-01T00:00:00.123Z"));
    }
}
