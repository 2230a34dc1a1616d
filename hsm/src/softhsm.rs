//! SoftHSM2 in a directory of its own, for tests: a real PKCS#11 module without a device.
//!
//! A module is initialised once in a process and reads its configuration then, so each test that needs one runs
//! in a process of its own.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::scratch::Scratch;
use crate::{PinSource, Token, TokenConfig, init_token};

const DIRECTORY: &str = "IRONBELL_TEST_SOFTHSM";
const PIN: &str = "5071 bell";

/// The module, as Debian's package `softhsm2` and others install it.
pub fn module() -> PathBuf {
    let places = [
        "/usr/lib/softhsm/libsofthsm2.so",
        "/usr/lib64/softhsm/libsofthsm2.so",
        "/usr/lib64/pkcs11/libsofthsm2.so",
        "/usr/local/lib/softhsm/libsofthsm2.so",
    ];
    let found = places.into_iter().map(PathBuf::from).find(|path| path.exists());
    found.expect("SoftHSM2 is missing: run tests/setup.sh, or apt-get install softhsm2")
}

/// Runs `body` in a process of its own that sees a SoftHSM2 without tokens. `name` is the test's full name.
pub fn alone(name: &str, body: impl FnOnce(&Path)) {
    if let Some(directory) = std::env::var_os(DIRECTORY) {
        body(Path::new(&directory));
        return;
    }
    let scratch = Scratch::new(&name.replace("::", "-"));
    let run = again(name, scratch.path()).output().expect("this program");
    let (out, err) = (String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    assert!(out.contains("1 passed") && run.status.success(), "{name} in its own process:\n{out}\n{err}");
}

/// This program, to run the test of that name in `directory`.
pub fn again(name: &str, directory: &Path) -> Command {
    let tokens = directory.join("tokens");
    fs::create_dir_all(&tokens).expect("a scratch directory");
    let conf = directory.join("softhsm2.conf");
    let text = format!(
        "directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n",
        tokens.display()
    );
    // Another process may be reading it.
    if !conf.exists() {
        fs::write(&conf, text).expect("a scratch file");
    }
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args(["--exact", name, "--nocapture", "--test-threads=1"]);
    command.env("SOFTHSM2_CONF", conf).env(DIRECTORY, directory);
    command
}

/// How the token `label` is opened with the PIN of [`new_token`].
pub fn config(directory: &Path, label: &str) -> TokenConfig {
    let pin = directory.join("pin");
    if !pin.exists() {
        write_pin(&pin, PIN);
    }
    TokenConfig { module: module(), token: label.into(), pin: PinSource::File(pin), sessions_max: 4 }
}

/// Writes a PIN's file anew.
pub fn write_pin(path: &Path, pin: &str) {
    let _ = fs::remove_file(path);
    fs::write(path, format!("{pin}\n")).expect("a scratch file");
    fs::set_permissions(path, fs::Permissions::from_mode(0o400)).expect("it is ours");
}

/// Makes a token and logs in to it.
pub fn new_token(directory: &Path, label: &str) -> Arc<Token> {
    let pin = |text: &str| Zeroizing::new(text.to_owned());
    init_token(&module(), label, &pin("officer 1"), &pin(PIN)).expect("a new token");
    Token::open(config(directory, label)).expect("the PIN is right")
}

/// The right PIN.
pub fn right_pin(path: &Path) {
    write_pin(path, PIN);
}
