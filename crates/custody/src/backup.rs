//! `custody backup`, `custody restore` and `custody verify --backup`: by hand, without a control plane. All that is trusted comes
//! from the flags.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use clap::Args;
use custody_backup::{Backup, BackupError, BackupId, BackupStore, Progress, Restored, Restoring, Target};
use custody_engine::{CheckpointRequest, Engine};
use custody_keyring::Keyring;
use custody_kms::{KeyArn, Providers, RootKeyRef};
use custody_link::{Link, WorkDone};
use custody_store::{Bring, ClusterId, PlainZones, SealedZones, Zones};
use futures::TryStreamExt;
use indicatif::{ProgressBar, ProgressStyle};
use object_store::ObjectStore;

use crate::{
    Failure,
    backup_storage::Backups,
    config::{Flags, Settings},
    harden, logging,
    restore_mark::{self, Mark},
    root_keys::{self, KeyArgs, TenantKey},
    storage::Storage,
    work::Opened,
};

/// How often progress is shown.
const LOOK: Duration = Duration::from_millis(200);

/// `custody backup`.
#[derive(Args)]
// What removes takes no key.
#[command(mut_arg("key_arn", |arg| arg.required_unless_present_any(["delete", "clean_up"])))]
pub(crate) struct BackupArgs {
    #[command(flatten)]
    flags: Flags,
    #[command(flatten)]
    keys: KeyArgs,
    #[command(flatten)]
    what: WhatArgs,
    /// Only this: DATABASE or DATABASE/COLLECTION
    #[arg(long, value_name = "NAME", requires = "backup")]
    only: Vec<String>,
}

/// What is done.
#[derive(Args)]
#[group(required = true, multiple = false)]
struct WhatArgs {
    /// Make a backup of this id, which must be a new one
    #[arg(long, value_name = "ID")]
    backup: Option<BackupId>,
    /// Delete this backup, with what no other needs. That takes no key
    #[arg(long, value_name = "ID")]
    delete: Option<BackupId>,
    /// Remove what backups that were cut short have left, while none is made. That takes no key
    #[arg(long)]
    clean_up: bool,
}

/// `custody restore`.
#[derive(Args)]
pub(crate) struct RestoreArgs {
    #[command(flatten)]
    flags: Flags,
    /// The new cluster
    #[command(flatten)]
    keys: KeyArgs,
    #[command(flatten)]
    from: SourceArgs,
    /// Seal everything anew, under data keys of its own. Without it only headers are rewritten: who has an old header and the
    /// old key can open the restored files with them
    #[arg(long)]
    reencrypt: bool,
    /// Let databases that had a key of their own keep it; each has to be a --tenant-key of the new cluster
    #[arg(long)]
    keep_database_keys: bool,
    /// Don't load the collections that were loaded
    #[arg(long)]
    no_load: bool,
}

/// Which backup, and how it is opened.
#[expect(clippy::struct_field_names, reason = "each is a flag of that name")]
#[derive(Args)]
pub(crate) struct SourceArgs {
    /// The cluster that the backup is of
    #[arg(long, value_name = "ID")]
    from_cluster: ClusterId,
    /// The backup's id
    #[arg(long, value_name = "ID")]
    from_backup: BackupId,
    /// The ARN of the root key that the cluster was under; without it the backup is one in plain text
    #[arg(long, value_name = "ARN")]
    from_key_arn: Option<String>,
    /// The IAM role that may use it
    #[arg(long, value_name = "ARN", requires = "from_key_arn")]
    from_role_arn: Option<String>,
    /// The external id that the role's trust policy demands
    #[arg(
        long,
        value_name = "ID",
        requires = "from_role_arn",
        hide_env_values = true,
        env = "CUSTODY_FROM_EXTERNAL_ID"
    )]
    from_external_id: Option<String>,
    /// Another root key that a database of it was under, as --tenant-key
    #[arg(long, value_name = "ARN", requires = "from_key_arn")]
    from_tenant_key: Vec<TenantKey>,
    /// The multi-region key that the cluster was under, where --from-key-arn is its replica in another region
    #[arg(long, value_name = "ARN", requires = "from_key_arn")]
    from_replica_of: Option<KeyArn>,
    /// SHA-256 of the backup's manifest, as it was told when the backup was made: refused unless it is that one
    #[arg(long, value_name = "HEX")]
    from_manifest: Option<String>,
}

