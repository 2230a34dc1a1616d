//! Operators' commands as record bodies: one kind of record for each.

use ironbell_types::{
    AccountId, Algorithm, Amount, AssetId, Control, Fees, FirmId, InstrumentId, InstrumentRules, KillScope,
    MatchNumber, Phase, PortId, PortLimits, PortRules, Price, Qty, Seq, Symbol, VoidReason,
};
use zerocopy::little_endian::{I16, I64, I128, U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{DecodeFault, Kind, put, stp, take, zero};

pub(super) fn kind(control: &Control) -> Kind {
    match control {
        Control::SetRules { .. } => Kind::SetRules,
        Control::SetSchedule { .. } => Kind::SetSchedule,
        Control::SetPhase { .. } => Kind::SetPhase,
        Control::SetPortRules { .. } => Kind::SetPortRules,
        Control::SetExposure { .. } => Kind::SetExposure,
        Control::SetCredit { .. } => Kind::SetCredit,
        Control::SetPosition { .. } => Kind::SetPosition,
        Control::Entitle { .. } => Kind::Entitle,
        Control::Restrict { .. } => Kind::Restrict,
        Control::Locate { .. } => Kind::Locate,
        Control::Kill { .. } => Kind::Kill,
        Control::SetFees { .. } => Kind::SetFees,
        Control::SetTier { .. } => Kind::SetTier,
        Control::SetFirmTier { .. } => Kind::SetFirmTier,
        Control::CloseDay => Kind::CloseDay,
        Control::Bust { .. } => Kind::Bust,
        Control::Delist { .. } => Kind::Delist,
        Control::ChangeTick { .. } => Kind::ChangeTick,
        Control::ChangeSymbol { .. } => Kind::ChangeSymbol,
        Control::SetDeclineLevels { .. } => Kind::SetDeclineLevels,
        Control::MarketWideHalt { .. } => Kind::MarketWideHalt,
        Control::Void { .. } => Kind::Void,
        Control::HaltOrderEntry { .. } => Kind::HaltOrderEntry,
        Control::SignedHead { .. } => Kind::SignedHead,
        Control::BeginGrace { .. } => Kind::BeginGrace,
    }
}

/// Writes the body of the record; `into` has its length.
pub(super) fn encode(control: &Control, into: &mut [u8]) {
    match *control {
        Control::SetRules { instrument, rules } => put(into, &RulesBody::new(instrument, &rules)),
        Control::SetSchedule { instrument, slot, at_s, phase } => {
            let phase = phase.map_or(0, |phase| phase.code() + 1);
            put(
                into,
                &ScheduleBody {
                    instrument: instrument.0.into(),
                    at_s: at_s.into(),
                    slot,
                    phase,
                    zero: [0; 6],
                },
            );
        }
        Control::SetPhase { instrument, phase, reason } => {
            put(
                into,
                &PhaseBody { instrument: instrument.0.into(), reason, phase: phase.code(), zero: [0; 7] },
            );
        }
        Control::SetPortRules { port, rules } => put(into, &PortRulesBody::new(port, &rules)),
        Control::SetExposure { firm, asset, gross_max, net_max } => {
            let body = ExposureBody {
                firm: firm.0.into(),
                asset: asset.0.into(),
                gross_max: gross_max.unwrap_or_default().0.into(),
                net_max: net_max.unwrap_or_default().0.into(),
                has_gross: gross_max.is_some().into(),
                has_net: net_max.is_some().into(),
                zero: [0; 6],
            };
            put(into, &body);
        }
        Control::SetCredit { account, asset, credit_max } => {
            let body = CreditBody {
                account: account.0.into(),
                asset: asset.0.into(),
                credit_max: credit_max.unwrap_or_default().0.into(),
                has_credit: credit_max.is_some().into(),
                zero: [0; 7],
            };
            put(into, &body);
        }
        Control::SetPosition { account, instrument, long_max, short_max } => {
            let body = PositionBody {
                account: account.0.into(),
                instrument: instrument.0.into(),
                long_max: long_max.unwrap_or_default().0.into(),
                short_max: short_max.unwrap_or_default().0.into(),
                has_long: long_max.is_some().into(),
                has_short: short_max.is_some().into(),
                zero: [0; 6],
            };
            put(into, &body);
        }
        Control::Entitle { port, instrument, allowed } => {
            put(into, &SwitchBody::new(port.0, instrument, allowed));
        }
        Control::Restrict { firm, instrument, restricted } => {
            put(into, &SwitchBody::new(firm.0, instrument, restricted));
        }
        Control::Locate { id, firm, instrument, qty } => {
            let (firm, instrument) = (firm.0.into(), instrument.0.into());
            put(into, &LocateBody { id: id.into(), qty: qty.into(), firm, instrument });
        }
        Control::Kill { scope, on } => {
            let (scope, id) = match scope {
                KillScope::Port(port) => (SCOPE_PORT, port.0),
                KillScope::Firm(firm) => (SCOPE_FIRM, firm.0),
                KillScope::Instrument(instrument) => (SCOPE_INSTRUMENT, instrument.0),
                KillScope::Venue => (SCOPE_VENUE, 0),
            };
            put(into, &KillBody { id: id.into(), scope, on: on.into(), zero: [0; 2] });
        }
        Control::SetFees { instrument, tier, fees } => {
            let body = FeesBody {
                minimum: fees.minimum.into(),
                instrument: instrument.0.into(),
                maker_bps: fees.maker_bps.into(),
                taker_bps: fees.taker_bps.into(),
                tier,
                zero: [0; 7],
            };
            put(into, &body);
        }
        Control::SetTier { tier, volume_min } => {
            put(into, &TierBody { volume_min: volume_min.into(), tier, zero: [0; 7] });
        }
        Control::SetFirmTier { firm, tier } => {
            put(into, &FirmTierBody { firm: firm.0.into(), tier, zero: [0; 3] });
        }
        Control::CloseDay => {}
        Control::Bust { match_number, reason } => {
            put(into, &BustBody { match_number: match_number.0.into(), reason, zero: [0; 7] });
        }
        Control::Delist { instrument } => {
            put(into, &DelistBody { instrument: instrument.0.into(), zero: U32::ZERO });
        }
        Control::ChangeTick { instrument, price_tick, tick_value } => {
            let body = TickBody {
                tick_value: tick_value.into(),
                instrument: instrument.0.into(),
                price_tick: price_tick.into(),
            };
            put(into, &body);
        }
        Control::ChangeSymbol { instrument, symbol } => {
            put(into, &SymbolBody { symbol: symbol.0, instrument: instrument.0.into(), zero: U32::ZERO });
        }
        Control::SetDeclineLevels { levels } => put(into, &LevelsBody { levels: levels.map(U64::new) }),
        Control::MarketWideHalt { level } => put(into, &HaltBody { level, zero: [0; 7] }),
        Control::Void { seq, reason } => put(into, &VoidBody { seq: seq.0.into(), reason: reason.0 }),
        Control::HaltOrderEntry { on } => put(into, &OnBody { on: on.into(), zero: [0; 7] }),
        Control::SignedHead { size, root, epoch } => {
            put(into, &HeadBody { size: size.into(), epoch: epoch.into(), root });
        }
        Control::BeginGrace { grace_ns } => put(into, &GraceBody { grace_ns: grace_ns.into() }),
    }
}

/// Reads the body of a record of the `kind`.
///
/// # Panics
/// When the kind is not an operator's command.
pub(super) fn decode(kind: Kind, body: &[u8]) -> Result<Control, DecodeFault> {
    Ok(match kind {
        Kind::SetRules => {
            let body = take::<RulesBody>(body)?;
            Control::SetRules { instrument: InstrumentId(body.instrument.get()), rules: body.value()? }
        }
        Kind::SetSchedule => {
            let body = take::<ScheduleBody>(body)?;
            zero(body.zero == [0; 6])?;
            Control::SetSchedule {
                instrument: InstrumentId(body.instrument.get()),
                slot: body.slot,
                at_s: body.at_s.get(),
                phase: body.phase.checked_sub(1).map(phase).transpose()?,
            }
        }
        Kind::SetPhase => {
            let body = take::<PhaseBody>(body)?;
            zero(body.zero == [0; 7])?;
            let (instrument, phase) = (InstrumentId(body.instrument.get()), phase(body.phase)?);
            Control::SetPhase { instrument, phase, reason: body.reason }
        }
        Kind::SetPortRules => {
            let body = take::<PortRulesBody>(body)?;
            Control::SetPortRules { port: PortId(body.port.get()), rules: body.value()? }
        }
        Kind::SetExposure => {
            let body = take::<ExposureBody>(body)?;
            zero(body.zero == [0; 6])?;
            Control::SetExposure {
                firm: FirmId(body.firm.get()),
                asset: AssetId(body.asset.get()),
                gross_max: amount(body.has_gross, body.gross_max)?,
                net_max: amount(body.has_net, body.net_max)?,
            }
        }
        Kind::SetCredit => {
            let body = take::<CreditBody>(body)?;
            zero(body.zero == [0; 7])?;
            Control::SetCredit {
                account: AccountId(body.account.get()),
                asset: AssetId(body.asset.get()),
                credit_max: amount(body.has_credit, body.credit_max)?,
            }
        }
        Kind::SetPosition => {
            let body = take::<PositionBody>(body)?;
            zero(body.zero == [0; 6])?;
            Control::SetPosition {
                account: AccountId(body.account.get()),
                instrument: InstrumentId(body.instrument.get()),
                long_max: qty(body.has_long, body.long_max)?,
                short_max: qty(body.has_short, body.short_max)?,
            }
        }
        Kind::Entitle => {
            let (port, instrument, allowed) = take::<SwitchBody>(body)?.value()?;
            Control::Entitle { port: PortId(port), instrument, allowed }
        }
        Kind::Restrict => {
            let (firm, instrument, restricted) = take::<SwitchBody>(body)?.value()?;
            Control::Restrict { firm: FirmId(firm), instrument, restricted }
        }
        Kind::Locate => {
            let LocateBody { id, qty, firm, instrument } = take::<LocateBody>(body)?;
            let (firm, instrument) = (FirmId(firm.get()), InstrumentId(instrument.get()));
            Control::Locate { id: id.get(), firm, instrument, qty: qty.get() }
        }
        Kind::Kill => take::<KillBody>(body)?.value()?,
        Kind::SetFees => {
            let body = take::<FeesBody>(body)?;
            zero(body.zero == [0; 7])?;
            let fees = Fees {
                maker_bps: body.maker_bps.get(),
                taker_bps: body.taker_bps.get(),
                minimum: body.minimum.get(),
            };
            Control::SetFees { instrument: InstrumentId(body.instrument.get()), tier: body.tier, fees }
        }
        Kind::SetTier => {
            let body = take::<TierBody>(body)?;
            zero(body.zero == [0; 7])?;
            Control::SetTier { tier: body.tier, volume_min: body.volume_min.get() }
        }
        Kind::SetFirmTier => {
            let body = take::<FirmTierBody>(body)?;
            zero(body.zero == [0; 3])?;
            Control::SetFirmTier { firm: FirmId(body.firm.get()), tier: body.tier }
        }
        Kind::CloseDay => Control::CloseDay,
        Kind::Bust => {
            let body = take::<BustBody>(body)?;
            zero(body.zero == [0; 7])?;
            Control::Bust { match_number: MatchNumber(body.match_number.get()), reason: body.reason }
        }
        Kind::Delist => {
            let body = take::<DelistBody>(body)?;
            zero(body.zero == U32::ZERO)?;
            Control::Delist { instrument: InstrumentId(body.instrument.get()) }
        }
        Kind::ChangeTick => {
            let TickBody { tick_value, instrument, price_tick } = take::<TickBody>(body)?;
            Control::ChangeTick {
                instrument: InstrumentId(instrument.get()),
                price_tick: price_tick.get(),
                tick_value: tick_value.get(),
            }
        }
        Kind::ChangeSymbol => {
            let body = take::<SymbolBody>(body)?;
            zero(body.zero == U32::ZERO)?;
            let instrument = InstrumentId(body.instrument.get());
            Control::ChangeSymbol { instrument, symbol: Symbol(body.symbol) }
        }
        Kind::SetDeclineLevels => {
            Control::SetDeclineLevels { levels: take::<LevelsBody>(body)?.levels.map(U64::get) }
        }
        Kind::MarketWideHalt => {
            let body = take::<HaltBody>(body)?;
            zero(body.zero == [0; 7])?;
            Control::MarketWideHalt { level: body.level }
        }
        Kind::Void => {
            let body = take::<VoidBody>(body)?;
            Control::Void { seq: Seq(body.seq.get()), reason: VoidReason(body.reason) }
        }
        Kind::HaltOrderEntry => {
            let body = take::<OnBody>(body)?;
            zero(body.zero == [0; 7])?;
            Control::HaltOrderEntry { on: flag("halt", body.on)? }
        }
        Kind::SignedHead => {
            let HeadBody { size, epoch, root } = take::<HeadBody>(body)?;
            Control::SignedHead { size: size.get(), root: *root, epoch: epoch.get() }
        }
        Kind::BeginGrace => Control::BeginGrace { grace_ns: take::<GraceBody>(body)?.grace_ns.get() },
        other => unreachable!("record kind {} is not an operator's command", other as u8),
    })
}

fn flag(field: &'static str, stored: u8) -> Result<bool, DecodeFault> {
    match stored {
        0 => Ok(false),
        1 => Ok(true),
        code => Err(DecodeFault::Code { field, code: code.into() }),
    }
}

fn phase(stored: u8) -> Result<Phase, DecodeFault> {
    Phase::from_code(stored).ok_or(DecodeFault::Code { field: "phase", code: stored.into() })
}

fn amount(has: u8, stored: I128) -> Result<Option<Amount>, DecodeFault> {
    let has = flag("limit", has)?;
    zero(has || stored == I128::ZERO)?;
    Ok(has.then_some(Amount(stored.get())))
}

fn qty(has: u8, stored: U64) -> Result<Option<Qty>, DecodeFault> {
    let has = flag("limit", has)?;
    zero(has || stored == U64::ZERO)?;
    Ok(has.then_some(Qty(stored.get())))
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct RulesBody {
    top_order_max: U64,
    batch_ns: U64,
    reference: I64,
    limit_state_ns: U64,
    volatility_ns: U64,
    instrument: U32,
    static_bps: U16,
    collar_bps: U16,
    band_bps: U16,
    algorithm: u8,
    short_restricted: u8,
    zero: [u8; 4],
}
const _: () = assert!(size_of::<RulesBody>() == 56);

impl RulesBody {
    fn new(instrument: InstrumentId, rules: &InstrumentRules) -> Self {
        Self {
            top_order_max: rules.top_order_max.0.into(),
            batch_ns: rules.batch_ns.into(),
            reference: rules.reference.0.into(),
            limit_state_ns: rules.limit_state_ns.into(),
            volatility_ns: rules.volatility_ns.into(),
            instrument: instrument.0.into(),
            static_bps: rules.static_bps.into(),
            collar_bps: rules.collar_bps.into(),
            band_bps: rules.band_bps.into(),
            algorithm: rules.algorithm.code(),
            short_restricted: rules.short_restricted.into(),
            zero: [0; 4],
        }
    }

    fn value(&self) -> Result<InstrumentRules, DecodeFault> {
        zero(self.zero == [0; 4])?;
        let code = self.algorithm;
        Ok(InstrumentRules {
            algorithm: Algorithm::from_code(code)
                .ok_or(DecodeFault::Code { field: "algorithm", code: code.into() })?,
            top_order_max: Qty(self.top_order_max.get()),
            batch_ns: self.batch_ns.get(),
            reference: Price(self.reference.get()),
            static_bps: self.static_bps.get(),
            collar_bps: self.collar_bps.get(),
            band_bps: self.band_bps.get(),
            limit_state_ns: self.limit_state_ns.get(),
            volatility_ns: self.volatility_ns.get(),
            short_restricted: flag("short restricted", self.short_restricted)?,
        })
    }
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct ScheduleBody {
    instrument: U32,
    at_s: U32,
    slot: u8,
    /// One above the phase's number; zero clears the entry.
    phase: u8,
    zero: [u8; 6],
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct PhaseBody {
    instrument: U32,
    reason: [u8; 4],
    phase: u8,
    zero: [u8; 7],
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct PortRulesBody {
    qty_max: U64,
    notional_max: I128,
    duplicate_ns: U64,
    port: U32,
    rate_per_second: U32,
    rate_burst: U32,
    duplicates_max: U32,
    slides: u8,
    stp: u8,
    cancels_on_disconnect: u8,
    zero: [u8; 5],
}
const _: () = assert!(size_of::<PortRulesBody>() == 56);

impl PortRulesBody {
    fn new(port: PortId, rules: &PortRules) -> Self {
        Self {
            qty_max: rules.limits.qty_max.0.into(),
            notional_max: rules.limits.notional_max.0.into(),
            duplicate_ns: rules.duplicate_ns.into(),
            port: port.0.into(),
            rate_per_second: rules.rate_per_second.into(),
            rate_burst: rules.rate_burst.into(),
            duplicates_max: rules.duplicates_max.into(),
            slides: rules.slides.into(),
            stp: rules.stp as u8,
            cancels_on_disconnect: rules.cancels_on_disconnect.into(),
            zero: [0; 5],
        }
    }

    fn value(&self) -> Result<PortRules, DecodeFault> {
        zero(self.zero == [0; 5])?;
        Ok(PortRules {
            limits: PortLimits {
                qty_max: Qty(self.qty_max.get()),
                notional_max: Amount(self.notional_max.get()),
            },
            rate_per_second: self.rate_per_second.get(),
            rate_burst: self.rate_burst.get(),
            duplicates_max: self.duplicates_max.get(),
            duplicate_ns: self.duplicate_ns.get(),
            slides: flag("slides", self.slides)?,
            stp: stp(self.stp)?,
            cancels_on_disconnect: flag("cancels on disconnect", self.cancels_on_disconnect)?,
        })
    }
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct ExposureBody {
    gross_max: I128,
    net_max: I128,
    firm: U32,
    asset: U32,
    has_gross: u8,
    has_net: u8,
    zero: [u8; 6],
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct CreditBody {
    credit_max: I128,
    account: U32,
    asset: U32,
    has_credit: u8,
    zero: [u8; 7],
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct PositionBody {
    long_max: U64,
    short_max: U64,
    account: U32,
    instrument: U32,
    has_long: u8,
    has_short: u8,
    zero: [u8; 6],
}

/// Of a port or a firm on an instrument: on or off.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct SwitchBody {
    who: U32,
    instrument: U32,
    on: u8,
    zero: [u8; 7],
}

impl SwitchBody {
    fn new(who: u32, instrument: InstrumentId, on: bool) -> Self {
        Self { who: who.into(), instrument: instrument.0.into(), on: on.into(), zero: [0; 7] }
    }

    fn value(&self) -> Result<(u32, InstrumentId, bool), DecodeFault> {
        zero(self.zero == [0; 7])?;
        Ok((self.who.get(), InstrumentId(self.instrument.get()), flag("switch", self.on)?))
    }
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct LocateBody {
    id: U64,
    qty: I64,
    firm: U32,
    instrument: U32,
}

const SCOPE_PORT: u8 = b'P';
const SCOPE_FIRM: u8 = b'F';
const SCOPE_INSTRUMENT: u8 = b'I';
/// `id` is zero.
const SCOPE_VENUE: u8 = b'V';

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct KillBody {
    id: U32,
    scope: u8,
    on: u8,
    zero: [u8; 2],
}

impl KillBody {
    fn value(&self) -> Result<Control, DecodeFault> {
        zero(self.zero == [0; 2])?;
        let id = self.id.get();
        let scope = match self.scope {
            SCOPE_PORT => KillScope::Port(PortId(id)),
            SCOPE_FIRM => KillScope::Firm(FirmId(id)),
            SCOPE_INSTRUMENT => KillScope::Instrument(InstrumentId(id)),
            SCOPE_VENUE => {
                zero(id == 0)?;
                KillScope::Venue
            }
            code => return Err(DecodeFault::Code { field: "kill scope", code: code.into() }),
        };
        Ok(Control::Kill { scope, on: flag("switch", self.on)? })
    }
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct FeesBody {
    minimum: U64,
    instrument: U32,
    maker_bps: I16,
    taker_bps: I16,
    tier: u8,
    zero: [u8; 7],
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct TierBody {
    volume_min: U64,
    tier: u8,
    zero: [u8; 7],
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct FirmTierBody {
    firm: U32,
    tier: u8,
    zero: [u8; 3],
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct BustBody {
    match_number: U64,
    reason: u8,
    zero: [u8; 7],
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct DelistBody {
    instrument: U32,
    zero: U32,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct TickBody {
    tick_value: U64,
    instrument: U32,
    price_tick: U32,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct SymbolBody {
    symbol: [u8; 8],
    instrument: U32,
    zero: U32,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct LevelsBody {
    levels: [U64; 3],
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct OnBody {
    on: u8,
    zero: [u8; 7],
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct HaltBody {
    level: u8,
    zero: [u8; 7],
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct HeadBody {
    size: U64,
    epoch: U64,
    root: [u8; 32],
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct GraceBody {
    grace_ns: U64,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct VoidBody {
    seq: U64,
    reason: [u8; 48],
}
