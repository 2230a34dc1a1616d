//! What the sequencer orders: everything that can change state.

use crate::{
    Account, AccountId, Amount, Asset, AssetId, Capacity, ClOrdId, Control, Display, Firm, FirmId,
    Instrument, InstrumentId, Nanos, OrderKey, OrderTerms, Port, PortId, Price, Qty, Reject, Seq, Side,
    TimeInForce, UserRefIdx, UserRefNum,
};

/// A command with its place and time in the one sequence: the unit that is journaled and executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sequenced {
    /// Its place.
    pub seq: Seq,
    /// Its time; never less than that of the command before it.
    pub time: Nanos,
    /// What is asked for.
    pub command: Command,
}

/// Everything that can change state. Members' fields are already checked for form by the gateway:
/// what it found wrong travels as `fault`, so that the refusal is sequenced and journaled too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Administration: a new asset.
    DefineAsset(Asset),
    /// Administration: a new instrument.
    DefineInstrument(Instrument),
    /// Administration: a new firm.
    DefineFirm(Firm),
    /// Administration: a new account.
    DefineAccount(Account),
    /// Administration: a new port.
    DefinePort(Port),
    /// Money or securities enter or leave.
    Fund(Funding),
    /// A trading day begins: instruments trade from here on.
    OpenDay(OpenDay),
    /// A member's session is up.
    Login(Login),
    /// A member's session is down.
    Logout(Logout),
    /// OUCH Enter Order.
    EnterOrder(EnterOrder),
    /// OUCH Replace Order.
    ReplaceOrder(ReplaceOrder),
    /// OUCH Cancel Order.
    CancelOrder(CancelOrder),
    /// OUCH Modify Order.
    ModifyOrder(ModifyOrder),
    /// OUCH Mass Cancel: checked and answered; the cancelling itself is asked for in slices.
    MassCancel(MassCancel),
    /// One slice of a mass cancel, asked for by the state machine itself.
    MassCancelSlice(MassCancelSlice),
    /// OUCH Disable Order Entry: the firm's new orders and replacements are refused from here on.
    DisableOrderEntry(OrderEntrySwitch),
    /// OUCH Enable Order Entry: they are taken again.
    EnableOrderEntry(OrderEntrySwitch),
    /// OUCH Account Query.
    AccountQuery(AccountQuery),
    /// Time passes: due timers fire.
    Tick,
    /// One instrument of a native mass quote.
    Quote(Quote),
    /// Native: what became of an order?
    OrderStateQuery(OrderStateQuery),
    /// Native: cancel my orders if you hear nothing from me.
    DeadMan(DeadMan),
    /// An operator's command.
    Control(Control),
}

impl Command {
    /// The port that it came in on; `None` of what operators and the state machine itself ask for.
    #[must_use]
    pub const fn port(&self) -> Option<PortId> {
        match self {
            Self::Login(login) => Some(login.port),
            Self::Logout(logout) => Some(logout.port),
            Self::EnterOrder(enter) => Some(enter.port),
            Self::ReplaceOrder(replace) => Some(replace.port),
            Self::CancelOrder(cancel) => Some(cancel.port),
            Self::ModifyOrder(modify) => Some(modify.port),
            Self::MassCancel(mass_cancel) => Some(mass_cancel.port),
            Self::DisableOrderEntry(switch) | Self::EnableOrderEntry(switch) => Some(switch.port),
            Self::AccountQuery(query) => Some(query.port),
            Self::Quote(quote) => Some(quote.port),
            Self::OrderStateQuery(query) => Some(query.port),
            Self::DeadMan(dead_man) => Some(dead_man.port),
            Self::DefineAsset(_)
            | Self::DefineInstrument(_)
            | Self::DefineFirm(_)
            | Self::DefineAccount(_)
            | Self::DefinePort(_)
            | Self::Fund(_)
            | Self::OpenDay(_)
            | Self::MassCancelSlice(_)
            | Self::Tick
            | Self::Control(_) => None,
        }
    }

