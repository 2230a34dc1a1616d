//! What administration defined, as far as a gateway needs it: a mirror kept by events.

use ironbell_types::{
    Control, EventBody, Firm, FirmId, Instrument, InstrumentId, Mpid, Nanos, OpenDay, Port, PortId, Symbol,
    Username,
};

/// Instruments, firms, ports and the day. Ids are dense from 1; names are found by binary search, which
/// for a few hundred names beats hashing and needs no key.
#[derive(Clone, Debug, Default)]
pub struct Directory {
    instruments: Vec<Instrument>,
    firms: Vec<Firm>,
    ports: Vec<Port>,
    by_symbol: Names<Symbol>,
    by_mpid: Names<Mpid>,
    by_username: Names<Username>,
    day: Option<OpenDay>,
}

impl Directory {
    /// Learns from an event; those that define nothing are ignored.
    ///
    /// # Panics
    /// When an id is neither known nor the next one: the state machine gives them densely.
    pub fn apply(&mut self, body: &EventBody) {
        match body {
            EventBody::InstrumentDefined(instrument) => {
                let index = (instrument.id.0 as usize).wrapping_sub(1);
                match self.instruments.get_mut(index) {
                    // It has another tick or another symbol from here on.
                    Some(known) => {
                        self.by_symbol.remove(known.symbol);
                        *known = *instrument;
                    }
                    None => {
                        assert_eq!(index, self.instruments.len(), "instrument ids are dense");
                        self.instruments.push(*instrument);
                    }
                }
                self.by_symbol.insert(instrument.symbol, instrument.id.0);
            }
            // Members cannot name it any more; events about its last orders still do.
            EventBody::Controlled(Control::Delist { instrument }) => {
                let delisted = self.instrument(*instrument).expect("events name defined instruments");
                self.by_symbol.remove(delisted.symbol);
            }
            EventBody::FirmDefined(firm) => {
                assert_eq!(firm.id.0 as usize, self.firms.len() + 1, "firm ids are dense");
                self.firms.push(*firm);
                self.by_mpid.insert(firm.mpid, firm.id.0);
            }
            EventBody::PortDefined(port) => {
                assert_eq!(port.id.0 as usize, self.ports.len() + 1, "port ids are dense");
                self.ports.push(*port);
                self.by_username.insert(port.username, port.id.0);
            }
            EventBody::DayOpened(day) => self.day = Some(*day),
            _ => {}
        }
    }

    /// The instrument of a symbol; `None` also for one that was delisted.
    #[must_use]
    pub fn instrument_named(&self, symbol: Symbol) -> Option<&Instrument> {
        self.instrument(InstrumentId(self.by_symbol.find(symbol)?))
    }

    /// An instrument.
    #[must_use]
    pub fn instrument(&self, id: InstrumentId) -> Option<&Instrument> {
        self.instruments.get((id.0 as usize).checked_sub(1)?)
    }

    /// The firm of an MPID.
    #[must_use]
    pub fn firm_named(&self, mpid: Mpid) -> Option<FirmId> {
        self.by_mpid.find(mpid).map(FirmId)
    }

    /// A firm.
    #[must_use]
    pub fn firm(&self, id: FirmId) -> Option<&Firm> {
        self.firms.get((id.0 as usize).checked_sub(1)?)
    }

    /// The port of a user name.
    #[must_use]
    pub fn port_named(&self, username: Username) -> Option<&Port> {
        self.port(PortId(self.by_username.find(username)?))
    }

    /// A port.
    #[must_use]
    pub fn port(&self, id: PortId) -> Option<&Port> {
        self.ports.get((id.0 as usize).checked_sub(1)?)
    }

    /// Every port, in the order of ids.
    #[must_use]
    pub fn ports(&self) -> &[Port] {
        &self.ports
    }

    /// The trading day; `None` before the first.
    #[must_use]
    pub fn day(&self) -> Option<&OpenDay> {
        self.day.as_ref()
    }

    /// Wire timestamp of a time: nanoseconds since the day's midnight (OUCH 5.0, section 1.2, Timestamp).
    #[must_use]
    pub fn timestamp(&self, time: Nanos) -> u64 {
        time.0.saturating_sub(self.day.map_or(0, |day| day.midnight.0))
    }
}

/// Names with their ids, sorted.
#[derive(Clone, Debug)]
struct Names<N>(Vec<(N, u32)>);

impl<N> Default for Names<N> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<N: Ord + Copy> Names<N> {
    fn insert(&mut self, name: N, id: u32) {
        let at = self.0.partition_point(|(other, _)| *other < name);
        self.0.insert(at, (name, id));
    }

    fn remove(&mut self, name: N) {
        if let Ok(at) = self.0.binary_search_by(|(other, _)| other.cmp(&name)) {
            self.0.remove(at);
        }
    }

    fn find(&self, name: N) -> Option<u32> {
        self.0.binary_search_by(|(other, _)| other.cmp(&name)).ok().map(|at| self.0[at].1)
    }
}
