//! Whatever is written reads back the same; whatever was changed on the way is refused, and nothing panics.

use ironbell_record::command::{self, RECORD_BYTES_MAX, RECORD_HEADER_BYTES};
use ironbell_record::frame::{self, Stamp};
use ironbell_record::{
    BLOCK_BYTES, COMMANDS_MAX, Chain, ChainError, DecodeError, DecodeFault, Executed, FRAME_BYTES_MAX, Frame,
    FrameError, FrameHeader, HEADER_BYTES, Identity, Place, SegmentHeader,
};
use ironbell_types::{
    Account, AccountId, AccountQuery, Algorithm, Amount, Asset, AssetId, CancelOrder, Capacity, ClOrdId,
    Command, Control, Credential, DeadMan, Display, EnterOrder, Fees, Firm, FirmId, Funding, Instrument,
    InstrumentId, InstrumentRules, KillScope, Login, Logout, MassCancel, MassCancelSlice, MatchNumber,
    ModifyOrder, Mpid, Nanos, OpenDay, OrderEntrySwitch, OrderOptions, OrderStateQuery, OrderTerms, Peg,
    Phase, Port, PortId, PortLimits, PortRules, Price, Qty, Quote, QuoteSide, Reject, ReplaceOrder, Scale,
    Seq, Sequenced, Side, Stp, Symbol, TimeInForce, UserRefIdx, UserRefNum, Username, VoidReason,
};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

const VENUE: Identity = Identity { cluster: *b"sixteen letters!", key: 0x5eed };
const PLACE: Place = Place { nonce: [0xa5; 16], offset: 3 * BLOCK_BYTES as u64 };

fn any_options() -> impl Strategy<Value = OrderOptions> {
    (any::<bool>(), any::<u8>(), any::<u8>(), option::of(any::<u16>()), any::<u32>()).prop_map(
        |(firm, customer_type, post_only, group, min_qty)| OrderOptions {
            firm,
            customer_type,
            post_only,
            group,
            min_qty,
        },
    )
}

fn any_fault() -> impl Strategy<Value = Option<Reject>> {
    option::of(select(Reject::ALL))
}

/// Port, channel, UserRefNum: what nearly every member's command begins with.
fn any_name() -> impl Strategy<Value = (PortId, UserRefIdx, UserRefNum)> {
    (any::<u32>(), any::<u8>(), any::<u32>()).prop_map(|(p, i, n)| (PortId(p), UserRefIdx(i), UserRefNum(n)))
}

fn any_instrument() -> impl Strategy<Value = Instrument> {
    let scale = option::of(any::<u32>())
        .prop_map(|tick| tick.map_or(Scale::Scaled, |price_tick| Scale::EquityExact { price_tick }));
    (any::<[u32; 4]>(), any::<[u64; 2]>(), any::<[u16; 2]>(), any::<[u8; 8]>(), scale).prop_map(
        |(ids, units, fees, symbol, scale)| Instrument {
            id: InstrumentId(ids[0]),
            symbol: Symbol(symbol),
            base: AssetId(ids[1]),
            quote: AssetId(ids[2]),
            scale,
            tick_value: units[0],
            lot_units: units[1],
            round_lot: ids[3],
            maker_fee_bps: fees[0],
            taker_fee_bps: fees[1],
        },
    )
}

fn any_port() -> impl Strategy<Value = Port> {
    (any::<[u32; 6]>(), any::<u64>(), any::<i128>(), any::<[u8; 6]>(), any::<[u8; 16]>(), any::<[u8; 32]>())
        .prop_map(|(ids, qty_max, notional_max, username, salt, hash)| Port {
            id: PortId(ids[0]),
            username: Username(username),
            firm: FirmId(ids[1]),
            account: AccountId(ids[2]),
            limits: PortLimits { qty_max: Qty(qty_max), notional_max: Amount(notional_max) },
            credential: Credential { salt, hash, memory_kib: ids[3], passes: ids[4], lanes: ids[5] },
        })
}

const STPS: [Stp; 6] =
    [Stp::Port, Stp::Off, Stp::CancelNewest, Stp::CancelOldest, Stp::CancelBoth, Stp::Decrement];

/// A plain order half of the time.
fn any_terms() -> impl Strategy<Value = OrderTerms> {
    let pegs = select(vec![Peg::None, Peg::Primary, Peg::Market, Peg::Midpoint]);
    let drawn = (any::<bool>(), any::<[i64; 2]>(), any::<[u32; 4]>(), pegs, any::<i32>(), any::<u64>());
    let terms = (drawn, select(STPS.as_slice()), any::<[u8; 2]>()).prop_map(
        |((market, prices, numbers, peg, peg_offset, expire), stp, stp_group)| OrderTerms {
            market,
            stop: Price(prices[0]),
            trail: numbers[0],
            max_floor: numbers[1],
            random_reserves: numbers[2],
            peg,
            peg_offset,
            discretion: Price(prices[1]),
            expire: Nanos(expire),
            oco: UserRefNum(numbers[3]),
            stp,
            stp_group,
        },
    );
    prop_oneof![Just(OrderTerms::default()), terms]
}

