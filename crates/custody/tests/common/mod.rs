//! A `custody node` of the tests' own: real program, real files, a key of the local development KMS.
#![allow(dead_code, reason = "each test file uses its own part")]

mod port;

use std::{
    collections::{BTreeMap, HashMap},
    error::Error,
    fs::File,
    io::{Read, Write},
    net::TcpStream,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use milvus::v2::prelude::{
    ClientV2, CollectionSchema, ConnectConfig, CreateCollectionRequest, DataType, FieldSchema, IndexParam, IndexType,
    LoadCollectionRequest, MetricType,
};

/// The id of the tests' clusters.
pub(crate) const CLUSTER: &str = "in01-rust-sdk";

/// What a test ends with when it fails.
pub(crate) type Failure = Box<dyn Error + Send + Sync>;

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_custody");
const PASSWORD: &str = "correct-horse-battery-staple";
/// What the log says when the process is the keyless stub from now on.
const STUB: &str = "this process holds no key and no data";
/// How long anything may take that takes seconds on a machine of its own.
pub(crate) const PATIENCE: Duration = Duration::from_mins(3);

/// A node and its directory; the process ends when this is dropped.
pub(crate) struct Node {
    directory: tempfile::TempDir,
    port: u16,
    _held: OwnedFd,
    key_arn: String,
    tenant_key: Option<String>,
    child: Option<Child>,
    /// How often it was seen to become the keyless stub.
    stubs: usize,
    /// What the program is started by, with arguments; by this process where there is nothing.
    starter: &'static [&'static str],
}

impl Node {
    /// Makes a key and an encrypted cluster under it, and serves it.
    pub(crate) fn start() -> Result<Self, Failure> {
        Self::start_with(false, &[])
    }

