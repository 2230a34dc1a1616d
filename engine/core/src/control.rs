//! Operators' commands: each is checked, said, and carried out; the books' part is stage 2's.

use crate::{
    desk::{Desk, TOTAL_MAX, notional},
    directory::check,
    limits::{Credit, Exposure, Limits, Position},
    matching::{Request, Voice},
    office::Venue,
    sweep::{Sweep, Whose},
};
use alloc::vec;
use ironbell_types::{
    AccountId, AdminRefusal, Algorithm, Amount, AssetId, CancelReason, Control, EventBody, Fees, FirmId,
    InstrumentId, InstrumentRules, KillScope, MatchNumber, Nanos, Phase, PortId, Qty, SCHEDULE_SLOTS, Seq,
    Stp, TIERS,
};

/// The highest of a rule's basis points: what is at or above the whole is no range.
const RULE_BPS_MAX: u16 = 9_999;
const FEE_BPS_MAX: u16 = 10_000;
const BATCH_NS_MIN: u64 = 1_000_000;
/// The end of the second day, so that a session may pass midnight.
const SCHEDULE_S_END: u32 = 172_800;

type Checked = Result<(), AdminRefusal>;

impl Venue<'_> {
    pub(crate) fn control(&mut self, control: &Control, voice: &mut Voice<'_>) -> Option<Request> {
        if let Err(refusal) = self.check_control(control) {
            voice.say(EventBody::AdminRefused(refusal));
            return None;
        }
        voice.say(EventBody::Controlled(*control));
        self.carry_out(control, voice)
    }

    /// In each, the refusals in the order of their codes.
    fn check_control(&self, control: &Control) -> Checked {
        match *control {
            Control::SetRules { instrument, ref rules } => self.check_rules(instrument, rules),
            Control::SetSchedule { instrument, slot, at_s, .. } => {
                self.know_instrument(instrument)?;
                let fits = usize::from(slot) < SCHEDULE_SLOTS && at_s < SCHEDULE_S_END;
                check(fits, AdminRefusal::Range)
            }
            Control::SetPhase { instrument, phase, .. } => {
                if instrument != InstrumentId::NONE {
                    self.know_instrument(instrument)?;
                }
                check(self.desk().day_open || phase == Phase::Closed, AdminRefusal::Day)
            }
            Control::SetPortRules { port, ref rules } => {
                self.know_port(port)?;
                check(rules.stp != Stp::Port, AdminRefusal::Range)
            }
            Control::SetExposure { firm, asset, gross_max, net_max } => {
                self.know_firm(firm)?;
                self.know_asset(asset)?;
                let sound = |limit: Option<Amount>| limit.is_none_or(|limit| limit >= Amount::ZERO);
                check(sound(gross_max) && sound(net_max), AdminRefusal::Range)
            }
            Control::SetCredit { account, asset, credit_max } => {
                self.know_account(account)?;
                self.know_asset(asset)?;
                check(credit_max.is_none_or(|limit| limit >= Amount::ZERO), AdminRefusal::Range)
            }
            Control::SetPosition { account, instrument, .. } => {
                self.know_account(account)?;
                self.know_instrument(instrument)
            }
            Control::Entitle { port, instrument, .. } => {
                self.know_port(port)?;
                self.know_instrument(instrument)
            }
            Control::Restrict { firm, instrument, .. } => {
                if firm != FirmId(0) {
                    self.know_firm(firm)?;
                }
                self.know_instrument(instrument)
            }
            Control::Locate { id, firm, instrument, qty } => self.check_located(id, firm, instrument, qty),
            Control::Kill { scope, .. } => match scope {
                KillScope::Port(port) => self.know_port(port),
                KillScope::Firm(firm) => self.know_firm(firm),
                KillScope::Instrument(instrument) => self.know_instrument(instrument),
                KillScope::Venue => Ok(()),
            },
            Control::SetFees { instrument, tier, ref fees } => self.check_fees(instrument, tier, fees),
            Control::SetTier { tier, .. } => {
                check((1..TIERS).contains(&usize::from(tier)), AdminRefusal::Range)
            }
            Control::SetFirmTier { firm, tier } => {
                self.know_firm(firm)?;
                check(usize::from(tier) < TIERS, AdminRefusal::Range)
            }
            Control::CloseDay => check(self.desk().day_open, AdminRefusal::Day),
            Control::Bust { match_number, reason } => self.check_bust(match_number, reason),
            Control::Delist { instrument } => self.know_instrument(instrument),
            Control::ChangeTick { instrument, price_tick, tick_value } => {
                self.directory().check_tick(instrument, price_tick, tick_value)?;
                check(!self.desk().day_open, AdminRefusal::Day)?;
                check(self.is_idle(instrument), AdminRefusal::Busy)
            }
            Control::ChangeSymbol { instrument, symbol } => {
                check(!self.directory().is_taken(symbol), AdminRefusal::NameTaken)?;
                self.know_instrument(instrument)?;
                check(!self.desk().day_open, AdminRefusal::Day)
            }
            Control::SetDeclineLevels { levels: [first, second, third] } => {
                check(0 < third && third < second && second < first, AdminRefusal::Range)
            }
            Control::MarketWideHalt { level } => {
                check((1..=3).contains(&level), AdminRefusal::Range)?;
                check(self.desk().day_open, AdminRefusal::Day)
            }
            Control::Void { .. }
            | Control::HaltOrderEntry { .. }
            | Control::SignedHead { .. }
            | Control::BeginGrace { .. } => Ok(()),
        }
    }

    fn know_instrument(&self, id: InstrumentId) -> Checked {
        check(self.directory().listed(id).is_some(), AdminRefusal::Unknown)
    }

    fn know_port(&self, id: PortId) -> Checked {
        check(self.directory().port(id).is_some(), AdminRefusal::Unknown)
    }

    fn know_firm(&self, id: FirmId) -> Checked {
        check(self.directory().firm(id).is_some(), AdminRefusal::Unknown)
    }

    fn know_account(&self, id: AccountId) -> Checked {
        check(self.directory().accounts.contains_key(&id), AdminRefusal::Unknown)
    }

    fn know_asset(&self, id: AssetId) -> Checked {
        check(self.directory().assets.contains_key(&id), AdminRefusal::Unknown)
    }

    /// Whether no order is open on it.
    fn is_idle(&self, instrument: InstrumentId) -> bool {
        let orders = |desk: &Desk| desk.directory.instrument(instrument).map_or(0, |state| state.orders);
        self.parts.iter().all(|part| orders(&part.desk) == 0)
    }

    fn check_rules(&self, instrument: InstrumentId, rules: &InstrumentRules) -> Checked {
        let state = self.directory().listed(instrument).ok_or(AdminRefusal::Unknown)?;
        let bps_max = rules.static_bps.max(rules.collar_bps).max(rules.band_bps);
        let batch = rules.algorithm != Algorithm::Batch || rules.batch_ns >= BATCH_NS_MIN;
        let fits = rules.reference.0 >= 0 && i64::try_from(rules.top_order_max.0).is_ok();
        check(bps_max <= RULE_BPS_MAX && batch && fits, AdminRefusal::Range)?;
        let stays = rules.algorithm == state.rules.algorithm;
        check(stays || self.is_idle(instrument), AdminRefusal::Busy)
    }

    fn check_located(&self, id: u64, firm: FirmId, instrument: InstrumentId, qty: i64) -> Checked {
        self.know_firm(firm)?;
        self.know_instrument(instrument)?;
        check(!self.office.locates.contains(&id), AdminRefusal::Repeated)?;
        let shorts = &self.parts[self.homes.of_firm(firm)].desk.shorts;
        let shorts = shorts.get(&(firm, instrument)).copied().unwrap_or_default();
        let after = shorts.located.unwrap_or(0) + i128::from(qty);
        check(qty >= 0 || after >= shorts.used(), AdminRefusal::Funds)
    }

    /// No two firms may trade with each other at a loss of the venue.
    fn check_fees(&self, instrument: InstrumentId, tier: u8, fees: &Fees) -> Checked {
        let state = self.directory().listed(instrument).ok_or(AdminRefusal::Unknown)?;
        let bps_max = fees.maker_bps.unsigned_abs().max(fees.taker_bps.unsigned_abs());
        check(usize::from(tier) < TIERS && bps_max <= FEE_BPS_MAX, AdminRefusal::Range)?;
        let mut after = state.fees;
        after[usize::from(tier)] = *fees;
        let maker_bps = after.iter().map(|fees| i32::from(fees.maker_bps)).min();
        let taker_bps = after.iter().map(|fees| i32::from(fees.taker_bps)).min();
        check(
            maker_bps.zip(taker_bps).is_some_and(|(maker, taker)| maker + taker >= 0),
            AdminRefusal::Range,
        )?;
        check(self.is_idle(instrument), AdminRefusal::Busy)
    }

    fn check_bust(&self, match_number: MatchNumber, reason: u8) -> Checked {
        let legs = [true, false].map(|buys| self.leg(match_number, buys));
        let [Some(buyer), Some(seller)] = legs else { return Err(AdminRefusal::Unknown) };
        let instrument = self.desk().instrument(buyer.instrument);
        let base = i128::from(buyer.qty.0) * i128::from(instrument.lot_units);
        let quote = notional(buyer.tick_value, buyer.price.0.cast_unsigned(), buyer.qty.0);
        let rebates = buyer.fee.min(0).checked_add(seller.fee.min(0));
        let owes = quote.zip(rebates).and_then(|(quote, rebates)| quote.checked_sub(rebates));
        let sound = b"ECSX".contains(&reason)
            && self.may_owe(instrument.base, base)
            && owes.is_some_and(|owes| self.may_owe(instrument.quote, owes));
        check(sound, AdminRefusal::Range)
    }

    /// Whether firms may come to owe `more` of an asset than now. With the outside world's account, which
    /// funding keeps within the same bound, all that is below zero stays within 128 bits, and so does all that
    /// is above it.
    fn may_owe(&self, asset: AssetId, more: i128) -> bool {
        let owed = self.office.owed.get(&asset).copied().unwrap_or(0);
        owed.checked_add(more).is_some_and(|owed| owed < TOTAL_MAX)
    }

    /// What follows *Controlled*; what was checked exists.
    fn carry_out(&mut self, control: &Control, voice: &mut Voice<'_>) -> Option<Request> {
        let known = "a checked instrument";
        match *control {
            Control::SetRules { instrument, rules } => {
                self.each_desk(|desk| {
                    desk.directory.instrument_mut(instrument).expect(known).set_rules(rules);
                });
                return Some(Request::SetRules { instrument, rules });
            }
            Control::SetSchedule { instrument, slot, at_s, phase } => {
                return Some(Request::SetSchedule { instrument, slot, at_s, phase });
            }
            Control::SetPhase { instrument, phase, reason } => {
                return Some(Request::SetPhase { instrument, phase, reason });
            }
            Control::SetPortRules { port, rules } => self.each_desk(|desk| {
                desk.directory.port_mut(port).expect("a checked port").set_rules(rules);
            }),
            Control::SetExposure { firm, asset, gross_max, net_max } => {
                self.desk_of_firm(firm).set_exposure(firm, asset, gross_max, net_max);
            }
            Control::SetCredit { account, asset, credit_max } => {
                self.desk_of_account(account).set_credit(account, asset, credit_max);
            }
            Control::SetPosition { account, instrument, long_max, short_max } => {
                self.desk_of_account(account).set_position(account, instrument, long_max, short_max);
            }
            Control::Entitle { port, instrument, allowed } => {
                self.each_desk(|desk| desk.directory.entitle(port, instrument, allowed));
            }
            Control::Restrict { firm, instrument, restricted } => {
                self.each_desk(|desk| desk.directory.restrict(firm, instrument, restricted));
            }
            Control::Locate { id, firm, instrument, qty } => {
                self.office.locates.insert(id);
                let shorts = self.desk_of_firm(firm).shorts_of(firm, instrument);
                *shorts.located.get_or_insert(0) += i128::from(qty);
            }
            Control::Kill { scope, on: true } => {
                if self.kill(scope, voice.seq()) {
                    voice.say(EventBody::MassCancelAsked { cause: voice.seq(), slice: 0 });
                }
            }
            Control::Kill { scope, on: false } => self.each_desk(|desk| {
                *desk.kill_switch(scope).expect("a checked scope") = false;
            }),
            Control::SetFees { instrument, tier, fees } => self.each_desk(|desk| {
                let state = desk.directory.instrument_mut(instrument).expect(known);
                state.fees[usize::from(tier)] = fees;
            }),
            Control::SetTier { tier, volume_min } => self.office.volume_min[usize::from(tier)] = volume_min,
            Control::SetFirmTier { firm, tier } => {
                self.set_tier(firm, tier);
                voice.say(EventBody::FirmTier { firm, tier });
            }
            Control::CloseDay => {
                self.close_day(voice);
                return Some(Request::CloseDay);
            }
            Control::Bust { match_number, reason } => {
                let leg = self.leg(match_number, true).expect("a checked trade");
                let (instrument, price, qty) = (leg.instrument, leg.price, leg.qty);
                return Some(Request::Busted { instrument, price, qty, match_number, reason });
            }
            Control::Delist { instrument } => {
                self.each_desk(|desk| {
                    desk.directory.instrument_mut(instrument).expect(known).delisted = true;
                });
                self.ask(Sweep::of(voice.seq(), Whose::All, instrument), voice);
                return Some(Request::Delist { instrument });
            }
            Control::ChangeTick { instrument, price_tick, tick_value } => {
                self.each_desk(|desk| {
                    desk.directory.change_tick(instrument, price_tick, tick_value);
                });
                voice.say(EventBody::InstrumentDefined(*self.desk().instrument(instrument)));
                return Some(Request::ForgetPrices { instrument });
            }
            Control::ChangeSymbol { instrument, symbol } => {
                self.each_desk(|desk| {
                    desk.directory.change_symbol(instrument, symbol);
                });
                voice.say(EventBody::InstrumentDefined(*self.desk().instrument(instrument)));
            }
            Control::SetDeclineLevels { levels } => self.office.decline_levels = levels,
            Control::MarketWideHalt { level } => return Some(Request::MarketWideHalt { level }),
            Control::Void { .. } | Control::SignedHead { .. } => {}
            Control::HaltOrderEntry { on } => self.each_desk(|desk| desk.order_entry_halted = on),
            Control::BeginGrace { grace_ns } => {
                let end = Nanos(voice.time().0.saturating_add(grace_ns));
                self.each_desk(|desk| desk.begin_grace(end));
            }
        }
        None
    }

    fn set_tier(&mut self, firm: FirmId, tier: u8) {
        self.each_desk(|desk| desk.directory.firm_mut(firm).expect("a known firm").tier = tier);
    }

    /// Switches on a kill switch; whether slices must be asked for.
    pub(crate) fn kill(&mut self, scope: KillScope, cause: Seq) -> bool {
        let mut was = false;
        self.each_desk(|desk| {
            let switch = desk.kill_switch(scope).expect("a killed scope was checked");
            was = core::mem::replace(switch, true);
        });
        if was {
            return false;
        }
        let (whose, instrument) = match scope {
            KillScope::Port(port) => (Whose::Port(port), InstrumentId::NONE),
            KillScope::Firm(firm) => (Whose::Firm(firm), InstrumentId::NONE),
            KillScope::Instrument(instrument) => (Whose::All, instrument),
            KillScope::Venue => (Whose::All, InstrumentId::NONE),
        };
        self.sweep(Sweep::of(cause, whose, instrument))
    }

    fn close_day(&mut self, voice: &mut Voice<'_>) {
        let date = self.office.last_day.expect("a checked day").date;
        self.each_desk(|desk| desk.day_open = false);
        voice.say(EventBody::DayClosed { date });
        let mut volumes = vec![0u128; self.directory().firms.len()];
        for desk in self.parts.iter().map(|part| &part.desk) {
            for leg in desk.trades.iter() {
                let firm = desk.directory.port(leg.key.port()).expect("a trade's port is known").port.firm;
                volumes[firm.0 as usize - 1] += u128::from(leg.qty.0);
            }
        }
        for (place, volume) in volumes.into_iter().enumerate() {
            let reached = |min: &u64| *min > 0 && u128::from(*min) <= volume;
            // Tier 0, whose least volume is always 0, is never found, and is what is left.
            let tier = self.office.volume_min.iter().rposition(reached).unwrap_or(0) as u8;
            let state = &self.directory().firms[place];
            let firm = state.firm.id;
            if state.tier != tier {
                self.set_tier(firm, tier);
                voice.say(EventBody::FirmTier { firm, tier });
            }
        }
        let all = Sweep::of(voice.seq(), Whose::All, InstrumentId::NONE);
        self.ask(Sweep { day_only: true, reason: CancelReason::Closed, ..all }, voice);
    }
}

