//! From what is asked for in words to the command that is sequenced.

use ironbell_core::Engine;
use ironbell_types::{
    Account, AccountId, Amount, Asset, AssetId, Command, Control, Fees, FirmId, Funding, Instrument,
    InstrumentId, InstrumentRules, KillScope, MatchNumber, Mpid, Nanos, Phase, Port, PortId, PortLimits,
    PortRules, Price, Qty, SCHEDULE_SLOTS, Scale, Symbol, Username,
};
use rust_decimal::Decimal;

use super::{
    AccountAsk, AddPort, Ask, AssetAsk, FirmAsk, InstrumentAsk, KillText, PortAsk, PortText, RulesText,
};
use crate::genesis;
use crate::words::{Limit, Measures, PerSpan, TimeOfDay, smallest_units};

/// The command that does what is asked for, in the present state of `engine`. `now` is the machine's time, for
/// dates and numbers that are left out.
///
/// # Errors
/// A line saying which name or number is wrong.
pub fn command(ask: &Ask, engine: &Engine, now: Nanos) -> Result<Command, String> {
    let names = Names(engine);
    let control = match ask {
        Ask::Phase { symbol, phase, reason } => {
            let padded = Mpid::new(reason)
                .ok_or_else(|| format!("--reason {reason} is longer than four characters"))?;
            Control::SetPhase {
                instrument: names.instrument_or_all(symbol)?,
                phase: phase.0,
                reason: padded.0,
            }
        }
        Ask::Rules { symbol, rules } => {
            let instrument = names.instrument(symbol)?;
            let present = engine.rules(instrument.id).unwrap_or(InstrumentRules::PLAIN);
            let rules = changed_rules(present, rules, &names.measures(&instrument))?;
            Control::SetRules { instrument: instrument.id, rules }
        }
        Ask::Schedule { symbol, at, phase } => {
            set_schedule(engine, names.instrument(symbol)?.id, at.0, phase.0)?
        }
        Ask::Port(PortAsk { add: Some(add), .. }) => return add_port(&names, add),
        Ask::Port(PortAsk { add: None, name, rules }) => {
            let name = name.as_deref().ok_or("which port?")?;
            let port = names.port(name)?;
            let present = engine.port_rules(port).ok_or_else(|| format!("port {name} has no rules"))?;
            Control::SetPortRules { port, rules: changed_port(present, rules, &names)? }
        }
        Ask::Exposure { firm, asset, gross, net } => {
            let (firm, asset) = (names.firm(firm)?, names.asset(asset)?);
            let present = engine.exposures().into_iter().find(|e| e.firm == firm && e.asset == asset.id);
            let (was_gross, was_net) = present.map_or((None, None), |e| (e.gross_max, e.net_max));
            Control::SetExposure {
                firm,
                asset: asset.id,
                gross_max: gross.map_or(Ok(was_gross), |limit| amount_limit(limit, &asset, "--gross"))?,
                net_max: net.map_or(Ok(was_net), |limit| amount_limit(limit, &asset, "--net"))?,
            }
        }
        Ask::Credit { account, asset, most } => {
            let (account, asset) = (names.account(*account)?, names.asset(asset)?);
            Control::SetCredit {
                account,
                asset: asset.id,
                credit_max: amount_limit(*most, &asset, "credit")?,
            }
        }
        Ask::Position { account, symbol, long, short } => {
            let (account, instrument) = (names.account(*account)?, names.instrument(symbol)?);
            let measures = names.measures(&instrument);
            let present = engine
                .positions()
                .into_iter()
                .find(|p| p.account == account && p.instrument == instrument.id);
            let (was_long, was_short) = present.map_or((None, None), |p| (p.long_max, p.short_max));
            Control::SetPosition {
                account,
                instrument: instrument.id,
                long_max: long.map_or(Ok(was_long), |limit| qty_limit(limit, &measures, "--long"))?,
                short_max: short.map_or(Ok(was_short), |limit| qty_limit(limit, &measures, "--short"))?,
            }
        }
        Ask::Entitle { port, symbol, allowed } => Control::Entitle {
            port: names.port(port)?,
            instrument: names.instrument(symbol)?.id,
            allowed: allowed.0,
        },
        Ask::Restrict { firm, symbol, restricted } => Control::Restrict {
            firm: if firm == "all" { FirmId(0) } else { names.firm(firm)? },
            instrument: names.instrument(symbol)?.id,
            restricted: restricted.0,
        },
        Ask::Locate { firm, symbol, quantity, id } => {
            let instrument = names.instrument(symbol)?;
            Control::Locate {
                id: id.unwrap_or(now.0),
                firm: names.firm(firm)?,
                instrument: instrument.id,
                qty: names.measures(&instrument).lots(*quantity, "the quantity")?,
            }
        }
        Ask::Kill { scope } => {
            let (scope, on) = match scope {
                KillText::Port { name, switch } => (KillScope::Port(names.port(name)?), switch),
                KillText::Firm { name, switch } => (KillScope::Firm(names.firm(name)?), switch),
                KillText::Instrument { name, switch } => {
                    (KillScope::Instrument(names.instrument(name)?.id), switch)
                }
                KillText::Venue { switch } => (KillScope::Venue, switch),
            };
            Control::Kill { scope, on: on.0 }
        }
        Ask::Fees { symbol, tier, maker, taker, minimum } => {
            let instrument = names.instrument(symbol)?;
            let present = engine.fees(instrument.id, *tier);
            let present = present.ok_or_else(|| format!("--tier {tier} is not within 0 to 3"))?;
            let decimals = names.measures(&instrument).quote_decimals;
            let minimum = match minimum {
                None => present.minimum,
                Some(least) => u64::try_from(smallest_units(*least, decimals, "--minimum")?)
                    .map_err(|_| format!("--minimum = {least} is negative or too large"))?,
            };
            let fees = Fees {
                maker_bps: maker.map_or(present.maker_bps, |rate| rate.0),
                taker_bps: taker.map_or(present.taker_bps, |rate| rate.0),
                minimum,
            };
            Control::SetFees { instrument: instrument.id, tier: *tier, fees }
        }
        Ask::Tier { tier, volume } => Control::SetTier { tier: *tier, volume_min: *volume },
        Ask::FirmTier { firm, tier } => Control::SetFirmTier { firm: names.firm(firm)?, tier: *tier },
        Ask::CloseDay => Control::CloseDay,
        Ask::OpenDay { date, utc_offset } => {
            let last = engine.last_day();
            let minutes =
                utc_offset.unwrap_or_else(|| last.map_or(0, |day| genesis::utc_offset_minutes(&day)));
            let date = date.map_or(0, |date| date.0);
            return genesis::open_day(date, minutes, now).map(Command::OpenDay);
        }
        Ask::Bust { match_number, reason } => {
            Control::Bust { match_number: MatchNumber(*match_number), reason: reason.0 }
        }
        Ask::Delist { symbol } => Control::Delist { instrument: names.instrument(symbol)?.id },
        Ask::Tick { symbol, tick } => change_tick(&names, &names.instrument(symbol)?, *tick)?,
        Ask::Symbol { symbol, new } => {
            let name = Symbol::new(new).filter(|_| !new.is_empty());
            let name = name.ok_or_else(|| format!("{new:?} is not 1 to 8 characters"))?;
            Control::ChangeSymbol { instrument: names.instrument(symbol)?.id, symbol: name }
        }
        Ask::DeclineLevels { one, two, three } => {
            let level = |level: &Decimal| {
                u64::try_from(smallest_units(*level, 8, "a level")?)
                    .map_err(|_| format!("a level of {level} is negative or too large"))
            };
            Control::SetDeclineLevels { levels: [level(one)?, level(two)?, level(three)?] }
        }
        Ask::MarketWideHalt { level } => Control::MarketWideHalt { level: *level },
        Ask::SignedHead { size, root, epoch } => {
            Control::SignedHead { size: *size, root: *root, epoch: *epoch }
        }
        Ask::Instrument { add: InstrumentAsk::Add(text) } => {
            let id = InstrumentId(engine.instruments().count() as u32 + 1);
            let assets = engine.assets().map(|a| (a.code.as_str(), (a.id, a.decimals))).collect();
            return genesis::instrument(id, text, &assets).map(Command::DefineInstrument);
        }
        Ask::Asset { add: AssetAsk::Add { code, decimals } } => {
            let id = AssetId(engine.assets().map(|a| a.id.0).max().unwrap_or(0) + 1);
            return genesis::asset(id, code, *decimals).map(Command::DefineAsset);
        }
        Ask::Firm { add: FirmAsk::Add { mpid } } => {
            let id = FirmId(engine.firms().count() as u32 + 1);
            return genesis::firm(id, mpid).map(Command::DefineFirm);
        }
        Ask::Account { add: AccountAsk::Add { account, firm } } => {
            let account = Account { id: AccountId(*account), firm: names.firm(firm)? };
            return Ok(Command::DefineAccount(account));
        }
        Ask::Fund { account, asset, amount, id } => {
            let (account, asset) = (names.account(*account)?, names.asset(asset)?);
            let amount = Amount(smallest_units(*amount, asset.decimals, "the amount")?);
            let id = id.unwrap_or(now.0);
            return Ok(Command::Fund(Funding { id, account, asset: asset.id, amount }));
        }
    };
    Ok(Command::Control(control))
}

