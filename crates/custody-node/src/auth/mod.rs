//! Who calls: users with passwords, and static API keys.
//!
//! Clients send their credential with every call. A password is checked with argon2id once and then known by a keyed hash
//! under a key that exists in this process alone, so that nothing in memory or on disk tells the credential.

mod issued;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use aws_lc_rs::{constant_time, hmac, rand};
use axum::http::HeaderValue;
use base64::Engine as _;
use custody_engine::{Engine, EngineError};
use custody_password::{Tag, Throttle, hash as hash_password};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};
use zeroize::Zeroizing;

use issued::Issued;
pub use issued::{Access, ApiKeys, CannotAsk, Level};

use crate::limits::{CHECKS_AT_ONCE, KNOWN, LONGEST, TURN, WAITING};

/// The user that exists from the start and may manage the others.
pub(crate) const ROOT: &str = "root";

/// Who a call comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Caller {
    /// The holder of an API key.
    ApiKey(Access),
    /// A user who gave the password.
    User(Arc<str>),
}

impl Caller {
    /// Whether the caller may manage users.
    pub(crate) fn is_admin(&self) -> bool {
        match self {
            Self::ApiKey(access) => access.level == Level::Admin,
            Self::User(name) => &**name == ROOT,
        }
    }

    /// Whether the caller may put a database under a key of its choosing (rule 26).
    pub(crate) fn uses_keys(&self) -> bool {
        match self {
            Self::ApiKey(access) => access.uses_keys,
            Self::User(name) => &**name == ROOT,
        }
    }

    /// Whether the caller may do nothing but read.
    pub(crate) fn only_reads(&self) -> bool {
        matches!(self, Self::ApiKey(Access { level: Level::Read, .. }))
    }
}

/// Why a call is not let in. The messages go to strangers, so they say no more than these.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum Denied {
    #[error("authentication is required: send the token 'user:password' or an API key")]
    Missing,
    #[error("wrong user name, password or API key")]
    Wrong,
    #[error("too many failed sign-ins of this user: try again in {} s", .0.as_secs() + 1)]
    Throttled(Duration),
    #[error("too many sign-ins at once: try again")]
    Busy,
    #[error("sealed")]
    Sealed,
    #[error("credentials can't be checked at the moment: try again")]
    Unchecked,
}

impl Denied {
    /// The gRPC code that says so.
    pub(crate) fn code(&self) -> tonic::Code {
        match self {
            Self::Missing | Self::Wrong => tonic::Code::Unauthenticated,
            Self::Throttled(_) => tonic::Code::ResourceExhausted,
            // What clients try again by themselves.
            Self::Busy | Self::Sealed | Self::Unchecked => tonic::Code::Unavailable,
        }
    }
}

/// Where the password hashes are kept.
#[async_trait]
pub(crate) trait Users: Send + Sync + 'static {
    async fn hash_of(&self, user: &str) -> Result<Option<String>, EngineError>;
    async fn create(&self, user: &str, hash: String) -> Result<(), EngineError>;
}

#[async_trait]
impl Users for Engine {
    async fn hash_of(&self, user: &str) -> Result<Option<String>, EngineError> {
        let status = self.cluster_zone().status();
        if !status.is_usable() {
            return Err(EngineError::Sealed(status));
        }
        Ok(self.user_hash(user))
    }

    async fn create(&self, user: &str, hash: String) -> Result<(), EngineError> {
        self.create_user(user, &hash).await
    }
}

/// Checks credentials.
pub(crate) struct Authenticator {
    users: Arc<dyn Users>,
    key: hmac::Key,
    api_keys: Vec<Tag>,
    /// Keys that are known elsewhere.
    issued: Option<Issued>,
    /// The hash of root's first password, should there be no root yet.
    root_hash: Option<String>,
    /// Compared when a user does not exist, so that the time taken doesn't tell.
    decoy: String,
    known: Mutex<HashMap<Tag, Arc<str>>>,
    /// Counts password changes: a check that began before one must not be remembered after it.
    changes: AtomicU64,
    throttle: Arc<Throttle>,
    /// Room for those who wait to be known.
    places: Semaphore,
    turns: Arc<Semaphore>,
}

/// An authenticator that can't be set up.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// No random numbers.
    #[error("no random numbers from the operating system")]
    Random,
    /// The password given for root can't be taken.
    #[error("root: {0}")]
    RootPassword(String),
    /// An API key that would let everyone in.
    #[error("an API key is empty")]
    EmptyApiKey,
}