fn any_enter() -> impl Strategy<Value = EnterOrder> {
    let codes = (select(Side::ALL), select(TimeInForce::ALL), select(Display::ALL), select(Capacity::ALL));
    let options = (any_options(), any_terms());
    (any_name(), any::<(u32, u64, i64)>(), codes, any::<[u8; 14]>(), options, any_fault()).prop_map(
        |(
            (port, user_ref_idx, user_ref_num),
            (instrument, qty, price),
            codes,
            text,
            (options, terms),
            fault,
        )| {
            EnterOrder {
                port,
                user_ref_idx,
                user_ref_num,
                instrument: InstrumentId(instrument),
                side: codes.0,
                qty: Qty(qty),
                price: Price(price),
                time_in_force: codes.1,
                display: codes.2,
                capacity: codes.3,
                cl_ord_id: ClOrdId(text),
                options,
                terms,
                fault,
            }
        },
    )
}

fn any_replace() -> impl Strategy<Value = ReplaceOrder> {
    let codes = (select(TimeInForce::ALL), select(Display::ALL));
    // One in eight has none of the three, and is a plain one.
    let expire = prop_oneof![Just(0), any::<u64>()];
    let options = (any_options(), any::<Option<u32>>(), any::<Option<u32>>(), expire);
    (any_name(), any::<(u32, u64, u64)>(), codes, any::<[u8; 14]>(), options, any_fault()).prop_map(
        |((port, user_ref_idx, user_ref_num), (orig, qty, wire_price), codes, text, options, fault)| {
            let (options, max_floor, random_reserves, expire) = options;
            ReplaceOrder {
                port,
                user_ref_idx,
                orig_user_ref_num: UserRefNum(orig),
                user_ref_num,
                qty: Qty(qty),
                wire_price,
                time_in_force: codes.0,
                display: codes.1,
                cl_ord_id: ClOrdId(text),
                options,
                max_floor,
                random_reserves,
                expire: Nanos(expire),
                fault,
            }
        },
    )
}

fn any_mass_cancel() -> impl Strategy<Value = MassCancel> {
    let filters = (option::of(any::<u16>()), option::of(select(Side::ALL)), any_fault());
    (any_name(), any::<[u32; 2]>(), filters).prop_map(
        |((port, user_ref_idx, user_ref_num), ids, (group, side, fault))| MassCancel {
            port,
            user_ref_idx,
            user_ref_num,
            firm: FirmId(ids[0]),
            instrument: InstrumentId(ids[1]),
            group,
            side,
            fault,
        },
    )
}

fn any_switch() -> impl Strategy<Value = OrderEntrySwitch> {
    (any_name(), any::<u32>(), any_fault()).prop_map(|((port, user_ref_idx, user_ref_num), firm, fault)| {
        OrderEntrySwitch { port, user_ref_idx, user_ref_num, firm: FirmId(firm), fault }
    })
}

fn any_quote() -> impl Strategy<Value = Quote> {
    let codes = (select(Capacity::ALL), any_fault());
    (any_name(), any::<u32>(), any::<[u64; 2]>(), any::<[i64; 2]>(), codes).prop_map(
        |((port, user_ref_idx, user_ref_num), instrument, qtys, prices, (capacity, fault))| Quote {
            port,
            user_ref_idx,
            user_ref_num,
            instrument: InstrumentId(instrument),
            bid: QuoteSide { qty: Qty(qtys[0]), price: Price(prices[0]) },
            ask: QuoteSide { qty: Qty(qtys[1]), price: Price(prices[1]) },
            capacity,
            fault,
        },
    )
}

fn any_rules() -> impl Strategy<Value = InstrumentRules> {
    let numbers = (any::<[u64; 4]>(), any::<i64>(), any::<[u16; 3]>());
    (select(Algorithm::ALL), numbers, any::<bool>()).prop_map(
        |(algorithm, (longs, reference, bps), short_restricted)| InstrumentRules {
            algorithm,
            top_order_max: Qty(longs[0]),
            batch_ns: longs[1],
            reference: Price(reference),
            static_bps: bps[0],
            collar_bps: bps[1],
            band_bps: bps[2],
            limit_state_ns: longs[2],
            volatility_ns: longs[3],
            short_restricted,
        },
    )
}

fn any_port_rules() -> impl Strategy<Value = PortRules> {
    let numbers = (any::<[u64; 2]>(), any::<i128>(), any::<[u32; 3]>());
    (numbers, any::<[bool; 2]>(), select(STPS.as_slice())).prop_map(
        |((longs, notional_max, rates), switches, stp)| PortRules {
            limits: PortLimits { qty_max: Qty(longs[0]), notional_max: Amount(notional_max) },
            rate_per_second: rates[0],
            rate_burst: rates[1],
            duplicates_max: rates[2],
            duplicate_ns: longs[1],
            slides: switches[0],
            stp,
            cancels_on_disconnect: switches[1],
        },
    )
}

