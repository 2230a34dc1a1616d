//! The output hash: what each event adds to it.
//!
//! XXH3-64 over an event's canonical bytes, with a secret that follows from the venue's key. What nearly all
//! commands say is laid out here, as words of eight bytes, two to each of XXH3's multiplications: with every
//! place fixed, the compiler mixes the words straight out of the event and never writes the bytes. All else,
//! and what of these is out of the ordinary, goes byte by byte through [`Buffer`]. The two cannot be mistaken
//! for each other: byte 16 is a tag above 10 here, a stage of at most 3 there.

use crate::canonical::Buffer;
use ironbell_types::{
    Accepted, Amount, Canceled, CrossKind, Event, EventBody, OrderOptions, Qty, Replaced, Seq, Settled,
    Shown, Trade,
};
use xxhash_rust::xxh3::{xxh3_64_with_secret, xxh3_64_with_seed};

/// Hashes events; the sum does not depend on their order.
#[derive(Clone)]
pub(crate) struct EventHasher {
    secret: [u8; 192],
    buffer: Buffer,
}

impl EventHasher {
    /// The secret is XXH3-64 of 0, 1, 2 … seeded with the venue's key, each little-endian.
    pub(crate) fn new(key: u64) -> Self {
        let mut secret = [[0; 8]; 24];
        for (number, bytes) in (0u64..).zip(&mut secret) {
            *bytes = xxh3_64_with_seed(&number.to_le_bytes(), key).to_le_bytes();
        }
        let secret = secret.as_flattened().try_into().expect("24 words are 192 bytes");
        Self { secret, buffer: Buffer::new() }
    }

    /// What events add to the output hash, together.
    #[inline(always)]
    pub(crate) fn sum(&mut self, events: &[Event]) -> u128 {
        let mut sum = 0u128;
        for event in events {
            let hash = match &event.body {
                EventBody::Accepted(order) => self.words(accepted(event, 11, order)),
                EventBody::Replaced(replaced) => self.words(replaced_by(event, replaced)),
                EventBody::Trade(trade) if is_plain(trade) => self.words(traded_plainly(event, trade)),
                EventBody::Canceled(canceled) => self.words(gone(event, canceled)),
                EventBody::Settled(settled) if is_narrow(settled) => self.words(posted(event, settled)),
                _ => self.bytes(event),
            };
            sum = sum.wrapping_add(u128::from(hash));
        }
        sum
    }

    #[inline(always)]
    fn words<const N: usize>(&self, words: [u64; N]) -> u64 {
        const { assert!(N.is_multiple_of(2) && N <= 16) };
        let mut bytes = [[0; 8]; N];
        for (bytes, word) in bytes.iter_mut().zip(words) {
            *bytes = word.to_le_bytes();
        }
        xxh3_64_with_secret(bytes.as_flattened(), &self.secret)
    }

    #[inline(never)]
    fn bytes(&mut self, event: &Event) -> u64 {
        xxh3_64_with_secret(self.buffer.event(event), &self.secret)
    }
}

/// The first three words: (Seq, step), time, and what kind of event it is, with some of what it says.
#[inline(always)]
fn head(event: &Event, tag: u8, flags: [bool; 3], byte: u8, high: u32) -> [u64; 3] {
    let [a, b, c] = flags.map(u8::from);
    let flags = a | b << 1 | c << 2;
    let kind = u32::from_le_bytes([tag, event.stage as u8, flags, byte]);
    // As the numbers of orders and trades are made.
    let place = event.seq.0 << Seq::STEP_BITS ^ u64::from(event.step);
    [place, event.time.0, pair(kind, high)]
}

#[inline(always)]
fn pair(low: u32, high: u32) -> u64 {
    u64::from(low) | u64::from(high) << 32
}

#[inline(always)]
fn accepted(event: &Event, tag: u8, order: &Accepted) -> [u64; 12] {
    let Accepted {
        key,
        order_ref,
        firm,
        instrument,
        side,
        qty,
        price,
        time_in_force,
        display,
        capacity,
        cl_ord_id,
        options,
        booked,
        shown_qty,
    } = order;
    let OrderOptions { firm: names_firm, customer_type, post_only, group, min_qty } = options;
    let [a, b, c, d, e, f, g, h, text @ ..] = cl_ord_id.0;
    let [i, j, k, l, m, n] = text;
    let [group_low, group_high] = group.unwrap_or(0).to_le_bytes();
    let codes = [
        side.code(),
        time_in_force.code(),
        display.code(),
        capacity.code(),
        *customer_type,
        *post_only,
        0,
        0,
    ];
    let [place, time, kind] = head(event, tag, [*booked, *names_firm, group.is_some()], 0, *min_qty);
    [
        place,
        time,
        kind,
        key.0,
        order_ref.0,
        qty.0,
        price.0.cast_unsigned(),
        shown_qty.0,
        pair(firm.0, instrument.0),
        u64::from_le_bytes([a, b, c, d, e, f, g, h]),
        u64::from_le_bytes([i, j, k, l, m, n, group_low, group_high]),
        u64::from_le_bytes(codes),
    ]
}

