//! The control plane's queries, checked against its schema and written down for builds that have no database.

use std::{fs, path::Path, process::Command};

use crate::{
    Failure, root,
    steps::{Steps, cargo},
};

/// Makes a database from the migrations, and builds the control plane against it: each query that is well-formed leaves a file.
pub(crate) fn write(steps: &mut Steps) -> Result<(), Failure> {
    let control = root().join("crates/custody-control").canonicalize()?;
    let (migrations, written) = (control.join("migrations"), control.join(".sqlx"));
    let database = crate::target().join("queries.db");
    fs::create_dir_all(crate::target())?;
    let fresh = |path: &Path| match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    };
    fresh(&database)?;
    let script = "import pathlib, sqlite3, sys\n\
                  database = sqlite3.connect(sys.argv[1])\n\
                  for file in sorted(pathlib.Path(sys.argv[2]).glob('*.sql')): database.executescript(file.read_text())";
    steps.command(
        "a database from the migrations",
        Command::new("python3").args(["-c", script]).args([&database, &migrations]),
    )?;
    fs::create_dir_all(&written)?;
    for old in fs::read_dir(&written)? {
        fs::remove_file(old?.path())?;
    }
    // Macros write only when they are expanded: what is up to date would not be built.
    let source = control.join("src/lib.rs");
    fs::File::options().append(true).open(&source)?.set_modified(std::time::SystemTime::now())?;
    let url = format!("sqlite://{}", database.canonicalize()?.display());
    let mut build = cargo();
    build.args(["build", "--workspace", "--lib"]).env("DATABASE_URL", url).env("SQLX_OFFLINE_DIR", &written);
    steps.command("every query against it", &mut build)
}
