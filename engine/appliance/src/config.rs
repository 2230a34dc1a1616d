//! `node.toml`: what a node is, said by the SRE. Every field has a default; an unknown one is an error.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ironbell_core::{Engine, Homes, SHARDS_MAX};
use ironbell_hsm::open_wrap;
use ironbell_runtime::shards::Lending;
use ironbell_sessionlog::LogKey;
use ironbell_store::DataKey;
use ironbell_tuning::CpuSet;
use serde::Deserialize;

use crate::failure::Failure;
use crate::genesis::Genesis;
use crate::ha::config::Ha;
use crate::log::Log;
use crate::signing::Signing;
use crate::telemetry::Telemetry;
use crate::words::Span;

/// The whole file.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where the journal, the logs, the metrics and the admin socket live; relative to the file's folder.
    pub data_dir: PathBuf,
    /// `[order_entry]`.
    pub order_entry: OrderEntry,
    /// `[feed]`.
    pub feed: Feed,
    /// `[service]`.
    pub service: Service,
    /// `[journal]`.
    pub journal: Journal,
    /// `[snapshot]`.
    pub snapshot: Snapshot,
    /// `[signing]`; without it nothing is signed.
    pub signing: Option<Signing>,
    /// `[placement]`.
    pub placement: Placement,
    /// `[shards]`.
    pub shards: Shards,
    /// `[ha]`: this node is one of a pair; none is alone.
    pub ha: Option<Ha>,
    /// `[host]`.
    pub host: Host,
    /// `[metrics]`.
    pub metrics: Metrics,
    /// `[log]`.
    pub log: Log,
    /// `[telemetry]`.
    pub telemetry: Telemetry,
    /// The file that all this was read from.
    #[serde(skip)]
    pub file: PathBuf,
    /// `[genesis]`: the first frames of the journal; read by `ironbell format` alone.
    pub genesis: Genesis,
}

/// Order entry: OUCH 5.0 over SoupBinTCP.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OrderEntry {
    /// Where members connect. Port 0 lets the kernel choose; `status` tells which.
    pub listen: SocketAddr,
    /// Must be true for any address but loopback.
    pub allow_remote: bool,
    /// Connections at once.
    pub sessions_max: usize,
    /// Seconds of a member's silence before it is disconnected.
    pub idle_timeout_s: u64,
    /// What moves members' bytes.
    pub io: Io,
    /// Microseconds for which a read may look into the card's queue itself (SO_BUSY_POLL); 0 leaves it to interrupts. Of
    /// sockets.
    pub busy_poll_us: u32,
    /// Whether the kernel, and the card where it can, stamps what members send, so that it is known how late it was read:
    /// `kernel_to_gateway` and `card_to_gateway` among the latencies. Of `io = "kernel"`; a clock reading a message.
    pub rx_timestamps: bool,
    /// `[order_entry.xdp]`: of `io = "xdp"`.
    pub xdp: Xdp,
}

/// What moves members' bytes.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Io {
    /// Sockets of the kernel.
    #[default]
    Kernel,
    /// The same on one io_uring, for hundreds of sessions.
    Uring,
    /// AF_XDP and a TCP of our own.
    Xdp,
}

/// Kernel bypass; see net/xdp/README.md for what the machine needs.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Xdp {
    /// The network device that has the address.
    pub interface: String,
    /// The queue; of several, the first, by which frames go out.
    pub queue: u32,
    /// So many queues from there on are those by which frames of the port come in. The feed, which sends, has one.
    pub queues: u32,
    /// Frames in memory, of each queue and each way. A power of two.
    pub frames: u32,
    /// Whether frames may be copied.
    pub copy: Copying,
    /// Who fills in TCP and UDP checksums.
    pub checksum: Checksum,
    /// The feed's virtual network (IEEE 802.1Q), 1 to 4094, and its priority there, 0 to 7. Members are answered in theirs.
    pub vlan: Option<u16>,
    /// See `vlan`.
    pub vlan_priority: u8,
    /// Frames that the kernel takes from the card at a time, in our calls instead of in interrupts; 0 for interrupts.
    pub busy_poll_budget: u32,
}

/// Whether frames are copied between the card's memory and ours.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Copying {
    /// Where the driver cannot do without.
    #[default]
    IfNeeded,
    /// Refuse to start rather.
    Never,
    /// Always.
    Always,
}

