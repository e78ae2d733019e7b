//! `custody serve`: the control plane.

use std::{
    io::{IsTerminal, Write},
    net::SocketAddr,
    os::unix::fs::OpenOptionsExt,
    path::Path,
    sync::Arc,
};

use clap::Args;
use custody_control::{
    ClusterStorage, Control, Counts, Db, Destroyed, NodeParts, NodeSettings, Options, StorageRole,
    access::{ADMIN, AdminCredentials, FirstCredentials},
    alert::Allowed,
    cmek::DbLedger,
};
use custody_http::Limits;
use custody_kms::{
    AwsKms, AwsOptions, AwsSessions, BucketPart, LocalKms, Provider, Providers, SessionName, configured_region,
};
use custody_store::ClusterId;
use tokio::task::JoinSet;
use zeroize::Zeroizing;

use crate::{
    Failure,
    backup_storage::Backups,
    config::{self, Flags, Settings},
    harden,
    node::{stop_signal, tls},
    storage,
};

/// Where the control plane listens unless told otherwise.
const ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8080);
/// The variables that a node gets, where they are set: where KMS and the bucket are, and whose certificates are trusted.
const NODE_VARIABLES: [&str; 9] = [
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_KMS",
    "AWS_ENDPOINT_URL_S3",
    "AWS_USE_FIPS_ENDPOINT",
    "AWS_USE_DUALSTACK_ENDPOINT",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
];
/// Where the head of the activity log is left, in the clusters' storage.
const AUDIT_HEAD: &str = "control/audit-head";
/// The database's file, in the data directory.
pub(crate) const DATABASE: &str = "control.db";

/// `custody serve`.
#[derive(Args)]
pub(crate) struct ServeArgs {
    #[command(flatten)]
    pub(crate) flags: Flags,
}

/// Serves until Ctrl-C or SIGTERM.
pub(crate) async fn run(settings: Settings) -> Result<(), Failure> {
    // It holds our own AWS credentials, if no zone key and no row.
    harden::harden(settings.allow_swap)?;
    let address = settings.listen.unwrap_or(ADDRESS);
    let connections = custody_http::connections(harden::raise_file_limit());
    let tls = tls(&settings)?;
    let given = given(&settings, address)?;
    let listener = std::net::TcpListener::bind(address)
        .map_err(|error| format!("{address} can't be listened on: {error}: choose another address with --listen"))?;
    let db = Db::open(&settings.data_dir.join(DATABASE)).await?;
    let ledger = DbLedger::start(db.clone());
    // The port as well, where the system has chosen it.
    let address = listener.local_addr()?;
    let control = Arc::new(control(&settings, address, tls.is_some(), db.clone(), ledger).await?);
    show(&settings.data_dir, control.bootstrap(given).await?)?;
    let link = control.start_nodes().await?;
    let mut tasks = JoinSet::new();
    tasks.spawn(Arc::clone(&control).talk_to_nodes(link));
    tasks.spawn(Arc::clone(&control).run_jobs());
    tasks.spawn(Arc::clone(&control).clean_up_backups());
    tasks.spawn(Arc::clone(&control).follow_backup_policies());
    tasks.spawn(Arc::clone(&control).check_keys());
    tasks.spawn(Arc::clone(&control).deliver_alerts());
    tasks.spawn(Arc::clone(&control).look_for_all_strangers());
    tasks.spawn(Arc::clone(&control).prune_ledger());
    tasks.spawn(Arc::clone(&control).keep_audit_head());
    let scheme = if tls.is_some() { "https" } else { "http" };
    // The one line that whoever started it waits for.
    tracing::info!("the control plane is at {scheme}://{address}");
    let router = custody_control::router(Arc::clone(&control)).merge(custody_console::router(Arc::clone(&control)));
    let limits = Limits { connections, ..Limits::default() };
    let served = custody_http::serve(listener, tls, router, limits, None, stop_signal()).await;
    // Answers are given; now the clusters end, still linked so that their last records arrive.
    tracing::info!("stopping: every cluster's node ends cleanly");
    control.stop_nodes().await;
    tasks.shutdown().await;
    control.close().await;
    Ok(served?)
}

async fn control(
    settings: &Settings,
    address: SocketAddr,
    tls: bool,
    db: Db,
    ledger: DbLedger,
) -> Result<Control, Failure> {
    let aws_options = AwsOptions::new(SessionName::of(&"control".parse()?)?);
    let sessions = AwsSessions::new(aws_options.clone(), Arc::new(ledger.clone()))?;
    let aws = Arc::new(AwsKms::new(aws_options, Arc::new(ledger.clone()))?);
    let principal = principal(settings, &aws).await?;
    let local_keys = address.ip().is_loopback();
    let mut providers = Providers::new().with(Provider::Aws, aws);
    if local_keys {
        let local = LocalKms::new(settings.kms_file(), Arc::new(ledger.clone()));
        providers = providers.with(Provider::Local, Arc::new(local));
    }
    let options = Options {
        check_interval: settings.key_check_interval,
        default_grace: settings.key_grace,
        strangers_interval: settings.external_id_check_interval,
        ledger_age: std::time::Duration::from_hours(24) * settings.ledger_days,
        key_limit: i64::from(settings.key_limit),
        patience: settings.validate_patience,
        local_keys,
        tls,
        webhooks: webhooks(settings)?,
        principal,
    };
    let storage = Arc::new(DestroyOnly(settings.storage_url()));
    let backups = Arc::new(Backups(settings.backup_url()));
    let parts = NodeParts { storage, backups, sessions: Some(sessions), local_keys };
    let nodes = node_settings(settings, address, storage_roles(settings).await?)?;
    Ok(Control::new(db, Arc::new(providers), ledger, options, nodes, parts))
}

