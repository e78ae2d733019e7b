//! What a client may take of the node, in one place. `docs/guide.md` tells users.

use std::time::Duration;

/// The largest request, in bytes, as in Milvus.
pub(crate) const LARGEST_REQUEST: usize = 64 * 1024 * 1024;
/// The largest answer, in bytes.
pub(crate) const LARGEST_ANSWER: usize = 256 * 1024 * 1024;
/// The longest text of an error, in bytes.
pub(crate) const LONGEST_REASON: usize = 800;

/// Connections at the same time, if the operating system allows as many; see [`connections`].
pub const MAX_CONNECTIONS: usize = 2_048;
/// How long a client may take for the TLS handshake, the first bytes, and the head of a request.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
/// Calls at the same time on one connection.
pub(crate) const MOST_STREAMS: u32 = 256;
/// How often a silent HTTP/2 connection is asked whether it is still there, and how long it may take to say so.
pub(crate) const PING_EVERY: Duration = Duration::from_secs(30);
pub(crate) const PING_PATIENCE: Duration = Duration::from_secs(15);
/// How long calls may go on after the node was asked to stop.
pub(crate) const LAST_CALLS: Duration = Duration::from_secs(10);
/// The largest head of a request, in bytes.
pub(crate) const LARGEST_HEAD: u32 = 32 * 1024;
/// HTTP/2 windows: rows come in megabytes, and a small window makes a round trip of every 64 KiB. A stranger can fill them
/// before he is turned away.
pub(crate) const STREAM_WINDOW: u32 = 2 * 1024 * 1024;
pub(crate) const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;

/// Password checks at the same time: each takes 19 MiB and a processor.
pub(crate) const CHECKS_AT_ONCE: usize = 2;
/// How long a check may wait for its turn.
pub(crate) const TURN: Duration = Duration::from_secs(5);
/// How many credentials are known at once; beyond it all are checked anew.
pub(crate) const KNOWN: usize = 4_096;
/// The longest credential that is looked at, in bytes.
pub(crate) const LONGEST: usize = 4_096;

/// The connections that a node may hold where a process may open so many files: half of them, for storage needs the rest.
pub fn connections(files: u64) -> usize {
    usize::try_from(files / 2).unwrap_or(MAX_CONNECTIONS).clamp(1, MAX_CONNECTIONS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_the_files_stay_free_for_storage() {
        assert_eq!(connections(1_024), 512);
        assert_eq!(connections(1_048_576), MAX_CONNECTIONS);
        assert_eq!(connections(u64::MAX), MAX_CONNECTIONS);
        assert_eq!(connections(0), 1);
    }
}
