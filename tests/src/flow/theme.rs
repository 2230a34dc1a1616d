//! What a flow is about: which rules it uses often, so that each rule is met in many states.

use ironbell_types::Algorithm;

/// What a flow is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Theme {
    /// Plain limit orders, and nothing that an operator sets.
    Plain,
    /// Icebergs and hidden orders.
    Reserves,
    /// Pegs and discretion.
    Pegs,
    /// Stops, trailing stops, market orders, pairs.
    Stops,
    /// One or two firms that meet themselves.
    SelfTrades,
    /// Shares by size.
    ProRata,
    /// A cross every few milliseconds.
    Batch,
    /// Phases by command and by schedule, and orders for the crosses.
    Auctions,
    /// Bands, limit states, and auctions after them.
    Bands,
    /// Positions, credit, exposure, locates, lists.
    Limits,
    /// Kills, rates, rows of equal orders, dead-man timers, disconnects.
    Switches,
    /// Rebates, minimum fees, tiers, busts.
    Fees,
    /// Accounts that have exactly what their orders hold, or one smallest unit more or less.
    Exact,
    /// Days that end and begin, and what outlasts them; delisting, new ticks and symbols.
    Days,
    /// Quotes.
    Quotes,
    /// Everything at once.
    Mixed,
}

impl Theme {
    /// Every theme.
    pub const ALL: [Self; 16] = [
        Self::Plain,
        Self::Reserves,
        Self::Pegs,
        Self::Stops,
        Self::SelfTrades,
        Self::ProRata,
        Self::Batch,
        Self::Auctions,
        Self::Bands,
        Self::Limits,
        Self::Switches,
        Self::Fees,
        Self::Exact,
        Self::Days,
        Self::Quotes,
        Self::Mixed,
    ];
}

/// What an operator does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Knob {
    Rules,
    Schedule,
    Phase,
    PortRules,
    Exposure,
    Credit,
    Position,
    Entitle,
    Restrict,
    Locate,
    Kill,
    Fees,
    Tier,
    FirmTier,
    CloseDay,
    Bust,
    Delist,
    ChangeTick,
    ChangeSymbol,
    DeclineLevels,
    MarketWideHalt,
    HaltOrderEntry,
    SignedHead,
    BeginGrace,
}

impl Knob {
    pub(super) const ALL: &'static [Self] = &[
        Self::Rules,
        Self::Schedule,
        Self::Phase,
        Self::PortRules,
        Self::Exposure,
        Self::Credit,
        Self::Position,
        Self::Entitle,
        Self::Restrict,
        Self::Locate,
        Self::Kill,
        Self::Fees,
        Self::Tier,
        Self::FirmTier,
        Self::CloseDay,
        Self::Bust,
        Self::Delist,
        Self::ChangeTick,
        Self::ChangeSymbol,
        Self::DeclineLevels,
        Self::MarketWideHalt,
        Self::HaltOrderEntry,
        Self::SignedHead,
        Self::BeginGrace,
    ];
}

/// How often a flow uses which rules. The default uses none beyond those of plain limit orders.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Bias {
    // Of 100 new orders, how many are so.
    pub(super) iceberg: u64,
    pub(super) peg: u64,
    pub(super) discretion: u64,
    pub(super) stop: u64,
    pub(super) market: u64,
    pub(super) pair: u64,
    pub(super) until: u64,
    pub(super) at_cross: u64,
    pub(super) min_qty: u64,
    pub(super) stp: u64,
    // Of 100 commands, how many are so.
    pub(super) quote: u64,
    pub(super) tick: u64,
    pub(super) query: u64,
    pub(super) dead_man: u64,
    /// How many commands lie between two of an operator; 0 is never.
    pub(super) control_gap: u64,
    /// What the operator does, most often.
    pub(super) knobs: &'static [Knob],
    /// What is set before the first day.
    pub(super) knobs_at_first: &'static [Knob],
    /// How many commands lie between two leaps of time; 0 is never.
    pub(super) leap_gap: u64,
    pub(super) algorithms: &'static [Algorithm],
    // Of 100 sets of rules, how many set this.
    pub(super) static_range: u64,
    pub(super) collar: u64,
    pub(super) band: u64,
    /// One firm, or two.
    pub(super) few_firms: bool,
    /// Hardly anything but orders, replacements, cancels and quotes.
    pub(super) storm: bool,
}

