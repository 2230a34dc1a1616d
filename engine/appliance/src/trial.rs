//! A node of one's own for a trial: its own data directory, free ports on loopback, a process that can
//! be killed. The demo, `bench` and `replay-lobster` use it. The kernel kills it when the trial's own process ends,
//! however that ends.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, UdpSocket};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ironbell_client::market_data::Credentials;

use crate::admin::{self, Request, Status};
use crate::config::Config;
use crate::failure::Failure;
use crate::format;
use crate::inspection::Hashes;

/// A node under trial; it is killed when this is dropped.
pub struct TrialNode {
    dir: PathBuf,
    config_path: PathBuf,
    config: Config,
    program: PathBuf,
    child: Option<Child>,
    /// What an acknowledgement of it promises.
    pub durability: String,
}

/// The first line of a trial's `node.toml`: only folders that have it are ever removed.
const MARK: &str = "# A trial of ironbell; removed at the next trial.\n";

impl TrialNode {
    /// Formats a node in `dir`, which is replaced if it is an earlier trial's, with these further sections
    /// of its configuration, `[genesis]` among them. It runs `program`, or this very program. Durability is
    /// `disk` where the file system is on one, `buffered` elsewhere.
    ///
    /// # Errors
    /// When `dir` is something else, or cannot be written.
    pub fn prepare(dir: &Path, sections: &str, program: Option<&Path>) -> Result<Self, Failure> {
        Self::prepare_with(dir, sections, program, &[], false)
    }

    /// As [`TrialNode::prepare`], with `settings` of the configuration, `journal.in_flight` = `1`, set or replaced.
    /// With `formats_itself` the program makes its own data directory, as one of another version must.
    ///
    /// # Errors
    /// As [`TrialNode::prepare`]; and when a setting is none.
    pub fn prepare_with(
        dir: &Path,
        sections: &str,
        program: Option<&Path>,
        settings: &[(String, String)],
        formats_itself: bool,
    ) -> Result<Self, Failure> {
        let program = match program {
            Some(program) => program.to_owned(),
            None => std::env::current_exe()
                .map_err(|e| Failure::refused(format_args!("this program's own file: {e}")))?,
        };
        remove_earlier(dir)?;
        std::fs::create_dir_all(dir).map_err(|e| {
            Failure::file(dir, e, "run where you may write, or choose another folder with --dir")
        })?;
        let config_path = dir.join("node.toml");
        let mut refused = None;
        for durability in ["disk", "buffered"] {
            let text = with_settings(&config_text(sections, durability)?, settings)?;
            std::fs::write(&config_path, text)
                .map_err(|e| Failure::file(&config_path, e, "see that the disk has room"))?;
            let config = Config::read(&config_path)?;
            let formatted = if formats_itself {
                format_by(&program, &config_path)
            } else {
                format::format(&config).map(drop)
            };
            match formatted {
                Ok(()) => {
                    let durability = format!("{:?}", config.journal.durability).to_lowercase();
                    return Ok(Self {
                        dir: dir.to_owned(),
                        config_path,
                        config,
                        program,
                        child: None,
                        durability,
                    });
                }
                Err(failure) => refused = refused.or(Some(failure)),
            }
        }
        Err(refused.expect("both were refused"))
    }

    /// Starts the process and waits until it is ready; returns how long that took.
    ///
    /// # Errors
    /// When it ends instead: with what it said.
    pub fn start(&mut self) -> Result<Duration, Failure> {
        assert!(self.child.is_none(), "it runs");
        let log_path = self.dir.join("node.log");
        let log =
            File::create(&log_path).map_err(|e| Failure::file(&log_path, e, "see that the disk has room"))?;
        let begun = Instant::now();
        let mut child = self
            .command()
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .map_err(|e| Failure::file(&self.program, e, "see that it can be executed"))?;
        let mut line = String::new();
        let stdout = child.stdout.take().expect("it is piped");
        let read = BufReader::new(stdout).read_line(&mut line);
        if read.is_err() || !line.starts_with("ready") {
            let _ = child.kill();
            let _ = child.wait();
            let said = std::fs::read_to_string(&log_path).unwrap_or_default();
            let last = said.lines().last().unwrap_or("it said nothing").to_owned();
            return Err(Failure::refused(format_args!("the node did not start: {last}")));
        }
        self.child = Some(child);
        Ok(begun.elapsed())
    }

