//! Logs: text or JSON on standard error, and never more than INFO from code that is not ours.

use std::io::IsTerminal;

use custody_kms::LEDGER_TARGET;
use tracing::Metadata;
use tracing_subscriber::{
    EnvFilter, Layer,
    filter::{FilterExt, filter_fn},
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

use crate::{Failure, config::Settings};

/// Targets of our own crates. All others are capped (rule 16): at TRACE the AWS SDK prints request bodies, among them
/// the plaintext of a zone key.
const OURS: &str = "custody";

/// Starts logging.
pub(crate) fn start(settings: &Settings) -> Result<(), Failure> {
    let directives = std::env::var("RUST_LOG").unwrap_or_else(|_| settings.log.clone());
    let filter = EnvFilter::try_new(&directives).map_err(|error| format!("log filter: {error}"))?;
    let filter = filter.or(filter_fn(is_record));
    let capped = filter_fn(|event| may_log(event.target(), *event.level()));
    let lines =
        tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal());
    let lines = if settings.log_json { lines.json().boxed() } else { lines.boxed() };
    tracing_subscriber::registry().with(lines.with_filter(filter).with_filter(capped)).init();
    Ok(())
}

fn may_log(target: &str, level: tracing::Level) -> bool {
    target.starts_with(OURS) || level <= tracing::Level::INFO
}

/// The record of KMS calls is logged whatever the filter says (rule 21): it has to reconcile with the customer's own.
fn is_record(event: &Metadata<'_>) -> bool {
    event.target() == LEDGER_TARGET
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing::Level;

    #[test]
    fn code_that_is_not_ours_never_logs_below_info() {
        for target in ["aws_smithy_runtime::client", "hyper", "h2::codec", "tonic", "rustls", "slatedb::db"] {
            assert!(!may_log(target, Level::TRACE) && !may_log(target, Level::DEBUG), "{target}");
            assert!(may_log(target, Level::INFO) && may_log(target, Level::ERROR), "{target}");
        }
        assert!(may_log("custody_node::service", Level::TRACE));
    }
}
