//! The control plane's end.

use std::{path::Path, sync::Arc, time::Duration};

use tokio::{
    io::AsyncWriteExt,
    net::{
        UnixListener, UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::mpsc,
    task::JoinHandle,
};
use zeroize::Zeroizing;

use crate::{
    error::LinkError,
    frame::{self, Frame, Reader},
    message::{NodeConfig, ToControl, ToNode},
    socket,
};

/// How long a process that connected may take to say who it is.
const PATIENCE: Duration = Duration::from_secs(5);
/// Messages on their way to a node.
const QUEUE: usize = 64;

/// Takes in nodes.
pub struct Listener {
    pending: mpsc::Receiver<Pending>,
    task: JoinHandle<()>,
}

impl Listener {
    /// Listens in a directory, which is made for this user alone. Call it in a runtime of tokio's.
    pub fn bind(directory: &Path) -> Result<Self, LinkError> {
        let socket = socket::bind(directory)?;
        let (sender, pending) = mpsc::channel(QUEUE);
        Ok(Self { pending, task: tokio::spawn(take_in(socket, sender)) })
    }

    /// The next process that said who it is. One that keeps silent holds nobody up.
    pub async fn accept(&mut self) -> Option<Pending> {
        self.pending.recv().await
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn take_in(socket: UnixListener, sender: mpsc::Sender<Pending>) {
    let sender = Arc::new(sender);
    loop {
        let stream = match socket.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of descriptors, most likely: it may pass.
                tracing::warn!(%error, "a node could not be taken in");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let sender = Arc::clone(&sender);
        tokio::spawn(async move {
            match greet(stream).await {
                // Nobody listens any more; the node will try again.
                Ok(pending) => drop(sender.send(pending).await),
                Err(error) => tracing::warn!(%error, "a process that connected as a node was turned away"),
            }
        });
    }
}

async fn greet(stream: UnixStream) -> Result<Pending, LinkError> {
    let peer = socket::same_user(&stream)?;
    let (read, write) = stream.into_split();
    let mut reader = Reader::new(read);
    let first = tokio::time::timeout(PATIENCE, reader.next()).await.map_err(|_| LinkError::Late)??;
    match first {
        Some(ToControl::Hello { cluster, token }) => Ok(Pending { cluster, token, pid: peer.pid(), reader, write }),
        Some(_) => Err(LinkError::Order("Hello")),
        None => Err(LinkError::Closed),
    }
}

/// A process that said who it is. Dropping it turns the process away.
pub struct Pending {
    cluster: String,
    token: Zeroizing<String>,
    pid: Option<i32>,
    reader: Reader<OwnedReadHalf>,
    write: OwnedWriteHalf,
}

impl Pending {
    /// The cluster that it says it serves.
    pub fn cluster(&self) -> &str {
        &self.cluster
    }

    /// The token that it shows. The caller compares it, in constant time.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// The process, as the system knows it.
    pub fn pid(&self) -> Option<i32> {
        self.pid
    }

    /// Tells the process what to do, and keeps the connection.
    pub async fn admit(mut self, config: NodeConfig) -> Result<Connection, LinkError> {
        frame::send(&mut self.write, &ToNode::Configure(Box::new(config))).await?;
        let (queue, frames) = mpsc::channel(QUEUE);
        tokio::spawn(write(self.write, frames));
        Ok(Connection { outgoing: Outgoing(queue), incoming: Incoming(self.reader) })
    }
}

async fn write(mut to: OwnedWriteHalf, mut frames: mpsc::Receiver<Frame>) {
    while let Some(frame) = frames.recv().await {
        if let Err(error) = to.write_all(&frame).await {
            tracing::debug!(%error, "the link to a node broke");
            return;
        }
    }
}

/// A node that is connected.
pub struct Connection {
    /// To the node.
    pub outgoing: Outgoing,
    /// From the node.
    pub incoming: Incoming,
}

impl Connection {
    /// Both directions, for two tasks.
    pub fn split(self) -> (Outgoing, Incoming) {
        (self.outgoing, self.incoming)
    }
}

/// Sends to a node, from as many tasks as like. The link ends when all copies are gone.
#[derive(Clone)]
pub struct Outgoing(mpsc::Sender<Frame>);

impl Outgoing {
    /// Sends a message. That it was taken does not mean that it arrived.
    pub async fn send(&self, message: &ToNode) -> Result<(), LinkError> {
        self.0.send(frame::encode(message)?).await.map_err(|_| LinkError::Closed)
    }
}

/// Receives from a node.
pub struct Incoming(Reader<OwnedReadHalf>);

impl Incoming {
    /// The next message; `None` once the node closed the link. A wait that is given up loses nothing.
    pub async fn receive(&mut self) -> Result<Option<ToControl>, LinkError> {
        self.0.next().await
    }
}
