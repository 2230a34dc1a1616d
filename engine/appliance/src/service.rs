//! The service role: everything that need not be fast, on one glommio executor off the order path.
//!
//! It pumps the shadow, serves ITCH over SoupBinTCP and GLIMPSE snapshots, and what was signed to HTTP, and answers the
//! local admin socket. What it says comes from the shadow and from the feed log, never from the running shard.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use futures_lite::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, StreamExt};
use glommio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use glommio::sync::Semaphore;
use glommio::timer::sleep;
use glommio::{LocalExecutorBuilder, Placement};
use ironbell_feed::{Channel, GlimpseSession, ItchSession, Snapshot};
use ironbell_runtime::clock::boot_time;
use ironbell_runtime::{Clock, Stop, SystemClock};
use ironbell_sync::{DueReader, Producer};
use ironbell_types::{Inbound, Nanos, Phase};
use rustix::net::addr::SocketAddrArg;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use crate::admin::{self, Request};
use crate::failure::Failure;
use crate::feed_session::FeedSession;
use crate::ha::desk::{self, Asked, PairAsk, View};
use crate::operator::{self, Ask, Told};
use crate::scribe::Scribe;
use crate::shadow::Shadow;
use crate::telemetry::span;

/// A session over a byte stream, sans I/O, as the feed's service sessions are.
pub trait ByteSession {
    /// Bytes came in.
    fn receive(&mut self, bytes: &[u8]);
    /// Time passes; heartbeats and whatever the log has for it become output. Bounded work.
    fn poll(&mut self, now: Nanos);
    /// Bytes to be sent.
    fn output(&self) -> &[u8];
    /// The first `n` bytes of the output are sent.
    fn sent(&mut self, n: usize);
    /// The connection is to be closed once the output is sent.
    fn is_over(&self) -> bool;
}

impl ByteSession for ItchSession {
    fn receive(&mut self, bytes: &[u8]) {
        Self::receive(self, bytes);
    }
    fn poll(&mut self, now: Nanos) {
        Self::poll(self, now);
    }
    fn output(&self) -> &[u8] {
        Self::output(self)
    }
    fn sent(&mut self, n: usize) {
        Self::sent(self, n);
    }
    fn is_over(&self) -> bool {
        Self::is_over(self)
    }
}

impl<F: FnMut() -> Option<Snapshot>> ByteSession for GlimpseSession<F> {
    fn receive(&mut self, bytes: &[u8]) {
        Self::receive(self, bytes);
    }
    fn poll(&mut self, now: Nanos) {
        Self::poll(self, now);
    }
    fn output(&self) -> &[u8] {
        Self::output(self)
    }
    fn sent(&mut self, n: usize) {
        Self::sent(self, n);
    }
    fn is_over(&self) -> bool {
        Self::is_over(self)
    }
}

/// What the service role is given.
pub struct Plan {
    /// Where ITCH over SoupBinTCP is served.
    pub itch: SocketAddr,
    /// Where GLIMPSE is served.
    pub glimpse: SocketAddr,
    /// The admin socket's path.
    pub admin: PathBuf,
    /// The CPU to pin the executor to.
    pub cpu: Option<usize>,
    /// The follower that answers.
    pub shadow: Shadow,
    /// Who writes down what roles say.
    pub scribe: Scribe,
    /// Where the feed's messages are read.
    pub channel: Channel,
    /// The path of the socket for the signing process, if there may be one.
    pub signing: Option<PathBuf>,
    /// What the admin socket needs beside the shadow.
    pub context: admin::Context,
    /// The folder that `ironbell sign` publishes, served to HTTP on ITCH's port.
    pub site: Option<PathBuf>,
    /// Operators' commands, to the sequencer.
    pub admin_sequencer: Producer<Inbound>,
    /// Of a node of a pair: where its operators' orders go, and what they are shown.
    pub pair: Option<(mpsc::Sender<Asked>, View)>,
    /// Until when reads may be served; see [`ironbell_runtime::release::Connections::permission`].
    pub permission: Option<DueReader>,
}