    /// What kind of command it is, in dumps and tables.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::DefineAsset(_) => "define_asset",
            Self::DefineInstrument(_) => "define_instrument",
            Self::DefineFirm(_) => "define_firm",
            Self::DefineAccount(_) => "define_account",
            Self::DefinePort(_) => "define_port",
            Self::Fund(_) => "fund",
            Self::OpenDay(_) => "open_day",
            Self::Login(_) => "login",
            Self::Logout(_) => "logout",
            Self::EnterOrder(_) => "enter_order",
            Self::ReplaceOrder(_) => "replace_order",
            Self::CancelOrder(_) => "cancel_order",
            Self::ModifyOrder(_) => "modify_order",
            Self::MassCancel(_) => "mass_cancel",
            Self::MassCancelSlice(_) => "mass_cancel_slice",
            Self::DisableOrderEntry(_) => "disable_order_entry",
            Self::EnableOrderEntry(_) => "enable_order_entry",
            Self::AccountQuery(_) => "account_query",
            Self::Tick => "tick",
            Self::Quote(_) => "quote",
            Self::OrderStateQuery(_) => "order_state_query",
            Self::DeadMan(_) => "dead_man",
            Self::Control(control) => control.name(),
        }
    }
}

/// Money or securities from the outside world, or back to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Funding {
    /// The funding's own number; a repeated one has no effect.
    pub id: u64,
    /// Whose account.
    pub account: AccountId,
    /// What.
    pub asset: AssetId,
    /// How much, in smallest units; negative is a withdrawal, refused beyond what is available.
    pub amount: Amount,
}

/// The start of a trading day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenDay {
    /// The date as yyyymmdd; also names the day's sessions ([`OpenDay::session`]). Later than the day before's.
    pub date: u32,
    /// Local midnight that wire timestamps count from.
    pub midnight: Nanos,
}

impl OpenDay {
    /// The name of the day's SoupBinTCP and MoldUDP64 sessions: the date with leading zeros, ten digits.
    #[must_use]
    pub fn session(&self) -> [u8; 10] {
        let (mut name, mut rest) = ([b'0'; 10], self.date);
        for digit in name.iter_mut().rev() {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        name
    }
}

/// A login, sequenced: it gives the port its next incarnation (1, 2, …).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Login {
    /// Which port.
    pub port: PortId,
}

/// The end of a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Logout {
    /// Which port.
    pub port: PortId,
    /// Which login of it; any but the current one makes this a no-op.
    pub incarnation: u32,
}

/// The options of an Enter or Replace Order that are kept and echoed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OrderOptions {
    /// Tag 2 was given (and named the port's firm).
    pub firm: bool,
    /// Tag 4, CustomerType; 0 when absent.
    pub customer_type: u8,
    /// Tag 12, PostOnly: 0 when absent, else `P` (post only) or `N`.
    pub post_only: u8,
    /// Tag 24, GroupID, for mass cancels; `None` when absent.
    pub group: Option<u16>,
    /// Tag 3, MinQty, in lots: 0 when absent. The least that an immediate-or-cancel order trades at once.
    pub min_qty: u32,
}

impl OrderOptions {
    /// None of them: the default.
    pub const NONE: Self = Self { firm: false, customer_type: 0, post_only: 0, group: None, min_qty: 0 };

    /// Whether the order must not trade on entry.
    #[must_use]
    pub const fn is_post_only(&self) -> bool {
        self.post_only == b'P'
    }
}

/// OUCH 5.0 Enter Order, checked for form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EnterOrder {
    /// The port it came in on.
    pub port: PortId,
    /// Channel of UserRefNums.
    pub user_ref_idx: UserRefIdx,
    /// The member's number of it.
    pub user_ref_num: UserRefNum,
    /// What to trade; [`InstrumentId::NONE`] with `fault` [`Reject::Symbol`].
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
    /// Kept and echoed options.
    pub options: OrderOptions,
    /// What makes it more than a plain limit order.
    pub terms: OrderTerms,
    /// What the gateway found wrong. Fields beside `port`, numbers and `cl_ord_id` may then hold anything.
    pub fault: Option<Reject>,
}

impl EnterOrder {
    /// The order's name.
    #[must_use]
    pub const fn key(&self) -> OrderKey {
        OrderKey::new(self.port, self.user_ref_idx, self.user_ref_num)
    }
}

/// OUCH 5.0 Replace Order, checked for form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplaceOrder {
    /// The port it came in on.
    pub port: PortId,
    /// Channel of UserRefNums, of both numbers.
    pub user_ref_idx: UserRefIdx,
    /// The order to replace.
    pub orig_user_ref_num: UserRefNum,
    /// The number of what replaces it.
    pub user_ref_num: UserRefNum,
    /// Total the member will be liable for, executions of the whole chain included.
    pub qty: Qty,
    /// The new limit, in wire price units (not ticks): a replace does not name its instrument, so
    /// core divides by the instrument's tick.
    pub wire_price: u64,
    /// How long.
    pub time_in_force: TimeInForce,
    /// How shown.
    pub display: Display,
    /// The member's own text.
    pub cl_ord_id: ClOrdId,
    /// Kept and echoed options; an absent one keeps the original's value.
    pub options: OrderOptions,
    /// Tag 5, MaxFloor; `None` keeps the original's.
    pub max_floor: Option<u32>,
    /// Tag 13, RandomReserves; `None` keeps the original's.
    pub random_reserves: Option<u32>,
    /// When a good-till-time order ends; 0 unless `time_in_force` is that.
    pub expire: Nanos,
    /// What the gateway found wrong.
    pub fault: Option<Reject>,
}

