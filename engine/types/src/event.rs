//! What the state machine says: the only source of acknowledgements, fills, market data and postings.

use crate::{
    Account, AccountId, Amount, Asset, AssetId, CancelReason, Capacity, ClOrdId, Control, CrossKind, Display,
    Firm, FirmId, Instrument, InstrumentId, MassCancel, MatchNumber, Nanos, OpenDay, OrderEntrySwitch,
    OrderKey, OrderOptions, OrderRef, OrderTerms, Phase, Port, PortId, Price, Qty, Reject, Seq, Side, Stp,
    TimeInForce, UserRefIdx, UserRefNum,
};

/// The stage of a superstep that said it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Stage {
    /// Checks and holds, by account.
    Risk = 1,
    /// Books, by instrument.
    Matching = 2,
    /// Postings and releases, by account.
    Settlement = 3,
}

/// One thing that happened. (seq, stage, step) orders the events of a run; step counts from 0 within
/// (seq, stage).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Event {
    /// The command that caused it.
    pub seq: Seq,
    /// That command's time.
    pub time: Nanos,
    /// Who said it.
    pub stage: Stage,
    /// Its place among what that stage said of that command.
    pub step: u32,
    /// What happened.
    pub body: EventBody,
}

/// Every event takes as much room as the largest: what few of them say is better an event of its own.
const _: () = assert!(size_of::<Event>() == 160);

