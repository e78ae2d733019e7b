//! What a process that holds zone keys does first (rule 12): it can't be dumped or traced, leaves no core, and does not
//! run where its memory could reach a swap device.

use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};

use crate::Failure;

/// Hardens this process, or says why it can't be.
pub(crate) fn harden(allow_swap: bool) -> Result<(), Failure> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(|error| format!("the process could not be made undumpable: {error}"))?;
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    setrlimit(Resource::Core, none).map_err(|error| format!("core dumps could not be switched off: {error}"))?;
    if allow_swap || !swap_is_on()? {
        return Ok(());
    }
    use rustix::mm::{MlockAllFlags, mlockall};
    mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE).map_err(|error| {
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

fn swap_is_on() -> Result<bool, Failure> {
    let swaps = std::fs::read_to_string("/proc/swaps").map_err(|error| format!("/proc/swaps: {error}"))?;
    Ok(has_swap(&swaps))
}

/// The first line is a heading; each further one is a device.
fn has_swap(swaps: &str) -> bool {
    swaps.lines().skip(1).any(|line| !line.trim().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_swap_device_is_seen() {
        let heading = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n";
        assert!(!has_swap(heading));
        assert!(has_swap(&format!("{heading}/dev/sda2 partition 1 0 -2\n")));
    }
}
