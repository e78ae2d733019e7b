//! The keyless stub: what a node becomes while its cluster's root key is refused or out of reach. It holds no zone key and
//! no row; it keeps the address, says "sealed", and looks every check interval whether it may become the node again.

use std::{net::TcpListener, sync::Arc};

use custody_kms::{Providers, RootKeyRef};
use custody_store::{ZoneId, ZoneStatus};
use tokio::{sync::watch, time::Instant};
use zeroize::Zeroizing;

use crate::{
    Failure,
    config::Settings,
    handover,
    linked::{Linked, Order},
    node::{self, stop_signal},
    root_keys::{self, KeyArgs},
};

/// Serves "sealed" until the key is back, or until stopped.
pub(crate) async fn serve(
    settings: &Settings,
    args: &KeyArgs,
    listener: TcpListener,
    reason: &str,
    connections: usize,
    linked: Option<&Linked>,
) -> Result<(), Failure> {
    tracing::warn!(reason, "sealed: this process holds no key and no data until the root key is available again");
    let (tell, reasons) = watch::channel(reason.to_owned());
    let socket = listener.try_clone()?;
    let tls = crate::node::tls(settings)?;
    let credentials = credentials(settings)?;
    tokio::select! {
        served = custody_node::serve_sealed(socket, reasons, &credentials, tls, connections, stop_signal()) => Ok(served?),
        waited = wait_for_key(settings, args, &tell, linked) => {
            if waited? == Order::Stop {
                return Ok(());
            }
            tracing::info!("the cluster is opened again");
            if let Some(linked) = linked {
                linked.leave().await?;
            }
            Err(handover::become_node(&listener))
        }
    }
}

/// Returns once the cluster's zone key can be unwrapped again, or the control plane says what to do. Looks at most once a
/// check interval, whatever the last look came to, so that a cluster whose key flaps does not spin.
async fn wait_for_key(
    settings: &Settings,
    args: &KeyArgs,
    tell: &watch::Sender<String>,
    linked: Option<&Linked>,
) -> Result<Order, Failure> {
    let Some(root_key) = args.root_key()? else {
        // It has no key to come back; it waits for a person because its storage was rolled back.
        let linked = linked.ok_or("an unencrypted cluster can't be sealed")?;
        let reason = tell.borrow().clone();
        return Ok(linked.order(Instant::now() + settings.key_check_interval, &reason).await);
    };
    let kms = root_keys::providers(settings, args, linked.map(|linked| &linked.link)).await?;
    loop {
        let due = Instant::now() + settings.key_check_interval;
        match linked {
            None => tokio::time::sleep_until(due).await,
            Some(linked) => {
                let reason = tell.borrow().clone();
                match linked.order(due, &reason).await {
                    Order::Look => {}
                    order => return Ok(order),
                }
            }
        }
        let (reason, outcome) = match look(settings, args, root_key.clone(), Arc::clone(&kms), linked).await {
            Ok(status) if status.is_usable() => return Ok(Order::Open),
            Ok(status) => (status.to_string(), status.outcome()),
            Err(error) => (error.to_string(), None),
        };
        if let Some(linked) = linked {
            linked.note(outcome);
        }
        tracing::info!(reason, "still sealed");
        tell.send_replace(reason);
    }
}

/// One look: what it unwraps, if it does, is dropped at once.
async fn look(
    settings: &Settings,
    args: &KeyArgs,
    root_key: RootKeyRef,
    kms: Arc<Providers>,
    linked: Option<&Linked>,
) -> Result<ZoneStatus, Failure> {
    let store = node::storage(settings, linked)?.cluster(&args.cluster_id, false)?;
    let store = store.ok_or("the cluster's storage is gone")?;
    let keyring = root_keys::keyring(settings, args, root_key, kms, store)?;
    Ok(keyring.open_zone(ZoneId::CLUSTER, None).await?.status())
}

/// Who is told why the cluster is sealed: those whose credentials come from the settings. All others are strangers while
/// the users are sealed.
fn credentials(settings: &Settings) -> Result<Vec<Zeroizing<String>>, Failure> {
    let root = settings.root_password()?.map(|password| format!("root:{password}"));
    Ok(root.into_iter().chain(settings.api_key.clone()).map(Zeroizing::new).collect())
}
