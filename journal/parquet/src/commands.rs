//! The table of commands: everything that was sequenced, whatever became of it.

use ironbell_types::{
    AccountId, Capacity, Command, Control, Display, FirmId, InstrumentId, KillScope, OrderKey, PortId, Price,
    Qty, Reject, Sequenced, Side, TimeInForce, UserRefIdx, UserRefNum,
};
use parquet::errors::ParquetError;

use crate::names::Names;
use crate::table::{Cell, Columns, Table, Type};

/// The columns of `commands.parquet`. Prices in ticks and quantities in lots are what the journal holds.
pub const COLUMNS: Columns = &[
    ("seq!", Type::Unsigned),
    ("time!", Type::Time),
    ("epoch!", Type::Unsigned),
    ("kind!", Type::Text),
    ("void!", Type::Bool),
    ("port", Type::Text),
    ("firm", Type::Text),
    ("account", Type::Unsigned),
    ("symbol", Type::Text),
    ("user_ref_idx", Type::Unsigned),
    ("user_ref_num", Type::Unsigned),
    ("orig_user_ref_num", Type::Unsigned),
    ("side", Type::Text),
    ("qty", Type::Unsigned),
    ("price_ticks", Type::Signed),
    ("price", Type::Double),
    ("time_in_force", Type::Text),
    ("display", Type::Text),
    ("capacity", Type::Text),
    ("cl_ord_id", Type::Text),
    ("fault", Type::Text),
];

/// What a command has of the columns.
#[derive(Default)]
struct Row {
    port: Option<PortId>,
    firm: Option<FirmId>,
    account: Option<AccountId>,
    instrument: Option<InstrumentId>,
    idx: Option<UserRefIdx>,
    num: Option<UserRefNum>,
    orig_num: Option<UserRefNum>,
    side: Option<Side>,
    qty: Option<Qty>,
    price: Option<Price>,
    time_in_force: Option<TimeInForce>,
    display: Option<Display>,
    capacity: Option<Capacity>,
    cl_ord_id: Option<String>,
    fault: Option<Reject>,
}

/// Adds `sequenced`, as it was given; `names` knows what was done before it.
pub fn add(
    table: &mut Table,
    sequenced: &Sequenced,
    epoch: u64,
    void: bool,
    names: &Names,
) -> Result<(), ParquetError> {
    let row = Row::of(&sequenced.command, names);
    let firm = match (row.firm, row.port, row.account) {
        (Some(firm), ..) => names.firm(firm),
        (None, Some(port), _) => names.port_firm(port),
        (None, None, Some(account)) => names.account_firm(account),
        _ => Cell::Null,
    };
    let instrument = row.instrument.unwrap_or(InstrumentId::NONE);
    table.row([
        sequenced.seq.0.into(),
        sequenced.time.0.into(),
        epoch.into(),
        sequenced.command.name().into(),
        void.into(),
        row.port.map_or(Cell::Null, |port| names.port(port)),
        firm,
        row.account.map(|account| account.0).into(),
        names.symbol(instrument),
        row.idx.map(|idx| idx.0).into(),
        row.num.map(|num| num.0).into(),
        row.orig_num.map(|num| num.0).into(),
        row.side.map(Side::name).into(),
        row.qty.map(|qty| qty.0).into(),
        row.price.map(|price| price.0).into(),
        row.price.map_or(Cell::Null, |price| names.price(instrument, price)),
        row.time_in_force.map(TimeInForce::name).into(),
        row.display.map(Display::name).into(),
        row.capacity.map(Capacity::name).into(),
        row.cl_ord_id.into(),
        row.fault.map(|fault| format!("{fault:?}")).into(),
    ])
}

