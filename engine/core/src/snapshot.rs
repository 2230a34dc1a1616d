//! The state as bytes: what a snapshot holds, and what the state hash is taken over.
//!
//! ```text
//!  0          8       12       16          24         32
//!  ├──────────┼───────┼────────┼───────────┼──────────┤
//!  │ magic    │version│sections│ key check │ checksum │   of the first 24 bytes
//!  ├───────┬──┴───┬───┴────────┼───────────┼──────────┤
//!  │ number│ zero │ rows       │ bytes     │ checksum │   of a section: of these 24 bytes and of its rows
//!  ├───────┴──────┴────────────┴───────────┴──────────┤
//!  │ rows                                             │
//!  ╵                                                  ╵   and so on, all sections, each once, in order
//! ```
//!
//! Everything is little-endian. Rows stand in an order of their own (by id, by place in line), and nothing
//! in them is a place in memory, so that equal states are equal bytes, on any machine and for any number of
//! shards. The *state hash* is SHA-256 over the sections' numbers, row counts and rows: snapshot and hash have
//! one definition, `listing.rs`.
//!
//! Loading believes nothing: every checksum is checked, every row is one that can be, and can be with those before it.
//! **What was saved lists the same bytes again** when it is loaded: [`Engine::load_verified`] compares, and so refuses
//! bytes that could be read but were never written. That takes as long as saving them did, and is for who makes a
//! snapshot or has one verified; a start, which people wait for, goes by the checksums.

use crate::{
    Config, Engine, Homes,
    canonical::Sink,
    columns::{Column, Fault, Source},
};
use alloc::vec::Vec;
use sha2::{Digest, Sha256};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// Of the listing and of what is around it. A program reads its own version and no other.
const VERSION: u32 = 7;
const MAGIC: [u8; 8] = *b"IBSTATE\n";
const HEADER_BYTES: usize = 32;
/// Bytes of a header that its checksum covers.
const CHECKED_BYTES: usize = 24;

macro_rules! sections {
    ($($name:ident: $text:literal,)*) => {
        /// A table of the state.
        #[derive(Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Section { $($name,)* }

        impl Section {
            const COUNT: u32 = [$(Self::$name,)*].len() as u32;

            fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// From 1.
            fn number(self) -> u32 {
                self as u32 + 1
            }
        }
    };
}
sections! {
    Venue: "venue",
    Assets: "assets",
    Instruments: "instruments",
    Firms: "firms",
    Accounts: "accounts",
    Ports: "ports",
    Denied: "entitlements",
    Restricted: "restricted lists",
    Fundings: "fundings",
    Balances: "balances",
    Positions: "position limits",
    Credits: "credit limits",
    Exposures: "exposure limits",
    LocateIds: "locate ids",
    Shorts: "short sales",
    Trading: "trading",
    Orders: "orders",
    Quotes: "quotes",
    Sweeps: "mass cancels",
    Trades: "trades",
}

/// Where a listing goes.
pub(crate) trait Sections: Sink {
    /// The next section begins and will have so many rows.
    fn section(&mut self, section: Section, rows: usize);
}

/// Why bytes are no state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadError {
    /// They do not begin as a state does.
    Magic,
    /// Another version of the format; this program reads one only.
    Version(u32),
    /// The venue of another key.
    Key,
    /// They end within a header, or go on behind the last section.
    Length,
    /// A header was changed, or is that of another section. `None` is the first one.
    Header(Option<&'static str>),
    /// The rows of a section were changed.
    Checksum(&'static str),
    /// A row cannot be, or cannot be with those before it.
    Row {
        /// In which section.
        section: &'static str,
        /// Which one, from 1.
        row: u64,
        /// Why.
        what: &'static str,
    },
    /// The rows of a section can be read and are not as they are written.
    Differs(&'static str),
}

impl core::fmt::Display for LoadError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Magic => f.write_str("it does not begin as a state does"),
            Self::Version(version) => {
                write!(f, "the state is of version {version}, and this program reads version {VERSION}")
            }
            Self::Key => f.write_str("the state is that of a venue with another key"),
            Self::Length => f.write_str("it ends too early or goes on too long"),
            Self::Header(None) => f.write_str("the header was changed"),
            Self::Header(Some(section)) => write!(f, "section {section}: its header was changed"),
            Self::Checksum(section) => write!(f, "section {section}: its rows were changed"),
            Self::Row { section, row, what } => write!(f, "section {section}, row {row}: {what}"),
            Self::Differs(section) => {
                write!(f, "section {section}: its rows are not as this program writes them")
            }
        }
    }
}

