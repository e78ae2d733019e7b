//! A node's process: started with nothing but its link, found again by its command line, ended.

use std::{
    fs::{DirBuilder, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    os::{
        fd::OwnedFd,
        unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::io::{Interest, unix::AsyncFd};

use super::NodeSettings;

/// A log that has grown to this is put aside at the next start.
const LONGEST_LOG: u64 = 16 << 20;
/// How often a process that shows no command line is looked at again, and after how long.
const TRIES: u32 = 40;
const MOMENT: Duration = Duration::from_millis(5);
/// The flag of the kernel's own threads (`PF_KTHREAD`).
const KERNEL_THREAD: u64 = 0x0020_0000;
/// As much of a log's end as is looked at for its last line.
const TAIL: u64 = 4_096;

/// A process of ours. It is known by a descriptor, which never means another process, whatever becomes of its number.
pub(super) struct Process {
    pid: Pid,
    descriptor: AsyncFd<OwnedFd>,
}

impl Process {
    fn of(pid: Pid) -> io::Result<Self> {
        let descriptor = pidfd_open(pid, PidfdFlags::NONBLOCK)?;
        #[expect(
            deprecated,
            reason = "unsound only for types that lie about their descriptor; the other one is unsafe"
        )]
        let descriptor = AsyncFd::with_interest(descriptor, Interest::READABLE)?;
        Ok(Self { pid, descriptor })
    }

    /// Its number.
    pub(super) fn id(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// Returns once it has ended.
    pub(super) async fn ended(&self) {
        if let Err(error) = self.descriptor.readable().await {
            tracing::error!(pid = self.id(), %error, "the end of a process can't be awaited");
        }
    }

    /// Asks it to end, and kills it if it does not within `patience`.
    pub(super) async fn end(&self, patience: Duration) {
        self.signal(Signal::TERM);
        if tokio::time::timeout(patience, self.ended()).await.is_err() {
            tracing::warn!(pid = self.id(), "a node did not end in time and is killed");
            self.kill();
            self.ended().await;
        }
    }

    /// Kills it.
    pub(super) fn kill(&self) {
        self.signal(Signal::KILL);
    }

    fn signal(&self, signal: Signal) {
        match pidfd_send_signal(self.descriptor.get_ref(), signal) {
            // It has ended by itself.
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(error) => tracing::error!(pid = self.id(), %error, "a process could not be sent a signal"),
        }
    }
}

/// Starts a cluster's node. Its environment holds no secret; the token that it is known by goes through a pipe.
pub(super) fn spawn(settings: &NodeSettings, cluster: &str, token: &str) -> io::Result<Process> {
    let directory = settings.directory(cluster);
    DirBuilder::new().recursive(true).mode(0o700).create(&directory)?;
    let log = open_log(&directory)?;
    let mut command = Command::new(&settings.program);
    command.arg("node").arg("--link").arg(settings.link()).args(["--cluster-id", cluster]);
    command.env_clear().envs(settings.environment.iter().map(|(name, value)| (name, value)));
    command.current_dir(&directory).stdin(Stdio::piped()).stdout(log.try_clone()?).stderr(log);
    // Ctrl-C in the terminal is for the control plane, which ends its nodes in its own order.
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let mut child = tokio::process::Command::from(command).spawn()?;
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
    let process = Process::of(pid.ok_or_else(|| io::Error::other("the process has ended at once"))?)?;
    let pipe = child.stdin.take().ok_or_else(|| io::Error::other("the process has no standard input"))?;
    let mut pipe = File::from(pipe.into_owned_fd()?);
    writeln!(pipe, "{token}")?;
    // The runtime reaps a child that nobody waits for.
    drop(child);
    Ok(process)
}

/// The process of a cluster, if there is one.
pub(super) fn find(link: &Path, cluster: &str) -> Option<Process> {
    all(link).into_iter().find(|(_, of)| of == cluster).map(|(process, _)| process)
}

/// Every node on this link, whoever started it, and the cluster of each.
pub(super) fn all(link: &Path) -> Vec<(Process, String)> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let numbers = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    numbers.filter_map(|number| node_on(link, number)).collect()
}

fn node_on(link: &Path, number: i32) -> Option<(Process, String)> {
    // Opened before it is looked at: should the number go to another process meanwhile, the descriptor does not.
    let process = Process::of(Pid::from_raw(number)?).ok()?;
    let place = PathBuf::from(format!("/proc/{number}"));
    if place.metadata().ok()?.uid() != rustix::process::geteuid().as_raw() {
        return None;
    }
    let command = command_line(&place).ok()?;
    let words: Vec<&str> = command.split(|byte| *byte == 0).filter_map(|it| std::str::from_utf8(it).ok()).collect();
    let after = |flag: &str| words.iter().position(|it| *it == flag).and_then(|at| words.get(at + 1)).copied();
    let ours = words.get(1) == Some(&"node") && after("--link").map(Path::new) == Some(link);
    let cluster = after("--cluster-id").filter(|_| ours)?;
    Some((process, cluster.to_owned()))
}

/// A process's command line. One that is between two images has none for a moment, and is not to be missed for that.
fn command_line(place: &Path) -> io::Result<Vec<u8>> {
    for _ in 0..TRIES {
        let line = std::fs::read(place.join("cmdline"))?;
        if !line.is_empty() || !has_image(&std::fs::read_to_string(place.join("stat"))?) {
            return Ok(line);
        }
        std::thread::sleep(MOMENT);
    }
    Ok(Vec::new())
}

/// Whether a process runs a program, by its `stat`: threads of the kernel never do, and one that has ended does no more.
fn has_image(stat: &str) -> bool {
    // Behind the name, which may hold anything: state, five numbers, flags.
    let fields: Vec<&str> =
        stat.rsplit_once(')').map(|(_, rest)| rest.split_whitespace().collect()).unwrap_or_default();
    let flags: Option<u64> = fields.get(6).and_then(|flags| flags.parse().ok());
    let ended = matches!(fields.first(), Some(&("Z" | "X")) | None);
    !ended && flags.is_some_and(|flags| flags & KERNEL_THREAD == 0)
}

fn log_file(directory: &Path) -> PathBuf {
    directory.join("node.log")
}

fn open_log(directory: &Path) -> io::Result<File> {
    let file = log_file(directory);
    if file.metadata().is_ok_and(|data| data.len() > LONGEST_LOG) {
        std::fs::rename(&file, directory.join("node.log.1"))?;
    }
    OpenOptions::new().create(true).append(true).mode(0o600).open(file)
}

/// The last thing that a cluster's node said: why it ended, if it ended by itself.
pub(super) fn last_words(settings: &NodeSettings, cluster: &str) -> Option<String> {
    let mut file = File::open(log_file(&settings.directory(cluster))).ok()?;
    let length = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL))).ok()?;
    let mut tail = Vec::new();
    file.read_to_end(&mut tail).ok()?;
    let text = String::from_utf8_lossy(&tail);
    let last = text.lines().rev().find(|line| !line.trim().is_empty())?;
    Some(last.strip_prefix("custody: ").unwrap_or(last).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_runs_a_program_can_be_between_two() {
        assert!(has_image("17 (cust) ody) S 1 17 17 0 -1 4194560 1 2 3"));
        assert!(!has_image("17 (custody) Z 1 17 17 0 -1 4194560 1 2 3"), "it has ended");
        assert!(!has_image("2 (kthreadd) S 0 0 0 0 -1 2129984 0 0"), "it is the kernel's");
        assert!(!has_image("") && !has_image("17 (custody) S 1"));
        assert!(has_image(&std::fs::read_to_string("/proc/self/stat").unwrap()));
    }
}
