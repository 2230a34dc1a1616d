//! What the feed must know to put an event on the wire: instruments, assets, firms, the day.

use std::collections::BTreeMap;

use ironbell_types::{
    Asset, AssetId, EventBody, Firm, FirmId, Instrument, InstrumentId, Mpid, Nanos, OpenDay,
};
use ironbell_wire::U48;

/// A mirror of what administration defined, by event.
#[derive(Clone, Debug, Default)]
pub struct Directory {
    assets: BTreeMap<AssetId, Asset>,
    instruments: Vec<Instrument>,
    firms: Vec<Firm>,
    day: Option<OpenDay>,
}

impl Directory {
    /// Takes over what `body` defines; every other event changes nothing.
    ///
    /// # Panics
    /// When an instrument or a firm does not have the next dense id: the state machine never says so.
    pub fn apply(&mut self, body: &EventBody) {
        match body {
            EventBody::AssetDefined(asset) => {
                self.assets.insert(asset.id, *asset);
            }
            EventBody::InstrumentDefined(instrument) => {
                assert_eq!(instrument.id.0 as usize, self.instruments.len() + 1, "instrument ids are dense");
                assert!(instrument.id.0 <= u32::from(u16::MAX), "an instrument id is a stock locate code");
                self.instruments.push(*instrument);
            }
            EventBody::FirmDefined(firm) => {
                assert_eq!(firm.id.0 as usize, self.firms.len() + 1, "firm ids are dense");
                self.firms.push(*firm);
            }
            EventBody::DayOpened(day) => self.day = Some(*day),
            _ => {}
        }
    }

    /// Every instrument, in the order of ids.
    #[must_use]
    pub fn instruments(&self) -> &[Instrument] {
        &self.instruments
    }

    /// The instrument of an id; `None` when it is not defined.
    #[must_use]
    pub fn instrument(&self, id: InstrumentId) -> Option<&Instrument> {
        self.instruments.get((id.0 as usize).checked_sub(1)?)
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

    /// The trading day; `None` before the first one.
    #[must_use]
    pub fn day(&self) -> Option<&OpenDay> {
        self.day.as_ref()
    }

    /// The timestamp of an ITCH 5.0 message: nanoseconds since the day's midnight. Zero before the first day.
    #[must_use]
    pub fn timestamp(&self, time: Nanos) -> U48 {
        U48::new(self.day.map_or(0, |day| time.0.saturating_sub(day.midnight.0)))
    }
}