impl Desk {
    /// A row is counted when it is made, and dropped when it limits nothing any more.
    fn set_exposure(
        &mut self,
        firm: FirmId,
        asset: AssetId,
        gross_max: Option<Amount>,
        net_max: Option<Amount>,
    ) {
        let key = (firm, asset);
        if (gross_max, net_max) == (None, None) {
            self.limits.exposures.remove(&key);
        } else {
            if !self.limits.exposures.contains_key(&key) {
                let mut alone = Limits::default();
                alone.exposures.insert(key, Exposure::default());
                self.limits.exposures.append(&mut self.counted(alone).exposures);
            }
            let row = self.limits.exposures.get_mut(&key).expect("made above");
            let amount = |limit: Option<Amount>| limit.map(|limit| limit.0);
            (row.gross_max, row.net_max) = (amount(gross_max), amount(net_max));
        }
        self.note_limited();
    }

    fn set_credit(&mut self, account: AccountId, asset: AssetId, credit_max: Option<Amount>) {
        let key = (account, asset);
        if let Some(credit_max) = credit_max {
            if !self.limits.credits.contains_key(&key) {
                let mut alone = Limits::default();
                alone.credits.insert(key, Credit::default());
                self.limits.credits.append(&mut self.counted(alone).credits);
            }
            self.limits.credits.get_mut(&key).expect("made above").credit_max = Some(credit_max.0);
        } else {
            self.limits.credits.remove(&key);
        }
        self.note_limited();
    }

