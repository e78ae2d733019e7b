//! What a client may take of the node once it is connected, in one place. `docs/guide.md` tells users. The limits of
//! connections are in custody-http.

use std::time::Duration;

/// The largest request, in bytes, as in Milvus.
pub(crate) const LARGEST_REQUEST: usize = 64 * 1024 * 1024;
/// The largest answer, in bytes.
pub(crate) const LARGEST_ANSWER: usize = 256 * 1024 * 1024;
/// The longest text of an error, in bytes.
pub(crate) const LONGEST_REASON: usize = 800;

/// Password checks at the same time: each takes 19 MiB and a processor.
pub(crate) const CHECKS_AT_ONCE: usize = 2;
/// Sign-ins that may wait for a turn, or for whoever issued their key: about as many as can have a turn in time.
pub(crate) const WAITING: usize = 256;
/// How long a check may wait for its turn.
pub(crate) const TURN: Duration = Duration::from_secs(5);
/// How many credentials are known at once; beyond it all are checked anew.
pub(crate) const KNOWN: usize = 4_096;
/// The longest credential that is looked at, in bytes.
pub(crate) const LONGEST: usize = 4_096;
