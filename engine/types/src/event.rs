//! What the state machine says: the only source of acknowledgements, fills, market data and postings.

use crate::{
    Account, AccountId, Amount, Asset, AssetId, CancelReason, Capacity, ClOrdId, Display, Firm, FirmId,
    Instrument, InstrumentId, MassCancel, MatchNumber, Nanos, OpenDay, OrderEntrySwitch, OrderKey,
    OrderOptions, OrderRef, Port, PortId, Price, Qty, Reject, Seq, Side, TimeInForce, UserRefIdx, UserRefNum,
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
    /// Every port: OUCH S `S`. Feed: S `O`, `S`, the directory (R and H for each instrument), S `Q`.
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
    /// Port: OUCH A. Feed: A or F when `booked`.
    Accepted(Accepted),
    /// Port: OUCH U. Feed: U when `booked`, else D of the original.
    Replaced(Replaced),
    /// Feed: A or F: what was left of an aggressor now rests. Port: nothing.
    Rested(Rested),
    /// Both ports: OUCH E. Feed: E on the resting order.
    Trade(Trade),
    /// Port: OUCH C. Feed: X or D when `displayed`.
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
    /// Both legs and both fees of a trade were posted.
    Settled(Settled),
}

/// An order stands accepted.
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
    /// It rests whole, without trading first, and is on the feed now. Otherwise trades, [`Rested`]
    /// or [`Canceled`] say what became of it.
    pub booked: bool,
}

/// An order took the place of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replaced {
    /// The original's name; channel and port are the new order's.
    pub orig_user_ref_num: UserRefNum,
    /// The original's number on the book.
    pub orig_order_ref: OrderRef,
    /// What now stands; `qty` is what is left open, without the chain's executions.
    pub order: Accepted,
}

/// What is left of an aggressor goes on the book and the feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rested {
    /// The order.
    pub order_ref: OrderRef,
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
}

/// A trade, at the resting order's price.
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
    /// Who rested.
    pub resting: Executed,
    /// Who came in.
    pub aggressor: Executed,
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
    /// It was on the feed: followers must take it off.
    pub displayed: bool,
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
}

/// Both legs of a trade, posted at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settled {
    /// The trade.
    pub match_number: MatchNumber,
    /// What was traded; its fee account received the fees.
    pub instrument: InstrumentId,
    /// Who received the base and paid the quote asset.
    pub buyer: AccountId,
    /// Who delivered.
    pub seller: AccountId,
    /// Base asset delivered, smallest units.
    pub base: Amount,
    /// Quote asset paid, smallest units, without fees.
    pub quote: Amount,
    /// Fee the buyer paid on top, in the quote asset.
    pub buyer_fee: Amount,
    /// Fee kept from the seller's proceeds, in the quote asset.
    pub seller_fee: Amount,
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
    /// The trading day is not later than the current one.
    Day = 7,
}
