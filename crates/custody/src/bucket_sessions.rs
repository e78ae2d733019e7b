//! The way of a node under a control plane into the bucket: sessions on its own cluster's part of it, which the control plane
//! opens (rule 23).

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use custody_kms::HandedSession;
use custody_link::Link;
use object_store::{CredentialProvider, aws::AwsCredential};
use tokio::{sync::Mutex, time::Instant};

/// A session that ends sooner than this is replaced by another.
const EARLY: Duration = Duration::from_mins(10);
/// After a try that failed, the session that there is goes on being used for so long before the next.
const PAUSE: Duration = Duration::from_secs(10);
/// One that ends sooner than this is not used any more: a request takes its time, and clocks differ.
const LATE: Duration = Duration::from_secs(30);

/// Asks for a session when one is needed, and keeps it while it lasts.
pub(crate) struct BucketSessions {
    link: Arc<Link>,
    kept: Mutex<Kept>,
}

impl BucketSessions {
    pub(crate) fn new(link: Arc<Link>) -> Self {
        Self { link, kept: Mutex::default() }
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
        // One asks, and the others wait for what comes of it.
        let mut kept = self.kept.lock().await;
        if let Some(session) = kept.lasting(EARLY) {
            return Ok(session);
        }
        let usable = kept.lasting(LATE);
        if let (Some(session), Some(not_before)) = (&usable, kept.not_before)
            && Instant::now() < not_before
        {
            return Ok(Arc::clone(session));
        }
        match self.link.ask_storage().await {
            Ok(session) => Ok(kept.take(session)),
            Err(failure) => {
                kept.not_before = Some(Instant::now() + PAUSE);
                let why = failure.text;
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
        kept.take(HandedSession { expires: SystemTime::UNIX_EPOCH, ..session(Duration::ZERO) });
        assert!(kept.lasting(Duration::ZERO).is_none(), "it has ended");
    }
}