    /// The running process's number.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Starts the process and kills it after `life`, ready or not.
    ///
    /// # Errors
    /// When it cannot be executed.
    pub fn start_and_kill(&mut self, life: Duration) -> Result<(), Failure> {
        assert!(self.child.is_none(), "it runs");
        let child = self.command().stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        self.child = Some(child.map_err(|e| Failure::file(&self.program, e, "see that it can be executed"))?);
        std::thread::sleep(life);
        self.kill();
        Ok(())
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args([Path::new("run"), Path::new("--config"), &self.config_path]);
        command.args(["--trial-of", &std::process::id().to_string()]);
        command
    }

    /// From its next start on the process is `program`'s, which takes the same arguments: the program in other surroundings.
    pub fn run_by(&mut self, program: &Path) {
        self.program = program.to_owned();
    }

    /// Asks the process to stop in good order (SIGTERM); returns its exit code.
    ///
    /// # Errors
    /// When it does not run, or was ended by a signal.
    pub fn stop(&mut self) -> Result<i32, Failure> {
        let child = self.child.as_ref().ok_or_else(|| Failure::check("the node does not run"))?;
        let pid = rustix::process::Pid::from_child(child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).map_err(Failure::check)?;
        self.wait()
    }

    /// Waits until the process has ended; returns its exit code.
    ///
    /// # Errors
    /// When it does not run, or was ended by a signal.
    pub fn wait(&mut self) -> Result<i32, Failure> {
        let mut child = self.child.take().ok_or_else(|| Failure::check("the node does not run"))?;
        let status = child.wait().map_err(Failure::check)?;
        status.code().ok_or_else(|| Failure::check(format_args!("the node was ended by a signal: {status}")))
    }

    /// Ends the process with SIGKILL: no chance to say or write anything more.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// How the node is.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn status(&self) -> Result<Status, Failure> {
        admin::ask(&self.config.admin_socket(), &Request::Status)
    }

    /// Hashes of its state, once its shadow has followed everything: when two answers are the same.
    ///
    /// # Errors
    /// When it does not answer, or does not come to rest within a minute.
    pub fn hashes_at_rest(&self) -> Result<Hashes, Failure> {
        let mut before: Option<Hashes> = None;
        for _ in 0..600 {
            let hashes: Hashes = admin::ask(&self.config.admin_socket(), &Request::Hashes)?;
            if before.as_ref() == Some(&hashes) {
                return Ok(hashes);
            }
            before = Some(hashes);
            std::thread::sleep(Duration::from_millis(100));
        }
        Err(Failure::check("the node does not come to rest"))
    }

    /// Its configuration.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Its configuration's file.
    #[must_use]
    pub fn config_path(&self) -> &Path {
        &self.config_path
    }
}

impl Drop for TrialNode {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A process that is ended when this is dropped.
pub struct Ended(pub Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Has the kernel kill this process when the thread that started it ends, which a trial does on the thread
/// that sees it through. `parent` is the trial's process number.
///
/// # Errors
/// When the trial has ended already, or the kernel refuses.
pub fn end_with(parent: u32) -> Result<(), Failure> {
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL)).map_err(|e| {
        Failure::refused(format_args!("the kernel does not tie this trial to its parent: {e}"))
    })?;
    // The parent may have ended before the kernel was asked.
    if std::os::unix::process::parent_id() == parent {
        Ok(())
    } else {
        Err(Failure::refused("the trial that started this node has ended; start the trial again"))
    }
}

/// Market data asks nobody for a name.
#[must_use]
pub fn anyone() -> Credentials {
    Credentials { username: String::new(), password: String::new() }
}

/// How long a socket of a killed node may still answer.
const LETTING_GO_MAX: Duration = Duration::from_secs(3);