impl core::error::Error for LoadError {}

impl Engine {
    /// The whole state as bytes, for [`Engine::load`]. Takes time and memory with its size: some 130 bytes for
    /// an open order. Not for the order path.
    #[must_use]
    pub fn save(&self) -> Vec<u8> {
        let mut header = [0; HEADER_BYTES];
        header[..8].copy_from_slice(&MAGIC);
        header[8..12].copy_from_slice(&VERSION.to_le_bytes());
        header[12..16].copy_from_slice(&Section::COUNT.to_le_bytes());
        header[16..24].copy_from_slice(&key_check(self.key()).to_le_bytes());
        seal(&mut header, 0);
        let mut saver = Saver { out: Vec::with_capacity(1 << 16), section: None };
        saver.out.extend(header);
        self.list(&mut saver);
        saver.end_section();
        saver.out
    }

    /// The state that [`Engine::save`] made bytes of. `config.key` must be the venue's.
    ///
    /// # Errors
    /// [`LoadError`], on any bytes that were not saved, unless somebody made checksums for them; never a panic.
    pub fn load(bytes: &[u8], config: Config) -> Result<Self, LoadError> {
        Self::load_sharded(bytes, config, Homes::new(1))
    }

    /// [`Engine::load`], shared out to shards.
    ///
    /// # Errors
    /// As there.
    pub fn load_sharded(bytes: &[u8], config: Config, homes: Homes) -> Result<Self, LoadError> {
        let (header, sections) = bytes.split_first_chunk().ok_or(LoadError::Length)?;
        check_header(header, config.key)?;
        Self::restored(&mut Tables { rest: sections, number: 0 }, config, homes)
    }

    /// [`Engine::load`], and a comparison of the bytes with those that the loaded state is saved as.
    ///
    /// # Errors
    /// As there; and [`LoadError::Differs`] on bytes that no state is saved as, whoever made their checksums.
    pub fn load_verified(bytes: &[u8], config: Config) -> Result<Self, LoadError> {
        let engine = Self::load(bytes, config)?;
        let tables = Tables { rest: &bytes[HEADER_BYTES..], number: 0 };
        let mut twin = Comparer { tables, open: None, differs: None };
        engine.list(&mut twin);
        twin.end_section();
        match twin.differs {
            Some(section) => Err(LoadError::Differs(section)),
            None => Ok(engine),
        }
    }

    /// SHA-256 of the canonical listing of the whole state: what decides any later outcome, and the
    /// output hash. Takes time with the size of the state; not for the order path.
    #[must_use]
    pub fn state_hash(&self) -> [u8; 32] {
        let mut hasher = Hasher { hash: Sha256::new(), buffer: Vec::with_capacity(2 * HASHED_BYTES) };
        self.list(&mut hasher);
        hasher.hash.update(&hasher.buffer);
        hasher.hash.finalize().into()
    }
}

fn check_header(header: &[u8; HEADER_BYTES], key: u64) -> Result<(), LoadError> {
    if header[..8] != MAGIC {
        return Err(LoadError::Magic);
    }
    let version = number_at(header, 8) as u32;
    if version != VERSION {
        return Err(LoadError::Version(version));
    }
    if number_at(header, 24) != xxh3_64(&header[..CHECKED_BYTES])
        || number_at(header, 8) >> 32 != u64::from(Section::COUNT)
    {
        return Err(LoadError::Header(None));
    }
    if number_at(header, 16) != key_check(key) {
        return Err(LoadError::Key);
    }
    Ok(())
}

/// Tells venues apart without telling the key.
fn key_check(key: u64) -> u64 {
    xxh3_64_with_seed(&MAGIC, key)
}

fn number_at(header: &[u8; HEADER_BYTES], at: usize) -> u64 {
    u64::from_le_bytes(header[at..at + 8].try_into().expect("eight bytes"))
}

