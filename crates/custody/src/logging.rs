//! Logs: text or JSON on standard error, and never more than INFO from code that is not ours.

use std::io::IsTerminal;

use custody_kms::LEDGER_TARGET;
use tracing::Metadata;
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
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
    let lines =
        tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal());
    let lines = if settings.log_json { lines.json().boxed() } else { lines.boxed() };
    filtered(&directives, lines)?.init();
    Ok(())
}

/// The lines that the directives ask for, of other code than ours under the cap, and every record of a KMS call.
fn filtered(directives: &str, lines: impl Layer<Registry> + Send + Sync) -> Result<impl SubscriberInitExt, Failure> {
    let filter = EnvFilter::try_new(directives).map_err(|error| format!("log filter: {error}"))?;
    let filter = filter.or(filter_fn(is_record));
    let capped = filter_fn(|event| may_log(event.target(), *event.level()));
    Ok(tracing_subscriber::registry().with(lines.with_filter(filter).with_filter(capped)))
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
    use std::{
        io::Write,
        sync::{Arc, Mutex},
    };

    use super::*;
    use tracing::Level;

    /// Keeps what is written.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn no_filter_lifts_the_cap_or_silences_the_record() {
        for directives in ["trace", "aws_smithy_runtime=trace,h2=debug,custody=trace", "off,aws_smithy_runtime=trace"] {
            let kept = Kept::default();
            let writer = kept.clone();
            let lines = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(move || writer.clone());
            let _guard = filtered(directives, lines).unwrap().set_default();
            tracing::trace!(target: "aws_smithy_runtime::client", "the plaintext of a key");
            tracing::debug!(target: "h2::codec", "a frame with a password");
            tracing::info!(target: LEDGER_TARGET, "a call to KMS");
            tracing::trace!(target: "custody_node::service", "a call");
            let text = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
            assert!(!text.contains("the plaintext") && !text.contains("a frame"), "{directives}: {text}");
            assert!(text.contains("a call to KMS"), "{directives}: {text}");
            assert_eq!(
                text.contains("custody_node"),
                directives.contains("trace") && !directives.contains("off"),
                "{text}"
            );
        }
    }

    #[test]
    fn code_that_is_not_ours_never_logs_below_info() {
        for target in ["aws_smithy_runtime::client", "hyper", "h2::codec", "tonic", "rustls", "slatedb::db"] {
            assert!(!may_log(target, Level::TRACE) && !may_log(target, Level::DEBUG), "{target}");
            assert!(may_log(target, Level::INFO) && may_log(target, Level::ERROR), "{target}");
        }
        assert!(may_log("custody_node::service", Level::TRACE));
    }
}
