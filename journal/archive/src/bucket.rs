//! A store that speaks S3.

use std::future::Future;

use object_store::ObjectStoreExt;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path;
use tokio::runtime::Runtime;

use crate::depot::Depot;
use crate::error::Error;

/// A bucket, and the prefix of its objects. Credentials, region and endpoint come from the environment, as the S3 tools have
/// them: `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_REGION`, `AWS_ENDPOINT` and so on.
pub(crate) struct Bucket {
    store: AmazonS3,
    prefix: Path,
    place: String,
    runtime: Runtime,
}

impl Bucket {
    pub fn open(place: &str) -> Result<Self, Error> {
        let refused = |why: String| Error::Place { place: place.to_owned(), why };
        let Some(rest) = place.strip_prefix("s3://") else {
            return Err(refused("it must be a folder or s3://BUCKET/PREFIX".to_owned()));
        };
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let prefix = Path::parse(prefix).map_err(|error| refused(error.to_string()))?;
        let store = AmazonS3Builder::from_env().with_bucket_name(bucket).build();
        let store = store.map_err(|error| refused(error.to_string()))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| refused(error.to_string()))?;
        Ok(Self { store, prefix, place: place.to_owned(), runtime })
    }

    fn wait<T>(
        &self,
        what: &'static str,
        object: &str,
        asked: impl Future<Output = object_store::Result<T>>,
    ) -> Result<T, Error> {
        self.runtime.block_on(asked).map_err(|error| {
            let why = error.to_string();
            Error::Depot { what, object: object.to_owned(), place: self.place(), why }
        })
    }
}

impl Depot for Bucket {
    fn put(&self, object: &str, bytes: &[u8]) -> Result<(), Error> {
        let at = self.prefix.clone().join(object);
        let asked = self.store.put(&at, bytes.to_vec().into());
        self.wait("write", object, asked).map(drop)
    }

    /// A store has an object once it has said so, whoever asked.
    fn settle(&self) -> Result<(), Error> {
        Ok(())
    }

    fn get(&self, object: &str) -> Result<Option<Vec<u8>>, Error> {
        let at = self.prefix.clone().join(object);
        let asked = async {
            match self.store.get(&at).await {
                Err(object_store::Error::NotFound { .. }) => Ok(None),
                Err(error) => Err(error),
                Ok(found) => found.bytes().await.map(|bytes| Some(bytes.to_vec())),
            }
        };
        self.wait("read", object, asked)
    }

    fn place(&self) -> String {
        self.place.clone()
    }
}
