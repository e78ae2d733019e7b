//! Replacing the process image while the listening socket lives on (rule 11). What was in memory is gone with the old
//! image; clients find the same address.
//!
//! The socket travels as standard input, the one descriptor that needs no unsafe code to find again.

use std::{
    net::{SocketAddr, TcpListener},
    os::{
        fd::{AsFd, OwnedFd},
        unix::process::CommandExt,
    },
    process::{Command, Stdio},
};

use crate::{Failure, inherit};

/// Set for the new image when standard input is the listening socket.
const INHERITED: &str = "CUSTODY_LISTENER_ON_STDIN";
/// Set for the new image when it is to be the keyless stub: why the cluster is sealed.
const SEALED: &str = "CUSTODY_SEALED";

/// Whether this image took over from another one.
pub(crate) fn is_handed_over() -> bool {
    std::env::var_os(INHERITED).is_some()
}

/// The listening socket: the one handed over, or a new one.
pub(crate) fn listener(address: SocketAddr) -> Result<TcpListener, Failure> {
    let listener = if is_handed_over() {
        let stdin = std::io::stdin();
        let copy = stdin.as_fd().try_clone_to_owned();
        TcpListener::from(copy.map_err(|error| format!("the listening socket was not handed over: {error}"))?)
    } else {
        TcpListener::bind(address)
            .map_err(|error| format!("{address} can't be listened on: {error}: choose another address with --listen"))?
    };
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Why this image is to be the keyless stub, if it is.
pub(crate) fn sealed_reason() -> Option<String> {
    std::env::var(SEALED).ok()
}

/// Becomes the keyless stub: this image and all it holds in memory end here. Returns only on failure.
pub(crate) fn become_sealed(listener: &TcpListener, reason: &str) -> Failure {
    replace(listener, |command| command.env(SEALED, reason))
}

/// Becomes the node again. Returns only on failure.
pub(crate) fn become_node(listener: &TcpListener) -> Failure {
    replace(listener, |command| command.env_remove(SEALED))
}

fn replace(listener: &TcpListener, change: impl FnOnce(&mut Command) -> &mut Command) -> Failure {
    let socket: OwnedFd = match listener.as_fd().try_clone_to_owned() {
        Ok(socket) => socket,
        Err(error) => return error.into(),
    };
    // The image that runs now, even if its file was replaced by an upgrade meanwhile.
    let mut command = Command::new("/proc/self/exe");
    command.args(std::env::args_os().skip(1)).stdin(Stdio::from(socket)).env(INHERITED, "1");
    if let Some(number) = inherit::number() {
        command.env(inherit::VARIABLE, number.to_string());
    }
    change(&mut command);
    let error = command.exec();
    format!("the process image could not be replaced: {error}").into()
}
