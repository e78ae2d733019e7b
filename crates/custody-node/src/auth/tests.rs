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
    let beforehand = || Known::new(&[secret("root:first-password")]).unwrap().credentials[0].token;
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
async fn guesses_sent_all_at_once_are_slowed_down_as_those_that_come_one_by_one() {
    let book = Arc::new(Book::default());
    let auth = Arc::new(authenticator(Arc::clone(&book)).await);
    let asked = book.asked.load(Ordering::Relaxed);
    let guesses = (0..200).map(|guess| {
        let auth = Arc::clone(&auth);
        tokio::spawn(async move { check(&auth, &format!("root:guess-{guess}")).await.unwrap_err() })
    });
    let denied: Vec<Denied> = futures::future::join_all(guesses).await.into_iter().map(Result::unwrap).collect();
    // Each check asks for the hash once.
    let checked = book.asked.load(Ordering::Relaxed) - asked;
    assert_eq!(denied.iter().filter(|denied| **denied == Denied::Wrong).count(), checked);
    // What was under way as the first wait began is checked to its end; on a busy machine waits end meanwhile.
    assert!((1..20).contains(&checked), "{checked} of 200 guesses were looked at");
    assert!(denied.iter().any(|denied| matches!(denied, Denied::Throttled(_))), "{denied:?}");
}

/// Waits until as many wait as may.
async fn no_more_room(auth: &Authenticator) {
    while auth.places.available_permits() > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn strangers_beyond_those_who_may_wait_are_turned_away_at_once_and_the_known_get_in() {
    let auth = Arc::new(authenticator(Arc::default()).await);
    check(&auth, "root:first-password").await.unwrap();
    let turns = Arc::clone(&auth.turns).acquire_many_owned(u32::try_from(CHECKS_AT_ONCE).unwrap()).await.unwrap();
    let waiting: Vec<_> = (0..WAITING)
        .map(|stranger| {
            let auth = Arc::clone(&auth);
            tokio::spawn(async move { check(&auth, &format!("stranger-{stranger}:password")).await })
        })
        .collect();
    no_more_room(&auth).await;
    let began = Instant::now();
    let denied = check(&auth, "one-more:password").await.unwrap_err();
    assert_eq!((denied.code(), denied), (tonic::Code::Unavailable, Denied::Busy));
    assert_eq!(auth.verify("one-more", &secret("password")).await, Err(Denied::Busy));
    assert!(began.elapsed() < TURN, "it waited");
    assert_eq!(check(&auth, "root:first-password").await, Ok(Caller::User(ROOT.into())));
    waiting.iter().for_each(tokio::task::JoinHandle::abort);
    futures::future::join_all(waiting).await;
    drop(turns);
    assert_eq!(check(&auth, "one-more:password").await, Err(Denied::Wrong), "there is room again");
}

#[tokio::test]
async fn those_whose_key_somebody_else_is_asked_about_take_room_too() {
    struct Silent;
    #[async_trait]
    impl ApiKeys for Silent {
        async fn access(&self, _: &str) -> Result<Option<Access>, CannotAsk> {
            std::future::pending().await
        }
    }
    let auth = Arc::new(authenticator(Arc::default()).await.with_issued(Some(Arc::new(Silent))));
    let waiting: Vec<_> = (0..WAITING)
        .map(|stranger| {
            let auth = Arc::clone(&auth);
            tokio::spawn(async move { check(&auth, &format!("custody_{stranger}")).await })
        })
        .collect();
    no_more_room(&auth).await;
    assert_eq!(check(&auth, "custody_more").await, Err(Denied::Busy));
    waiting.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn verifying_a_password_in_a_request_makes_no_credential_and_asks_none() {
    let auth = authenticator(Arc::default()).await;
    let before = auth.changes.load(Ordering::Acquire);
    assert_eq!(auth.verify(ROOT, &secret("first-password")).await, Ok(true));
    assert_eq!(auth.verify(ROOT, &secret("other-password")).await, Ok(false));
    assert!(auth.known.lock().unwrap().is_empty());
    assert_eq!(auth.changes.load(Ordering::Acquire), before, "nothing was remembered that would have to be forgotten");
    // Whatever is known of the user, another password stays wrong.
    for token in ["root:first-password", "\0root", "root", "root:"] {
        auth.remember(auth.tag(token.as_bytes()), &ROOT.into(), before);
    }
    assert_eq!(auth.verify(ROOT, &secret("other-password")).await, Ok(false));
}

/// On several threads, so that a moment between two steps would be found.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_token_without_a_password_is_let_in_while_one_is_verified() {
    let auth = Arc::new(authenticator(Arc::default()).await);
    let verified = tokio::spawn({
        let auth = Arc::clone(&auth);
        async move {
            for _ in 0..20 {
                assert_eq!(auth.verify(ROOT, &secret("first-password")).await, Ok(true));
            }
        }
    });
    while !verified.is_finished() {
        for header in ["AHJvb3Q=", "cm9vdA==", "root"] {
            let told = auth.check(Some(&HeaderValue::from_static(header))).await;
            assert_eq!(told, Err(Denied::Wrong), "{header}");
        }
        tokio::task::yield_now().await;
    }
    verified.await.unwrap();
}

/// A node whose users are sealed, with root's password and an API key from its settings.
fn known_beforehand() -> Known {
    Known::new(&[secret("root:first-password"), secret(API_KEY)]).unwrap()
}

#[test]
fn guessing_at_a_sealed_node_is_slowed_down_for_each_credential_by_itself() {
    let known = known_beforehand();
    let now = Instant::now();
    assert!(known.fits(&milvus_header("root:first-password"), now) && known.fits(&milvus_header(API_KEY), now));
    for guess in 0..FREE {
        assert!(!known.fits(&milvus_header(&format!("root:guess-{guess}")), now));
    }
    for header in [milvus_header("root:first-password"), HeaderValue::from_static("Bearer root:first-password")] {
        assert!(!known.fits(&header, now), "what is right among guesses looks like them");
    }
    assert!(known.fits(&HeaderValue::from_static(API_KEY), now), "who has an API key is another");
    assert!(known.fits(&milvus_header("root:first-password"), now + Duration::from_secs(1)));
    for guess in 0..FREE {
        assert!(!known.fits(&milvus_header(&format!("key-{guess}")), now));
    }
    assert!(!known.fits(&milvus_header(API_KEY), now) && !known.fits(&HeaderValue::from_static(API_KEY), now));
    assert!(known.fits(&milvus_header("root:first-password"), now));
}

#[test]
fn the_clusters_own_users_keep_nobody_from_hearing_why_it_is_sealed() {
    let known = known_beforehand();
    let now = Instant::now();
    // They try again all the time, and can't be known here. More names than a throttle remembers: none washes a wait out.
    for guess in 0..FREE {
        assert!(!known.fits(&milvus_header(&format!("root:guess-{guess}")), now));
    }
    for user in 0..5_000 {
        assert!(!known.fits(&milvus_header(&format!("user-{user}:password")), now + Duration::from_millis(1)));
    }
    assert!(!known.fits(&milvus_header("root:first-password"), now + Duration::from_millis(2)));
    assert!(known.fits(&milvus_header(API_KEY), now));
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
