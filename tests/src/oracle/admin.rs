//! Stage 1 of the naive engine: what operators define, set and switch.

use ironbell_types::{
    Account, AccountId, AdminRefusal, Algorithm, Amount, Asset, AssetId, Control, EventBody, Fees, Firm,
    FirmId, Funding, Instrument, InstrumentId, InstrumentRules, KillScope, MatchNumber, Nanos, OpenDay,
    Phase, Port, PortId, PortRules, Price, SCHEDULE_SLOTS, Scale, Stp, TIERS,
};
use std::collections::BTreeMap;

use super::limits::{Bucket, ExposureLimit, Located, PositionLimit};
use super::slices::Wanted;
use super::{Oracle, PortState, Said};

/// Says that an administrative command is done, or why it is not.
pub(super) fn answer(said: &mut Said, done: Result<(), AdminRefusal>, body: EventBody) {
    said.risk(match done {
        Ok(()) => body,
        Err(refusal) => EventBody::AdminRefused(refusal),
    });
}

/// `Err(refusal)` if `broken`.
fn refuse_if(broken: bool, refusal: AdminRefusal) -> Result<(), AdminRefusal> {
    if broken { Err(refusal) } else { Ok(()) }
}

// Definitions, funding, days, logins.

impl Oracle {
    pub(super) fn define_asset(&mut self, asset: &Asset) -> Result<(), AdminRefusal> {
        refuse_if(self.assets.iter().any(|a| a.id == asset.id), AdminRefusal::Id)?;
        refuse_if(self.assets.iter().any(|a| a.code == asset.code), AdminRefusal::NameTaken)?;
        refuse_if(asset.decimals > 18, AdminRefusal::Range)?;
        self.assets.push(*asset);
        Ok(())
    }

    pub(super) fn define_instrument(&mut self, instrument: &Instrument) -> Result<(), AdminRefusal> {
        let next = self.instruments.len() as u32 + 1;
        refuse_if(instrument.id.0 != next || next > 65_535, AdminRefusal::Id)?;
        refuse_if(self.instruments.iter().any(|i| i.symbol == instrument.symbol), AdminRefusal::NameTaken)?;
        let has_assets = self.has_asset(instrument.base) && self.has_asset(instrument.quote);
        refuse_if(!has_assets, AdminRefusal::Unknown)?;
        let zero = instrument.tick_value == 0 || instrument.lot_units == 0 || instrument.price_tick() == 0;
        let fees = instrument.maker_fee_bps > 10_000 || instrument.taker_fee_bps > 10_000;
        refuse_if(zero || fees || instrument.base == instrument.quote, AdminRefusal::Range)?;
        self.instruments.push(*instrument);
        let fees = Fees {
            maker_bps: instrument.maker_fee_bps as i16,
            taker_bps: instrument.taker_fee_bps as i16,
            minimum: 0,
        };
        self.fees.extend((0..TIERS as u8).map(|tier| ((instrument.id, tier), fees)));
        self.books.add(instrument.id, if self.day_is_open { Phase::Continuous } else { Phase::Closed });
        Ok(())
    }

    pub(super) fn define_firm(&mut self, firm: &Firm) -> Result<(), AdminRefusal> {
        let next = self.firms.len() as u32 + 1;
        refuse_if(firm.id.0 != next || next >= 1 << 30, AdminRefusal::Id)?;
        refuse_if(self.firms.iter().any(|f| f.mpid == firm.mpid), AdminRefusal::NameTaken)?;
        self.firms.push(*firm);
        Ok(())
    }

    pub(super) fn define_account(&mut self, account: &Account) -> Result<(), AdminRefusal> {
        let member = (1..=AccountId::MEMBER_MAX.0).contains(&account.id.0);
        refuse_if(!member || self.has_account(account.id), AdminRefusal::Id)?;
        refuse_if(!self.has_firm(account.firm), AdminRefusal::Unknown)?;
        self.accounts.push(*account);
        Ok(())
    }

