//! What the feed must know to put an event on the wire: instruments and what they do now, assets, firms,
//! the day.

use std::collections::BTreeMap;

use ironbell_types::{
    Asset, AssetId, Control, EventBody, Firm, FirmId, Instrument, InstrumentId, InstrumentRules, Mpid, Nanos,
    OpenDay, Phase,
};
use ironbell_wire::U48;

/// A mirror, by event, of what administration defined and of what members are told about it.
#[derive(Clone, Debug, Default)]
pub struct Directory {
    assets: BTreeMap<AssetId, Asset>,
    listings: Vec<Listing>,
    firms: Vec<Firm>,
    decline_levels: Option<[u64; 3]>,
    /// The present or last day.
    day: Option<OpenDay>,
    stage: Stage,
}

/// Where the day is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Closed,
    Open,
    /// It ends with the statistics of so many instruments.
    Closing(usize),
}

/// An instrument as members see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listing {
    /// Its definition.
    pub instrument: Instrument,
    /// What it does now.
    pub phase: Phase,
    /// ITCH trading action reason of that.
    pub reason: [u8; 4],
    /// Whether the price test of short sales is in force.
    pub short_restricted: bool,
    /// It was taken off for good.
    delisted: bool,
    /// The present session has announced it.
    announced: bool,
    /// The day is closing, and the instrument's statistics are still to come.
    closing: bool,
}

const NO_REASON: [u8; 4] = *b"    ";

impl Directory {
    /// Takes over what `body` says; events of books change nothing.
    ///
    /// # Panics
    /// When a new instrument or firm does not have the next dense id, or what is named does not exist: the
    /// state machine never says so.
    pub fn apply(&mut self, body: &EventBody) {
        match body {
            EventBody::AssetDefined(asset) => {
                self.assets.insert(asset.id, *asset);
            }
            EventBody::InstrumentDefined(instrument) => self.define(instrument),
            EventBody::FirmDefined(firm) => {
                assert_eq!(firm.id.0 as usize, self.firms.len() + 1, "firm ids are dense");
                self.firms.push(*firm);
            }
            EventBody::DayOpened(day) => {
                self.day = Some(*day);
                self.stage = Stage::Open;
                for listing in &mut self.listings {
                    (listing.announced, listing.closing) = (!listing.delisted, false);
                }
            }
            EventBody::DayClosed { .. } => {
                self.listings.iter_mut().for_each(|listing| listing.closing = !listing.delisted);
                self.await_statistics(self.listings.iter().filter(|listing| listing.closing).count());
            }
            EventBody::Statistics(statistics) => {
                let was_closing = core::mem::take(&mut self.listing_mut(statistics.instrument).closing);
                if let (Stage::Closing(count), true) = (self.stage, was_closing) {
                    self.await_statistics(count - 1);
                }
            }
            EventBody::PhaseChanged { instrument, phase, reason } => {
                let listing = self.listing_mut(*instrument);
                (listing.phase, listing.reason) = (*phase, *reason);
            }
            EventBody::Controlled(control) => self.control(control),
            _ => {}
        }
    }

    /// What definitions do not tell, as numbers: decline levels, the day, where it is, and of each instrument its
    /// phase, the reason, and its switches.
    pub(crate) fn save(&self) -> Vec<u64> {
        let levels = self.decline_levels.unwrap_or_default();
        let day = self.day.unwrap_or(OpenDay { date: 0, midnight: Nanos(0) });
        let stage = match self.stage {
            Stage::Closed => 0,
            Stage::Open => 1,
            Stage::Closing(count) => 2 + count as u64,
        };
        let mut numbers = vec![u64::from(self.decline_levels.is_some()), levels[0], levels[1], levels[2]];
        numbers.extend([u64::from(self.day.is_some()), u64::from(day.date), day.midnight.0, stage]);
        numbers.push(self.listings.len() as u64);
        for listing in &self.listings {
            let Listing { instrument: _, phase, reason, short_restricted, delisted, announced, closing } =
                *listing;
            let switches = [short_restricted, delisted, announced, closing];
            let bits = switches.iter().rev().fold(0, |bits, on| bits << 1 | u64::from(*on));
            numbers.extend([u64::from(phase.code()), u64::from(u32::from_le_bytes(reason)), bits]);
        }
        numbers
    }