fn any_kill_scope() -> impl Strategy<Value = KillScope> {
    prop_oneof![
        any::<u32>().prop_map(|id| KillScope::Port(PortId(id))),
        any::<u32>().prop_map(|id| KillScope::Firm(FirmId(id))),
        any::<u32>().prop_map(|id| KillScope::Instrument(InstrumentId(id))),
        Just(KillScope::Venue),
    ]
}

fn any_limit() -> impl Strategy<Value = Option<Amount>> {
    option::of(any::<i128>().prop_map(Amount))
}

fn any_trading_control() -> impl Strategy<Value = Control> {
    let instrument = || any::<u32>().prop_map(InstrumentId);
    prop_oneof![
        (instrument(), any_rules()).prop_map(|(instrument, rules)| Control::SetRules { instrument, rules }),
        (instrument(), any::<u8>(), any::<u32>(), option::of(select(Phase::ALL))).prop_map(
            |(instrument, slot, at_s, phase)| Control::SetSchedule { instrument, slot, at_s, phase }
        ),
        (instrument(), select(Phase::ALL), any::<[u8; 4]>())
            .prop_map(|(instrument, phase, reason)| Control::SetPhase { instrument, phase, reason }),
        (instrument(), any::<u8>(), any::<[i16; 2]>(), any::<u64>()).prop_map(
            |(instrument, tier, [maker_bps, taker_bps], minimum)| Control::SetFees {
                instrument,
                tier,
                fees: Fees { maker_bps, taker_bps, minimum }
            }
        ),
        Just(Control::CloseDay),
        (any::<u64>(), any::<u8>())
            .prop_map(|(number, reason)| Control::Bust { match_number: MatchNumber(number), reason }),
        instrument().prop_map(|instrument| Control::Delist { instrument }),
        (instrument(), any::<u32>(), any::<u64>()).prop_map(|(instrument, price_tick, tick_value)| {
            Control::ChangeTick { instrument, price_tick, tick_value }
        }),
        (instrument(), any::<[u8; 8]>())
            .prop_map(|(instrument, symbol)| Control::ChangeSymbol { instrument, symbol: Symbol(symbol) }),
        any::<[u64; 3]>().prop_map(|levels| Control::SetDeclineLevels { levels }),
        any::<u8>().prop_map(|level| Control::MarketWideHalt { level }),
        (any::<u64>(), any::<[u8; 32]>()).prop_map(|(seq, text)| {
            let mut reason = VoidReason::default();
            reason.0[..32].copy_from_slice(&text);
            Control::Void { seq: Seq(seq), reason }
        }),
        any::<bool>().prop_map(|on| Control::HaltOrderEntry { on }),
        any::<u64>().prop_map(|grace_ns| Control::BeginGrace { grace_ns }),
        (any::<u64>(), any::<[u8; 32]>(), any::<u64>()).prop_map(|(size, root, epoch)| Control::SignedHead {
            size,
            root,
            epoch
        }),
    ]
}

fn any_risk_control() -> impl Strategy<Value = Control> {
    let instrument = || any::<u32>().prop_map(InstrumentId);
    prop_oneof![
        (any::<u32>(), any_port_rules())
            .prop_map(|(port, rules)| Control::SetPortRules { port: PortId(port), rules }),
        (any::<[u32; 2]>(), any_limit(), any_limit()).prop_map(|([firm, asset], gross_max, net_max)| {
            Control::SetExposure { firm: FirmId(firm), asset: AssetId(asset), gross_max, net_max }
        }),
        (any::<[u32; 2]>(), any_limit()).prop_map(|([account, asset], credit_max)| Control::SetCredit {
            account: AccountId(account),
            asset: AssetId(asset),
            credit_max
        }),
        (any::<u32>(), instrument(), any::<[Option<u64>; 2]>()).prop_map(|(account, instrument, limits)| {
            let [long_max, short_max] = limits.map(|limit| limit.map(Qty));
            Control::SetPosition { account: AccountId(account), instrument, long_max, short_max }
        }),
        (any::<u32>(), instrument(), any::<bool>()).prop_map(|(port, instrument, allowed)| {
            Control::Entitle { port: PortId(port), instrument, allowed }
        }),
        (any::<u32>(), instrument(), any::<bool>()).prop_map(|(firm, instrument, restricted)| {
            Control::Restrict { firm: FirmId(firm), instrument, restricted }
        }),
        (any::<u64>(), any::<u32>(), instrument(), any::<i64>()).prop_map(|(id, firm, instrument, qty)| {
            Control::Locate { id, firm: FirmId(firm), instrument, qty }
        }),
        (any_kill_scope(), any::<bool>()).prop_map(|(scope, on)| Control::Kill { scope, on }),
        (any::<u8>(), any::<u64>()).prop_map(|(tier, volume_min)| Control::SetTier { tier, volume_min }),
        (any::<u32>(), any::<u8>())
            .prop_map(|(firm, tier)| Control::SetFirmTier { firm: FirmId(firm), tier }),
    ]
}