    /// The same, started by another program that becomes it.
    pub(crate) fn start_by(starter: &'static [&'static str]) -> Result<Self, Failure> {
        Self::start_with(false, starter)
    }

    /// The same with another key, under which a tenant's database can be made.
    pub(crate) fn start_with_tenant() -> Result<Self, Failure> {
        Self::start_with(true, &[])
    }

    fn start_with(tenant: bool, starter: &'static [&'static str]) -> Result<Self, Failure> {
        let directory = tempfile::tempdir()?;
        let create_key = || kms(directory.path(), &["create-key"]).map(|arn| arn.trim().to_owned());
        let key_arn = create_key()?;
        let tenant_key = if tenant { Some(create_key()?) } else { None };
        let (held, address) = port::held()?;
        let port = address.port();
        let mut node = Self { directory, port, _held: held, key_arn, tenant_key, child: None, stubs: 0, starter };
        node.spawn()?;
        Ok(node)
    }

    fn spawn(&mut self) -> Result<(), Failure> {
        let log = File::options().create(true).append(true).open(self.log())?;
        let child = command(self.starter)
            .args(["node", "--cluster-id", CLUSTER, "--key-arn", &self.key_arn])
            .args(["--listen", &format!("127.0.0.1:{}", self.port), "--key-check-interval", "1s", "--allow-swap"])
            .arg("--data-dir")
            .arg(self.directory.path())
            .args(self.tenant_key.iter().flat_map(|arn| ["--tenant-key", arn]))
            .env("CUSTODY_ROOT_PASSWORD", PASSWORD)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        self.child = Some(child);
        self.wait_for_status(200)
    }

    /// Waits until `/readyz` answers with a status.
    pub(crate) fn wait_for_status(&mut self, status: u16) -> Result<(), Failure> {
        self.wait_for(&format!("status {status}"), |node| Ok(ready_status(node.port).ok() == Some(status)))
    }

    /// Waits until the process has become the keyless stub anew. `/readyz` may answer 503 just before that: what is asked then
    /// is cut off in the middle.
    pub(crate) fn wait_until_stub(&mut self) -> Result<(), Failure> {
        let seen = self.stubs;
        self.wait_for("keyless stub", |node| Ok(node.stubs_in_log()? > seen))?;
        self.stubs = self.stubs_in_log()?;
        Ok(())
    }

    fn stubs_in_log(&self) -> Result<usize, Failure> {
        Ok(std::fs::read_to_string(self.log())?.matches(STUB).count())
    }

    fn wait_for(&mut self, what: &str, done: impl Fn(&Self) -> Result<bool, Failure>) -> Result<(), Failure> {
        let began = Instant::now();
        while !done(self)? {
            let child = self.child.as_mut().ok_or("the node does not run")?;
            if let Some(code) = child.try_wait()? {
                return Err(format!("the node ended ({code}): {}", std::fs::read_to_string(self.log())?).into());
            }
            if began.elapsed() > PATIENCE {
                return Err(format!("no {what}: {}", std::fs::read_to_string(self.log())?).into());
            }
            sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// kill -9, and a new process on the same data.
    pub(crate) fn kill_and_restart(&mut self) -> Result<(), Failure> {
        self.kill()?;
        self.spawn()
    }

    /// SIGTERM: the process ends by itself.
    pub(crate) fn stop(&mut self) -> Result<(), Failure> {
        let mut child = self.child.take().ok_or("the node does not run")?;
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        let status = child.wait()?;
        if status.success() { Ok(()) } else { Err(format!("the node ended with {status}").into()) }
    }

    /// A new process on the data of one that was stopped.
    pub(crate) fn start_again(&mut self) -> Result<(), Failure> {
        self.spawn()
    }

    /// Every object of the cluster by its path in it.
    pub(crate) fn objects(&self) -> Result<BTreeMap<object_store::path::Path, Vec<u8>>, Failure> {
        let root = self.directory.path().join("storage/clusters").join(CLUSTER);
        let (mut found, mut left) = (BTreeMap::new(), vec![root.clone()]);
        while let Some(directory) = left.pop() {
            for entry in std::fs::read_dir(directory)? {
                let path = entry?.path();
                if path.is_dir() {
                    left.push(path);
                } else {
                    let name = path.strip_prefix(&root)?.to_str().ok_or("a path that is no text")?.to_owned();
                    match std::fs::read(&path) {
                        Ok(bytes) => drop(found.insert(object_store::path::Path::parse(name)?, bytes)),
                        // Being written, or removed meanwhile.
                        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                        Err(error) => return Err(error.into()),
                    }
                }
            }
        }
        Ok(found)
    }

    /// The process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().map_or(0, Child::id)
    }

    /// The tenant's key.
    pub(crate) fn tenant_key(&self) -> &str {
        self.tenant_key.as_deref().unwrap_or_default()
    }

    /// Runs `custody kms COMMAND` on the tenant's key.
    pub(crate) fn set_tenant_key(&self, command: &str) -> Result<(), Failure> {
        kms(self.directory.path(), &[command, self.tenant_key()]).map(drop)
    }

    /// The cluster's key.
    pub(crate) fn key_arn(&self) -> &str {
        &self.key_arn
    }

    /// Where the node's files are.
    pub(crate) fn data_dir(&self) -> &Path {
        self.directory.path()
    }

    /// The file of the development KMS.
    pub(crate) fn kms_file(&self) -> PathBuf {
        self.directory.path().join("local-kms.json")
    }

    /// kill -9.
    pub(crate) fn kill(&mut self) -> Result<(), Failure> {
        if let Some(mut child) = self.child.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    /// A connection as root.
    pub(crate) async fn client(&self) -> Result<ClientV2, Failure> {
        self.client_with(&format!("root:{PASSWORD}")).await
    }

    /// A connection with a token.
    pub(crate) async fn client_with(&self, token: &str) -> Result<ClientV2, Failure> {
        let config = ConnectConfig::new().uri(format!("http://127.0.0.1:{}", self.port)).token(token);
        Ok(ClientV2::new(&config).await?)
    }

    /// Runs `custody kms COMMAND` on the cluster's key.
    pub(crate) fn key(&self, command: &str) -> Result<(), Failure> {
        kms(self.directory.path(), &[command, &self.key_arn]).map(drop)
    }

    fn log(&self) -> PathBuf {
        self.directory.path().join("node.log")
    }
}

/// A loaded collection with an integer key, a text and a vector with a graph index.
pub(crate) async fn create_collection(client: &ClientV2, name: &str, dim: u32) -> Result<(), Failure> {
    let schema = CollectionSchema::new()
        .add_field(FieldSchema::new().name("id").data_type(DataType::Int64).primary_key(true))
        .add_field(FieldSchema::new().name("word").data_type(DataType::VarChar).max_length(100))
        .add_field(FieldSchema::new().name("vector").data_type(DataType::FloatVector).dimension(dim));
    let index = IndexParam::new()
        .field_name("vector")
        .index_name("graph")
        .index_type(IndexType::Hnsw)
        .metric_type(MetricType::L2)
        .extra_params(HashMap::from([("M".into(), "16".into()), ("efConstruction".into(), "200".into())]));
    let request = CreateCollectionRequest::builder().collection_name(name).schema(schema).index_params(vec![index]);
    client.create_collection(request.build()?).await?;
    client.load_collection(LoadCollectionRequest::builder().collection_name(name).build()?).await?;
    Ok(())
}

impl Drop for Node {
    fn drop(&mut self) {
        // Where it fails the process has ended already.
        self.kill().ok();
    }
}

/// The program, started by another that becomes it, or by this process.
pub(crate) fn command(starter: &[&str]) -> Command {
    match starter {
        [] => Command::new(PROGRAM),
        [starter, arguments @ ..] => {
            let mut command = Command::new(starter);
            command.args(arguments).arg(PROGRAM);
            command
        }
    }
}

fn kms(data_dir: &Path, command: &[&str]) -> Result<String, Failure> {
    let output = Command::new(PROGRAM).arg("kms").arg("--data-dir").arg(data_dir).args(command).output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into());
    }
    Ok(String::from_utf8(output.stdout)?)
}

fn ready_status(port: u16) -> Result<u16, Failure> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let status = answer.split(' ').nth(1).ok_or("no answer")?;
    Ok(status.parse()?)
}
