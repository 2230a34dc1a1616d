//! What operators hear of a pair and may tell it; and who listens to them while the node does not lead.

use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use clap::Subcommand;
use ironbell_record::Point;
use ironbell_replica::control::{self, Alarm, Order, Standing};
use ironbell_replica::primary::Lag;
use ironbell_replica::{CommitRule, InSync, Mode};
use ironbell_runtime::Stop;
use ironbell_types::Seq;
use serde::{Deserialize, Serialize};

use crate::admin::{self, Request, Status};
use crate::failure::Failure;
use crate::service::listen_admin;

/// What an operator tells one node of a pair.
#[derive(Clone, Debug, PartialEq, Subcommand, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum PairAsk {
    /// First start of a pair: this node leads, the other one joins. Once, when etcd knows nothing of the venue yet.
    Bootstrap {
        /// Who says so; kept in etcd.
        #[arg(long, default_value = "")]
        approver: String,
    },
    /// This standby takes over now, whether the primary is there or not.
    Promote {
        /// Why; kept in etcd.
        #[arg(long)]
        reason: String,
        /// Who says so.
        #[arg(long, default_value = "")]
        approver: String,
    },
    /// This primary stops leading, at once; its standby takes over. See `switchover` for the way without a gap.
    Demote,
    /// This primary goes on without its standby, which cannot be promoted until it has joined again.
    Solo {
        /// Why; kept in etcd.
        #[arg(long)]
        reason: String,
        /// Who says so.
        #[arg(long, default_value = "")]
        approver: String,
    },
    /// A node that was away may join again: what it has that was never acknowledged is set aside.
    Rejoin,
    /// This primary finishes what it has and hands over to its standby.
    Switchover {
        /// Why; kept in etcd.
        #[arg(long, default_value = "planned")]
        reason: String,
        /// Who says so.
        #[arg(long, default_value = "")]
        approver: String,
    },
}

impl PairAsk {
    /// For control.
    #[must_use]
    pub fn order(self) -> Order {
        match self {
            Self::Bootstrap { approver } => Order::Bootstrap { approver },
            Self::Promote { reason, approver } => Order::Promote { reason, approver },
            Self::Demote => Order::Demote,
            Self::Solo { reason, approver } => Order::Solo { reason, approver },
            Self::Rejoin => Order::Rejoin,
            Self::Switchover { reason, approver } => Order::Switchover { reason, approver },
        }
    }

    /// The same, said by `who` where it names nobody.
    #[must_use]
    pub fn signed(mut self, who: &str) -> Self {
        match &mut self {
            Self::Bootstrap { approver }
            | Self::Promote { approver, .. }
            | Self::Solo { approver, .. }
            | Self::Switchover { approver, .. }
                if approver.is_empty() =>
            {
                who.clone_into(approver);
            }
            _ => {}
        }
        self
    }
}

/// An order and who waits for what becomes of it.
pub struct Asked {
    /// What.
    pub order: Order,
    /// Who.
    pub answer: Sender<Result<String, String>>,
}

/// How long an order may take.
pub const ORDER_MAX: Duration = Duration::from_secs(30);

/// A pair as one of its nodes sees it.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct PairStatus {
    /// Which node this is.
    pub node: u8,
    /// `standby`, `asking` to lead, `primary`, or `ended`: it starts again.
    pub standing: String,
    /// Members are let in.
    pub open: bool,
    /// The highest epoch it has promised.
    pub promised: u64,
    /// The register in etcd as last read: the epoch, who leads, the in-sync set, the mode, why and who said so.
    pub register: Option<RegisterStatus>,
    /// How it commits, if it leads.
    pub commits_by: Option<String>,
    /// What somebody should look at.
    pub alarms: Vec<String>,
    /// What it waits for; empty when for nothing.
    pub waits: String,
    /// Of a primary: how far its standby is behind; `None` while there is none.
    pub lag: Option<LagStatus>,
    /// Of a standby: commands that its primary has appended and it has not executed; `None` without a link.
    pub behind: Option<u64>,
    /// The last command executed here, while it follows.
    pub executed: u64,
    /// The last command on its disk, while it follows.
    pub durable: u64,
    /// Bytes that came of a snapshot, while it takes one.
    pub receives: Option<u64>,
    /// Why it stands still.
    pub halted: Option<String>,
}