/// Who fills in TCP and UDP checksums of frames that go out.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Checksum {
    /// The card, where it says that it does and nothing is copied.
    #[default]
    Auto,
    /// The node.
    Software,
    /// The card; refuse to start rather than do without.
    Offload,
}

impl From<Checksum> for ironbell_xdp::socket::Checksum {
    fn from(checksum: Checksum) -> Self {
        match checksum {
            Checksum::Auto => Self::Auto,
            Checksum::Software => Self::Software,
            Checksum::Offload => Self::Offload,
        }
    }
}

impl From<Copying> for ironbell_xdp::socket::Copy {
    fn from(copying: Copying) -> Self {
        match copying {
            Copying::IfNeeded => Self::IfNeeded,
            Copying::Never => Self::Never,
            Copying::Always => Self::Always,
        }
    }
}

impl Default for Xdp {
    fn default() -> Self {
        Self {
            interface: String::new(),
            queue: 0,
            queues: 1,
            frames: 2_048,
            copy: Copying::default(),
            checksum: Checksum::default(),
            vlan: None,
            vlan_priority: 0,
            busy_poll_budget: 0,
        }
    }
}

/// Market data out.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Feed {
    /// The MoldUDP64 multicast group.
    pub group: SocketAddrV4,
    /// The address of the interface it is sent on.
    pub interface: Ipv4Addr,
    /// Must be true for any interface but loopback.
    pub allow_remote: bool,
    /// Where MoldUDP64 re-requests are answered (UDP).
    pub rerequest: SocketAddrV4,
    /// Largest UDP payload sent, in bytes.
    pub payload_bytes_max: usize,
    /// What moves its packets: `kernel` or `xdp`. Re-requests are answered by a socket of the kernel in either case.
    pub io: FeedIo,
    /// `[feed.xdp]`: of `io = "xdp"`.
    pub xdp: Xdp,
}

/// What moves the feed's packets.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum FeedIo {
    /// A socket of the kernel.
    #[default]
    Kernel,
    /// AF_XDP, on a transmit queue of its own.
    Xdp,
}

/// The service role: everything that need not be fast.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Service {
    /// ITCH 5.0 over SoupBinTCP, from any sequence number.
    pub itch: SocketAddr,
    /// GLIMPSE 5.0 snapshots.
    pub glimpse: SocketAddr,
    /// Must be true for any address but loopback.
    pub allow_remote: bool,
    /// The local admin socket's path; relative to the data directory.
    pub admin: PathBuf,
}

/// The journal.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Journal {
    /// What an acknowledgement promises.
    pub durability: Durability,
    /// Bytes of a segment file.
    pub segment_bytes: u64,
    /// Frames that may wait for the disk at once.
    pub in_flight: usize,
    /// Milliseconds without input before an empty frame carries the commit Seq.
    pub quiescence_ms: u64,
    /// The file of the key that the journal's own key is wrapped with (`ironbell key` makes one); keep it on another
    /// disk. None leaves the journal's records plain. Chosen when the node is formatted.
    pub key_file: Option<PathBuf>,
}

/// Snapshots of the state, which a start goes on from.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Snapshot {
    /// From one to the next, if anything was committed meanwhile; `off` leaves it to `every_commands`.
    pub every: Span,
    /// Commands after which the next one is made at the latest; 0 leaves it to `every`.
    pub every_commands: u64,
    /// How many are kept.
    pub keep: usize,
}

/// What an acknowledgement promises.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// It survives a power cut: O_DIRECT and RWF_DSYNC on a file system on a disk.
    Disk,
    /// It survives the process (`kill -9`), not the machine: the page cache.
    Buffered,
    /// Nothing: for trials on memory file systems.
    None,
}

impl From<Durability> for ironbell_store::Durability {
    fn from(value: Durability) -> Self {
        match value {
            Durability::Disk => Self::Disk,
            Durability::Buffered => Self::Buffered,
            Durability::None => Self::None,
        }
    }
}