/// An order, and of the one it replaces its UserRefNum, its number, and how it stood on the feed.
#[inline(always)]
fn replaced_by(event: &Event, replaced: &Replaced) -> [u64; 16] {
    let Replaced { orig_user_ref_num, orig_order_ref, orig_shown, order } = replaced;
    let Shown { order_ref, qty } = orig_shown;
    let [a, b, c, d, e, f, g, h, i, j, k, l] = accepted(event, 12, order);
    let num = u64::from(orig_user_ref_num.0);
    [a, b, c, d, e, f, g, h, i, j, k, l, num, orig_order_ref.0, order_ref.0, qty.0]
}

/// Whether all that a trade says of the feed follows from the rest: the aggressor is not on it, and all of the
/// resting order is, at its price.
#[inline(always)]
fn is_plain(trade: &Trade) -> bool {
    let Trade { resting, aggressor, cross, price, resting_price, qty, .. } = trade;
    let shown = Shown { order_ref: resting.order_ref, qty: Qty(resting.leaves_qty.0.wrapping_add(qty.0)) };
    resting.shown == shown
        && aggressor.shown == Shown::default()
        && resting_price == price
        && *cross == CrossKind::None
}

#[inline(always)]
fn traded_plainly(event: &Event, trade: &Trade) -> [u64; 12] {
    let Trade { match_number, instrument, price, qty, aggressor_buys, resting, aggressor, .. } = trade;
    let [place, time, kind] = head(event, 14, [*aggressor_buys, true, false], 0, instrument.0);
    [
        place,
        time,
        kind,
        match_number.0,
        price.0.cast_unsigned(),
        qty.0,
        resting.key.0,
        resting.order_ref.0,
        resting.leaves_qty.0,
        aggressor.key.0,
        aggressor.order_ref.0,
        aggressor.leaves_qty.0,
    ]
}

#[inline(always)]
fn gone(event: &Event, canceled: &Canceled) -> [u64; 10] {
    let Canceled { key, order_ref, instrument, qty, leaves_qty, reason, shown, shown_leaves } = canceled;
    let [place, time, kind] = head(event, 15, [false; 3], reason.code(), instrument.0);
    [
        place,
        time,
        kind,
        key.0,
        order_ref.0,
        qty.0,
        leaves_qty.0,
        shown.order_ref.0,
        shown.qty.0,
        shown_leaves.0,
    ]
}

/// Whether what a leg moved takes no more than 64 bits each.
#[inline(always)]
fn is_narrow(settled: &Settled) -> bool {
    let Settled { base, quote, fee, .. } = settled;
    // Nearly always: one branch for the three is cheaper.
    let high = |amount: &Amount| (amount.0 >> 64) as u64;
    let fee_sign = (fee.0 as i64 >> 63).cast_unsigned();
    high(base) | high(quote) | (high(fee) ^ fee_sign) == 0
}

