//! What operators do in a flow: most often something that has an effect, and that is taken back soon.

use ironbell_types::{
    AccountId, Algorithm, Amount, AssetId, Command, Control, Fees, FirmId, InstrumentId, InstrumentRules,
    KillScope, MatchNumber, Phase, PortLimits, PortRules, Price, Qty, SCHEDULE_SLOTS, Stp, Symbol, TIERS,
};

use super::Flow;
use super::theme::Knob;

/// Every phase, those where something trades more often.
const PHASES: [Phase; 11] = [
    Phase::Closed,
    Phase::PreOpen,
    Phase::OpeningAuction,
    Phase::Continuous,
    Phase::Continuous,
    Phase::Continuous,
    Phase::Continuous,
    Phase::Volatility,
    Phase::Halted,
    Phase::Paused,
    Phase::ClosingAuction,
];

impl Flow {
    /// A command of an operator.
    pub(super) fn control(&mut self) -> Command {
        let knob =
            if self.rng.one_in(10) { self.rng.pick(Knob::ALL) } else { self.rng.pick(self.bias.knobs) };
        Command::Control(self.turn(knob))
    }

    /// Takes something back that an operator did.
    pub(super) fn take_back(&mut self) -> Option<Command> {
        let control = self.to_take_back.pop_front()?;
        Some(Command::Control(control))
    }

    pub(super) fn turn(&mut self, knob: Knob) -> Control {
        let instrument = self.known_instrument();
        let (port, _) = self.channel();
        let (firm, account, asset) = (self.known_firm(), self.known_account(), self.known_asset());
        let limited = !self.rng.one_in(3);
        match knob {
            Knob::Rules => Control::SetRules { instrument, rules: self.rules() },
            Knob::Schedule => self.schedule(instrument),
            Knob::Phase => self.phase(instrument),
            Knob::PortRules => Control::SetPortRules { port, rules: self.port_rules() },
            Knob::Exposure => {
                let gross_max = self.rng.one_in(2).then(|| self.worth(40));
                let net_max = (limited && self.rng.one_in(2)).then(|| self.worth(20));
                let control = Control::SetExposure { firm, asset, gross_max, net_max };
                let free = Control::SetExposure { firm, asset, gross_max: None, net_max: None };
                self.later(control, free)
            }
            Knob::Credit => {
                let credit_max = limited.then(|| self.worth(40));
                let control = Control::SetCredit { account, asset, credit_max };
                self.later(control, Control::SetCredit { account, asset, credit_max: None })
            }
            Knob::Position => {
                let most = self.shape.qty_max * 20;
                let long_max = self.rng.one_in(2).then(|| Qty(self.rng.below(most)));
                let short_max = limited.then(|| Qty(self.rng.below(most)));
                let control = Control::SetPosition { account, instrument, long_max, short_max };
                let free = Control::SetPosition { account, instrument, long_max: None, short_max: None };
                self.later(control, free)
            }
            Knob::Entitle => {
                let allowed = Control::Entitle { port, instrument, allowed: true };
                self.later(Control::Entitle { port, instrument, allowed: !limited }, allowed)
            }
            Knob::Restrict => {
                let firm = if self.rng.one_in(3) { FirmId(0) } else { firm };
                let free = Control::Restrict { firm, instrument, restricted: false };
                self.later(Control::Restrict { firm, instrument, restricted: limited }, free)
            }
            Knob::Locate => {
                self.locate_id += self.rng.between(0, 2);
                let most = self.rng.pick(&[self.shape.qty_max, self.shape.qty_max * 20]) as i64;
                let qty = self.rng.below(most as u64 + 1) as i64;
                let qty = if self.rng.one_in(4) { -qty } else { qty };
                Control::Locate { id: self.locate_id, firm, instrument, qty }
            }
            Knob::Kill => {
                let scope = self.rng.pick(&[
                    KillScope::Port(port),
                    KillScope::Port(port),
                    KillScope::Firm(firm),
                    KillScope::Instrument(instrument),
                    KillScope::Venue,
                ]);
                self.later(Control::Kill { scope, on: true }, Control::Kill { scope, on: false })
            }
            Knob::Fees => self.fees(instrument),
            Knob::Tier => Control::SetTier {
                tier: self.rng.below(TIERS as u64 + 1) as u8,
                volume_min: self.rng.below(self.shape.qty_max * 200),
            },
            Knob::FirmTier => {
                Control::SetFirmTier { firm, tier: self.rng.below(TIERS as u64 + u64::from(limited)) as u8 }
            }
            Knob::CloseDay => Control::CloseDay,
            Knob::Bust => self.bust(),
            Knob::Delist if self.rng.one_in(3) => Control::Delist { instrument },
            Knob::Delist | Knob::ChangeTick => Control::ChangeTick {
                instrument,
                price_tick: self.rng.pick(&[0, 1, 1, 1, 5, 100]),
                tick_value: self.rng.pick(&[0, 1, 1, 3, 100]),
            },
            Knob::ChangeSymbol => {
                let text = format!("N{}", self.rng.below(40));
                Control::ChangeSymbol { instrument, symbol: Symbol::new(&text).expect("a short symbol") }
            }
            Knob::DeclineLevels => Control::SetDeclineLevels {
                levels: self.rng.pick(&[[93, 87, 80], [3, 2, 1], [2, 1, 0], [6, 5, 5], [1, 2, 3]]),
            },
            Knob::MarketWideHalt => Control::MarketWideHalt { level: self.rng.below(5) as u8 },
            Knob::HaltOrderEntry => {
                self.later(Control::HaltOrderEntry { on: true }, Control::HaltOrderEntry { on: false })
            }
            Knob::BeginGrace => Control::BeginGrace {
                grace_ns: self.rng.pick(&[0, 1, 100_000_000, 1_000_000_000, 1_000_000_000, u64::MAX]),
            },
            Knob::SignedHead => {
                let [size, epoch] = [self.rng.below(1_000), self.rng.below(3)];
                Control::SignedHead { size, root: [self.rng.below(256) as u8; 32], epoch }
            }
        }
    }