/// What happened. "Port:" says that the event goes on that port's sequenced stream, "feed:" that it
/// shows in ITCH.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventBody {
    /// Administration, mirrored by gateways: an asset.
    AssetDefined(Asset),
    /// Mirrored by gateways; feed: R once the day is open.
    InstrumentDefined(Instrument),
    /// Mirrored by gateways.
    FirmDefined(Firm),
    /// An account exists.
    AccountDefined(Account),
    /// Mirrored by gateways.
    PortDefined(Port),
    /// Money or securities came in or went out.
    Funded {
        /// The funding's number.
        id: u64,
        /// Whose account.
        account: AccountId,
        /// What.
        asset: AssetId,
        /// Signed amount.
        amount: Amount,
    },
    /// An administrative command was refused, with no effect.
    AdminRefused(AdminRefusal),
    /// Every port: OUCH S `S`. Feed: S `O`, `S`, the directory (R, H and Y for each instrument), V, S `Q`.
    DayOpened(OpenDay),
    /// The port has a new incarnation.
    LoggedIn {
        /// Which port.
        port: PortId,
        /// Which login of it, from 1.
        incarnation: u32,
    },
    /// The port's current login ended.
    LoggedOut {
        /// Which port.
        port: PortId,
        /// Which login of it.
        incarnation: u32,
    },
    /// What makes the order of the next event, its Accepted or Replaced, more than a plain one; not said of plain
    /// orders. An event of its own, because most orders are plain, and every event has the size of the largest.
    Terms {
        /// The order's name.
        key: OrderKey,
        /// Its number on the book.
        order_ref: OrderRef,
        /// What it has beyond a plain order; never the default.
        terms: OrderTerms,
    },
    /// Port: OUCH A. Feed: A or F when `booked`.
    Accepted(Accepted),
    /// Port: OUCH U. Feed: U when `booked`, else D of the original.
    Replaced(Replaced),
    /// Feed: A or F: what was left of an aggressor now rests. Port: nothing.
    Rested(Rested),
    /// Both ports: OUCH E. Feed: E on the resting order.
    Trade(Trade),
    /// Port: OUCH C. Feed: X while some of it is still shown, D when nothing is.
    Canceled(Canceled),
    /// Port: OUCH M. Feed: X when the quantity shrank.
    Modified(Modified),
    /// Port: OUCH J.
    Rejected {
        /// The order it would have been.
        key: OrderKey,
        /// Why.
        reason: Reject,
        /// The member's own text.
        cl_ord_id: ClOrdId,
    },
    /// Port: OUCH X. The cancelling follows in slices.
    MassCancelAccepted(MassCancel),
    /// The state machine asks the sequencer for this slice of a mass cancel.
    MassCancelAsked {
        /// The mass cancel.
        cause: Seq,
        /// The slice now due.
        slice: u32,
    },
    /// Port: OUCH G. Said again when it was disabled already.
    OrderEntryDisabled(OrderEntrySwitch),
    /// Port: OUCH K. Said again when it was enabled already.
    OrderEntryEnabled(OrderEntrySwitch),
    /// Port: OUCH Q.
    AccountQueried {
        /// Which port.
        port: PortId,
        /// Which channel.
        user_ref_idx: UserRefIdx,
        /// The next number that would be accepted.
        next: UserRefNum,
    },
    /// A leg of a trade and its fee were posted.
    Settled(Settled),
    /// An operator's command was done; mirrored by gateways and feeds. Feed: V, W, Y where ITCH has one.
    Controlled(Control),
    /// Feed: H.
    PhaseChanged {
        /// Which instrument.
        instrument: InstrumentId,
        /// What began.
        phase: Phase,
        /// ITCH trading action reason.
        reason: [u8; 4],
    },
    /// Feed: I.
    Indicative(Indicative),
    /// Feed: Q. All its trades were said before it.
    Crossed(Crossed),
    /// Feed: J: prices that the coming cross, and trading after it, may have.
    BandSet {
        /// Which instrument.
        instrument: InstrumentId,
        /// The band's middle.
        reference: Price,
        /// The highest price.
        upper: Price,
        /// The lowest price.
        lower: Price,
    },
    /// An order was stopped at the band, or the first trade thereafter was inside it. Feed: nothing.
    LimitState {
        /// Which instrument.
        instrument: InstrumentId,
        /// Began or ended.
        on: bool,
    },
    /// Port: OUCH R, reason R. Feed: A or F of the new displayed part.
    Refreshed(Refreshed),
    /// Port: native StopTriggered. The order goes on as a new one would, under its name and number.
    Triggered {
        /// The order's name.
        key: OrderKey,
        /// Its number on the book.
        order_ref: OrderRef,
        /// What it trades.
        instrument: InstrumentId,
        /// The trade price that triggered it.
        price: Price,
    },
    /// Port: OUCH D. Feed: X or D.
    SelfTradePrevented(SelfTradePrevented),
    /// Both ports: OUCH B. Feed: B.
    Busted(Busted),
    /// The day's figures of an instrument.
    Statistics(Statistics),
    /// Every port: OUCH S `E`. Feed: S `M`; `E` and `C` follow the day's [`EventBody::Statistics`].
    DayClosed {
        /// The date as yyyymmdd.
        date: u32,
    },
    /// A firm's tier from now on.
    FirmTier {
        /// Which firm.
        firm: FirmId,
        /// Which tier.
        tier: u8,
    },
    /// Port: native OrderState.
    OrderState(OrderState),
    /// The timer as it is now: as asked, or as it was when the port's rate refused to set it. Port: native
    /// DeadManSet.
    DeadManSet {
        /// Which port.
        port: PortId,
        /// In nanoseconds; 0 when disarmed.
        timeout_ns: u64,
    },
    /// The timer of a port ran out: its orders are cancelled in slices. Port: native DeadManExpired.
    DeadManExpired {
        /// Which port.
        port: PortId,
    },
}

/// How an order stands on the feed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// Its number on the feed; changes when an iceberg order is refreshed.
    pub order_ref: OrderRef,
    /// What of it is shown, in lots; 0 when it is not on the feed.
    pub qty: Qty,
}

/// An order stands accepted: a plain one, unless [`EventBody::Terms`] was said of it just before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// Its name to the member.
    pub key: OrderKey,
    /// Its number on the book.
    pub order_ref: OrderRef,
    /// Whose it is.
    pub firm: FirmId,
    /// What it trades.
    pub instrument: InstrumentId,
    /// Buy or sell.
    pub side: Side,
    /// How much.
    pub qty: Qty,
    /// The limit.
    pub price: Price,
    /// How long.
    pub time_in_force: TimeInForce,
    /// How shown.
    pub display: Display,
    /// In which capacity.
    pub capacity: Capacity,
    /// The member's own text.
    pub cl_ord_id: ClOrdId,
    /// Echoed options.
    pub options: OrderOptions,
    /// It rests whole, without trading first. Otherwise trades, [`Rested`] or [`Canceled`] say what
    /// became of it.
    pub booked: bool,
    /// What of it is on the feed now, in lots; 0 unless booked and displayed.
    pub shown_qty: Qty,
}