impl Authenticator {
    /// Sets up the checks. `root_password` is used only as long as there is no user `root`.
    pub(crate) async fn new(
        users: Arc<dyn Users>,
        root_password: Option<Zeroizing<String>>,
        api_keys: &[Zeroizing<String>],
    ) -> Result<Self, AuthError> {
        let key = process_key()?;
        let mut throwaway = [0; 16];
        rand::fill(&mut throwaway).map_err(|_| AuthError::Random)?;
        let decoy = base64::engine::general_purpose::STANDARD.encode(throwaway);
        let hash =
            |password| async { hash_password(password).await.map_err(|e| AuthError::RootPassword(e.to_string())) };
        let root_hash = match root_password {
            Some(password) => Some(hash(password).await?),
            None => None,
        };
        if api_keys.iter().any(|key| key.trim().is_empty()) {
            return Err(AuthError::EmptyApiKey);
        }
        Ok(Self {
            api_keys: api_keys.iter().map(|api_key| tag(&key, api_key.as_bytes())).collect(),
            users,
            issued: None,
            decoy: hash(Zeroizing::new(decoy)).await?,
            key,
            root_hash,
            known: Mutex::default(),
            changes: AtomicU64::new(0),
            throttle: Arc::default(),
            places: Semaphore::new(WAITING),
            turns: Arc::new(Semaphore::new(CHECKS_AT_ONCE)),
        })
    }

    /// The same, with root's first password as a hash, should none have been given as text.
    pub(crate) fn with_root_hash(mut self, hash: Option<String>) -> Result<Self, AuthError> {
        if let Some(hash) = hash {
            if !custody_password::is_hash(&hash) {
                return Err(AuthError::RootPassword("the hash of the first password is none of argon2id".to_owned()));
            }
            self.root_hash.get_or_insert(hash);
        }
        Ok(self)
    }

    /// The same, with API keys that are known elsewhere.
    pub(crate) fn with_issued(mut self, keys: Option<Arc<dyn ApiKeys>>) -> Self {
        self.issued = keys.map(Issued::new);
        self
    }

    /// Who sends this `authorization` header.
    pub(crate) async fn check(&self, header: Option<&HeaderValue>) -> Result<Caller, Denied> {
        let Some(tokens) = header.and_then(|value| tokens(value.as_bytes())) else {
            return Err(self.stranger(Denied::Missing).await);
        };
        for token in &tokens {
            let tag = self.tag(token.as_bytes());
            if self.is_api_key(&tag) {
                return Ok(Caller::ApiKey(Access::EVERYTHING));
            }
            if let Some(user) = self.known(&tag) {
                return Ok(Caller::User(user));
            }
        }
        if let Some((token, (user, password))) = tokens.iter().find_map(|token| Some((token, token.split_once(':')?))) {
            return self.sign_in(self.tag(token.as_bytes()), user, password).await;
        }
        // Without a colon it is no user's: an API key, if anything.
        if let Some(issued) = &self.issued {
            let _place = self.place()?;
            for token in &tokens {
                match issued.access(self.tag(token.as_bytes()), token).await {
                    Err(Denied::Wrong) => {}
                    answer => return answer.map(Caller::ApiKey),
                }
            }
        }
        Err(self.stranger(Denied::Wrong).await)
    }

    /// Lets in a user who shows the password. What was right is known from then on.
    async fn sign_in(&self, credential: Tag, user: &str, password: &str) -> Result<Caller, Denied> {
        let turn = self.turn(user).await?;
        // Many connections of one client start at once; the first to be checked answers for the others.
        if let Some(user) = self.known(&credential) {
            return Ok(Caller::User(user));
        }
        let changes = self.changes.load(Ordering::Acquire);
        // The turn is kept until the credential is known, for those who wait with the same one.
        let _turn = self.compare(turn, user, Zeroizing::new(password.to_owned())).await?;
        let user: Arc<str> = user.into();
        self.remember(credential, &user, changes);
        Ok(Caller::User(user))
    }

