//! Both ends of the link, in one process.

#![allow(clippy::unwrap_used)]

use std::{
    collections::BTreeMap,
    os::unix::fs::PermissionsExt,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use custody_kms::{
    Action, HandedFailure, HandedFailureKind, HandedSession, KeyArn, Ledger, LedgerEntry, Outcome, Provider, Purpose,
    RootKeyRef, SessionSource,
};
use custody_link::{
    Access, CallRecord, Command, Connection, KeyPolicy, Link, LinkError, Listener, NodeConfig, NodeState, Report,
    ToControl, ToNode,
};
use tempfile::TempDir;
use tokio::{io::AsyncWriteExt, time::timeout};
use zeroize::Zeroizing;

const TOKEN: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const KEY: &str = "arn:aws:kms:us-west-2:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";
const ROLE: &str = "arn:aws:iam::111122223333:role/custody";
/// How long anything may take that takes seconds on a machine of its own. Only a hang reaches it.
const SOON: Duration = Duration::from_secs(60);

fn config(hold: bool) -> NodeConfig {
    NodeConfig {
        cluster: "in01".to_owned(),
        key: None,
        storage: "/nowhere".to_owned(),
        listen: ([127, 0, 0, 1], 1).into(),
        data_dir: "/nowhere".into(),
        key_check_interval_ms: 1_000,
        kms_file: None,
        tls_cert: None,
        tls_key: None,
        allow_swap: true,
        insecure: false,
        log: "info".to_owned(),
        log_json: false,
        root_hash: None,
        policy: KeyPolicy { hold, grace_seconds: BTreeMap::from([(KEY.to_owned(), 7)]), ..KeyPolicy::default() },
        anchor: None,
        below_anchor: false,
        held_zones: BTreeMap::new(),
        storage_sessions: false,
        console_origins: Vec::new(),
        restore: None,
    }
}

fn node(directory: &Path) -> (Arc<Link>, tokio::sync::mpsc::UnboundedReceiver<Command>) {
    let (link, commands) = Link::connect(directory.to_owned(), "in01".to_owned(), Zeroizing::new(TOKEN.to_owned()));
    (Arc::new(link), commands)
}

async fn admit(listener: &mut Listener, hold: bool) -> Connection {
    let pending = timeout(SOON, listener.accept()).await.unwrap().unwrap();
    assert_eq!((pending.cluster(), pending.token()), ("in01", TOKEN));
    assert_eq!(pending.pid(), Some(i32::try_from(std::process::id()).unwrap()));
    pending.admit(config(hold)).await.unwrap()
}

async fn receive(connection: &mut Connection) -> ToControl {
    timeout(SOON, connection.incoming.receive()).await.unwrap().unwrap().unwrap()
}

fn call(number: u32) -> LedgerEntry {
    LedgerEntry {
        at: SystemTime::UNIX_EPOCH,
        took: Duration::from_millis(3),
        provider: Provider::Aws,
        action: Action::Decrypt,
        key: KEY.parse::<KeyArn>().unwrap().into(),
        role: Some(ROLE.parse().unwrap()),
        session: None,
        context: None,
        purpose: Purpose::Renew,
        result: Err(Outcome::Denied),
        code: None,
        request_id: Some(number.to_string()),
    }
}

#[tokio::test]
async fn a_node_is_configured_reports_and_is_given_orders() {
    let directory = TempDir::new().unwrap();
    let mut listener = Listener::bind(directory.path()).unwrap();
    let (link, mut commands) = node(directory.path());
    link.report(Report { state: NodeState::Starting, zones: Vec::new(), pid: 1 });
    let mut control = admit(&mut listener, false).await;
    assert!(link.config(SOON).await.unwrap() == config(false));
    let ToControl::Report(report) = receive(&mut control).await else { panic!("another message") };
    assert_eq!(report.state, NodeState::Starting);
    let mut policies = link.policies();
    let policy = KeyPolicy { hold: true, ..KeyPolicy::default() };
    control.outgoing.send(&ToNode::Keys(policy.clone())).await.unwrap();
    assert!(timeout(SOON, policies.wait_for(|now| now.as_ref() == Some(&policy))).await.is_ok());
    for (order, command) in
        [(ToNode::Seal, Command::Seal), (ToNode::Unseal, Command::Unseal), (ToNode::Stop, Command::Stop)]
    {
        control.outgoing.send(&order).await.unwrap();
        assert!(timeout(SOON, commands.recv()).await.unwrap() == Some(command));
    }
}

#[test]
fn a_control_plane_that_says_nothing_of_keys_lets_nobody_use_them() {
    let old = r#"{"access":{"id":7,"level":"admin"}}"#;
    let ToNode::Access { id, level, uses_keys } = serde_json::from_str(old).unwrap() else { panic!("an answer") };
    assert_eq!((id, level, uses_keys), (7, Access::Admin, false));
}

#[tokio::test]
async fn asks_are_answered_each_with_its_own_answer() {
    let directory = TempDir::new().unwrap();
    let mut listener = Listener::bind(directory.path()).unwrap();
    let (link, _commands) = node(directory.path());
    let mut control = admit(&mut listener, false).await;
    let key = RootKeyRef::parse("aws", KEY, Some(ROLE), Some("external")).unwrap();
    let asking = Arc::clone(&link);
    let session = tokio::spawn(async move { asking.session(&key, Purpose::Renew).await });
    let ToControl::AskSession { id, key_arn, purpose } = receive(&mut control).await else { panic!("no ask") };
    assert_eq!((key_arn.as_str(), Purpose::parse(&purpose)), (KEY, Some(Purpose::Renew)));
    let asking = Arc::clone(&link);
    let access = tokio::spawn(async move { asking.ask_access("00").await });
    let ToControl::AskAccess { id: other, digest } = receive(&mut control).await else { panic!("no ask") };
    assert_eq!(digest, "00");
    // The later one is answered first.
    control.outgoing.send(&ToNode::Access { id: other, level: Access::Read, uses_keys: false }).await.unwrap();
    assert_eq!(access.await.unwrap(), Ok((Access::Read, false)));
    let given = HandedSession {
        access_key_id: "ASIA".to_owned(),
        secret_access_key: Zeroizing::new("secret".to_owned()),
        session_token: Zeroizing::new("token".to_owned()),
        expires: SystemTime::UNIX_EPOCH + Duration::from_secs(900),
        session: Some("arn:aws:sts::1:assumed-role/custody/custody-in01".to_owned()),
    };
    control.outgoing.send(&ToNode::session(id, Ok(given.clone()))).await.unwrap();
    let got = session.await.unwrap().unwrap();
    assert_eq!(got.expires, given.expires);
    assert_eq!((got.secret_access_key.as_str(), got.session_token.as_str()), ("secret", "token"));

    let failure = HandedFailure {
        kind: HandedFailureKind::Service { code: Some("AccessDenied".to_owned()), status: Some(403) },
        text: "no".to_owned(),
        request_id: Some("r".to_owned()),
    };
    let asking = Arc::clone(&link);
    let session = tokio::spawn(async move { asking.ask_session(KEY, Purpose::Open).await });
    let ToControl::AskSession { id, .. } = receive(&mut control).await else { panic!("no ask") };
    control.outgoing.send(&ToNode::session(id, Err(failure.clone()))).await.unwrap();
    assert_eq!(session.await.unwrap().unwrap_err(), failure);
}

#[tokio::test]
async fn a_link_that_breaks_is_made_again_and_loses_no_report_and_no_record() {
    let directory = TempDir::new().unwrap();
    let mut listener = Listener::bind(directory.path()).unwrap();
    let (link, _commands) = node(directory.path());
    let mut control = admit(&mut listener, false).await;
    link.report(Report { state: NodeState::Serving, zones: Vec::new(), pid: 9 });
    assert!(matches!(receive(&mut control).await, ToControl::Report(_)));
    let asking = Arc::clone(&link);
    let cut_off = tokio::spawn(async move { asking.ask_session(KEY, Purpose::Renew).await });
    assert!(matches!(receive(&mut control).await, ToControl::AskSession { .. }));
    drop((control, listener));
    // Whoever waits for an answer is told at once, and that it is nobody's fault but ours.
    let failure = timeout(SOON, cut_off).await.unwrap().unwrap().unwrap_err();
    assert_eq!(failure.kind, HandedFailureKind::Credentials);
    let mut connected = link.connected();
    timeout(SOON, connected.wait_for(|connected| !connected)).await.unwrap().unwrap();
    (0..450).for_each(|number| link.record(call(number)));
    assert!(link.ask_access("00").await.is_err(), "while nobody listens");

    let mut listener = Listener::bind(directory.path()).unwrap();
    let mut control = admit(&mut listener, true).await;
    let (mut reported, mut calls) = (false, Vec::<CallRecord>::new());
    while !reported || calls.len() < 450 {
        match receive(&mut control).await {
            ToControl::Report(report) => reported = report.pid == 9,
            ToControl::Calls(some) => calls.extend(some),
            _ => panic!("another message"),
        }
    }
    let numbers: Vec<u32> = calls.iter().map(|call| call.request_id.as_ref().unwrap().parse().unwrap()).collect();
    assert_eq!(numbers, (0..450).collect::<Vec<_>>());
    assert_eq!((calls[0].outcome.as_str(), calls[0].action.as_str()), ("denied", "kms:Decrypt"));
    assert!(link.policies().borrow().as_ref().unwrap().hold, "the newer policy");
    timeout(SOON, link.flush(SOON)).await.unwrap();
}

#[tokio::test]
async fn the_newest_anchor_is_told_at_once_and_again_after_a_reconnect_and_waited_for() {
    let directory = TempDir::new().unwrap();
    let (link, _commands) = node(directory.path());
    timeout(SOON, link.flush(SOON)).await.unwrap();
    link.anchor("1".to_owned()).unwrap();
    let begun = std::time::Instant::now();
    link.flush(Duration::from_millis(50)).await;
    assert!(begun.elapsed() >= Duration::from_millis(50), "it is not there yet");

    let mut listener = Listener::bind(directory.path()).unwrap();
    let mut control = admit(&mut listener, false).await;
    assert!(matches!(receive(&mut control).await, ToControl::Anchor(text) if text == "1"));
    link.anchor("2".to_owned()).unwrap();
    assert!(matches!(receive(&mut control).await, ToControl::Anchor(text) if text == "2"));
    timeout(SOON, link.flush(SOON)).await.unwrap();

    let mut connected = link.connected();
    drop((control, listener));
    timeout(SOON, connected.wait_for(|connected| !connected)).await.unwrap().unwrap();
    let mut listener = Listener::bind(directory.path()).unwrap();
    let mut control = admit(&mut listener, false).await;
    assert!(matches!(receive(&mut control).await, ToControl::Anchor(text) if text == "2"));

    // It would break the link, and each one made after it.
    let long = "x".repeat(custody_link::LONGEST);
    assert!(matches!(link.anchor(long), Err(LinkError::TooLong(_))));
    link.anchor("3".to_owned()).unwrap();
    assert!(matches!(receive(&mut control).await, ToControl::Anchor(text) if text == "3"));
}

#[tokio::test]
async fn the_socket_is_for_its_user_alone_and_may_lie_deep() {
    let directory = TempDir::new().unwrap();
    let deep = directory.path().join("d".repeat(120)).join("e".repeat(120));
    let mut listener = Listener::bind(&deep).unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&deep), mode(&deep.join("control.sock"))), (0o700, 0o600));
    assert!(matches!(Listener::bind(&deep), Err(LinkError::Taken(_))), "one control plane only");
    let (link, _commands) = node(&deep);
    let _control = admit(&mut listener, false).await;
    assert!(link.config(SOON).await.is_ok());
}

