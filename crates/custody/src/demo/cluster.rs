//! A real `custody node` in a process of its own, and a Milvus client of it.

use std::{
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use custody_kms::KeyArn;
use milvus::v2::prelude::{
    ClientV2, CollectionSchema, ConnectConfig, ConsistencyLevel, CreateCollectionRequest, CreateIndexRequest, DataType,
    DescribeIndexRequest, FieldData, FieldSchema, FlushRequest, IndexParam, IndexType, InsertRequest,
    LoadCollectionRequest, MetricType, QueryRequest, RetryConfig, SearchRequest, SearchVectors,
};
use tokio::process::{Child, Command};

use super::digits::Digits;
use crate::Failure;

/// The demo's clusters all have this id.
pub(super) const ID: &str = "demo";
const COLLECTION: &str = "handwritten_digits";
const LABEL: &str = "drawn_figure";
const PIXELS: &str = "pixel_values";
/// Names that must not be readable on the disk.
pub(super) const NAMES: [&str; 3] = [COLLECTION, LABEL, PIXELS];

/// Rows of one insert, and queries of one search.
const BATCH: usize = 100;
const START_LIMIT: Duration = Duration::from_secs(60);

/// A cluster of the demo.
pub(super) struct Cluster {
    directory: PathBuf,
    process: Child,
    client: ClientV2,
}

impl Cluster {
    /// Starts a node and waits until it serves. Without a key the cluster is unencrypted.
    pub(super) async fn start(
        directory: &Path,
        key: Option<(&KeyArn, &Path)>,
        check_interval: Duration,
    ) -> Result<Self, Failure> {
        let address = free_address()?;
        let password = custody_seal::ZoneId::random()?.to_string();
        std::fs::create_dir_all(directory)?;
        let log = std::fs::File::create(directory.with_extension("log"))?;
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("node").args(["--cluster-id", ID]).arg("--data-dir").arg(directory);
        command.args(["--listen", &address.to_string()]);
        command.args(["--key-check-interval", &format!("{}s", check_interval.as_secs())]);
        // A laptop with swap should show the demo; its data is public.
        command.arg("--allow-swap");
        match key {
            Some((arn, file)) => command.args(["--key-arn", arn.as_str()]).arg("--kms-file").arg(file),
            None => command.arg("--unencrypted"),
        };
        command.env("CUSTODY_ROOT_PASSWORD", &password);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).kill_on_drop(true);
        let mut process = command.spawn()?;
        let client = connect(address, &password, &mut process, directory).await?;
        Ok(Self { directory: directory.to_owned(), process, client })
    }

    /// Where the cluster keeps everything.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Whether the process that was started is still there.
    pub(super) fn is_running(&mut self) -> bool {
        matches!(self.process.try_wait(), Ok(None))
    }

    pub(super) async fn create_collection(&self) -> Result<(), Failure> {
        let field = |name: &str, data_type| FieldSchema::new().name(name).data_type(data_type);
        let dimension = u32::try_from(Digits::DIMENSION)?;
        let schema = CollectionSchema::new()
            .add_field(field("id", DataType::Int64).primary_key(true))
            .add_field(field(LABEL, DataType::Int64))
            .add_field(field(PIXELS, DataType::FloatVector).dimension(dimension));
        let create = CreateCollectionRequest::builder().collection_name(COLLECTION).schema(schema).build()?;
        self.client.create_collection(create).await?;
        let index = IndexParam::new().field_name(PIXELS).index_type(IndexType::AutoIndex).metric_type(MetricType::L2);
        let index = CreateIndexRequest::builder().collection_name(COLLECTION).index_params(vec![index]).build()?;
        self.client.create_index(index).await?;
        self.client.load_collection(LoadCollectionRequest::builder().collection_name(COLLECTION).build()?).await?;
        Ok(())
    }

    pub(super) async fn insert(&self, digits: &Digits, mut progress: impl FnMut(usize)) -> Result<(), Failure> {
        let keys: Vec<i64> = (0..i64::try_from(digits.len())?).collect();
        for start in (0..digits.len()).step_by(BATCH) {
            let rows = start..(start + BATCH).min(digits.len());
            let columns = vec![
                FieldData::int64("id", keys[rows.clone()].to_vec()),
                FieldData::int64(LABEL, digits.labels[rows.clone()].to_vec()),
                FieldData::float_vector(PIXELS, digits.pixels[rows.clone()].to_vec()),
            ];
            self.client.insert(InsertRequest::builder().collection_name(COLLECTION).columns(columns).build()?).await?;
            progress(rows.end);
        }
        Ok(())
    }

    /// Waits until the graph has every row.
    pub(super) async fn wait_for_index(&self) -> Result<(), Failure> {
        let started = Instant::now();
        loop {
            let request = DescribeIndexRequest::builder().collection_name(COLLECTION).field_name(PIXELS).build()?;
            let indexes = self.client.describe_index(request).await?;
            if indexes.indexes().iter().all(|index| index.get_pending_rows() == 0) {
                return Ok(());
            }
            if started.elapsed() > START_LIMIT {
                return Err("the index was not built in a minute".into());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(super) async fn flush(&self) -> Result<(), Failure> {
        self.client.flush(FlushRequest::builder().collection_names([COLLECTION]).build()?).await?;
        Ok(())
    }

    pub(super) async fn count(&self) -> Result<u64, Failure> {
        let request = QueryRequest::builder().collection_name(COLLECTION).output_fields(["count(*)"]);
        let answer = self.client.query(request.consistency_level(ConsistencyLevel::Strong).build()?).await?;
        let row = answer.results().rows()?.next().ok_or("count(*) gave no row")?;
        Ok(u64::try_from(row.get_i64("count(*)")?)?)
    }

    /// The keys of each digit's nearest neighbours, itself among them.
    pub(super) async fn search_all(
        &self,
        digits: &Digits,
        neighbours: usize,
        mut progress: impl FnMut(usize),
    ) -> Result<Vec<Vec<i64>>, Failure> {
        let mut answers = Vec::with_capacity(digits.len());
        for queries in digits.pixels.chunks(BATCH) {
            let request = SearchRequest::builder()
                .collection_name(COLLECTION)
                .vector_field(PIXELS)
                .vectors(SearchVectors::Float(queries.to_vec()))
                .limit(i64::try_from(neighbours)?)
                .build()?;
            for answer in self.client.search(request).await?.results() {
                let keys = answer.rows()?.map(|row| row.get_i64("id")).collect::<Result<_, _>>()?;
                answers.push(keys);
            }
            progress(answers.len());
        }
        Ok(answers)
    }

    /// Ends the process as an operator would.
    pub(super) async fn stop(mut self) -> Result<(), Failure> {
        use rustix::process::{Pid, Signal, kill_process};
        let pid = self.process.id().and_then(|id| Pid::from_raw(id.try_into().ok()?));
        let pid = pid.ok_or("the node has ended before it was stopped")?;
        kill_process(pid, Signal::TERM)?;
        let status = tokio::time::timeout(START_LIMIT, self.process.wait()).await??;
        if status.success() { Ok(()) } else { Err(format!("the node ended with {status}").into()) }
    }
}

/// Connects once the node serves; if it ends instead, says what it said.
async fn connect(
    address: SocketAddr,
    password: &str,
    process: &mut Child,
    directory: &Path,
) -> Result<ClientV2, Failure> {
    let started = Instant::now();
    loop {
        let config = ConnectConfig::new()
            .uri(format!("http://{address}"))
            .username("root")
            .password(password)
            .rpc_timeout(Duration::from_secs(30))
            .retry(RetryConfig::new().max_attempts(1));
        match ClientV2::new(&config).await {
            Ok(client) => return Ok(client),
            Err(error) => {
                let log = directory.with_extension("log");
                if process.try_wait()?.is_some() || started.elapsed() > START_LIMIT {
                    let said = std::fs::read_to_string(log).unwrap_or_default();
                    return Err(format!("the node did not start: {error}\n{said}").into());
                }
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A loopback address that is free now.
fn free_address() -> Result<SocketAddr, Failure> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}