fn any_command() -> impl Strategy<Value = Command> {
    prop_oneof![
        any::<(u32, [u8; 8], u8)>().prop_map(|(id, code, decimals)| Command::DefineAsset(Asset {
            id: AssetId(id),
            code: Symbol(code),
            decimals
        })),
        any_instrument().prop_map(Command::DefineInstrument),
        any::<(u32, [u8; 4])>()
            .prop_map(|(id, mpid)| Command::DefineFirm(Firm { id: FirmId(id), mpid: Mpid(mpid) })),
        any::<[u32; 2]>()
            .prop_map(|[id, firm]| Command::DefineAccount(Account { id: AccountId(id), firm: FirmId(firm) })),
        any_port().prop_map(Command::DefinePort),
        any::<(u64, u32, u32, i128)>().prop_map(|(id, account, asset, amount)| Command::Fund(Funding {
            id,
            account: AccountId(account),
            asset: AssetId(asset),
            amount: Amount(amount)
        })),
        any::<(u32, u64)>()
            .prop_map(|(date, midnight)| Command::OpenDay(OpenDay { date, midnight: Nanos(midnight) })),
        any::<u32>().prop_map(|port| Command::Login(Login { port: PortId(port) })),
        any::<[u32; 2]>()
            .prop_map(|[port, incarnation]| Command::Logout(Logout { port: PortId(port), incarnation })),
        any_enter().prop_map(Command::EnterOrder),
        any_replace().prop_map(Command::ReplaceOrder),
        (any_name(), any::<u64>()).prop_map(|((port, user_ref_idx, user_ref_num), qty)| {
            Command::CancelOrder(CancelOrder { port, user_ref_idx, user_ref_num, qty: Qty(qty) })
        }),
        (any_name(), any::<u64>(), select(Side::ALL)).prop_map(
            |((port, user_ref_idx, user_ref_num), qty, side)| {
                Command::ModifyOrder(ModifyOrder { port, user_ref_idx, user_ref_num, side, qty: Qty(qty) })
            }
        ),
        any_mass_cancel().prop_map(Command::MassCancel),
        any::<(u64, u32)>().prop_map(|(cause, slice)| Command::MassCancelSlice(MassCancelSlice {
            cause: Seq(cause),
            slice
        })),
        any_name()
            .prop_map(|(port, user_ref_idx, _)| Command::AccountQuery(AccountQuery { port, user_ref_idx })),
        Just(Command::Tick),
        any_switch().prop_map(Command::DisableOrderEntry),
        any_switch().prop_map(Command::EnableOrderEntry),
        any_quote().prop_map(Command::Quote),
        any_name().prop_map(|(port, user_ref_idx, user_ref_num)| {
            Command::OrderStateQuery(OrderStateQuery { port, user_ref_idx, user_ref_num })
        }),
        any::<(u32, u64)>()
            .prop_map(|(port, timeout_ns)| Command::DeadMan(DeadMan { port: PortId(port), timeout_ns })),
        // Twenty-one kinds of record stand behind these two.
        any_trading_control().prop_map(Command::Control),
        any_risk_control().prop_map(Command::Control),
    ]
}

/// Commands that continue the chain, with times that stand still or go on.
fn any_run(
    chain: Chain,
    count: impl Into<proptest::collection::SizeRange>,
) -> impl Strategy<Value = Vec<Sequenced>> {
    proptest::collection::vec((any_command(), 0..1_000_u64), count).prop_map(move |drawn| {
        let (mut seq, mut time) = (chain.last_seq, chain.last_time);
        let place = |(command, step)| {
            (seq, time) = (seq.next(), Nanos(time.0 + step));
            Sequenced { seq, time, command }
        };
        drawn.into_iter().map(place).collect()
    })
}

fn stamp(chain: &Chain) -> Stamp {
    Stamp {
        place: PLACE,
        epoch: chain.epoch.max(1),
        durable_frames: chain.frames,
        commit: chain.last_seq,
        executed: Executed { seq: chain.last_seq, output_hash: 0x0123_4567_89ab_cdef << 40 },
    }
}

/// A history that has come somewhere: 30 commands in two frames.
fn started() -> Chain {
    let mut chain = Chain::genesis(&VENUE);
    for _ in 0..2 {
        let (_, header) = build(&chain, &ticks(&chain, 15));
        chain.advance(&header);
    }
    chain
}

fn ticks(chain: &Chain, count: u64) -> Vec<Sequenced> {
    let nth = |n| Sequenced {
        seq: Seq(chain.last_seq.0 + n),
        time: Nanos(chain.last_time.0 + n),
        command: Command::Tick,
    };
    (1..=count).map(nth).collect()
}

fn build(chain: &Chain, commands: &[Sequenced]) -> (Vec<u8>, FrameHeader) {
    let mut bytes = vec![0xee; FRAME_BYTES_MAX];
    let header = frame::encode(chain, &stamp(chain), commands, None, &mut bytes);
    bytes.truncate(header.frame_bytes());
    (bytes, header)
}

