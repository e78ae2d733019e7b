//! What a client may take of a server before a handler sees it, in one place. `docs/guide.md` tells users.

use std::time::Duration;

/// Connections at the same time, if the operating system allows as many; see [`connections`].
pub const MAX_CONNECTIONS: usize = 2_048;
/// Connections that the operating system holds until they are let in; its own limit (`somaxconn`) may be lower. Whoever comes
/// to a full queue is not refused but tries again seconds later.
pub(crate) const QUEUE: i32 = 4_096;
/// How long a client may take for the TLS handshake, the first bytes, and the head of a request.
const PATIENCE: Duration = Duration::from_secs(10);
/// Calls at the same time on one connection.
pub(crate) const MOST_STREAMS: u32 = 256;
/// How often a silent HTTP/2 connection is asked whether it is still there, and how long it may take to say so.
pub(crate) const PING_EVERY: Duration = Duration::from_secs(30);
pub(crate) const PING_PATIENCE: Duration = Duration::from_secs(15);
/// How long calls may go on after the server was asked to stop.
pub(crate) const LAST_CALLS: Duration = Duration::from_secs(10);
/// The largest head of a request, in bytes.
pub(crate) const LARGEST_HEAD: u32 = 32 * 1024;
/// HTTP/2 windows, of a connection and of each call on it: what a client can send that no handler reads. A stranger can fill
/// them before he is turned away. HTTP/2 knows no smaller one for a connection.
pub(crate) const WINDOW: u32 = 65_535;

/// What a client may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at the same time. For a further one the oldest of those that are not known must go; if all are known,
    /// it waits.
    pub connections: usize,
    /// How long a client may take for the TLS handshake, the first bytes, and the head of a request.
    pub patience: Duration,
    /// Whether requests come in megabytes, of which a small window would make a round trip of every 64 KiB. Windows then
    /// grow with what handlers read: for a stranger, of whose body nothing is read, they stay as they are.
    pub large_bodies: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connections: MAX_CONNECTIONS, patience: PATIENCE, large_bodies: false }
    }
}

/// The connections that a server may hold where a process may open so many files: half of them, for storage needs the rest.
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
