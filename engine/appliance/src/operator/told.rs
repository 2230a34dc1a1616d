//! What became of an operator's command, in words.

use ironbell_core::Engine;
use ironbell_types::{
    AdminRefusal, Amount, AssetId, Command, Control, Event, EventBody, Fees, FirmId, InstrumentId,
    InstrumentRules, KillScope, PortId, PortLimits, PortRules, Price, Qty, Seq,
};
use serde::{Deserialize, Serialize};

use super::measures;
use crate::words::{
    AlgorithmWord, BustReason, Date, Measures, PerSpan, PhaseOrNone, PhaseWord, Rate, Share, Span, StpWord,
    Switch, TimeOfDay, units,
};

/// What became of a command, for people.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Told {
    /// It was done, and is on the disk.
    Done {
        /// Its place in the sequence.
        seq: u64,
        /// What was done, a line each.
        lines: Vec<String>,
    },
    /// The venue refused it; nothing changed.
    Refused {
        /// Its place in the sequence.
        seq: u64,
        /// Why, and what to do.
        why: String,
    },
    /// It was handed to the sequencer, and nobody waited for more.
    Sent,
}

/// What the state machine said of an operator's command, in words. `engine` is its state afterwards.
#[must_use]
pub fn told(command: &Command, seq: Seq, events: &[Event], engine: &Engine) -> Told {
    let refusal = events.iter().find_map(|event| match event.body {
        EventBody::AdminRefused(why) => Some(why),
        _ => None,
    });
    if let Some(why) = refusal {
        return Told::Refused { seq: seq.0, why: refused(command, why) };
    }
    let said = Said(engine);
    let mut lines = vec![said.done(command)];
    let mut slices = false;
    for event in events {
        slices |= matches!(event.body, EventBody::MassCancelAsked { .. });
        // That the command itself was done is said above.
        let itself = matches!(event.body, EventBody::Controlled(done) if Command::Control(done) == *command);
        lines.extend(said.consequence(&event.body).filter(|_| !itself));
    }
    if slices {
        lines.push("open orders are being cancelled".to_owned());
    }
    Told::Done { seq: seq.0, lines }
}

/// Names of what a command carries numbers for.
pub(crate) struct Said<'a>(pub(crate) &'a Engine);