/// An order took the place of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replaced {
    /// The original's name; channel and port are the new order's.
    pub orig_user_ref_num: UserRefNum,
    /// The original's number on the book.
    pub orig_order_ref: OrderRef,
    /// How the original stood on the feed.
    pub orig_shown: Shown,
    /// What now stands; `qty` is what is left open, without the chain's executions.
    pub order: Accepted,
}

/// What is left of an aggressor goes on the book and the feed; and so does, on a new day, what was left
/// over from the days before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rested {
    /// The order.
    pub order_ref: OrderRef,
    /// How it stands on the feed.
    pub shown: Shown,
    /// Whose it is.
    pub firm: FirmId,
    /// What it trades.
    pub instrument: InstrumentId,
    /// Buy or sell.
    pub side: Side,
    /// What is left.
    pub qty: Qty,
    /// The limit.
    pub price: Price,
    /// How shown.
    pub display: Display,
}

/// One side of a trade.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Executed {
    /// The order's name to its member.
    pub key: OrderKey,
    /// Its number on the book.
    pub order_ref: OrderRef,
    /// What is left of it.
    pub leaves_qty: Qty,
    /// How it stood on the feed before the trade; nothing for an aggressor.
    pub shown: Shown,
}

/// A trade: at the resting order's price, or at the price of the cross.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trade {
    /// Its number.
    pub match_number: MatchNumber,
    /// What was traded.
    pub instrument: InstrumentId,
    /// At which price.
    pub price: Price,
    /// How much.
    pub qty: Qty,
    /// Whether the aggressor bought.
    pub aggressor_buys: bool,
    /// Who rested; in a cross, the older order.
    pub resting: Executed,
    /// Who came in; in a cross, the newer order, whose `shown` may then be something.
    pub aggressor: Executed,
    /// Which cross it is of.
    pub cross: CrossKind,
    /// The price at which the resting order stood on the feed, which is not always the trade's; 0 when it
    /// was not shown.
    pub resting_price: Price,
}

/// An order, or a part of it, is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Canceled {
    /// The order's name to its member.
    pub key: OrderKey,
    /// Its number on the book.
    pub order_ref: OrderRef,
    /// What it traded.
    pub instrument: InstrumentId,
    /// How much is gone.
    pub qty: Qty,
    /// What still stands.
    pub leaves_qty: Qty,
    /// Why.
    pub reason: CancelReason,
    /// How it stood on the feed before.
    pub shown: Shown,
    /// What of it is still shown.
    pub shown_leaves: Qty,
}

/// An order changed side or shrank, and kept its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Modified {
    /// The order's name to its member.
    pub key: OrderKey,
    /// Its number on the book.
    pub order_ref: OrderRef,
    /// What it trades.
    pub instrument: InstrumentId,
    /// Its side now.
    pub side: Side,
    /// How much went off.
    pub qty: Qty,
    /// What still stands.
    pub leaves_qty: Qty,
    /// How it stood on the feed before.
    pub shown: Shown,
    /// What of it is still shown.
    pub shown_leaves: Qty,
}

/// What a cross would be if it were now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Indicative {
    /// Of which instrument.
    pub instrument: InstrumentId,
    /// Which cross.
    pub kind: CrossKind,
    /// Its price; 0 when there would be none.
    pub price: Price,
    /// What would trade.
    pub paired: Qty,
    /// What would be left of the larger side at that price.
    pub imbalance: Qty,
    /// Whether that side buys.
    pub imbalance_buys: bool,
    /// The reference price; 0 is none.
    pub reference: Price,
}

/// A cross is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crossed {
    /// Of which instrument.
    pub instrument: InstrumentId,
    /// Which cross.
    pub kind: CrossKind,
    /// Its price; 0 when nothing traded.
    pub price: Price,
    /// What traded.
    pub qty: Qty,
    /// The cross's own number.
    pub match_number: MatchNumber,
}

