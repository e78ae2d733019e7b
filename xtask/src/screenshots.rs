//! `cargo xtask screenshots`: each page of the console in light, in dark and on a phone.

use std::path::PathBuf;

use clap::Args;

use crate::{
    Failure,
    cloud::Cloud,
    python::Venv,
    root,
    steps::{Steps, cargo},
    target, test,
};

/// `cargo xtask screenshots`.
#[derive(Args)]
pub(crate) struct ScreenshotArgs {
    /// Take this program instead of building it
    #[arg(long)]
    program: Option<PathBuf>,
    /// Write the four of the README too, to docs/screenshots
    #[arg(long)]
    readme: bool,
}

/// Drives the built program as the tests do. The pictures go to target/screenshots.
pub(crate) fn run(args: &ScreenshotArgs, steps: &mut Steps) -> Result<(), Failure> {
    let venv = steps.run("Python environment", Venv::ready)?;
    let cloud = steps.run("stand-in for AWS", || Cloud::start(&venv))?;
    let program = match &args.program {
        Some(program) => program.clone(),
        None => {
            steps.command("build", cargo().args(["build", "--package", "custody"]))?;
            target().join("debug/custody")
        }
    };
    let mut shoot = venv.command("python");
    shoot.arg("tests/screenshots.py").arg(std::path::absolute(target().join("screenshots"))?).current_dir(root());
    if args.readme {
        shoot.arg("--readme");
    }
    test::for_tests(&mut shoot, &cloud, &venv).env("CUSTODY_BIN", std::path::absolute(program)?);
    steps.command("screenshots", &mut shoot)
}