impl Said<'_> {
    pub(crate) fn symbol(&self, id: InstrumentId) -> String {
        let known = self.0.instruments().find(|i| i.id == id);
        known.map_or_else(|| format!("instrument {id}"), |i| i.symbol.to_string())
    }

    pub(crate) fn mpid(&self, id: FirmId) -> String {
        self.0.firms().find(|f| f.id == id).map_or_else(|| format!("firm {id}"), |f| f.mpid.to_string())
    }

    pub(crate) fn username(&self, id: PortId) -> String {
        self.0.ports().find(|p| p.id == id).map_or_else(|| format!("port {id}"), |p| p.username.to_string())
    }

    fn asset(&self, id: AssetId) -> (String, u8) {
        let known = self.0.assets().find(|a| a.id == id);
        known.map_or_else(|| (format!("asset {id}"), 0), |a| (a.code.to_string(), a.decimals))
    }

    fn amount(&self, asset: AssetId, amount: Amount) -> String {
        let (code, decimals) = self.asset(asset);
        format!("{} {code}", units(amount.0, decimals))
    }

    fn amount_limit(&self, asset: AssetId, limit: Option<Amount>) -> String {
        limit.map_or_else(|| "no limit".to_owned(), |limit| self.amount(asset, limit))
    }

    fn measures(&self, id: InstrumentId) -> Option<Measures> {
        self.0.instruments().find(|i| i.id == id).map(|i| measures(self.0, i))
    }

    fn price(&self, instrument: InstrumentId, price: Price) -> String {
        self.measures(instrument).map_or_else(|| price.to_string(), |m| m.price(price.0))
    }

    fn quantity(&self, instrument: InstrumentId, lots: i128) -> String {
        self.measures(instrument).map_or_else(|| lots.to_string(), |m| m.quantity(lots))
    }

    fn qty_limit(&self, instrument: InstrumentId, limit: Option<Qty>) -> String {
        limit.map_or_else(|| "no limit".to_owned(), |limit| self.quantity(instrument, limit.0.into()))
    }

    fn done(&self, command: &Command) -> String {
        match command {
            Command::DefineAsset(asset) => format!("asset {} with {} decimals", asset.code, asset.decimals),
            Command::DefineInstrument(i) => {
                format!(
                    "instrument {} ({} for {}), locate {}",
                    i.symbol,
                    self.asset(i.base).0,
                    self.asset(i.quote).0,
                    i.id
                )
            }
            Command::DefineFirm(firm) => format!("firm {}", firm.mpid),
            Command::DefineAccount(account) => {
                format!("account {} of {}", account.id, self.mpid(account.firm))
            }
            Command::DefinePort(port) => {
                format!("port {} of {}, account {}", port.username, self.mpid(port.firm), port.account)
            }
            Command::Fund(funding) => format!(
                "account {}: {} moved, funding {}",
                funding.account,
                self.amount(funding.asset, funding.amount),
                funding.id
            ),
            Command::OpenDay(day) => format!("the day {} is open", Date(day.date)),
            Command::Control(control) => self.controlled(control),
            other => format!("{other:?}"),
        }
    }

    fn controlled(&self, control: &Control) -> String {
        match control {
            Control::SetRules { instrument, rules } => {
                format!(
                    "{}: {}",
                    self.symbol(*instrument),
                    rules_in_words(rules, self.measures(*instrument).as_ref())
                )
            }
            Control::SetSchedule { instrument, slot: _, at_s, phase } => format!(
                "{}: {} {} from the next day on",
                self.symbol(*instrument),
                TimeOfDay(*at_s),
                PhaseOrNone(*phase)
            ),
            Control::SetPhase { instrument, phase, reason: _ } => {
                let which = match *instrument {
                    InstrumentId::NONE => "every instrument".to_owned(),
                    one => self.symbol(one),
                };
                format!("{which}: {}", PhaseWord(*phase))
            }
            Control::SetPortRules { port, rules } => {
                let words = port_in_words(rules).map(|(rule, setting)| format!("{rule} {setting}"));
                let PortLimits { qty_max, notional_max: _ } = rules.limits;
                format!("{}: {}, qty cap {qty_max}", self.username(*port), words.join(", "))
            }
            Control::SetExposure { firm, asset, gross_max, net_max } => format!(
                "{}: gross exposure {}, net exposure {}",
                self.mpid(*firm),
                self.amount_limit(*asset, *gross_max),
                self.amount_limit(*asset, *net_max)
            ),
            Control::SetCredit { account, asset, credit_max } => {
                format!("account {account}: credit {}", self.amount_limit(*asset, *credit_max))
            }
            Control::SetPosition { account, instrument, long_max, short_max } => format!(
                "account {account} in {}: long {}, short {}",
                self.symbol(*instrument),
                self.qty_limit(*instrument, *long_max),
                self.qty_limit(*instrument, *short_max)
            ),
            Control::Entitle { port, instrument, allowed } => format!(
                "{} {} trade {}",
                self.username(*port),
                if *allowed { "may" } else { "may not" },
                self.symbol(*instrument)
            ),
            Control::Restrict { firm, instrument, restricted } => format!(
                "{} is {} the restricted list of {}",
                self.symbol(*instrument),
                if *restricted { "on" } else { "off" },
                if firm.0 == 0 { "every firm".to_owned() } else { self.mpid(*firm) }
            ),
            Control::Locate { id, firm, instrument, qty } => format!(
                "{}: {} of {} located, locate {id}",
                self.mpid(*firm),
                self.quantity(*instrument, i128::from(*qty)),
                self.symbol(*instrument)
            ),
            Control::Kill { scope, on } => self.switched(*scope, *on),
            Control::SetFees { instrument, tier, fees } => {
                let decimals = self.measures(*instrument).map_or(0, |m| m.quote_decimals);
                format!("{}, tier {tier}: {}", self.symbol(*instrument), fees_in_words(fees, decimals))
            }
            Control::SetTier { tier, volume_min: 0 } => format!("tier {tier} cannot be reached"),
            Control::SetTier { tier, volume_min } => format!("tier {tier} from {volume_min} lots a day on"),
            Control::SetFirmTier { firm, tier } => format!("{} is in tier {tier}", self.mpid(*firm)),
            Control::CloseDay => "the day is closed".to_owned(),
            Control::Bust { match_number, reason } => {
                format!("trade {match_number} is undone ({})", BustReason(*reason))
            }
            Control::Delist { instrument } => format!("{} is delisted", self.symbol(*instrument)),
            Control::ChangeTick { instrument, .. } => {
                format!(
                    "{}: the tick is {}; its rules are plain",
                    self.symbol(*instrument),
                    self.price(*instrument, Price(1))
                )
            }
            Control::ChangeSymbol { instrument: _, symbol } => format!("the name is {symbol} now"),
            Control::SetDeclineLevels { levels } => {
                format!("decline levels {}", levels.map(|level| units(level.into(), 8)).join(", "))
            }
            Control::MarketWideHalt { level } => format!("every instrument is halted, level {level}"),
            Control::Void { seq, reason } => format!("Seq {seq} is void: {reason}"),
            Control::HaltOrderEntry { on } => {
                format!("new orders are {}", if *on { "refused: the disk is full" } else { "taken again" })
            }
            Control::SignedHead { size, .. } => format!("the head of size {size} was signed"),
            Control::BeginGrace { grace_ns } => {
                format!("who was logged in at the other node has {} ms to come over", grace_ns / 1_000_000)
            }
        }
    }

    /// Of a kill switch.
    pub(crate) fn switched(&self, scope: KillScope, on: bool) -> String {
        let what = match scope {
            KillScope::Port(port) => format!("port {}", self.username(port)),
            KillScope::Firm(firm) => format!("firm {}", self.mpid(firm)),
            KillScope::Instrument(instrument) => format!("instrument {}", self.symbol(instrument)),
            KillScope::Venue => "the venue".to_owned(),
        };
        format!("{what} {}", if on { "is killed" } else { "may go on" })
    }

    /// What followed that an operator wants to know at once.
    fn consequence(&self, body: &EventBody) -> Option<String> {
        match body {
            EventBody::PhaseChanged { instrument, phase, .. } => {
                Some(format!("{} is {}", self.symbol(*instrument), PhaseWord(*phase)))
            }
            EventBody::Crossed(cross) if cross.qty > Qty::ZERO => Some(format!(
                "{} crossed {} at {}",
                self.symbol(cross.instrument),
                self.quantity(cross.instrument, cross.qty.0.into()),
                self.price(cross.instrument, cross.price)
            )),
            EventBody::Busted(bust) => {
                let instrument = self.0.instruments().find(|i| i.id == bust.instrument)?;
                let owed = [
                    (instrument.base, bust.buyer_owes, "buyer"),
                    (instrument.quote, bust.seller_owes, "seller"),
                ];
                let owed: Vec<String> = owed
                    .into_iter()
                    .filter(|(_, amount, _)| *amount > Amount::ZERO)
                    .map(|(asset, amount, who)| format!("; the {who} owes {}", self.amount(asset, amount)))
                    .collect();
                Some(format!(
                    "{} of {} at {}{}",
                    self.quantity(bust.instrument, bust.qty.0.into()),
                    instrument.symbol,
                    self.price(bust.instrument, bust.price),
                    owed.concat()
                ))
            }
            EventBody::FirmTier { firm, tier } => Some(format!("{} is in tier {tier}", self.mpid(*firm))),
            EventBody::Controlled(Control::Kill { scope: KillScope::Firm(firm), on: true }) => {
                Some(format!("{} is killed", self.mpid(*firm)))
            }
            _ => None,
        }
    }
}