    fn set_position(
        &mut self,
        account: AccountId,
        instrument: InstrumentId,
        long_max: Option<Qty>,
        short_max: Option<Qty>,
    ) {
        let key = (account, instrument);
        if (long_max, short_max) == (None, None) {
            self.limits.positions.remove(&key);
        } else {
            if !self.limits.positions.contains_key(&key) {
                let mut alone = Limits::default();
                alone.positions.insert(key, Position::default());
                self.limits.positions.append(&mut self.counted(alone).positions);
            }
            let row = self.limits.positions.get_mut(&key).expect("made above");
            let qty = |limit: Option<Qty>| limit.map(|limit| limit.0);
            (row.long_max, row.short_max) = (qty(long_max), qty(short_max));
        }
        self.note_limited();
    }

    /// The switch of what can be killed, when there is such.
    pub(crate) fn kill_switch(&mut self, scope: KillScope) -> Option<&mut bool> {
        match scope {
            KillScope::Port(port) => self.directory.port_mut(port).map(|state| &mut state.killed),
            KillScope::Firm(firm) => self.directory.firm_mut(firm).map(|state| &mut state.killed),
            KillScope::Instrument(id) => self.directory.instrument_mut(id).map(|state| &mut state.killed),
            KillScope::Venue => Some(&mut self.venue_killed),
        }
    }
}
