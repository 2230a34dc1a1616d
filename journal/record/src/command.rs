//! A sequenced command as a record: little-endian, a multiple of eight bytes long.
//!
//! ```text
//!  0       2     3     4               8                              16
//!  ├───────┼─────┼─────┼───────────────┼───────────────────────────────┼──────────┄
//!  │length │kind │vers.│ zero          │ time, ns since 1970           │ body
//!  ├───────┴─────┴─────┴───────────────┴───────────────────────────────┴──────────┄
//! ```
//!
//! `length` counts the whole record. The Seq is not stored: it is the frame's first Seq plus the
//! record's place in the frame. The encoding is canonical: a record that decodes encodes to the same
//! bytes again, so unused bytes and absent options must be zero.

mod control;

use ironbell_types::{
    Account, AccountId, AccountQuery, Amount, Asset, AssetId, CancelOrder, Capacity, ClOrdId, Command,
    Credential, DeadMan, Display, EnterOrder, Firm, FirmId, Funding, Instrument, InstrumentId, Login, Logout,
    MassCancel, MassCancelSlice, ModifyOrder, Mpid, Nanos, OpenDay, OrderEntrySwitch, OrderOptions,
    OrderStateQuery, OrderTerms, Peg, Port, PortId, PortLimits, Price, Qty, Quote, QuoteSide, Reject,
    ReplaceOrder, Scale, Seq, Sequenced, Side, Stp, Symbol, TimeInForce, UserRefIdx, UserRefNum, Username,
};
use zerocopy::little_endian::{I32, I64, I128, U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Bytes before a record's body.
pub const RECORD_HEADER_BYTES: usize = size_of::<RecordHeader>();

/// The largest record, in bytes.
pub const RECORD_BYTES_MAX: usize = RECORD_HEADER_BYTES + size_of::<PortBody>();

/// The version every kind of record has today.
const VERSION: u8 = 1;

/// A record that cannot be what we wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeError {
    /// Where the record begins, in bytes from the start of the buffer given.
    pub offset: usize,
    /// What is wrong with it.
    pub fault: DecodeFault,
}

/// What is wrong with a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeFault {
    /// The bytes end before the record does.
    Truncated,
    /// No such kind of record.
    Kind(u8),
    /// No such version of this kind.
    Version(u8),
    /// The length is not that of its kind.
    Length(u16),
    /// A field holds a code that is none of its own.
    Code {
        /// Which field.
        field: &'static str,
        /// What it holds.
        code: u16,
    },
    /// An unused byte is not zero.
    Reserved,
    /// An order's record of the long kind holds nothing that the short kind could not.
    Plain,
    /// The record's time is before that of the record before it, or the last one's is not the frame's.
    Time(Nanos),
    /// Bytes are left over behind the frame's last record.
    Surplus,
}

impl core::fmt::Display for DecodeError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "record at payload byte {}: ", self.offset)?;
        match self.fault {
            DecodeFault::Truncated => f.write_str("ends too early"),
            DecodeFault::Kind(kind) => write!(f, "unknown kind {kind}"),
            DecodeFault::Version(version) => write!(f, "unknown version {version}"),
            DecodeFault::Length(length) => write!(f, "length {length} is not that of its kind"),
            DecodeFault::Code { field, code } => write!(f, "unknown {field} code {code:#x}"),
            DecodeFault::Plain => f.write_str("a plain order in a record of the long kind"),
            DecodeFault::Reserved => f.write_str("an unused byte is not zero"),
            DecodeFault::Time(time) => write!(f, "time {time} is out of order"),
            DecodeFault::Surplus => f.write_str("bytes are left over behind the last record"),
        }
    }
}

impl core::error::Error for DecodeError {}

macro_rules! kinds {
    ($($name:ident = $code:literal, $body:ty;)*) => {
        #[derive(Clone, Copy)]
        #[repr(u8)]
        enum Kind { $($name = $code,)* }

        impl Kind {
            fn new(code: u8) -> Option<Self> {
                match code { $($code => Some(Self::$name),)* _ => None }
            }

            /// Length of a whole record of this kind, in bytes.
            const fn bytes(self) -> usize {
                RECORD_HEADER_BYTES + match self { $(Self::$name => size_of::<$body>(),)* }
            }
        }

        // Every body is a multiple of eight bytes, so that every record begins at one.
        $(const _: () = assert!(size_of::<$body>() % 8 == 0 && size_of::<$body>() <= size_of::<PortBody>());)*
    };
}