/// A backup that is to be opened.
pub(crate) struct Source {
    pub(crate) settings: Settings,
    /// The store of the cluster's backups.
    pub(crate) store: Arc<dyn ObjectStore>,
    /// The cluster that it is of, and its root keys.
    pub(crate) keys: KeyArgs,
    pub(crate) replica_of: Option<KeyArn>,
    pub(crate) backup: BackupId,
    pub(crate) manifest: Option<String>,
}

/// A backup that is open, and what keeps it so.
pub(crate) struct Opening {
    pub(crate) backup: Backup,
    _keyring: Option<Arc<Keyring>>,
}

impl Source {
    /// Opens it, under its own root keys and no others.
    pub(crate) async fn open(self, link: Option<&Arc<Link>>) -> Result<Opening, Failure> {
        let cluster = self.keys.cluster_id.clone();
        let store = BackupStore::new(self.store, self.backup);
        let objects = Arc::clone(&store) as Arc<dyn ObjectStore>;
        let (zones, keyring): (Box<dyn Zones>, _) = match self.keys.root_key()? {
            None => (Box::new(PlainZones::new(objects)), None),
            Some(key) => {
                let key = match self.replica_of {
                    Some(primary) => key.replica_of(primary)?,
                    None => key,
                };
                let kms = root_keys::providers(&self.settings, &self.keys, link).await?;
                let keyring = root_keys::keyring(&self.settings, &self.keys, key, kms, Arc::clone(&objects))?;
                (Box::new(SealedZones::new(objects, Arc::clone(&keyring), cluster.clone())), Some(keyring))
            }
        };
        let backup = Backup::open(store, &cluster, &*zones, self.manifest.as_deref()).await?;
        Ok(Opening { backup, _keyring: keyring })
    }
}

impl Opening {
    /// As [`Backup::restore`].
    pub(crate) async fn restore(
        self,
        engine: &Engine,
        what: &Restoring,
        progress: &Progress,
    ) -> Result<custody_backup::Restored, BackupError> {
        self.backup.restore(engine, what, progress).await
    }
}

impl SourceArgs {
    fn source(&self, settings: &Settings) -> Result<Source, Failure> {
        let store = Storage::parse(&settings.backup_url())?.backups(&self.from_cluster, false)?;
        let none = || format!("there are no backups of cluster {} in {}", self.from_cluster, settings.backup_url());
        Ok(Source {
            settings: settings.clone(),
            store: store.ok_or_else(none)?,
            keys: KeyArgs {
                cluster_id: self.from_cluster.clone(),
                key_arn: self.from_key_arn.clone(),
                role_arn: self.from_role_arn.clone(),
                external_id: self.from_external_id.clone(),
                tenant_key: self.from_tenant_key.clone(),
                unencrypted: self.from_key_arn.is_none(),
                link: None,
                linked_tenants: Vec::new(),
            },
            replica_of: self.from_replica_of.clone(),
            backup: self.from_backup.clone(),
            manifest: self.from_manifest.clone(),
        })
    }
}

/// Makes a backup, deletes one, or removes what some have left.
pub(crate) async fn run(args: BackupArgs) -> Result<(), Failure> {
    let settings = Settings::load(&args.flags)?;
    logging::start(&settings)?;
    let (backups, cluster) = (Backups(settings.backup_url()), &args.keys.cluster_id);
    let freed = match (args.what.backup, args.what.delete) {
        (Some(backup), _) => return make(&settings, &args.keys, backup, only(&args.only)).await,
        (None, Some(backup)) => backups.delete_by_hand(cluster, &backup).await?,
        (None, None) => backups.clean_up_by_hand(cluster).await?,
    };
    crate::files::tell(&[("removed", format!("{} objects, {} bytes", freed.objects, freed.bytes))])
}

