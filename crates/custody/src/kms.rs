//! `custody kms`: keys of the local development KMS.

use clap::{Args, Subcommand};
use custody_kms::{KeyArn, LocalKeys};

use crate::{
    Failure,
    config::{Flags, Settings},
};

/// `custody kms`.
#[derive(Args)]
pub(crate) struct KmsArgs {
    #[command(flatten)]
    flags: Flags,
    #[command(subcommand)]
    command: KmsCommand,
}

#[derive(Subcommand)]
enum KmsCommand {
    /// Make a key and print its ARN.
    CreateKey,
    /// List the keys with their states.
    List,
    /// Disable a key: clusters under it go dark at their next check.
    Disable {
        /// The key's ARN.
        arn: KeyArn,
    },
    /// Enable a key again: clusters under it come back at their next check.
    Enable {
        /// The key's ARN.
        arn: KeyArn,
    },
    /// Mark a key as pending deletion. It can't be used until the deletion is cancelled.
    ScheduleDeletion {
        /// The key's ARN.
        arn: KeyArn,
        /// Days until it is gone for good: 7 to 30.
        #[arg(long, default_value_t = 30)]
        days: u32,
    },
    /// Cancel a pending deletion. The key is disabled then, as in AWS: enable it to use it.
    CancelDeletion {
        /// The key's ARN.
        arn: KeyArn,
    },
}

/// Runs a command on the key file.
pub(crate) fn run(args: &KmsArgs) -> Result<(), Failure> {
    let settings = Settings::load(&args.flags)?;
    let kms = &LocalKeys::new(settings.kms_file());
    match &args.command {
        KmsCommand::CreateKey => print(&create(kms, &settings)?.to_string()),
        KmsCommand::List => {
            let lines: Vec<String> = kms.list()?.iter().map(|key| format!("{}  {}", key.arn, key.state)).collect();
            if lines.is_empty() { Ok(()) } else { print(&lines.join("\n")) }
        }
        KmsCommand::Disable { arn } => Ok(kms.disable(arn)?),
        KmsCommand::Enable { arn } => Ok(kms.enable(arn)?),
        KmsCommand::ScheduleDeletion { arn, days } => {
            kms.schedule_deletion(arn, *days)?;
            print(&format!("{arn} is deleted in {days} days; until then: custody kms cancel-deletion"))
        }
        KmsCommand::CancelDeletion { arn } => Ok(kms.cancel_deletion(arn)?),
    }
}

/// Makes a key, and the directory of the key file if this is the first one.
fn create(keys: &LocalKeys, settings: &Settings) -> Result<KeyArn, Failure> {
    if let Some(directory) = settings.kms_file().parent() {
        std::fs::create_dir_all(directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    }
    Ok(keys.create()?)
}

fn print(text: &str) -> Result<(), Failure> {
    use std::io::Write;
    Ok(writeln!(std::io::stdout(), "{text}")?)
}