/// What names stand for, in the present state of the venue.
struct Names<'a>(&'a Engine);

impl Names<'_> {
    fn instrument(&self, symbol: &str) -> Result<Instrument, String> {
        let known = Symbol::new(symbol).and_then(|name| self.0.instruments().find(|i| i.symbol == name));
        known.copied().ok_or_else(|| format!("there is no instrument {symbol}; `inspect phases` lists them"))
    }

    fn instrument_or_all(&self, symbol: &str) -> Result<InstrumentId, String> {
        if symbol == "all" { Ok(InstrumentId::NONE) } else { Ok(self.instrument(symbol)?.id) }
    }

    fn asset(&self, code: &str) -> Result<Asset, String> {
        let known = Symbol::new(code).and_then(|name| self.0.assets().find(|a| a.code == name));
        known.copied().ok_or_else(|| format!("there is no asset {code}; `inspect ledger` lists them"))
    }

    fn firm(&self, mpid: &str) -> Result<FirmId, String> {
        let known = Mpid::new(mpid).and_then(|name| self.0.firms().find(|f| f.mpid == name));
        known.map(|firm| firm.id).ok_or_else(|| format!("there is no firm {mpid}; `inspect risk` lists them"))
    }

    fn port(&self, name: &str) -> Result<PortId, String> {
        let username = Username::new(&name.to_ascii_uppercase());
        let known = username.and_then(|name| self.0.ports().find(|p| p.username == name));
        known.map(|port| port.id).ok_or_else(|| format!("there is no port {name}; `inspect risk` lists them"))
    }

    fn account(&self, number: u32) -> Result<AccountId, String> {
        let known = self.0.accounts().find(|a| a.id.0 == number);
        known.map(|a| a.id).ok_or_else(|| format!("there is no account {number}; `inspect risk` lists them"))
    }

    fn measures(&self, instrument: &Instrument) -> Measures {
        measures(self.0, instrument)
    }

    /// Notional caps are in the smallest unit of the quote asset, whichever that is: here of the one with
    /// the most decimal places.
    fn notional_decimals(&self) -> u8 {
        let decimals = |i: &Instrument| self.0.assets().find(|a| a.id == i.quote).map_or(0, |a| a.decimals);
        self.0.instruments().map(decimals).max().unwrap_or(0)
    }

    fn notional(&self, cap: Decimal) -> Result<Amount, String> {
        let units = smallest_units(cap, self.notional_decimals(), "--notional-cap")?;
        if units < 0 { Err("--notional-cap is negative".to_owned()) } else { Ok(Amount(units)) }
    }
}

