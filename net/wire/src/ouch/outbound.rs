//! What the exchange sends (OUCH 5.0, outbound messages).

use super::{Appendage, Layout, Options, OuchMessage, error, fixed, tag_set, whole};
use crate::{DecodeError, Message, NoRoom, Problem, Protocol, U16, U32, U64};

ouch! {
    /// A message of the exchange, borrowed from the bytes it came in, with its options.
    Outbound OuchOutbound;

    /// System Event: the trading day starts or ends.
    b'S' SystemEvent 10 None [] {
        /// Nanoseconds since local midnight.
        timestamp: U64,
        /// `S` start, `E` end of day.
        event_code: u8,
    }
    /// Order Accepted: an order is accepted.
    b'A' OrderAccepted 62 Required [2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 24, 25, 28, 29, 30] {
        /// Nanoseconds since local midnight.
        timestamp: U64,
        /// The member's number of it.
        user_ref_num: U32,
        /// `B`, `S`, `T` or `E`.
        side: u8,
        /// Shares accepted.
        quantity: U32,
        /// Symbol.
        symbol: [u8; 8],
        /// Limit price; 4 implied decimals.
        price: U64,
        /// `0`, `3`, `5`, `6` or `E`.
        time_in_force: u8,
        /// `Y`, `N`, `A` or `Z`.
        display: u8,
        /// The venue's number of it.
        order_reference_number: U64,
        /// `A`, `P`, `R` or `O`.
        capacity: u8,
        /// `Y` or `N`.
        inter_market_sweep: u8,
        /// `N` continuous, else the cross it waits for: `O` `C` `H` `S` `R` `E` `A`.
        cross_type: u8,
        /// `L` live or `D` dead.
        order_state: u8,
        /// The member's own text.
        cl_ord_id: [u8; 14],
    }
    /// Order Replaced: an order is replaced.
    b'U' OrderReplaced 66 Required [2, 3, 5, 6, 12, 15, 16, 17, 18, 28, 29, 30] {
        /// Nanoseconds since local midnight.
        timestamp: U64,
        /// The member's number of what it replaces.
        orig_user_ref_num: U32,
        /// The member's number of it.
        user_ref_num: U32,
        /// `B`, `S`, `T` or `E`.
        side: u8,
        /// Shares open after the replacement.
        quantity: U32,
        /// Symbol.
        symbol: [u8; 8],
        /// Limit price; 4 implied decimals.
        price: U64,
        /// `0`, `3`, `5`, `6` or `E`.
        time_in_force: u8,
        /// `Y`, `N`, `A` or `Z`.
        display: u8,
        /// The venue's number of it.
        order_reference_number: U64,
        /// `A`, `P`, `R` or `O`.
        capacity: u8,
        /// `Y` or `N`.
        inter_market_sweep: u8,
        /// `N` continuous, else the cross it waits for: `O` `C` `H` `S` `R` `E` `A`.
        cross_type: u8,
        /// `L` live or `D` dead.
        order_state: u8,
        /// The member's own text.
        cl_ord_id: [u8; 14],
    }
    /// Order Canceled: an order, or a part of it, is gone.
    b'C' OrderCanceled 18 Optional [28] {
        /// Nanoseconds since local midnight.
        timestamp: U64,
        /// The member's number of it.
        user_ref_num: U32,
        /// Shares taken off the order.
        quantity: U32,
        /// Cancel reason.
        reason: u8,
    }
    /// AIQ Canceled: a part of an order is gone because it would have traded with its own firm.
    b'D' AiqCanceled 32 Optional [28] {
        /// Nanoseconds since local midnight.
        timestamp: U64,
        /// The member's number of it.
        user_ref_num: U32,
        /// Shares taken off the order.
        decrement_shares: U32,
        /// `Q`.
        reason: u8,
        /// Shares that did not trade.
        quantity_prevented: U32,
        /// Price of the execution; 4 implied decimals.
        execution_price: U64,
        /// Added, removed and finer: section 5.4 of the tables.
        liquidity_flag: u8,
        /// Which self-trade rule was applied.
        aiq_strategy: u8,
    }
    /// Order Executed: an order has traded.
    b'E' OrderExecuted 34 Required [28] {
        /// Nanoseconds since local midnight.
        timestamp: U64,
        /// The member's number of it.
        user_ref_num: U32,
        /// Shares of this execution.
        quantity: U32,
        /// Price of the execution; 4 implied decimals.
        price: U64,
        /// Added, removed and finer: section 5.4 of the tables.
        liquidity_flag: u8,
        /// The venue's number of the trade.
        match_number: U64,
    }
    /// Broken Trade: a trade is broken.
    b'B' BrokenTrade 36 Optional [28] {
        /// Nanoseconds since local midnight.
        timestamp: U64,
        /// The member's number of it.
        user_ref_num: U32,
        /// The venue's number of the trade.
        match_number: U64,
        /// `E` erroneous, `C` consent, `S` supervisory, `X` external.
        reason: u8,
        /// The member's own text.
        cl_ord_id: [u8; 14],
    }
    /// Rejected: a new order or a replacement is refused; its number is consumed.
    b'J' Rejected 29 Optional [28] {
        /// Nanoseconds since local midnight.
        timestamp: U64,
        /// The member's number of it.
        user_ref_num: U32,
        /// Reject reason.
        reason: U16,
        /// The member's own text.
        cl_ord_id: [u8; 14],
    }
    /// Cancel Pending: a cancel will be done later: the order cannot be cancelled now.
    b'P' CancelPending 13 Optional [28] {
        /// Nanoseconds since local midnight.
        timestamp: U64,
        /// The member's number of it.
        user_ref_num: U32,
    }
    /// Cancel Reject: a cancel cannot be done.
    b'I' CancelReject 13 Optional [28] {
        /// Nanoseconds since local midnight.
        timestamp: U64,
        /// The member's number of it.
        user_ref_num: U32,
    }
    /// Order Priority Update: an order has a new place in its queue.
    b'T' OrderPriorityUpdate 30 Optional [28] {
        /// Nanoseconds since local midnight.
        timestamp: U64,
        /// The member's number of it.
        user_ref_num: U32,
        /// New price; 4 implied decimals.
        price: U64,
        /// `Y`, `N`, `A` or `Z`.
        display: u8,
        /// The venue's new number of it.
        order_reference_number: U64,
    }
    /// Order Modified: an order is modified.
    b'M' OrderModified 18 Optional [25, 26, 28] {
        /// Nanoseconds since local midnight.
        timestamp: U64,
        /// The member's number of it.
        user_ref_num: U32,
        /// `B`, `S`, `T` or `E`.
        side: u8,
        /// Shares open now.
        quantity: U32,
    }
    /// Order Restated: an order has new properties by the venue's doing.
    b'R' OrderRestated 14 Required [1, 22, 23, 28] {
        /// Nanoseconds since local midnight.
        timestamp: U64,
        /// The member's number of it.
        user_ref_num: U32,
        /// `R` refresh of the display, `P` price update.
        reason: u8,
    }
    /// Mass Cancel Response: a mass cancel is accepted; the orders' own cancels follow.
    b'X' MassCancelResponse 25 Required [24, 27, 28] {
        /// Nanoseconds since local midnight.
        timestamp: U64,
        /// The request's own number.
        user_ref_num: U32,
        /// MPID.
        firm: [u8; 4],
        /// Symbol; spaces are all of them.
        symbol: [u8; 8],
    }
    /// Disable Order Entry Response: a firm's orders are refused from here on.
    b'G' DisableOrderEntryResponse 17 Required [28] {
        /// Nanoseconds since local midnight.
        timestamp: U64,
        /// The request's own number.
        user_ref_num: U32,
        /// MPID.
        firm: [u8; 4],
    }
    /// Enable Order Entry Response: a firm's orders are taken again.
    b'K' EnableOrderEntryResponse 17 Required [28] {
        /// Nanoseconds since local midnight.
        timestamp: U64,
        /// The request's own number.
        user_ref_num: U32,
        /// MPID.
        firm: [u8; 4],
    }
    /// Account Query Response: the answer to an account query.
    b'Q' AccountQueryResponse 13 Optional [28] {
        /// Nanoseconds since local midnight.
        timestamp: U64,
        /// Smallest number not yet used.
        next_user_ref_num: U32,
    }
}
