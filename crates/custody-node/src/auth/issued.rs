//! API keys that somebody else issued: whoever runs the node knows what each may do, and is asked by the key's hash.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use aws_lc_rs::digest::{SHA256, digest};

use super::{Denied, Tag};
use crate::limits::KNOWN;

/// How long an answer holds: a key that is withdrawn is refused from then on at the latest.
const HOLDS: Duration = Duration::from_secs(10);

/// What the holder of an API key may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access {
    /// Which calls.
    pub level: Level,
    /// Put a database under a key of its own: one that the cluster may use for that.
    pub uses_keys: bool,
}

impl Access {
    /// All that there is.
    pub const EVERYTHING: Self = Self { level: Level::Admin, uses_keys: true };
}

/// Which calls the holder of an API key may make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Reading calls.
    Read,
    /// Every call but those that manage users.
    Write,
    /// Every call.
    Admin,
}

/// Whoever issued the keys can't be asked now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CannotAsk;

/// Knows API keys: tokens without a colon, which would make them a user and a password.
#[async_trait]
pub trait ApiKeys: Send + Sync + 'static {
    /// What the holder of the key with this SHA-256 (64 hex digits) may do with the cluster; `None` if nothing.
    async fn access(&self, digest: &str) -> Result<Option<Access>, CannotAsk>;
}

/// Answers of [`ApiKeys`], remembered for a few seconds.
pub(super) struct Issued {
    keys: Arc<dyn ApiKeys>,
    answers: Mutex<HashMap<Tag, (Option<Access>, Instant)>>,
}

impl Issued {
    pub(super) fn new(keys: Arc<dyn ApiKeys>) -> Self {
        Self { keys, answers: Mutex::default() }
    }

    /// What the holder of `token` may do.
    pub(super) async fn access(&self, tag: Tag, token: &str) -> Result<Access, Denied> {
        let now = Instant::now();
        if let Some(answer) = self.remembered(&tag, now) {
            return answer;
        }
        let access = self.keys.access(&sha256(token)).await.map_err(|CannotAsk| Denied::Unchecked)?;
        // From the moment of the question, so that a slow answer does not hold for longer.
        self.remember(tag, access, now);
        access.ok_or(Denied::Wrong)
    }

    fn remembered(&self, tag: &Tag, now: Instant) -> Option<Result<Access, Denied>> {
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let (access, asked) = answers.get(tag)?;
        (now.duration_since(*asked) < HOLDS).then(|| access.ok_or(Denied::Wrong))
    }

    fn remember(&self, tag: Tag, access: Option<Access>, asked: Instant) {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        if answers.len() >= KNOWN {
            answers.clear();
        }
        answers.insert(tag, (access, asked));
    }
}

fn sha256(token: &str) -> String {
    use std::fmt::Write;
    digest(&SHA256, token.as_bytes()).as_ref().iter().fold(String::new(), |mut hex, byte| {
        // Writing to a string does not fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const READS: Access = Access { level: Level::Read, uses_keys: false };

    #[derive(Default)]
    struct Counting(AtomicUsize);

    #[async_trait]
    impl ApiKeys for Counting {
        async fn access(&self, digest: &str) -> Result<Option<Access>, CannotAsk> {
            self.0.fetch_add(1, Ordering::SeqCst);
            match digest {
                _ if digest == sha256("custody_down") => Err(CannotAsk),
                _ if digest == sha256("custody_read") => Ok(Some(READS)),
                _ => Ok(None),
            }
        }
    }

    #[tokio::test]
    async fn an_answer_is_remembered_whatever_it_was_but_a_question_that_failed_is_asked_again() {
        let counting = Arc::new(Counting::default());
        let issued = Issued::new(counting.clone());
        for _ in 0..3 {
            assert_eq!(issued.access([1; 32], "custody_read").await, Ok(READS));
            assert_eq!(issued.access([2; 32], "custody_wrong").await, Err(Denied::Wrong));
        }
        assert_eq!(counting.0.load(Ordering::SeqCst), 2);
        for _ in 0..3 {
            assert_eq!(issued.access([3; 32], "custody_down").await, Err(Denied::Unchecked));
        }
        assert_eq!(counting.0.load(Ordering::SeqCst), 5);
    }

    #[tokio::test]
    async fn an_answer_does_not_hold_for_long() {
        let issued = Issued::new(Arc::new(Counting::default()));
        let now = Instant::now();
        issued.remember([1; 32], Some(Access::EVERYTHING), now);
        let almost = HOLDS.saturating_sub(Duration::from_millis(1));
        assert_eq!(issued.remembered(&[1; 32], now + almost), Some(Ok(Access::EVERYTHING)));
        assert_eq!(issued.remembered(&[1; 32], now + HOLDS), None);
    }

    #[test]
    fn keys_are_named_by_their_sha_256_in_hex() {
        assert_eq!(sha256("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
