//! What makes an order more than a plain limit order.

use crate::{Nanos, Price, UserRefNum};

/// What a pegged order follows (OUCH 5.0, tag 6, PriceType).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Peg {
    /// Nothing: it stands at its limit (`L`).
    #[default]
    None = 0,
    /// The best displayed price of its own side (`R`).
    Primary = 1,
    /// The best displayed price of the other side (`P`).
    Market = 2,
    /// The middle of both, rounded away from the other side (`M`).
    Midpoint = 3,
}

/// What happens when an order would trade with one of its own firm (OUCH 5.0 rev 1.05, tag 29).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Stp {
    /// What the port's rules say.
    #[default]
    Port = 0,
    /// They trade.
    Off = 1,
    /// What is left of the aggressor is cancelled.
    CancelNewest = 2,
    /// The resting order is cancelled, and the aggressor goes on.
    CancelOldest = 3,
    /// Both are cancelled.
    CancelBoth = 4,
    /// Both shrink by what they would have traded.
    Decrement = 5,
}

/// What makes an order more than a plain limit order; the default is a plain one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OrderTerms {
    /// It has no limit of its own; its price is 0.
    pub market: bool,
    /// It waits until a trade at this price or beyond; 0 is none.
    pub stop: Price,
    /// It waits until a trade this many ticks back from the best since it came in; 0 is none.
    pub trail: u32,
    /// Tag 5, MaxFloor: the most that is shown, in lots; 0 shows all.
    pub max_floor: u32,
    /// Tag 13, RandomReserves: how far each later displayed part may differ from `max_floor`, in lots.
    pub random_reserves: u32,
    /// Tag 6, PriceType.
    pub peg: Peg,
    /// Tag 7, PegOffset, in ticks; negative is less aggressive.
    pub peg_offset: i32,
    /// Tag 9, DiscretionPrice: the price it would trade at without showing it; 0 is none.
    pub discretion: Price,
    /// When a good-till-time order ends; 0 is never.
    pub expire: Nanos,
    /// The order of the same port, channel and instrument that this one is paired with; 0 is none.
    pub oco: UserRefNum,
    /// Tag 29, AIQ strategy.
    pub stp: Stp,
    /// Tag 30, AIQ group: `stp` then concerns only orders of the same group; all zero is the whole firm.
    pub stp_group: [u8; 2],
}

impl OrderTerms {
    /// Those of a plain limit order: the default.
    pub const PLAIN: Self = Self {
        market: false,
        stop: Price(0),
        trail: 0,
        max_floor: 0,
        random_reserves: 0,
        peg: Peg::None,
        peg_offset: 0,
        discretion: Price(0),
        expire: Nanos(0),
        oco: UserRefNum(0),
        stp: Stp::Port,
        stp_group: [0; 2],
    };

    /// Whether it waits for a trade before it comes in.
    #[must_use]
    pub const fn is_stop(&self) -> bool {
        self.stop.0 != 0 || self.trail != 0
    }

    /// Whether it is a plain limit order: all is 0.
    #[must_use]
    #[inline]
    pub const fn is_plain(&self) -> bool {
        let Self {
            market,
            stop,
            trail,
            max_floor,
            random_reserves,
            peg,
            peg_offset,
            discretion,
            expire,
            oco,
            stp,
            stp_group,
        } = *self;
        // Every order is asked: one branch at the end is cheaper than one a field.
        let wide = stop.0 | discretion.0 | expire.0.cast_signed();
        let narrow = trail | max_floor | random_reserves | oco.0 | peg_offset.cast_unsigned();
        let bytes = market as u8 | peg as u8 | stp as u8 | stp_group[0] | stp_group[1];
        wide == 0 && narrow == 0 && bytes == 0
    }
}
