//! What the venue's operators set: trading rules, limits, fees, switches.

use crate::{
    AccountId, Amount, AssetId, FirmId, InstrumentId, MatchNumber, PortId, PortLimits, Price, Qty, Seq, Stp,
    Symbol, VoidReason,
};

macro_rules! numbered {
    ($($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $code:literal,)* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum $name { $($(#[$vdoc])* $variant = $code,)* }

        impl $name {
            /// Every value.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Its number in journals and hashes.
            #[must_use]
            pub const fn code(self) -> u8 {
                self as u8
            }

            /// The value of a number.
            #[must_use]
            pub const fn from_code(code: u8) -> Option<Self> {
                match code { $($code => Some(Self::$variant),)* _ => None }
            }
        }
    )*};
}

numbered! {
    /// What an instrument does now.
    Phase {
        /// Nothing: orders are refused.
        Closed = 0,
        /// Orders rest, nothing trades.
        PreOpen = 1,
        /// As [`Phase::PreOpen`], and the indicative price is said each second; ends in the opening cross.
        OpeningAuction = 2,
        /// Orders trade as they come.
        Continuous = 3,
        /// An auction after prices moved too fast; ends in a cross.
        Volatility = 4,
        /// Orders are refused; ends in a cross.
        Halted = 5,
        /// Orders rest, nothing trades; ends in a cross.
        Paused = 6,
        /// The day's last auction; ends in the closing cross.
        ClosingAuction = 7,
    }

    /// Which cross a trade is of (ITCH 5.0, Cross Type).
    CrossKind {
        /// None: continuous trading.
        None = 0,
        /// The opening cross (`O`).
        Opening = 1,
        /// The closing cross (`C`).
        Closing = 2,
        /// The cross after a halt, a pause or a volatility interruption (`H`), and those of batch instruments.
        Halt = 3,
    }

    /// How an incoming order is shared out among the resting orders of one price.
    Algorithm {
        /// The oldest first.
        PriceTime = 0,
        /// The order that made the price first, then each by its size.
        ProRata = 1,
        /// Only in crosses, one every [`InstrumentRules::batch_ns`].
        Batch = 2,
    }
}

impl Phase {
    /// Whether new orders rest without trading.
    #[must_use]
    pub const fn is_call(self) -> bool {
        matches!(
            self,
            Self::PreOpen | Self::OpeningAuction | Self::Volatility | Self::Paused | Self::ClosingAuction
        )
    }
}

/// How an instrument trades. All of it is replaced at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InstrumentRules {
    /// How what comes in is shared out.
    pub algorithm: Algorithm,
    /// Of a pro-rata instrument: the most that the top order is served first, in lots; 0 is no preference.
    pub top_order_max: Qty,
    /// Of a batch instrument: from one cross to the next, in nanoseconds; at least 1,000,000.
    pub batch_ns: u64,
    /// The price that ranges and auctions refer to; 0 is none.
    pub reference: Price,
    /// Half the static range, in basis points of `reference`: orders outside are refused, and a market
    /// order holds its upper end. 0 is none.
    pub static_bps: u16,
    /// How far from the last price a market order may trade, in basis points of it. 0 is none.
    pub collar_bps: u16,
    /// Half the band, in basis points of the band's reference, beyond which nothing trades. 0 is none.
    pub band_bps: u16,
    /// How long a limit state may last before trading pauses, in nanoseconds.
    pub limit_state_ns: u64,
    /// How long the auction after it lasts, in nanoseconds.
    pub volatility_ns: u64,
    /// Short sales must be priced above the best displayed bid (Regulation SHO rule 201).
    pub short_restricted: bool,
}

impl InstrumentRules {
    /// Price-time priority and nothing else.
    pub const PLAIN: Self = Self {
        algorithm: Algorithm::PriceTime,
        top_order_max: Qty(0),
        batch_ns: 0,
        reference: Price(0),
        static_bps: 0,
        collar_bps: 0,
        band_bps: 0,
        limit_state_ns: 0,
        volatility_ns: 0,
        short_restricted: false,
    };
}

/// What a port may do and how its orders behave. All of it is replaced at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRules {
    /// What a single order may be.
    pub limits: PortLimits,
    /// Orders, replacements, quotes, mass cancels and dead-man settings in a second, in the long run; 0 is any number.
    pub rate_per_second: u32,
    /// How many of them at once after silence.
    pub rate_burst: u32,
    /// How many equal orders in a row within `duplicate_ns`; 0 is any number.
    pub duplicates_max: u32,
    /// The span that equal orders are counted in, in nanoseconds.
    pub duplicate_ns: u64,
    /// A post-only order that would trade moves one tick away from the other side instead of being cancelled.
    pub slides: bool,
    /// What [`Stp::Port`] means; never itself that.
    pub stp: Stp,
    /// A logout cancels the port's orders.
    pub cancels_on_disconnect: bool,
}