impl Row {
    fn of(command: &Command, names: &Names) -> Self {
        match command {
            Command::DefineAsset(_) | Command::OpenDay(_) | Command::Tick | Command::MassCancelSlice(_) => {
                Self::default()
            }
            Command::DefineInstrument(instrument) => Self::about(instrument.id),
            Command::DefineFirm(firm) => Self { firm: Some(firm.id), ..Self::default() },
            Command::DefineAccount(account) => {
                Self { account: Some(account.id), firm: Some(account.firm), ..Self::default() }
            }
            Command::DefinePort(port) => Self {
                port: Some(port.id),
                firm: Some(port.firm),
                account: Some(port.account),
                ..Self::default()
            },
            Command::Fund(funding) => Self { account: Some(funding.account), ..Self::default() },
            Command::Login(login) => Self::of_port(login.port),
            Command::Logout(logout) => Self::of_port(logout.port),
            Command::DeadMan(timer) => Self::of_port(timer.port),
            Command::EnterOrder(order) => Self {
                instrument: Some(order.instrument),
                side: Some(order.side),
                qty: Some(order.qty),
                price: Some(order.price),
                time_in_force: Some(order.time_in_force),
                display: Some(order.display),
                capacity: Some(order.capacity),
                cl_ord_id: Some(order.cl_ord_id.as_str().to_owned()),
                fault: order.fault,
                ..Self::of_order(order.port, order.user_ref_idx, order.user_ref_num, names)
            },
            Command::ReplaceOrder(replace) => {
                let (port, idx) = (replace.port, replace.user_ref_idx);
                let original = Self::of_order(port, idx, replace.orig_user_ref_num, names);
                let known = original.instrument.and_then(|id| names.instrument(id));
                // A replacement carries its price as it stood on the wire.
                let tick = known.map_or(0, |instrument| u64::from(instrument.price_tick()));
                let whole = tick > 0 && replace.wire_price.is_multiple_of(tick);
                let ticks = whole.then(|| i64::try_from(replace.wire_price / tick).ok()).flatten();
                Self {
                    num: Some(replace.user_ref_num),
                    orig_num: Some(replace.orig_user_ref_num),
                    qty: Some(replace.qty),
                    price: ticks.map(Price),
                    time_in_force: Some(replace.time_in_force),
                    display: Some(replace.display),
                    cl_ord_id: Some(replace.cl_ord_id.as_str().to_owned()),
                    fault: replace.fault,
                    ..original
                }
            }
            Command::CancelOrder(cancel) => Self {
                qty: Some(cancel.qty),
                ..Self::of_order(cancel.port, cancel.user_ref_idx, cancel.user_ref_num, names)
            },
            Command::ModifyOrder(modify) => Self {
                side: Some(modify.side),
                qty: Some(modify.qty),
                ..Self::of_order(modify.port, modify.user_ref_idx, modify.user_ref_num, names)
            },
            Command::OrderStateQuery(query) => {
                Self::of_order(query.port, query.user_ref_idx, query.user_ref_num, names)
            }
            Command::MassCancel(cancel) => Self {
                idx: Some(cancel.user_ref_idx),
                num: Some(cancel.user_ref_num),
                instrument: Some(cancel.instrument),
                side: cancel.side,
                fault: cancel.fault,
                ..Self::of_port(cancel.port)
            },
            Command::DisableOrderEntry(switch) | Command::EnableOrderEntry(switch) => Self {
                idx: Some(switch.user_ref_idx),
                num: Some(switch.user_ref_num),
                fault: switch.fault,
                ..Self::of_port(switch.port)
            },
            Command::AccountQuery(query) => {
                Self { idx: Some(query.user_ref_idx), ..Self::of_port(query.port) }
            }
            // Both sides are in the table of orders, each in a row of its own.
            Command::Quote(quote) => Self {
                idx: Some(quote.user_ref_idx),
                num: Some(quote.user_ref_num),
                instrument: Some(quote.instrument),
                capacity: Some(quote.capacity),
                fault: quote.fault,
                ..Self::of_port(quote.port)
            },
            Command::Control(control) => Self::of_control(control),
        }
    }

    fn of_port(port: PortId) -> Self {
        Self { port: Some(port), ..Self::default() }
    }

    fn about(instrument: InstrumentId) -> Self {
        Self { instrument: Some(instrument), ..Self::default() }
    }

    fn of_order(port: PortId, idx: UserRefIdx, num: UserRefNum, names: &Names) -> Self {
        let instrument = names.order_instrument(OrderKey::new(port, idx, num));
        Self { idx: Some(idx), num: Some(num), instrument: Some(instrument), ..Self::of_port(port) }
    }

    /// Whom it concerns; what exactly it sets, `ironbell journal dump` says.
    fn of_control(control: &Control) -> Self {
        match *control {
            Control::SetRules { instrument, .. }
            | Control::SetSchedule { instrument, .. }
            | Control::SetPhase { instrument, .. }
            | Control::SetFees { instrument, .. }
            | Control::Delist { instrument }
            | Control::ChangeTick { instrument, .. }
            | Control::ChangeSymbol { instrument, .. } => Self::about(instrument),
            Control::SetPortRules { port, .. } => Self::of_port(port),
            Control::Entitle { port, instrument, .. } => {
                Self { instrument: Some(instrument), ..Self::of_port(port) }
            }
            Control::SetExposure { firm, .. } | Control::SetFirmTier { firm, .. } => {
                Self { firm: Some(firm), ..Self::default() }
            }
            Control::Restrict { firm, instrument, .. } | Control::Locate { firm, instrument, .. } => {
                Self { firm: Some(firm), ..Self::about(instrument) }
            }
            Control::SetCredit { account, .. } => Self { account: Some(account), ..Self::default() },
            Control::SetPosition { account, instrument, .. } => {
                Self { account: Some(account), ..Self::about(instrument) }
            }
            Control::Kill { scope, .. } => match scope {
                KillScope::Port(port) => Self::of_port(port),
                KillScope::Firm(firm) => Self { firm: Some(firm), ..Self::default() },
                KillScope::Instrument(instrument) => Self::about(instrument),
                KillScope::Venue => Self::default(),
            },
            Control::SetTier { .. }
            | Control::CloseDay
            | Control::Bust { .. }
            | Control::SetDeclineLevels { .. }
            | Control::MarketWideHalt { .. }
            | Control::HaltOrderEntry { .. }
            | Control::SignedHead { .. }
            | Control::BeginGrace { .. }
            | Control::Void { .. } => Self::default(),
        }
    }
}
