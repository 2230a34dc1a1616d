//! The tables of what became of commands: orders, trades, and each side of a trade with its fee.

use ironbell_types::{
    Accepted, CancelReason, CrossKind, Event, EventBody, Executed, InstrumentId, MatchNumber, OrderKey,
    OrderRef, Price, Qty, Side, Trade,
};
use parquet::errors::ParquetError;

use crate::names::Names;
use crate::table::{Cell, Columns, Table, Type};

/// The columns of `orders.parquet`: a row each time something became of an order, but for its executions.
pub const ORDER_COLUMNS: Columns = &[
    ("seq!", Type::Unsigned),
    ("time!", Type::Time),
    ("event!", Type::Text),
    ("port!", Type::Text),
    ("firm!", Type::Text),
    ("user_ref_idx!", Type::Unsigned),
    ("user_ref_num!", Type::Unsigned),
    ("orig_user_ref_num", Type::Unsigned),
    ("order_ref", Type::Unsigned),
    ("symbol", Type::Text),
    ("side", Type::Text),
    ("qty", Type::Unsigned),
    ("leaves_qty", Type::Unsigned),
    ("price_ticks", Type::Signed),
    ("price", Type::Double),
    ("time_in_force", Type::Text),
    ("display", Type::Text),
    ("reason", Type::Text),
    ("cl_ord_id", Type::Text),
];

/// The columns of `trades.parquet`: a row a trade, and one more (`event` = bust) when it is undone.
pub const TRADE_COLUMNS: Columns = &[
    ("seq!", Type::Unsigned),
    ("time!", Type::Time),
    ("event!", Type::Text),
    ("match_number!", Type::Unsigned),
    ("symbol!", Type::Text),
    ("qty!", Type::Unsigned),
    ("price_ticks!", Type::Signed),
    ("price!", Type::Double),
    ("cross", Type::Text),
    ("aggressor_side", Type::Text),
    ("buyer_port!", Type::Text),
    ("buyer_user_ref_num!", Type::Unsigned),
    ("buyer_order_ref", Type::Unsigned),
    ("seller_port!", Type::Text),
    ("seller_user_ref_num!", Type::Unsigned),
    ("seller_order_ref", Type::Unsigned),
    ("reason", Type::Text),
];

/// The columns of `fills.parquet`: two rows a trade. `quote_units` and `fee_units` are smallest units of the quote
/// asset, whose decimal places `quote_decimals` are.
pub const FILL_COLUMNS: Columns = &[
    ("seq!", Type::Unsigned),
    ("time!", Type::Time),
    ("match_number!", Type::Unsigned),
    ("symbol!", Type::Text),
    ("port!", Type::Text),
    ("firm!", Type::Text),
    ("account!", Type::Unsigned),
    ("user_ref_idx!", Type::Unsigned),
    ("user_ref_num!", Type::Unsigned),
    ("order_ref!", Type::Unsigned),
    ("side!", Type::Text),
    ("role!", Type::Text),
    ("qty!", Type::Unsigned),
    ("leaves_qty!", Type::Unsigned),
    ("price_ticks!", Type::Signed),
    ("price!", Type::Double),
    ("quote_units!", Type::Decimal),
    ("fee_units!", Type::Decimal),
    ("quote_decimals!", Type::Unsigned),
];

/// The three tables.
pub struct Tables {
    /// What became of orders.
    pub orders: Table,
    /// Trades.
    pub trades: Table,
    /// Their sides.
    pub fills: Table,
    /// Trades of the present command whose legs were not said yet.
    unsettled: Vec<Trade>,
}

/// What an event says of an order; what it does not say is null.
struct OrderRow<'a> {
    event: &'static str,
    key: OrderKey,
    order_ref: Option<OrderRef>,
    instrument: Option<InstrumentId>,
    side: Option<Side>,
    qty: Option<Qty>,
    leaves_qty: Option<Qty>,
    price: Option<Price>,
    reason: Option<String>,
    /// Of an order that stands accepted.
    order: Option<&'a Accepted>,
    orig_user_ref_num: Option<u32>,
    cl_ord_id: Option<String>,
}

impl OrderRow<'_> {
    fn of(event: &'static str, key: OrderKey) -> Self {
        Self {
            event,
            key,
            order_ref: None,
            instrument: None,
            side: None,
            qty: None,
            leaves_qty: None,
            price: None,
            reason: None,
            order: None,
            orig_user_ref_num: None,
            cl_ord_id: None,
        }
    }
}