/// Makes a backup of a cluster, which is opened for it: whoever serves it is fenced out.
async fn make(settings: &Settings, keys: &KeyArgs, backup: BackupId, only: Only) -> Result<(), Failure> {
    let (opened, _keyring) = open(settings, keys, false).await?;
    let to = Storage::parse(&settings.backup_url())?.backups(&keys.cluster_id, true)?;
    let order = custody_backup::Order {
        engine: &opened.engine,
        zones: &*opened.zones,
        cluster: keys.cluster_id.clone(),
        key: keys.key_arn.clone(),
        from: Arc::clone(&opened.store),
        to: to.ok_or("the backups' directory could not be made")?,
        backup,
        request: CheckpointRequest { only },
    };
    let progress = Progress::default();
    let made = shown(&progress, custody_backup::make(&order, &progress)).await;
    opened.engine.close().await;
    let made = made?;
    crate::files::tell(&[
        ("backup", order.backup.to_string()),
        ("manifest", made.manifest),
        ("collections", format!("{} in {} databases", made.collections, made.databases)),
        ("objects", format!("{} of {} bytes, {} bytes copied", made.objects, made.bytes, made.copied)),
        ("keys", if made.keys.is_empty() { "none: it is in plain text".to_owned() } else { made.keys.join(", ") }),
    ])?;
    match made.omitted.first() {
        None => Ok(()),
        Some(first) => {
            Err(format!("{} databases are missing in it: zone {}: {}", made.omitted.len(), first.zone, first.reason)
                .into())
        }
    }
}

/// Collections by the name of their database; nothing is everything.
type Only = Option<BTreeMap<String, Vec<String>>>;

fn only(names: &[String]) -> Only {
    let mut only = BTreeMap::<String, Vec<String>>::new();
    for name in names {
        match name.split_once('/') {
            Some((database, collection)) => only.entry(database.to_owned()).or_default().push(collection.to_owned()),
            None => drop(only.insert(name.clone(), Vec::new())),
        }
    }
    (!only.is_empty()).then_some(only)
}

/// Makes a cluster from a backup. On failure nothing of it is left.
pub(crate) async fn restore(args: RestoreArgs) -> Result<(), Failure> {
    let settings = Settings::load(&args.flags)?;
    logging::start(&settings)?;
    if args.from.from_key_arn.is_some() {
        harden::harden(settings.allow_swap)?;
    }
    let source = args.from.source(&settings)?.open(None).await?;
    let (opened, keyring) = open(&settings, &args.keys, true).await?;
    let what = Restoring {
        how: if args.reencrypt { Bring::Anew } else { Bring::Rekey },
        anew_across_accounts: false,
        into: Target::New,
        only: None,
        keep_database_keys: args.keep_database_keys,
        load: !args.no_load,
    };
    let restored = restored(opened, source, &what).await;
    drop(keyring);
    let restored = match restored {
        Ok(restored) => restored,
        Err(error) => return Err(undone(&settings, &args.keys.cluster_id, error).await),
    };
    crate::files::tell(&[
        ("cluster", args.keys.cluster_id.to_string()),
        ("collections", format!("{} in {} databases", restored.collections, restored.databases)),
        ("objects", format!("{} of {} bytes", restored.objects, restored.bytes)),
    ])
}

/// Restores into the new cluster, closes it, and marks it as whole.
async fn restored(opened: Opened, source: Opening, what: &Restoring) -> Result<Restored, Failure> {
    let progress = Progress::default();
    let restored = shown(&progress, source.restore(&opened.engine, what, &progress)).await;
    opened.engine.close().await;
    let restored = restored?;
    Mark::put(&opened.store, restore_mark::BY_HAND, Some(&WorkDone::default())).await?;
    Ok(restored)
}

/// Removes a new cluster that could not be made. Nobody has its store open any more.
async fn undone(settings: &Settings, cluster: &ClusterId, error: Failure) -> Failure {
    match crate::storage::destroy(&settings.storage_url(), cluster).await {
        Ok(_) => error,
        Err(left) => format!("{error}; and what was begun could not be removed: {left}").into(),
    }
}

