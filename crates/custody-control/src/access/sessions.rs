//! Signing in to the console, and staying signed in.

use std::{
    collections::hash_map::RandomState,
    hash::BuildHasher,
    sync::Arc,
    time::{Duration, Instant},
};

use aws_lc_rs::constant_time;
use custody_password::{self as password, Tag, Throttle};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use super::{Caller, caller::grants_of};
use crate::{
    audit::{Deed, append},
    db::{Db, millis, now},
    random,
    refusal::{Kind, Refused},
};

/// Password checks at the same time: each takes a processor, and memory by the megabyte, and strangers may ask for them.
const CHECKS_AT_ONCE: usize = 2;
/// How long one waits for a turn.
const TURN: Duration = Duration::from_secs(5);
/// How long one stays signed in.
const LASTS: Duration = Duration::from_hours(12);

/// Somebody who has just signed in: what the browser is to keep.
pub struct SignedIn {
    /// The cookie.
    pub cookie: Zeroizing<String>,
    /// What every form carries besides.
    pub csrf: String,
    /// How long both count.
    pub lasts: Duration,
}

/// Somebody who is signed in. There is no `Debug`: the token would be in it.
#[derive(Clone)]
pub struct Visitor {
    /// Who, with the roles.
    pub caller: Caller,
    /// The name that was signed in with.
    pub name: String,
    /// What a request that changes something has to carry.
    csrf: String,
}

impl Visitor {
    /// What forms are to carry.
    pub fn csrf(&self) -> &str {
        &self.csrf
    }

    /// Refuses a request that another site may have had the browser send.
    pub fn must_have_meant(&self, csrf: Option<&str>) -> Result<(), Refused> {
        let shown = csrf.unwrap_or_default().as_bytes();
        if constant_time::verify_slices_are_equal(shown, self.csrf.as_bytes()).is_ok() {
            return Ok(());
        }
        Err(Refused::new(Kind::Forbidden, "the request lacks the page's CSRF token: load the page again"))
    }
}

/// Lets people in who know their password, and slows down who guesses.
#[derive(Debug)]
pub(crate) struct Gatekeeper {
    throttle: Arc<Throttle>,
    turns: Arc<Semaphore>,
    names: RandomState,
    decoy: tokio::sync::OnceCell<String>,
}

impl Default for Gatekeeper {
    fn default() -> Self {
        let turns = Arc::new(Semaphore::new(CHECKS_AT_ONCE));
        Self { throttle: Arc::default(), turns, names: RandomState::new(), decoy: tokio::sync::OnceCell::new() }
    }
}

impl Gatekeeper {
    /// Signs a user in. The same refusal, after the same time, whether there is no such user or the password is wrong.
    pub(crate) async fn sign_in(&self, db: &Db, name: &str, given: Zeroizing<String>) -> Result<SignedIn, Refused> {
        match self.check(db, name, given).await? {
            Some(id) => open(db, &id).await,
            None => Err(Refused::new(Kind::Unauthenticated, "wrong user name or password")),
        }
    }

    /// Somebody who is signed in gives the password again, for what a session alone must not do (rule 32). Who guesses is
    /// slowed down as at the sign-in.
    pub(crate) async fn confirm(&self, db: &Db, who: &Visitor, given: Zeroizing<String>) -> Result<Caller, Refused> {
        match self.check(db, &who.name, given).await? {
            Some(id) if id == who.caller.id() => Ok(who.caller.clone().confirmed()),
            _ => Err(Refused::new(Kind::Forbidden, "the password is wrong: nothing was changed")),
        }
    }

