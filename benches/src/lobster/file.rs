//! Reader of the two files. The format is its owner's; these are facts read off published samples.
//!
//! ```text
//! message.csv     time, type, order id, size, price, direction
//!                 │     │                    │      └─ 1: the resting order buys, -1: it sells
//!                 │     │                    └─ dollars × 10,000
//!                 │     └─ 1 new · 2 partial cancel · 3 deletion · 4 execution of a visible order
//!                 │        5 execution of a hidden order · 6 cross trade · 7 trading halt
//!                 └─ seconds after midnight, up to nine decimals
//! orderbook.csv   ask price 1, ask size 1, bid price 1, bid size 1, ask price 2, …
//!                 the book after the event on the same line; ±9999999999 with size 0 is no level
//! ```

use std::io::{self, BufRead};

/// What an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// 1: a new limit order rests.
    Add,
    /// 2: a part of a resting order is cancelled.
    Reduce,
    /// 3: a resting order is deleted.
    Delete,
    /// 4: a visible resting order is executed, whole or in part.
    Execute,
    /// 5: a hidden order is executed; the visible book does not change.
    ExecuteHidden,
    /// 6: a cross trade, auctions included; the visible book does not change by it.
    Cross,
    /// 7: trading is halted, or resumes.
    Halt,
}

impl Kind {
    fn from_number(number: u64) -> Option<Self> {
        Some(match number {
            1 => Self::Add,
            2 => Self::Reduce,
            3 => Self::Delete,
            4 => Self::Execute,
            5 => Self::ExecuteHidden,
            6 => Self::Cross,
            7 => Self::Halt,
            _ => return None,
        })
    }

    /// The number in the file.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8 + 1
    }
}

/// Side of the book.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BookSide {
    /// Resting buy orders; the highest price is best.
    Bid,
    /// Resting sell orders; the lowest price is best.
    Ask,
}

impl BookSide {
    /// Both, bids first.
    pub const BOTH: [Self; 2] = [Self::Bid, Self::Ask];

    /// The other one.
    #[must_use]
    pub const fn opposite(self) -> Self {
        match self {
            Self::Bid => Self::Ask,
            Self::Ask => Self::Bid,
        }
    }

    /// Whether `price` is better for the incoming side than `than`: higher for bids, lower for asks.
    #[must_use]
    pub const fn is_better(self, price: u64, than: u64) -> bool {
        match self {
            Self::Bid => price > than,
            Self::Ask => price < than,
        }
    }
}

/// One line of the message file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// Nanoseconds after midnight.
    pub time_nanos: u64,
    /// What happened.
    pub kind: Kind,
    /// Whose: the exchange's order number; 0 for hidden executions.
    pub order_id: u64,
    /// Shares added, cancelled, executed.
    pub size: u32,
    /// Dollars × 10,000: OUCH's and ITCH's price unit. 0 where the file has none (halts).
    pub price: u64,
    /// The side of the resting order.
    pub side: BookSide,
}

/// Price (dollars × 10,000) and total shown size (shares) of one level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level {
    /// Dollars × 10,000.
    pub price: u64,
    /// Shares.
    pub size: u64,
}

/// The levels of both sides, best first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Depth {
    /// Bids, highest first.
    pub bids: Vec<Level>,
    /// Asks, lowest first.
    pub asks: Vec<Level>,
}

impl Depth {
    /// The levels of one side, best first.
    #[must_use]
    pub fn side(&self, side: BookSide) -> &[Level] {
        match side {
            BookSide::Bid => &self.bids,
            BookSide::Ask => &self.asks,
        }
    }

    pub(crate) fn side_mut(&mut self, side: BookSide) -> &mut Vec<Level> {
        match side {
            BookSide::Bid => &mut self.bids,
            BookSide::Ask => &mut self.asks,
        }
    }
}