// A code is never used twice, not even after its kind is gone: old journals hold it.
kinds! {
    DefineAsset = 1, AssetBody;
    DefineInstrument = 2, InstrumentBody;
    DefineFirm = 3, FirmBody;
    DefineAccount = 4, AccountBody;
    DefinePort = 5, PortBody;
    Fund = 6, FundBody;
    OpenDay = 7, OpenDayBody;
    Login = 8, LoginBody;
    Logout = 9, LogoutBody;
    EnterOrder = 10, EnterBody;
    ReplaceOrder = 11, ReplaceBody;
    CancelOrder = 12, CancelBody;
    ModifyOrder = 13, ModifyBody;
    MassCancel = 14, MassCancelBody;
    MassCancelSlice = 15, SliceBody;
    AccountQuery = 16, QueryBody;
    Tick = 17, [u8; 0];
    DisableOrderEntry = 18, SwitchBody;
    EnableOrderEntry = 19, SwitchBody;
    EnterOrderWithTerms = 20, EnterWithTermsBody;
    ReplaceOrderWithTerms = 21, ReplaceWithTermsBody;
    Quote = 22, QuoteBody;
    OrderStateQuery = 23, StateQueryBody;
    DeadMan = 24, DeadManBody;
    SetRules = 25, control::RulesBody;
    SetSchedule = 26, control::ScheduleBody;
    SetPhase = 27, control::PhaseBody;
    SetPortRules = 28, control::PortRulesBody;
    SetExposure = 29, control::ExposureBody;
    SetCredit = 30, control::CreditBody;
    SetPosition = 31, control::PositionBody;
    Entitle = 32, control::SwitchBody;
    Restrict = 33, control::SwitchBody;
    Locate = 34, control::LocateBody;
    Kill = 35, control::KillBody;
    SetFees = 36, control::FeesBody;
    SetTier = 37, control::TierBody;
    SetFirmTier = 38, control::FirmTierBody;
    CloseDay = 39, [u8; 0];
    Bust = 40, control::BustBody;
    Delist = 41, control::DelistBody;
    ChangeTick = 42, control::TickBody;
    ChangeSymbol = 43, control::SymbolBody;
    SetDeclineLevels = 44, control::LevelsBody;
    MarketWideHalt = 45, control::HaltBody;
    Void = 46, control::VoidBody;
    HaltOrderEntry = 47, control::OnBody;
    SignedHead = 48, control::HeadBody;
    BeginGrace = 49, control::GraceBody;
}

/// Length of `command` as a record, in bytes.
#[must_use]
pub fn bytes(command: &Command) -> usize {
    kind(command).bytes()
}

fn kind(command: &Command) -> Kind {
    match command {
        Command::DefineAsset(_) => Kind::DefineAsset,
        Command::DefineInstrument(_) => Kind::DefineInstrument,
        Command::DefineFirm(_) => Kind::DefineFirm,
        Command::DefineAccount(_) => Kind::DefineAccount,
        Command::DefinePort(_) => Kind::DefinePort,
        Command::Fund(_) => Kind::Fund,
        Command::OpenDay(_) => Kind::OpenDay,
        Command::Login(_) => Kind::Login,
        Command::Logout(_) => Kind::Logout,
        Command::EnterOrder(order) if order.terms.is_plain() => Kind::EnterOrder,
        Command::EnterOrder(_) => Kind::EnterOrderWithTerms,
        Command::ReplaceOrder(replace) if is_plain(replace) => Kind::ReplaceOrder,
        Command::ReplaceOrder(_) => Kind::ReplaceOrderWithTerms,
        Command::CancelOrder(_) => Kind::CancelOrder,
        Command::ModifyOrder(_) => Kind::ModifyOrder,
        Command::MassCancel(_) => Kind::MassCancel,
        Command::MassCancelSlice(_) => Kind::MassCancelSlice,
        Command::AccountQuery(_) => Kind::AccountQuery,
        Command::Tick => Kind::Tick,
        Command::DisableOrderEntry(_) => Kind::DisableOrderEntry,
        Command::EnableOrderEntry(_) => Kind::EnableOrderEntry,
        Command::Quote(_) => Kind::Quote,
        Command::OrderStateQuery(_) => Kind::OrderStateQuery,
        Command::DeadMan(_) => Kind::DeadMan,
        Command::Control(control) => control::kind(control),
    }
}

/// Whether a replacement leaves the original's terms as they are.
fn is_plain(replace: &ReplaceOrder) -> bool {
    replace.max_floor.is_none() && replace.random_reserves.is_none() && replace.expire == Nanos(0)
}

/// Writes a command and its time as one record at the start of `into`; returns its length in bytes.
///
/// # Panics
/// When `into` is shorter than [`bytes`] says.
pub fn encode(time: Nanos, command: &Command, into: &mut [u8]) -> usize {
    let kind = kind(command);
    let length = kind.bytes();
    let (head, body) = into[..length].split_at_mut(RECORD_HEADER_BYTES);
    let header = RecordHeader {
        length: U16::new(length as u16),
        kind: kind as u8,
        version: VERSION,
        zero: U32::ZERO,
        time: U64::new(time.0),
    };
    head.copy_from_slice(header.as_bytes());
    match command {
        Command::DefineAsset(asset) => put(body, &AssetBody::new(asset)),
        Command::DefineInstrument(instrument) => put(body, &InstrumentBody::new(instrument)),
        Command::DefineFirm(firm) => put(body, &FirmBody { id: firm.id.0.into(), mpid: firm.mpid.0 }),
        Command::DefineAccount(account) => {
            put(body, &AccountBody { id: account.id.0.into(), firm: account.firm.0.into() });
        }
        Command::DefinePort(port) => put(body, &PortBody::new(port)),
        Command::Fund(funding) => put(body, &FundBody::new(funding)),
        Command::OpenDay(day) => {
            put(
                body,
                &OpenDayBody { date: day.date.into(), zero: U32::ZERO, midnight: day.midnight.0.into() },
            );
        }
        Command::Login(login) => put(body, &LoginBody { port: login.port.0.into(), zero: U32::ZERO }),
        Command::Logout(logout) => {
            put(body, &LogoutBody { port: logout.port.0.into(), incarnation: logout.incarnation.into() });
        }
        Command::EnterOrder(order) if order.terms.is_plain() => put(body, &EnterBody::new(order)),
        Command::EnterOrder(order) => put(body, &EnterWithTermsBody::new(order)),
        Command::ReplaceOrder(replace) if is_plain(replace) => put(body, &ReplaceBody::new(replace)),
        Command::ReplaceOrder(replace) => put(body, &ReplaceWithTermsBody::new(replace)),
        Command::CancelOrder(cancel) => put(body, &CancelBody::new(cancel)),
        Command::ModifyOrder(modify) => put(body, &ModifyBody::new(modify)),
        Command::MassCancel(cancel) => put(body, &MassCancelBody::new(cancel)),
        Command::MassCancelSlice(slice) => {
            put(body, &SliceBody { cause: slice.cause.0.into(), slice: slice.slice.into(), zero: U32::ZERO });
        }
        Command::AccountQuery(query) => {
            put(body, &QueryBody { port: query.port.0.into(), idx: query.user_ref_idx.0, zero: [0; 3] });
        }
        Command::Tick => {}
        Command::DisableOrderEntry(switch) | Command::EnableOrderEntry(switch) => {
            put(body, &SwitchBody::new(switch));
        }
        Command::Quote(quote) => put(body, &QuoteBody::new(quote)),
        Command::OrderStateQuery(query) => put(body, &StateQueryBody::new(query)),
        Command::DeadMan(timer) => {
            let (port, timeout_ns) = (timer.port.0.into(), timer.timeout_ns.into());
            put(body, &DeadManBody { timeout_ns, port, zero: U32::ZERO });
        }
        Command::Control(control) => control::encode(control, body),
    }
    length
}

