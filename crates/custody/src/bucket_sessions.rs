//! The way of a node under a control plane into the bucket: sessions on its own cluster's part of it, which the control plane
//! opens (rule 23).

use std::{
    sync::{Arc, PoisonError},
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use custody_kms::HandedSession;
use custody_link::Link;
use custody_store::ClusterId;
use object_store::{CredentialProvider, aws::AwsCredential};
use tokio::{
    sync::{Mutex, MutexGuard},
    time::Instant,
};

/// A session that ends sooner than this is replaced by another.
const EARLY: Duration = Duration::from_mins(10);
/// After a try that failed, the session that there is goes on being used for so long before the next.
const PAUSE: Duration = Duration::from_secs(10);
/// One that ends sooner than this is not used any more: a request takes its time, and clocks differ.
const LATE: Duration = Duration::from_secs(30);

/// Asks for a session when one is needed, and keeps it while it lasts.
pub(crate) struct BucketSessions {
    link: Arc<Link>,
    /// The cluster whose backups are reached, and not the own cluster itself.
    backups_of: Option<String>,
    kept: std::sync::Mutex<Kept>,
    /// Held by the one who asks.
    asking: Mutex<()>,
}

impl BucketSessions {
    pub(crate) fn new(link: Arc<Link>) -> Self {
        Self::on(link, None)
    }

    /// Sessions on the backups of a cluster: the node's own, or the one that it restores from.
    pub(crate) fn on_backups(link: Arc<Link>, cluster: &ClusterId) -> Self {
        Self::on(link, Some(cluster.to_string()))
    }

    fn on(link: Arc<Link>, backups_of: Option<String>) -> Self {
        Self { link, backups_of, kept: std::sync::Mutex::default(), asking: Mutex::default() }
    }

    fn with<T>(&self, work: impl FnOnce(&mut Kept) -> T) -> T {
        work(&mut self.kept.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A session that need not be replaced now, or else the turn to ask for another. Whoever can go on with an older one
    /// does not wait for somebody else's turn: the control plane may hang.
    async fn session_or_turn(&self) -> Result<Arc<AwsCredential>, MutexGuard<'_, ()>> {
        if let Some(session) = self.with(|kept| kept.good()) {
            return Ok(session);
        }
        let usable = self.with(|kept| kept.lasting(LATE));
        let turn = match (self.asking.try_lock(), usable) {
            (Ok(turn), _) => turn,
            (Err(_), Some(session)) => return Ok(session),
            (Err(_), None) => self.asking.lock().await,
        };
        // Somebody else may have had a turn meanwhile.
        self.with(|kept| kept.good()).ok_or(turn)
    }
}

impl std::fmt::Debug for BucketSessions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BucketSessions").finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Kept {
    session: Option<(Arc<AwsCredential>, SystemTime)>,
    not_before: Option<Instant>,
}

impl Kept {
    /// The session, if it goes on for longer than that.
    fn lasting(&self, for_longer_than: Duration) -> Option<Arc<AwsCredential>> {
        let (session, end) = self.session.as_ref()?;
        let left = end.duration_since(SystemTime::now()).unwrap_or_default();
        (left > for_longer_than).then(|| Arc::clone(session))
    }

    /// The session, where none is to be asked for now: it lasts, or the last try has just failed and it still can be used.
    fn good(&self) -> Option<Arc<AwsCredential>> {
        let paused = self.not_before.is_some_and(|not_before| Instant::now() < not_before);
        self.lasting(if paused { LATE } else { EARLY })
    }

    fn take(&mut self, session: HandedSession) -> Arc<AwsCredential> {
        let credential = Arc::new(AwsCredential {
            key_id: session.access_key_id,
            secret_key: session.secret_access_key.to_string(),
            token: Some(session.session_token.to_string()),
        });
        *self = Self { session: Some((Arc::clone(&credential), session.expires)), not_before: None };
        credential
    }
}

#[async_trait]
impl CredentialProvider for BucketSessions {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        let _turn = match self.session_or_turn().await {
            Ok(session) => return Ok(session),
            Err(turn) => turn,
        };
        match self.link.ask_storage(self.backups_of.as_deref()).await {
            Ok(session) => Ok(self.with(|kept| kept.take(session))),
            Err(failure) => {
                let why = failure.text;
                let usable = self.with(|kept| {
                    kept.not_before = Some(Instant::now() + PAUSE);
                    kept.lasting(LATE)
                });
                tracing::warn!(why, in_use = usable.is_some(), "no new session on the bucket");
                usable.ok_or_else(|| object_store::Error::Generic {
                    store: "S3",
                    source: format!("there is no session on the bucket: {why}").into(),
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::*;

    fn session(lasts: Duration) -> HandedSession {
        HandedSession {
            access_key_id: "ASIAIOSFODNN7EXAMPLE".to_owned(),
            secret_access_key: Zeroizing::new("hush-1".to_owned()),
            session_token: Zeroizing::new("hush-2".to_owned()),
            expires: SystemTime::now() + lasts,
            session: None,
        }
    }

    #[test]
    fn a_session_is_kept_while_it_lasts() {
        let mut kept = Kept::default();
        assert!(kept.lasting(Duration::ZERO).is_none());
        kept.take(session(Duration::from_hours(1)));
        assert!(kept.lasting(EARLY).is_some());
        kept.take(session(Duration::from_mins(5)));
        assert!(kept.lasting(EARLY).is_none() && kept.lasting(LATE).is_some());
        assert!(kept.good().is_none(), "another is asked for early");
        kept.not_before = Some(Instant::now() + PAUSE);
        assert!(kept.good().is_some(), "but not again and again");
        kept.take(HandedSession { expires: SystemTime::UNIX_EPOCH, ..session(Duration::ZERO) });
        assert!(kept.lasting(Duration::ZERO).is_none(), "it has ended");
    }
}
