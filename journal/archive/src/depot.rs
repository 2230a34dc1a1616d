//! Where an archive lies.

use std::io;
use std::path::{Path, PathBuf};

use ironbell_store::{Disk, Os};

use crate::error::Error;

/// A place that keeps objects by name.
pub trait Depot {
    /// Puts an object there, over one of the same name; durable on return, and never half there.
    ///
    /// # Errors
    /// [`Error::Depot`].
    fn put(&self, object: &str, bytes: &[u8]) -> Result<(), Error>;

    /// Makes durable what an earlier process put there, and may have been killed before it was: its names are seen before
    /// they are.
    ///
    /// # Errors
    /// [`Error::Depot`].
    fn settle(&self) -> Result<(), Error>;

    /// An object; `None` when there is none of that name.
    ///
    /// # Errors
    /// [`Error::Depot`].
    fn get(&self, object: &str) -> Result<Option<Vec<u8>>, Error>;

    /// As its owner names it.
    fn place(&self) -> String;
}

/// The depot at `place`: a folder, or `s3://BUCKET/PREFIX` in a build with the feature `s3`.
///
/// # Errors
/// [`Error::Place`].
pub fn open(place: &str) -> Result<Box<dyn Depot>, Error> {
    if place.contains("://") {
        return open_url(place);
    }
    let path = std::path::absolute(place).map_err(Error::io("find", Path::new(place)))?;
    if path.to_str().is_none_or(|path| path.contains('\n')) {
        let why = "its name is no line of text; choose another".to_owned();
        return Err(Error::Place { place: place.to_owned(), why });
    }
    Ok(Box::new(Folder::new(path)))
}

#[cfg(feature = "s3")]
fn open_url(place: &str) -> Result<Box<dyn Depot>, Error> {
    Ok(Box::new(crate::bucket::Bucket::open(place)?))
}

#[cfg(not(feature = "s3"))]
fn open_url(place: &str) -> Result<Box<dyn Depot>, Error> {
    let why = "this program was built without S3; build it with `cargo build --release --features s3`, or name a folder";
    Err(Error::Place { place: place.to_owned(), why: why.to_owned() })
}

/// A folder. Own code, because the local store of the `object_store` crate does not sync what it writes.
#[derive(Debug)]
pub struct Folder<D: Disk = Os> {
    disk: D,
    path: PathBuf,
}

impl Folder {
    /// The folder at this path; made when it is first used to put something there.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self::on(&Os, path)
    }
}

impl<D: Disk> Folder<D> {
    /// [`new`](Folder::new), in another world.
    #[must_use]
    pub fn on(disk: &D, path: impl Into<PathBuf>) -> Self {
        Self { disk: disk.clone(), path: path.into() }
    }

    fn failed<E: std::fmt::Display>(
        &self,
        what: &'static str,
        object: &str,
    ) -> impl FnOnce(E) -> Error + use<D, E> {
        let (object, place) = (object.to_owned(), self.place());
        move |error| Error::Depot { what, object, place, why: error.to_string() }
    }
}

impl<D: Disk> Depot for Folder<D> {
    fn put(&self, object: &str, bytes: &[u8]) -> Result<(), Error> {
        let written = ironbell_store::make_dirs(&self.disk, &self.path)
            .and_then(|()| ironbell_store::write_new(&self.disk, &self.path.join(object), bytes));
        written.map_err(self.failed("write", object))
    }

    fn settle(&self) -> Result<(), Error> {
        let made = ironbell_store::make_dirs(&self.disk, &self.path);
        made.map_err(self.failed("make the folder of", "manifest.json"))?;
        self.disk.sync_dir(&self.path).map_err(self.failed("sync the folder of", "manifest.json"))
    }

    fn get(&self, object: &str) -> Result<Option<Vec<u8>>, Error> {
        match crate::read(&self.disk, &self.path.join(object)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.failed("read", object)(error)),
        }
    }

    fn place(&self) -> String {
        self.path.display().to_string()
    }
}