impl PairStatus {
    /// For people: lines of a table.
    #[must_use]
    pub fn to_table(&self) -> String {
        use std::fmt::Write as _;
        let mut text = String::new();
        let mut row = |name: &str, value: &dyn std::fmt::Display| {
            writeln!(text, "{name:<14} {value}").expect("a string takes it");
        };
        let open = if self.standing == "primary" && !self.open { ", not open yet" } else { "" };
        row(
            "pair",
            &format_args!(
                "node {}, {}{open}; has promised epoch {}",
                self.node, self.standing, self.promised
            ),
        );
        match &self.register {
            Some(r) => {
                let by = if r.approver.is_empty() { String::new() } else { format!(", by {}", r.approver) };
                let in_sync: Vec<String> = r.in_sync.iter().map(u8::to_string).collect();
                row(
                    "register",
                    &format_args!(
                        "epoch {}: node {} leads, mode {}, in sync {}, acknowledged when {}; {}{by}",
                        r.epoch,
                        r.primary,
                        r.mode,
                        in_sync.join(" and "),
                        r.ack,
                        r.reason
                    ),
                );
            }
            None => row("register", &"none known"),
        }
        if let Some(commits_by) = &self.commits_by {
            row("commits by", commits_by);
        }
        if !self.waits.is_empty() {
            row("waits for", &self.waits);
        }
        match (&self.lag, self.standing.as_str()) {
            (Some(lag), _) => {
                let bytes = lag.bytes.map_or_else(|| "many".to_owned(), |bytes| bytes.to_string());
                row(
                    "standby",
                    &format_args!("{} commands behind, {bytes} bytes, {} ms", lag.commands, lag.ms),
                );
            }
            (None, "primary") => row("standby", &"not there"),
            (None, _) => {
                let behind = self.behind.map_or_else(
                    || "no primary is there".to_owned(),
                    |behind| format!("{behind} commands to be executed"),
                );
                row(
                    "follows",
                    &format_args!("seq {} executed, {} on the disk; {behind}", self.executed, self.durable),
                );
            }
        }
        if let Some(bytes) = self.receives {
            row("receives", &format_args!("a snapshot and the logs up to it: {bytes} bytes so far"));
        }
        for alarm in self.alarms.iter().chain(&self.halted) {
            row("ALARM", alarm);
        }
        text
    }
}

/// See [`PairStatus::register`].
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[expect(missing_docs, reason = "they are those of the register")]
pub struct RegisterStatus {
    pub epoch: u64,
    pub primary: u8,
    pub in_sync: Vec<u8>,
    pub mode: String,
    pub ack: String,
    pub reason: String,
    pub approver: String,
}

/// See [`PairStatus::lag`].
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct LagStatus {
    /// Commands that its disk lacks.
    pub commands: u64,
    /// Bytes of them; `None` when they are more than what is kept in memory.
    pub bytes: Option<u64>,
    /// Milliseconds since its disk had everything.
    pub ms: u64,
}

/// What is shown to operators, shared by who knows and who answers.
#[derive(Clone, Debug)]
pub struct View(Arc<Mutex<Status>>);

impl View {
    /// Of this node.
    #[must_use]
    pub fn new(node: u8) -> Self {
        let pair = PairStatus { node, standing: "standby".into(), ..PairStatus::default() };
        let order_entry = "none: this node does not lead".to_owned();
        Self(Arc::new(Mutex::new(Status { order_entry, pair: Some(pair), ..Status::default() })))
    }

    fn change(&self, change: impl FnOnce(&mut Status, &mut PairStatus)) {
        let mut status = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut pair = status.pair.take().unwrap_or_default();
        change(&mut status, &mut pair);
        status.pair = Some(pair);
    }

    /// How a node is that does not lead.
    #[must_use]
    pub fn status(&self) -> Status {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The pair alone.
    #[must_use]
    pub fn pair(&self) -> PairStatus {
        self.status().pair.unwrap_or_default()
    }

    /// A life begins with a recovery.
    pub fn recovered(&self, recovery: &admin::Recovered, durability: &str) {
        self.change(|status, _| {
            status.recovery = recovery.clone();
            status.durability = durability.to_owned();
        });
    }

    /// What control says.
    pub fn control(&self, status: &control::Status) {
        self.change(|shown, pair| {
            pair.standing = match status.standing {
                Standing::Standby => "standby",
                Standing::Asking => "asking",
                Standing::Primary => "primary",
                Standing::Ended => "ended",
            }
            .into();
            pair.open = status.open;
            pair.promised = status.promised;
            shown.epoch = status.promised;
            pair.waits = status.waits.into();
            pair.alarms = status.alarms.iter().map(|alarm| words(*alarm).to_owned()).collect();
            pair.commits_by = status.rule.map(|rule| {
                match rule {
                    CommitRule::Hold => "nothing: it hands over",
                    CommitRule::Alone => "this node",
                    CommitRule::Pair => "both nodes",
                    CommitRule::Joint => "both nodes, while one joins or leaves",
                }
                .into()
            });
            pair.register = status.register.as_ref().map(|register| RegisterStatus {
                epoch: register.epoch,
                primary: register.primary.number(),
                in_sync: match register.in_sync {
                    InSync::Only(node) => vec![node.number()],
                    InSync::Both => vec![1, 2],
                },
                mode: match register.mode {
                    Mode::Pair => "pair",
                    Mode::Alone => "alone",
                    Mode::Solo => "solo",
                }
                .into(),
                ack: register.ack.name().into(),
                reason: register.reason.clone(),
                approver: register.approver.clone(),
            });
        });
    }

    /// How far the standby is behind.
    pub fn lag(&self, lag: Option<Lag>) {
        self.change(|_, pair| {
            pair.lag = lag.map(|lag| LagStatus {
                commands: lag.commands,
                bytes: lag.bytes,
                ms: lag.time.0 / 1_000_000,
            });
            (pair.behind, pair.halted, pair.receives) = (None, None, None);
        });
    }

    /// How much came of a snapshot, while a node takes one.
    pub fn receiving(&self, bytes: Option<u64>) {
        self.change(|_, pair| pair.receives = bytes);
    }

    /// How far a node is that follows.
    pub fn following(&self, executed: Seq, durable: Point, behind: Option<u64>, halted: Option<&str>) {
        self.change(|status, pair| {
            status.seq = executed.0;
            (pair.executed, pair.durable, pair.behind) = (executed.0, durable.seq.0, behind);
            (pair.lag, pair.halted) = (None, halted.map(str::to_owned));
        });
    }
}

/// What an alarm means.
#[must_use]
pub fn words(alarm: Alarm) -> &'static str {
    match alarm {
        Alarm::StandbyLost => {
            "the standby is lost: nothing is committed until it is back, or `ironbell ctl solo`"
        }
        Alarm::ByItself => "this node acknowledges by itself: what it alone has is lost with it",
        Alarm::RegisterUnreachable => "etcd cannot be reached: trading goes on, but nobody can take over",
        Alarm::RegisterLost => {
            "who leads is gone from etcd, or older than it was: was etcd restored from a backup?"
        }
        Alarm::HistoryMissing => {
            "the journal lacks what this node is known to have had: was its disk replaced?"
        }
        Alarm::CutOfMember => {
            "this node was asked to cut back what may have been acknowledged, and stands still"
        }
        Alarm::Diverged => "the two journals are not one history",
        Alarm::Halted => "this node has found something wrong with itself and stands still",
    }
}

