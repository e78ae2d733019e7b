//! The Python environment of the client tests, in the target directory.

use std::{fs, path::PathBuf, process::Command};

use crate::{Failure, steps, target};

/// What is installed, at the versions that the tests were written against.
const REQUIREMENTS: &str = include_str!("../../tests/requirements.txt");

/// An environment that holds [`REQUIREMENTS`].
pub(crate) struct Venv(PathBuf);

impl Venv {
    /// The environment, made anew if it is not there or was made from other requirements.
    pub(crate) fn ready() -> Result<Self, Failure> {
        let venv = Self(target().join("venv"));
        let stamp = venv.0.join("custody-requirements.txt");
        if fs::read_to_string(&stamp).is_ok_and(|made_from| made_from == REQUIREMENTS) {
            return Ok(venv);
        }
        let mut make = Command::new("python3");
        steps::run(make.args(["-m", "venv", "--clear"]).arg(&venv.0)).map_err(|error| {
            format!(
                "{error}: Python 3.11 or newer with its venv module is needed (Debian: apt-get install python3-venv)"
            )
        })?;
        let mut install = venv.command("python");
        let arguments = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"];
        steps::run(install.args(arguments).arg(crate::root().join("tests/requirements.txt")))?;
        fs::write(&stamp, REQUIREMENTS)?;
        Ok(venv)
    }

    /// A program of the environment.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.0.join("bin").join(name)
    }

    /// A command that runs a program of the environment.
    pub(crate) fn command(&self, name: &str) -> Command {
        Command::new(self.program(name))
    }
}
