//! A store that writes a manifest and does not say so.

use std::fmt;

use async_trait::async_trait;
use futures::stream::BoxStream;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, path::Path,
};

use super::Store;

/// What comes in place of the answer.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Instead {
    /// That there is such an object already, which a repeated request finds.
    Exists,
    /// Another error.
    Failure,
    /// Nothing.
    Silence,
}

/// A store that does so with the manifests whose path begins with this.
#[derive(Debug)]
pub(crate) struct Unanswered(pub(crate) Store, pub(crate) &'static str, pub(crate) Instead);

impl fmt::Display for Unanswered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[async_trait]
impl ObjectStore for Unanswered {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        let put = self.0.put_opts(location, payload, opts).await?;
        let path = location.to_string();
        if !path.starts_with(self.1) {
            return Ok(put);
        }
        match self.2 {
            Instead::Exists => Err(Error::AlreadyExists { path, source: "repeated".into() }),
            Instead::Failure => Err(Error::Generic { store: "memory", source: "the connection broke".into() }),
            Instead::Silence => std::future::pending().await,
        }
    }

    async fn put_multipart_opts(&self, location: &Path, opts: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.0.put_multipart_opts(location, opts).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.0.get_opts(location, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.0.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.0.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.0.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.0.copy_opts(from, to, options).await
    }
}