/// A pair of files, read and checked for form.
#[derive(Clone, Debug, Default)]
pub struct Recording {
    /// What happened, in order.
    pub messages: Vec<Message>,
    /// The shown levels after each message; as many as `messages`.
    pub depths: Vec<Depth>,
    /// How many levels a side the file shows at most.
    pub levels_max: usize,
}

/// A file that is not what it should be.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("cannot read the {file} file: {source}")]
    Read {
        /// `message` or `orderbook`.
        file: &'static str,
        /// Why.
        source: io::Error,
    },
    /// A line is not of the format.
    #[error("line {line} of the {file} file: {what}")]
    Line {
        /// `message` or `orderbook`.
        file: &'static str,
        /// From 1.
        line: usize,
        /// What is wrong.
        what: String,
    },
    /// The two files do not belong together.
    #[error("the message file has {messages} lines and the orderbook file {depths}: they are not a pair")]
    Lengths {
        /// Lines of the message file.
        messages: usize,
        /// Lines of the orderbook file.
        depths: usize,
    },
}

impl Recording {
    /// Reads a pair of files.
    ///
    /// # Errors
    /// A file cannot be read, a line is not of the format, the files differ in length.
    pub fn read(messages: impl BufRead, depths: impl BufRead) -> Result<Self, Error> {
        let messages = lines("message", messages, parse_message)?;
        let depths = lines("orderbook", depths, parse_depth)?;
        if messages.len() != depths.len() {
            return Err(Error::Lengths { messages: messages.len(), depths: depths.len() });
        }
        let levels_max = depths.iter().map(|(_, shown)| *shown).max().unwrap_or(0);
        Ok(Self { messages, depths: depths.into_iter().map(|(depth, _)| depth).collect(), levels_max })
    }
}

/// Reads a message file by itself.
///
/// # Errors
/// It cannot be read, or a line is not of the format.
pub fn read_messages(messages: impl BufRead) -> Result<Vec<Message>, Error> {
    lines("message", messages, parse_message)
}