/// The addresses it listens on, with the ports that the kernel chose.
#[derive(Clone, Copy, Debug)]
pub struct Listening {
    /// ITCH over SoupBinTCP.
    pub itch: SocketAddr,
    /// GLIMPSE.
    pub glimpse: SocketAddr,
}

/// How often the shadow is pumped and quiet sessions are looked at.
const PUMP: Duration = Duration::from_millis(1);
/// How often on an idle node: its ring takes what a busy one sequences in much longer.
const PUMP_IDLE: Duration = Duration::from_millis(20);
/// Memory registered with the executor's rings: an ordinary user may lock 8 MiB in all.
const IO_MEMORY: usize = 1 << 20;

/// Connections at a time to each of the two TCP services. The order path shares this process's file
/// descriptors: who opens a thousand connections here must not keep a member or the next segment out.
pub const CONNECTIONS_MAX: usize = 128;
/// How long one write of at most an output buffer may take.
const WRITE_MAX: Duration = Duration::from_secs(30);

/// Starts the executor's thread and waits until it listens.
///
/// # Errors
/// When an address is taken or may not be used, or the kernel makes no io_uring.
pub fn start(plan: Plan, stop: Stop) -> Result<(Listening, JoinHandle<()>), Failure> {
    let (tell, told) = mpsc::channel();
    let thread = std::thread::Builder::new()
        .name("service".into())
        .spawn(move || {
            let placement = plan.cpu.map_or(Placement::Unbound, Placement::Fixed);
            let executor = LocalExecutorBuilder::new(placement).io_memory(IO_MEMORY).ring_depth(64).name("service").make();
            match executor {
                Ok(executor) => executor.run(serve(plan, stop, tell)),
                Err(e) => {
                    let _ = tell.send(Err(Failure::refused(format_args!(
                        "the service role gets no io_uring ({e}); see that kernel.io_uring_disabled is 0 and ulimit -l at least 8192"
                    ))));
                }
            }
        })
        .map_err(|e| Failure::refused(format_args!("no thread for the service role ({e}); raise the process limit")))?;
    let listening =
        told.recv().unwrap_or_else(|_| Err(Failure::refused("the service role ended before it listened")))?;
    Ok((listening, thread))
}