/// How ticks and lots of an instrument stand to units of its assets.
#[must_use]
pub fn measures(engine: &Engine, instrument: &Instrument) -> Measures {
    let decimals = |id: AssetId| engine.assets().find(|a| a.id == id).map_or(0, |a| a.decimals);
    Measures::of(instrument, decimals(instrument.base), decimals(instrument.quote))
}

fn amount_limit(limit: Limit, asset: &Asset, what: &str) -> Result<Option<Amount>, String> {
    limit.0.map(|limit| smallest_units(limit, asset.decimals, what).map(Amount)).transpose()
}

fn qty_limit(limit: Limit, measures: &Measures, what: &str) -> Result<Option<Qty>, String> {
    limit.0.map(|limit| lots(limit, measures, what)).transpose()
}

fn lots(quantity: Decimal, measures: &Measures, what: &str) -> Result<Qty, String> {
    let lots = measures.lots(quantity, what)?;
    u64::try_from(lots).map(Qty).map_err(|_| format!("{what} = {quantity} is negative"))
}

fn changed_rules(
    present: InstrumentRules,
    text: &RulesText,
    measures: &Measures,
) -> Result<InstrumentRules, String> {
    let RulesText {
        algorithm,
        top_order,
        batch,
        reference,
        static_range,
        collar,
        band,
        limit_state,
        volatility,
        short_restricted,
    } = text;
    let reference =
        reference.map_or(Ok(present.reference), |price| measures.ticks(price, "--reference").map(Price));
    let top_order = top_order.map_or(Ok(present.top_order_max), |top| lots(top, measures, "--top-order"));
    Ok(InstrumentRules {
        algorithm: algorithm.map_or(present.algorithm, |word| word.0),
        top_order_max: top_order?,
        batch_ns: batch.map_or(present.batch_ns, |span| span.0),
        reference: reference?,
        static_bps: static_range.map_or(present.static_bps, |share| share.0),
        collar_bps: collar.map_or(present.collar_bps, |share| share.0),
        band_bps: band.map_or(present.band_bps, |share| share.0),
        limit_state_ns: limit_state.map_or(present.limit_state_ns, |span| span.0),
        volatility_ns: volatility.map_or(present.volatility_ns, |span| span.0),
        short_restricted: short_restricted.map_or(present.short_restricted, |switch| switch.0),
    })
}