/// Opens a cluster that no node serves. A new one must not be there yet.
async fn open(settings: &Settings, keys: &KeyArgs, new: bool) -> Result<(Opened, Option<Arc<Keyring>>), Failure> {
    if !keys.unencrypted {
        harden::harden(settings.allow_swap)?;
    }
    let parse = || Storage::parse(&settings.storage_url());
    let there = match parse()?.cluster(&keys.cluster_id, false)? {
        Some(store) => {
            let mark = Mark::find(&store).await?;
            if new && mark.is_some_and(|mark| mark.is_unfinished()) {
                restore_mark::clear(&store).await?;
            }
            restore_mark::must_be_whole(&store).await?;
            store.list(None).try_next().await?.is_some()
        }
        None => false,
    };
    if there == new {
        let is = if there { "there is a cluster of this id already" } else { "there is no cluster of this id" };
        return Err(format!("{is} in {}", settings.storage_url()).into());
    }
    let root_key = keys.root_key()?;
    let kms = root_keys::providers(settings, keys, None).await?;
    if let Some(key) = root_key.as_ref().filter(|_| new) {
        // Before the first file: a key that doesn't work must leave nothing behind.
        root_keys::probe(&kms, key, &keys.cluster_id).await?;
    }
    let store = parse()?.cluster(&keys.cluster_id, true)?.ok_or("the storage's directory could not be made")?;
    let opened = opened_in(store, settings, keys, root_key.map(|key| (key, kms)), new).await;
    match opened {
        Err(error) if new => Err(undone(settings, &keys.cluster_id, error).await),
        opened => opened,
    }
}

/// Opens the cluster in its store, or makes it there.
async fn opened_in(
    store: Arc<dyn ObjectStore>,
    settings: &Settings,
    keys: &KeyArgs,
    root: Option<(RootKeyRef, Arc<Providers>)>,
    new: bool,
) -> Result<(Opened, Option<Arc<Keyring>>), Failure> {
    if new {
        Mark::put(&store, restore_mark::BY_HAND, None).await?;
    }
    let (zones, keyring): (Arc<dyn Zones>, _) = match root {
        None => (Arc::new(PlainZones::new(Arc::clone(&store))), None),
        Some((key, kms)) => {
            let keyring = root_keys::keyring(settings, keys, key, kms, Arc::clone(&store))?;
            let zones = SealedZones::new(Arc::clone(&store), Arc::clone(&keyring), keys.cluster_id.clone());
            (Arc::new(zones), Some(keyring))
        }
    };
    let engine = if new { Engine::create(Arc::clone(&zones)).await? } else { Engine::open(Arc::clone(&zones)).await? };
    Ok((Opened { engine, zones, store }, keyring))
}

/// Shows how far a piece of work is, where there is a terminal.
async fn shown<T>(progress: &Progress, work: impl Future<Output = Result<T, BackupError>>) -> Result<T, BackupError> {
    let style = "{wide_bar} {bytes}/{total_bytes} {bytes_per_sec}";
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template(style) {
        bar.set_style(style);
    }
    let mut look = tokio::time::interval(LOOK);
    tokio::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => {
                bar.finish_and_clear();
                return done;
            }
            _ = look.tick() => {
                let (done, total) = progress.bytes();
                bar.set_length(total);
                bar.set_position(done);
            }
        }
    }
}

/// `custody verify --backup`: checks a backup in full, without restoring it.
pub(crate) async fn verify(
    settings: &Settings,
    keys: KeyArgs,
    backup: BackupId,
    replica_of: Option<KeyArn>,
    manifest: Option<String>,
) -> Result<(), Failure> {
    let store = Storage::parse(&settings.backup_url())?.backups(&keys.cluster_id, false)?;
    let store = store.ok_or_else(|| format!("there are no backups of cluster {}", keys.cluster_id))?;
    let source = Source { settings: settings.clone(), store, keys, replica_of, backup, manifest };
    let opening = source.open(None).await?;
    let progress = Progress::default();
    let verified = shown(&progress, opening.backup.verify(&progress)).await?;
    for bad in &verified.bad {
        crate::files::tell(&[("BAD", bad.to_string())])?;
    }
    let omitted = opening.backup.omitted();
    for zone in &omitted {
        crate::files::tell(&[("missing", format!("zone {}: {}", zone.zone, zone.reason))])?;
    }
    let (objects, bytes, bad) = (verified.objects, verified.bytes, verified.bad.len());
    crate::files::tell(&[("verified", format!("{objects} objects, {bytes} bytes; {bad} bad"))])?;
    if bad > 0 { Err(format!("{bad} objects of the backup are not what was backed up").into()) } else { Ok(()) }
}