/// Writes a header's checksum, which is the end of it; `rows` is that of the rows behind it.
fn seal(header: &mut [u8; HEADER_BYTES], rows: u64) {
    let checksum = xxh3_64_with_seed(&header[..CHECKED_BYTES], rows);
    header[CHECKED_BYTES..].copy_from_slice(&checksum.to_le_bytes());
}

/// Puts a listing into memory.
struct Saver {
    out: Vec<u8>,
    /// The section that is being written, where its header is to be, and how many rows it has.
    section: Option<(Section, usize, usize)>,
}

impl Saver {
    fn end_section(&mut self) {
        let Some((section, at, rows)) = self.section.take() else { return };
        let (_, payload) = self.out.split_at(at + HEADER_BYTES);
        let (bytes, checksum) = (payload.len() as u64, xxh3_64(payload));
        let mut header = [0; HEADER_BYTES];
        header[..4].copy_from_slice(&section.number().to_le_bytes());
        header[8..16].copy_from_slice(&(rows as u64).to_le_bytes());
        header[16..24].copy_from_slice(&bytes.to_le_bytes());
        seal(&mut header, checksum);
        self.out[at..at + HEADER_BYTES].copy_from_slice(&header);
    }
}

impl Sink for Saver {
    #[inline(always)]
    fn put<const N: usize>(&mut self, bytes: [u8; N]) {
        self.out.extend_from_slice(&bytes);
    }
}

impl Sections for Saver {
    fn section(&mut self, section: Section, rows: usize) {
        self.end_section();
        self.section = Some((section, self.out.len(), rows));
        self.out.extend([0; HEADER_BYTES]);
    }
}

/// Bytes hashed at one go: a hash of many small pieces is several times slower.
const HASHED_BYTES: usize = 1 << 14;

struct Hasher {
    hash: Sha256,
    buffer: Vec<u8>,
}

impl Sink for Hasher {
    #[inline(always)]
    fn put<const N: usize>(&mut self, bytes: [u8; N]) {
        self.buffer.extend_from_slice(&bytes);
        if self.buffer.len() >= HASHED_BYTES {
            self.hash.update(&self.buffer);
            self.buffer.clear();
        }
    }
}

impl Sections for Hasher {
    fn section(&mut self, section: Section, rows: usize) {
        self.u32(section.number());
        self.u64(rows as u64);
    }
}

/// Sections to be read one after the other.
pub(crate) struct Tables<'a> {
    rest: &'a [u8],
    /// Of the section read last.
    number: u32,
}

/// The rows of a section.
pub(crate) struct Rows<'a> {
    section: Section,
    rows: u64,
    at: u64,
    source: Source<'a>,
}

