//! `custody audit`: the activity log, looked through.

use std::io::Write;

use clap::{Args, Subcommand};
use custody_control::{Db, audit::Head};

use crate::{
    Failure,
    config::{Flags, Settings},
    serve::DATABASE,
};

/// `custody audit`.
#[derive(Args)]
pub(crate) struct AuditArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Check the chain of the activity log: an entry that was edited, removed or cut off shows.
    Verify {
        #[command(flatten)]
        flags: Flags,
        /// A head that was told earlier, NUMBER:HASH: without it, entries that are missing at the end don't show
        #[arg(long, value_name = "HEAD")]
        expect: Option<Head>,
    },
}

/// Prints the newest entry's number and hash if the chain is whole, and fails otherwise.
pub(crate) async fn run(args: AuditArgs) -> Result<(), Failure> {
    let Command::Verify { flags, expect } = args.command;
    let file = Settings::load(&flags)?.data_dir.join(DATABASE);
    if !file.exists() {
        return Err(format!("{} is not there: name the control plane's --data-dir", file.display()).into());
    }
    let db = Db::open(&file).await?;
    let found = custody_control::audit::verify(&db, expect.as_ref()).await?;
    db.close().await;
    let head = found.map_err(|error| format!("the activity log in {} is not whole: {error}", file.display()))?;
    writeln!(std::io::stdout(), "{} entries, each as it was written; head {head}", head.seq)?;
    Ok(())
}