/// Which role runs where.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Placement {
    /// CPUs that are the node's own, in the order of `topology.rs`: gateway, sequencer, shard, journal,
    /// release, then one for each further shard; with fewer than five, neighbours share. Empty: chosen from those that the process may
    /// use, all but the first; on two CPUs or one the roles share one thread.
    pub cpus: Vec<usize>,
    /// The CPU of the service thread; none leaves it to the scheduler.
    pub service_cpu: Option<usize>,
    /// Poll without ever resting. Only for CPUs that nobody else needs.
    pub spin: bool,
}

/// The state machine on several threads. What is chosen here shows in no outcome, and may be changed at any restart.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Shards {
    /// How many.
    pub count: usize,
    /// The shard, from 0, of a firm with all its accounts and ports, by MPID; those not named go round.
    pub firms: BTreeMap<String, u8>,
    /// The shard of an instrument with its book, by symbol; those not named go round.
    pub instruments: BTreeMap<String, u8>,
    /// So many orders in a row, in one frame, are worth fanning out to all shards; fewer run on the first alone.
    pub run_min: usize,
}

/// The machine.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Host {
    /// `production`, `lab` or a file: the node does not start while a required item of it fails (`ironbell tune doctor`).
    /// None asks for nothing.
    pub profile: Option<String>,
    /// The network device that members come in by.
    pub nic: Option<String>,
    /// How long what may still come by itself is waited for: a clock that was just set, after the machine's start. What takes a reboot
    /// is refused at once.
    pub settle: Span,
}

impl Default for Host {
    fn default() -> Self {
        Self { profile: None, nic: None, settle: Span(60_000_000_000) }
    }
}

/// What the node tells of itself.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Metrics {
    /// Whether the latency of each stage is counted. It costs less than 1 % of throughput.
    pub latency: bool,
}

impl Default for Metrics {
    fn default() -> Self {
        Self { latency: true }
    }
}

impl Default for Shards {
    fn default() -> Self {
        Self {
            count: 1,
            firms: BTreeMap::new(),
            instruments: BTreeMap::new(),
            run_min: Lending::default().run_min,
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("ironbell-data"),
            order_entry: OrderEntry::default(),
            feed: Feed::default(),
            service: Service::default(),
            journal: Journal::default(),
            snapshot: Snapshot::default(),
            signing: None,
            placement: Placement::default(),
            shards: Shards::default(),
            ha: None,
            host: Host::default(),
            metrics: Metrics::default(),
            log: Log::default(),
            telemetry: Telemetry::default(),
            file: PathBuf::new(),
            genesis: Genesis::default(),
        }
    }
}

impl Default for OrderEntry {
    fn default() -> Self {
        Self {
            listen: loopback(26_400),
            allow_remote: false,
            sessions_max: 256,
            idle_timeout_s: 15,
            io: Io::default(),
            busy_poll_us: 0,
            rx_timestamps: false,
            xdp: Xdp::default(),
        }
    }
}

impl Default for Feed {
    fn default() -> Self {
        Self {
            group: SocketAddrV4::new(Ipv4Addr::new(239, 192, 26, 1), 26_410),
            interface: Ipv4Addr::LOCALHOST,
            allow_remote: false,
            rerequest: SocketAddrV4::new(Ipv4Addr::LOCALHOST, 26_411),
            payload_bytes_max: 1_400,
            io: FeedIo::default(),
            xdp: Xdp::default(),
        }
    }
}

impl Default for Service {
    fn default() -> Self {
        Self {
            itch: loopback(26_420),
            glimpse: loopback(26_421),
            allow_remote: false,
            admin: PathBuf::from("admin.sock"),
        }
    }
}

impl Default for Journal {
    fn default() -> Self {
        Self {
            durability: Durability::Disk,
            segment_bytes: 64 << 20,
            in_flight: 4,
            quiescence_ms: 10,
            key_file: None,
        }
    }
}

impl Default for Snapshot {
    fn default() -> Self {
        Self { every: Span(600_000_000_000), every_commands: 10_000_000, keep: 3 }
    }
}

impl OrderEntry {
    fn check(&self) -> Result<(), String> {
        if self.rx_timestamps && self.io != Io::Kernel {
            return Err(
                "order_entry.rx_timestamps = true is of io = \"kernel\": leave one of them out".into()
            );
        }
        if self.io != Io::Xdp {
            return Ok(());
        }
        if self.listen.ip().is_unspecified() || self.listen.port() == 0 {
            return Err(format!(
                "order_entry.listen = {} with io = \"xdp\": frames are told apart by address and port; name both",
                self.listen
            ));
        }
        if self.xdp.vlan.is_some() || self.xdp.vlan_priority != 0 {
            return Err("order_entry.xdp.vlan: members are answered in the virtual network that they come from; leave it out".into());
        }
        self.xdp.check("order_entry")
    }
}

