//! What is said of a panic: where, and nothing else. A panic's own message may carry what it stumbled over (an `unwrap` of
//! an error prints it whole), and that may be a value of a row (rule 17).

use std::{
    io::Write,
    panic::{PanicHookInfo, set_hook},
};

/// Says where every panic of this process is, and never its message.
pub(crate) fn tell_only_the_place() {
    set_hook(Box::new(tell));
}

fn tell(panic: &PanicHookInfo<'_>) {
    let place = panic.location().map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
    if tracing::dispatcher::has_been_set() {
        tracing::error!(%place, "a fault of the program; please report it with this place");
        return;
    }
    // Nowhere is left to tell of a standard error that is closed.
    drop(writeln!(std::io::stderr(), "custody: a fault of the program at {place}; please report it with this place"));
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    /// Set for the process that panics.
    const PANICS: &str = "CUSTODY_TEST_PANICS";

    /// An error that names what it was about, as many do.
    fn read_row(value: &str) -> Result<(), String> {
        Err(format!("'{value}' is no row"))
    }

    #[test]
    fn a_panic_tells_its_place_and_never_its_message() {
        if std::env::var_os(PANICS).is_some() {
            super::tell_only_the_place();
            std::thread::spawn(|| read_row("canary-7f3a").unwrap()).join().unwrap_err();
            return;
        }
        let name = "panics::tests::a_panic_tells_its_place_and_never_its_message";
        let program = std::env::current_exe().unwrap();
        let output = Command::new(program).args(["--exact", name, "--nocapture"]).env(PANICS, "1").output().unwrap();
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success(), "{said}");
        assert!(said.contains("a fault of the program at crates/custody/src/panics.rs:"), "{said}");
        assert!(!said.contains("canary"), "{said}");
    }
}
