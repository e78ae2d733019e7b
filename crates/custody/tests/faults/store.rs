//! An object store that fails on a plan.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{FutureExt, StreamExt, stream::BoxStream};
use object_store::{
    CopyOptions, Error, Extensions, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result,
    memory::InMemory, path::Path,
};

/// How long a slow operation takes longer.
const DELAY: Duration = Duration::from_millis(400);

/// What goes wrong with an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It is not done, and says so.
    Error,
    /// It is done, and says that it failed.
    Lost,
    /// Half of it is done, and it says that it failed.
    Torn,
    /// It is done late.
    Delay,
    /// It is not done, and nor is anything after it until [`FaultyStore::heal`].
    Outage,
}

/// What goes wrong, and when.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Plan {
    /// Nothing.
    Never,
    /// One operation, counted from zero; an outage begins with it.
    At { number: u64, fault: Fault },
    /// An outage, and another one so many operations after the first was healed.
    Outages { number: u64, after: u64 },
}

/// The store; clones are handles of the same one.
#[derive(Clone, Debug)]
pub(crate) struct FaultyStore(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    inner: InMemory,
    plan: Plan,
    /// Those since the first outage was healed do not count where there are two.
    operations: AtomicU64,
    healed: AtomicBool,
    again: AtomicU64,
    healed_again: AtomicBool,
    hit: Mutex<Option<String>>,
    torn: Mutex<Option<Path>>,
}

impl FaultyStore {
    pub(crate) fn new(plan: Plan) -> Self {
        Self(Arc::new(Shared {
            inner: InMemory::new(),
            plan,
            operations: AtomicU64::new(0),
            healed: AtomicBool::new(false),
            again: AtomicU64::new(0),
            healed_again: AtomicBool::new(false),
            hit: Mutex::new(None),
            torn: Mutex::new(None),
        }))
    }

    /// How many operations there were until it was healed.
    pub(crate) fn operations(&self) -> u64 {
        self.0.operations.load(Ordering::SeqCst)
    }

    /// What fails now fails no longer.
    pub(crate) fn heal(&self) {
        let second = matches!(self.0.plan, Plan::Outages { after, .. } if self.0.again.load(Ordering::SeqCst) > after);
        let healed = if second { &self.0.healed_again } else { &self.0.healed };
        healed.store(true, Ordering::SeqCst);
    }

    /// From now on nothing fails.
    pub(crate) fn heal_for_good(&self) {
        self.0.healed.store(true, Ordering::SeqCst);
        self.0.healed_again.store(true, Ordering::SeqCst);
    }

    /// What is stored, for whoever looks on: it never fails, and counts as no operation.
    pub(crate) fn beneath(&self) -> &InMemory {
        &self.0.inner
    }