    pub(super) fn define_port(&mut self, port: &Port) -> Result<(), AdminRefusal> {
        let next = self.ports.len() as u32 + 1;
        refuse_if(port.id.0 != next || next >= 1 << 24, AdminRefusal::Id)?;
        refuse_if(self.ports.iter().any(|p| p.port.username == port.username), AdminRefusal::NameTaken)?;
        refuse_if(!self.has_firm(port.firm), AdminRefusal::Unknown)?;
        let own = self.accounts.iter().any(|a| a.id == port.account && a.firm == port.firm);
        refuse_if(!own, AdminRefusal::Unknown)?;
        let rules = PortRules::plain(port.limits);
        self.ports.push(PortState {
            port: *port,
            rules,
            incarnation: 0,
            logged_in: false,
            grace_end: None,
            consumed: BTreeMap::new(),
            bucket: Bucket::full(&rules),
            row: None,
            timeout_ns: None,
            heard: Nanos(0),
        });
        Ok(())
    }

    pub(super) fn fund(&mut self, funding: &Funding, said: &mut Said) {
        let Funding { id, account, asset, amount } = *funding;
        let done = self.check_funding(funding);
        if done.is_ok() {
            self.fundings.insert(id);
            self.post(AccountId::WORLD, account, asset, amount.0);
        }
        answer(said, done, EventBody::Funded { id, account, asset, amount });
    }

    fn check_funding(&self, funding: &Funding) -> Result<(), AdminRefusal> {
        let Funding { id, account, asset, amount: Amount(amount) } = *funding;
        refuse_if(!self.has_account(account) || !self.has_asset(asset), AdminRefusal::Unknown)?;
        let fits = |total: Option<i128>| total.is_some_and(|total| total.unsigned_abs() <= 1 << 126);
        let world = self.total(AccountId::WORLD, asset).checked_sub(amount);
        let member = self.total(account, asset).checked_add(amount);
        refuse_if(amount == 0 || !fits(world) || !fits(member), AdminRefusal::Range)?;
        refuse_if(self.fundings.contains(&id), AdminRefusal::Repeated)?;
        refuse_if(amount < 0 && self.available(account, asset) + amount < 0, AdminRefusal::Funds)
    }

    pub(super) fn open_day(&mut self, day: &OpenDay, said: &mut Said) {
        if self.day.is_some_and(|present| day.date <= present.date) {
            return said.risk(EventBody::AdminRefused(AdminRefusal::Day));
        }
        self.day = Some(*day);
        self.day_is_open = true;
        for port in &mut self.ports {
            port.consumed.clear();
        }
        self.trades.clear();
        said.risk(EventBody::DayOpened(*day));
        self.books.open_day(day.midnight, said);
    }

    pub(super) fn login(&mut self, port: PortId, said: &mut Said) {
        if let Some(state) = self.port_mut(port) {
            state.incarnation += 1;
            state.logged_in = true;
            state.grace_end = None;
            said.risk(EventBody::LoggedIn { port, incarnation: state.incarnation });
        }
    }

    pub(super) fn logout(&mut self, port: PortId, incarnation: u32, said: &mut Said) {
        let Some(state) = self.port_mut(port) else { return };
        if !state.logged_in || state.incarnation != incarnation {
            return;
        }
        state.logged_in = false;
        state.grace_end = None;
        let cancels = state.rules.cancels_on_disconnect;
        said.risk(EventBody::LoggedOut { port, incarnation });
        if cancels {
            self.cancel_in_slices(vec![Wanted::Killed(KillScope::Port(port))], said);
        }
    }

    fn has_asset(&self, asset: AssetId) -> bool {
        self.assets.iter().any(|a| a.id == asset)
    }

    fn has_firm(&self, firm: FirmId) -> bool {
        self.firms.iter().any(|f| f.id == firm)
    }

    fn has_account(&self, account: AccountId) -> bool {
        self.accounts.iter().any(|a| a.id == account)
    }

    fn has_orders(&self, instrument: InstrumentId) -> bool {
        self.open.iter().any(|o| o.accepted.instrument == instrument)
    }
}

// Controls.

impl Oracle {
    pub(super) fn control(&mut self, control: &Control, said: &mut Said) {
        match self.check_control(control) {
            Ok(()) => {
                said.risk(EventBody::Controlled(*control));
                self.carry_out(control, said);
            }
            Err(refusal) => said.risk(EventBody::AdminRefused(refusal)),
        }
    }

