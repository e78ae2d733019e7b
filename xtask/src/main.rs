//! The project's chores: `cargo xtask test`, `cargo xtask arrows`, `cargo xtask campaign`, `cargo xtask queries`,
//! `cargo xtask screenshots`, `cargo xtask ci`.

mod arrows;
mod campaign;
mod cloud;
mod python;
mod queries;
mod screenshots;
mod steps;
mod test;

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};

use steps::{Steps, cargo};

/// What a chore ends with when it fails: a message for people.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The project's chores.
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Run every test: Rust and Python, against a stand-in for AWS where AWS is needed.
    Test(test::TestArgs),
    /// Check that the crates depend on each other only as xtask/src/arrows.rs allows.
    Arrows,
    /// Run what takes too long for every change: fuzzing, ten thousand crashes, the long versions of the tests.
    Campaign(campaign::CampaignArgs),
    /// Check the control plane's queries against its schema, and write down what builds without a database need.
    Queries,
    /// Each page of the console as a picture: light, dark, on a phone.
    Screenshots(screenshots::ScreenshotArgs),
    /// What CI runs: formatting, clippy, every test.
    Ci,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let mut steps = Steps::default();
    let result = run(&cli.chore, &mut steps);
    steps.print_summary();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(chore: &Chore, steps: &mut Steps) -> Result<(), Failure> {
    match chore {
        Chore::Test(args) => test::run(args, steps),
        Chore::Campaign(args) => campaign::run(args, steps),
        Chore::Arrows => steps.run("arrows between the crates", arrows::check),
        Chore::Queries => queries::write(steps),
        Chore::Screenshots(args) => screenshots::run(args, steps),
        Chore::Ci => {
            steps.command("formatting", cargo().args(["fmt", "--all", "--check"]))?;
            let clippy = ["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
            steps.command("clippy", cargo().args(clippy))?;
            test::run(&test::TestArgs::default(), steps)
        }
    }
}

/// The workspace's root.
fn root() -> PathBuf {
    // Cargo sets the variable to this package's directory, which lies in the root.
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Where builds go.
fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}