impl Xdp {
    /// What is wrong with the table of this name in `section`.
    fn check(&self, section: &str) -> Result<(), String> {
        if self.interface.is_empty() {
            return Err(format!(
                "{section}.xdp.interface is missing; io = \"xdp\" takes the device that has the address"
            ));
        }
        if !self.frames.is_power_of_two() || !(64..=65_536).contains(&self.frames) {
            return Err(format!(
                "{section}.xdp.frames = {} is no power of two within 64 to 65536",
                self.frames
            ));
        }
        if !(1..=64).contains(&self.queues) {
            return Err(format!("{section}.xdp.queues = {} is not within 1 to 64", self.queues));
        }
        if let Some(vlan) = self.vlan.filter(|vlan| !(1..=4_094).contains(vlan)) {
            return Err(format!("{section}.xdp.vlan = {vlan} is not within 1 to 4094"));
        }
        if self.vlan_priority > 7 || (self.vlan_priority > 0 && self.vlan.is_none()) {
            return Err(format!(
                "{section}.xdp.vlan_priority = {} is not within 0 to 7, or of no vlan",
                self.vlan_priority
            ));
        }
        Ok(())
    }

    /// What a socket is opened with.
    #[must_use]
    pub fn socket(&self) -> ironbell_xdp::socket::Config {
        ironbell_xdp::socket::Config {
            queue: self.queue,
            queues: self.queues,
            frames: self.frames,
            copy: self.copy.into(),
            checksum: self.checksum.into(),
            busy_poll_budget: self.busy_poll_budget,
            ..ironbell_xdp::socket::Config::new(&self.interface)
        }
    }
}