impl PortRules {
    /// Those limits and nothing else.
    #[must_use]
    pub const fn plain(limits: PortLimits) -> Self {
        Self {
            limits,
            rate_per_second: 0,
            rate_burst: 0,
            duplicates_max: 0,
            duplicate_ns: 0,
            slides: false,
            stp: Stp::Off,
            cancels_on_disconnect: false,
        }
    }
}

/// Fees of an instrument for the firms of one tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fees {
    /// Of the resting side, in basis points (1/10,000) of the notional; negative is a rebate.
    pub maker_bps: i16,
    /// Of the aggressor, likewise.
    pub taker_bps: i16,
    /// The least an order pays once it has executed, in smallest units of the quote asset; not for rebates.
    pub minimum: u64,
}

/// Volume tiers of firms: 0 to this number less one.
pub const TIERS: usize = 4;

/// Entries of an instrument's schedule.
pub const SCHEDULE_SLOTS: usize = 8;

/// What a kill switch stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KillScope {
    /// One port.
    Port(PortId),
    /// All ports of a firm.
    Firm(FirmId),
    /// One instrument.
    Instrument(InstrumentId),
    /// Everything.
    Venue,
}

/// An operator's command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// How an instrument trades.
    SetRules {
        /// Which instrument.
        instrument: InstrumentId,
        /// How.
        rules: InstrumentRules,
    },
    /// One entry of an instrument's daily schedule.
    SetSchedule {
        /// Which instrument.
        instrument: InstrumentId,
        /// Which entry, below [`SCHEDULE_SLOTS`].
        slot: u8,
        /// Seconds after the day's midnight, below 172,800.
        at_s: u32,
        /// The phase that begins then; `None` clears the entry.
        phase: Option<Phase>,
    },
    /// A phase begins now.
    SetPhase {
        /// Which instrument; [`InstrumentId::NONE`] is all of them.
        instrument: InstrumentId,
        /// What begins.
        phase: Phase,
        /// ITCH trading action reason, four ASCII characters, padded right with spaces.
        reason: [u8; 4],
    },
    /// What a port may do.
    SetPortRules {
        /// Which port.
        port: PortId,
        /// What.
        rules: PortRules,
    },
    /// Open and net exposure of a firm in a quote asset.
    SetExposure {
        /// Which firm.
        firm: FirmId,
        /// In which asset.
        asset: AssetId,
        /// Most that its open orders may be worth together; `None` is no limit.
        gross_max: Option<Amount>,
        /// Most that it may have bought more than sold, or sold more than bought, this day, open orders
        /// of that side counted as executed; `None` is no limit.
        net_max: Option<Amount>,
    },
    /// What an account may spend in a day.
    SetCredit {
        /// Which account.
        account: AccountId,
        /// Of which asset.
        asset: AssetId,
        /// Most that its buys of the day may cost, open ones counted as executed; `None` is no limit.
        credit_max: Option<Amount>,
    },
    /// What an account may come to have.
    SetPosition {
        /// Which account.
        account: AccountId,
        /// Of which instrument's base asset.
        instrument: InstrumentId,
        /// Most that it may have bought less sold this day, in lots, open buys counted as executed.
        long_max: Option<Qty>,
        /// Most that it may have sold less bought this day, in lots, open sells counted as executed.
        short_max: Option<Qty>,
    },
    /// Whether a port may trade an instrument; it may unless told otherwise.
    Entitle {
        /// Which port.
        port: PortId,
        /// Which instrument.
        instrument: InstrumentId,
        /// Whether.
        allowed: bool,
    },
    /// Whether an instrument is on a firm's restricted list.
    Restrict {
        /// Which firm; 0 is every firm.
        firm: FirmId,
        /// Which instrument.
        instrument: InstrumentId,
        /// Whether.
        restricted: bool,
    },
    /// Stock that a firm has located for short sales.
    Locate {
        /// The locate's own number; a repeated one has no effect.
        id: u64,
        /// Whose.
        firm: FirmId,
        /// Of which instrument.
        instrument: InstrumentId,
        /// How many lots more, or fewer when negative.
        qty: i64,
    },
    /// A kill switch.
    Kill {
        /// What it stops.
        scope: KillScope,
        /// Stop (and cancel) or let go on.
        on: bool,
    },
    /// Fees of an instrument for one tier.
    SetFees {
        /// Which instrument.
        instrument: InstrumentId,
        /// Which tier, below [`TIERS`].
        tier: u8,
        /// What.
        fees: Fees,
    },
    /// From which volume a firm belongs to a tier on the next day.
    SetTier {
        /// Which tier, from 1 and below [`TIERS`].
        tier: u8,
        /// Lots executed on a day; 0 makes the tier unreachable.
        volume_min: u64,
    },
    /// The tier of a firm from now on, until the next day end.
    SetFirmTier {
        /// Which firm.
        firm: FirmId,
        /// Which tier.
        tier: u8,
    },
    /// The day ends.
    CloseDay,
    /// A trade of this day is undone.
    Bust {
        /// Which trade.
        match_number: MatchNumber,
        /// OUCH broken trade reason: `E` erroneous, `C` consent, `S` supervisory, `X` external.
        reason: u8,
    },
    /// An instrument is taken off for good.
    Delist {
        /// Which instrument.
        instrument: InstrumentId,
    },
    /// A new tick, while the instrument has no order and no day is open.
    ChangeTick {
        /// Which instrument.
        instrument: InstrumentId,
        /// Wire price units in one tick, of an equity-exact instrument; 1 for a scaled one.
        price_tick: u32,
        /// Smallest units of the quote asset that one lot costs at a price of one tick.
        tick_value: u64,
    },
    /// A new name, while no day is open.
    ChangeSymbol {
        /// Which instrument.
        instrument: InstrumentId,
        /// Its name from now on.
        symbol: Symbol,
    },
    /// Levels of a market-wide decline (ITCH `V`): the values of the index at which it is reached, falling.
    SetDeclineLevels {
        /// Level 1, 2 and 3, in 1/100,000,000.
        levels: [u64; 3],
    },
    /// A level of decline is reached: every instrument halts (ITCH `W`).
    MarketWideHalt {
        /// 1, 2 or 3.
        level: u8,
    },
    /// A command that the state machine cannot take is void: it has no effect, on every replay. Executed in the place
    /// of that command, and once more where the decision stands in the journal; both times nothing changes.
    Void {
        /// Which command.
        seq: Seq,
        /// Why, in the operator's words.
        reason: VoidReason,
    },
    /// New orders, quotes and replacements of all members are refused, or taken again. The node asks for it by
    /// itself when its disk runs out of space, and when there is enough again; operators have the kill switch.
    HaltOrderEntry {
        /// Refused.
        on: bool,
    },
    /// The venue signed a head of the tree over its Seqs. It changes nothing: it stands in the journal so that a node
    /// which takes over knows what its own journal must come to before anything more is signed.
    SignedHead {
        /// Leaves: Seqs 1 to this, below its own.
        size: u64,
        /// SHA-256 root over them, as RFC 6962 has it.
        root: [u8; 32],
        /// The epoch that the last of them was sequenced in.
        epoch: u64,
    },
    /// This node begins to lead where another led. Who is logged in there is logged out so long after this command, unless
    /// it logs in here before; who was given such a time already keeps it. The node asks for it by itself.
    BeginGrace {
        /// How long, in nanoseconds of sequenced time.
        grace_ns: u64,
    },
}