/// Listens on the admin socket while the node does not lead.
pub struct Desk {
    stop: Stop,
    thread: Option<JoinHandle<()>>,
    path: PathBuf,
}

/// Between two looks whether somebody has connected.
const PAUSE: Duration = Duration::from_millis(5);
/// How long a line of who connects may take.
const LINE_MAX: Duration = Duration::from_millis(500);
/// More bytes than this without a line end are no request.
const LINE_BYTES_MAX: u64 = 64 << 10;

impl Desk {
    /// Starts it.
    ///
    /// # Errors
    /// When the socket cannot be made, or there is no thread.
    pub fn start(path: &Path, asks: Sender<Asked>, view: View) -> Result<Self, Failure> {
        let listener = listen_admin(path, |path| UnixListener::bind(path))?;
        let nonblocking = listener.set_nonblocking(true);
        nonblocking.map_err(|e| Failure::file(path, e, "see that the folder is yours"))?;
        let stop = Stop::default();
        let stopped = stop.clone();
        let work = move || {
            while !stopped.asked() {
                match listener.accept() {
                    Ok((stream, _)) => answer(stream, &asks, &view),
                    Err(_) => std::thread::sleep(PAUSE),
                }
            }
        };
        let thread =
            std::thread::Builder::new().name("desk".into()).spawn(work).map_err(Failure::no_thread)?;
        Ok(Self { stop, thread: Some(thread), path: path.to_owned() })
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        self.stop.ask();
        let _ = self.thread.take().map(JoinHandle::join);
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Answers one request and hangs up, but for an order, whose outcome may take a while: that is waited for elsewhere.
fn answer(stream: UnixStream, asks: &Sender<Asked>, view: &View) {
    let _ = stream.set_nonblocking(false);
    let _ = stream.set_read_timeout(Some(LINE_MAX));
    let mut line = String::new();
    if BufReader::new((&stream).take(LINE_BYTES_MAX)).read_line(&mut line).is_err() {
        return;
    }
    let answer = match admin::request(&line) {
        Ok(Request::Status) => admin::json(&view.status()),
        Ok(Request::Pair { ask }) => {
            let told = tell(ask, asks);
            // The desk must not stand still meanwhile.
            let _ = std::thread::Builder::new().name("order".into()).spawn(move || {
                let answer = match told.recv_timeout(ORDER_MAX) {
                    Ok(Ok(done)) => admin::json(&done),
                    Ok(Err(why)) => admin::refusal(&why),
                    Err(_) => admin::refusal(&UNDECIDED),
                };
                say(stream, &answer);
            });
            return;
        }
        Ok(_) => admin::refusal(
            &"this node does not lead; ask the other one, or look at its journal with `ironbell inspect` when it is stopped",
        ),
        Err(refusal) => refusal,
    };
    say(stream, &answer);
}

/// What is said when nothing is known.
pub const UNDECIDED: &str = "nothing is decided after 30 s; it may still be done: see `ironbell status`";

/// Sends an order on; what becomes of it comes back.
#[must_use]
pub fn tell(ask: PairAsk, asks: &Sender<Asked>) -> mpsc::Receiver<Result<String, String>> {
    let (answer, told) = mpsc::channel();
    // Whoever listens lives as long as the program.
    let _ = asks.send(Asked { order: ask.order(), answer });
    told
}

fn say(mut stream: UnixStream, answer: &str) {
    // Who asked may have gone.
    let _ = stream.set_write_timeout(Some(LINE_MAX));
    let _ = stream.write_all(answer.as_bytes()).and_then(|()| stream.write_all(b"\n"));
}