fn changed_port(present: PortRules, text: &PortText, names: &Names<'_>) -> Result<PortRules, String> {
    let PortText { rate, burst, duplicates, slide, stp, cancel_on_disconnect, qty_cap, notional_cap } = text;
    let PerSpan(duplicates_max, duplicate_ns) =
        duplicates.unwrap_or(PerSpan(present.duplicates_max, present.duplicate_ns));
    Ok(PortRules {
        limits: PortLimits {
            qty_max: qty_cap.map_or(present.limits.qty_max, Qty),
            notional_max: notional_cap.map_or(Ok(present.limits.notional_max), |cap| names.notional(cap))?,
        },
        rate_per_second: rate.unwrap_or(present.rate_per_second),
        rate_burst: burst.unwrap_or(present.rate_burst),
        duplicates_max,
        duplicate_ns,
        slides: slide.map_or(present.slides, |switch| switch.0),
        stp: stp.map_or(present.stp, |word| word.0),
        cancels_on_disconnect: cancel_on_disconnect.map_or(present.cancels_on_disconnect, |switch| switch.0),
    })
}

/// The slot of the entry at that time, else the first free one.
fn set_schedule(
    engine: &Engine,
    instrument: InstrumentId,
    at_s: u32,
    phase: Option<Phase>,
) -> Result<Control, String> {
    let schedule = engine.schedule(instrument);
    let there = schedule.iter().position(|entry| entry.is_some_and(|(at, _)| at == at_s));
    let slot = match (there, phase) {
        (Some(slot), _) => slot,
        (None, None) => return Err(format!("the schedule has no entry at {}", TimeOfDay(at_s))),
        (None, Some(_)) => schedule.iter().position(Option::is_none).ok_or_else(|| {
            format!("the schedule has its {SCHEDULE_SLOTS} entries; take one off with phase `none`")
        })?,
    };
    Ok(Control::SetSchedule { instrument, slot: slot as u8, at_s, phase })
}

fn add_port(names: &Names<'_>, add: &AddPort) -> Result<Command, String> {
    let AddPort::Add { name, firm, account, password_file: _, qty_cap, notional_cap, credential } = add;
    let username = Username::new(&name.to_ascii_uppercase()).filter(|_| !name.is_empty());
    let username = username.ok_or_else(|| format!("the user name {name:?} is not 1 to 6 characters"))?;
    let credential = credential.ok_or("a port needs a password: in the genesis, use [[genesis.ports]]")?;
    Ok(Command::DefinePort(Port {
        id: PortId(names.0.ports().count() as u32 + 1),
        username,
        firm: names.firm(firm)?,
        account: names.account(*account)?,
        limits: PortLimits { qty_max: Qty(*qty_cap), notional_max: names.notional(*notional_cap)? },
        credential: credential.into(),
    }))
}

/// The new tick in wire price units and in the value of one lot, as when the instrument was defined.
fn change_tick(names: &Names<'_>, instrument: &Instrument, tick: Decimal) -> Result<Control, String> {
    let measures = names.measures(instrument);
    let lot = Decimal::try_from_i128_with_scale(instrument.lot_units.into(), measures.base_decimals.into())
        .map_err(|_| "the lot is too fine".to_owned())?;
    let scaled = instrument.scale == Scale::Scaled;
    let what = format!("instrument {}", instrument.symbol);
    let (scale, tick_value) = genesis::scale(tick, lot, scaled, measures.quote_decimals, &what)?;
    let price_tick = Instrument { scale, ..*instrument }.price_tick();
    Ok(Control::ChangeTick { instrument: instrument.id, price_tick, tick_value })
}