async fn serve(plan: Plan, stop: Stop, tell: mpsc::Sender<Result<Listening, Failure>>) {
    let Plan {
        itch,
        glimpse,
        admin: admin_path,
        signing: signing_path,
        cpu: _,
        shadow,
        mut scribe,
        channel,
        context,
        site,
        admin_sequencer,
        pair,
        permission,
    } = plan;
    let bound = (|| {
        let itch = listen("service.itch", itch)?;
        let glimpse = listen("service.glimpse", glimpse)?;
        let admin = listen_admin(&admin_path, |path| UnixListener::bind(path).map_err(io::Error::from))?;
        let signing = signing_path.as_deref().map(listen_signing).transpose()?;
        Ok((itch, glimpse, admin, signing))
    })();
    let (itch, glimpse, admin_listener, signing_listener) = match bound {
        Ok(bound) => bound,
        Err(failure) => {
            let _ = tell.send(Err(failure));
            return;
        }
    };
    let listening = Listening {
        itch: itch.local_addr().expect("a bound listener has an address"),
        glimpse: glimpse.local_addr().expect("a bound listener has an address"),
    };
    let clock = Instant::now();
    let tasks = Tasks::new(stop.clone());
    let shadow = Rc::new(RefCell::new(shadow));
    let context = Rc::new(admin::Context { listening: Some(listening), ..context });
    let desk = Rc::new(Desk {
        shadow: Rc::clone(&shadow),
        turn: Semaphore::new(1),
        sequencer: RefCell::new(admin_sequencer),
        pair,
        permission: permission.clone(),
        sent: Cell::new(0),
    });

    let sessions = ironbell_session::Config::default();
    let (config, feed) = (sessions, channel.clone());
    let site: Option<Rc<Path>> = site.map(Into::into);
    let itch_session =
        move |now| FeedSession::new(ItchSession::new(&config, None, feed.clone(), now), site.clone());
    tasks.spawn_listener(accept_all(itch, clock, tasks.clone(), itch_session));
    let theirs = Rc::clone(&shadow);
    let glimpse_session = move |now| {
        let shadow = Rc::clone(&theirs);
        let permission = permission.clone();
        let snapshot =
            move || if is_permitted(permission.as_ref()) { shadow.borrow().snapshot() } else { None };
        GlimpseSession::new(&sessions, None, channel.clone(), snapshot, now)
    };
    tasks.spawn_listener(accept_all(glimpse, clock, tasks.clone(), glimpse_session));
    let doors = [(Some(admin_listener), Whose::Operator), (signing_listener, Whose::Signing)];
    for (listener, whose) in doors.into_iter().filter_map(|(listener, whose)| Some((listener?, whose))) {
        let (theirs, desk, context) = (tasks.clone(), Rc::clone(&desk), Rc::clone(&context));
        tasks.spawn_listener(async move {
            while let Some(connection) = listener.incoming().next().await {
                if theirs.stop.asked() {
                    return;
                }
                match connection {
                    Ok(stream) => {
                        let answering = Rc::clone(&theirs.answering);
                        let (desk, context) = (Rc::clone(&desk), Rc::clone(&context));
                        theirs.spawn(answer_admin(stream, whose, desk, context, answering));
                    }
                    Err(e) => {
                        tracing::warn!(error = %e, "the admin socket accepts nothing; trying again");
                        sleep(Duration::from_millis(100)).await;
                    }
                }
            }
        });
    }
    let _ = tell.send(Ok(listening));

    let mut rest = PUMP;
    while !stop.asked() {
        let pumped = shadow.borrow_mut().pump();
        scribe.write(shadow.borrow().engine());
        if pumped > 0 {
            rest = PUMP;
            glommio::yield_if_needed().await;
        } else {
            sleep(rest).await;
            rest = (rest * 2).min(PUMP_IDLE);
        }
    }
    scribe.write(shadow.borrow().engine());
    // No accept is left under way when the listeners go: the kernel would end it with a connection that nobody ever closes,
    // and whoever made that would wait in vain.
    let woken = [
        wake_tcp(listening.itch),
        wake_tcp(listening.glimpse),
        wake_unix(&admin_path),
        signing_path.as_deref().and_then(wake_unix),
    ];
    tasks.ended().await;
    drop(woken);
    for path in [Some(admin_path), signing_path].into_iter().flatten() {
        let _ = std::fs::remove_file(path);
    }
}

/// What runs on the executor beside its first task, and ends with it: a task that is left behind would never be
/// dropped, and would keep hold of the feed's log and of the shadow.
#[derive(Clone)]
struct Tasks {
    stop: Stop,
    alive: Rc<Cell<usize>>,
    /// Those that accept connections: each ends with the next one, after the stop.
    listening: Rc<Cell<usize>>,
    /// Operators' orders whose outcome is not told yet. One that ends this node's lead ends the executor too: it waits for
    /// them, so that whoever ordered it hears so.
    answering: Rc<Cell<usize>>,
}

/// How long the end waits for operators to be told. The outcome is known by then, or never will be.
const ANSWER_MAX: Duration = Duration::from_secs(1);

/// How often each task looks whether it has to end.
const STOP_LOOK: Duration = Duration::from_millis(50);

impl Tasks {
    fn new(stop: Stop) -> Self {
        Self { stop, alive: Rc::default(), listening: Rc::default(), answering: Rc::default() }
    }

    fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        let Self { stop, alive, answering, listening: _ } = self.clone();
        alive.set(alive.get() + 1);
        glommio::spawn_local(async move {
            let stopped = async {
                while !stop.asked() {
                    sleep(STOP_LOOK).await;
                }
                let since = Instant::now();
                while answering.get() > 0 && since.elapsed() < ANSWER_MAX {
                    sleep(PUMP).await;
                }
            };
            futures_lite::future::or(task, stopped).await;
            alive.set(alive.get() - 1);
        })
        .detach();
    }

    fn spawn_listener(&self, task: impl Future<Output = ()> + 'static) {
        let listening = Rc::clone(&self.listening);
        listening.set(listening.get() + 1);
        glommio::spawn_local(async move {
            task.await;
            listening.set(listening.get() - 1);
        })
        .detach();
    }

    /// Waits until all have ended; for those that listen only as long as one takes that was woken.
    async fn ended(&self) {
        let since = Instant::now();
        while self.alive.get() > 0 || (self.listening.get() > 0 && since.elapsed() < ANSWER_MAX) {
            sleep(PUMP).await;
        }
        // What they had spawned in turn was cancelled with them, and is dropped when its turn comes.
        sleep(PUMP).await;
    }
}

/// A connection that ends a listener's wait for one, if it can be made at once.
fn wake_tcp(address: SocketAddr) -> Option<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    wake(family, &address)
}

/// Likewise.
fn wake_unix(path: &Path) -> Option<OwnedFd> {
    wake(AddressFamily::UNIX, &SocketAddrUnix::new(path).ok()?)
}

fn wake(family: AddressFamily, address: &impl SocketAddrArg) -> Option<OwnedFd> {
    let socket = rustix::net::socket_with(family, SocketType::STREAM, SocketFlags::NONBLOCK, None).ok()?;
    // It may be under way still.
    let _ = rustix::net::connect(&socket, address);
    Some(socket)
}

/// Whether what is committed here may be read: not when another node may lead by now.
fn is_permitted(permission: Option<&DueReader>) -> bool {
    permission.and_then(DueReader::get).is_none_or(|until| boot_time().0 < until)
}

fn listen(name: &str, address: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).map_err(|e| {
        Failure::refused(format_args!(
            "{name} = {address}: {}; stop whoever listens there or choose another port",
            io::Error::from(e)
        ))
    })
}

/// The signing process may be another user's, of the node's group.
fn listen_signing(path: &Path) -> Result<UnixListener, Failure> {
    let listener = listen_admin(path, |path| UnixListener::bind(path).map_err(io::Error::from))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))
        .map_err(|e| Failure::file(path, e, "see that the folder is yours"))?;
    Ok(listener)
}

/// Whoever may connect to the admin socket administers the venue: its owner alone.
///
/// # Errors
/// When it cannot be made.
pub fn listen_admin<L>(path: &Path, bind: impl FnOnce(&Path) -> io::Result<L>) -> Result<L, Failure> {
    let refused = |what: &dyn std::fmt::Display| {
        Failure::file(path, what, "see that the folder is yours and the path below 108 bytes")
    };
    // The store's lock is held, so a socket that is still there belongs to a node that is gone.
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(refused(&e)),
        _ => {}
    }
    let listener = bind(path).map_err(|e| refused(&e))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(|e| refused(&e))?;
    Ok(listener)
}

