//! Stops, and the waking of an instrument: what a run, a cancel or a new price sets off.

use crate::{
    book::{Extra, Order, Plane},
    index::NONE,
    matching::{Effect, Matching, Voice},
    run::{Aggressor, rests},
};
use alloc::vec::Vec;
use ironbell_types::{CancelReason, EventBody, InstrumentId, OrderRef, Price};

/// Where a stop is due: its stop price, or that of a trailing one with the best last price it saw.
pub(crate) fn stop_price(extra: &Extra, buys: bool) -> u64 {
    let trail = u64::from(extra.terms.trail);
    match (trail, buys) {
        (0, _) => extra.terms.stop.0.cast_unsigned(),
        (_, true) => extra.best.saturating_add(trail),
        (_, false) => extra.best.saturating_sub(trail).max(1),
    }
}

/// Whether a last price triggers a stop.
pub(crate) fn is_due(stop: u64, buys: bool, last: u64) -> bool {
    if buys { last >= stop } else { last <= stop }
}

impl Matching {
    /// Does all that is due without a new order: the next due stop triggers, or else the next order that
    /// meets the other side runs, until there is none. What the command's trades do not allow is left
    /// for the next one.
    pub(crate) fn wake(
        &mut self,
        instrument: InstrumentId,
        voice: &mut Voice<'_>,
        effects: &mut Vec<Effect>,
    ) {
        let mut is_awake = false;
        if self.trading(instrument).is_continuous() {
            while !self.books.is_plain(instrument) {
                let stop = self.next_stop(instrument);
                let meeting = if stop.is_none() { self.next_meeting(instrument) } else { None };
                is_awake = stop.is_some() || meeting.is_some();
                if !is_awake || self.trades_left() == 0 {
                    break;
                }
                if let Some(slot) = stop {
                    self.trigger_waiting(instrument, slot, voice, effects);
                } else if let Some((slot, reach)) = meeting {
                    self.meet(instrument, slot, reach, voice, effects);
                }
                is_awake = false;
            }
        }
        self.trading_mut(instrument).is_awake = is_awake;
    }

    /// The stop that is due first: buys, lowest stop first, then sells, highest first; of equal ones the
    /// one that came in first.
    fn next_stop(&mut self, instrument: InstrumentId) -> Option<u32> {
        let last = self.trading(instrument).last_price()?;
        self.books.trail(instrument, last);
        [true, false].into_iter().find_map(|buys| {
            let stop = self.books.first(instrument, Plane::Stop, buys);
            let trailing =
                self.books.trailing(instrument).filter(|slot| self.books.order(*slot).side.is_buy() == buys);
            let due = stop.into_iter().chain(trailing).filter_map(|slot| {
                let price = stop_price(self.books.extra(slot)?, buys);
                let rank = (if buys { price } else { !price }, self.books.order(slot).order_ref);
                is_due(price, buys, last).then_some((rank, slot))
            });
            due.min().map(|(_, slot)| slot)
        })
    }

    fn trigger_waiting(
        &mut self,
        instrument: InstrumentId,
        slot: u32,
        voice: &mut Voice<'_>,
        effects: &mut Vec<Effect>,
    ) {
        let order = *self.books.order(slot);
        let extra = *self.books.extra(slot).expect("a stop has terms");
        // In flight it keeps its partner, which must not be found pointing at nothing.
        self.books.remove(slot);
        self.trigger(instrument, order, &extra, extra.partner, voice, effects);
    }

    /// A stop, which is not on the book, triggers and runs as a new order would.
    pub(crate) fn trigger(
        &mut self,
        instrument: InstrumentId,
        mut order: Order,
        extra: &Extra,
        partner: OrderRef,
        voice: &mut Voice<'_>,
        effects: &mut Vec<Effect>,
    ) {
        let last = self.trading(instrument).last_price().expect("a stop is due at a last price");
        voice.say(EventBody::Triggered {
            key: order.key,
            order_ref: order.order_ref,
            instrument,
            price: Price(last.cast_signed()),
        });
        effects.push(Effect::Triggered { token: order.token });
        if partner.0 != 0 {
            self.cancel_partner(partner, voice, effects);
        }
        order.price = extra.limit;
        let (market, buys) = (extra.terms.market, order.side.is_buy());
        let limit = if market { self.market_limit(instrument, buys, extra.worth) } else { extra.limit };
        let mut aggressor = Aggressor {
            order,
            instrument,
            limit: Some(limit),
            market,
            stp: extra.stp,
            stp_group: extra.terms.stp_group,
            partner: OrderRef(0),
            slot: NONE,
            band: self.trading(instrument).band(),
            inside: false,
        };
        let collar = self.trading(instrument).collar();
        if !market && collar.is_some_and(|collar| !collar.contains(limit)) {
            self.cancel_rest(&mut aggressor, CancelReason::Collar, voice, effects);
        } else {
            self.price_pegs(instrument, !buys);
            let end = self.run::<false>(&mut aggressor, voice, effects);
            let rests = rests(extra.time_in_force, market);
            self.end_run(&mut aggressor, Some(extra), rests, end, voice, effects);
        }
        effects.push(Effect::Stands {
            token: order.token,
            leaves_qty: ironbell_types::Qty(aggressor.order.leaves),
            side: order.side,
        });
    }

    /// How far a market order trades: to the collar, a buy never above what it was found worth.
    pub(crate) fn market_limit(&self, instrument: InstrumentId, buys: bool, worth: u64) -> u64 {
        let limit = self.trading(instrument).market_limit(buys);
        if buys { limit.min(worth) } else { limit }
    }
}
