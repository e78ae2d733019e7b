//! Where the two meet: a Unix socket in a directory of their user's alone.
//!
//! The path of a Unix socket may have about 107 bytes only. The directory is opened first and the socket named through
//! that descriptor, so that data may lie as deep as it likes.

use std::{
    fs::{DirBuilder, File, Permissions},
    io,
    os::{
        fd::AsRawFd,
        unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    },
    path::{Path, PathBuf},
};

use tokio::net::{UnixListener, UnixStream, unix::UCred};

use crate::error::LinkError;

const NAME: &str = "control.sock";

/// The socket's path through a descriptor of its directory, which must stay open for as long as the path is used.
fn through(directory: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}/{NAME}", directory.as_raw_fd()))
}

fn at(place: &Path) -> impl Fn(io::Error) -> LinkError + '_ {
    |error| LinkError::Place { place: place.to_owned(), error }
}

/// Listens in `place`, which is made if it is not there. A socket that nobody listens on any more is replaced.
pub(crate) fn bind(place: &Path) -> Result<UnixListener, LinkError> {
    DirBuilder::new().recursive(true).mode(0o700).create(place).map_err(at(place))?;
    let directory = File::open(place).map_err(at(place))?;
    let theirs = directory.metadata().map_err(at(place))?.uid();
    if theirs != ours() {
        return Err(LinkError::OtherUser { theirs, ours: ours() });
    }
    directory.set_permissions(Permissions::from_mode(0o700)).map_err(at(place))?;
    let path = through(&directory);
    if std::os::unix::net::UnixStream::connect(&path).is_ok() {
        return Err(LinkError::Taken(place.to_owned()));
    }
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(at(place)(error)),
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(&path).map_err(at(place))?;
    std::fs::set_permissions(&path, Permissions::from_mode(0o600)).map_err(at(place))?;
    Ok(listener)
}

/// Connects to whoever listens in `place`, if it is a process of our user.
pub(crate) async fn connect(place: &Path) -> Result<UnixStream, LinkError> {
    let directory = File::open(place).map_err(at(place))?;
    let stream = UnixStream::connect(through(&directory)).await.map_err(at(place))?;
    same_user(&stream)?;
    Ok(stream)
}

/// The process at the other end, if it is one of our user.
pub(crate) fn same_user(stream: &UnixStream) -> Result<UCred, LinkError> {
    let peer = stream.peer_cred()?;
    if peer.uid() == ours() { Ok(peer) } else { Err(LinkError::OtherUser { theirs: peer.uid(), ours: ours() }) }
}

fn ours() -> u32 {
    rustix::process::geteuid().as_raw()
}