#[inline(always)]
fn posted(event: &Event, settled: &Settled) -> [u64; 8] {
    let Settled { match_number, instrument, account, buys, base, quote, fee } = settled;
    let [place, time, kind] = head(event, 21, [*buys, false, false], 0, account.0);
    let (base, quote, fee) = (base.0 as u64, quote.0 as u64, fee.0 as u64);
    [place, time, kind, match_number.0, u64::from(instrument.0), base, quote, fee]
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use ironbell_types::{
        AccountId, CancelReason, Capacity, ClOrdId, Display, Executed, FirmId, InstrumentId, MatchNumber,
        Nanos, OrderKey, OrderRef, Price, Qty, Seq, Side, Stage, TimeInForce, UserRefNum,
    };

    const SHOWN: Shown = Shown { order_ref: OrderRef(90), qty: Qty(91) };

    fn order() -> Accepted {
        Accepted {
            key: OrderKey(1),
            order_ref: OrderRef(2),
            firm: FirmId(3),
            instrument: InstrumentId(4),
            side: Side::Buy,
            qty: Qty(5),
            price: Price(6),
            time_in_force: TimeInForce::Day,
            display: Display::Visible,
            capacity: Capacity::Agency,
            cl_ord_id: ClOrdId(*b"abcdefghijklmn"),
            options: OrderOptions::default(),
            booked: false,
            shown_qty: Qty(7),
        }
    }

    fn trade() -> Trade {
        let executed = |n: u64, shown| Executed {
            key: OrderKey(n),
            order_ref: OrderRef(n + 1),
            leaves_qty: Qty(n + 2),
            shown,
        };
        Trade {
            match_number: MatchNumber(10),
            instrument: InstrumentId(11),
            price: Price(12),
            qty: Qty(13),
            aggressor_buys: false,
            resting: executed(14, SHOWN),
            aggressor: executed(24, Shown::default()),
            cross: CrossKind::None,
            resting_price: Price(34),
        }
    }

    /// One whose words on the feed follow from the rest.
    fn plain_trade() -> Trade {
        let mut trade = trade();
        trade.resting.shown =
            Shown { order_ref: trade.resting.order_ref, qty: Qty(trade.resting.leaves_qty.0 + trade.qty.0) };
        trade.resting_price = trade.price;
        trade
    }

    fn canceled() -> Canceled {
        Canceled {
            key: OrderKey(40),
            order_ref: OrderRef(41),
            instrument: InstrumentId(42),
            qty: Qty(43),
            leaves_qty: Qty(44),
            reason: CancelReason::User,
            shown: SHOWN,
            shown_leaves: Qty(45),
        }
    }

    fn settled() -> Settled {
        Settled {
            match_number: MatchNumber(50),
            instrument: InstrumentId(51),
            account: AccountId(52),
            buys: false,
            base: Amount(53),
            quote: Amount(54),
            fee: Amount(-55),
        }
    }

    fn changed<T: Copy>(plain: T, body: fn(T) -> EventBody, changes: &[fn(&mut T)]) -> Vec<EventBody> {
        let each = changes.iter().map(|change| {
            let mut value = plain;
            change(&mut value);
            body(value)
        });
        core::iter::once(body(plain)).chain(each).collect()
    }

    /// Every field of what is laid out here, changed by itself in its highest bits, changes the hash; and so
    /// does what makes an event take the other way.
    #[test]
    fn no_field_is_left_out() {
        let of_order: &[fn(&mut Accepted)] = &[
            |o| o.key.0 ^= 1 << 63,
            |o| o.order_ref.0 ^= 1 << 63,
            |o| o.firm.0 ^= 1 << 31,
            |o| o.instrument.0 ^= 1 << 31,
            |o| o.side = Side::Sell,
            |o| o.qty.0 ^= 1 << 63,
            |o| o.price.0 ^= 1 << 62,
            |o| o.time_in_force = TimeInForce::Ioc,
            |o| o.display = Display::Hidden,
            |o| o.capacity = Capacity::Other,
            |o| o.cl_ord_id.0[0] ^= 1,
            |o| o.cl_ord_id.0[7] ^= 1,
            |o| o.cl_ord_id.0[8] ^= 1,
            |o| o.cl_ord_id.0[13] ^= 1,
            |o| o.options.firm = true,
            |o| o.options.customer_type = b'R',
            |o| o.options.post_only = b'P',
            |o| o.options.group = Some(0),
            |o| o.options.group = Some(1),
            |o| o.options.group = Some(1 << 15),
            |o| o.options.min_qty ^= 1 << 31,
            |o| o.booked = true,
            |o| o.shown_qty.0 ^= 1 << 63,
        ];
        let replaced = |order| Replaced {
            orig_user_ref_num: UserRefNum(60),
            orig_order_ref: OrderRef(61),
            orig_shown: SHOWN,
            order,
        };
        let of_replaced: &[fn(&mut Replaced)] = &[
            |r| r.orig_user_ref_num.0 ^= 1 << 31,
            |r| r.orig_order_ref.0 ^= 1 << 63,
            |r| r.orig_shown.order_ref.0 ^= 1 << 63,
            |r| r.orig_shown.qty.0 ^= 1 << 63,
        ];
        let of_trade: &[fn(&mut Trade)] = &[
            |t| t.match_number.0 ^= 1 << 63,
            |t| t.instrument.0 ^= 1 << 31,
            |t| t.price.0 ^= 1 << 62,
            |t| t.qty.0 ^= 1 << 63,
            |t| t.aggressor_buys = true,
            |t| t.resting.key.0 ^= 1 << 63,
            |t| t.resting.order_ref.0 ^= 1 << 63,
            |t| t.resting.leaves_qty.0 ^= 1 << 63,
            |t| t.resting.shown.order_ref.0 ^= 1 << 63,
            |t| t.resting.shown.qty.0 ^= 1 << 63,
            |t| t.aggressor.key.0 ^= 1 << 63,
            |t| t.aggressor.order_ref.0 ^= 1 << 63,
            |t| t.aggressor.leaves_qty.0 ^= 1 << 63,
            |t| t.aggressor.shown.order_ref.0 ^= 1 << 63,
            |t| t.aggressor.shown.qty.0 ^= 1 << 63,
            |t| t.cross = CrossKind::Opening,
            |t| t.resting_price.0 ^= 1 << 62,
        ];
        let of_canceled: &[fn(&mut Canceled)] = &[
            |c| c.key.0 ^= 1 << 63,
            |c| c.order_ref.0 ^= 1 << 63,
            |c| c.instrument.0 ^= 1 << 31,
            |c| c.qty.0 ^= 1 << 63,
            |c| c.leaves_qty.0 ^= 1 << 63,
            |c| c.reason = CancelReason::Closed,
            |c| c.shown.order_ref.0 ^= 1 << 63,
            |c| c.shown.qty.0 ^= 1 << 63,
            |c| c.shown_leaves.0 ^= 1 << 63,
        ];
        let of_settled: &[fn(&mut Settled)] = &[
            |s| s.match_number.0 ^= 1 << 63,
            |s| s.instrument.0 ^= 1 << 31,
            |s| s.account.0 ^= 1 << 31,
            |s| s.buys = true,
            |s| s.base.0 ^= 1,
            |s| s.base.0 ^= 1 << 63,
            |s| s.base.0 ^= 1 << 64,
            |s| s.base.0 ^= 1 << 126,
            |s| s.quote.0 ^= 1,
            |s| s.quote.0 ^= 1 << 63,
            |s| s.quote.0 ^= 1 << 64,
            |s| s.quote.0 ^= 1 << 126,
            |s| s.fee.0 ^= 1,
            |s| s.fee.0 ^= 1 << 63,
            |s| s.fee.0 ^= 1 << 64,
            |s| s.fee.0 ^= 1 << 126,
            |s| s.fee.0 = 55,
        ];
        let mut bodies = changed(order(), EventBody::Accepted, of_order);
        for body in changed(order(), EventBody::Accepted, of_order) {
            let EventBody::Accepted(order) = body else { unreachable!() };
            bodies.push(EventBody::Replaced(replaced(order)));
        }
        bodies.extend(changed(replaced(order()), EventBody::Replaced, of_replaced).split_off(1));
        bodies.extend(changed(trade(), EventBody::Trade, of_trade));
        assert!(is_plain(&plain_trade()) && !is_plain(&trade()));
        bodies.extend(changed(plain_trade(), EventBody::Trade, of_trade));
        bodies.extend(changed(canceled(), EventBody::Canceled, of_canceled));
        bodies.extend(changed(settled(), EventBody::Settled, of_settled));

        let first = Event { seq: Seq(1), time: Nanos(2), stage: Stage::Matching, step: 3, body: bodies[0] };
        let mut events: Vec<Event> = bodies.iter().map(|body| Event { body: *body, ..first }).collect();
        let of_each = [
            bodies[0],
            EventBody::Trade(trade()),
            EventBody::Trade(plain_trade()),
            EventBody::Canceled(canceled()),
            EventBody::Settled(settled()),
        ];
        for body in of_each {
            let event = Event { body, ..first };
            events.push(Event { seq: Seq(1 << 43), ..event });
            events.push(Event { time: Nanos(1 << 63), ..event });
            events.push(Event { stage: Stage::Risk, ..event });
            events.push(Event { step: 1 << 19, ..event });
        }
        let mut hashes: Vec<u128> = events.iter().map(|event| hash(7, &[*event])).collect();
        hashes.push(hash(8, &[first]));
        let count = hashes.len();
        hashes.sort_unstable();
        hashes.dedup();
        assert_eq!(hashes.len(), count);
    }

    fn hash(key: u64, events: &[Event]) -> u128 {
        EventHasher::new(key).sum(events)
    }

    /// The words are hashed as the bytes that they are.
    #[test]
    fn words_are_little_endian_bytes() {
        let event = Event {
            seq: Seq(1),
            time: Nanos(2),
            stage: Stage::Settlement,
            step: 3,
            body: EventBody::Settled(settled()),
        };
        let mut bytes = Vec::new();
        bytes.extend((1u64 << 20 | 3).to_le_bytes());
        bytes.extend(2u64.to_le_bytes());
        bytes.extend([21, 3, 0, 0]);
        bytes.extend(52u32.to_le_bytes());
        bytes.extend(50u64.to_le_bytes());
        bytes.extend(51u64.to_le_bytes());
        bytes.extend([53i64, 54, -55].map(i64::to_le_bytes).as_flattened());
        let secret: Vec<u8> =
            (0u64..24).flat_map(|n| xxh3_64_with_seed(&n.to_le_bytes(), 7).to_le_bytes()).collect();
        assert_eq!(hash(7, &[event]), u128::from(xxh3_64_with_secret(&bytes, &secret)));
        assert_eq!(hash(7, &[event, event]), 2 * hash(7, &[event]));
    }
}
