//! `cargo xtask test`: every test, from a fresh checkout.

use std::process::Command;

use clap::Args;

use crate::{
    Failure, arrows,
    cloud::Cloud,
    python::Venv,
    root,
    steps::{Steps, cargo},
    target,
};

/// How many Python tests run side by side. On two cores: most of a test is waiting, and some browsers are among them.
const WORKERS: &str = "3";

/// What pytest ends with when a filter leaves no test.
const NO_TEST_LEFT: i32 = 5;

/// `cargo xtask test`.
#[derive(Args, Default)]
pub(crate) struct TestArgs {
    /// Only tests whose name contains this
    name: Option<String>,
    /// Only the Rust tests
    #[arg(long, conflicts_with = "python")]
    rust: bool,
    /// Only the Python tests, which drive the built program from outside
    #[arg(long)]
    python: bool,
}

/// Runs the tests. The stand-in for AWS ends with them, whatever comes of them.
pub(crate) fn run(args: &TestArgs, steps: &mut Steps) -> Result<(), Failure> {
    steps.run("arrows between the crates", arrows::check)?;
    let venv = steps.run("Python environment", Venv::ready)?;
    let filter = args.name.as_slice();
    if !args.rust && filter.is_empty() {
        let mut reader = venv.command("python");
        reader.arg("vectors/read.py").env("PYTHONDONTWRITEBYTECODE", "1").current_dir(root());
        steps.command("format read by a second implementation", &mut reader)?;
    }
    let cloud = steps.run("stand-in for AWS", || Cloud::start(&venv))?;
    // The same packages and features for all that follows: nothing is built twice. It leaves the program too, for the
    // tests that run it.
    steps.command("build", cargo().args(["test", "--workspace", "--no-run"]))?;
    if !args.python {
        let mut tests = cargo();
        tests.args(["test", "--workspace"]).args(filter);
        steps.command("Rust tests", for_tests(&mut tests, &cloud, &venv))?;
    }
    if !args.rust {
        let mut tests = venv.command("python");
        tests.args(["-m", "pytest", "-n", WORKERS, "--dist", "worksteal", "tests"]).current_dir(root());
        for name in filter {
            tests.args(["-k", name]);
        }
        tests.env("CUSTODY_BIN", std::path::absolute(target().join("debug/custody"))?);
        let fine = if filter.is_empty() { [].as_slice() } else { &[NO_TEST_LEFT] };
        steps.command_or("Python tests", for_tests(&mut tests, &cloud, &venv), fine)?;
    }
    Ok(())
}

/// Keeps the user's own AWS account and settings out of a test command.
pub(crate) fn without_settings(command: &mut Command) -> &mut Command {
    let settings = [
        "CUSTODY_CRASH_ROUNDS",
        "CUSTODY_CRASH_SEED",
        "CUSTODY_CRASH_PAUSE",
        "CUSTODY_CRASH_CLUSTERS",
        "CUSTODY_CONTROL_CRASH_ROUNDS",
        "CUSTODY_TEST_NO_SKIPS",
    ];
    for (name, _) in std::env::vars_os() {
        let theirs = |name: &str| name.starts_with("AWS_") || name.starts_with("CUSTODY_") || name == "RUST_LOG";
        if name.to_str().is_some_and(|name| theirs(name) && !settings.contains(&name)) {
            command.env_remove(name);
        }
    }
    command
}

/// Gives a test command what it looks for, and nothing of the user's own.
pub(crate) fn for_tests<'a>(command: &'a mut Command, cloud: &Cloud, venv: &Venv) -> &'a mut Command {
    without_settings(command)
        .env("CUSTODY_TEST_AWS_ENDPOINT", cloud.endpoint())
        .env("CUSTODY_TEST_S3_ENDPOINT", cloud.endpoint())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("CUSTODY_TEST_PYTHON", venv.program("python"))
}