    fn check_control(&self, control: &Control) -> Result<(), AdminRefusal> {
        if let Control::ChangeSymbol { symbol, .. } = control {
            refuse_if(self.instruments.iter().any(|i| i.symbol == *symbol), AdminRefusal::NameTaken)?;
        }
        refuse_if(!self.names_what_exists(control), AdminRefusal::Unknown)?;
        refuse_if(self.is_out_of_range(control), AdminRefusal::Range)?;
        if let Control::Locate { id, firm, instrument, qty } = *control {
            refuse_if(self.locates.iter().any(|l| l.id == id), AdminRefusal::Repeated)?;
            let located = self.located(firm, instrument).unwrap_or(0) + i128::from(qty);
            let open = self.open.iter().filter(|o| {
                o.accepted.firm == firm
                    && o.accepted.instrument == instrument
                    && !o.accepted.side.is_buy()
                    && o.accepted.side != ironbell_types::Side::Sell
            });
            let used: i128 = open.map(|o| i128::from(o.leaves_qty.0)).sum();
            let used = used + self.short_sold(firm, instrument);
            refuse_if(qty < 0 && located < used, AdminRefusal::Funds)?;
        }
        let needs_day = match control {
            Control::SetPhase { phase, .. } => *phase != Phase::Closed,
            Control::CloseDay | Control::MarketWideHalt { .. } => true,
            _ => false,
        };
        let needs_no_day = matches!(control, Control::ChangeTick { .. } | Control::ChangeSymbol { .. });
        refuse_if(needs_day && !self.day_is_open || needs_no_day && self.day_is_open, AdminRefusal::Day)?;
        let is_busy = match control {
            Control::SetRules { instrument, rules } => {
                self.rules_of(*instrument).algorithm != rules.algorithm && self.has_orders(*instrument)
            }
            Control::SetFees { instrument, .. } | Control::ChangeTick { instrument, .. } => {
                self.has_orders(*instrument)
            }
            _ => false,
        };
        refuse_if(is_busy, AdminRefusal::Busy)
    }

    fn names_what_exists(&self, control: &Control) -> bool {
        let has = |instrument: InstrumentId| self.listed(instrument).is_some();
        let has_port = |port: PortId| self.port(port).is_some();
        match *control {
            Control::SetRules { instrument, .. }
            | Control::SetSchedule { instrument, .. }
            | Control::SetFees { instrument, .. }
            | Control::Delist { instrument }
            | Control::ChangeTick { instrument, .. }
            | Control::ChangeSymbol { instrument, .. } => has(instrument),
            Control::SetPhase { instrument, .. } => instrument == InstrumentId::NONE || has(instrument),
            Control::SetPortRules { port, .. } => has_port(port),
            Control::SetExposure { firm, asset, .. } => self.has_firm(firm) && self.has_asset(asset),
            Control::SetCredit { account, asset, .. } => self.has_account(account) && self.has_asset(asset),
            Control::SetPosition { account, instrument, .. } => self.has_account(account) && has(instrument),
            Control::Entitle { port, instrument, .. } => has_port(port) && has(instrument),
            Control::Restrict { firm, instrument, .. } => {
                (firm == FirmId(0) || self.has_firm(firm)) && has(instrument)
            }
            Control::Locate { firm, instrument, .. } => self.has_firm(firm) && has(instrument),
            Control::Kill { scope: KillScope::Port(port), .. } => has_port(port),
            Control::Kill { scope: KillScope::Firm(firm), .. } => self.has_firm(firm),
            Control::Kill { scope: KillScope::Instrument(instrument), .. } => has(instrument),
            Control::SetFirmTier { firm, .. } => self.has_firm(firm),
            Control::Bust { match_number, .. } => {
                self.trades.iter().any(|t| t.trade.match_number == match_number && !t.busted)
            }
            Control::Kill { scope: KillScope::Venue, .. }
            | Control::SetTier { .. }
            | Control::CloseDay
            | Control::SetDeclineLevels { .. }
            | Control::MarketWideHalt { .. }
            | Control::Void { .. }
            | Control::HaltOrderEntry { .. }
            | Control::SignedHead { .. }
            | Control::BeginGrace { .. } => true,
        }
    }