fn put<T: IntoBytes + Immutable>(into: &mut [u8], body: &T) {
    into.copy_from_slice(body.as_bytes());
}

/// Reads the record at `offset` of `payload`: the command with its time, under the `seq` that its place
/// gives it, and the record's length in bytes.
///
/// # Errors
/// Whatever [`encode`] would not have written.
pub fn decode(payload: &[u8], offset: usize, seq: Seq) -> Result<(Sequenced, usize), DecodeError> {
    let record = payload.get(offset..).unwrap_or(&[]);
    match parse(record) {
        Ok((time, command, length)) => Ok((Sequenced { seq, time, command }, length)),
        Err(fault) => Err(DecodeError { offset, fault }),
    }
}

fn parse(record: &[u8]) -> Result<(Nanos, Command, usize), DecodeFault> {
    let (header, _) = RecordHeader::ref_from_prefix(record).map_err(|_| DecodeFault::Truncated)?;
    let kind = Kind::new(header.kind).ok_or(DecodeFault::Kind(header.kind))?;
    if header.version != VERSION {
        return Err(DecodeFault::Version(header.version));
    }
    let length = kind.bytes();
    if usize::from(header.length.get()) != length {
        return Err(DecodeFault::Length(header.length.get()));
    }
    zero(header.zero == U32::ZERO)?;
    let body = record.get(RECORD_HEADER_BYTES..length).ok_or(DecodeFault::Truncated)?;
    let command = match kind {
        Kind::DefineAsset => Command::DefineAsset(take::<AssetBody>(body)?.value()?),
        Kind::DefineInstrument => Command::DefineInstrument(take::<InstrumentBody>(body)?.value()?),
        Kind::DefineFirm => {
            let body = take::<FirmBody>(body)?;
            Command::DefineFirm(Firm { id: FirmId(body.id.get()), mpid: Mpid(body.mpid) })
        }
        Kind::DefineAccount => {
            let body = take::<AccountBody>(body)?;
            Command::DefineAccount(Account { id: AccountId(body.id.get()), firm: FirmId(body.firm.get()) })
        }
        Kind::DefinePort => Command::DefinePort(take::<PortBody>(body)?.value()?),
        Kind::Fund => Command::Fund(take::<FundBody>(body)?.value()),
        Kind::OpenDay => {
            let body = take::<OpenDayBody>(body)?;
            zero(body.zero == U32::ZERO)?;
            Command::OpenDay(OpenDay { date: body.date.get(), midnight: Nanos(body.midnight.get()) })
        }
        Kind::Login => {
            let body = take::<LoginBody>(body)?;
            zero(body.zero == U32::ZERO)?;
            Command::Login(Login { port: PortId(body.port.get()) })
        }
        Kind::Logout => {
            let body = take::<LogoutBody>(body)?;
            Command::Logout(Logout { port: PortId(body.port.get()), incarnation: body.incarnation.get() })
        }
        Kind::EnterOrder => Command::EnterOrder(take::<EnterBody>(body)?.value()?),
        Kind::ReplaceOrder => Command::ReplaceOrder(take::<ReplaceBody>(body)?.value()?),
        Kind::CancelOrder => Command::CancelOrder(take::<CancelBody>(body)?.value()?),
        Kind::ModifyOrder => Command::ModifyOrder(take::<ModifyBody>(body)?.value()?),
        Kind::MassCancel => Command::MassCancel(take::<MassCancelBody>(body)?.value()?),
        Kind::MassCancelSlice => {
            let body = take::<SliceBody>(body)?;
            zero(body.zero == U32::ZERO)?;
            Command::MassCancelSlice(MassCancelSlice {
                cause: Seq(body.cause.get()),
                slice: body.slice.get(),
            })
        }
        Kind::AccountQuery => {
            let body = take::<QueryBody>(body)?;
            zero(body.zero == [0; 3])?;
            let (port, user_ref_idx) = (PortId(body.port.get()), UserRefIdx(body.idx));
            Command::AccountQuery(AccountQuery { port, user_ref_idx })
        }
        Kind::Tick => Command::Tick,
        Kind::DisableOrderEntry => Command::DisableOrderEntry(take::<SwitchBody>(body)?.value()?),
        Kind::EnableOrderEntry => Command::EnableOrderEntry(take::<SwitchBody>(body)?.value()?),
        Kind::EnterOrderWithTerms => Command::EnterOrder(take::<EnterWithTermsBody>(body)?.value()?),
        Kind::ReplaceOrderWithTerms => Command::ReplaceOrder(take::<ReplaceWithTermsBody>(body)?.value()?),
        Kind::Quote => Command::Quote(take::<QuoteBody>(body)?.value()?),
        Kind::OrderStateQuery => Command::OrderStateQuery(take::<StateQueryBody>(body)?.value()?),
        Kind::DeadMan => {
            let body = take::<DeadManBody>(body)?;
            zero(body.zero == U32::ZERO)?;
            Command::DeadMan(DeadMan { port: PortId(body.port.get()), timeout_ns: body.timeout_ns.get() })
        }
        control => Command::Control(control::decode(control, body)?),
    };
    Ok((Nanos(header.time.get()), command, length))
}