fn lines<T>(
    file: &'static str,
    reader: impl BufRead,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<Vec<T>, Error> {
    let mut parsed = Vec::new();
    for (index, text) in reader.lines().enumerate() {
        let text = text.map_err(|source| Error::Read { file, source })?;
        let item = parse(text.trim_end()).map_err(|what| Error::Line { file, line: index + 1, what })?;
        parsed.push(item);
    }
    Ok(parsed)
}

fn parse_message(text: &str) -> Result<Message, String> {
    let mut fields = text.split(',');
    let mut field = |name: &str| fields.next().ok_or_else(|| format!("no {name}"));
    let time_nanos = parse_time(field("time")?)?;
    let kind: u64 = number("type", field("type")?)?;
    let kind = Kind::from_number(kind).ok_or_else(|| format!("type {kind} is none of 1 to 7"))?;
    let order_id = number("order id", field("order id")?)?;
    let size = number("size", field("size")?)?;
    let price: i64 = number("price", field("price")?)?;
    let direction: i64 = number("direction", field("direction")?)?;
    let side = match direction {
        1 => BookSide::Bid,
        -1 => BookSide::Ask,
        other => return Err(format!("direction {other} is neither 1 nor -1")),
    };
    let touches_book = matches!(kind, Kind::Add | Kind::Reduce | Kind::Delete | Kind::Execute);
    if touches_book && (price <= 0 || size == 0) {
        return Err(format!("price {price} and size {size} of a visible order must be above 0"));
    }
    Ok(Message { time_nanos, kind, order_id, size, price: price.max(0) as u64, side })
}

/// The depth and how many levels a side the line has room for.
fn parse_depth(text: &str) -> Result<(Depth, usize), String> {
    let fields: Vec<&str> = text.split(',').collect();
    if !fields.len().is_multiple_of(4) {
        return Err(format!("{} fields are not a multiple of 4", fields.len()));
    }
    let mut depth = Depth::default();
    for (index, quad) in fields.chunks_exact(4).enumerate() {
        for (side, pair) in [(BookSide::Ask, &quad[..2]), (BookSide::Bid, &quad[2..])] {
            let (price, size): (i64, u64) = (number("price", pair[0])?, number("size", pair[1])?);
            if size == 0 {
                continue;
            }
            let levels = depth.side_mut(side);
            if price <= 0 || levels.len() != index {
                return Err(format!(
                    "{side:?} level {} stands below an empty one or has price {price}",
                    index + 1
                ));
            }
            let price = price as u64;
            if levels.last().is_some_and(|better| !side.is_better(better.price, price)) {
                return Err(format!("{side:?} level {} is not worse than the one before it", index + 1));
            }
            levels.push(Level { price, size });
        }
    }
    Ok((depth, fields.len() / 4))
}

fn number<T: std::str::FromStr>(name: &str, text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{name} is not a number: `{text}`"))
}

/// Decimal seconds to nanoseconds, exactly: a float would move the ninth decimal.
fn parse_time(text: &str) -> Result<u64, String> {
    let bad = || format!("time is not seconds with at most nine decimals: `{text}`");
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, "0"));
    if fraction.len() > 9 || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return Err(bad());
    }
    let seconds: u64 = seconds.parse().map_err(|_| bad())?;
    let nanos: u64 = format!("{fraction:0<9}").parse().map_err(|_| bad())?;
    seconds.checked_mul(1_000_000_000).and_then(|whole| whole.checked_add(nanos)).ok_or_else(bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(messages: &str, depths: &str) -> Result<Recording, String> {
        Recording::read(messages.as_bytes(), depths.as_bytes()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_pair_is_read() {
        let recording = read(
            "34200.00426064,1,16113584,18,5853200,1\n34200.5,3,7,20,5859100,-1\n",
            "5859400,200,5853200,18,5859800,200,-9999999999,0\n9999999999,0,5853200,18,9999999999,0,-9999999999,0\n",
        )
        .unwrap();
        assert_eq!(
            recording.messages[0],
            Message {
                time_nanos: 34_200_004_260_640,
                kind: Kind::Add,
                order_id: 16_113_584,
                size: 18,
                price: 5_853_200,
                side: BookSide::Bid
            }
        );
        assert_eq!((recording.messages[1].kind, recording.messages[1].side), (Kind::Delete, BookSide::Ask));
        assert_eq!(recording.depths[0].bids, [Level { price: 5_853_200, size: 18 }]);
        assert_eq!(recording.depths[0].asks.len(), 2);
        assert!(recording.depths[1].asks.is_empty());
        assert_eq!(recording.levels_max, 2);
    }

    #[test]
    fn what_is_not_of_the_format_is_named_with_its_place() {
        let good = "1,3,1,1,1,1\n";
        let row = "2,1,1,1\n";
        for (messages, depths, what) in [
            ("1,9,1,1,1,1\n", row, "line 1 of the message file: type 9"),
            ("1,1,1,1,1,0\n", row, "direction 0"),
            ("1,1,1,0,1,1\n", row, "size 0"),
            ("1,1,1,1,-1,1\n", row, "price -1"),
            ("1.0123456789,1,1,1,1,1\n", row, "nine decimals"),
            ("1,1,x,1,1,1\n", row, "order id is not a number: `x`"),
            ("1,1,1,1,1\n", row, "no direction"),
            (good, "2,1,1\n", "line 1 of the orderbook file: 3 fields"),
            (good, "2,1,1,1,2,1,0,0\n", "not worse"),
            (good, "2,0,1,1,2,1,0,0\n", "below an empty one"),
            (good, "", "not a pair"),
        ] {
            let error = read(messages, depths).unwrap_err();
            assert!(error.contains(what), "{error} does not say {what}");
        }
    }

    #[test]
    fn kinds_keep_their_numbers() {
        for number in 1..=7 {
            assert_eq!(u64::from(Kind::from_number(number).unwrap().number()), number);
        }
        assert_eq!(Kind::from_number(0), None);
    }
}