    fn is_out_of_range(&self, control: &Control) -> bool {
        let is_negative = |amount: Option<Amount>| amount.is_some_and(|amount| amount.0 < 0);
        let is_no_tier = |tier: u8| usize::from(tier) >= TIERS;
        match *control {
            Control::SetRules { rules, .. } => are_rules_out_of_range(&rules),
            Control::SetSchedule { slot, at_s, .. } => usize::from(slot) >= SCHEDULE_SLOTS || at_s >= 172_800,
            Control::SetPortRules { rules, .. } => rules.stp == Stp::Port,
            Control::SetExposure { gross_max, net_max, .. } => is_negative(gross_max) || is_negative(net_max),
            Control::SetCredit { credit_max, .. } => is_negative(credit_max),
            Control::SetFees { instrument, tier, fees } => {
                is_no_tier(tier) || !self.are_fees_in_range(instrument, tier, &fees)
            }
            Control::SetTier { tier, .. } => tier == 0 || is_no_tier(tier),
            Control::SetFirmTier { tier, .. } => is_no_tier(tier),
            Control::Bust { match_number, reason } => {
                !b"ECSX".contains(&reason) || self.could_owe_too_much(match_number)
            }
            Control::ChangeTick { instrument, price_tick, tick_value } => {
                let scaled = self.instrument(instrument).is_some_and(|i| i.scale == Scale::Scaled);
                tick_value == 0 || price_tick == 0 || scaled && price_tick != 1
            }
            Control::SetDeclineLevels { levels: [one, two, three] } => {
                !(one > two && two > three && three > 0)
            }
            Control::MarketWideHalt { level } => !(1..=3).contains(&level),
            _ => false,
        }
    }

    /// Whether all firms together could owe 2^126 or more of an asset once the trade is undone.
    fn could_owe_too_much(&self, match_number: MatchNumber) -> bool {
        let Some(traded) = self.trades.iter().find(|t| t.trade.match_number == match_number) else {
            return false;
        };
        let owed = |asset: AssetId| -> i128 {
            self.firms.iter().map(|f| -self.total(AccountId::receivable(f.id), asset)).sum()
        };
        let rebates = (-traded.buyer.fee).max(0) + (-traded.seller.fee).max(0);
        let base = owed(traded.base_asset).saturating_add(traded.base);
        let quote = owed(traded.quote_asset).saturating_add(traded.quote).saturating_add(rebates);
        base.max(quote) >= 1 << 126
    }

    fn are_fees_in_range(&self, instrument: InstrumentId, tier: u8, fees: &Fees) -> bool {
        let rates = [fees.maker_bps, fees.taker_bps];
        if rates.iter().any(|rate| !(-10_000..=10_000).contains(rate)) {
            return false;
        }
        let mut afterwards = self.fees.clone();
        afterwards.insert((instrument, tier), *fees);
        let of_instrument: Vec<Fees> = (0..TIERS as u8).map(|tier| afterwards[&(instrument, tier)]).collect();
        let pays = |maker: &Fees, taker: &Fees| i32::from(maker.maker_bps) + i32::from(taker.taker_bps) >= 0;
        of_instrument.iter().all(|maker| of_instrument.iter().all(|taker| pays(maker, taker)))
    }

