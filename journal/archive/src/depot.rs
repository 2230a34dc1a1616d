//! Where an archive lies.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::error::Error;

/// A place that keeps objects by name.
pub trait Depot {
    /// Puts an object there, over one of the same name; durable on return, and never half there.
    ///
    /// # Errors
    /// [`Error::Depot`].
    fn put(&self, object: &str, bytes: &[u8]) -> Result<(), Error>;

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
pub struct Folder(PathBuf);

impl Folder {
    /// The folder at this path; made when something is first put there.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        if !self.0.is_dir() {
            DirBuilder::new().recursive(true).mode(0o700).create(&self.0)?;
            File::open(self.0.parent().unwrap_or(&self.0))?.sync_all()?;
        }
        let mut making = path.as_os_str().to_owned();
        making.push(".making");
        let mut options = File::options();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&making)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&making, path)?;
        File::open(&self.0)?.sync_all()
    }

    fn failed(&self, what: &'static str, object: &str) -> impl FnOnce(io::Error) -> Error {
        let (object, place) = (object.to_owned(), self.place());
        move |error| Error::Depot { what, object, place, why: error.to_string() }
    }
}

impl Depot for Folder {
    fn put(&self, object: &str, bytes: &[u8]) -> Result<(), Error> {
        self.write(&self.0.join(object), bytes).map_err(self.failed("write", object))
    }

    fn get(&self, object: &str) -> Result<Option<Vec<u8>>, Error> {
        match fs::read(self.0.join(object)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.failed("read", object)(error)),
        }
    }

    fn place(&self) -> String {
        self.0.display().to_string()
    }
}
