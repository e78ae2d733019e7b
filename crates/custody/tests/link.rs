//! `custody node --link`: the real program under a small control plane of the test's own.

#[path = "link/anchor.rs"]
mod anchor;
#[path = "common/port.rs"]
mod port;

use std::{
    collections::BTreeMap,
    error::Error,
    fs::File,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    os::fd::OwnedFd,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use custody_link::{
    Access, CallRecord, Connection, Figures, KeyPolicy, KeyRef, Listener, NodeConfig, NodeState, Report, ToControl,
    ToNode,
};
use tokio::time::timeout;

type Failure = Box<dyn Error + Send + Sync>;

const PROGRAM: &str = env!("CARGO_BIN_EXE_custody");
const CLUSTER: &str = "in01-link";
const TOKEN: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
/// An API key of the control plane.
const READER: &str = "custody_reader";
const PATIENCE: Duration = Duration::from_mins(3);
/// For how long a node takes what it was told of an API key for true.
const REMEMBERED: Duration = Duration::from_secs(10);

/// The control plane's side, the node's process, and what the node told.
struct World {
    directory: tempfile::TempDir,
    address: SocketAddr,
    _held: OwnedFd,
    key: String,
    policy: KeyPolicy,
    /// Whether the cluster is stored in plain text.
    plain: bool,
    listener: Option<Listener>,
    connection: Option<Connection>,
    child: Child,
    report: Option<Report>,
    calls: Vec<CallRecord>,
    digests: Vec<String>,
    /// What the holder of the API key may do that was asked for first; of others, nobody may do anything.
    access: Access,
    uses_keys: bool,
    /// The anchor that was told last, and the one that a node is started on.
    anchor: Option<String>,
    below_anchor: bool,
    figures: Option<Figures>,
}

impl World {
    async fn new(policy: impl FnOnce(&str) -> KeyPolicy) -> Result<Self, Failure> {
        Self::make(policy, false).await
    }

    async fn make(policy: impl FnOnce(&str) -> KeyPolicy, plain: bool) -> Result<Self, Failure> {
        let directory = tempfile::tempdir()?;
        let key = kms(directory.path(), &["create-key"])?.trim().to_owned();
        let (held, address) = port::held()?;
        let place = directory.path().join("link");
        let listener = Listener::bind(&place)?;
        let child = spawn(directory.path())?;
        let policy = policy(&key);
        let mut world = Self {
            directory,
            address,
            _held: held,
            key,
            policy,
            plain,
            listener: Some(listener),
            connection: None,
            child,
            report: None,
            calls: Vec::new(),
            digests: Vec::new(),
            access: Access::Read,
            uses_keys: false,
            anchor: None,
            below_anchor: false,
            figures: None,
        };
        world.accept().await?;
        Ok(world)
    }

    fn config(&self) -> NodeConfig {
        let data = self.directory.path().to_owned();
        let key = KeyRef { provider: "local".into(), arn: self.key.clone(), role: None, external_id: None };
        NodeConfig {
            cluster: CLUSTER.to_owned(),
            key: Some(key).filter(|_| !self.plain),
            storage: data.join("storage").display().to_string(),
            listen: self.address,
            kms_file: Some(data.join("local-kms.json")),
            data_dir: data,
            key_check_interval_ms: 1_000,
            tls_cert: None,
            tls_key: None,
            allow_swap: true,
            insecure: false,
            log: "info,slatedb=warn".to_owned(),
            log_json: false,
            root_hash: None,
            policy: self.policy.clone(),
            anchor: self.anchor.clone(),
            below_anchor: self.below_anchor,
            held_zones: BTreeMap::new(),
            storage_sessions: false,
            console_origins: Vec::new(),
            restore: None,
        }
    }

    async fn accept(&mut self) -> Result<(), Failure> {
        let listener = self.listener.as_mut().ok_or("not listening")?;
        let pending = timeout(PATIENCE, listener.accept()).await?.ok_or("not listening")?;
        assert_eq!((pending.cluster(), pending.token()), (CLUSTER, TOKEN));
        assert_eq!(pending.pid(), Some(i32::try_from(self.child.id())?), "the same process through all its images");
        self.connection = Some(pending.admit(self.config()).await?);
        Ok(())
    }

    /// Does what a control plane does, until `done`.
    async fn until(&mut self, what: &str, done: impl Fn(&Self) -> bool) -> Result<(), Failure> {
        let end = Instant::now() + PATIENCE;
        while !done(self) {
            if Instant::now() > end {
                return Err(format!("{what} did not come about: {:?}", self.report).into());
            }
            self.step().await?;
        }
        Ok(())
    }

    async fn step(&mut self) -> Result<(), Failure> {
        let Some(connection) = &mut self.connection else { return self.accept().await };
        match timeout(Duration::from_millis(100), connection.incoming.receive()).await {
            Err(_) => {}
            Ok(Ok(Some(ToControl::Report(report)))) => self.report = Some(report),
            Ok(Ok(Some(ToControl::Calls(calls)))) => self.calls.extend(calls),
            Ok(Ok(Some(ToControl::Anchor(anchor)))) => self.anchor = Some(anchor),
            Ok(Ok(Some(ToControl::Figures(figures)))) => self.figures = Some(figures),
            Ok(Ok(Some(ToControl::AskAccess { id, digest }))) => {
                // The node remembers an answer for some seconds only, and then asks for the same again.
                let is_first = self.digests.first().is_none_or(|first| *first == digest);
                let level = if is_first { self.access } else { Access::None };
                self.digests.push(digest);
                connection.outgoing.send(&ToNode::Access { id, level, uses_keys: self.uses_keys }).await?;
            }
            Ok(Ok(Some(_))) => return Err("another message".into()),
            Ok(Ok(None) | Err(_)) => self.connection = None,
        }
        Ok(())
    }

    async fn send(&self, message: &ToNode) -> Result<(), Failure> {
        Ok(self.connection.as_ref().ok_or("not connected")?.outgoing.send(message).await?)
    }

    async fn serving(&mut self) -> Result<(), Failure> {
        self.report = None;
        self.until("serving", |world| {
            let serves = |report: &Report| report.state == NodeState::Serving && report.zones.is_empty() == world.plain;
            world.report.as_ref().is_some_and(serves)
        })
        .await?;
        assert_eq!(get(self.address, "/readyz")?.0, 200);
        Ok(())
    }

    async fn sealed(&mut self, outcome: Option<&str>) -> Result<(), Failure> {
        self.report = None;
        self.until("sealed", |world| matches!(&world.report, Some(Report { state: NodeState::Sealed { .. }, .. })))
            .await?;
        let told = self.report.as_ref().map(|report| &report.state);
        assert!(
            matches!(told, Some(NodeState::Sealed { outcome: told, .. }) if told.as_deref() == outcome),
            "{told:?}"
        );
        assert_eq!(get(self.address, "/readyz")?.0, 503);
        Ok(())
    }

    /// Waits until it says that it is sealed by this order.
    async fn sealed_by(&mut self, order: u64) -> Result<(), Failure> {
        self.until("sealed by the order", |world| {
            let state = world.report.as_ref().map(|report| &report.state);
            matches!(state, Some(NodeState::Sealed { heeded, .. }) if *heeded == order)
        })
        .await
    }

    /// Whether it is still sealed after several check intervals.
    async fn stays_sealed(&mut self) -> Result<(), Failure> {
        let end = Instant::now() + Duration::from_secs(4);
        self.until("time", |_| Instant::now() > end).await?;
        assert_eq!(get(self.address, "/readyz")?.0, 503);
        Ok(())
    }

    fn shows_no_token(&self) -> Result<(), Failure> {
        for file in ["environ", "cmdline"] {
            let read = std::fs::read(format!("/proc/{}/{file}", self.child.id()));
            if file == "environ" && !rustix::process::geteuid().is_root() {
                assert_eq!(read.map_err(|error| error.kind()), Err(std::io::ErrorKind::PermissionDenied));
                let why = "reading the environment of a process that can't be dumped takes root";
                assert!(std::env::var_os("CUSTODY_TEST_NO_SKIPS").is_none(), "nothing may be skipped here, and {why}");
                eprintln!("SKIPPED: {why}");
                continue;
            }
            let bytes = read?;
            assert!(!bytes.is_empty() && !bytes.windows(16).any(|part| part == &TOKEN.as_bytes()[..16]), "{file}");
        }
        Ok(())
    }
}

/// A node that connects to whoever listens in the directory.
fn spawn(directory: &Path) -> Result<Child, Failure> {
    let mut command = Command::new(PROGRAM);
    command.arg("node").arg("--link").arg(directory.join("link")).args(["--cluster-id", CLUSTER]);
    let log = File::options().create(true).append(true).open(directory.join("node.log"))?;
    command.stdin(Stdio::piped()).stdout(log.try_clone()?).stderr(log).current_dir(directory);
    let mut child = command.spawn()?;
    writeln!(child.stdin.take().ok_or("no pipe")?, "{TOKEN}")?;
    Ok(child)
}

impl Drop for World {
    fn drop(&mut self) {
        drop((self.child.kill(), self.child.wait()));
    }
}

fn kms(directory: &Path, arguments: &[&str]) -> Result<String, Failure> {
    let output = Command::new(PROGRAM).arg("kms").arg("--data-dir").arg(directory).args(arguments).output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// A policy under which a key that is refused seals at once.
fn without_grace(key: &str) -> KeyPolicy {
    KeyPolicy { grace_seconds: BTreeMap::from([(key.to_owned(), 0)]), ..KeyPolicy::default() }
}

fn get(address: SocketAddr, path: &str) -> Result<(u16, String), Failure> {
    exchange(address, &format!("GET {path} HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n"))
}

fn post(address: SocketAddr, call: &str, key: &str, body: &str) -> Result<(u16, String), Failure> {
    let head = "Host: node\r\nConnection: close\r\nContent-Type: application/json";
    let length = body.len();
    exchange(
        address,
        &format!(
            "POST /v2/vectordb/{call} HTTP/1.1\r\n{head}\r\nAuthorization: Bearer {key}\r\nContent-Length: {length}\r\n\r\n{body}"
        ),
    )
}

fn exchange(address: SocketAddr, request: &str) -> Result<(u16, String), Failure> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_mins(1)))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let status = answer.split(' ').nth(1).ok_or("no status")?.parse()?;
    Ok((status, answer))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_under_a_control_plane_serves_is_sealed_and_comes_back_and_never_shows_its_token() -> Result<(), Failure>
{
    let mut world = World::new(|_| KeyPolicy::default()).await?;
    world.serving().await?;
    world.shows_no_token()?;
    let zone = world.report.as_ref().ok_or("no report")?.zones[0].clone();
    world.until("figures", |world| world.figures.is_some_and(|figures| figures.resident > 0)).await?;
    assert_eq!((zone.key_arn.as_str(), zone.key_version, zone.outcome), (world.key.as_str(), 1, None));
    let is_decrypt = |call: &CallRecord| call.action == "kms:Decrypt" && call.outcome == "ok";
    world.until("the record of calls", |world| world.calls.iter().any(is_decrypt)).await?;

    // The control plane goes and comes back; the node serves all the while.
    world.connection = None;
    world.listener = None;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(get(world.address, "/readyz")?.0, 200);
    world.listener = Some(Listener::bind(&world.directory.path().join("link"))?);
    world.serving().await?;

    // Sealed by hand: it stays so over the change of the image, whatever the key does.
    world.send(&ToNode::Seal).await?;
    world.sealed(None).await?;
    world.shows_no_token()?;
    let decrypts = world.calls.iter().filter(|call| is_decrypt(call)).count();
    world.stays_sealed().await?;
    assert_eq!(world.calls.iter().filter(|call| is_decrypt(call)).count(), decrypts, "KMS is not asked meanwhile");
    world.send(&ToNode::Unseal).await?;
    world.serving().await?;
    world.shows_no_token()?;

    // The same by the policy, and by its end. It says which order it has heeded, and of the next one too.
    (world.policy.hold, world.policy.order) = (true, 3);
    world.send(&ToNode::Keys(world.policy.clone())).await?;
    world.sealed(None).await?;
    world.sealed_by(3).await?;
    world.policy.order = 4;
    world.send(&ToNode::Keys(world.policy.clone())).await?;
    world.sealed_by(4).await?;
    world.stays_sealed().await?;
    world.policy.hold = false;
    world.send(&ToNode::Keys(world.policy.clone())).await?;
    world.serving().await?;

    world.send(&ToNode::Stop).await?;
    let end = Instant::now() + PATIENCE;
    let status = loop {
        if let Some(status) = world.child.try_wait()? {
            break status;
        }
        assert!(Instant::now() < end, "it does not stop");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert!(status.success(), "{status}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_revoked_comes_back_by_itself_unless_its_owner_wants_a_person_to_decide() -> Result<(), Failure> {
    let mut world = World::new(without_grace).await?;
    world.serving().await?;
    let (directory, key) = (world.directory.path().to_owned(), world.key.clone());
    kms(&directory, &["disable", &key])?;
    world.sealed(Some("revoked")).await?;
    kms(&directory, &["enable", &key])?;
    world.serving().await?;

    world.policy.manual_recovery = vec![key.clone()];
    world.send(&ToNode::Keys(world.policy.clone())).await?;
    kms(&directory, &["disable", &key])?;
    world.sealed(Some("revoked")).await?;
    kms(&directory, &["enable", &key])?;
    world.stays_sealed().await?;
    world.send(&ToNode::Unseal).await?;
    world.serving().await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_to_seal_that_finds_nobody_while_the_image_is_replaced_is_heeded_before_the_cluster_is_opened()
-> Result<(), Failure> {
    let mut world = World::new(without_grace).await?;
    world.serving().await?;
    let (directory, key) = (world.directory.path().to_owned(), world.key.clone());
    kms(&directory, &["disable", &key])?;
    world.sealed(Some("revoked")).await?;
    let decrypts =
        |world: &World| world.calls.iter().filter(|call| call.action == "kms:Decrypt" && call.outcome == "ok").count();
    let before = decrypts(&world);
    // It is not sent: the next image hears it when it connects.
    (world.policy.hold, world.policy.order) = (true, 9);
    kms(&directory, &["enable", &key])?;
    world.sealed_by(9).await?;
    world.stays_sealed().await?;
    assert_eq!(decrypts(&world), before + 1, "the look that found the key back, and nothing after it");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_the_control_plane_may_do_what_the_control_plane_says() -> Result<(), Failure> {
    let mut world = World::new(|_| KeyPolicy::default()).await?;
    world.serving().await?;
    let address = world.address;
    let ask = async |world: &mut World, call: &'static str, key: &'static str, body: &'static str| {
        let asked = tokio::task::spawn_blocking(move || post(address, call, key, body));
        world.until("an answer", |_| asked.is_finished()).await?;
        asked.await?
    };
    let began = Instant::now();
    let read = ask(&mut world, "collections/list", READER, "{}").await?;
    assert!(read.0 == 200 && read.1.contains("\"code\":0"), "{read:?}");
    let write = ask(&mut world, "databases/create", READER, "{\"dbName\":\"x\"}").await?;
    assert!(write.1.contains("may only read"), "{write:?}");
    let asked = world.digests.len();
    assert!(asked == 1 || began.elapsed() >= REMEMBERED, "the answer is remembered: it was asked for {asked} times");
    assert_eq!(world.digests[0].len(), 64);
    let stranger = ask(&mut world, "collections/list", "custody_stranger", "{}").await?;
    assert!(!stranger.1.contains("\"code\":0"), "{stranger:?}");

    // Who may write does not choose a database's key unless that is said, too.
    let under_a_key =
        "{\"dbName\":\"x\",\"properties\":{\"cipher.key\":\"arn:custody:kms:local-dev:000000000000:key/none\"}}";
    world.access = Access::Admin;
    let end = Instant::now() + PATIENCE;
    while !ask(&mut world, "databases/create", READER, "{\"dbName\":\"y\"}").await?.1.contains("\"code\":0") {
        assert!(Instant::now() < end, "the answer from before holds on");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let refused = ask(&mut world, "databases/create", READER, under_a_key).await?;
    assert!(refused.0 == 403 && refused.1.contains("cipher.key"), "{refused:?}");
    world.uses_keys = true;
    while ask(&mut world, "databases/create", READER, under_a_key).await?.0 == 403 {
        assert!(Instant::now() < end, "the answer from before holds on");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    Ok(())
}
