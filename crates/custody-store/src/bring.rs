//! Bringing an object from one zone into another: a backup's into a cluster.

use object_store::{ObjectStoreExt, Result, path::Path};

use crate::{parts::put_stream, zones::ZoneStore};

/// How a sealed object becomes one of another zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bring {
    /// By a new header over the same body.
    Rekey,
    /// By sealing it anew, under a data key of its own.
    Anew,
}

impl ZoneStore {
    /// Brings an object of another zone here, all of it. Into or out of a zone that is not encrypted it is sealed or opened,
    /// whatever `how` says.
    pub async fn bring(&self, from: &Self, source: &Path, to: &Path, how: Bring) -> Result<()> {
        match (from.as_sealed(), self.as_sealed(), how) {
            (Some(from), Some(here), Bring::Rekey) => here.rekey(from, source, to).await,
            _ => self.pass(from, source, to).await,
        }
    }

    async fn pass(&self, from: &Self, source: &Path, to: &Path) -> Result<()> {
        let object = from.objects().get(source).await?;
        let (size, stream) = (object.meta.size, object.into_stream());
        put_stream(&*self.objects(), to, size, stream).await
    }
}
