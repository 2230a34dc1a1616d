//! Sequencer, shard and release gate connected as in a node, with a journal that is only a cursor: what
//! comes out must be what the state machine says of the same commands, whatever the framing was.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ironbell_core::{Config, Engine, Homes};
use ironbell_runtime::release::{self, Release, Released, ToShadow};
use ironbell_runtime::sequencer::{self, Sequencer, Start};
use ironbell_runtime::shard::{self, Batch, Shard};
use ironbell_runtime::shards::Lending;
use ironbell_runtime::{Clock, Role};
use ironbell_sync::{cursor, due, ring};
use ironbell_types::{
    Account, AccountId, Amount, Asset, AssetId, CancelReason, Capacity, ClOrdId, Command, Credential,
    Display, EnterOrder, Event, EventBody, Firm, FirmId, Funding, Inbound, Instrument, InstrumentId,
    MassCancel, Mpid, Nanos, OpenDay, OrderOptions, OrderTerms, Port, PortId, PortLimits, Price, Qty, Scale,
    Seq, Sequenced, Side, Symbol, TimeInForce, UserRefIdx, UserRefNum, Username,
};

struct Counting(u64);
impl Clock for Counting {
    fn now(&mut self) -> Nanos {
        self.0 += 20;
        Nanos(self.0)
    }
}

/// A small xorshift generator: the test prints its seed.
struct Rng(u64);
impl Rng {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

fn genesis() -> Vec<Command> {
    let (usd, abc) = (AssetId(1), AssetId(2));
    let mut commands = vec![
        Command::DefineAsset(Asset { id: usd, code: Symbol::new("USD").expect("short"), decimals: 4 }),
        Command::DefineAsset(Asset { id: abc, code: Symbol::new("ABC").expect("short"), decimals: 0 }),
        Command::DefineInstrument(Instrument {
            id: InstrumentId(1),
            symbol: Symbol::new("ABC").expect("short"),
            base: abc,
            quote: usd,
            scale: Scale::EquityExact { price_tick: 100 },
            tick_value: 100,
            lot_units: 1,
            round_lot: 100,
            maker_fee_bps: 1,
            taker_fee_bps: 3,
        }),
        Command::DefineFirm(Firm { id: FirmId(1), mpid: Mpid::new("ALFA").expect("short") }),
        Command::DefineAccount(Account { id: AccountId(1), firm: FirmId(1) }),
        Command::DefinePort(Port {
            id: PortId(1),
            username: Username::new("ALFA01").expect("short"),
            firm: FirmId(1),
            account: AccountId(1),
            limits: PortLimits { qty_max: Qty(1_000), notional_max: Amount(1 << 40) },
            credential: Credential { salt: [0; 16], hash: [0; 32], memory_kib: 8, passes: 1, lanes: 1 },
        }),
    ];
    for (id, asset) in [(1, usd), (2, abc)] {
        commands.push(Command::Fund(Funding { id, account: AccountId(1), asset, amount: Amount(1 << 50) }));
    }
    commands.push(Command::OpenDay(OpenDay { date: 20_261_121, midnight: Nanos(0) }));
    commands
}

/// `clock` is about when it will be sequenced.
fn member_command(rng: &mut Rng, number: u32, clock: u64) -> Command {
    let (port, user_ref_idx, user_ref_num) = (PortId(1), UserRefIdx(0), UserRefNum(number));
    if rng.below(200) == 0 {
        let (firm, instrument) = (FirmId(1), InstrumentId::NONE);
        return Command::MassCancel(MassCancel {
            port,
            user_ref_idx,
            user_ref_num,
            firm,
            instrument,
            group: None,
            side: None,
            fault: None,
        });
    }
    let (side, price) =
        (if rng.below(2) == 0 { Side::Buy } else { Side::Sell }, Price(1_000 + rng.below(20) as i64));
    let plain = |time_in_force| (time_in_force, Nanos(0), side, price);
    let (time_in_force, expire, side, price) = match rng.below(10) {
        0 | 1 => plain(TimeInForce::Ioc),
        // Below all others, so that nothing but time takes it off.
        2 => (TimeInForce::Gtt, Nanos(clock + 20 + rng.below(200)), Side::Buy, Price(900)),
        _ => plain(TimeInForce::Day),
    };
    Command::EnterOrder(EnterOrder {
        port,
        user_ref_idx,
        user_ref_num,
        instrument: InstrumentId(1),
        side,
        qty: Qty(1 + rng.below(50)),
        price,
        time_in_force,
        display: Display::Visible,
        capacity: Capacity::Principal,
        cl_ord_id: ClOrdId::default(),
        options: OrderOptions::default(),
        terms: OrderTerms { expire, ..OrderTerms::default() },
        fault: None,
    })
}

#[test]
fn what_comes_out_is_what_the_state_machine_says() {
    for seed in 1..=20 {
        run(seed, 1);
        run(seed, 3);
    }
}

fn run(seed: u64, shards: usize) {
    println!("seed {seed}, {shards} shards");
    let config = Config { key: 7, orders: 1_024, accounts: 16 };
    let (mut gateway, from_gateway) = ring(4_096);
    let (sequencer_journal, mut to_journal) = ring(64);
    let (sequencer_shard, to_shard) = ring(64);
    let (shard_sequencer, from_shard) = ring(2_048);
    let (shard_release, to_release) = ring(4);
    let (mut release_shard, batches) = ring(4);
    for _ in 0..4 {
        release_shard.push(Batch::new(shards)).expect("room");
    }
    let (release_gateway, mut heard_by_gateway) = ring(64);
    let (release_shadow, mut shadow) = ring(1 << 16);
    let (mut frames_durable, frames_durable_reader) = cursor(0);
    let (mut durable, commit) = cursor(0);
    let (released, released_reader) = cursor(0);
    let (next_due, timers) = due();
    let connections = sequencer::Connections {
        inputs: vec![from_gateway],
        shard_sequencer: from_shard,
        sequencer_journal,
        sequencer_shard,
        frames_durable: frames_durable_reader,
        commit: commit.clone(),
        next_due: timers.clone(),
    };
    let start = Start { seq: Seq(0), time: Nanos(0), output_hash: 0, commit: Seq(0) };
    let mut sequencer = Sequencer::new(Counting(0), connections, start, 4, Nanos(10), vec![]);
    let connections = shard::Connections {
        sequencer_shard: to_shard,
        shard_sequencer,
        shard_release,
        release_shard: batches,
        next_due,
    };
    let mut homes = Homes::new(shards);
    homes.place_firm(FirmId(1), shards as u8 - 1).expect("there is such a shard");
    let lending = Lending { run_min: 4, frames_max: 2, span_max: 16 };
    let (mut shard, mut workers) = Shard::new(Engine::sharded(config, homes), lending, connections);
    let connections = release::Connections {
        shard_release: to_release,
        release_shard,
        outputs: vec![release_gateway],
        release_shadow,
        commit,
        permission: None,
    };
    let staged = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&staged);
    let mut release = Release::new(connections, released, move |frame: Released| match frame.stages_done {
        [0, matched] => assert_eq!(matched, 0, "stages are told of supersteps, both or none"),
        [risk, matched] => {
            assert!(frame.sequenced <= risk && risk <= matched && matched <= frame.executed, "{frame:?}");
            counted.fetch_add(1, Ordering::Relaxed);
        }
    });