    /// `control` now, `back` at some time.
    fn later(&mut self, control: Control, back: Control) -> Control {
        if control != back {
            self.to_take_back.push_back(back);
        }
        control
    }

    fn known_firm(&mut self) -> FirmId {
        let known = self.firms.len() as u64;
        FirmId(if known == 0 || self.rng.one_in(40) {
            self.rng.pick(&[0, 99])
        } else {
            self.rng.between(1, known) as u32
        })
    }

    fn known_account(&mut self) -> AccountId {
        let known: Vec<AccountId> = self.accounts.iter().map(|a| a.id).collect();
        if known.is_empty() || self.rng.one_in(40) {
            return self.rng.pick(&[AccountId::WORLD, AccountId::fees(InstrumentId(1)), AccountId(4_242)]);
        }
        self.rng.pick(&known)
    }

    fn known_asset(&mut self) -> AssetId {
        // A quote asset, most often: limits of money concern these.
        let quotes: Vec<AssetId> = self.instruments.iter().map(|i| i.quote).collect();
        if quotes.is_empty() || self.rng.one_in(40) {
            return AssetId(4_242);
        }
        self.rng.pick(&quotes)
    }

    /// An amount of `orders` usual orders.
    fn worth(&mut self, orders: u64) -> Amount {
        if self.rng.one_in(30) {
            return Amount(self.rng.pick(&[-1, 0, i128::MAX]));
        }
        let tick_value = self.instruments.first().map_or(1, |i| i.tick_value);
        let price = self.shape.price_min + self.shape.price_width;
        let most = i128::from(price) * i128::from(self.shape.qty_max) * i128::from(tick_value);
        Amount(most * i128::from(self.rng.below(orders + 1)) / 2)
    }

    /// How an instrument trades, around the prices of now.
    fn rules(&mut self) -> InstrumentRules {
        let bias = self.bias;
        let width = self.shape.price_width;
        let middle = self.shape.price_min + width / 2;
        let reference = self.rng.pick(&[middle, middle, self.shape.price_min, middle + width / 4]);
        // Basis points of the reference that make so many ticks.
        let bps = |ticks: u64| (ticks.saturating_mul(10_000) / reference.max(1)).clamp(1, 9_999) as u16;
        let algorithm =
            if bias.algorithms.is_empty() { Algorithm::PriceTime } else { self.rng.pick(bias.algorithms) };
        let mut rules = InstrumentRules {
            algorithm,
            top_order_max: Qty(self.rng.pick(&[0, 0, 1, self.shape.qty_max])),
            batch_ns: self.rng.pick(&[1_000_000, 10_000_000, 1_000_000_000]),
            reference: Price(reference as i64),
            limit_state_ns: self.rng.pick(&[0, 1_000_000, 1_000_000_000, 15_000_000_000, 15_000_000_000]),
            volatility_ns: self.rng.pick(&[0, 1_000_000, 3_000_000_000, 60_000_000_000]),
            short_restricted: self.rng.one_in(8),
            ..InstrumentRules::PLAIN
        };
        if self.chance(bias.static_range) {
            rules.static_bps =
                self.rng.pick(&[9_999, 9_999, 9_999, bps(width * 2), bps(width), bps(width / 2)]);
        }
        if self.chance(bias.collar) {
            rules.collar_bps = self.rng.pick(&[bps(1), bps(width / 4), bps(width / 2), bps(width)]);
        }
        if self.chance(bias.band) {
            rules.band_bps = self.rng.pick(&[bps(1), bps(width / 4), bps(width / 3), bps(width)]);
        }
        match self.rng.below(60) {
            0 => rules.static_bps = 10_000,
            1 => rules.band_bps = u16::MAX,
            2 => rules.collar_bps = 10_000,
            3 => rules.reference = Price(-1),
            4 => rules.top_order_max = Qty(u64::MAX),
            5 => rules.batch_ns = 999_999,
            6 => rules.reference = Price(0),
            _ => {}
        }
        rules
    }