    /// Whether the password is the user's; for requests that carry one. Failures count as failed sign-ins. It asks the hash
    /// alone and leaves nothing behind: what is sent so is no credential that a call may come with.
    pub(crate) async fn verify(&self, user: &str, password: &Zeroizing<String>) -> Result<bool, Denied> {
        let turn = self.turn(user).await?;
        match self.compare(turn, user, password.clone()).await {
            Ok(_) => Ok(true),
            Err(Denied::Wrong) => Ok(false),
            Err(denied) => Err(denied),
        }
    }

    /// A turn to have the user's password checked.
    async fn turn(&self, user: &str) -> Result<OwnedSemaphorePermit, Denied> {
        self.admit(&self.tag(user.as_bytes()))?;
        let _place = self.place()?;
        match tokio::time::timeout(TURN, Arc::clone(&self.turns).acquire_owned()).await {
            Ok(Ok(turn)) => Ok(turn),
            _ => Err(Denied::Busy),
        }
    }

    /// Turns away who guesses at the user's password before the wait is over.
    fn admit(&self, user: &Tag) -> Result<(), Denied> {
        self.throttle.admit(user, Instant::now()).map_err(Denied::Throttled)
    }

    /// Room to wait in. A stranger who waits takes memory, so that there is no more than could have a turn in time.
    fn place(&self) -> Result<SemaphorePermit<'_>, Denied> {
        self.places.try_acquire().map_err(|_| Denied::Busy)
    }

    /// Compares the password with the user's by argon2id. Gives the turn back if it is right.
    async fn compare(
        &self,
        turn: OwnedSemaphorePermit,
        user: &str,
        password: Zeroizing<String>,
    ) -> Result<OwnedSemaphorePermit, Denied> {
        let user_tag = self.tag(user.as_bytes());
        // Looked at anew: guesses that were sent all at once began to wait before the first of them had failed.
        self.admit(&user_tag)?;
        let stored = self.stored_hash(user).await?;
        let exists = stored.is_some();
        let hash = stored.unwrap_or_else(|| self.decoy.clone());
        let throttle = Arc::clone(&self.throttle);
        // To its end, even if the client goes away: a check that is under way keeps its turn, and a wrong guess counts.
        let check = tokio::spawn(async move {
            let right = custody_password::verify(password, hash).await && exists;
            if right {
                throttle.succeeded(&user_tag);
            } else {
                throttle.failed(user_tag, Instant::now());
            }
            (right, turn)
        });
        match check.await {
            Ok((true, turn)) => Ok(turn),
            Ok((false, _)) => Err(Denied::Wrong),
            Err(_) => Err(Denied::Unchecked),
        }
    }

    /// Makes every credential of a user be checked anew: after a change of password, or the user's end.
    pub(crate) fn forget(&self, user: &str) {
        self.changes.fetch_add(1, Ordering::AcqRel);
        self.known.lock().unwrap_or_else(PoisonError::into_inner).retain(|_, known| &**known != user);
    }

    /// Creates root if there is none and a first password was given.
    pub(crate) async fn ensure_root(&self) -> Result<(), EngineError> {
        let Some(hash) = &self.root_hash else { return Ok(()) };
        if self.users.hash_of(ROOT).await?.is_some() {
            return Ok(());
        }
        match self.users.create(ROOT, hash.clone()).await {
            Ok(()) | Err(EngineError::UserExists(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn stored_hash(&self, user: &str) -> Result<Option<String>, Denied> {
        let stored = self.users.hash_of(user).await.map_err(unchecked)?;
        if stored.is_none() && user == ROOT && self.root_hash.is_some() {
            // The cluster was sealed when the node started.
            self.ensure_root().await.map_err(unchecked)?;
            return self.users.hash_of(user).await.map_err(unchecked);
        }
        Ok(stored)
    }

    /// What a stranger is told: of a sealed cluster only that it is sealed.
    async fn stranger(&self, denied: Denied) -> Denied {
        match self.users.hash_of(ROOT).await {
            Err(EngineError::Sealed(_)) => Denied::Sealed,
            _ => denied,
        }
    }

    fn remember(&self, credential: Tag, user: &Arc<str>, changes: u64) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if self.changes.load(Ordering::Acquire) != changes {
            return;
        }
        if known.len() >= KNOWN {
            known.clear();
        }
        known.insert(credential, Arc::clone(user));
    }

    fn known(&self, credential: &Tag) -> Option<Arc<str>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).get(credential).cloned()
    }

    fn is_api_key(&self, tag: &Tag) -> bool {
        // Every key is compared, so that the time taken tells nothing about which one it was.
        let equal = |key: &&Tag| constant_time::verify_slices_are_equal(*key, tag).is_ok();
        self.api_keys.iter().filter(equal).count() > 0
    }

    fn tag(&self, data: &[u8]) -> Tag {
        tag(&self.key, data)
    }
}

