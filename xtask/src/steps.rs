//! Steps of a chore: each is announced, timed, and listed in the closing summary.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use crate::Failure;

/// What was done so far.
#[derive(Default)]
pub(crate) struct Steps(Vec<Step>);

struct Step {
    name: String,
    took: Duration,
    passed: bool,
}

impl Steps {
    /// Does a step.
    pub(crate) fn run<T>(&mut self, name: &str, work: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
        eprintln!("==> {name}");
        let began = Instant::now();
        let result = work();
        self.0.push(Step { name: name.to_owned(), took: began.elapsed(), passed: result.is_ok() });
        result
    }

    /// Runs a command as a step: it must succeed.
    pub(crate) fn command(&mut self, name: &str, command: &mut Command) -> Result<(), Failure> {
        self.command_or(name, command, &[])
    }

    /// The same, where some other exit codes are success too.
    pub(crate) fn command_or(&mut self, name: &str, command: &mut Command, fine: &[i32]) -> Result<(), Failure> {
        self.run(name, || run_or(command, fine))
    }

    /// One line a step.
    pub(crate) fn print_summary(&self) {
        eprintln!();
        for step in &self.0 {
            let outcome = if step.passed { "ok    " } else { "FAILED" };
            eprintln!("{outcome}  {:>6.1} s  {}", step.took.as_secs_f64(), step.name);
        }
    }
}

/// Runs a command: it must succeed.
pub(crate) fn run(command: &mut Command) -> Result<(), Failure> {
    run_or(command, &[])
}

fn run_or(command: &mut Command, fine: &[i32]) -> Result<(), Failure> {
    let shown = format!("{command:?}");
    let status = command.status().map_err(|error| format!("{shown} could not be started: {error}"))?;
    if status.success() || status.code().is_some_and(|code| fine.contains(&code)) {
        return Ok(());
    }
    Err(format!("{shown} failed ({status})").into())
}

/// The cargo that runs this, in the workspace's root.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(crate::root());
    // Cargo describes this package to us in variables; they must not reach the cargo we start.
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")) {
            command.env_remove(name);
        }
    }
    command
}