fn remove_earlier(dir: &Path) -> Result<(), Failure> {
    let is_empty = std::fs::read_dir(dir).map_or(true, |mut entries| entries.next().is_none());
    if is_empty {
        return Ok(());
    }
    if !std::fs::read_to_string(dir.join("node.toml")).is_ok_and(|text| text.starts_with(MARK)) {
        return Err(Failure::file(
            dir,
            "the folder holds something else than an earlier trial",
            "choose another with --dir",
        ));
    }
    // What io_uring holds of a killed process the kernel lets go a little after it: its listening sockets too.
    let asked = Instant::now();
    let is_up = || UnixStream::connect(dir.join("data/admin.sock")).is_ok();
    while is_up() && asked.elapsed() < LETTING_GO_MAX {
        std::thread::sleep(Duration::from_millis(20));
    }
    if is_up() {
        return Err(Failure::file(
            dir,
            "another trial is running there",
            "wait until it is over, or choose another folder with --dir",
        ));
    }
    std::fs::remove_dir_all(dir).map_err(|e| Failure::file(dir, e, "remove it by hand"))
}

/// Has a program make the data directory.
fn format_by(program: &Path, config: &Path) -> Result<(), Failure> {
    let run = Command::new(program).args([Path::new("format"), Path::new("--config"), config]).output();
    let output = run.map_err(|e| Failure::file(program, e, "see that it can be executed"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Failure::refused(format_args!("{} format: {}", program.display(), said.trim())))
}

/// The configuration with each setting put in its place; a value that is no TOML is text.
fn with_settings(text: &str, settings: &[(String, String)]) -> Result<String, Failure> {
    if settings.is_empty() {
        return Ok(text.to_owned());
    }
    let mut config: toml::Table = text.parse().map_err(Failure::refused)?;
    for (name, value) in settings {
        let none = || {
            Failure::refused(format_args!(
                "`{name}` is no setting; say it as section.field=value, such as journal.in_flight=1"
            ))
        };
        let (section, field) = name.split_once('.').ok_or_else(none)?;
        let of_section = config.entry(section).or_insert_with(|| toml::Table::new().into());
        let text = value.clone();
        let parsed = format!("value = {value}").parse::<toml::Table>().ok();
        let value = parsed.and_then(|mut parsed| parsed.remove("value"));
        let value = value.unwrap_or(toml::Value::String(text));
        of_section.as_table_mut().ok_or_else(none)?.insert(field.to_owned(), value);
    }
    let text = toml::to_string(&config).map_err(Failure::refused)?;
    Ok(format!("{MARK}{text}"))
}

/// A configuration on ports that are free now. All are held until all are chosen, so they differ.
fn config_text(sections: &str, durability: &str) -> Result<String, Failure> {
    let no_port = |e: std::io::Error| Failure::refused(format_args!("no free port on loopback: {e}"));
    let tcp: Vec<TcpListener> =
        (0..3).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<Result<_, _>>().map_err(no_port)?;
    let udp: Vec<UdpSocket> =
        (0..2).map(|_| UdpSocket::bind("127.0.0.1:0")).collect::<Result<_, _>>().map_err(no_port)?;
    let tcp: Vec<u16> =
        tcp.iter().map(|s| s.local_addr().map(|a| a.port())).collect::<Result<_, _>>().map_err(no_port)?;
    let udp: Vec<u16> =
        udp.iter().map(|s| s.local_addr().map(|a| a.port())).collect::<Result<_, _>>().map_err(no_port)?;
    Ok(format!(
        "{MARK}data_dir = \"data\"\n\n[order_entry]\nlisten = \"127.0.0.1:{}\"\n\n[feed]\ngroup = \"239.192.26.1:{}\"\n\
         rerequest = \"127.0.0.1:{}\"\n\n[service]\nitch = \"127.0.0.1:{}\"\nglimpse = \"127.0.0.1:{}\"\n\n\
         [journal]\ndurability = \"{durability}\"\n{sections}",
        tcp[0], udp[0], udp[1], tcp[1], tcp[2]
    ))
}