    /// The reverse, once everything is defined; `None` when the numbers are not of these definitions.
    pub(crate) fn load(&mut self, numbers: &mut impl Iterator<Item = u64>) -> Option<()> {
        let (has_levels, levels) =
            (numbers.next()? != 0, [numbers.next()?, numbers.next()?, numbers.next()?]);
        self.decline_levels = has_levels.then_some(levels);
        let (has_day, date) = (numbers.next()? != 0, u32::try_from(numbers.next()?).ok()?);
        self.day = Some(OpenDay { date, midnight: Nanos(numbers.next()?) }).filter(|_| has_day);
        self.stage = match numbers.next()? {
            0 => Stage::Closed,
            1 => Stage::Open,
            closing => Stage::Closing(usize::try_from(closing - 2).ok()?),
        };
        if numbers.next()? != self.listings.len() as u64 {
            return None;
        }
        for listing in &mut self.listings {
            listing.phase = Phase::from_code(u8::try_from(numbers.next()?).ok()?)?;
            listing.reason = u32::try_from(numbers.next()?).ok()?.to_le_bytes();
            let bits = numbers.next()?;
            let [short_restricted, delisted, announced, closing] =
                [0, 1, 2, 3].map(|bit| bits >> bit & 1 == 1);
            (listing.short_restricted, listing.delisted) = (short_restricted, delisted);
            (listing.announced, listing.closing) = (announced, closing);
        }
        Some(())
    }

    /// The last day that was opened, over or not.
    pub(crate) fn last_day(&self) -> Option<&OpenDay> {
        self.day.as_ref()
    }

    /// A closing cross of very many trades takes more than one command, so instruments end out of order.
    fn await_statistics(&mut self, count: usize) {
        self.stage = if count > 0 { Stage::Closing(count) } else { Stage::Closed };
    }

    fn define(&mut self, instrument: &Instrument) {
        if (instrument.id.0 as usize) <= self.listings.len() {
            self.listing_mut(instrument.id).instrument = *instrument;
            return;
        }
        assert_eq!(instrument.id.0 as usize, self.listings.len() + 1, "instrument ids are dense");
        assert!(instrument.id.0 <= u32::from(u16::MAX), "an instrument id is a stock locate code");
        let is_open = self.day().is_some();
        self.listings.push(Listing {
            instrument: *instrument,
            phase: if is_open { Phase::Continuous } else { Phase::Closed },
            reason: NO_REASON,
            short_restricted: false,
            delisted: false,
            announced: is_open,
            closing: false,
        });
    }

    fn control(&mut self, control: &Control) {
        match control {
            Control::SetRules { instrument, rules } => {
                self.listing_mut(*instrument).short_restricted = rules.short_restricted;
            }
            Control::ChangeTick { instrument, .. } => {
                self.listing_mut(*instrument).short_restricted = InstrumentRules::PLAIN.short_restricted;
            }
            Control::Delist { instrument } => self.listing_mut(*instrument).delisted = true,
            Control::SetDeclineLevels { levels } => self.decline_levels = Some(*levels),
            _ => {}
        }
    }

    fn listing_mut(&mut self, id: InstrumentId) -> &mut Listing {
        let index = (id.0 as usize).checked_sub(1);
        index.and_then(|index| self.listings.get_mut(index)).expect("an event's instrument is defined")
    }

    /// The instruments that the present session has announced, in the order of ids. One that was delisted
    /// goes with the next day.
    pub fn listings(&self) -> impl Iterator<Item = &Listing> {
        self.listings.iter().filter(|listing| listing.announced)
    }

    /// An instrument that the present session has announced.
    #[must_use]
    pub fn listing(&self, id: InstrumentId) -> Option<&Listing> {
        self.listings.get((id.0 as usize).checked_sub(1)?).filter(|listing| listing.announced)
    }

    /// The instrument of an id; `None` when it is not defined.
    #[must_use]
    pub fn instrument(&self, id: InstrumentId) -> Option<&Instrument> {
        self.listings.get((id.0 as usize).checked_sub(1)?).map(|listing| &listing.instrument)
    }

    /// The asset of an id; `None` when it is not defined.
    #[must_use]
    pub fn asset(&self, id: AssetId) -> Option<&Asset> {
        self.assets.get(&id)
    }

    /// What a firm is called on the feed; `None` when it is not defined.
    #[must_use]
    pub fn mpid(&self, id: FirmId) -> Option<Mpid> {
        self.firms.get((id.0 as usize).checked_sub(1)?).map(|firm| firm.mpid)
    }

    /// Levels 1, 2 and 3 of a market-wide decline, in 1/100,000,000; `None` before they are set.
    #[must_use]
    pub fn decline_levels(&self) -> Option<&[u64; 3]> {
        self.decline_levels.as_ref()
    }

    /// The trading day; `None` before the first one, and from the end of one to the next. A day ends with
    /// the last statistics of its instruments; their closing crosses come before.
    #[must_use]
    pub fn day(&self) -> Option<&OpenDay> {
        self.day.as_ref().filter(|_| self.stage != Stage::Closed)
    }

    /// The timestamp of an ITCH 5.0 message: nanoseconds since midnight of the present or last day. Zero
    /// before the first one.
    #[must_use]
    pub fn timestamp(&self, time: Nanos) -> U48 {
        U48::new(self.day.map_or(0, |day| time.0.saturating_sub(day.midnight.0)))
    }
}