/// What every cluster's node is started with.
fn node_settings(
    settings: &Settings,
    address: SocketAddr,
    (storage_role, backup_role): (Option<StorageRole>, Option<StorageRole>),
) -> Result<NodeSettings, Failure> {
    // A node runs in a directory of its own.
    let absolute = |path: &Path| std::path::absolute(path);
    let tls = match (&settings.tls_cert, &settings.tls_key) {
        (Some(cert), Some(key)) => Some((absolute(cert)?, absolute(key)?)),
        _ => None,
    };
    let public_host = match (&settings.public_host, address.ip()) {
        (Some(host), _) => Some(host.clone()),
        // Nobody can connect to "all addresses".
        (None, ip) if ip.is_unspecified() => {
            Some(std::fs::read_to_string("/proc/sys/kernel/hostname")?.trim().to_owned())
        }
        (None, _) => None,
    };
    let console_origins = console_origins(address, tls.is_some(), public_host.as_deref());
    Ok(NodeSettings {
        program: std::env::current_exe()?,
        data_dir: absolute(&settings.data_dir)?,
        storage: absolute_storage(&settings.storage_url())?,
        storage_role,
        backup_storage: absolute_storage(&settings.backup_url())?,
        backup_role,
        host: address.ip(),
        public_host,
        console_origins,
        ports: settings.ports()?,
        key_check_interval: settings.key_check_interval,
        kms_file: absolute(&settings.kms_file())?,
        tls,
        allow_swap: settings.allow_swap,
        insecure: settings.insecure,
        log: settings.log.clone(),
        log_json: settings.log_json,
        environment: node_environment(|name| std::env::var(name).ok()),
    })
}

/// The role that nodes reach the bucket by that clusters are stored in, and the same for the bucket of backups. They get no
/// credentials of ours, but sessions of that role, each on its own cluster's part of the bucket.
async fn storage_roles(settings: &Settings) -> Result<(Option<StorageRole>, Option<StorageRole>), Failure> {
    let (storage, backups) = (settings.storage_url(), settings.backup_url());
    if settings.storage_role.is_some() && [&storage, &backups].iter().all(|url| storage::bucket(url).is_none()) {
        return Err(format!("storage_role is for a bucket, and storage is {storage}: leave one of them out").into());
    }
    let of_clusters = storage_role(settings, "storage", &storage, "clusters").await?;
    Ok((of_clusters, storage_role(settings, "backup_storage", &backups, storage::BACKUPS).await?))
}

async fn storage_role(settings: &Settings, what: &str, url: &str, of: &str) -> Result<Option<StorageRole>, Failure> {
    let Some((bucket, prefix)) = storage::bucket(url) else { return Ok(None) };
    let role = settings.storage_role.as_deref().ok_or_else(|| {
        format!(
            "{what} {url}: --storage-role has to name a role of yours that may read, write, delete and list there: each node gets \
             sessions of it that reach its own cluster's part of the bucket only"
        )
    })?;
    let region = configured_region().await.ok_or_else(|| {
        format!("{what} {url}: no AWS region is set (AWS_REGION or a profile): say where the bucket is")
    })?;
    // Whatever a cluster will be called, its part of the bucket can be named in a policy.
    BucketPart::new(bucket, format!("{prefix}/{of}/in01").trim_start_matches('/'))
        .map_err(|error| format!("{what} {url}: {error}"))?;
    let role = role.trim().parse().map_err(|error| format!("storage_role: {error}"))?;
    Ok(Some(StorageRole { role, bucket: bucket.to_owned(), prefix: prefix.to_owned(), region }))
}

/// Where browsers find the console.
fn console_origins(address: SocketAddr, tls: bool, public_host: Option<&str>) -> Vec<String> {
    let (scheme, usual) = if tls { ("https", 443) } else { ("http", 80) };
    let host = public_host.map_or_else(
        || match address.ip() {
            std::net::IpAddr::V6(host) => format!("[{host}]"),
            host @ std::net::IpAddr::V4(_) => host.to_string(),
        },
        str::to_owned,
    );
    let also = address.ip().is_loopback().then(|| "localhost".to_owned());
    // As browsers write it: without the port that goes without saying.
    let port = if address.port() == usual { String::new() } else { format!(":{}", address.port()) };
    [Some(host), also].into_iter().flatten().map(|host| format!("{scheme}://{host}{port}")).collect()
}