/// An iceberg order shows its next part, behind all others at its price.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refreshed {
    /// The order's name to its member.
    pub key: OrderKey,
    /// Its number on the book.
    pub order_ref: OrderRef,
    /// Whose it is.
    pub firm: FirmId,
    /// What it trades.
    pub instrument: InstrumentId,
    /// Buy or sell.
    pub side: Side,
    /// The limit.
    pub price: Price,
    /// How shown.
    pub display: Display,
    /// How it now stands on the feed.
    pub shown: Shown,
    /// What is left of it, the displayed part included.
    pub leaves_qty: Qty,
}

/// An order shrank instead of trading with its own firm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SelfTradePrevented {
    /// The order's name to its member.
    pub key: OrderKey,
    /// Its number on the book.
    pub order_ref: OrderRef,
    /// What it trades.
    pub instrument: InstrumentId,
    /// How much is gone.
    pub qty: Qty,
    /// What still stands.
    pub leaves_qty: Qty,
    /// How much would have traded.
    pub prevented_qty: Qty,
    /// At which price.
    pub price: Price,
    /// Whether it rested; else it was the aggressor.
    pub rested: bool,
    /// What the aggressor asked for.
    pub stp: Stp,
    /// How it stood on the feed before.
    pub shown: Shown,
    /// What of it is still shown.
    pub shown_leaves: Qty,
}

/// A trade was undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Busted {
    /// The trade.
    pub match_number: MatchNumber,
    /// OUCH broken trade reason.
    pub reason: u8,
    /// What was traded.
    pub instrument: InstrumentId,
    /// At which price.
    pub price: Price,
    /// How much.
    pub qty: Qty,
    /// The buyer's order.
    pub buyer: OrderKey,
    /// The seller's order.
    pub seller: OrderKey,
    /// What the buyer could not give back of the base asset, and now owes.
    pub buyer_owes: Amount,
    /// What the seller could not give back of the quote asset, and now owes.
    pub seller_owes: Amount,
}

/// A day's figures of an instrument; prices are 0 when nothing traded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Which instrument.
    pub instrument: InstrumentId,
    /// First price.
    pub open: Price,
    /// Highest price.
    pub high: Price,
    /// Lowest price.
    pub low: Price,
    /// Last price.
    pub close: Price,
    /// Lots traded.
    pub volume: Qty,
    /// Σ price × lots; divided by `volume` it is the VWAP in ticks.
    pub turnover: u128,
    /// Trades.
    pub trades: u64,
}

/// What became of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OrderState {
    /// Its name.
    pub key: OrderKey,
    /// Whether it is open; all that follows is zero when it is not.
    pub open: bool,
    /// Its number on the book.
    pub order_ref: OrderRef,
    /// What it trades.
    pub instrument: InstrumentId,
    /// The limit.
    pub price: Price,
    /// What is left of it.
    pub leaves_qty: Qty,
    /// What it and all it replaced have executed.
    pub executed_qty: Qty,
}

/// One leg of a trade as it was posted to its account; the buyer's is said first, then the seller's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settled {
    /// The trade.
    pub match_number: MatchNumber,
    /// What was traded; its fee account received the fee.
    pub instrument: InstrumentId,
    /// Whose leg.
    pub account: AccountId,
    /// It received the base and paid the quote asset; else it delivered.
    pub buys: bool,
    /// Base asset delivered, smallest units.
    pub base: Amount,
    /// Quote asset paid, smallest units, without the fee.
    pub quote: Amount,
    /// Fee that a buyer paid on top, or that was kept from a seller's proceeds, in the quote asset; a rebate
    /// is negative.
    pub fee: Amount,
}

/// Why an administrative command had no effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum AdminRefusal {
    /// The id is not the next free one, or is out of range.
    Id = 1,
    /// The name is taken.
    NameTaken = 2,
    /// It refers to something that does not exist.
    Unknown = 3,
    /// A number is out of range (decimals, tick, fee, zero amount).
    Range = 4,
    /// This funding id was used before.
    Repeated = 5,
    /// A withdrawal of more than is available.
    Funds = 6,
    /// The trading day is not later than the current one, or a day is open that must not be, or none is.
    Day = 7,
    /// Orders are open that must not be.
    Busy = 8,
}