    fn carry_out(&mut self, control: &Control, said: &mut Said) {
        match *control {
            Control::SetRules { instrument, rules } => {
                self.rules.insert(instrument, rules);
                self.books.set_rules(instrument, &rules, said);
            }
            Control::SetSchedule { instrument, slot, at_s, phase } => {
                self.books.set_schedule(instrument, slot, at_s, phase);
            }
            Control::SetPhase { instrument, phase, reason } => {
                self.books.set_phase(instrument, phase, reason, said);
            }
            Control::SetPortRules { port, rules } => {
                let state = self.port_mut(port).expect("the port was just found");
                state.rules = rules;
                state.bucket = Bucket::full(&rules);
                state.row = None;
            }
            Control::SetExposure { firm, asset, gross_max, net_max } => {
                let (gross_max, net_max) = (gross_max.map(|a| a.0), net_max.map(|a| a.0));
                self.exposures.insert((firm, asset), ExposureLimit { gross_max, net_max });
            }
            Control::SetCredit { account, asset, credit_max } => match credit_max {
                Some(max) => {
                    self.credits.insert((account, asset), max.0);
                }
                None => {
                    self.credits.remove(&(account, asset));
                }
            },
            Control::SetPosition { account, instrument, long_max, short_max } => {
                self.positions.insert((account, instrument), PositionLimit { long_max, short_max });
            }
            Control::Entitle { port, instrument, allowed: true } => {
                self.not_entitled.remove(&(port, instrument));
            }
            Control::Entitle { port, instrument, allowed: false } => {
                self.not_entitled.insert((port, instrument));
            }
            Control::Restrict { firm, instrument, restricted: true } => {
                self.restricted.insert((firm, instrument));
            }
            Control::Restrict { firm, instrument, restricted: false } => {
                self.restricted.remove(&(firm, instrument));
            }
            Control::Locate { id, firm, instrument, qty } => {
                self.locates.push(Located { id, firm, instrument, qty });
            }
            Control::Kill { scope, on: true } => {
                if self.killed.insert(scope) {
                    self.cancel_in_slices(vec![Wanted::Killed(scope)], said);
                }
            }
            Control::Kill { scope, on: false } => {
                self.killed.remove(&scope);
            }
            Control::SetFees { instrument, tier, fees } => {
                self.fees.insert((instrument, tier), fees);
            }
            Control::SetTier { tier, volume_min } => self.tier_volumes[usize::from(tier)] = volume_min,
            Control::SetFirmTier { firm, tier } => {
                self.tiers.insert(firm, tier);
                said.risk(EventBody::FirmTier { firm, tier });
            }
            Control::CloseDay => self.close_day(said),
            Control::Bust { match_number, .. } => {
                let trade = self.trades.iter().find(|t| t.trade.match_number == match_number);
                let trade = trade.expect("the trade was just found").trade;
                self.books.bust(trade.instrument, trade.price, trade.qty);
            }
            Control::Delist { instrument } => {
                self.delisted.insert(instrument);
                self.cancel_in_slices(vec![Wanted::Killed(KillScope::Instrument(instrument))], said);
                self.books.delist(instrument, said);
            }
            Control::ChangeTick { instrument, price_tick, tick_value } => {
                self.rules.insert(instrument, InstrumentRules::PLAIN);
                self.books.forget_prices(instrument);
                let definition = self.definition(instrument);
                definition.tick_value = tick_value;
                if let Scale::EquityExact { price_tick: tick } = &mut definition.scale {
                    *tick = price_tick;
                }
                let changed = *definition;
                said.risk(EventBody::InstrumentDefined(changed));
            }
            Control::ChangeSymbol { instrument, symbol } => {
                let definition = self.definition(instrument);
                definition.symbol = symbol;
                let changed = *definition;
                said.risk(EventBody::InstrumentDefined(changed));
            }
            Control::SetDeclineLevels { .. } | Control::Void { .. } | Control::SignedHead { .. } => {}
            Control::MarketWideHalt { level } => self.books.market_wide_halt(level, said),
            Control::HaltOrderEntry { on } => self.order_entry_is_halted = on,
            Control::BeginGrace { grace_ns } => {
                let end = Nanos(said.time().0.saturating_add(grace_ns));
                for state in &mut self.ports {
                    if state.logged_in && state.grace_end.is_none() {
                        state.grace_end = Some(end);
                    }
                }
            }
        }
    }

    fn definition(&mut self, instrument: InstrumentId) -> &mut Instrument {
        let definition = self.instruments.iter_mut().find(|i| i.id == instrument);
        definition.expect("the instrument was just found")
    }

    fn close_day(&mut self, said: &mut Said) {
        let day = self.day.expect("a day is open");
        self.day_is_open = false;
        said.risk(EventBody::DayClosed { date: day.date });
        for firm in self.firms.iter().map(|f| f.id) {
            let executed: u128 = self
                .trades
                .iter()
                .flat_map(|t| [(t.buyer.firm, t.trade.qty), (t.seller.firm, t.trade.qty)])
                .filter(|(of, _)| *of == firm)
                .map(|(_, qty)| u128::from(qty.0))
                .sum();
            let reached = |tier: &u8| {
                let min = self.tier_volumes[usize::from(*tier)];
                min > 0 && u128::from(min) <= executed
            };
            let tier = (1..TIERS as u8).filter(reached).max().unwrap_or(0);
            if self.tiers.insert(firm, tier).unwrap_or(0) != tier {
                said.risk(EventBody::FirmTier { firm, tier });
            }
        }
        self.cancel_in_slices(vec![Wanted::DayEnd], said);
        self.books.close_day(said);
    }
}

fn are_rules_out_of_range(rules: &InstrumentRules) -> bool {
    [rules.static_bps, rules.collar_bps, rules.band_bps].iter().any(|&bps| bps > 9_999)
        || rules.reference < Price(0)
        || rules.top_order_max.0 > i64::MAX as u64
        || rules.algorithm == Algorithm::Batch && rules.batch_ns < 1_000_000
}
