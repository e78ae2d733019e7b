//! `custody node`: one cluster, served to Milvus clients.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    path::Path,
    sync::Arc,
};

use clap::Args;
use custody_engine::{Engine, EngineError};
use custody_keyring::Keyring;
use custody_node::{Node, NodeOptions, Tls};
use custody_store::{PlainZones, SealedZones, ZoneStatus, Zones};
use futures::TryStreamExt;
use object_store::ObjectStore;
use zeroize::Zeroizing;

use crate::{
    Failure,
    config::{self, Flags, Settings},
    floor::{AnchorArgs, Floor},
    handover, harden,
    linked::{LinkKeys, Linked},
    restore_mark,
    root_keys::{self, KeyArgs},
    sealed,
    storage::Storage,
    work::{self, Opened},
};

/// Where a node listens unless told otherwise.
const ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 19_530);

/// `custody node`.
#[derive(Args)]
pub(crate) struct NodeArgs {
    #[command(flatten)]
    pub(crate) flags: Flags,
    #[command(flatten)]
    pub(crate) keys: KeyArgs,
    #[command(flatten)]
    pub(crate) anchor: AnchorArgs,
}

/// Serves until Ctrl-C, SIGTERM, or the cluster's data is taken over by another process.
pub(crate) async fn run(settings: Settings, args: &NodeArgs) -> Result<(), Failure> {
    if let Some(key) = &settings.api_key {
        // It is compared without a wait, however many were wrong.
        config::must_be_long("CUSTODY_API_KEY", key, settings.listen.unwrap_or(ADDRESS))?;
    }
    serve_cluster(&settings, &args.keys, || args.anchor.floor(), None).await
}

/// The same, under a control plane or not.
pub(crate) async fn serve_cluster(
    settings: &Settings,
    keys: &KeyArgs,
    floor: impl Fn() -> Result<Floor, Failure>,
    linked: Option<&Linked>,
) -> Result<(), Failure> {
    if !keys.unencrypted {
        harden::harden(settings.allow_swap)?;
    }
    let connections = custody_node::connections(harden::raise_file_limit());
    if connections < custody_node::MAX_CONNECTIONS {
        tracing::warn!(connections, "the limit on open files (ulimit -n) leaves room for few connections: raise it");
    }
    let listener = handover::listener(settings.listen.unwrap_or(ADDRESS))?;
    if let Some(reason) = handover::sealed_reason() {
        return sealed::serve(settings, keys, listener, &reason, connections, linked).await;
    }
    if let Some(linked) = linked {
        linked.starting();
        linked.catch_up().await;
        if linked.holds() && !keys.unencrypted {
            let reason = "sealed: sealed by hand; unseal it to use it again";
            return sealed::serve(settings, keys, listener, reason, connections, Some(linked)).await;
        }
    }
    let restore = linked.and_then(Linked::restore);
    if let Some(restore) = &restore {
        work::clear_failed_restore(settings, keys, linked, &restore.job).await?;
    }
    let cluster = match open(settings, keys, floor, linked).await {
        Ok(cluster) => cluster,
        Err(error) => return Err(not_opened(error, linked, &listener).await),
    };
    if let (Some(restore), Some(linked)) = (restore, linked) {
        // Whoever asked for it decides what becomes of a cluster that could not be made.
        if !linked.make_from_backup(*restore, &cluster.opened).await? {
            linked.end_work().await;
            cluster.opened.engine.close().await;
            return Ok(());
        }
    }
    let options = NodeOptions {
        root_password: settings.root_password()?.or_else(|| cluster.made_password.clone()).map(Zeroizing::new),
        api_keys: settings.api_key.iter().cloned().map(Zeroizing::new).collect(),
        root_hash: linked.and_then(Linked::root_hash),
        issued_keys: linked.map(|linked| Arc::new(LinkKeys(Arc::clone(&linked.link))) as _),
        tls: tls(settings)?,
        connections,
        console_origins: linked.map(Linked::console_origins).unwrap_or_default(),
        tally: linked.map(|linked| Arc::clone(&linked.tally)).unwrap_or_default(),
    };
    let end = serve(&cluster, options, &listener, linked).await;
    match end {
        End::Sealed(status) => {
            if let Some(keyring) = &cluster.keyring {
                keyring.end_checks().await;
            }
            let reason = status.to_string();
            let Some(linked) = linked else { return Err(handover::become_sealed(&listener, &reason)) };
            linked.tell_anchor(&cluster.opened.engine);
            linked.note(status.outcome());
            Err(linked.become_sealed(&listener, &reason).await)
        }
        End::Stopped(result) => {
            if let Some(linked) = linked {
                linked.end_work().await;
            }
            cluster.opened.engine.close().await;
            if let Some(linked) = linked {
                linked.tell_anchor(&cluster.opened.engine);
            }
            result
        }
    }
}