#[tokio::test]
async fn who_is_turned_away_is_not_configured_and_tries_again() {
    let directory = TempDir::new().unwrap();
    let mut listener = Listener::bind(directory.path()).unwrap();
    let (link, _commands) = node(directory.path());
    drop(timeout(SOON, listener.accept()).await.unwrap().unwrap());
    assert!(link.config(Duration::from_millis(50)).await.is_err());
    let _control = admit(&mut listener, false).await;
    assert!(link.config(SOON).await.is_ok());
}

#[tokio::test]
async fn who_does_not_say_hello_in_time_or_says_something_else_is_turned_away_and_holds_nobody_up() {
    let directory = TempDir::new().unwrap();
    let mut listener = Listener::bind(directory.path()).unwrap();
    let path = directory.path().join("control.sock");
    let silent = tokio::net::UnixStream::connect(&path).await.unwrap();
    let mut rude = tokio::net::UnixStream::connect(&path).await.unwrap();
    rude.write_all(&u32::MAX.to_be_bytes()).await.unwrap();
    let (link, _commands) = node(directory.path());
    let _control = admit(&mut listener, false).await;
    assert!(link.config(SOON).await.is_ok());
    let closed = async |stream: &tokio::net::UnixStream| {
        timeout(SOON, stream.readable()).await.unwrap().unwrap();
        matches!(stream.try_read(&mut [0; 1]), Ok(0) | Err(_))
    };
    assert!(closed(&rude).await);
    assert!(closed(&silent).await, "after five seconds");
}