impl Feed {
    fn check(&self, order_entry: &OrderEntry) -> Result<(), String> {
        if !self.group.ip().is_multicast() {
            return Err(format!("feed.group = {} is no multicast address", self.group.ip()));
        }
        if !(128..=65_507).contains(&self.payload_bytes_max) {
            return Err(format!(
                "feed.payload_bytes_max = {} is not within 128 to 65507",
                self.payload_bytes_max
            ));
        }
        if self.io != FeedIo::Xdp {
            return Ok(());
        }
        self.xdp.check("feed")?;
        if self.interface.is_unspecified() {
            return Err("feed.interface = 0.0.0.0 with io = \"xdp\": frames carry it as their sender's address; name it"
                .into());
        }
        if self.xdp.queues != 1 {
            return Err(format!("feed.xdp.queues = {}: the feed sends by one", self.xdp.queues));
        }
        let members = &order_entry.xdp;
        let theirs = members.queue..members.queue.saturating_add(members.queues);
        if order_entry.io == Io::Xdp
            && members.interface == self.xdp.interface
            && theirs.contains(&self.xdp.queue)
        {
            return Err(format!(
                "feed.xdp.queue = {} of {} is order entry's: choose another one (`ethtool -l {}` tells how many there are)",
                self.xdp.queue, self.xdp.interface, self.xdp.interface
            ));
        }
        Ok(())
    }
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

impl Config {
    /// Reads `path`; relative paths in it are taken from its folder.
    ///
    /// # Errors
    /// When the file cannot be read, is not TOML, names an unknown field, or asks for something unsafe
    /// without saying so.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let text = std::fs::read_to_string(path).map_err(|e| {
            Failure::file(
                path,
                format_args!("the configuration cannot be read ({e})"),
                "give an existing file with --config",
            )
        })?;
        let mut config: Self = toml::from_str(&text).map_err(|e| {
            let line =
                e.span().map_or(1, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
            Failure::file(
                path,
                format_args!("line {line}: {}", e.message()),
                "correct that line; README.md and engine/appliance/node.toml show every field",
            )
        })?;
        let folder = path.parent().unwrap_or(Path::new(""));
        config.data_dir = folder.join(&config.data_dir);
        config.file = path.to_owned();
        config.journal.key_file = config.journal.key_file.map(|file| folder.join(file));
        if let Some(signing) = &mut config.signing {
            signing.take_paths_from(folder);
        }
        config.check().map_err(|what| Failure::file(path, what, "correct it"))?;
        Ok(config)
    }

    /// What `read` checks beyond the syntax.
    ///
    /// # Errors
    /// A line saying which field is wrong and why.
    pub fn check(&self) -> Result<(), String> {
        for (name, address, allowed) in [
            ("order_entry.listen", self.order_entry.listen, self.order_entry.allow_remote),
            ("service.itch", self.service.itch, self.service.allow_remote),
            ("service.glimpse", self.service.glimpse, self.service.allow_remote),
            ("feed.rerequest", SocketAddr::V4(self.feed.rerequest), self.feed.allow_remote),
            ("feed.interface", SocketAddr::from((self.feed.interface, 0)), self.feed.allow_remote),
        ] {
            if !address.ip().is_loopback() && !allowed {
                let section = name.split('.').next().unwrap_or(name);
                return Err(format!(
                    "{name} = {} is not loopback and {section}.allow_remote is not true",
                    address.ip()
                ));
            }
        }
        if let Some(signing) = &self.signing {
            signing.check()?;
        }
        self.order_entry.check()?;
        self.feed.check(&self.order_entry)?;
        if !(1..=16).contains(&self.journal.in_flight) {
            return Err(format!("journal.in_flight = {} is not within 1 to 16", self.journal.in_flight));
        }
        if self.journal.segment_bytes < 4 << 20 || !self.journal.segment_bytes.is_multiple_of(4_096) {
            return Err(format!(
                "journal.segment_bytes = {} is below 4 MiB or no multiple of 4096",
                self.journal.segment_bytes
            ));
        }
        if self.snapshot.keep == 0 {
            return Err("snapshot.keep = 0 would remove each as soon as it is made; say every = \"off\" and every_commands = 0 \
                        for none"
                .into());
        }
        if self.order_entry.sessions_max == 0 || self.order_entry.sessions_max > 65_536 {
            return Err(format!(
                "order_entry.sessions_max = {} is not within 1 to 65536",
                self.order_entry.sessions_max
            ));
        }
        if !(1..=SHARDS_MAX).contains(&self.shards.count) {
            return Err(format!("shards.count = {} is not within 1 to {SHARDS_MAX}", self.shards.count));
        }
        for (key, homes) in [("firms", &self.shards.firms), ("instruments", &self.shards.instruments)] {
            if let Some((name, shard)) =
                homes.iter().find(|(_, shard)| usize::from(**shard) >= self.shards.count)
            {
                return Err(format!(
                    "shards.{key}.{name} = {shard}, and there are {} shards, counted from 0",
                    self.shards.count
                ));
            }
        }
        self.ha.as_ref().map_or(Ok(()), Ha::check)?;
        self.telemetry.check()?;
        // Not those that this process was started on: isolated ones are none of them until it asks for them.
        let online = ironbell_tuning::Host::live(CpuSet::default(), None, None).online();
        let mut named = self.placement.cpus.iter().chain(&self.placement.service_cpu);
        match named.find(|cpu| !online.contains(**cpu)) {
            Some(cpu) if !online.is_empty() => {
                Err(format!("placement names CPU {cpu}, and this machine has {online}"))
            }
            _ => Ok(()),
        }
    }

    /// Which shard owns what of the venue that `engine` is.
    ///
    /// # Errors
    /// When a firm or an instrument is named that the venue does not have.
    pub fn homes(&self, engine: &Engine) -> Result<Homes, Failure> {
        let mut homes = Homes::new(self.shards.count);
        let unknown = |key: &str, name: &str| {
            let what = format_args!("shards.{key}.{name}: the venue has none of this name");
            Failure::file(&self.file, what, "correct the name, or leave it out until it is defined")
        };
        for (mpid, shard) in &self.shards.firms {
            let firm = engine.firms().find(|firm| firm.mpid.as_str() == mpid);
            let firm = firm.ok_or_else(|| unknown("firms", mpid))?;
            homes.place_firm(firm.id, *shard).expect("the configuration was checked");
        }
        for (symbol, shard) in &self.shards.instruments {
            let instrument = engine.instruments().find(|instrument| instrument.symbol.as_str() == symbol);
            let instrument = instrument.ok_or_else(|| unknown("instruments", symbol))?;
            homes.place_instrument(instrument.id, *shard).expect("the configuration was checked");
        }
        Ok(homes)
    }

    /// The admin socket's path.
    #[must_use]
    pub fn admin_socket(&self) -> PathBuf {
        self.data_dir.join(&self.service.admin)
    }

    /// The path of the socket that the signing process asks by: all it may do is say what it signed, and halt.
    #[must_use]
    pub fn signing_socket(&self) -> PathBuf {
        self.data_dir.join("signing.sock")
    }

    /// The journal's folder.
    #[must_use]
    pub fn journal_dir(&self) -> PathBuf {
        self.data_dir.join("journal")
    }

    /// How the store is to run, its records enciphered with `data_key` if there is one.
    #[must_use]
    pub fn store_options(&self, data_key: Option<Arc<DataKey>>) -> ironbell_store::Options {
        ironbell_store::Options {
            durability: self.journal.durability.into(),
            segment_bytes: self.journal.segment_bytes,
            in_flight: self.journal.in_flight,
            data_key,
            ..ironbell_store::Options::default()
        }
    }

    /// The log `name` of the data directory: `sessions` or `feed`. It is enciphered when the journal is, with a key
    /// derived from the journal's.
    #[must_use]
    pub fn log(&self, name: &str, data_key: Option<&DataKey>) -> ironbell_sessionlog::Config {
        let key = data_key.map(|key| Arc::new(LogKey::new(&key.derive(&format!("log {name}")))));
        ironbell_sessionlog::Config { key, ..ironbell_sessionlog::Config::new(self.data_dir.join(name)) }
    }

    /// The key of the journal's records, unwrapped; `None` when they are plain.
    ///
    /// # Errors
    /// As [`data_key`].
    pub fn data_key(&self) -> Result<Option<Arc<DataKey>>, Failure> {
        data_key(&self.journal_dir(), self.journal.key_file.as_deref())
    }
}

