//! `ironbell format`: a data directory whose journal begins with the genesis.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ironbell_core::Engine;
use ironbell_hsm::{KeyFile, open_wrap};
use ironbell_runtime::{Clock, SystemClock};
use ironbell_store::{DataKey, Identity, WrappedKey};
use ironbell_types::{Command, Event, EventBody, Nanos, Seq, Sequenced};

use crate::config::Config;
use crate::failure::Failure;
use crate::operator;
use crate::recovery::engine_config;

/// `ironbell key`: a new key file.
///
/// # Errors
/// When the file is there already or cannot be made.
pub fn key(path: &Path) -> Result<(), Failure> {
    KeyFile::create(path).map_err(Failure::refused)?;
    // Whoever asked may have closed the pipe already.
    let _ = writeln!(
        std::io::stdout(),
        "made {}; keep a copy off this machine: without it a journal that it protects cannot be read",
        path.display()
    );
    Ok(())
}

/// Makes the data directory of the node that `path` configures.
///
/// # Errors
/// When the directory is there already, the genesis is wrong, or the disk refuses. Nothing is left behind.
pub fn run(path: &Path) -> Result<(), Failure> {
    let config = Config::read(path)?;
    let summary = format(&config)?;
    // Whoever asked may have closed the pipe already.
    let _ = writeln!(
        std::io::stdout(),
        "formatted {} ({summary}); next: ironbell run --config {}",
        config.data_dir.display(),
        path.display()
    );
    Ok(())
}

/// As [`run`], from a configuration in memory; returns a summary for people.
///
/// # Errors
/// As [`run`].
pub fn format(config: &Config) -> Result<String, Failure> {
    if config.genesis.instruments.is_empty() {
        return Err(Failure::refused(
            "the configuration has no [genesis] with instruments, firms and ports; engine/appliance/node.toml is an example",
        ));
    }
    let now = SystemClock.now();
    let commands =
        config.genesis.commands(now, random).map_err(|e| Failure::refused(format_args!("genesis: {e}")))?;
    let identity = Identity { cluster: random(), key: u64::from_le_bytes(random()) };
    let frame = sequence(&commands, now);
    check(identity.key, &frame)?;

    make_whole(config, |dir| write(config, dir, identity, &frame))?;
    let genesis = &config.genesis;
    Ok(format!(
        "{} instruments, {} ports, {} commands journaled",
        genesis.instruments.len(),
        genesis.ports.len(),
        frame.len()
    ))
}

/// Has `make` fill the data directory, under a temporary name: it appears whole or not at all.
fn make_whole(config: &Config, make: impl FnOnce(&Path) -> Result<(), Failure>) -> Result<(), Failure> {
    let data_dir = &config.data_dir;
    if std::fs::read_dir(data_dir).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(Failure::file(
            data_dir,
            "the data directory is not empty",
            "choose another, or remove it if its journal is not needed",
        ));
    }
    if let Some(parent) = data_dir.parent().filter(|p| !p.as_os_str().is_empty()) {
        std::fs::create_dir_all(parent)
            .map_err(|e| Failure::file(parent, e, "choose a folder that you may write"))?;
    }
    let temporary = Temporary::new(data_dir)?;
    make(&temporary.0)?;
    std::fs::rename(&temporary.0, data_dir)
        .and_then(|()| {
            std::fs::File::open(
                data_dir.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new(".")),
            )?
            .sync_all()
        })
        .map_err(|e| Failure::file(data_dir, e, "choose a folder that you may write"))
}

/// Makes the data directory of a standby that has nothing yet: an empty journal of the venue of the other node, which runs.
/// What happened so far comes over the link when it follows.
///
/// # Errors
/// When the directory is there already, the other node cannot be reached, or the disk refuses.
pub fn standby(path: &Path) -> Result<(), Failure> {
    let config = Config::read(path)?;
    let Some(ha) = &config.ha else {
        return Err(Failure::refused(
            "--standby is for a node of a pair: there is no [ha] in the configuration",
        ));
    };
    let identity = crate::ha::identity_of_peer(ha)?;
    make_whole(&config, |dir| {
        let (data_key, wrapped_key) = new_data_key(&config)?;
        ironbell_store::format(&dir.join("journal"), identity, &config.store_options(data_key), wrapped_key)?;
        Ok(())
    })?;
    let _ = writeln!(
        std::io::stdout(),
        "formatted {} as a standby, with nothing in it yet; next: ironbell run --config {}",
        config.data_dir.display(),
        path.display()
    );
    Ok(())
}

/// Random bytes from the kernel.
///
/// # Panics
/// When it has none.
#[must_use]
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the kernel gives random bytes");
    bytes
}

fn sequence(commands: &[Command], time: Nanos) -> Vec<Sequenced> {
    commands
        .iter()
        .zip(1..)
        .map(|(command, seq)| Sequenced { seq: Seq(seq), time, command: *command })
        .collect()
}

/// Executes the genesis once before it is written: what the state machine refuses is refused here.
fn check(key: u64, frame: &[Sequenced]) -> Result<(), Failure> {
    let mut engine = Engine::new(engine_config(key));
    let mut events: Vec<Event> = Vec::new();
    for command in frame {
        events.clear();
        engine.execute(command, &mut events);
        for event in &events {
            if let EventBody::AdminRefused(why) = event.body {
                return Err(Failure::refused(format_args!(
                    "genesis: {:?} is refused ({why:?}): {}",
                    command.command,
                    operator::refused(&command.command, why)
                )));
            }
        }
    }
    Ok(())
}

/// Commands of a frame here: a port with its credential takes more bytes than an order.
const FRAME_COMMANDS: usize = 256;

fn write(config: &Config, dir: &Path, identity: Identity, commands: &[Sequenced]) -> Result<(), Failure> {
    let (data_key, wrapped_key) = new_data_key(config)?;
    let (journal, options) = (dir.join("journal"), config.store_options(data_key));
    ironbell_store::format(&journal, identity, &options, wrapped_key)?;
    let (_, mut writer, mut maker) = ironbell_store::open(&journal, &options)?;
    for frame in commands.chunks(FRAME_COMMANDS) {
        while !writer.can_begin() {
            maker.poll()?;
            writer.poll()?;
        }
        writer.append(frame, Seq(frame[0].seq.0 - 1), (Seq(0), 0))?;
    }
    writer.seal()?;
    Ok(())
}

/// A new key for the journal's records and what it is wrapped to, if the configuration wants them enciphered.
fn new_data_key(config: &Config) -> Result<(Option<Arc<DataKey>>, WrappedKey), Failure> {
    let Some(key_file) = &config.journal.key_file else { return Ok((None, WrappedKey::NONE)) };
    let wrap = open_wrap(key_file).map_err(Failure::refused)?;
    let key = ironbell_hsm::new_key().map_err(Failure::refused)?;
    let wrapped = wrap.wrap(&key).map_err(Failure::refused)?;
    let wrapped = WrappedKey::new(&wrapped).expect("a key wraps to 61 bytes");
    Ok((Some(Arc::new(DataKey::new(&key))), wrapped))
}

/// A directory that goes when it is not renamed.
struct Temporary(PathBuf);

impl Temporary {
    fn new(beside: &Path) -> Result<Self, Failure> {
        let mut name = beside.file_name().unwrap_or_default().to_owned();
        name.push(format!(".new-{}", std::process::id()));
        let path = beside.with_file_name(name);
        std::fs::create_dir(&path)
            .map_err(|e| Failure::file(&path, e, "choose a folder that you may write"))?;
        Ok(Self(path))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // After the rename it is not there any more, and that is as it should be.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