    /// The id of the user of this name, if the password is right.
    pub(super) async fn check(&self, db: &Db, name: &str, given: Zeroizing<String>) -> Result<Option<String>, Refused> {
        let tag = self.tag(name);
        self.admit(&tag)?;
        let turn = tokio::time::timeout(TURN, Arc::clone(&self.turns).acquire_owned()).await;
        let Ok(Ok(turn)) = turn else {
            return Err(Refused::new(Kind::TooMany, "too many sign-ins at once: try again"));
        };
        // Looked at anew: guesses that were sent all at once began to wait before the first of them had failed.
        self.admit(&tag)?;
        let found = sqlx::query!("SELECT id, password FROM users WHERE name = ?", name).fetch_optional(db.pool());
        let (id, hash) = match found.await? {
            Some(user) => (Some(user.id), user.password),
            None => (None, self.decoy().await?),
        };
        let (throttle, exists) = (Arc::clone(&self.throttle), id.is_some());
        // To its end, even if the browser goes away: a check keeps its turn, and a wrong guess counts.
        let check = tokio::spawn(async move {
            let right = password::verify(given, hash).await && exists;
            if right {
                throttle.succeeded(&tag);
            } else {
                throttle.failed(tag, Instant::now());
            }
            drop(turn);
            right
        });
        let right = check.await.map_err(Refused::internal)?;
        Ok(id.filter(|_| right))
    }

    /// Turns away who guesses at a user's password before the wait is over.
    fn admit(&self, user: &Tag) -> Result<(), Refused> {
        self.throttle.admit(user, Instant::now()).map_err(|wait| {
            let seconds = wait.as_secs() + 1;
            Refused::new(Kind::TooMany, format!("too many failed sign-ins of this user: try again in {seconds} s"))
        })
    }

    /// Compared when there is no such user, so that the time taken doesn't tell.
    async fn decoy(&self) -> Result<String, Refused> {
        let make = || async { Ok::<_, Refused>(password::hash(Zeroizing::new(random::digits()?)).await?) };
        self.decoy.get_or_try_init(make).await.cloned()
    }

    /// Names are remembered by a hash under a key of this process alone.
    fn tag(&self, name: &str) -> Tag {
        let mut tag = Tag::default();
        tag[..8].copy_from_slice(&self.names.hash_one(name).to_be_bytes());
        tag
    }
}

async fn open(db: &Db, user: &str) -> Result<SignedIn, Refused> {
    let (cookie, csrf) = (random::key_digits()?, random::key_digits()?.to_string());
    let (digest, now) = (random::digest(cookie.as_bytes()), now());
    let end = now + millis(LASTS);
    let mut change = db.change().await?;
    sqlx::query!("DELETE FROM sessions WHERE expires_at <= ?", now).execute(&mut *change).await?;
    sqlx::query!(
        "INSERT INTO sessions (digest, user_id, csrf, created_at, expires_at) VALUES (?, ?, ?, ?, ?)",
        digest,
        user,
        csrf,
        now,
        end
    )
    .execute(&mut *change)
    .await?;
    append(&mut change, Deed { project: None, actor: user, action: "user.signIn", subject: user, detail: "" }).await?;
    change.commit().await?;
    Ok(SignedIn { cookie, csrf, lasts: LASTS })
}

/// Who sends this cookie.
pub(crate) async fn visitor(db: &Db, cookie: &str) -> Result<Visitor, Refused> {
    let (digest, now) = (random::digest(cookie.as_bytes()), now());
    let found = sqlx::query!(
        "SELECT user_id, csrf, name FROM sessions JOIN users ON users.id = user_id WHERE digest = ? AND expires_at > ?",
        digest,
        now
    );
    let found = found.fetch_optional(db.pool()).await?;
    let Some(found) = found else {
        return Err(Refused::new(Kind::Unauthenticated, "you are not signed in, or not any more: sign in again"));
    };
    let grants = grants_of(db, &found.user_id).await?;
    Ok(Visitor { caller: Caller::of_session(found.user_id, grants), name: found.name, csrf: found.csrf })
}