/// What becomes of a node whose cluster can't be opened: the keyless stub or its end.
async fn not_opened(error: Failure, linked: Option<&Linked>, listener: &TcpListener) -> Failure {
    let sealed = match error.downcast_ref::<EngineError>() {
        Some(EngineError::Sealed(status)) => Some(status.outcome()),
        _ => None,
    };
    let rolled_back = matches!(error.downcast_ref(), Some(EngineError::BelowAnchor(_)));
    match linked {
        // Starting anew would come to the same, and nothing is to happen to what is left.
        Some(linked) if rolled_back => {
            linked.note_rolled_back();
            linked.become_sealed(listener, &error.to_string()).await
        }
        None if rolled_back => error,
        // Under a control plane a cluster whose key is not there waits for it from the first start on.
        Some(linked) if sealed.is_some() || handover::is_handed_over() => {
            linked.note(sealed.flatten());
            linked.become_sealed(listener, &error.to_string()).await
        }
        // This cluster served before it was sealed, and is to come back by itself: what stands in the way now (a key that
        // is disabled again, a store that does not answer) may be gone at the next look.
        None if handover::is_handed_over() => handover::become_sealed(listener, &error.to_string()),
        _ => error,
    }
}

/// A cluster that is open.
struct Cluster {
    opened: Opened,
    /// Held so that the leases are renewed.
    keyring: Option<Arc<Keyring>>,
    /// The password made for `root` if the cluster is new and none was given.
    made_password: Option<String>,
}

/// Why serving ended.
enum End {
    /// The cluster's own zone was sealed: this image must go.
    Sealed(ZoneStatus),
    Stopped(Result<(), Failure>),
}

async fn serve(cluster: &Cluster, options: NodeOptions, listener: &TcpListener, linked: Option<&Linked>) -> End {
    let socket = match listener.try_clone() {
        Ok(socket) => socket,
        Err(error) => return End::Stopped(Err(error.into())),
    };
    let engine = &cluster.opened.engine;
    let zone = engine.cluster_zone();
    let mut status = zone.subscribe();
    let stopped = stop_signal();
    let stop = async {
        let Some(linked) = linked else { return stopped.await };
        tokio::select! {
            () = stopped => {}
            () = linked.follow(cluster.keyring.as_deref(), &cluster.opened) => {}
        }
    };
    tokio::select! {
        served = Node::serve(Arc::clone(engine), options, socket, stop) => {
            End::Stopped(served.map_err(Into::into))
        }
        // The keyring lives as long as this process: the channel can't close before.
        _ = status.wait_for(|status| !status.is_usable()) => End::Sealed(zone.status()),
        () = engine.fenced() => End::Stopped(Err(
            "another process has opened this cluster's data and this one was fenced out: run one node per cluster".into(),
        )),
    }
}

/// Opens the cluster, or makes it where the storage holds nothing under its id. On failure nothing new is left behind.
async fn open(
    settings: &Settings,
    args: &KeyArgs,
    floor: impl Fn() -> Result<Floor, Failure>,
    linked: Option<&Linked>,
) -> Result<Cluster, Failure> {
    let floor = floor()?;
    let fresh = is_empty(settings, args, linked).await?;
    if let Some(store) = storage(settings, linked)?.cluster(&args.cluster_id, false)? {
        restore_mark::must_be_whole(&store).await?;
    }
    let Some(root_key) = args.root_key()? else {
        let store = store(settings, args, linked)?;
        let zones: Arc<dyn Zones> = Arc::new(PlainZones::new(Arc::clone(&store)));
        return start(settings, zones, store, None, fresh, floor, linked).await;
    };
    let kms = root_keys::providers(settings, args, linked.map(|linked| &linked.link)).await?;
    if fresh {
        // Before the first file: a key that doesn't work must leave nothing behind.
        root_keys::probe(&kms, &root_key, &args.cluster_id).await?;
    }
    let store = store(settings, args, linked)?;
    let keyring = root_keys::keyring(settings, args, root_key, kms, Arc::clone(&store))?;
    if let Some(linked) = linked {
        linked.hold_zones(&keyring)?;
    }
    let zones = SealedZones::new(Arc::clone(&store), Arc::clone(&keyring), args.cluster_id.clone());
    start(settings, Arc::new(zones), store, Some(keyring), fresh, floor, linked).await
}