impl<'a> Tables<'a> {
    /// The next section, which is to be this one.
    fn next(&mut self, section: Section) -> Result<Rows<'a>, LoadError> {
        let (header, rest) = self.rest.split_first_chunk().ok_or(LoadError::Length)?;
        self.number += 1;
        let changed = LoadError::Header(Some(section.name()));
        let bytes = usize::try_from(number_at(header, 16)).map_err(|_| changed)?;
        if number_at(header, 0) != u64::from(section.number()) || self.number != section.number() {
            return Err(changed);
        }
        let (payload, rest) = rest.split_at_checked(bytes).ok_or(LoadError::Length)?;
        if number_at(header, 24) != xxh3_64_with_seed(&header[..CHECKED_BYTES], xxh3_64(payload)) {
            return Err(LoadError::Checksum(section.name()));
        }
        if self.number == Section::COUNT && !rest.is_empty() {
            return Err(LoadError::Length);
        }
        self.rest = rest;
        Ok(Rows { section, rows: number_at(header, 8), at: 0, source: Source(payload) })
    }

    /// Reads the next section, which is to be this one, row by row.
    pub(crate) fn each<T: Column>(
        &mut self,
        section: Section,
        mut take: impl FnMut(T) -> Result<(), Fault>,
    ) -> Result<(), LoadError> {
        let mut rows = self.next(section)?;
        while rows.at < rows.rows {
            rows.at += 1;
            let taken = T::get(&mut rows.source).and_then(&mut take);
            taken.map_err(|what| LoadError::Row { section: section.name(), row: rows.at, what })?;
        }
        if rows.source.0.is_empty() { Ok(()) } else { Err(LoadError::Differs(section.name())) }
    }

    /// [`Tables::each`], some rows at a time: `approach` is called with each of them, pass after pass, before `take` is
    /// with the first. It reads what `take` will need, and so has memory fetch that for many rows at once.
    pub(crate) fn each_approached<T: Column, C: ?Sized>(
        &mut self,
        section: Section,
        context: &mut C,
        passes: &[fn(&C, &T)],
        mut take: impl FnMut(&mut C, &T) -> Result<(), Fault>,
    ) -> Result<(), LoadError> {
        const ROWS: usize = 64;
        let mut rows = self.next(section)?;
        let wrong = |row, what| LoadError::Row { section: section.name(), row, what };
        let mut batch = Vec::with_capacity(ROWS);
        while rows.at < rows.rows {
            batch.clear();
            let mut fault = None;
            while batch.len() < ROWS && rows.at + (batch.len() as u64) < rows.rows && fault.is_none() {
                match T::get(&mut rows.source) {
                    Ok(row) => batch.push(row),
                    Err(what) => fault = Some(what),
                }
            }
            for pass in passes {
                batch.iter().for_each(|row| pass(context, row));
            }
            for row in &batch {
                rows.at += 1;
                take(context, row).map_err(|what| wrong(rows.at, what))?;
            }
            if let Some(what) = fault {
                return Err(wrong(rows.at + 1, what));
            }
        }
        if rows.source.0.is_empty() { Ok(()) } else { Err(LoadError::Differs(section.name())) }
    }

    /// How many rows a section has, as far as unchecked headers tell, when each takes `bytes_min` at least: a header
    /// cannot ask for memory that no rows stand for.
    pub(crate) fn rows_of(&self, section: Section, bytes_min: usize) -> usize {
        let mut rest = self.rest;
        while let Some((header, behind)) = rest.split_first_chunk() {
            let number = |at| usize::try_from(number_at(header, at)).unwrap_or(usize::MAX);
            if number_at(header, 0) == u64::from(section.number()) {
                return number(8).min(behind.len() / bytes_min);
            }
            rest = behind.get(number(16)..).unwrap_or_default();
        }
        0
    }
}

/// Compares a listing with bytes.
struct Comparer<'a> {
    tables: Tables<'a>,
    open: Option<Rows<'a>>,
    /// The first section that is not the same.
    differs: Option<&'static str>,
}

impl Comparer<'_> {
    fn end_section(&mut self) {
        if let Some(rows) = self.open.take()
            && !rows.source.0.is_empty()
        {
            self.differs = self.differs.or(Some(rows.section.name()));
        }
    }
}

impl Sink for Comparer<'_> {
    #[inline(always)]
    fn put<const N: usize>(&mut self, bytes: [u8; N]) {
        let Some(rows) = &mut self.open else { return };
        match rows.source.0.split_first_chunk() {
            Some((there, rest)) if *there == bytes => rows.source.0 = rest,
            _ => {
                self.differs = self.differs.or(Some(rows.section.name()));
                self.open = None;
            }
        }
    }
}