impl Tables {
    /// Empty ones.
    pub fn new(orders: Table, trades: Table, fills: Table) -> Self {
        Self { orders, trades, fills, unsettled: Vec::new() }
    }

    /// Adds what an event says. `names` knows it already. The legs of a trade are said by the command that made it.
    pub fn add(&mut self, event: &Event, names: &Names) -> Result<(), ParquetError> {
        match &event.body {
            EventBody::Accepted(order) => {
                let leaves_qty = Some(order.qty);
                self.order(event, names, accepted("accepted", order, leaves_qty, None))
            }
            EventBody::Replaced(replaced) => {
                let (order, orig) = (&replaced.order, replaced.orig_user_ref_num.0);
                self.order(event, names, accepted("replaced", order, Some(order.qty), Some(orig)))
            }
            EventBody::Canceled(canceled) => self.order(
                event,
                names,
                OrderRow {
                    order_ref: Some(canceled.order_ref),
                    instrument: Some(canceled.instrument),
                    qty: Some(canceled.qty),
                    leaves_qty: Some(canceled.leaves_qty),
                    reason: Some(cancel_reason(canceled.reason)),
                    ..OrderRow::of("canceled", canceled.key)
                },
            ),
            EventBody::Modified(modified) => self.order(
                event,
                names,
                OrderRow {
                    order_ref: Some(modified.order_ref),
                    instrument: Some(modified.instrument),
                    side: Some(modified.side),
                    qty: Some(modified.qty),
                    leaves_qty: Some(modified.leaves_qty),
                    ..OrderRow::of("modified", modified.key)
                },
            ),
            EventBody::Rejected { key, reason, cl_ord_id } => self.order(
                event,
                names,
                OrderRow {
                    reason: Some(format!("{reason:?}")),
                    cl_ord_id: Some(cl_ord_id.as_str().to_owned()),
                    ..OrderRow::of("rejected", *key)
                },
            ),
            EventBody::Triggered { key, order_ref, instrument, price } => self.order(
                event,
                names,
                OrderRow {
                    order_ref: Some(*order_ref),
                    instrument: Some(*instrument),
                    price: Some(*price),
                    ..OrderRow::of("triggered", *key)
                },
            ),
            EventBody::Refreshed(part) => self.order(
                event,
                names,
                OrderRow {
                    order_ref: Some(part.order_ref),
                    instrument: Some(part.instrument),
                    side: Some(part.side),
                    qty: Some(part.shown.qty),
                    leaves_qty: Some(part.leaves_qty),
                    price: Some(part.price),
                    ..OrderRow::of("refreshed", part.key)
                },
            ),
            EventBody::SelfTradePrevented(prevented) => self.order(
                event,
                names,
                OrderRow {
                    order_ref: Some(prevented.order_ref),
                    instrument: Some(prevented.instrument),
                    qty: Some(prevented.qty),
                    leaves_qty: Some(prevented.leaves_qty),
                    price: Some(prevented.price),
                    reason: Some(format!("{:?}", prevented.stp)),
                    ..OrderRow::of("self_trade_prevented", prevented.key)
                },
            ),
            EventBody::Trade(trade) => {
                self.unsettled.push(*trade);
                self.trade(event, trade, names)
            }
            EventBody::Settled(leg) => {
                let trade = self.unsettled.iter().find(|trade| trade.match_number == leg.match_number);
                let trade = *trade.expect("a trade is said before its legs");
                let decimals = names.quote_decimals(leg.instrument);
                let amounts = [leg.quote.0.into(), leg.fee.0.into(), decimals.into()];
                self.fill(event, &trade, leg.buys, leg.account.0.into(), amounts, names)
            }
            EventBody::Busted(bust) => {
                let sides = [(bust.buyer, None), (bust.seller, None)];
                let what = (bust.match_number, bust.instrument, bust.qty, bust.price);
                let reason = Some(char::from(bust.reason).to_string());
                self.trade_row(event, "bust", what, [Cell::Null, Cell::Null], sides, reason, names)
            }
            _ => Ok(()),
        }
    }

    /// What was said of a command is complete.
    pub fn end_command(&mut self) {
        self.unsettled.clear();
    }

