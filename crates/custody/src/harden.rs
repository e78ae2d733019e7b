//! What a process that holds zone keys does first (rule 12): it can't be dumped or traced, leaves no core, and does not
//! run where its memory could reach a swap device.

use std::path::Path;

use rustix::mm::{MlockAllFlags, mlockall};
use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};

use crate::Failure;

/// Where the system lists its swap devices.
const SWAPS: &str = "/proc/swaps";

/// Hardens this process, or says why it can't be.
pub(crate) fn harden(allow_swap: bool) -> Result<(), Failure> {
    harden_among(Path::new(SWAPS), allow_swap, || mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE))
}

/// The same where `swaps` lists the swap devices and `lock` locks the process's memory.
fn harden_among(swaps: &Path, allow_swap: bool, lock: impl FnOnce() -> rustix::io::Result<()>) -> Result<(), Failure> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(|error| format!("the process could not be made undumpable: {error}"))?;
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    setrlimit(Resource::Core, none).map_err(|error| format!("core dumps could not be switched off: {error}"))?;
    if allow_swap {
        return Ok(());
    }
    let swaps = std::fs::read_to_string(swaps).map_err(|error| format!("{}: {error}", swaps.display()))?;
    keep_out_of_swap(&swaps, lock)
}

/// Locks the process's memory where there is a swap device, or refuses to go on.
fn keep_out_of_swap(swaps: &str, lock: impl FnOnce() -> rustix::io::Result<()>) -> Result<(), Failure> {
    if !has_swap(swaps) {
        return Ok(());
    }
    lock().map_err(|error| {
        format!(
            "swap is on and the process's memory could not be locked ({error}): switch swap off, raise the limit on locked \
             memory (ulimit -l), or say --allow-swap and accept that decrypted pages may be written to the swap device"
        )
    })?;
    tracing::info!("swap is on: the process's memory is locked");
    Ok(())
}

/// Lets this process open as many files as the system allows it, and says how many those are. Connections and stored files
/// share them.
pub(crate) fn raise_file_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    match setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        Ok(()) => limit.maximum.unwrap_or(u64::MAX),
        Err(error) => {
            tracing::warn!(%error, "the limit on open files could not be raised");
            limit.current.unwrap_or(u64::MAX)
        }
    }
}

/// The first line is a heading; each further one is a device.
fn has_swap(swaps: &str) -> bool {
    swaps.lines().skip(1).any(|line| !line.trim().is_empty())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use rustix::{io::Errno, process::dumpable_behavior};

    use super::*;

    const HEADING: &str = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n";
    const DEVICE: &str = "/dev/sda2 partition 1 0 -2\n";
    /// Set for the process that hardens itself.
    const HARDENS: &str = "CUSTODY_TEST_HARDENS";

    #[test]
    fn a_swap_device_is_seen() {
        assert!(!has_swap(HEADING));
        assert!(has_swap(&format!("{HEADING}{DEVICE}")));
    }

    #[test]
    fn with_swap_on_memory_is_locked_or_nothing_starts() {
        let swap_on = format!("{HEADING}{DEVICE}");
        let refused = keep_out_of_swap(&swap_on, || Err(Errno::NOMEM)).unwrap_err().to_string();
        assert!(refused.contains("swap is on") && refused.contains("--allow-swap"), "{refused}");
        let mut locked = false;
        let lock = || {
            locked = true;
            Ok(())
        };
        keep_out_of_swap(&swap_on, lock).unwrap();
        assert!(locked);
        keep_out_of_swap(HEADING, || panic!("there is no swap to keep out of")).unwrap();
    }

    #[test]
    fn a_hardened_process_can_not_be_dumped_and_leaves_no_core() {
        let name = "harden::tests::a_hardened_process_can_not_be_dumped_and_leaves_no_core";
        in_a_process_of_its_own(name, || {
            assert_eq!(dumpable_behavior(), Ok(DumpableBehavior::Dumpable), "as every process begins");
            harden(true).unwrap();
            assert_eq!(dumpable_behavior(), Ok(DumpableBehavior::NotDumpable));
            assert_eq!(getrlimit(Resource::Core), Rlimit { current: Some(0), maximum: Some(0) });
        });
    }

    #[test]
    fn swap_is_looked_for_unless_it_is_allowed() {
        in_a_process_of_its_own("harden::tests::swap_is_looked_for_unless_it_is_allowed", || {
            let directory = tempfile::tempdir().unwrap();
            let swaps = directory.path().join("swaps");
            std::fs::write(&swaps, format!("{HEADING}{DEVICE}")).unwrap();
            let refused = harden_among(&swaps, false, || Err(Errno::NOMEM)).unwrap_err().to_string();
            assert!(refused.contains("swap is on"), "{refused}");
            harden_among(&swaps, true, || panic!("it was allowed")).unwrap();
            let missing = directory.path().join("missing");
            assert!(harden_among(&missing, false, || Ok(())).is_err(), "what can't be read tells of no swap");
        });
    }

    /// Hardens nothing but a process that runs this one test.
    fn in_a_process_of_its_own(name: &str, test: impl FnOnce()) {
        if std::env::var_os(HARDENS).is_some() {
            return test();
        }
        let program = std::env::current_exe().unwrap();
        let output = Command::new(program).args(["--exact", name, "--nocapture"]).env(HARDENS, "1").output().unwrap();
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success() && said.contains("1 passed"), "{said}");
    }
}
