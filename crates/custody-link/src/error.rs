//! What can go wrong between the two.

use std::path::PathBuf;

/// A link that can't be made, or ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// The socket's directory or the socket.
    #[error("{place}: {error}", place = place.display())]
    Place {
        /// Where.
        place: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// Another control plane listens there.
    #[error("{place}: another control plane is running on this directory; stop it first", place = .0.display())]
    Taken(PathBuf),
    /// Whoever is at the other end is another user.
    #[error("the other end of the link is user {theirs}, and this process {ours}: they must be the same")]
    OtherUser {
        /// Their user id.
        theirs: u32,
        /// Ours.
        ours: u32,
    },
    /// The connection broke.
    #[error("the link broke: {0}")]
    Broken(#[from] std::io::Error),
    /// A message longer than is allowed.
    #[error("a message of {0} bytes is longer than the link carries")]
    TooLong(usize),
    /// Bytes that are no message. They are not repeated: there may be a secret among them.
    #[error("what came over the link is no message of this version")]
    Garbage,
    /// The link ended inside a message.
    #[error("the link ended inside a message")]
    Cut,
    /// The other end closed the link.
    #[error("the other end closed the link")]
    Closed,
    /// Nothing came in time.
    #[error("nothing came over the link in time")]
    Late,
    /// The other end began with another message than it must.
    #[error("the link must begin with {0}")]
    Order(&'static str),
}
