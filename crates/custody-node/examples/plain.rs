//! A node over an empty, unencrypted engine in memory, for trying clients against it:
//! `cargo run -p custody-node --example plain -- 127.0.0.1:19530`. The user is `root`, the password `Milvus`.

#![allow(clippy::print_stdout)]

use std::{error::Error, net::TcpListener, sync::Arc};

use custody_engine::Engine;
use custody_node::{Node, NodeOptions};
use custody_store::PlainZones;
use object_store::memory::InMemory;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:19530".to_owned());
    let engine = Engine::create(Arc::new(PlainZones::new(Arc::new(InMemory::new())))).await?;
    let listener = TcpListener::bind(&address)?;
    println!("serving on {}", listener.local_addr()?);
    let options = NodeOptions { root_password: Some("Milvus".to_owned().into()), ..NodeOptions::default() };
    let stop = async {
        // Without signals there is no other way to stop than to be killed.
        drop(tokio::signal::ctrl_c().await);
    };
    Node::serve(Arc::clone(&engine), options, listener, stop).await?;
    engine.close().await;
    Ok(())
}