/// OUCH 5.0 Cancel Order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CancelOrder {
    /// The port it came in on.
    pub port: PortId,
    /// Channel of UserRefNums.
    pub user_ref_idx: UserRefIdx,
    /// The order.
    pub user_ref_num: UserRefNum,
    /// New intended total, executions included; 0 cancels all that is left.
    pub qty: Qty,
}

/// OUCH 5.0 Modify Order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModifyOrder {
    /// The port it came in on.
    pub port: PortId,
    /// Channel of UserRefNums.
    pub user_ref_idx: UserRefIdx,
    /// The order.
    pub user_ref_num: UserRefNum,
    /// New side: S to T or E, E to T.
    pub side: Side,
    /// New intended total, executions included; may not grow.
    pub qty: Qty,
}

/// OUCH 5.0 Mass Cancel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MassCancel {
    /// The port it came in on.
    pub port: PortId,
    /// Channel of UserRefNums.
    pub user_ref_idx: UserRefIdx,
    /// The request's own number.
    pub user_ref_num: UserRefNum,
    /// Whose orders: the firm of the MPID given; 0 when there is none such.
    pub firm: FirmId,
    /// Which instrument; [`InstrumentId::NONE`] is all of them.
    pub instrument: InstrumentId,
    /// Tag 24: `None` when absent (all); 0 means orders without a group.
    pub group: Option<u16>,
    /// Tag 27: only this side; `None` when absent.
    pub side: Option<Side>,
    /// What the gateway found wrong.
    pub fault: Option<Reject>,
}

/// One slice of a mass cancel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MassCancelSlice {
    /// The mass cancel.
    pub cause: Seq,
    /// Which slice of it, from 0; any but the one due makes this a no-op.
    pub slice: u32,
}

/// OUCH 5.0 Disable Order Entry or Enable Order Entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OrderEntrySwitch {
    /// The port it came in on.
    pub port: PortId,
    /// Channel of UserRefNums.
    pub user_ref_idx: UserRefIdx,
    /// The request's own number.
    pub user_ref_num: UserRefNum,
    /// Whose order entry: the firm of the MPID given; 0 when there is none such.
    pub firm: FirmId,
    /// What the gateway found wrong.
    pub fault: Option<Reject>,
}

/// OUCH 5.0 Account Query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccountQuery {
    /// The port it came in on.
    pub port: PortId,
    /// Channel of UserRefNums.
    pub user_ref_idx: UserRefIdx,
}

/// One side of a quote.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QuoteSide {
    /// How much; 0 is no order on this side.
    pub qty: Qty,
    /// The limit; 0 on a side without an order.
    pub price: Price,
}

/// One instrument of a mass quote: takes the place of the quote that the port and channel had on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quote {
    /// The port it came in on.
    pub port: PortId,
    /// Channel of UserRefNums.
    pub user_ref_idx: UserRefIdx,
    /// The bid's number; the ask's is one above.
    pub user_ref_num: UserRefNum,
    /// What is quoted; [`InstrumentId::NONE`] with `fault` [`Reject::Symbol`].
    pub instrument: InstrumentId,
    /// To buy.
    pub bid: QuoteSide,
    /// To sell.
    pub ask: QuoteSide,
    /// In which capacity.
    pub capacity: Capacity,
    /// What the gateway found wrong.
    pub fault: Option<Reject>,
}

/// Asks what became of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OrderStateQuery {
    /// The port it came in on.
    pub port: PortId,
    /// Channel of UserRefNums.
    pub user_ref_idx: UserRefIdx,
    /// The order.
    pub user_ref_num: UserRefNum,
}

/// Arms, re-arms or disarms a port's dead-man timer; every command of the port sets it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeadMan {
    /// The port it came in on.
    pub port: PortId,
    /// How long the port may be silent before its orders are cancelled, in nanoseconds; 0 disarms.
    pub timeout_ns: u64,
}