/// Ends a session.
pub(crate) async fn sign_out(db: &Db, cookie: &str) -> Result<(), Refused> {
    let digest = random::digest(cookie.as_bytes());
    sqlx::query!("DELETE FROM sessions WHERE digest = ?", digest).execute(db.pool()).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        access::{Grant, Role, caller::tests::owner, users},
        db::tests::fresh,
    };

    fn secret(text: &str) -> Zeroizing<String> {
        Zeroizing::new(text.to_owned())
    }

    async fn with_a_user() -> (Db, tempfile::TempDir, String) {
        let (db, directory) = fresh().await;
        let grant = Grant::new(Role::ProjectReadOnly, None).unwrap();
        let id = users::create(&db, &owner(), "ann", secret("correct horse"), grant).await.unwrap();
        (db, directory, id)
    }

    #[tokio::test]
    async fn who_knows_the_password_is_signed_in_until_signed_out() {
        let (db, _directory, id) = with_a_user().await;
        let gate = Gatekeeper::default();
        let signed = gate.sign_in(&db, "ann", secret("correct horse")).await.unwrap();
        let visitor_now = visitor(&db, &signed.cookie).await.unwrap();
        assert_eq!(visitor_now.caller.id(), id);
        assert!(visitor_now.must_have_meant(Some(&signed.csrf)).is_ok());
        for forged in [None, Some(""), Some("x"), Some(signed.cookie.as_str())] {
            assert_eq!(visitor_now.must_have_meant(forged).unwrap_err().kind, Kind::Forbidden);
        }
        sign_out(&db, &signed.cookie).await.unwrap();
        assert_eq!(visitor(&db, &signed.cookie).await.err().unwrap().kind, Kind::Unauthenticated);
    }

    #[tokio::test]
    async fn a_new_password_signs_out_everywhere() {
        let (db, _directory, id) = with_a_user().await;
        let gate = Gatekeeper::default();
        let signed = gate.sign_in(&db, "ann", secret("correct horse")).await.unwrap();
        let ann = visitor(&db, &signed.cookie).await.unwrap().caller;
        let wrong = users::set_password(&db, &gate, &ann, &id, Some(secret("wrong horse")), secret("battery")).await;
        assert_eq!(wrong.unwrap_err().kind, Kind::Invalid);
        users::set_password(&db, &gate, &ann, &id, Some(secret("correct horse")), secret("battery")).await.unwrap();
        assert!(visitor(&db, &signed.cookie).await.is_err());
        assert!(gate.sign_in(&db, "ann", secret("battery")).await.is_ok());
    }

    #[tokio::test]
    async fn who_guesses_is_told_nothing_and_must_wait() {
        let (db, _directory, _) = with_a_user().await;
        let gate = Gatekeeper::default();
        for name in ["ann", "nobody"] {
            let mut last = None;
            // A busy machine may take longer for a guess than one has to wait for it; but every wait is double the one before.
            for _ in 0..12 {
                last = gate.sign_in(&db, name, secret("guess-1")).await.err();
                if last.as_ref().is_some_and(|refused| refused.kind == Kind::TooMany) {
                    break;
                }
                assert_eq!(last.clone().unwrap().message, "wrong user name or password");
            }
            assert_eq!(last.unwrap().kind, Kind::TooMany, "{name}");
        }
    }

    #[tokio::test]
    async fn who_finds_a_session_open_must_wait_too_and_sets_no_password_meanwhile() {
        let (db, _directory, id) = with_a_user().await;
        let gate = Gatekeeper::default();
        let signed = gate.sign_in(&db, "ann", secret("correct horse")).await.unwrap();
        let ann = visitor(&db, &signed.cookie).await.unwrap().caller;
        let mut kinds = Vec::new();
        // As above: a busy machine may take longer for a guess than one has to wait for it.
        for _ in 0..12 {
            let guess = users::set_password(&db, &gate, &ann, &id, Some(secret("guess-1")), secret("battery")).await;
            kinds.push(guess.unwrap_err().kind);
            if kinds.last() == Some(&Kind::TooMany) {
                break;
            }
        }
        assert!(kinds[0] == Kind::Invalid && kinds.last() == Some(&Kind::TooMany), "{kinds:?}");
        let turns = Arc::clone(&gate.turns).acquire_many_owned(2).await.unwrap();
        let other = users::create(&db, &owner(), "bob", secret("staple"), Grant::new(Role::Owner, None).unwrap()).await;
        let other = other.unwrap();
        let bob = Caller::of_session(other.clone(), Vec::new());
        let held = users::set_password(&db, &gate, &bob, &other, Some(secret("staple")), secret("battery")).await;
        assert_eq!(held.unwrap_err().kind, Kind::TooMany, "it takes a turn like every other check");
        drop(turns);
        assert!(visitor(&db, &signed.cookie).await.is_ok(), "the password is what it was");
    }

    #[tokio::test]
    async fn guesses_sent_all_at_once_wait_as_those_that_come_one_by_one() {
        let (db, _directory, _) = with_a_user().await;
        let gate = Gatekeeper::default();
        let guesses = (0..100).map(|guess| gate.sign_in(&db, "ann", secret(&format!("guess-{guess}"))));
        let refused = futures::future::join_all(guesses).await.into_iter().filter_map(Result::err);
        let kinds: Vec<Kind> = refused.map(|refused| refused.kind).collect();
        let checked = kinds.iter().filter(|kind| **kind == Kind::Unauthenticated).count();
        // Four until the first wait begins, and what was under way then; on a busy machine waits end meanwhile.
        assert!((1..20).contains(&checked), "{checked} of 100 guesses were looked at");
        assert!(kinds.len() == 100 && kinds.contains(&Kind::TooMany));
    }

    #[tokio::test]
    async fn strangers_get_no_more_checks_at_once_than_there_are_turns() {
        let (db, _directory, _) = with_a_user().await;
        let gate = Gatekeeper::default();
        let turns = Arc::clone(&gate.turns).acquire_many_owned(2).await.unwrap();
        let refused = gate.sign_in(&db, "ann", secret("correct horse")).await.err().unwrap();
        assert_eq!((refused.kind, refused.message.as_str()), (Kind::TooMany, "too many sign-ins at once: try again"));
        drop(turns);
        assert!(gate.sign_in(&db, "ann", secret("correct horse")).await.is_ok());
    }

    #[tokio::test]
    async fn what_a_session_must_not_do_takes_the_password_again_and_who_guesses_is_slowed_down() {
        let (db, _directory, id) = with_a_user().await;
        let gate = Gatekeeper::default();
        let signed = gate.sign_in(&db, "ann", secret("correct horse")).await.unwrap();
        let ann = visitor(&db, &signed.cookie).await.unwrap();
        assert_eq!(ann.caller.must_have_confirmed().unwrap_err().kind, Kind::Forbidden);
        let sure = gate.confirm(&db, &ann, secret("correct horse")).await.unwrap();
        assert!(sure.must_have_confirmed().is_ok() && sure.id() == id);
        // Not kept: the next request has to give it again.
        assert!(visitor(&db, &signed.cookie).await.unwrap().caller.must_have_confirmed().is_err());
        let mut kinds = Vec::new();
        for _ in 0..10 {
            kinds.push(gate.confirm(&db, &ann, secret("wrong")).await.unwrap_err().kind);
        }
        assert!(kinds[0] == Kind::Forbidden && kinds.contains(&Kind::TooMany), "{kinds:?}");
    }

    #[tokio::test]
    async fn a_session_ends() {
        let (db, _directory, _) = with_a_user().await;
        let signed = Gatekeeper::default().sign_in(&db, "ann", secret("correct horse")).await.unwrap();
        sqlx::query("UPDATE sessions SET expires_at = 1").execute(db.pool()).await.unwrap();
        assert!(visitor(&db, &signed.cookie).await.is_err());
    }
}
