//! Rows of the state as bytes, written and read by one description: a type's columns in order, every
//! integer little-endian in its full width, a flag before what may be missing, a length before what is many.
//!
//! Both directions come from the same list of fields, so that what is listed is what can be read back.

use crate::canonical::Sink;
use alloc::vec::Vec;
use ironbell_types::{
    Account, AccountId, Algorithm, Amount, Asset, AssetId, CancelReason, Capacity, Credential, CrossKind,
    Display, Fees, Firm, FirmId, Instrument, InstrumentId, InstrumentRules, MatchNumber, Mpid, Nanos,
    OpenDay, OrderKey, OrderOptions, OrderRef, OrderTerms, Peg, Phase, Port, PortId, PortLimits, PortRules,
    Price, Qty, Scale, Seq, Shown, Side, Statistics, Stp, Symbol, TimeInForce, UserRefIdx, UserRefNum,
    Username,
};

/// Why bytes are no row.
pub(crate) type Fault = &'static str;

/// What a row, or a part of one, is as bytes.
pub(crate) trait Column: Sized {
    fn put(&self, sink: &mut impl Sink);

    /// # Errors
    /// When the bytes are not what [`Column::put`] can have written.
    fn get(source: &mut Source<'_>) -> Result<Self, Fault>;

    /// Several, one behind the other.
    ///
    /// # Errors
    /// As [`Column::get`].
    #[inline]
    fn get_array<const N: usize>(source: &mut Source<'_>) -> Result<[Self; N], Fault> {
        let mut values = [const { None }; N];
        for value in &mut values {
            *value = Some(Self::get(source)?);
        }
        Ok(values.map(|value| value.expect("each was just read")))
    }
}

/// Bytes to read rows from.
pub(crate) struct Source<'a>(pub(crate) &'a [u8]);

impl Source<'_> {
    #[inline(always)]
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let (bytes, rest) = self.0.split_first_chunk().ok_or("it is cut off")?;
        self.0 = rest;
        Ok(*bytes)
    }
}

/// Types by their fields, in order.
macro_rules! columns {
    ($($type:ty { $($field:ident),* $(,)? })*) => {$(
        impl $crate::columns::Column for $type {
            #[inline]
            fn put(&self, sink: &mut impl $crate::canonical::Sink) {
                let Self { $($field),* } = self;
                $($crate::columns::Column::put($field, sink);)*
            }

            #[inline]
            fn get(
                source: &mut $crate::columns::Source<'_>,
            ) -> Result<Self, $crate::columns::Fault> {
                $(let $field = $crate::columns::Column::get(source)?;)*
                Ok(Self { $($field),* })
            }
        }
    )*};
}
pub(crate) use columns;

macro_rules! integers {
    ($($type:ty)*) => {$(
        impl Column for $type {
            #[inline(always)]
            fn put(&self, sink: &mut impl Sink) {
                sink.put(self.to_le_bytes());
            }

            #[inline(always)]
            fn get(source: &mut Source<'_>) -> Result<Self, Fault> {
                source.take().map(Self::from_le_bytes)
            }
        }
    )*};
}
integers!(u16 u32 u64 u128 i16 i32 i64 i128);

impl Column for u8 {
    #[inline(always)]
    fn put(&self, sink: &mut impl Sink) {
        sink.put([*self]);
    }

    #[inline(always)]
    fn get(source: &mut Source<'_>) -> Result<Self, Fault> {
        source.take().map(|[byte]| byte)
    }

    /// Bytes as they lie.
    #[inline(always)]
    fn get_array<const N: usize>(source: &mut Source<'_>) -> Result<[Self; N], Fault> {
        source.take()
    }
}

macro_rules! newtypes {
    ($($type:ty)*) => {$(
        impl Column for $type {
            #[inline(always)]
            fn put(&self, sink: &mut impl Sink) {
                self.0.put(sink);
            }

            #[inline(always)]
            fn get(source: &mut Source<'_>) -> Result<Self, Fault> {
                Column::get(source).map(Self)
            }
        }
    )*};
}
newtypes!(Seq Nanos Price Qty Amount OrderRef OrderKey MatchNumber UserRefIdx UserRefNum);
newtypes!(AssetId InstrumentId FirmId AccountId PortId Mpid Symbol Username);

/// Enums by their codes.
macro_rules! coded {
    ($($type:ty: $code:expr, $from:expr, $fault:literal;)*) => {$(
        impl Column for $type {
            #[inline(always)]
            fn put(&self, sink: &mut impl Sink) {
                sink.u8($code(*self));
            }

            #[inline(always)]
            fn get(source: &mut Source<'_>) -> Result<Self, Fault> {
                let from: fn(u8) -> Option<Self> = $from;
                from(u8::get(source)?).ok_or($fault)
            }
        }
    )*};
}
coded! {
    Side: Side::code, |code| Side::try_from(code).ok(), "there is no such side";
    Capacity: Capacity::code, |code| Capacity::try_from(code).ok(), "there is no such capacity";
    Display: Display::code, |code| Display::try_from(code).ok(), "there is no such display";
    TimeInForce: TimeInForce::code, |code| TimeInForce::try_from(code).ok(), "there is no such time in force";
    CancelReason: CancelReason::code, |code| CancelReason::try_from(code).ok(), "there is no such reason";
    Phase: Phase::code, Phase::from_code, "there is no such phase";
    CrossKind: CrossKind::code, CrossKind::from_code, "there is no such cross";
    Algorithm: Algorithm::code, Algorithm::from_code, "there is no such algorithm";
    Peg: |peg| peg as u8, peg, "there is no such peg";
    Stp: |stp| stp as u8, stp, "there is no such self-trade prevention";
}