    /// Whether the planned fault has come.
    pub(crate) fn was_hit(&self) -> bool {
        self.0.hit.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Whether the planned fault is an outage.
    pub(crate) fn is_outage(&self) -> bool {
        matches!(self.0.plan, Plan::At { fault: Fault::Outage, .. } | Plan::Outages { .. })
    }

    /// The object that was put in half.
    pub(crate) fn torn(&self) -> Option<Path> {
        self.0.torn.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The plan and the operation that it hit, for messages.
    pub(crate) fn hit(&self) -> String {
        let hit = self.0.hit.lock().unwrap_or_else(PoisonError::into_inner);
        format!("{:?}: {}", self.0.plan, hit.as_deref().unwrap_or("not reached"))
    }

    /// Counts an operation and tells what goes wrong with it.
    fn count(&self, what: &str, path: &dyn fmt::Display) -> Option<Fault> {
        let fault = if self.0.healed.load(Ordering::SeqCst) { self.again()? } else { self.first()? };
        self.0.hit.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| format!("{what} {path}"));
        Some(fault)
    }

    fn first(&self) -> Option<Fault> {
        let this = self.0.operations.fetch_add(1, Ordering::SeqCst);
        match self.0.plan {
            Plan::At { number, fault } => (this == number || fault == Fault::Outage && this > number).then_some(fault),
            Plan::Outages { number, .. } => (this >= number).then_some(Fault::Outage),
            Plan::Never => None,
        }
    }

    fn again(&self) -> Option<Fault> {
        let Plan::Outages { after, .. } = self.0.plan else { return None };
        if self.0.healed_again.load(Ordering::SeqCst) {
            return None;
        }
        (self.0.again.fetch_add(1, Ordering::SeqCst) >= after).then_some(Fault::Outage)
    }

    /// Runs an operation that can't be half done.
    async fn whole<T>(
        &self,
        what: &str,
        path: &(dyn fmt::Display + Sync),
        operation: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        match self.count(what, path) {
            Some(Fault::Error | Fault::Torn | Fault::Outage) => Err(failed()),
            Some(Fault::Lost) => {
                operation.await?;
                Err(failed())
            }
            Some(Fault::Delay) => {
                tokio::time::sleep(DELAY).await;
                operation.await
            }
            None => operation.await,
        }
    }

    /// What is listed, cut off after half where the listing is torn or its end is lost.
    fn listed(
        &self,
        prefix: Option<&Path>,
        list: BoxStream<'static, Result<ObjectMeta>>,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let fault = self.count("list", &prefix.cloned().unwrap_or_default());
        match fault {
            Some(Fault::Error | Fault::Outage) => futures::stream::iter([Err(failed())]).boxed(),
            Some(Fault::Torn | Fault::Lost) => async move {
                let all: Vec<_> = list.collect().await;
                let half = all.len() / 2;
                futures::stream::iter(all.into_iter().take(half).chain([Err(failed())]))
            }
            .flatten_stream()
            .boxed(),
            Some(Fault::Delay) => tokio::time::sleep(DELAY).map(|()| list).flatten_stream().boxed(),
            None => list,
        }
    }
}

fn failed() -> Error {
    Error::Generic { store: "faulty", source: "as planned".into() }
}

fn half(payload: &PutPayload) -> PutPayload {
    let whole: Vec<u8> = payload.iter().flatten().copied().collect();
    whole[..whole.len() / 2].to_vec().into()
}

#[async_trait]
impl ObjectStore for FaultyStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        match self.count("put", location) {
            Some(Fault::Torn) => {
                *self.0.torn.lock().unwrap_or_else(PoisonError::into_inner) = Some(location.clone());
                self.0.inner.put_opts(location, half(&payload), opts).await?;
                Err(failed())
            }
            Some(Fault::Error | Fault::Outage) => Err(failed()),
            Some(Fault::Lost) => {
                self.0.inner.put_opts(location, payload, opts).await?;
                Err(failed())
            }
            Some(Fault::Delay) => {
                tokio::time::sleep(DELAY).await;
                self.0.inner.put_opts(location, payload, opts).await
            }
            None => self.0.inner.put_opts(location, payload, opts).await,
        }
    }

    async fn put_multipart_opts(
        &self,
        _location: &Path,
        _opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        // Nothing here is large; the upload has its own tests beside the sealed store.
        Err(Error::NotImplemented { operation: "put_multipart".into(), implementer: "faulty".into() })
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let head = options.head;
        let fault = self.count(if head { "head" } else { "get" }, location);
        match fault {
            Some(Fault::Error | Fault::Outage | Fault::Lost) => return Err(failed()),
            Some(Fault::Torn) if head => return Err(failed()),
            Some(Fault::Delay) => tokio::time::sleep(DELAY).await,
            Some(Fault::Torn) | None => {}
        }
        let found = self.0.inner.get_opts(location, options).await?;
        if fault != Some(Fault::Torn) {
            return Ok(found);
        }
        let (meta, range, attributes) = (found.meta.clone(), found.range.clone(), found.attributes.clone());
        let bytes: Bytes = found.bytes().await?;
        let arrives = bytes.slice(..bytes.len() / 2);
        let stream = futures::stream::iter([Ok(arrives), Err(failed())]).boxed();
        Ok(GetResult {
            payload: GetResultPayload::Stream(stream),
            meta,
            range,
            attributes,
            extensions: Extensions::new(),
        })
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let store = self.clone();
        let delete = move |location: Result<Path>| {
            let store = store.clone();
            async move {
                let location = location?;
                store.whole("delete", &location, store.0.inner.delete(&location)).await?;
                Ok(location)
            }
        };
        locations.then(delete).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.listed(prefix, self.0.inner.list(prefix))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let path = prefix.cloned().unwrap_or_default();
        self.whole("list", &path, self.0.inner.list_with_delimiter(prefix)).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.whole("copy", from, self.0.inner.copy_opts(from, to, options)).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.whole("rename", from, self.0.inner.rename_opts(from, to, options)).await
    }
}

impl fmt::Display for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("faulty")
    }
}
