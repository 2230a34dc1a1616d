//! What a member sends (OUCH 5.0, inbound messages).

use super::{Appendage, Layout, Options, OuchMessage, error, fixed, tag_set, whole};
use crate::{DecodeError, Message, NoRoom, Problem, Protocol, U32, U64};

ouch! {
    /// A member's message, borrowed from the bytes it came in, with its options.
    Inbound OuchInbound;

    /// Enter Order: a new order.
    b'O' EnterOrder 45 Required [2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 15, 16, 17, 24, 25, 26, 28, 29, 30] {
        /// The member's number of it.
        user_ref_num: U32,
        /// `B`, `S`, `T` or `E`.
        side: u8,
        /// Shares: 1 to 999,999.
        quantity: U32,
        /// Symbol.
        symbol: [u8; 8],
        /// Limit price; 4 implied decimals.
        price: U64,
        /// `0`, `3`, `5`, `6` or `E`.
        time_in_force: u8,
        /// `Y`, `N` or `A`.
        display: u8,
        /// `A`, `P`, `R` or `O`.
        capacity: u8,
        /// `Y` or `N`.
        inter_market_sweep: u8,
        /// `N` continuous, else the cross it waits for: `O` `C` `H` `S` `R` `E` `A`.
        cross_type: u8,
        /// The member's own text.
        cl_ord_id: [u8; 14],
    }
    /// Replace Order: replaces an order by a new one that loses its place.
    b'U' ReplaceOrder 38 Required [3, 5, 6, 7, 9, 10, 11, 12, 13, 15, 16, 17, 25, 26, 27, 28, 29, 30] {
        /// The member's number of what it replaces.
        orig_user_ref_num: U32,
        /// The member's number of it.
        user_ref_num: U32,
        /// Total the member will be liable for, executions of the whole chain included.
        quantity: U32,
        /// Limit price; 4 implied decimals.
        price: U64,
        /// `0`, `3`, `5`, `6` or `E`.
        time_in_force: u8,
        /// `Y`, `N` or `A`.
        display: u8,
        /// `Y` or `N`.
        inter_market_sweep: u8,
        /// The member's own text.
        cl_ord_id: [u8; 14],
    }
    /// Cancel Order: cancels an order, or a part of it.
    b'X' CancelOrder 9 Optional [28] {
        /// The member's number of it.
        user_ref_num: U32,
        /// New intended total, executions included; 0 cancels all that is left.
        quantity: U32,
    }
    /// Modify Order: reduces an order, or changes the kind of a sale; it keeps its place.
    b'M' ModifyOrder 10 Optional [25, 26, 28] {
        /// The member's number of it.
        user_ref_num: U32,
        /// `B`, `S`, `T` or `E`.
        side: u8,
        /// New intended total, executions included; may not grow.
        quantity: U32,
    }
    /// Mass Cancel: cancels every order of a firm, or those of a symbol, side or group.
    b'C' MassCancel 17 Required [24, 27, 28] {
        /// The request's own number.
        user_ref_num: U32,
        /// MPID.
        firm: [u8; 4],
        /// Symbol; spaces are all of them.
        symbol: [u8; 8],
    }
    /// Disable Order Entry: refuses further orders of a firm until enabled.
    b'D' DisableOrderEntry 9 Required [28] {
        /// The request's own number.
        user_ref_num: U32,
        /// MPID.
        firm: [u8; 4],
    }
    /// Enable Order Entry: takes orders of a firm again.
    b'E' EnableOrderEntry 9 Required [28] {
        /// The request's own number.
        user_ref_num: U32,
        /// MPID.
        firm: [u8; 4],
    }
    /// Account Query: asks for the next usable UserRefNum.
    b'Q' AccountQuery 1 Optional [28] {
    }
}