/// A key that exists in this process alone.
fn process_key() -> Result<hmac::Key, AuthError> {
    hmac::Key::generate(hmac::HMAC_SHA256, &rand::SystemRandom::new()).map_err(|_| AuthError::Random)
}

/// Credentials that are known beforehand, by keyed hash: all that is known where the users are sealed.
///
/// They are compared without argon2id, which would be no use beside them in plain text; who guesses is slowed down all the
/// same.
pub(crate) struct Known {
    key: hmac::Key,
    credentials: Vec<Expected>,
    throttle: Throttle,
}

/// A credential that is known beforehand.
struct Expected {
    /// Whose it is, for the throttle.
    owner: Tag,
    token: Tag,
}

impl Known {
    pub(crate) fn new(credentials: &[Zeroizing<String>]) -> Result<Self, AuthError> {
        let key = process_key()?;
        let expected = |token: &Zeroizing<String>| Expected {
            owner: tag(&key, owner(token).as_bytes()),
            token: tag(&key, token.as_bytes()),
        };
        Ok(Self { credentials: credentials.iter().map(expected).collect(), key, throttle: Throttle::default() })
    }

    /// Whether a header shows one of them. While whoever guesses at one has to wait, nobody shows it.
    pub(crate) fn fits(&self, header: &HeaderValue, now: Instant) -> bool {
        let shown = tokens(header.as_bytes()).unwrap_or_default();
        // A user's token has a colon; the base64 that clients send it as has none, and is no guess at an API key.
        let users = shown.iter().position(|token| token.contains(':'));
        let meant = users.map_or(&shown[..], |at| &shown[at..=at]);
        let Some(first) = meant.first() else { return false };
        let owner = tag(&self.key, owner(first).as_bytes());
        // Only of those whose credential is known guesses are counted, so that no crowd of names washes these out.
        let is_known = self.credentials.iter().any(|expected| expected.owner == owner);
        if !is_known || self.throttle.admit(&owner, now).is_err() {
            return false;
        }
        let fits = meant.iter().filter(|token| self.is_expected(token)).count() > 0;
        if fits {
            self.throttle.succeeded(&owner);
        } else {
            self.throttle.failed(owner, now);
        }
        fits
    }

    fn is_expected(&self, token: &str) -> bool {
        let shown = tag(&self.key, token.as_bytes());
        // Every one is compared, so that the time taken tells nothing about which one it was.
        let equal = |expected: &&Expected| constant_time::verify_slices_are_equal(&expected.token, &shown).is_ok();
        self.credentials.iter().filter(equal).count() > 0
    }
}

/// Whose token it is: the user before the colon, or nobody's, as all API keys are.
fn owner(token: &str) -> &str {
    token.split_once(':').map_or("", |(user, _)| user)
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn unchecked(error: EngineError) -> Denied {
    match error {
        EngineError::Sealed(_) => Denied::Sealed,
        _ => Denied::Unchecked,
    }
}

fn tag(key: &hmac::Key, data: &[u8]) -> Tag {
    let mut tag = [0; 32];
    tag.copy_from_slice(hmac::sign(key, data).as_ref());
    tag
}

/// What the header may mean: the token itself (also after `Bearer`), and what it holds if it is base64, which is how
/// Milvus' clients send it.
pub(crate) fn tokens(header: &[u8]) -> Option<Vec<Zeroizing<String>>> {
    if header.is_empty() || header.len() > LONGEST {
        return None;
    }
    let text = std::str::from_utf8(header).ok()?.trim();
    let text = match text.strip_prefix("Bearer") {
        Some(rest) if rest.is_empty() || rest.starts_with(' ') => rest.trim(),
        _ => text,
    };
    if text.is_empty() {
        return None;
    }
    let mut tokens = vec![Zeroizing::new(text.to_owned())];
    if let Ok(bytes) = base64::engine::general_purpose::STANDARD.decode(text)
        && let Ok(decoded) = String::from_utf8(bytes)
    {
        tokens.push(Zeroizing::new(decoded));
    }
    Some(tokens)
}

#[cfg(test)]
mod tests;
