use std::sync::atomic::AtomicUsize;

use futures::FutureExt as _;

use super::*;

/// Users in memory; counts how often a hash is asked for.
#[derive(Default)]
struct Book {
    hashes: Mutex<HashMap<String, String>>,
    asked: AtomicUsize,
    broken: bool,
}

#[async_trait]
impl Users for Book {
    async fn hash_of(&self, user: &str) -> Result<Option<String>, EngineError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        if self.broken {
            return Err(EngineError::Storage("the disk is gone".into()));
        }
        Ok(self.hashes.lock().unwrap().get(user).cloned())
    }

    async fn create(&self, user: &str, hash: String) -> Result<(), EngineError> {
        self.hashes.lock().unwrap().insert(user.to_owned(), hash);
        Ok(())
    }
}

/// Failed sign-ins that cost no wait: three by themselves, and the one that begins the first wait.
const FREE: usize = 4;
/// A busy machine may take longer for a guess than one has to wait for it. Every wait is double the one before, so that none
/// that is kept can be missed among so many guesses.
const GUESSES: usize = 12;
const API_KEY: &str = "key-0123456789abcdef0123";

fn secret(text: &str) -> Zeroizing<String> {
    Zeroizing::new(text.to_owned())
}

async fn authenticator(book: Arc<Book>) -> Authenticator {
    let auth = Authenticator::new(book, Some(secret("first-password")), &[secret(API_KEY)]).await.unwrap();
    auth.ensure_root().await.unwrap();
    auth
}

fn milvus_header(token: &str) -> HeaderValue {
    HeaderValue::from_str(&base64::engine::general_purpose::STANDARD.encode(token)).unwrap()
}

async fn check(auth: &Authenticator, token: &str) -> Result<Caller, Denied> {
    auth.check(Some(&milvus_header(token))).await
}

#[tokio::test]
async fn root_signs_in_with_the_first_password_in_every_form_clients_send() {
    let auth = authenticator(Arc::default()).await;
    let root = Ok(Caller::User(ROOT.into()));
    assert_eq!(check(&auth, "root:first-password").await, root);
    assert_eq!(auth.check(Some(&HeaderValue::from_static("Bearer root:first-password"))).await, root);
    assert_eq!(auth.check(Some(&HeaderValue::from_static("root:first-password"))).await, root);
}

#[tokio::test]
async fn an_api_key_is_let_in_without_asking_for_a_user() {
    let book = Arc::new(Book::default());
    let auth = authenticator(Arc::clone(&book)).await;
    let before = book.asked.load(Ordering::Relaxed);
    assert_eq!(check(&auth, API_KEY).await, Ok(Caller::ApiKey(Access::EVERYTHING)));
    assert_eq!(
        auth.check(Some(&HeaderValue::from_static("Bearer key-0123456789abcdef0123"))).await,
        Ok(Caller::ApiKey(Access::EVERYTHING))
    );
    assert_eq!(book.asked.load(Ordering::Relaxed), before);
}

#[tokio::test]
async fn no_header_an_empty_one_and_a_huge_one_are_turned_away() {
    let auth = authenticator(Arc::default()).await;
    assert_eq!(auth.check(None).await, Err(Denied::Missing));
    assert_eq!(auth.check(Some(&HeaderValue::from_static(""))).await, Err(Denied::Missing));
    assert_eq!(auth.check(Some(&HeaderValue::from_static("Bearer "))).await, Err(Denied::Missing));
    assert_eq!(check(&auth, &format!("root:{}", "x".repeat(LONGEST))).await, Err(Denied::Missing));
}

#[tokio::test]
async fn a_wrong_password_user_or_key_is_turned_away_with_the_same_words() {
    let auth = authenticator(Arc::default()).await;
    for token in ["root:wrong-password", "nobody:first-password", "root:", ":", "key-0123456789abcdef0124", "root"] {
        assert_eq!(check(&auth, token).await, Err(Denied::Wrong), "{token}");
    }
}

#[tokio::test]
async fn a_credential_is_checked_once_and_then_known() {
    let book = Arc::new(Book::default());
    let auth = authenticator(Arc::clone(&book)).await;
    check(&auth, "root:first-password").await.unwrap();
    let asked = book.asked.load(Ordering::Relaxed);
    for _ in 0..100 {
        check(&auth, "root:first-password").await.unwrap();
    }
    assert_eq!(book.asked.load(Ordering::Relaxed), asked);
}

#[tokio::test]
async fn a_credential_is_known_under_a_hash_that_no_other_process_can_make() {
    let (one, other) = (authenticator(Arc::default()).await, authenticator(Arc::default()).await);
    for auth in [&one, &other] {
        check(auth, "root:first-password").await.unwrap();
    }
    let known = |auth: &Authenticator| auth.known.lock().unwrap().keys().copied().collect::<Vec<_>>();
    assert_eq!((known(&one).len(), known(&other).len()), (1, 1));
    assert_ne!(known(&one), known(&other));
    assert_ne!(one.api_keys, other.api_keys);
    let beforehand = || Known::new(&[secret("root:first-password")]).unwrap().tags;
    assert_ne!(beforehand(), beforehand());
}

