//! `custody`: the command line. It reads the settings, names the adapters, and wires the crates together.

mod audit;
mod backup;
mod backup_storage;
mod bucket_sessions;
mod config;
mod demo;
mod files;
mod floor;
mod handover;
mod harden;
mod inherit;
mod kms;
mod linked;
mod local_store;
mod logging;
mod node;
mod panics;
mod restore_mark;
mod root_keys;
mod sealed;
mod secrets;
mod serve;
mod storage;
mod work;

use std::{alloc::System, process::ExitCode};

use clap::{Parser, Subcommand};
use zeroizing_alloc::ZeroAlloc;

use config::{Flags, Settings};
use root_keys::KeyArgs;
use secrets::Then;

/// What is freed is zeroed: a zone that is sealed alone leaves nothing of its rows in a process that goes on (rule 11).
/// Buffers of Arrow, tonic and SlateDB have no destructor of ours that could do it.
#[global_allocator]
static MEMORY: ZeroAlloc<System> = ZeroAlloc(System);

/// A Milvus-compatible vector database whose data only your own KMS key can open.
#[derive(Parser)]
#[command(name = "custody", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// The whole story on this machine, with no account anywhere: a key, an encrypted cluster, real data, a revocation.
    Demo(demo::DemoArgs),
    /// The control plane: projects, customers' keys, who may do what.
    Serve(serve::ServeArgs),
    /// Serve one cluster to Milvus clients.
    Node(node::NodeArgs),
    /// Keys of the local development KMS.
    Kms(kms::KmsArgs),
    /// Show a sealed file's header. Needs no key.
    Inspect(files::InspectArgs),
    /// Open and authenticate every file of a cluster, or of a backup.
    Verify(files::VerifyArgs),
    /// Make a backup of a cluster that no node serves, or remove one. Under a control plane, ask that.
    Backup(backup::BackupArgs),
    /// Make a cluster from a backup, with its own or another key or without one. No control plane is needed.
    Restore(backup::RestoreArgs),
    /// The control plane's activity log.
    Audit(audit::AuditArgs),
    /// Print the settings in force, secrets left out.
    Config {
        #[command(flatten)]
        flags: Flags,
    },
}

fn main() -> ExitCode {
    panics::tell_only_the_place();
    let cli = Cli::parse();
    match run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("custody: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What a command ends with when it fails: a message for people.
type Failure = Box<dyn std::error::Error + Send + Sync>;

fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Demo(args) => runtime()?.block_on(demo::run(args)),
        Command::Serve(args) => {
            secrets::take(Then::Empty)?;
            let settings = Settings::load(&args.flags)?;
            logging::start(&settings)?;
            runtime()?.block_on(serve::run(settings))
        }
        Command::Node(node::NodeArgs { flags, keys: KeyArgs { cluster_id, link: Some(link), .. }, .. }) => {
            secrets::take(Then::Keep)?;
            if !flags.is_empty() {
                return Err("with --link the control plane gives every setting: leave the other flags out".into());
            }
            runtime()?.block_on(linked::run(cluster_id, link))
        }
        Command::Node(args) => {
            // A node that seals and opens again replaces its image, and needs them each time.
            secrets::take(Then::Keep)?;
            let settings = Settings::load(&args.flags)?;
            logging::start(&settings)?;
            runtime()?.block_on(node::run(settings, &args))
        }
        Command::Audit(args) => runtime()?.block_on(audit::run(args)),
        Command::Kms(args) => kms::run(&args),
        Command::Inspect(args) => files::inspect(&args),
        Command::Verify(args) => runtime()?.block_on(files::verify(args)),
        Command::Backup(args) => runtime()?.block_on(backup::run(args)),
        Command::Restore(args) => runtime()?.block_on(backup::restore(args)),
        Command::Config { flags } => config::print(&Settings::load(&flags)?),
    }
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?)
}