    let mut rng = Rng(seed);
    let (mut genesis, mut numbers) = (genesis().into_iter(), 1..=2_000);
    let (mut journal, mut writing, mut heard): (Vec<Sequenced>, _, _) = (Vec::new(), Vec::new(), Vec::new());
    let mut idle = 0;
    while idle < 200 || timers.get().is_some() {
        let mut work = 0;
        // Each role gets its turn at random, as threads would.
        match rng.below(6) {
            0 => {
                for _ in 0..rng.below(40) {
                    let clock = journal.last().map_or(0, |last| last.time.0);
                    let next = genesis
                        .next()
                        .or_else(|| numbers.next().map(|number| member_command(&mut rng, number, clock)));
                    let Some(command) = next else { break };
                    gateway.push(Inbound { received: 0, command }).expect("room");
                    work += 1;
                }
            }
            1 => work += sequencer.poll(Nanos(0)),
            2 if rng.below(2) == 0 => {
                work += workers.iter_mut().map(|worker| worker.poll(Nanos(0))).sum::<usize>();
            }
            2 => work += shard.poll(Nanos(0)),
            3 => work += release.poll(Nanos(0)),
            4 => {
                while let Ok(frame) = to_journal.pop() {
                    writing.push(frame);
                    work += 1;
                }
                if !writing.is_empty() && rng.below(2) == 0 {
                    let frame = writing.remove(0);
                    journal.extend(frame.commands.iter().copied());
                    frames_durable.advance(frames_durable.get() + 1);
                    durable.advance(frame.last_seq().map_or(durable.get(), |last| last.0));
                    work += 1;
                }
            }
            _ => {
                while let Ok(outbound) = heard_by_gateway.pop() {
                    assert!(outbound.event.seq.0 <= durable.get(), "heard before it was safe");
                    heard.push(outbound.event);
                    work += 1;
                }
            }
        }
        idle = if work > 0 { 0 } else { idle + 1 };
    }
    assert!(numbers.is_empty());
    assert!(sequencer.is_quiet());

    let mut twin = Engine::new(config);
    let mut said: Vec<Event> = Vec::new();
    for command in &journal {
        twin.execute(command, &mut said);
    }
    assert_eq!(heard, said);
    assert_eq!(twin.next_due(), None, "a timer came due and no tick was issued");
    assert!(journal.iter().any(|c| c.command == Command::Tick), "no timer came due");
    let expired = |event: &Event| matches!(event.body, EventBody::Canceled(gone) if gone.reason == CancelReason::Timeout);
    assert!(said.iter().any(expired), "no order expired");
    assert!(
        journal.iter().any(|c| matches!(c.command, Command::MassCancelSlice(_))),
        "no mass cancel came up"
    );
    assert_eq!(shard.counters().supersteps > 0, shards > 1);
    assert_eq!(staged.load(Ordering::Relaxed) > 0, shards > 1);
    assert!(shard.counters().commands_home > 0);
    assert_eq!(released_reader.get(), journal.last().map_or(0, |c| c.seq.0));
    let mut followed: Vec<Sequenced> = Vec::new();
    while let Ok(message) = shadow.pop() {
        match message {
            ToShadow::Command(command) => followed.push(command),
            ToShadow::Check(seq, hash) if seq == twin.last_seq() => assert_eq!(hash, twin.output_hash()),
            ToShadow::Check(..) => {}
        }
    }
    assert_eq!(followed, journal);
}
