//! The machine that is looked at: its files under one root, so that a test can be a machine, and which of its CPUs,
//! network device and disk the node uses.

use std::path::{Path, PathBuf};

use crate::{CpuSet, Error};

/// A machine, and what of it the node uses.
#[derive(Clone, Debug)]
pub struct Host {
    /// Where `/sys`, `/proc` and `/dev` are: `/` on a live system.
    pub root: PathBuf,
    /// The CPUs of the order path.
    pub order: CpuSet,
    /// The network device that members come in by.
    pub nic: Option<String>,
    /// The block device of the data directory, as a folder of sysfs: `/sys/block/nvme1n1`.
    pub disk: Option<PathBuf>,
    /// The data directory.
    pub data_dir: Option<PathBuf>,
}

impl Host {
    /// This machine, with these CPUs for the order path. The disk is found from the data directory, which need not
    /// be there yet: its nearest folder that is counts.
    #[must_use]
    pub fn live(order: CpuSet, nic: Option<String>, data_dir: Option<PathBuf>) -> Self {
        let disk = data_dir.as_deref().and_then(disk_of);
        Self { root: PathBuf::from("/"), order, nic, disk, data_dir }
    }

    /// Where `path`, absolute on the machine, is.
    #[must_use]
    pub fn at(&self, path: &Path) -> PathBuf {
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// The text of a file, without white space around it; `None` when there is no such file.
    ///
    /// # Errors
    /// When it is there and cannot be read.
    pub fn read(&self, path: &Path) -> Result<Option<String>, Error> {
        match std::fs::read_to_string(self.at(path)) {
            Ok(text) => Ok(Some(text.trim().to_owned())),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(Error::Read { path: path.to_owned(), source }),
        }
    }

    /// CPUs that are on.
    #[must_use]
    pub fn online(&self) -> CpuSet {
        self.cpu_list("/sys/devices/system/cpu/online")
    }

    /// CPUs that are on and not the order path's.
    #[must_use]
    pub fn housekeeping(&self) -> CpuSet {
        self.online().without(&self.order)
    }

    /// A list of CPUs in a file; empty when there is none.
    #[must_use]
    pub fn cpu_list(&self, path: &str) -> CpuSet {
        let text = self.read(Path::new(path)).ok().flatten();
        text.and_then(|text| text.parse().ok()).unwrap_or_default()
    }

    /// `text` with the host's own CPUs, network device and disk for `{order}`, `{housekeeping}`, `{nic}`, `{disk}` and
    /// `{data}`; `Err` names what the host has none of.
    ///
    /// # Errors
    /// The name of what is not known.
    pub fn fill(&self, text: &str) -> Result<String, &'static str> {
        let mut filled = text.to_owned();
        if filled.contains("{nic}") {
            filled = filled.replace("{nic}", self.nic.as_deref().ok_or("network device (--nic)")?);
        }
        if filled.contains("{disk}") {
            let disk = self.disk.as_deref().ok_or("data disk (--config)")?;
            filled = filled.replace("{disk}", &disk.display().to_string());
        }
        if filled.contains("{data}") {
            let dir = self.data_dir.as_deref().ok_or("data directory (--config)")?;
            filled = filled.replace("{data}", &dir.display().to_string());
        }
        if filled.contains("{order}") {
            if self.order.is_empty() {
                return Err("CPU of the order path (--cpus, or [placement] cpus)");
            }
            filled = filled.replace("{order}", &self.order.to_string());
        }
        Ok(filled.replace("{housekeeping}", &self.housekeeping().to_string()))
    }

    /// Files that match `pattern`, in which `*` stands for a part of one name; rising.
    #[must_use]
    pub fn glob(&self, pattern: &str) -> Vec<PathBuf> {
        let mut found = vec![PathBuf::from("/")];
        for part in pattern.split('/').filter(|part| !part.is_empty()) {
            found = found.iter().flat_map(|dir| self.children(dir, part)).collect();
        }
        found.sort();
        found
    }

    fn children(&self, dir: &Path, part: &str) -> Vec<PathBuf> {
        let Some((before, after)) = part.split_once('*') else {
            let path = dir.join(part);
            return if self.at(&path).exists() { vec![path] } else { Vec::new() };
        };
        let Ok(entries) = std::fs::read_dir(self.at(dir)) else { return Vec::new() };
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let matching = names.filter(|name| {
            name.len() >= before.len() + after.len() && name.starts_with(before) && name.ends_with(after)
        });
        matching.map(|name| dir.join(name)).collect()
    }
}

/// Pins the calling thread to `cpu`; `false` when that is not there or not for this process.
pub(crate) fn pin(cpu: usize) -> bool {
    if cpu >= rustix::thread::CpuSet::MAX_CPU {
        return false;
    }
    let mut one = rustix::thread::CpuSet::new();
    one.set(cpu);
    rustix::thread::sched_setaffinity(None, &one).is_ok()
}

/// The block device under `dir`, as a folder of sysfs; a partition's whole disk.
fn disk_of(dir: &Path) -> Option<PathBuf> {
    let dir = std::path::absolute(dir).ok()?;
    let there = dir.ancestors().find(|dir| dir.exists())?;
    let device = rustix::fs::stat(there).ok()?.st_dev;
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let device = std::fs::canonicalize(format!("/sys/dev/block/{major}:{minor}")).ok()?;
    if device.join("partition").exists() { device.parent().map(Path::to_owned) } else { Some(device) }
}
