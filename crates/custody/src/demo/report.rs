//! What the demo prints: its story, its progress, and a closing table of what was checked.

use std::{path::Path, time::Duration};

use indicatif::{ProgressBar, ProgressStyle};

use crate::Failure;

/// The checks so far.
pub(super) struct Report {
    checks: Vec<(bool, String, String)>,
}

impl Report {
    pub(super) fn new() -> Self {
        Self { checks: Vec::new() }
    }

    /// Tells a step of the story.
    #[expect(clippy::print_stdout, reason = "the demo's output")]
    pub(super) fn say(text: &str) {
        println!("\n{text}");
    }

    /// A bar for work of a known length.
    pub(super) fn progress(what: &str, length: usize) -> ProgressBar {
        let bar = ProgressBar::new(length as u64).with_message(what.to_owned());
        // The template is a constant that a first run of the demo shows to be well-formed.
        let style = ProgressStyle::with_template("   {msg} [{bar:30}] {pos}/{len}")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
        bar.set_style(style.progress_chars("=> "));
        bar.enable_steady_tick(Duration::from_millis(100));
        bar
    }

    /// Records a check and prints it.
    #[expect(clippy::print_stdout, reason = "the demo's output")]
    pub(super) fn check(&mut self, what: &str, passed: bool, figure: &str) {
        println!("   {} {what}: {figure}", mark(passed));
        self.checks.push((passed, what.to_owned(), figure.to_owned()));
    }

    /// Prints the table; an error if any check failed.
    #[expect(clippy::print_stdout, reason = "the demo's output")]
    pub(super) fn close(&self, kept: Option<&Path>) -> Result<(), Failure> {
        let width = self.checks.iter().map(|(_, what, _)| what.chars().count()).max().unwrap_or_default();
        println!("\nWhat was checked");
        for (passed, what, figure) in &self.checks {
            println!("  {}  {what:width$}  {figure}", mark(*passed));
        }
        if let Some(kept) = kept {
            println!("\nThe data is in {}", kept.display());
        }
        let failed = self.checks.iter().filter(|(passed, ..)| !passed).count();
        match failed {
            0 => {
                println!("\nAll {} checks passed.", self.checks.len());
                Ok(())
            }
            failed => Err(format!("{failed} of {} checks failed", self.checks.len()).into()),
        }
    }
}

fn mark(passed: bool) -> &'static str {
    if passed { "ok  " } else { "FAIL" }
}
