//! Making a version of a zone's key: all or nothing.

use std::time::SystemTime;

use custody_kms::{Purpose, Secret, confirmed};
use custody_seal::{ZoneId, ZoneKey};

use crate::copies::VersionCopies;
use crate::error::CreateError;
use crate::lease::Lease;
use crate::object::{KeyringObject, Sealed, whole_millis};

/// Makes version `version` of a zone's key: generated here, wrapped by KMS, written twice, read back, and unwrapped by
/// KMS from what was read. Only what has come back this way is returned, and on any failure nothing stays behind.
pub(crate) async fn version(
    lease: &Lease,
    zone: ZoneId,
    version: u32,
) -> Result<(ZoneKey, VersionCopies), CreateError> {
    let made = make(lease, zone, version).await;
    if let Err(CreateError::Kms(_)) = made {
        // It proves nothing about the zones that are open under the same key, but it is a reason to ask.
        lease.term.wake();
    }
    made
}

async fn make(lease: &Lease, zone: ZoneId, version: u32) -> Result<(ZoneKey, VersionCopies), CreateError> {
    let vault = &lease.around.vault;
    let sealed = wrap(lease, zone, version).await?;
    let made = match vault.create(zone, &sealed).await {
        Ok(()) => read_back(lease, zone, &sealed).await,
        Err(error) if matches!(error.source, object_store::Error::AlreadyExists { .. }) => {
            Err(CreateError::Exists { zone, version })
        }
        Err(error) => Err(error.into()),
    };
    match made {
        Ok(made) => Ok(made),
        Err(cause) => {
            let left = vault.undo(zone, &sealed).await;
            if left.is_empty() { Err(cause) } else { Err(CreateError::Leftover { cause: Box::new(cause), left }) }
        }
    }
}

/// A fresh key, wrapped and authenticated. The key itself does not leave this function.
async fn wrap(lease: &Lease, zone: ZoneId, version: u32) -> Result<Sealed, CreateError> {
    let key = &ZoneKey::generate()?;
    let context = &lease.context(zone, version);
    let wrapped = confirmed(&*lease.around.kms, &lease.key, Purpose::Create, lease.pause(), |session| async move {
        let secret = Secret::from(&key.expose()[..]);
        session.encrypt(&secret, context).await
    });
    let wrapped = wrapped.await?;
    if !KeyringObject::fits(&wrapped) {
        return Err(CreateError::Wrapped(wrapped.len()));
    }
    let object = KeyringObject {
        cluster: lease.around.cluster.clone(),
        zone,
        version,
        provider: lease.key.provider(),
        key: lease.key.stored_arn().clone(),
        role: lease.key.role_arn().cloned(),
        created_at: whole_millis(SystemTime::max(lease.around.clock.now().wall, SystemTime::UNIX_EPOCH)),
        wrapped,
    };
    Ok(object.seal(key))
}

async fn read_back(lease: &Lease, zone: ZoneId, sealed: &Sealed) -> Result<(ZoneKey, VersionCopies), CreateError> {
    let version = sealed.object.version;
    let copies = &lease.around.vault.read(&lease.pins(zone), version).await.map_err(CreateError::NotReadBack)?;
    copies.both_are(sealed, zone).map_err(CreateError::NotReadBack)?;
    let context = &lease.context(zone, version);
    let unwrapped = confirmed(&*lease.around.kms, &lease.key, Purpose::Create, lease.pause(), |session| async move {
        copies.clone().unwrap(session.as_ref(), zone, context).await
    });
    unwrapped.await?.map_err(CreateError::NotReadBack)
}