impl Bias {
    /// More of what is limited in number than may rest.
    pub(super) fn crowded(shares_by_size: bool) -> Self {
        if shares_by_size {
            let algorithms = &[Algorithm::ProRata];
            Self { iceberg: 5, stp: 5, knobs_at_first: &[Knob::Rules; 3], algorithms, ..Self::default() }
        } else {
            Self { peg: 45, discretion: 3, stop: 40, knobs_at_first: &[Knob::Rules; 3], ..Self::default() }
        }
    }

    /// What runs side by side, in crowds, with a little of each kind of order.
    pub(super) fn storm() -> Self {
        let some = Self::of(Theme::Mixed);
        Self { quote: 8, tick: 0, query: 0, dead_man: 0, control_gap: 0, leap_gap: 0, storm: true, ..some }
    }

    pub(super) fn of(theme: Theme) -> Self {
        use Algorithm::{Batch, PriceTime, ProRata};
        let none = Self::default();
        // Every theme but the plain one meets a little of everything.
        let some = Self {
            iceberg: 4,
            peg: 3,
            discretion: 2,
            stop: 3,
            market: 3,
            pair: 2,
            until: 6,
            at_cross: 1,
            min_qty: 3,
            stp: 6,
            quote: 2,
            tick: 3,
            query: 1,
            dead_man: 1,
            control_gap: 120,
            knobs: Knob::ALL,
            knobs_at_first: &[Knob::Rules],
            leap_gap: 60,
            algorithms: &[PriceTime, PriceTime, PriceTime, ProRata, Batch],
            static_range: 70,
            collar: 30,
            band: 15,
            few_firms: false,
            storm: false,
        };
        match theme {
            Theme::Plain => none,
            Theme::Reserves => Self { iceberg: 45, discretion: 5, algorithms: &[PriceTime, ProRata], ..some },
            Theme::Pegs => Self {
                peg: 30,
                discretion: 15,
                iceberg: 10,
                quote: 6,
                algorithms: &[PriceTime, PriceTime, ProRata],
                ..some
            },
            Theme::Stops => Self {
                stop: 35,
                market: 20,
                pair: 15,
                static_range: 95,
                collar: 50,
                control_gap: 60,
                knobs: &[Knob::Phase, Knob::Phase, Knob::Phase, Knob::Rules],
                algorithms: &[PriceTime, PriceTime, ProRata],
                ..some
            },
            Theme::SelfTrades => Self {
                stp: 60,
                iceberg: 12,
                peg: 5,
                discretion: 5,
                few_firms: true,
                knobs: &[Knob::PortRules],
                knobs_at_first: &[Knob::Rules, Knob::PortRules, Knob::PortRules],
                ..some
            },
            Theme::ProRata => Self {
                iceberg: 15,
                stp: 20,
                algorithms: &[ProRata],
                knobs_at_first: &[Knob::Rules, Knob::Rules, Knob::Rules],
                ..some
            },
            Theme::Batch => Self {
                iceberg: 10,
                leap_gap: 8,
                tick: 10,
                algorithms: &[Batch],
                knobs_at_first: &[Knob::Rules, Knob::Rules, Knob::Rules],
                ..some
            },
            Theme::Auctions => Self {
                iceberg: 10,
                at_cross: 25,
                stop: 25,
                market: 12,
                leap_gap: 10,
                tick: 8,
                control_gap: 20,
                knobs: &[Knob::Phase, Knob::Phase, Knob::Phase, Knob::Schedule, Knob::MarketWideHalt],
                knobs_at_first: &[
                    Knob::Rules,
                    Knob::Schedule,
                    Knob::Schedule,
                    Knob::Schedule,
                    Knob::Schedule,
                    Knob::Phase,
                ],
                static_range: 85,
                ..some
            },
            Theme::Bands => Self {
                market: 10,
                discretion: 5,
                band: 95,
                collar: 40,
                static_range: 80,
                leap_gap: 10,
                tick: 8,
                control_gap: 40,
                knobs: &[Knob::Rules, Knob::Phase],
                knobs_at_first: &[Knob::Rules, Knob::Rules, Knob::Rules],
                algorithms: &[PriceTime, PriceTime, ProRata],
                ..some
            },
            Theme::Limits => Self {
                control_gap: 12,
                knobs: &[
                    Knob::Exposure,
                    Knob::Credit,
                    Knob::Position,
                    Knob::Entitle,
                    Knob::Restrict,
                    Knob::Locate,
                    Knob::Locate,
                ],
                knobs_at_first: &[Knob::Rules, Knob::Locate, Knob::Position, Knob::Credit, Knob::Exposure],
                algorithms: &[PriceTime],
                ..some
            },
            Theme::Switches => Self {
                control_gap: 30,
                leap_gap: 15,
                tick: 8,
                dead_man: 4,
                knobs: &[Knob::Kill, Knob::PortRules, Knob::PortRules],
                knobs_at_first: &[Knob::Rules, Knob::PortRules, Knob::PortRules],
                ..some
            },
            Theme::Fees => Self {
                control_gap: 15,
                knobs: &[
                    Knob::Bust,
                    Knob::Bust,
                    Knob::Bust,
                    Knob::Bust,
                    Knob::Fees,
                    Knob::FirmTier,
                    Knob::Tier,
                    Knob::CloseDay,
                ],
                knobs_at_first: &[
                    Knob::Rules,
                    Knob::Fees,
                    Knob::Fees,
                    Knob::Fees,
                    Knob::Fees,
                    Knob::Tier,
                    Knob::Tier,
                    Knob::FirmTier,
                ],
                few_firms: true,
                ..some
            },
            Theme::Exact => Self {
                iceberg: 6,
                discretion: 6,
                pair: 8,
                stp: 40,
                control_gap: 60,
                knobs: &[Knob::Fees, Knob::FirmTier, Knob::PortRules, Knob::Bust],
                knobs_at_first: &[
                    Knob::Rules,
                    Knob::Fees,
                    Knob::Fees,
                    Knob::Fees,
                    Knob::FirmTier,
                    Knob::PortRules,
                    Knob::PortRules,
                ],
                few_firms: true,
                ..some
            },
            Theme::Days => Self {
                until: 30,
                control_gap: 20,
                leap_gap: 20,
                knobs: &[
                    Knob::CloseDay,
                    Knob::CloseDay,
                    Knob::CloseDay,
                    Knob::ChangeTick,
                    Knob::ChangeSymbol,
                    Knob::ChangeSymbol,
                    Knob::Delist,
                    Knob::DeclineLevels,
                    Knob::Schedule,
                ],
                knobs_at_first: &[Knob::Rules, Knob::ChangeTick, Knob::ChangeSymbol, Knob::Schedule],
                ..some
            },
            Theme::Quotes => Self { quote: 35, ..some },
            Theme::Mixed => Self {
                iceberg: 12,
                peg: 8,
                discretion: 8,
                stop: 8,
                market: 8,
                pair: 6,
                until: 15,
                at_cross: 5,
                min_qty: 5,
                stp: 20,
                quote: 8,
                tick: 5,
                control_gap: 30,
                leap_gap: 20,
                knobs_at_first: Knob::ALL,
                band: 30,
                collar: 40,
                ..some
            },
        }
    }
}
