//! Loop devices and file systems, by the system's own tools; undone when dropped.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Failure;

fn run(command: &mut Command) -> Result<String, Failure> {
    let output = command.output().map_err(|e| format!("cannot run {command:?}: {e}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{command:?} failed, {}: {}", output.status, said.trim()).into());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Makes a file system in a file.
pub fn make_file_system(kind: &str, file: &Path) -> Result<(), Failure> {
    let mut command = match kind {
        "ext4" => {
            let mut command = Command::new("mkfs.ext4");
            command.args(["-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0"]);
            command
        }
        _ => {
            let mut command = Command::new("mkfs.xfs");
            command.args(["-q", "-f"]);
            command
        }
    };
    let made = run(command.arg(file).env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin"));
    made.map(|_| ())
        .map_err(|e| format!("no {kind} can be made (e2fsprogs or xfsprogs is needed): {e}").into())
}

/// A loop device over a file.
pub struct Loop(PathBuf);

impl Loop {
    pub fn attach(file: &Path) -> Result<Self, Failure> {
        let device = run(Command::new("losetup").args(["--find", "--show"]).arg(file))
            .map_err(|e| format!("no loop device (root and /dev/loop-control are needed): {e}"))?;
        Ok(Self(PathBuf::from(device)))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        if let Err(failure) = run(Command::new("losetup").arg("--detach").arg(&self.0)) {
            eprintln!("powercut: {failure}");
        }
    }
}

/// Does what a boot does when a file system does not mount: a write that was cut within the ext4 superblock
/// leaves one whose checksum is wrong, and there are copies of it.
pub fn repair(kind: &str, device: &Path) -> Result<(), Failure> {
    if kind != "ext4" {
        return Ok(());
    }
    let mut command = Command::new("fsck.ext4");
    command.arg("-y").arg(device).env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin");
    let output = command.output().map_err(|e| format!("cannot run {command:?}: {e}"))?;
    // fsck(8): 1 is "errors corrected".
    if output.status.code().is_none_or(|code| code > 1) {
        let said = String::from_utf8_lossy(&output.stdout);
        return Err(format!("{command:?} failed, {}: {}", output.status, said.trim()).into());
    }
    Ok(())
}

/// A mounted file system.
pub struct Mount(PathBuf);

impl Mount {
    pub fn new(device: &Path, dir: &Path, kind: &str) -> Result<Self, Failure> {
        run(Command::new("mount").args(["-t", kind, "-o", "noatime"]).arg(device).arg(dir))?;
        Ok(Self(dir.to_owned()))
    }

    pub fn dir(&self) -> &Path {
        &self.0
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // A killed writer's io_uring may hold its files for a moment after it is gone.
        for _ in 0..100 {
            match run(Command::new("umount").arg(&self.0)) {
                Ok(_) => return,
                Err(_) => std::thread::sleep(std::time::Duration::from_millis(20)),
            }
        }
        eprintln!("powercut: {} is still mounted", self.0.display());
    }
}
