//! `custody inspect` and `custody verify`: looking at what is stored.

use std::{io::Write, path::PathBuf, sync::Arc};

use clap::Args;
use custody_backup::BackupId;
use custody_kms::KeyArn;
use custody_store::{SealedStore, SealedZones, ZoneId, ZonesError};
use futures::TryStreamExt;
use object_store::path::Path;

use crate::{
    Failure, backup,
    config::{Flags, Settings},
    harden, logging,
    root_keys::{self, KeyArgs, TenantKey},
    storage::Storage,
};

/// `custody inspect`.
#[derive(Args)]
pub(crate) struct InspectArgs {
    /// A sealed file.
    file: PathBuf,
}

/// `custody verify`.
#[derive(Args)]
pub(crate) struct VerifyArgs {
    #[command(flatten)]
    flags: Flags,
    #[command(flatten)]
    keys: KeyArgs,
    /// Only what lies under this prefix of the cluster.
    #[arg(default_value = "", conflicts_with = "backup")]
    prefix: String,
    /// Not the cluster, but this backup of it: whether it could be restored
    #[arg(long, value_name = "ID")]
    backup: Option<BackupId>,
    /// The multi-region key that the cluster was under, where --key-arn is its replica in another region
    #[arg(long, value_name = "ARN", requires = "backup", requires = "key_arn")]
    replica_of: Option<KeyArn>,
    /// SHA-256 of the backup's manifest, as it was told when the backup was made: refused unless it is that one
    #[arg(long, value_name = "HEX", requires = "backup")]
    manifest: Option<String>,
}

/// Prints what a sealed file's header says. Nothing of it is proven: that takes the zone's key.
pub(crate) fn inspect(args: &InspectArgs) -> Result<(), Failure> {
    use std::io::Read;
    let fail = |error: &dyn std::fmt::Display| format!("{}: {error}", args.file.display());
    let file = std::fs::File::open(&args.file).map_err(|error| fail(&error))?;
    let length = file.metadata().map_err(|error| fail(&error))?.len();
    let mut first = Vec::new();
    file.take(custody_store::INSPECTED as u64).read_to_end(&mut first).map_err(|error| fail(&error))?;
    let info = custody_store::inspect(&first, length).map_err(|error| fail(&error))?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "format version    {}", info.format)?;
    writeln!(out, "suite             {:?}", info.suite)?;
    writeln!(out, "chunk size        {} bytes", info.chunk_size)?;
    writeln!(out, "zone              {}", info.zone)?;
    writeln!(out, "zone key version  {}", info.key_version)?;
    writeln!(out, "file id           {:032x}", u128::from_be_bytes(info.file_id))?;
    writeln!(out, "sealed length     {} bytes", info.sealed_len)?;
    writeln!(out, "plain length      {} bytes in {} chunks", info.plain_len, info.chunks)?;
    writeln!(out, "not authenticated: custody verify opens every file with its key")?;
    Ok(())
}

/// Opens and authenticates every file of a cluster, and names the ones that do not open.
pub(crate) async fn verify(args: VerifyArgs) -> Result<(), Failure> {
    if args.keys.link.is_some() {
        return Err("verify runs under no control plane: name the key with --key-arn".into());
    }
    let settings = Settings::load(&args.flags)?;
    logging::start(&settings)?;
    if !args.keys.unencrypted {
        harden::harden(settings.allow_swap)?;
    }
    if let Some(backup) = args.backup {
        return backup::verify(&settings, args.keys, backup, args.replica_of, args.manifest).await;
    }
    let root_key = args.keys.root_key()?.ok_or("an unencrypted cluster has nothing to authenticate")?;
    let store = Storage::parse(&settings.storage_url())?.cluster(&args.keys.cluster_id, false)?;
    let store = store.ok_or("there is no cluster of this id in the storage")?;
    let kms = root_keys::providers(&settings, &args.keys, None).await?;
    let keyring = root_keys::keyring(&settings, &args.keys, root_key, kms, Arc::clone(&store))?;
    let zones = SealedZones::new(store, keyring, args.keys.cluster_id.clone());
    let mut out = std::io::stdout().lock();
    let (mut files, mut bytes, mut bad) = (0_u64, 0_u64, 0_u64);
    for zone in zones.list().await? {
        let prefix = Path::parse(&args.prefix)?;
        let root = Path::from_iter(["zones", &zone.to_string()]);
        let (inside, around) = (prefix.prefix_matches(&root), root.prefix_matches(&prefix));
        if !inside && !around {
            continue;
        }
        let within = inside.then_some(&prefix);
        let sealed = open(&zones, zone, &args.keys.tenant_key).await?;
        let mut findings = sealed.verify_all(within);
        while let Some(finding) = findings.try_next().await? {
            files += 1;
            match finding.result {
                Ok(length) => bytes += length,
                Err(error) => {
                    bad += 1;
                    writeln!(out, "BAD  {}: {error}", finding.path)?;
                }
            }
        }
    }
    writeln!(out, "{files} files, {bytes} bytes of plaintext authenticated, {bad} bad")?;
    if bad > 0 { Err(format!("{bad} files do not open").into()) } else { Ok(()) }
}

/// Prints facts, one a line.
pub(crate) fn tell(facts: &[(&str, String)]) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    for (name, value) in facts {
        writeln!(out, "{name:12} {value}")?;
    }
    Ok(())
}

/// Opens a zone under the cluster's key or, if its keyring names another, under one of the tenants' keys.
async fn open(zones: &SealedZones, zone: ZoneId, tenants: &[TenantKey]) -> Result<SealedStore, Failure> {
    let mut refused = None;
    for key in std::iter::once(None).chain(tenants.iter().map(|key| Some(key.arn.as_str()))) {
        match zones.open_sealed(zone, key).await {
            Ok(store) => {
                let status = store.zone().status();
                if status.is_usable() {
                    return Ok(store);
                }
                return Err(format!("zone {zone}: {status}").into());
            }
            Err(ZonesError::Misconfigured(why)) => refused = Some(why),
            Err(error) => return Err(format!("zone {zone}: {error}").into()),
        }
    }
    Err(format!("zone {zone}: {}", refused.unwrap_or_default()).into())
}