impl Sections for Comparer<'_> {
    fn section(&mut self, section: Section, rows: usize) {
        self.end_section();
        self.open = self.tables.next(section).ok().filter(|table| table.rows == rows as u64);
        if self.open.is_none() {
            self.differs = self.differs.or(Some(section.name()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironbell_types::{
        Account, AccountId, Amount, Asset, AssetId, Capacity, ClOrdId, Command, Control, Credential, Display,
        EnterOrder, Event, Firm, FirmId, Funding, Instrument, InstrumentId, Mpid, Nanos, OpenDay,
        OrderOptions, OrderTerms, Phase, Port, PortId, PortLimits, Price, Qty, Scale, Seq, Sequenced, Side,
        Symbol, TimeInForce, UserRefIdx, UserRefNum, Username,
    };

    const CONFIG: Config = Config { key: 1, orders: 1, accounts: 1 };

    fn execute(engine: &mut Engine, command: Command) -> Vec<Event> {
        let mut said = Vec::new();
        let seq = engine.last_seq().next();
        engine.execute(&Sequenced { seq, time: Nanos(seq.0), command }, &mut said);
        said
    }

    /// A book that is paused, and crossed by `pairs` orders on each side.
    fn paused(pairs: u32) -> Engine {
        let mut engine = Engine::new(CONFIG);
        let asset = |id, code| Asset { id: AssetId(id), code: Symbol::new(code).unwrap(), decimals: 0 };
        let port = Port {
            id: PortId(1),
            username: Username::new("ALFA").unwrap(),
            firm: FirmId(1),
            account: AccountId(1),
            limits: PortLimits { qty_max: Qty(9), notional_max: Amount(1 << 40) },
            credential: Credential { salt: [0; 16], hash: [0; 32], memory_kib: 8, passes: 1, lanes: 1 },
        };
        let fund = |id, asset| {
            Command::Fund(Funding {
                id,
                account: AccountId(1),
                asset: AssetId(asset),
                amount: Amount(1 << 30),
            })
        };
        let phase = |phase| {
            Command::Control(Control::SetPhase { instrument: InstrumentId(1), phase, reason: *b"T1  " })
        };
        let setup = [
            Command::DefineAsset(asset(1, "USD")),
            Command::DefineAsset(asset(2, "XYZ")),
            Command::DefineInstrument(Instrument {
                id: InstrumentId(1),
                symbol: Symbol::new("XYZ").unwrap(),
                base: AssetId(2),
                quote: AssetId(1),
                scale: Scale::Scaled,
                tick_value: 1,
                lot_units: 1,
                round_lot: 1,
                maker_fee_bps: 0,
                taker_fee_bps: 0,
            }),
            Command::DefineFirm(Firm { id: FirmId(1), mpid: Mpid::new("ALFA").unwrap() }),
            Command::DefineAccount(Account { id: AccountId(1), firm: FirmId(1) }),
            Command::DefinePort(port),
            fund(1, 1),
            fund(2, 2),
            Command::OpenDay(OpenDay { date: 20_261_121, midnight: Nanos(0) }),
            phase(Phase::Paused),
        ];
        for command in setup {
            execute(&mut engine, command);
        }
        for num in 1..=2 * pairs {
            let side = if num.is_multiple_of(2) { Side::Buy } else { Side::Sell };
            let order = EnterOrder {
                port: PortId(1),
                user_ref_idx: UserRefIdx(0),
                user_ref_num: UserRefNum(num),
                instrument: InstrumentId(1),
                side,
                qty: Qty(1),
                price: Price(100),
                time_in_force: TimeInForce::Day,
                display: Display::Visible,
                capacity: Capacity::Agency,
                cl_ord_id: ClOrdId::default(),
                options: OrderOptions::default(),
                terms: OrderTerms::default(),
                fault: None,
            };
            assert_eq!(execute(&mut engine, Command::EnterOrder(order)).len(), 1);
        }
        engine.parts[0].matching.trades_max = 3;
        execute(&mut engine, phase(Phase::Continuous));
        engine
    }

    /// A cross that its command did not finish, which takes more trades than a random flow ever has.
    #[test]
    fn a_cross_under_way_is_saved_and_loaded() {
        let mut engine = paused(10);
        assert!(engine.parts[0].matching.trading(InstrumentId(1)).crossing.is_some());
        for _ in 0..3 {
            let mut loaded = Engine::load(&engine.save(), CONFIG).unwrap();
            loaded.parts[0].matching.trades_max = 3;
            assert_eq!(loaded.state_hash(), engine.state_hash());
            assert_eq!(loaded.next_due(), Some(Nanos(0)));
            let said = execute(&mut engine, Command::Tick);
            assert!(said.len() > 3);
            assert_eq!(execute(&mut loaded, Command::Tick), said);
            engine = loaded;
        }
        assert!(engine.parts[0].matching.trading(InstrumentId(1)).crossing.is_none());
        assert_eq!((engine.parts[0].matching.orders(), engine.last_seq()), (0, Seq(34)));
    }

    #[test]
    fn the_same_state_is_the_same_bytes_whatever_room_it_was_given() {
        let saved = paused(3).save();
        let roomy = Engine::load(&saved, Config { orders: 5_000, accounts: 700, ..CONFIG }).unwrap();
        assert!(roomy.save() == saved);
        assert_eq!(roomy.state_hash(), paused(3).state_hash());
    }
}