/// An instrument's rules as its operator would set them.
#[must_use]
pub fn rules_in_words(rules: &InstrumentRules, measures: Option<&Measures>) -> String {
    let price = |price: Price| match (price.0, measures) {
        (0, _) => "none".to_owned(),
        (ticks, Some(measures)) => measures.price(ticks),
        (ticks, None) => format!("{ticks} ticks"),
    };
    let mut text = AlgorithmWord(rules.algorithm).to_string();
    if rules.top_order_max > Qty::ZERO {
        let top = i128::from(rules.top_order_max.0);
        text +=
            &format!(", top order {}", measures.map_or_else(|| format!("{top} lots"), |m| m.quantity(top)));
    }
    if rules.batch_ns > 0 {
        text += &format!(", batch {}", Span(rules.batch_ns));
    }
    text += &format!(
        ", reference {}, static {}, collar {}, band {}, limit state {}, volatility {}, short test {}",
        price(rules.reference),
        Share(rules.static_bps),
        Share(rules.collar_bps),
        Share(rules.band_bps),
        Span(rules.limit_state_ns),
        Span(rules.volatility_ns),
        Switch(rules.short_restricted)
    );
    text
}

/// A port's rules as its operator would set them, without its caps: each by its name.
#[must_use]
pub fn port_in_words(rules: &PortRules) -> [(&'static str, String); 5] {
    let rate = match rules.rate_per_second {
        0 => "off".to_owned(),
        rate => format!("{rate}/s, burst {}", rules.rate_burst),
    };
    [
        ("rate", rate),
        ("duplicates", PerSpan(rules.duplicates_max, rules.duplicate_ns).to_string()),
        ("slide", Switch(rules.slides).to_string()),
        ("stp", StpWord(rules.stp).to_string()),
        ("cancel on disconnect", Switch(rules.cancels_on_disconnect).to_string()),
    ]
}

/// Fees as their operator would set them.
#[must_use]
pub fn fees_in_words(fees: &Fees, quote_decimals: u8) -> String {
    let minimum = units(fees.minimum.into(), quote_decimals);
    format!("maker {}, taker {}, minimum {minimum}", Rate(fees.maker_bps), Rate(fees.taker_bps))
}

/// Why an operator's command was refused, and what to do about it.
#[must_use]
pub fn refused(command: &Command, why: AdminRefusal) -> String {
    use AdminRefusal as R;
    let control = match command {
        Command::Control(control) => Some(control),
        _ => None,
    };
    let text = match (why, control) {
        (R::Id, _) => "the number is taken or out of range; choose another",
        (R::NameTaken, _) => "the name is taken; choose another (that of a delisted instrument stays taken)",
        (R::Unknown, Some(Control::Bust { .. })) => {
            "no trade of this day has this match number, or it is undone already; `inspect statement` lists them"
        }
        (R::Unknown, Some(_)) => {
            "what it names does not exist, or the instrument is delisted; see `inspect phases` and `inspect risk`"
        }
        (R::Unknown, None) => {
            "an asset, firm or account that it names does not exist, or is another firm's; see `inspect risk`"
        }
        (R::Range, Some(Control::SetRules { .. })) => {
            "a share is above 99.99%, the reference or top order does not fit, or a batch interval is below 1ms; correct it"
        }
        (R::Range, Some(Control::SetFees { .. })) => {
            "a rate is beyond 100%, or some maker's rate and some taker's would together be below 0; set the other one first"
        }
        (R::Range, Some(Control::SetPortRules { .. })) => {
            "stp `port` means nothing for a port; choose off, newest, oldest, both or decrement"
        }
        (R::Range, Some(Control::SetDeclineLevels { .. })) => {
            "the levels must fall and be above 0: level 1 is the smallest decline"
        }
        (R::Range, Some(Control::MarketWideHalt { .. })) => "the level is 1, 2 or 3",
        (R::Range, Some(Control::SetTier { .. } | Control::SetFirmTier { .. })) => {
            "there are tiers 0 to 3, and tier 0 has no volume"
        }
        (R::Range, _) => "a number is out of range; correct it",
        (R::Repeated, _) => {
            "this number was used before, so it was done already; give a new --id to do it again"
        }
        (R::Funds, Some(Control::Locate { .. })) => {
            "open and executed short sales use more than would be left; give back less"
        }
        (R::Funds, _) => "more than is available; cancel orders that hold the rest, or take less",
        (R::Day, Some(Control::ChangeTick { .. } | Control::ChangeSymbol { .. })) => {
            "a day is open; `ctl close-day` first"
        }
        (R::Day, Some(_)) => "no day is open; `ctl open-day` first",
        (R::Day, None) => "the date must be later than the last day's; give a later one",
        (R::Busy, _) => {
            "the instrument has open orders; see `inspect book`, and have them cancelled first (`ctl kill instrument`)"
        }
    };
    text.to_owned()
}