/// A local directory as it is named from anywhere; a bucket as it is.
fn absolute_storage(url: &str) -> Result<String, Failure> {
    match url.strip_prefix("file://") {
        None if storage::bucket(url).is_some() => Ok(url.to_owned()),
        None if url.contains("://") => Err(format!("storage {url}: only file:// and s3:// are known").into()),
        path => Ok(std::path::absolute(path.unwrap_or(url))?.display().to_string()),
    }
}

/// The whole environment of a node: how AWS is reached, and no credential (rule 23).
fn node_environment(read: impl Fn(&str) -> Option<String>) -> Vec<(String, String)> {
    let passed = NODE_VARIABLES.into_iter().filter_map(|name| read(name).map(|value| (name.to_owned(), value)));
    passed.collect()
}

/// Where clusters are stored, for the control plane: it destroys, and never reads.
struct DestroyOnly(String);

#[async_trait::async_trait]
impl ClusterStorage for DestroyOnly {
    async fn count(&self, cluster: &str) -> Result<Counts, String> {
        storage::count(&self.0, &cluster_id(cluster)?).await.map_err(|error| error.to_string())
    }

    async fn destroy(&self, cluster: &str) -> Result<Destroyed, String> {
        storage::destroy(&self.0, &cluster_id(cluster)?).await.map_err(|error| error.to_string())
    }

    async fn keep_audit_head(&self, head: &str) -> Result<(), String> {
        storage::keep(&self.0, AUDIT_HEAD, format!("{head}\n")).await.map_err(|error| error.to_string())
    }
}

fn cluster_id(text: &str) -> Result<ClusterId, String> {
    text.parse().map_err(|_| format!("{text:?} is no cluster's id"))
}

/// Where webhooks may lead besides the open internet.
fn webhooks(settings: &Settings) -> Result<Allowed, Failure> {
    let listed = settings.webhook_allow.as_deref().unwrap_or_default();
    let entries = listed.split(',').map(str::trim).filter(|entry| !entry.is_empty());
    Ok(Allowed::parse(entries).map_err(|error| format!("webhook_allow: {error}"))?)
}

/// Whom customers' roles are to trust: as set, or as AWS says. Without either the control plane serves all the same, and
/// says so when an AWS key is to be set up.
async fn principal(settings: &Settings, aws: &AwsKms) -> Result<Option<custody_control::cmek::Principal>, Failure> {
    if let Some(arn) = &settings.principal_arn {
        return Ok(Some(arn.parse().map_err(|error| format!("principal_arn: {error}"))?));
    }
    let Some(region) = configured_region().await else {
        tracing::info!("no AWS region is set (AWS_REGION or a profile): AWS keys can't be set up, local ones can");
        return Ok(None);
    };
    match aws.identity(&region).await {
        Ok(arn) => Ok(Some(arn.parse().map_err(|error| format!("our own identity: {error}"))?)),
        Err(error) => {
            tracing::warn!(%error, "AWS keys can't be set up");
            Ok(None)
        }
    }
}

/// The owner's credentials from the settings.
fn given(settings: &Settings, address: SocketAddr) -> Result<AdminCredentials, Failure> {
    let given = AdminCredentials {
        password: settings.admin_password()?.map(Zeroizing::new),
        api_key: settings.admin_api_key()?.map(Zeroizing::new),
    };
    for (name, value) in [("CUSTODY_ADMIN_PASSWORD", &given.password), ("CUSTODY_ADMIN_API_KEY", &given.api_key)] {
        let Some(value) = value else { continue };
        if value.is_empty() {
            return Err(format!("{name} is empty: leave it out, and one is made").into());
        }
        config::must_be_long(name, value, address)?;
    }
    Ok(given)
}

/// Shows what was made at the first start, once: on a terminal, or in a file that only its owner can read.
fn show(data_dir: &Path, first: FirstCredentials) -> Result<(), Failure> {
    let password = first.password.map(|it| format!("console user      {ADMIN}\nconsole password  {}\n", *it));
    let api_key = first.api_key.map(|it| format!("API key           {}\n", *it));
    let lines = Zeroizing::new([password, api_key].into_iter().flatten().collect::<String>());
    if lines.is_empty() {
        return Ok(());
    }
    let mut out = std::io::stdout();
    if out.is_terminal() {
        writeln!(out, "These are shown once:\n{}", *lines)?;
        return Ok(());
    }
    let file = data_dir.join("admin-credentials");
    match std::fs::remove_file(&file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
        Ok(()) | Err(_) => {}
    }
    let opened = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&file);
    let mut opened = opened.map_err(|error| format!("{}: {error}", file.display()))?;
    opened.write_all(lines.as_bytes())?;
    tracing::info!(file = %file.display(), "the first credentials were made; they are in this file");
    Ok(())
}