#[tokio::test]
async fn connections_that_start_together_share_one_check() {
    let book = Arc::new(Book::default());
    let auth = Arc::new(authenticator(Arc::clone(&book)).await);
    let asked = book.asked.load(Ordering::Relaxed);
    let calls = (0..32).map(|_| {
        let auth = Arc::clone(&auth);
        tokio::spawn(async move { check(&auth, "root:first-password").await.unwrap() })
    });
    futures::future::join_all(calls).await;
    assert!(book.asked.load(Ordering::Relaxed) - asked <= CHECKS_AT_ONCE);
}

#[tokio::test]
async fn a_changed_password_ends_the_old_one_at_once() {
    let book = Arc::new(Book::default());
    let auth = authenticator(Arc::clone(&book)).await;
    check(&auth, "root:first-password").await.unwrap();
    book.create(ROOT, hash_password(secret("second-password")).await.unwrap()).await.unwrap();
    auth.forget(ROOT);
    assert_eq!(check(&auth, "root:first-password").await, Err(Denied::Wrong));
    assert_eq!(check(&auth, "root:second-password").await, Ok(Caller::User(ROOT.into())));
}

#[tokio::test]
async fn a_check_that_began_before_a_change_is_not_remembered_after_it() {
    let auth = authenticator(Arc::default()).await;
    let credential = auth.tag(b"root:first-password");
    let before = auth.changes.load(Ordering::Acquire);
    auth.forget(ROOT);
    auth.remember(credential, &ROOT.into(), before);
    assert_eq!(auth.known(&credential), None);
}

#[tokio::test]
async fn guessing_is_slowed_down_but_a_known_credential_still_gets_in() {
    let auth = authenticator(Arc::default()).await;
    check(&auth, "root:first-password").await.unwrap();
    let mut denied = Vec::new();
    while denied.len() < GUESSES && !matches!(denied.last(), Some(Denied::Throttled(_))) {
        denied.push(check(&auth, &format!("root:guess-{}", denied.len())).await.unwrap_err());
    }
    assert!(denied.len() > FREE && matches!(denied.last(), Some(Denied::Throttled(_))), "{denied:?}");
    assert_eq!(check(&auth, "root:first-password").await, Ok(Caller::User(ROOT.into())));
}

#[tokio::test]
async fn verifying_a_password_in_a_request_leaves_no_credential_behind() {
    let auth = authenticator(Arc::default()).await;
    assert_eq!(auth.verify(ROOT, &secret("first-password")).await, Ok(true));
    assert_eq!(auth.verify(ROOT, &secret("other-password")).await, Ok(false));
    assert!(auth.known.lock().unwrap().is_empty());
}

#[tokio::test]
async fn an_existing_root_keeps_its_password() {
    let book = Arc::new(Book::default());
    book.create(ROOT, hash_password(secret("kept-password")).await.unwrap()).await.unwrap();
    let auth = authenticator(book).await;
    assert_eq!(check(&auth, "root:first-password").await, Err(Denied::Wrong));
    assert_eq!(check(&auth, "root:kept-password").await, Ok(Caller::User(ROOT.into())));
}

#[tokio::test]
async fn a_store_that_fails_lets_nobody_in_and_tells_nothing() {
    let auth = Authenticator::new(Arc::new(Book { broken: true, ..Book::default() }), None, &[]).await.unwrap();
    let denied = check(&auth, "root:first-password").await.unwrap_err();
    assert_eq!(denied, Denied::Unchecked);
    assert!(!denied.to_string().contains("disk"));
}

#[tokio::test]
async fn an_empty_api_key_or_a_short_root_password_is_refused_at_the_start() {
    let book = Arc::new(Book::default());
    let empty = Authenticator::new(Arc::clone(&book) as _, None, &[secret(" ")]).await;
    assert!(matches!(empty, Err(AuthError::EmptyApiKey)));
    assert!(matches!(Authenticator::new(book, Some(secret("12345")), &[]).await, Err(AuthError::RootPassword(_))));
}

#[tokio::test]
async fn a_guess_whose_caller_left_keeps_its_turn_and_counts() {
    let auth = authenticator(Arc::default()).await;
    let mut throttled = false;
    for guess in 0..GUESSES {
        let header = milvus_header(&format!("root:guess-number-{guess}"));
        // The caller stays until the check begins, and not for argon2id.
        let answer = auth.check(Some(&header)).now_or_never();
        throttled = matches!(answer, Some(Err(Denied::Throttled(_)))) && guess >= FREE;
        if throttled {
            break;
        }
        assert_eq!(answer, None, "guess {guess}");
        assert!(auth.turns.available_permits() < CHECKS_AT_ONCE, "the turn was given back while the check went on");
        while auth.turns.available_permits() < CHECKS_AT_ONCE {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    assert!(throttled, "no guess of a caller who left counted");
}