/// Everything a reader does with a frame.
fn read(chain: &Chain, bytes: &[u8]) -> Result<(FrameHeader, Vec<Sequenced>), Refusal> {
    let frame = Frame::decode(bytes, &VENUE.cluster, PLACE).map_err(Refusal::Frame)?;
    chain.check(&frame.header).map_err(Refusal::Chain)?;
    let mut commands = Vec::new();
    frame.commands(chain.last_time, &mut commands).map_err(Refusal::Record)?;
    Ok((frame.header, commands))
}

#[derive(Debug, PartialEq)]
enum Refusal {
    Frame(FrameError),
    Chain(ChainError),
    Record(DecodeError),
}

proptest! {
    #[test]
    fn a_command_reads_back_as_it_was_written(time: u64, seq: u64, command in any_command()) {
        let mut bytes = [0xee; RECORD_BYTES_MAX];
        let length = command::encode(Nanos(time), &command, &mut bytes);
        prop_assert_eq!(length, command::bytes(&command));
        prop_assert_eq!(length % 8, 0);
        let (sequenced, read) = command::decode(&bytes[..length], 0, Seq(seq)).expect("just written");
        prop_assert_eq!(read, length);
        prop_assert_eq!(sequenced, Sequenced { seq: Seq(seq), time: Nanos(time), command });
    }

    #[test]
    fn an_operators_command_reads_back_as_it_was_written(
        control in prop_oneof![any_trading_control(), any_risk_control()],
    ) {
        let (mut bytes, command) = ([0xee; RECORD_BYTES_MAX], Command::Control(control));
        let length = command::encode(Nanos(7), &command, &mut bytes);
        let (sequenced, read) = command::decode(&bytes[..length], 0, Seq(1)).expect("just written");
        prop_assert_eq!((sequenced.command, read), (command, length));
    }

    #[test]
    fn a_record_cut_anywhere_is_refused(command in any_command()) {
        let mut bytes = [0; RECORD_BYTES_MAX];
        let length = command::encode(Nanos(7), &command, &mut bytes);
        for end in 0..length {
            let refused = command::decode(&bytes[..end], 0, Seq(1)).expect_err("cut");
            prop_assert_eq!(refused, DecodeError { offset: 0, fault: DecodeFault::Truncated });
        }
    }

    /// Without a checksum around it, a changed bit either shows as a fault or is another value that
    /// encodes to exactly the bytes read: nothing is read and then forgotten.
    #[test]
    fn the_encoding_is_canonical_under_every_bit_flip(command in any_command()) {
        let mut bytes = [0; RECORD_BYTES_MAX];
        let length = command::encode(Nanos(7), &command, &mut bytes);
        for bit in 0..length * 8 {
            let mut changed = bytes;
            changed[bit / 8] ^= 1 << (bit % 8);
            if let Ok((other, read)) = command::decode(&changed[..length], 0, Seq(1)) {
                let mut again = [0; RECORD_BYTES_MAX];
                prop_assert_eq!(command::encode(other.time, &other.command, &mut again), read);
                prop_assert_eq!(&again[..length], &changed[..length]);
            }
        }
    }

    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600), offset in 0..700_usize) {
        let _ = command::decode(&bytes, offset, Seq(1));
        prop_assert!(FrameHeader::decode(&bytes, &VENUE.cluster, PLACE).is_err());
        prop_assert!(SegmentHeader::decode(&bytes).is_err());
    }

    #[test]
    fn a_frame_reads_back_as_it_was_written(commands in any_run(started(), 0..=60)) {
        let chain = started();
        let (bytes, header) = build(&chain, &commands);
        let (read_header, read_commands) = read(&chain, &bytes).expect("just written");
        prop_assert_eq!(read_header, header);
        prop_assert_eq!(read_commands, commands);
        prop_assert_eq!(bytes.len() % BLOCK_BYTES, 0);
    }

    /// The header's checksum is mended after the change, so that the fields' own rules are what is asked.
    #[test]
    fn a_header_field_of_random_bytes_never_panics(
        at in 8..HEADER_BYTES - 16,
        value: [u8; 8],
        commands in any_run(started(), 0..=4),
    ) {
        let chain = started();
        let (mut bytes, _) = build(&chain, &commands);
        let unchanged = bytes[at..at + 8] == value;
        bytes[at..at + 8].copy_from_slice(&value);
        mend_header(&mut bytes);
        prop_assert!(unchanged || at + 8 > 252 || read(&chain, &bytes).is_err());
    }
}