async fn start(
    settings: &Settings,
    zones: Arc<dyn Zones>,
    store: Arc<dyn ObjectStore>,
    keyring: Option<Arc<Keyring>>,
    fresh: bool,
    Floor { anchor, below }: Floor,
    linked: Option<&Linked>,
) -> Result<Cluster, Failure> {
    let engine = if fresh {
        Engine::create_above(Arc::clone(&zones), &anchor, below).await?
    } else {
        Engine::open_above(Arc::clone(&zones), &anchor, below).await?
    };
    // Who runs a control plane has its API keys to come in with.
    let needs_password = linked.is_none() && engine.list_users().is_empty() && settings.root_password()?.is_none();
    let made_password = if needs_password { Some(make_password(&settings.data_dir)?) } else { None };
    Ok(Cluster { opened: Opened { engine, zones, store }, keyring, made_password })
}

pub(crate) fn store(
    settings: &Settings,
    args: &KeyArgs,
    linked: Option<&Linked>,
) -> Result<Arc<dyn ObjectStore>, Failure> {
    let store = storage(settings, linked)?.cluster(&args.cluster_id, true)?;
    store.ok_or_else(|| "the storage's directory could not be made".into())
}

/// Where the cluster is stored. Under a control plane a bucket is reached in the sessions that come from there.
pub(crate) fn storage(settings: &Settings, linked: Option<&Linked>) -> Result<Storage, Failure> {
    Storage::within(&settings.storage_url(), linked.and_then(Linked::storage_sessions))
}

/// Whether the storage holds nothing under the cluster's id.
async fn is_empty(settings: &Settings, args: &KeyArgs, linked: Option<&Linked>) -> Result<bool, Failure> {
    match storage(settings, linked)?.cluster(&args.cluster_id, false)? {
        Some(store) => Ok(store.list(None).try_next().await?.is_none()),
        None => Ok(true),
    }
}

pub(crate) fn tls(settings: &Settings) -> Result<Option<Tls>, Failure> {
    let (Some(cert), Some(key)) = (&settings.tls_cert, &settings.tls_key) else { return Ok(None) };
    let read = |file: &Path| std::fs::read(file).map_err(|error| format!("{}: {error}", file.display()));
    Ok(Some(Tls::from_pem(&read(cert)?, &read(key)?)?))
}

/// Makes a password for `root`, and leaves it in a file that only the owner can read; never in a log.
fn make_password(data_dir: &Path) -> Result<String, Failure> {
    use std::{io::Write, os::unix::fs::OpenOptionsExt};
    let password = custody_seal::ZoneId::random()?.to_string();
    let file = data_dir.join("root-password");
    std::fs::create_dir_all(data_dir)?;
    // A file that lies there already would keep its own mode.
    match std::fs::remove_file(&file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
        Ok(()) | Err(_) => {}
    }
    let opened = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&file);
    let mut opened = opened.map_err(|error| format!("{}: {error}", file.display()))?;
    writeln!(opened, "{password}")?;
    tracing::info!(file = %file.display(), "a password was made for the user root; it is in this file");
    Ok(password)
}

/// Completes on Ctrl-C or SIGTERM. They are heeded from this call on, not from the first poll: whoever sees that we serve may
/// stop us at once.
pub(crate) fn stop_signal() -> impl Future<Output = ()> {
    use tokio::signal::unix::{Signal, SignalKind, signal};
    let heed = |kind| signal(kind).inspect_err(|error| tracing::warn!(%error, ?kind, "a signal can't be awaited")).ok();
    let (interrupted, terminated) = (heed(SignalKind::interrupt()), heed(SignalKind::terminate()));
    let arrives = async |awaited: Option<Signal>| match awaited {
        Some(mut signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    };
    async move {
        tokio::select! {
            () = arrives(interrupted) => {}
            () = arrives(terminated) => {}
        }
    }
}