    fn order(&mut self, event: &Event, names: &Names, row: OrderRow<'_>) -> Result<(), ParquetError> {
        let port = row.key.port();
        let instrument = row.instrument.unwrap_or(InstrumentId::NONE);
        self.orders.row([
            event.seq.0.into(),
            event.time.0.into(),
            row.event.into(),
            names.port(port),
            names.port_firm(port),
            row.key.idx().0.into(),
            row.key.num().0.into(),
            row.orig_user_ref_num.into(),
            row.order_ref.map(|number| number.0).into(),
            names.symbol(instrument),
            row.side.map(Side::name).into(),
            row.qty.map(|qty| qty.0).into(),
            row.leaves_qty.map(|qty| qty.0).into(),
            row.price.map(|price| price.0).into(),
            row.price.map_or(Cell::Null, |price| names.price(instrument, price)),
            row.order.map(|order| order.time_in_force.name()).into(),
            row.order.map(|order| order.display.name()).into(),
            row.reason.into(),
            row.cl_ord_id.into(),
        ])
    }

    fn trade(&mut self, event: &Event, trade: &Trade, names: &Names) -> Result<(), ParquetError> {
        let (buyer, seller) = if trade.aggressor_buys {
            (&trade.aggressor, &trade.resting)
        } else {
            (&trade.resting, &trade.aggressor)
        };
        let what = (trade.match_number, trade.instrument, trade.qty, trade.price);
        // In a cross nobody is the aggressor.
        let in_cross = trade.cross != CrossKind::None;
        let aggressor: Option<&str> =
            (!in_cross).then_some(if trade.aggressor_buys { "buy" } else { "sell" });
        let how = [in_cross.then(|| cross(trade.cross)).into(), aggressor.into()];
        let side = |side: &Executed| (side.key, Some(side.order_ref));
        self.trade_row(event, "trade", what, how, [side(buyer), side(seller)], None, names)
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "a trade and a bust have the same row and little else in common"
    )]
    fn trade_row(
        &mut self,
        event: &Event,
        kind: &str,
        (match_number, instrument, qty, price): (MatchNumber, InstrumentId, Qty, Price),
        [cross, aggressor]: [Cell; 2],
        [(buyer, buyer_ref), (seller, seller_ref)]: [(OrderKey, Option<OrderRef>); 2],
        reason: Option<String>,
        names: &Names,
    ) -> Result<(), ParquetError> {
        self.trades.row([
            event.seq.0.into(),
            event.time.0.into(),
            kind.into(),
            match_number.0.into(),
            names.symbol(instrument),
            qty.0.into(),
            price.0.into(),
            names.price(instrument, price),
            cross,
            aggressor,
            names.port(buyer.port()),
            buyer.num().0.into(),
            buyer_ref.map(|number| number.0).into(),
            names.port(seller.port()),
            seller.num().0.into(),
            seller_ref.map(|number| number.0).into(),
            reason.into(),
        ])
    }

    fn fill(
        &mut self,
        event: &Event,
        trade: &Trade,
        buys: bool,
        account: Cell,
        [quote, fee, decimals]: [Cell; 3],
        names: &Names,
    ) -> Result<(), ParquetError> {
        let is_aggressor = trade.aggressor_buys == buys;
        let side = if is_aggressor { &trade.aggressor } else { &trade.resting };
        let role = match (trade.cross, is_aggressor) {
            (CrossKind::None, true) => "aggressor",
            (CrossKind::None, false) => "resting",
            _ => "cross",
        };
        let port = side.key.port();
        self.fills.row([
            event.seq.0.into(),
            event.time.0.into(),
            trade.match_number.0.into(),
            names.symbol(trade.instrument),
            names.port(port),
            names.port_firm(port),
            account,
            side.key.idx().0.into(),
            side.key.num().0.into(),
            side.order_ref.0.into(),
            if buys { "buy" } else { "sell" }.into(),
            role.into(),
            trade.qty.0.into(),
            side.leaves_qty.0.into(),
            trade.price.0.into(),
            names.price(trade.instrument, trade.price),
            quote,
            fee,
            decimals,
        ])
    }
}

fn accepted<'a>(
    event: &'static str,
    order: &'a Accepted,
    leaves_qty: Option<Qty>,
    orig_user_ref_num: Option<u32>,
) -> OrderRow<'a> {
    OrderRow {
        event,
        key: order.key,
        order_ref: Some(order.order_ref),
        instrument: Some(order.instrument),
        side: Some(order.side),
        qty: Some(order.qty),
        leaves_qty,
        price: Some(order.price),
        reason: None,
        order: Some(order),
        orig_user_ref_num,
        cl_ord_id: Some(order.cl_ord_id.as_str().to_owned()),
    }
}

fn cancel_reason(reason: CancelReason) -> String {
    format!("{reason:?}")
}

fn cross(kind: CrossKind) -> &'static str {
    match kind {
        CrossKind::None => "none",
        CrossKind::Opening => "opening",
        CrossKind::Closing => "closing",
        CrossKind::Halt => "halt",
    }
}