fn mend_header(bytes: &mut [u8]) {
    let crc = crc32c::crc32c(&bytes[..HEADER_BYTES - 4]);
    bytes[HEADER_BYTES - 4..HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
}

/// A round trip would not notice two kinds exchanged, nor one that took another's code.
#[test]
fn switches_of_order_entry_are_kinds_18_and_19() {
    let switch = OrderEntrySwitch {
        port: PortId(1),
        user_ref_idx: UserRefIdx(2),
        user_ref_num: UserRefNum(3),
        firm: FirmId(4),
        fault: Some(Reject::Other),
    };
    let body = [1, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0, 0x0f, 0, 2, 0];
    for (kind, command) in [(18, Command::DisableOrderEntry(switch)), (19, Command::EnableOrderEntry(switch))]
    {
        let mut bytes = [0xee; RECORD_BYTES_MAX];
        let length = command::encode(Nanos(7), &command, &mut bytes);
        let header = [32, 0, kind, 1, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(bytes[..length], [header, body].concat());
    }
}

/// As above: first the number of each kind, then that of what it names.
#[test]
fn the_kinds_of_the_rule_book_are_20_to_45() {
    let (port, firm, asset, account) = (PortId(1), FirmId(1), AssetId(1), AccountId(1));
    let (instrument, user_ref_idx, user_ref_num) = (InstrumentId(1), UserRefIdx(0), UserRefNum(1));
    let terms = OrderTerms { market: true, ..OrderTerms::default() };
    let side = QuoteSide::default();
    let quote = Quote {
        port,
        user_ref_idx,
        user_ref_num,
        instrument,
        bid: side,
        ask: side,
        capacity: Capacity::Agency,
        fault: None,
    };
    let limits = PortLimits { qty_max: Qty(1), notional_max: Amount(1) };
    let fees = Fees { maker_bps: -1, taker_bps: 2, minimum: 3 };
    let controls = [
        Control::SetRules { instrument, rules: InstrumentRules::PLAIN },
        Control::SetSchedule { instrument, slot: 0, at_s: 0, phase: None },
        Control::SetPhase { instrument, phase: Phase::Halted, reason: *b"T1  " },
        Control::SetPortRules { port, rules: PortRules::plain(limits) },
        Control::SetExposure { firm, asset, gross_max: None, net_max: None },
        Control::SetCredit { account, asset, credit_max: None },
        Control::SetPosition { account, instrument, long_max: None, short_max: None },
        Control::Entitle { port, instrument, allowed: false },
        Control::Restrict { firm, instrument, restricted: true },
        Control::Locate { id: 1, firm, instrument, qty: 1 },
        Control::Kill { scope: KillScope::Venue, on: true },
        Control::SetFees { instrument, tier: 0, fees },
        Control::SetTier { tier: 1, volume_min: 1 },
        Control::SetFirmTier { firm, tier: 1 },
        Control::CloseDay,
        Control::Bust { match_number: MatchNumber(1), reason: b'E' },
        Control::Delist { instrument },
        Control::ChangeTick { instrument, price_tick: 1, tick_value: 1 },
        Control::ChangeSymbol { instrument, symbol: Symbol(*b"ZULU    ") },
        Control::SetDeclineLevels { levels: [1, 2, 3] },
        Control::MarketWideHalt { level: 1 },
        Control::Void { seq: Seq(1), reason: VoidReason::default() },
    ];
    let commands = [
        Command::EnterOrder(EnterOrder { terms, ..plain_enter() }),
        Command::ReplaceOrder(ReplaceOrder { max_floor: Some(0), ..plain_replace() }),
        Command::Quote(quote),
        Command::OrderStateQuery(OrderStateQuery { port, user_ref_idx, user_ref_num }),
        Command::DeadMan(DeadMan { port, timeout_ns: 1 }),
    ];
    let commands = commands.into_iter().chain(controls.map(Command::Control));
    let kinds: Vec<_> = commands.map(|command| kind(&command)).collect();
    assert_eq!(kinds, (20..=46).collect::<Vec<_>>());
    assert_eq!(kind(&Command::Control(Control::HaltOrderEntry { on: true })), 47);
    assert_eq!(kind(&Command::Control(Control::SignedHead { size: 1, root: [1; 32], epoch: 1 })), 48);
    assert_eq!(kind(&Command::Control(Control::BeginGrace { grace_ns: 1 })), 49);
}

fn kind(command: &Command) -> u8 {
    let mut bytes = [0; RECORD_BYTES_MAX];
    command::encode(Nanos(7), command, &mut bytes);
    bytes[2]
}

fn plain_enter() -> EnterOrder {
    EnterOrder {
        port: PortId(1),
        user_ref_idx: UserRefIdx(0),
        user_ref_num: UserRefNum(2),
        instrument: InstrumentId(3),
        side: Side::Buy,
        qty: Qty(4),
        price: Price(5),
        time_in_force: TimeInForce::Day,
        display: Display::Visible,
        capacity: Capacity::Agency,
        cl_ord_id: ClOrdId::default(),
        options: OrderOptions::default(),
        terms: OrderTerms::default(),
        fault: None,
    }
}

fn plain_replace() -> ReplaceOrder {
    ReplaceOrder {
        port: PortId(1),
        user_ref_idx: UserRefIdx(0),
        orig_user_ref_num: UserRefNum(2),
        user_ref_num: UserRefNum(3),
        qty: Qty(4),
        wire_price: 5,
        time_in_force: TimeInForce::Day,
        display: Display::Visible,
        cl_ord_id: ClOrdId::default(),
        options: OrderOptions::default(),
        max_floor: None,
        random_reserves: None,
        expire: Nanos(0),
        fault: None,
    }
}

/// Most orders are plain ones: what the others can do must not make those longer. And a plain one has
/// one encoding only.
#[test]
fn a_plain_order_takes_80_bytes_and_a_plain_replacement_72() {
    let (enter, replace) = (plain_enter(), plain_replace());
    let special_enter = EnterOrder { terms: OrderTerms { oco: UserRefNum(1), ..enter.terms }, ..enter };
    let special_replace = ReplaceOrder { expire: Nanos(1), ..replace };
    let cases = [
        (Command::EnterOrder(enter), Command::EnterOrder(special_enter), 80, 120),
        (Command::ReplaceOrder(replace), Command::ReplaceOrder(special_replace), 72, 88),
    ];
    for (plain, special, plain_bytes, special_bytes) in cases {
        assert_eq!((command::bytes(&plain), command::bytes(&special)), (plain_bytes, special_bytes));
        let mut bytes = [0; RECORD_BYTES_MAX];
        command::encode(Nanos(7), &special, &mut bytes);
        let same_kind = bytes[..4].to_vec();
        command::encode(Nanos(7), &plain, &mut bytes);
        bytes[plain_bytes..].fill(0);
        bytes[..4].copy_from_slice(&same_kind);
        let refused = command::decode(&bytes[..special_bytes], 0, Seq(1)).expect_err("plain");
        assert_eq!(refused.fault, DecodeFault::Plain);
    }
}

/// Which bit says what is the layout's, and not only that they come back.
#[test]
fn flags_of_an_order_with_terms_hold_market_peg_and_self_trade_prevention() {
    let terms = OrderTerms { market: true, peg: Peg::Midpoint, stp: Stp::Decrement, ..OrderTerms::default() };
    let options = OrderOptions { firm: true, group: Some(9), ..OrderOptions::default() };
    let mut bytes = [0; RECORD_BYTES_MAX];
    let order = EnterOrder { terms, options, ..plain_enter() };
    command::encode(Nanos(7), &Command::EnterOrder(order), &mut bytes);
    assert_eq!(bytes[RECORD_HEADER_BYTES + 57], 5 << 5 | 3 << 3 | 0b111);
    // Six and seven are no self-trade prevention.
    bytes[RECORD_HEADER_BYTES + 57] = 6 << 5 | 3 << 3 | 0b111;
    let refused = command::decode(&bytes, 0, Seq(1)).expect_err("no such code");
    assert_eq!(refused.fault, DecodeFault::Code { field: "self-trade prevention", code: 6 });
}

#[test]
fn every_bit_of_a_frame_counts() {
    let chain = started();
    for count in [0, 1, 40] {
        let (mut bytes, _) = build(&chain, &ticks(&chain, count));
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(read(&chain, &bytes), Err(Refusal::Frame(_))), "bit {bit} of {count} commands");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        read(&chain, &bytes).expect("every bit is back");
    }
}

#[test]
fn a_frame_cut_anywhere_is_refused() {
    let chain = started();
    let (bytes, _) = build(&chain, &ticks(&chain, 300));
    for end in 0..bytes.len() {
        assert_eq!(read(&chain, &bytes[..end]), Err(Refusal::Frame(FrameError::Truncated)), "{end} bytes");
    }
}

#[test]
fn a_frame_counts_only_where_it_was_written() {
    let chain = started();
    let (bytes, _) = build(&chain, &ticks(&chain, 3));
    let elsewhere = Place { offset: PLACE.offset + BLOCK_BYTES as u64, ..PLACE };
    assert_eq!(Frame::decode(&bytes, &VENUE.cluster, elsewhere).expect_err("moved"), FrameError::Place);
    let reused = Place { nonce: [0x5a; 16], ..PLACE };
    assert_eq!(Frame::decode(&bytes, &VENUE.cluster, reused).expect_err("stale"), FrameError::Place);
    assert_eq!(Frame::decode(&bytes, &[0; 16], PLACE).expect_err("another venue's"), FrameError::Cluster);
}

#[test]
fn a_copy_elsewhere_has_the_same_link() {
    let chain = started();
    let commands = ticks(&chain, 3);
    let (mut here, mut there) = (vec![0; FRAME_BYTES_MAX], vec![0; FRAME_BYTES_MAX]);
    let on_primary = frame::encode(&chain, &stamp(&chain), &commands, None, &mut here);
    let place = Place { nonce: [1; 16], offset: BLOCK_BYTES as u64 };
    let standby = Stamp { place, durable_frames: 0, ..stamp(&chain) };
    let on_standby = frame::encode(&chain, &standby, &commands, None, &mut there);
    assert_eq!(on_primary.chain, on_standby.chain);
    assert_ne!(here[..HEADER_BYTES], there[..HEADER_BYTES]);
}

#[test]
fn a_frame_that_does_not_come_next_is_refused() {
    let chain = started();
    let (bytes, header) = build(&chain, &ticks(&chain, 5));
    let mut after = chain;
    after.advance(&header);
    assert_eq!(read(&after, &bytes), Err(Refusal::Chain(ChainError::Number { expected: 3, found: 2 })));

    let other_past = Chain { hash: Chain::genesis(&Identity { key: 1, ..VENUE }).hash, ..chain };
    assert_eq!(read(&other_past, &bytes), Err(Refusal::Chain(ChainError::Hash)));
    let newer = Chain { epoch: 2, ..chain };
    assert_eq!(read(&newer, &bytes), Err(Refusal::Chain(ChainError::Epoch { previous: 2, found: 1 })));
    let behind = Chain { last_seq: Seq(29), ..chain };
    assert_eq!(
        read(&behind, &bytes),
        Err(Refusal::Chain(ChainError::Seq { expected: Seq(30), found: Seq(31) }))
    );
    let later = Chain { last_time: Nanos(1_000), ..chain };
    assert!(matches!(read(&later, &bytes), Err(Refusal::Chain(ChainError::Time(_)))));
    let further = Chain { commit: Seq(31), ..chain };
    assert_eq!(read(&further, &bytes), Err(Refusal::Chain(ChainError::Commit(Seq(30)))));
    let executed = Executed { seq: Seq(31), output_hash: 1 };
    assert_eq!(
        read(&Chain { executed, ..chain }, &bytes),
        Err(Refusal::Chain(ChainError::Executed(Seq(30))))
    );
}

#[test]
fn the_longest_frame_fits() {
    let chain = Chain::genesis(&VENUE);
    let port = Port {
        id: PortId(1),
        username: Username(*b"PORT01"),
        firm: FirmId(1),
        account: AccountId(1),
        limits: PortLimits { qty_max: Qty(1), notional_max: Amount(1) },
        credential: Credential { salt: [1; 16], hash: [2; 32], memory_kib: 8, passes: 1, lanes: 1 },
    };
    let longest = Command::DefinePort(port);
    assert_eq!(command::bytes(&longest), RECORD_BYTES_MAX);
    let nth = |n| Sequenced { seq: Seq(n), time: Nanos(n), command: longest };
    let commands: Vec<_> = (1..=COMMANDS_MAX as u64).map(nth).collect();
    let (bytes, header) = build(&chain, &commands);
    assert_eq!(header.last_seq(), Seq(1024));
    assert_eq!(read(&chain, &bytes).expect("just written").1, commands);
}

#[test]
fn records_and_header_must_tell_the_same_count_and_times() {
    let chain = started();
    let (bytes, header) = build(&chain, &ticks(&chain, 5));
    let frame = Frame::decode(&bytes, &VENUE.cluster, PLACE).expect("sound");
    let mut commands = Vec::new();
    let late = frame.commands(Nanos(header.last_time.0 + 1), &mut commands).expect_err("time goes back");
    assert_eq!(late.fault, DecodeFault::Time(Nanos(chain.last_time.0 + 1)));

    let mut fewer = frame;
    fewer.header.count = 4;
    let left_over = fewer.commands(chain.last_time, &mut commands).expect_err("a record is left over");
    assert_eq!(left_over, DecodeError { offset: 4 * RECORD_HEADER_BYTES, fault: DecodeFault::Surplus });
    let mut more = frame;
    more.header.count = 6;
    assert_eq!(
        more.commands(chain.last_time, &mut commands).expect_err("none left").fault,
        DecodeFault::Truncated
    );
    let mut other_time = frame;
    other_time.header.last_time = Nanos(u64::MAX);
    let fault = other_time.commands(chain.last_time, &mut commands).expect_err("another last time").fault;
    assert_eq!(fault, DecodeFault::Time(header.last_time));
}

#[test]
#[should_panic(expected = "Seq 33 follows Seq 31")]
fn a_gap_in_the_sequence_is_not_written() {
    let chain = started();
    let mut commands = ticks(&chain, 3);
    commands.remove(1);
    build(&chain, &commands);
}

#[test]
#[should_panic(expected = "follows time")]
fn a_time_that_goes_back_is_not_written() {
    let chain = started();
    let mut commands = ticks(&chain, 2);
    commands[1].time = Nanos(0);
    build(&chain, &commands);
}

#[test]
fn a_segment_reads_back_and_every_bit_counts() {
    let header = SegmentHeader { cluster: VENUE.cluster, index: 7, bytes: 1 << 20, nonce: [9; 16] };
    let segment = header.encode();
    assert_eq!(SegmentHeader::decode(&segment), Ok(header));
    each_bit_flipped(&segment, |changed| assert!(SegmentHeader::decode(changed).is_err()));
    for end in 0..segment.len() {
        assert!(SegmentHeader::decode(&segment[..end]).is_err());
    }
}

fn each_bit_flipped(bytes: &[u8], check: impl Fn(&[u8])) {
    for bit in 0..bytes.len() * 8 {
        let mut changed = bytes.to_vec();
        changed[bit / 8] ^= 1 << (bit % 8);
        check(&changed);
    }
}