impl Control {
    /// What kind of command it is, in dumps and tables.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::SetRules { .. } => "set_rules",
            Self::SetSchedule { .. } => "set_schedule",
            Self::SetPhase { .. } => "set_phase",
            Self::SetPortRules { .. } => "set_port_rules",
            Self::SetExposure { .. } => "set_exposure",
            Self::SetCredit { .. } => "set_credit",
            Self::SetPosition { .. } => "set_position",
            Self::Entitle { .. } => "entitle",
            Self::Restrict { .. } => "restrict",
            Self::Locate { .. } => "locate",
            Self::Kill { .. } => "kill",
            Self::SetFees { .. } => "set_fees",
            Self::SetTier { .. } => "set_tier",
            Self::SetFirmTier { .. } => "set_firm_tier",
            Self::CloseDay => "close_day",
            Self::Bust { .. } => "bust",
            Self::Delist { .. } => "delist",
            Self::ChangeTick { .. } => "change_tick",
            Self::ChangeSymbol { .. } => "change_symbol",
            Self::SetDeclineLevels { .. } => "set_decline_levels",
            Self::MarketWideHalt { .. } => "market_wide_halt",
            Self::Void { .. } => "void",
            Self::HaltOrderEntry { .. } => "halt_order_entry",
            Self::SignedHead { .. } => "signed_head",
            Self::BeginGrace { .. } => "begin_grace",
        }
    }
}