    /// An entry of a schedule around the time of now.
    fn schedule(&mut self, instrument: InstrumentId) -> Control {
        let now = super::SECONDS_AT_START as u32;
        let at_s = if self.rng.one_in(40) {
            self.rng.pick(&[172_799, 172_800, u32::MAX, 0])
        } else {
            now - 10 + self.rng.below(60) as u32
        };
        let phase = if self.rng.one_in(6) { None } else { Some(self.rng.pick(&PHASES)) };
        Control::SetSchedule {
            instrument,
            slot: self.rng.below(SCHEDULE_SLOTS as u64 + 1) as u8,
            at_s,
            phase,
        }
    }

    /// A phase that may follow the one that is.
    fn phase(&mut self, instrument: InstrumentId) -> Control {
        let instrument = if self.rng.one_in(6) { InstrumentId::NONE } else { instrument };
        let present = self.phases.get(&instrument).copied();
        let phase = match present {
            // Something that trades must come, else nothing ever does.
            _ if self.rng.one_in(4) => self.rng.pick(&PHASES),
            Some(Phase::Closed) => self.rng.pick(&[Phase::PreOpen, Phase::OpeningAuction, Phase::PreOpen]),
            Some(Phase::PreOpen) => self.rng.pick(&[Phase::OpeningAuction, Phase::Continuous]),
            Some(Phase::ClosingAuction) => self.rng.pick(&[Phase::Closed, Phase::Closed, Phase::Continuous]),
            None | Some(Phase::Continuous) => self.rng.pick(&[
                Phase::Closed,
                Phase::Closed,
                Phase::PreOpen,
                Phase::Halted,
                Phase::Paused,
                Phase::Volatility,
                Phase::ClosingAuction,
                Phase::ClosingAuction,
            ]),
            Some(_) => Phase::Continuous,
        };
        Control::SetPhase { instrument, phase, reason: *b"T1  " }
    }

    fn port_rules(&mut self) -> PortRules {
        let ample = PortLimits { qty_max: Qty(u64::MAX), notional_max: Amount(i128::MAX) };
        let mut rules = PortRules::plain(ample);
        rules.stp = self.rng.pick(&[
            Stp::Off,
            Stp::Off,
            Stp::CancelNewest,
            Stp::CancelOldest,
            Stp::CancelBoth,
            Stp::Decrement,
        ]);
        rules.slides = self.rng.one_in(2);
        rules.cancels_on_disconnect = self.rng.one_in(3);
        if self.rng.one_in(8) {
            rules.limits.qty_max = Qty(self.rng.between(1, self.shape.qty_max * 2));
        }
        if self.rng.one_in(8) {
            rules.limits.notional_max = self.worth(4);
        }
        if self.rng.one_in(4) {
            rules.rate_per_second = self.rng.pick(&[7, 10_000, 10_000, 1_000_000, u32::MAX]);
            rules.rate_burst = self.rng.pick(&[0, 1, 3, 20]);
        }
        if self.rng.one_in(3) {
            rules.duplicates_max = self.rng.pick(&[1, 2, 3]);
            rules.duplicate_ns = self.rng.pick(&[0, 1, 41, 1_000_000_000, u64::MAX]);
        }
        if self.rng.one_in(20) {
            rules.stp = Stp::Port;
        }
        rules
    }

    fn fees(&mut self, instrument: InstrumentId) -> Control {
        let tiers = if self.rng.one_in(10) { TIERS + 1 } else { TIERS };
        let tier = self.rng.below(tiers as u64) as u8;
        // Rebates that leave the venue nothing: what a bust gives back is soon missing.
        if self.shape.rebates_all && self.rng.below(8) > 0 {
            let fees = Fees { maker_bps: -60, taker_bps: 60, minimum: self.rng.pick(&[0, 0, 30]) };
            return Control::SetFees { instrument, tier: self.rng.below(TIERS as u64) as u8, fees };
        }
        let (maker_bps, taker_bps) = self.rng.pick(&[
            (-20, 50),
            (-5, 30),
            (-20, 30),
            (0, 20),
            (10, 20),
            (25, 25),
            (50, 0),
            (-60, 50),
            (0, 10_000),
            (10_001, 0),
        ]);
        // Rates go together only when no maker's rebate is above any taker's fee.
        let fees = Fees { maker_bps, taker_bps, minimum: self.rng.pick(&[0, 0, 1, 30, 5_000]) };
        Control::SetFees { instrument, tier, fees }
    }

    fn bust(&mut self) -> Control {
        let strays = [MatchNumber(0), MatchNumber(u64::MAX)];
        let recent: Vec<MatchNumber> = self.legs.iter().map(|leg| leg.match_number).collect();
        let match_number = if recent.is_empty() || self.rng.one_in(20) {
            self.rng.pick(&strays)
        } else {
            self.rng.pick(&recent)
        };
        let reason = self.rng.pick(b"ECSXECSXECSXEECSXZ");
        Control::Bust { match_number, reason }
    }
}