async fn accept_all<S: ByteSession + 'static>(
    listener: TcpListener,
    clock: Instant,
    tasks: Tasks,
    session: impl Fn(Nanos) -> S + 'static,
) {
    let open = Rc::new(Cell::new(0_usize));
    loop {
        match listener.accept().await {
            // Dropped, which closes it.
            Ok(_) if tasks.stop.asked() => return,
            Ok(_) if open.get() == CONNECTIONS_MAX => {}
            Ok(stream) => {
                let _ = stream.set_nodelay(true);
                let conversation = converse(stream, clock, session(now(clock)));
                let open = Rc::clone(&open);
                open.set(open.get() + 1);
                tasks.spawn(async move {
                    conversation.await;
                    open.set(open.get() - 1);
                });
            }
            Err(e) => {
                tracing::warn!(error = %e, "a listener of the service role accepts nothing; trying again");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

fn now(clock: Instant) -> Nanos {
    Nanos(clock.elapsed().as_nanos() as u64 + 1)
}

/// Moves bytes between one connection and its session: one task reads, this one writes.
async fn converse<S: ByteSession + 'static>(stream: TcpStream, clock: Instant, session: S) {
    let session = Rc::new(RefCell::new((session, false)));
    let (mut reader, mut writer) = futures_lite::io::split(stream);
    let theirs = Rc::clone(&session);
    let reading = glommio::spawn_local(async move {
        let mut buffer = vec![0; 4_096];
        loop {
            match reader.read(&mut buffer).await {
                Ok(0) | Err(_) => break,
                Ok(n) => theirs.borrow_mut().0.receive(&buffer[..n]),
            }
        }
        theirs.borrow_mut().1 = true;
    });
    let mut chunk = Vec::with_capacity(64 << 10);
    loop {
        chunk.clear();
        let over = {
            let (session, hung_up) = &mut *session.borrow_mut();
            session.poll(now(clock));
            chunk.extend_from_slice(session.output());
            session.sent(chunk.len());
            *hung_up || (chunk.is_empty() && session.is_over())
        };
        if over || (!chunk.is_empty() && !is_written(&mut writer, &chunk).await) {
            break;
        }
        if chunk.is_empty() {
            sleep(PUMP).await;
        }
    }
    reading.cancel().await;
    let _ = writer.close().await;
}

/// Whether `bytes` could be written. A member that takes nothing for so long is not there any more.
async fn is_written(writer: &mut (impl AsyncWriteExt + Unpin), bytes: &[u8]) -> bool {
    let gave_up = async {
        sleep(WRITE_MAX).await;
        false
    };
    futures_lite::future::or(async { writer.write_all(bytes).await.is_ok() }, gave_up).await
}

/// Who asks, and so what may be asked.
#[derive(Clone, Copy, PartialEq)]
enum Whose {
    /// Everything.
    Operator,
    /// That a signed head is journaled, and that every instrument is halted.
    Signing,
}

impl Whose {
    fn may_ask(self, request: &Request) -> bool {
        match (self, request) {
            (Self::Operator, _) => true,
            (Self::Signing, Request::Control { ask, .. }) => match &**ask {
                Ask::SignedHead { .. } => true,
                Ask::Phase { symbol, phase, .. } => symbol == "all" && phase.0 == Phase::Halted,
                _ => false,
            },
            (Self::Signing, _) => false,
        }
    }
}

async fn answer_admin(
    stream: UnixStream,
    whose: Whose,
    desk: Rc<Desk>,
    context: Rc<admin::Context>,
    answering: Rc<Cell<usize>>,
) {
    /// A request is a short line; more than this without a line end is no request.
    const LINE_MAX: u64 = 64 << 10;
    let mut stream = stream.buffered();
    loop {
        let mut line = String::new();
        match (&mut stream).take(LINE_MAX).read_line(&mut line).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let request = admin::request(&line);
        let _span = request.as_ref().ok().map(|request| span!("admin request", request = request.name()));
        let _told = matches!(request, Ok(Request::Pair { .. })).then(|| Answering::one_of(&answering));
        let mut answer = match request {
            Ok(request) if !whose.may_ask(&request) => {
                admin::refusal(&"the signing process may say what it signed, and halt; ask the admin socket")
            }
            Ok(Request::Control { ask, wait }) => match desk.control(&ask, wait).await {
                Ok(told) => admin::json(&told),
                Err(why) => admin::refusal(&why),
            },
            Ok(Request::Pair { ask }) => match desk.pair(ask).await {
                Ok(done) => admin::json(&done),
                Err(why) => admin::refusal(&why),
            },
            Ok(request) if !matches!(request, Request::Status) && !is_permitted(desk.permission.as_ref()) => {
                admin::refusal(
                    &"this node's standby has not answered for a while: another node may lead by now, and what this one \
                      knows may be old; see `ironbell status`",
                )
            }
            Ok(request) => {
                let pair = desk.pair.as_ref().map(|(_, view)| view.pair());
                admin::answer(&request, &desk.shadow.borrow(), &context, pair)
            }
            Err(refusal) => refusal,
        };
        answer.push('\n');
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// Counted until it is dropped.
struct Answering(Rc<Cell<usize>>);

impl Answering {
    fn one_of(count: &Rc<Cell<usize>>) -> Self {
        count.set(count.get() + 1);
        Self(Rc::clone(count))
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// Where operators' commands are made and sent. One at a time: each is made of the state that the one before
/// it left, so that two operators who set different parts of the same rules both have their way.
struct Desk {
    shadow: Rc<RefCell<Shadow>>,
    turn: Semaphore,
    sequencer: RefCell<Producer<Inbound>>,
    pair: Option<(mpsc::Sender<Asked>, View)>,
    permission: Option<DueReader>,
    /// Commands sent in this run; those executed are counted by the shadow.
    sent: Cell<u64>,
}

/// How long an operator's command may take until it is executed and on the disk.
const CONTROL_MAX: Duration = Duration::from_secs(20);

impl Desk {
    /// Tells control what an operator orders, and waits for what becomes of it.
    async fn pair(&self, ask: PairAsk) -> Result<String, String> {
        let Some((asks, _)) = &self.pair else {
            return Err("this node is not one of a pair: there is no [ha] in its configuration".to_owned());
        };
        let (told, begun) = (desk::tell(ask, asks), Instant::now());
        loop {
            match told.try_recv() {
                Ok(outcome) => return outcome,
                Err(mpsc::TryRecvError::Empty) if begun.elapsed() < desk::ORDER_MAX => sleep(PUMP).await,
                Err(_) => return Err(desk::UNDECIDED.to_owned()),
            }
        }
    }

    async fn control(&self, ask: &Ask, wait: bool) -> Result<Told, String> {
        let _turn = self.turn.acquire_permit(1).await.map_err(|e| e.to_string())?;
        let begun = Instant::now();
        let number = self.sent.get();
        if !self.is_executed(number, begun).await {
            return Err("an earlier command is still not on the disk; see `ironbell status`".to_owned());
        }
        let command = operator::command(ask, self.shadow.borrow().engine(), SystemClock.now())?;
        let inbound = Inbound { received: 0, command };
        self.sequencer
            .borrow_mut()
            .push(inbound)
            .map_err(|_| "the sequencer takes nothing; see `ironbell status`")?;
        self.sent.set(number + 1);
        if !wait {
            return Ok(Told::Sent);
        }
        if !self.is_executed(number + 1, begun).await {
            return Err(format!(
                "sent, but not on the disk after {} s; it may still be done: see `ironbell status`",
                CONTROL_MAX.as_secs()
            ));
        }
        let shadow = self.shadow.borrow();
        let outcome = shadow.outcome(number).ok_or("done, but what was said of it is not known any more")?;
        assert_eq!(outcome.command, command, "operators' commands are executed in the order they were sent");
        Ok(operator::told(&command, outcome.seq, &outcome.events, shadow.engine()))
    }

    /// Waits until so many operators' commands are executed and committed; false when that takes too long.
    async fn is_executed(&self, count: u64, begun: Instant) -> bool {
        while self.shadow.borrow().operators_commands() < count {
            if begun.elapsed() > CONTROL_MAX {
                return false;
            }
            sleep(PUMP).await;
        }
        true
    }
}