fn peg(code: u8) -> Option<Peg> {
    [Peg::None, Peg::Primary, Peg::Market, Peg::Midpoint].into_iter().find(|peg| *peg as u8 == code)
}

fn stp(code: u8) -> Option<Stp> {
    use Stp::{CancelBoth, CancelNewest, CancelOldest, Decrement, Off, Port};
    [Port, Off, CancelNewest, CancelOldest, CancelBoth, Decrement].into_iter().find(|stp| *stp as u8 == code)
}

impl Column for bool {
    #[inline(always)]
    fn put(&self, sink: &mut impl Sink) {
        sink.bool(*self);
    }

    #[inline(always)]
    fn get(source: &mut Source<'_>) -> Result<Self, Fault> {
        match u8::get(source)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err("a flag is neither 0 nor 1"),
        }
    }
}

impl<T: Column> Column for Option<T> {
    #[inline]
    fn put(&self, sink: &mut impl Sink) {
        sink.bool(self.is_some());
        if let Some(value) = self {
            value.put(sink);
        }
    }

    #[inline]
    fn get(source: &mut Source<'_>) -> Result<Self, Fault> {
        Ok(if bool::get(source)? { Some(T::get(source)?) } else { None })
    }
}

impl<T: Column, const N: usize> Column for [T; N] {
    #[inline]
    fn put(&self, sink: &mut impl Sink) {
        self.iter().for_each(|value| value.put(sink));
    }

    #[inline]
    fn get(source: &mut Source<'_>) -> Result<Self, Fault> {
        T::get_array(source)
    }
}

impl<T: Column> Column for Vec<T> {
    fn put(&self, sink: &mut impl Sink) {
        sink.u64(self.len() as u64);
        self.iter().for_each(|value| value.put(sink));
    }

    /// Takes memory as values are read: a wrong length costs nothing.
    fn get(source: &mut Source<'_>) -> Result<Self, Fault> {
        let mut values = Self::new();
        for _ in 0..u64::get(source)? {
            values.push(T::get(source)?);
        }
        Ok(values)
    }
}

impl<A: Column, B: Column> Column for (A, B) {
    #[inline]
    fn put(&self, sink: &mut impl Sink) {
        self.0.put(sink);
        self.1.put(sink);
    }

    #[inline]
    fn get(source: &mut Source<'_>) -> Result<Self, Fault> {
        Ok((A::get(source)?, B::get(source)?))
    }
}

impl Column for Scale {
    fn put(&self, sink: &mut impl Sink) {
        match self {
            Self::EquityExact { price_tick } => Some(*price_tick),
            Self::Scaled => None,
        }
        .put(sink);
    }

    fn get(source: &mut Source<'_>) -> Result<Self, Fault> {
        let price_tick = Option::get(source)?;
        Ok(price_tick.map_or(Self::Scaled, |price_tick| Self::EquityExact { price_tick }))
    }
}

columns! {
    Asset { id, code, decimals }
    Instrument { id, symbol, base, quote, scale, tick_value, lot_units, round_lot, maker_fee_bps, taker_fee_bps }
    Firm { id, mpid }
    Account { id, firm }
    PortLimits { qty_max, notional_max }
    Credential { salt, hash, memory_kib, passes, lanes }
    Port { id, username, firm, account, limits, credential }
    PortRules {
        limits, rate_per_second, rate_burst, duplicates_max, duplicate_ns, slides, stp, cancels_on_disconnect,
    }
    InstrumentRules {
        algorithm, top_order_max, batch_ns, reference, static_bps, collar_bps, band_bps, limit_state_ns,
        volatility_ns, short_restricted,
    }
    Fees { maker_bps, taker_bps, minimum }
    OpenDay { date, midnight }
    OrderOptions { firm, customer_type, post_only, group, min_qty }
    OrderTerms {
        market, stop, trail, max_floor, random_reserves, peg, peg_offset, discretion, expire, oco, stp, stp_group,
    }
    Shown { order_ref, qty }
    Statistics { instrument, open, high, low, close, volume, turnover, trades }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Bytes(Vec<u8>);

    impl Sink for Bytes {
        fn put<const N: usize>(&mut self, bytes: [u8; N]) {
            self.0.extend(bytes);
        }
    }

    type Pair = (Vec<(u8, Option<Stp>)>, [Option<Peg>; 3]);

    #[test]
    fn what_is_put_is_got_and_nothing_shorter() {
        let row: Pair =
            (Vec::from([(1, None), (2, Some(Stp::Decrement))]), [None, Some(Peg::Midpoint), Some(Peg::None)]);
        let mut bytes = Bytes(Vec::new());
        row.put(&mut bytes);
        let mut source = Source(&bytes.0);
        assert_eq!(Column::get(&mut source), Ok(row.clone()));
        assert_eq!(source.0, []);
        for len in 0..bytes.0.len() {
            let got: Result<Pair, _> = Column::get(&mut Source(&bytes.0[..len]));
            assert_eq!(got, Err("it is cut off"), "{len}");
        }
    }

    #[test]
    fn flags_and_codes_that_nobody_wrote_are_refused() {
        assert_eq!(bool::get(&mut Source(&[2])), Err("a flag is neither 0 nor 1"));
        for code in 0..=u8::MAX {
            assert_eq!(Stp::get(&mut Source(&[code])).is_ok(), code <= Stp::Decrement as u8);
            assert_eq!(Peg::get(&mut Source(&[code])).is_ok(), code <= Peg::Midpoint as u8);
            assert_eq!(Phase::get(&mut Source(&[code])).is_ok(), Phase::from_code(code).is_some());
        }
        // A length that cannot be does not take memory for it.
        assert_eq!(Vec::<u8>::get(&mut Source(&[255; 9])), Err("it is cut off"));
    }
}