fn take<T: FromBytes + Immutable + KnownLayout + Unaligned>(body: &[u8]) -> Result<&T, DecodeFault> {
    T::ref_from_bytes(body).map_err(|_| DecodeFault::Truncated)
}

fn zero(is_zero: bool) -> Result<(), DecodeFault> {
    if is_zero { Ok(()) } else { Err(DecodeFault::Reserved) }
}

fn code<T: TryFrom<u8>>(field: &'static str, code: u8) -> Result<T, DecodeFault> {
    T::try_from(code).map_err(|_| DecodeFault::Code { field, code: code.into() })
}

fn fault_code(fault: Option<Reject>) -> U16 {
    U16::new(fault.map_or(0, Reject::code))
}

fn fault(stored: U16) -> Result<Option<Reject>, DecodeFault> {
    match stored.get() {
        0 => Ok(None),
        code => Reject::from_code(code).map(Some).ok_or(DecodeFault::Code { field: "fault", code }),
    }
}

/// Flag of an order's options: tag 2 (firm) was given.
const FLAG_FIRM: u8 = 1;
/// Flag of an order's options and of a mass cancel: tag 24 (group) was given.
const FLAG_GROUP: u8 = 2;

fn options_flags(options: &OrderOptions) -> u8 {
    group_flag(options.group) | if options.firm { FLAG_FIRM } else { 0 }
}

fn group_flag(group: Option<u16>) -> u8 {
    if group.is_some() { FLAG_GROUP } else { 0 }
}

fn group(flags: u8, stored: U16) -> Result<Option<u16>, DecodeFault> {
    if flags & FLAG_GROUP != 0 {
        return Ok(Some(stored.get()));
    }
    zero(stored == U16::ZERO)?;
    Ok(None)
}