/// The key of a journal's records, unwrapped with `key_file`; `None` when they are plain and no file is given.
///
/// # Errors
/// When the journal cannot be read, it and the file do not go together, or the file is not the one that it was
/// formatted with.
pub fn data_key(journal_dir: &Path, key_file: Option<&Path>) -> Result<Option<Arc<DataKey>>, Failure> {
    let wrapped = ironbell_store::superblock(journal_dir)?.wrapped_key;
    let dir = journal_dir.display();
    match (wrapped.bytes(), key_file) {
        ([], None) => Ok(None),
        ([], Some(_)) => Err(Failure::refused(format_args!(
            "the records of {dir} are plain: leave the key file out, or format a new node with it"
        ))),
        (_, None) => Err(Failure::refused(format_args!(
            "the records of {dir} are enciphered: name the key file that it was formatted with"
        ))),
        (wrapped, Some(key_file)) => {
            let key = open_wrap(key_file).and_then(|wrap| wrap.unwrap(wrapped)).map_err(Failure::refused)?;
            Ok(Some(Arc::new(DataKey::new(&key))))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Config, String> {
        let path = std::env::temp_dir().join(format!(
            "ironbell-config-{}-{:x}.toml",
            std::process::id(),
            text.len()
        ));
        std::fs::write(&path, text).expect("a temporary file");
        let config = Config::read(&path).map_err(|e| e.to_string());
        std::fs::remove_file(path).expect("it was there");
        config
    }

    #[test]
    fn an_empty_file_is_a_node_on_loopback() {
        let config = read("").expect("defaults");
        assert!(config.order_entry.listen.ip().is_loopback());
        assert_eq!(config.journal.durability, Durability::Disk);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        for (text, part) in [
            ("[order_entry]\nlisten = \"10.0.0.1:1\"", "order_entry.allow_remote is not true"),
            ("[journal]\ndurabilty = \"none\"", "line 2: unknown field `durabilty`"),
            ("[journal]\ndurability = \"maybe\"", "unknown variant `maybe`"),
            ("[journal]\nsegment_bytes = 5", "journal.segment_bytes = 5"),
            ("[feed]\ngroup = \"10.1.1.1:5\"", "no multicast address"),
            ("[order_entry]\nio = \"dpdk\"", "unknown variant `dpdk`"),
            ("[order_entry]\nio = \"xdp\"", "order_entry.xdp.interface is missing"),
            ("[order_entry]\nio = \"uring\"\nrx_timestamps = true", "rx_timestamps = true is of io"),
            ("[order_entry]\nio = \"xdp\"\nlisten = \"127.0.0.1:0\"", "name both"),
            ("[order_entry]\nio = \"xdp\"\nxdp = { interface = \"eth0\", frames = 100 }", "frames = 100"),
            ("[feed]\nio = \"xdp\"", "feed.xdp.interface is missing"),
            ("[feed]\nxdp = { checksum = \"card\" }", "unknown variant `card`"),
            (
                "[feed]\nio = \"xdp\"\nxdp = { interface = \"eth0\", vlan = 4095 }",
                "feed.xdp.vlan = 4095 is not within",
            ),
            (
                "[feed]\nio = \"xdp\"\nxdp = { interface = \"eth0\", vlan_priority = 3 }",
                "feed.xdp.vlan_priority = 3",
            ),
            (
                "[order_entry]\nio = \"xdp\"\nxdp = { interface = \"eth0\", vlan = 26 }",
                "members are answered in the virtual network",
            ),
            ("[feed]\nio = \"xdp\"\nxdp = { interface = \"eth0\", queues = 2 }", "the feed sends by one"),
            (
                "[order_entry]\nio = \"xdp\"\nxdp = { interface = \"eth0\", queues = 2 }\n\
                 [feed]\nio = \"xdp\"\nxdp = { interface = \"eth0\", queue = 1 }",
                "feed.xdp.queue = 1 of eth0 is order entry's",
            ),
            (
                "[order_entry]\nio = \"xdp\"\nxdp = { interface = \"eth0\", queues = 0 }",
                "queues = 0 is not within",
            ),
            ("[placement]\ncpus = [4000]", "CPU 4000"),
            ("[shards]\ncount = 33", "shards.count = 33 is not within 1 to 32"),
            ("[shards]\ncount = 2\nfirms = { ALFA = 2 }", "shards.firms.ALFA = 2, and there are 2"),
            ("[shards]\ninstruments = { ANVL = 1 }", "shards.instruments.ANVL = 1"),
            ("[ha]\nnode = 3", "ha.node = 3 is neither 1 nor 2"),
            ("[ha]\nnode = 1", "ha.listen is missing"),
            ("[ha]\nnode = 2\nlisten = \"127.0.0.1:1\"", "ha.listen is not node 2's"),
            ("[ha]\nnode = 2\npeer = \"10.0.0.1:1\"", "ha.allow_remote is not true"),
            ("[ha]\nnode = 1\nlisten = \"127.0.0.1:1\"", "ha.etcd is empty"),
            (
                "[ha]\nnode = 1\nlisten = \"127.0.0.1:1\"\netcd = [\"http://e\"]\nkeep_alive = \"300ms\"",
                "more than half of ha.grace",
            ),
            (
                "[ha]\nnode = 1\nlisten = \"127.0.0.1:1\"\netcd = [\"http://e\"]\nsolo = \"often\"",
                "neither \"by-hand\" nor a span",
            ),
            (
                "[ha]\nnode = 1\nlisten = \"127.0.0.1:1\"\netcd = [\"https://e\"]\netcd_certificate = \"a\"",
                "ha.etcd_ca go together",
            ),
            ("[ha]\nack = \"sometimes\"", "unknown variant `sometimes`"),
            ("[log]\nto = \"syslog\"", "unknown variant `syslog`"),
            #[cfg(not(feature = "otlp"))]
            ("[telemetry]\notlp = \"http://127.0.0.1:4318\"", "built without OTLP"),
            #[cfg(feature = "otlp")]
            ("[telemetry]\notlp = \"https://collector\"", "is not http://host:port"),
            ("not toml", "line 1"),
        ] {
            let error = read(text).expect_err(text);
            assert!(error.contains(part), "{error}");
            assert!(!error.contains('\n'));
        }
        assert!(
            Config::read(Path::new("/nonexistent/node.toml"))
                .expect_err("no file")
                .to_string()
                .contains("--config")
        );
    }
}