fn flags_known(flags: u8, known: u8) -> Result<(), DecodeFault> {
    if flags & !known == 0 { Ok(()) } else { Err(DecodeFault::Code { field: "flags", code: flags.into() }) }
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RecordHeader {
    length: U16,
    kind: u8,
    version: u8,
    zero: U32,
    time: U64,
}
const _: () = assert!(size_of::<RecordHeader>() == 16);

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct AssetBody {
    id: U32,
    decimals: u8,
    zero: [u8; 3],
    code: [u8; 8],
}
const _: () = assert!(size_of::<AssetBody>() == 16);

impl AssetBody {
    fn new(asset: &Asset) -> Self {
        Self { id: asset.id.0.into(), decimals: asset.decimals, zero: [0; 3], code: asset.code.0 }
    }

    fn value(&self) -> Result<Asset, DecodeFault> {
        zero(self.zero == [0; 3])?;
        Ok(Asset { id: AssetId(self.id.get()), code: Symbol(self.code), decimals: self.decimals })
    }
}

/// `scale` of an instrument whose numbers are Nasdaq's own; `price_tick` is given.
const SCALE_EQUITY: u8 = b'E';
/// `scale` of an instrument in ticks and lots; `price_tick` is zero.
const SCALE_SCALED: u8 = b'S';

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct InstrumentBody {
    id: U32,
    base: U32,
    quote: U32,
    price_tick: U32,
    symbol: [u8; 8],
    tick_value: U64,
    lot_units: U64,
    round_lot: U32,
    maker_fee_bps: U16,
    taker_fee_bps: U16,
    scale: u8,
    zero: [u8; 7],
}
const _: () = assert!(size_of::<InstrumentBody>() == 56);

impl InstrumentBody {
    fn new(instrument: &Instrument) -> Self {
        let (scale, price_tick) = match instrument.scale {
            Scale::EquityExact { price_tick } => (SCALE_EQUITY, price_tick),
            Scale::Scaled => (SCALE_SCALED, 0),
        };
        Self {
            id: instrument.id.0.into(),
            base: instrument.base.0.into(),
            quote: instrument.quote.0.into(),
            price_tick: price_tick.into(),
            symbol: instrument.symbol.0,
            tick_value: instrument.tick_value.into(),
            lot_units: instrument.lot_units.into(),
            round_lot: instrument.round_lot.into(),
            maker_fee_bps: instrument.maker_fee_bps.into(),
            taker_fee_bps: instrument.taker_fee_bps.into(),
            scale,
            zero: [0; 7],
        }
    }

    fn value(&self) -> Result<Instrument, DecodeFault> {
        zero(self.zero == [0; 7])?;
        let scale = match self.scale {
            SCALE_EQUITY => Scale::EquityExact { price_tick: self.price_tick.get() },
            SCALE_SCALED => {
                zero(self.price_tick == U32::ZERO)?;
                Scale::Scaled
            }
            code => return Err(DecodeFault::Code { field: "scale", code: code.into() }),
        };
        Ok(Instrument {
            id: InstrumentId(self.id.get()),
            symbol: Symbol(self.symbol),
            base: AssetId(self.base.get()),
            quote: AssetId(self.quote.get()),
            scale,
            tick_value: self.tick_value.get(),
            lot_units: self.lot_units.get(),
            round_lot: self.round_lot.get(),
            maker_fee_bps: self.maker_fee_bps.get(),
            taker_fee_bps: self.taker_fee_bps.get(),
        })
    }
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct FirmBody {
    id: U32,
    mpid: [u8; 4],
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct AccountBody {
    id: U32,
    firm: U32,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct PortBody {
    id: U32,
    firm: U32,
    account: U32,
    memory_kib: U32,
    passes: U32,
    lanes: U32,
    qty_max: U64,
    notional_max: I128,
    salt: [u8; 16],
    hash: [u8; 32],
    username: [u8; 6],
    zero: [u8; 2],
}
const _: () = assert!(size_of::<PortBody>() == 104);

impl PortBody {
    fn new(port: &Port) -> Self {
        Self {
            id: port.id.0.into(),
            firm: port.firm.0.into(),
            account: port.account.0.into(),
            memory_kib: port.credential.memory_kib.into(),
            passes: port.credential.passes.into(),
            lanes: port.credential.lanes.into(),
            qty_max: port.limits.qty_max.0.into(),
            notional_max: port.limits.notional_max.0.into(),
            salt: port.credential.salt,
            hash: port.credential.hash,
            username: port.username.0,
            zero: [0; 2],
        }
    }

    fn value(&self) -> Result<Port, DecodeFault> {
        zero(self.zero == [0; 2])?;
        Ok(Port {
            id: PortId(self.id.get()),
            username: Username(self.username),
            firm: FirmId(self.firm.get()),
            account: AccountId(self.account.get()),
            limits: PortLimits {
                qty_max: Qty(self.qty_max.get()),
                notional_max: Amount(self.notional_max.get()),
            },
            credential: Credential {
                salt: self.salt,
                hash: self.hash,
                memory_kib: self.memory_kib.get(),
                passes: self.passes.get(),
                lanes: self.lanes.get(),
            },
        })
    }
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct FundBody {
    id: U64,
    amount: I128,
    account: U32,
    asset: U32,
}
const _: () = assert!(size_of::<FundBody>() == 32);

impl FundBody {
    fn new(funding: &Funding) -> Self {
        Self {
            id: funding.id.into(),
            amount: funding.amount.0.into(),
            account: funding.account.0.into(),
            asset: funding.asset.0.into(),
        }
    }

    fn value(&self) -> Funding {
        Funding {
            id: self.id.get(),
            account: AccountId(self.account.get()),
            asset: AssetId(self.asset.get()),
            amount: Amount(self.amount.get()),
        }
    }
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct OpenDayBody {
    date: U32,
    zero: U32,
    midnight: U64,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct LoginBody {
    port: U32,
    zero: U32,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct LogoutBody {
    port: U32,
    incarnation: U32,
}

/// What every Enter Order has.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct EnterFields {
    qty: U64,
    price: I64,
    port: U32,
    user_ref_num: U32,
    instrument: U32,
    min_qty: U32,
    cl_ord_id: [u8; 14],
    group: U16,
    fault: U16,
    user_ref_idx: u8,
    side: u8,
    time_in_force: u8,
    display: u8,
    capacity: u8,
    customer_type: u8,
    post_only: u8,
    flags: u8,
}
const _: () = assert!(size_of::<EnterFields>() == 58);

impl EnterFields {
    fn new(order: &EnterOrder, terms: u8) -> Self {
        Self {
            qty: order.qty.0.into(),
            price: order.price.0.into(),
            port: order.port.0.into(),
            user_ref_num: order.user_ref_num.0.into(),
            instrument: order.instrument.0.into(),
            min_qty: order.options.min_qty.into(),
            cl_ord_id: order.cl_ord_id.0,
            group: order.options.group.unwrap_or(0).into(),
            fault: fault_code(order.fault),
            user_ref_idx: order.user_ref_idx.0,
            side: order.side.code(),
            time_in_force: order.time_in_force.code(),
            display: order.display.code(),
            capacity: order.capacity.code(),
            customer_type: order.options.customer_type,
            post_only: order.options.post_only,
            flags: options_flags(&order.options) | terms,
        }
    }

    fn value(&self, terms: OrderTerms) -> Result<EnterOrder, DecodeFault> {
        Ok(EnterOrder {
            port: PortId(self.port.get()),
            user_ref_idx: UserRefIdx(self.user_ref_idx),
            user_ref_num: UserRefNum(self.user_ref_num.get()),
            instrument: InstrumentId(self.instrument.get()),
            side: code::<Side>("side", self.side)?,
            qty: Qty(self.qty.get()),
            price: Price(self.price.get()),
            time_in_force: code::<TimeInForce>("time in force", self.time_in_force)?,
            display: code::<Display>("display", self.display)?,
            capacity: code::<Capacity>("capacity", self.capacity)?,
            cl_ord_id: ClOrdId(self.cl_ord_id),
            options: OrderOptions {
                firm: self.flags & FLAG_FIRM != 0,
                customer_type: self.customer_type,
                post_only: self.post_only,
                group: group(self.flags, self.group)?,
                min_qty: self.min_qty.get(),
            },
            terms,
            fault: fault(self.fault)?,
        })
    }
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct EnterBody {
    order: EnterFields,
    zero: [u8; 6],
}
const _: () = assert!(RECORD_HEADER_BYTES + size_of::<EnterBody>() == 80);

impl EnterBody {
    fn new(order: &EnterOrder) -> Self {
        Self { order: EnterFields::new(order, 0), zero: [0; 6] }
    }

    fn value(&self) -> Result<EnterOrder, DecodeFault> {
        zero(self.zero == [0; 6])?;
        flags_known(self.order.flags, FLAG_FIRM | FLAG_GROUP)?;
        self.order.value(OrderTerms::default())
    }
}

/// An order that is more than a plain one. Peg, self-trade prevention and market have no room of their
/// own beside the longest record there was, a port's, so that a full frame of any records still fits:
///
/// ```text
/// flags  7 6 5   4 3   2        1       0
///        stp     peg   market   group   firm
/// ```
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct EnterWithTermsBody {
    order: EnterFields,
    stp_group: [u8; 2],
    oco: U32,
    stop: I64,
    discretion: I64,
    expire: U64,
    trail: U32,
    max_floor: U32,
    random_reserves: U32,
    peg_offset: I32,
}
const _: () = assert!(RECORD_HEADER_BYTES + size_of::<EnterWithTermsBody>() == 120);

/// Flag of an order with terms: it has no limit.
const FLAG_MARKET: u8 = 4;
/// Where the peg stands in the flags of an order with terms, two bits wide.
const PEG_SHIFT: u32 = 3;
/// Where self-trade prevention stands in the flags of an order with terms, three bits wide.
const STP_SHIFT: u32 = 5;

impl EnterWithTermsBody {
    fn new(order: &EnterOrder) -> Self {
        let terms = &order.terms;
        let market = if terms.market { FLAG_MARKET } else { 0 };
        let flags = market | (terms.peg as u8) << PEG_SHIFT | (terms.stp as u8) << STP_SHIFT;
        Self {
            order: EnterFields::new(order, flags),
            stp_group: terms.stp_group,
            oco: terms.oco.0.into(),
            stop: terms.stop.0.into(),
            discretion: terms.discretion.0.into(),
            expire: terms.expire.0.into(),
            trail: terms.trail.into(),
            max_floor: terms.max_floor.into(),
            random_reserves: terms.random_reserves.into(),
            peg_offset: terms.peg_offset.into(),
        }
    }

    fn value(&self) -> Result<EnterOrder, DecodeFault> {
        let flags = self.order.flags;
        let terms = OrderTerms {
            market: flags & FLAG_MARKET != 0,
            stop: Price(self.stop.get()),
            trail: self.trail.get(),
            max_floor: self.max_floor.get(),
            random_reserves: self.random_reserves.get(),
            peg: match flags >> PEG_SHIFT & 3 {
                0 => Peg::None,
                1 => Peg::Primary,
                2 => Peg::Market,
                _ => Peg::Midpoint,
            },
            peg_offset: self.peg_offset.get(),
            discretion: Price(self.discretion.get()),
            expire: Nanos(self.expire.get()),
            oco: UserRefNum(self.oco.get()),
            stp: stp(flags >> STP_SHIFT)?,
            stp_group: self.stp_group,
        };
        if terms.is_plain() {
            return Err(DecodeFault::Plain);
        }
        self.order.value(terms)
    }
}

fn stp(stored: u8) -> Result<Stp, DecodeFault> {
    Ok(match stored {
        0 => Stp::Port,
        1 => Stp::Off,
        2 => Stp::CancelNewest,
        3 => Stp::CancelOldest,
        4 => Stp::CancelBoth,
        5 => Stp::Decrement,
        code => return Err(DecodeFault::Code { field: "self-trade prevention", code: code.into() }),
    })
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct ReplaceBody {
    qty: U64,
    wire_price: U64,
    port: U32,
    orig_user_ref_num: U32,
    user_ref_num: U32,
    min_qty: U32,
    cl_ord_id: [u8; 14],
    group: U16,
    fault: U16,
    user_ref_idx: u8,
    time_in_force: u8,
    display: u8,
    customer_type: u8,
    post_only: u8,
    flags: u8,
}
const _: () = assert!(RECORD_HEADER_BYTES + size_of::<ReplaceBody>() == 72);

impl ReplaceBody {
    fn new(replace: &ReplaceOrder) -> Self {
        Self {
            qty: replace.qty.0.into(),
            wire_price: replace.wire_price.into(),
            port: replace.port.0.into(),
            orig_user_ref_num: replace.orig_user_ref_num.0.into(),
            user_ref_num: replace.user_ref_num.0.into(),
            min_qty: replace.options.min_qty.into(),
            cl_ord_id: replace.cl_ord_id.0,
            group: replace.options.group.unwrap_or(0).into(),
            fault: fault_code(replace.fault),
            user_ref_idx: replace.user_ref_idx.0,
            time_in_force: replace.time_in_force.code(),
            display: replace.display.code(),
            customer_type: replace.options.customer_type,
            post_only: replace.options.post_only,
            flags: options_flags(&replace.options),
        }
    }

    fn value(&self) -> Result<ReplaceOrder, DecodeFault> {
        flags_known(self.flags, FLAG_FIRM | FLAG_GROUP)?;
        self.fields()
    }

    /// All but what [`ReplaceWithTermsBody`] has beyond this.
    fn fields(&self) -> Result<ReplaceOrder, DecodeFault> {
        Ok(ReplaceOrder {
            port: PortId(self.port.get()),
            user_ref_idx: UserRefIdx(self.user_ref_idx),
            orig_user_ref_num: UserRefNum(self.orig_user_ref_num.get()),
            user_ref_num: UserRefNum(self.user_ref_num.get()),
            qty: Qty(self.qty.get()),
            wire_price: self.wire_price.get(),
            time_in_force: code::<TimeInForce>("time in force", self.time_in_force)?,
            display: code::<Display>("display", self.display)?,
            cl_ord_id: ClOrdId(self.cl_ord_id),
            options: OrderOptions {
                firm: self.flags & FLAG_FIRM != 0,
                customer_type: self.customer_type,
                post_only: self.post_only,
                group: group(self.flags, self.group)?,
                min_qty: self.min_qty.get(),
            },
            max_floor: None,
            random_reserves: None,
            expire: Nanos(0),
            fault: fault(self.fault)?,
        })
    }
}

/// A replacement that changes terms.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct ReplaceWithTermsBody {
    replace: ReplaceBody,
    expire: U64,
    max_floor: U32,
    random_reserves: U32,
}
const _: () = assert!(RECORD_HEADER_BYTES + size_of::<ReplaceWithTermsBody>() == 88);

/// Flag of a replacement with terms: tag 5 (MaxFloor) was given.
const FLAG_MAX_FLOOR: u8 = 4;
/// Flag of a replacement with terms: tag 13 (RandomReserves) was given.
const FLAG_RANDOM_RESERVES: u8 = 8;

impl ReplaceWithTermsBody {
    fn new(order: &ReplaceOrder) -> Self {
        let mut replace = ReplaceBody::new(order);
        replace.flags |= if order.max_floor.is_some() { FLAG_MAX_FLOOR } else { 0 };
        replace.flags |= if order.random_reserves.is_some() { FLAG_RANDOM_RESERVES } else { 0 };
        Self {
            replace,
            expire: order.expire.0.into(),
            max_floor: order.max_floor.unwrap_or(0).into(),
            random_reserves: order.random_reserves.unwrap_or(0).into(),
        }
    }

    fn value(&self) -> Result<ReplaceOrder, DecodeFault> {
        let flags = self.replace.flags;
        flags_known(flags, FLAG_FIRM | FLAG_GROUP | FLAG_MAX_FLOOR | FLAG_RANDOM_RESERVES)?;
        let given = |flag: u8, stored: U32| {
            zero(flags & flag != 0 || stored == U32::ZERO)?;
            Ok((flags & flag != 0).then_some(stored.get()))
        };
        let order = ReplaceOrder {
            max_floor: given(FLAG_MAX_FLOOR, self.max_floor)?,
            random_reserves: given(FLAG_RANDOM_RESERVES, self.random_reserves)?,
            expire: Nanos(self.expire.get()),
            ..self.replace.fields()?
        };
        if is_plain(&order) { Err(DecodeFault::Plain) } else { Ok(order) }
    }
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct CancelBody {
    qty: U64,
    port: U32,
    user_ref_num: U32,
    user_ref_idx: u8,
    zero: [u8; 7],
}
const _: () = assert!(size_of::<CancelBody>() == 24);

impl CancelBody {
    fn new(cancel: &CancelOrder) -> Self {
        Self {
            qty: cancel.qty.0.into(),
            port: cancel.port.0.into(),
            user_ref_num: cancel.user_ref_num.0.into(),
            user_ref_idx: cancel.user_ref_idx.0,
            zero: [0; 7],
        }
    }

    fn value(&self) -> Result<CancelOrder, DecodeFault> {
        zero(self.zero == [0; 7])?;
        Ok(CancelOrder {
            port: PortId(self.port.get()),
            user_ref_idx: UserRefIdx(self.user_ref_idx),
            user_ref_num: UserRefNum(self.user_ref_num.get()),
            qty: Qty(self.qty.get()),
        })
    }
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct ModifyBody {
    qty: U64,
    port: U32,
    user_ref_num: U32,
    user_ref_idx: u8,
    side: u8,
    zero: [u8; 6],
}
const _: () = assert!(size_of::<ModifyBody>() == 24);

impl ModifyBody {
    fn new(modify: &ModifyOrder) -> Self {
        Self {
            qty: modify.qty.0.into(),
            port: modify.port.0.into(),
            user_ref_num: modify.user_ref_num.0.into(),
            user_ref_idx: modify.user_ref_idx.0,
            side: modify.side.code(),
            zero: [0; 6],
        }
    }

    fn value(&self) -> Result<ModifyOrder, DecodeFault> {
        zero(self.zero == [0; 6])?;
        Ok(ModifyOrder {
            port: PortId(self.port.get()),
            user_ref_idx: UserRefIdx(self.user_ref_idx),
            user_ref_num: UserRefNum(self.user_ref_num.get()),
            side: code::<Side>("side", self.side)?,
            qty: Qty(self.qty.get()),
        })
    }
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct MassCancelBody {
    port: U32,
    user_ref_num: U32,
    firm: U32,
    instrument: U32,
    group: U16,
    fault: U16,
    user_ref_idx: u8,
    /// Zero when absent.
    side: u8,
    flags: u8,
    zero: u8,
}
const _: () = assert!(size_of::<MassCancelBody>() == 24);

impl MassCancelBody {
    fn new(cancel: &MassCancel) -> Self {
        Self {
            port: cancel.port.0.into(),
            user_ref_num: cancel.user_ref_num.0.into(),
            firm: cancel.firm.0.into(),
            instrument: cancel.instrument.0.into(),
            group: cancel.group.unwrap_or(0).into(),
            fault: fault_code(cancel.fault),
            user_ref_idx: cancel.user_ref_idx.0,
            side: cancel.side.map_or(0, Side::code),
            flags: group_flag(cancel.group),
            zero: 0,
        }
    }

    fn value(&self) -> Result<MassCancel, DecodeFault> {
        zero(self.zero == 0)?;
        flags_known(self.flags, FLAG_GROUP)?;
        Ok(MassCancel {
            port: PortId(self.port.get()),
            user_ref_idx: UserRefIdx(self.user_ref_idx),
            user_ref_num: UserRefNum(self.user_ref_num.get()),
            firm: FirmId(self.firm.get()),
            instrument: InstrumentId(self.instrument.get()),
            group: group(self.flags, self.group)?,
            side: match self.side {
                0 => None,
                side => Some(code::<Side>("side", side)?),
            },
            fault: fault(self.fault)?,
        })
    }
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct SliceBody {
    cause: U64,
    slice: U32,
    zero: U32,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct SwitchBody {
    port: U32,
    user_ref_num: U32,
    firm: U32,
    fault: U16,
    user_ref_idx: u8,
    zero: u8,
}
const _: () = assert!(size_of::<SwitchBody>() == 16);

impl SwitchBody {
    fn new(switch: &OrderEntrySwitch) -> Self {
        Self {
            port: switch.port.0.into(),
            user_ref_num: switch.user_ref_num.0.into(),
            firm: switch.firm.0.into(),
            fault: fault_code(switch.fault),
            user_ref_idx: switch.user_ref_idx.0,
            zero: 0,
        }
    }

    fn value(&self) -> Result<OrderEntrySwitch, DecodeFault> {
        zero(self.zero == 0)?;
        Ok(OrderEntrySwitch {
            port: PortId(self.port.get()),
            user_ref_idx: UserRefIdx(self.user_ref_idx),
            user_ref_num: UserRefNum(self.user_ref_num.get()),
            firm: FirmId(self.firm.get()),
            fault: fault(self.fault)?,
        })
    }
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct QueryBody {
    port: U32,
    idx: u8,
    zero: [u8; 3],
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct QuoteBody {
    bid_qty: U64,
    bid_price: I64,
    ask_qty: U64,
    ask_price: I64,
    port: U32,
    user_ref_num: U32,
    instrument: U32,
    fault: U16,
    user_ref_idx: u8,
    capacity: u8,
}
const _: () = assert!(size_of::<QuoteBody>() == 48);

impl QuoteBody {
    fn new(quote: &Quote) -> Self {
        Self {
            bid_qty: quote.bid.qty.0.into(),
            bid_price: quote.bid.price.0.into(),
            ask_qty: quote.ask.qty.0.into(),
            ask_price: quote.ask.price.0.into(),
            port: quote.port.0.into(),
            user_ref_num: quote.user_ref_num.0.into(),
            instrument: quote.instrument.0.into(),
            fault: fault_code(quote.fault),
            user_ref_idx: quote.user_ref_idx.0,
            capacity: quote.capacity.code(),
        }
    }

    fn value(&self) -> Result<Quote, DecodeFault> {
        Ok(Quote {
            port: PortId(self.port.get()),
            user_ref_idx: UserRefIdx(self.user_ref_idx),
            user_ref_num: UserRefNum(self.user_ref_num.get()),
            instrument: InstrumentId(self.instrument.get()),
            bid: QuoteSide { qty: Qty(self.bid_qty.get()), price: Price(self.bid_price.get()) },
            ask: QuoteSide { qty: Qty(self.ask_qty.get()), price: Price(self.ask_price.get()) },
            capacity: code::<Capacity>("capacity", self.capacity)?,
            fault: fault(self.fault)?,
        })
    }
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct StateQueryBody {
    port: U32,
    user_ref_num: U32,
    user_ref_idx: u8,
    zero: [u8; 7],
}

impl StateQueryBody {
    fn new(query: &OrderStateQuery) -> Self {
        Self {
            port: query.port.0.into(),
            user_ref_num: query.user_ref_num.0.into(),
            user_ref_idx: query.user_ref_idx.0,
            zero: [0; 7],
        }
    }

    fn value(&self) -> Result<OrderStateQuery, DecodeFault> {
        zero(self.zero == [0; 7])?;
        Ok(OrderStateQuery {
            port: PortId(self.port.get()),
            user_ref_idx: UserRefIdx(self.user_ref_idx),
            user_ref_num: UserRefNum(self.user_ref_num.get()),
        })
    }
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct DeadManBody {
    timeout_ns: U64,
    port: U32,
    zero: U32,
}
