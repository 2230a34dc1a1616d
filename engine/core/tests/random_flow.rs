//! Random flows that collide: few prices, tight funds, odd fees. After every command every invariant
//! holds, and neither frames nor warm-up hints show in any output.

#[expect(dead_code, reason = "the rules' test uses the other half")]
mod venue;

use ironbell_core::{Config, Engine};
use ironbell_types::{
    AccountId, Amount, Command, FirmId, Funding, InstrumentId, MassCancel, Nanos, OpenDay, PortId, Side,
    TimeInForce, UserRefIdx, UserRefNum,
};
use venue::{USD, Venue, cancel, modify, order, replace};

/// splitmix64.
struct Rng(u64);

impl Rng {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

/// A member's or administrator's next command; `nums` are the numbers used by port.
fn next(rng: &mut Rng, nums: &mut [u32; 3], date: &mut u32, prices: u64, ask: Option<Command>) -> Command {
    if let Some(ask) = ask.filter(|_| rng.below(3) == 0) {
        return ask;
    }
    let port = 1 + rng.below(3) as u32;
    let last = nums[port as usize - 1];
    let some_num = last.saturating_sub(rng.below(12) as u32);
    let side = Side::ALL[rng.below(8).min(4).saturating_sub(1) as usize];
    let price = 1 + rng.below(prices);
    let mut fresh = || {
        nums[port as usize - 1] += 1;
        nums[port as usize - 1]
    };
    match rng.below(100) {
        0..55 => {
            let mut enter = order(port, fresh(), side, 1 + rng.below(20), price.cast_signed());
            enter.time_in_force = TimeInForce::ALL[rng.below(9).saturating_sub(6) as usize];
            enter.options.post_only = if rng.below(9) == 0 { b'P' } else { 0 };
            enter.options.group = Some(rng.below(3) as u16).filter(|group| *group < 2);
            Command::EnterOrder(enter)
        }
        55..75 => {
            let mut change = replace(port, some_num, fresh(), 1 + rng.below(30), price);
            change.wire_price += u64::from(rng.below(30) == 0);
            Command::ReplaceOrder(change)
        }
        75..85 => cancel(port, some_num, rng.below(10)),
        85..93 => modify(port, some_num, side, rng.below(20)),
        93..95 => Command::MassCancel(MassCancel {
            port: PortId(port),
            user_ref_idx: UserRefIdx(0),
            user_ref_num: UserRefNum(fresh()),
            firm: FirmId(port),
            instrument: InstrumentId(rng.below(2) as u32),
            group: Some(rng.below(4) as u16).filter(|group| *group < 2),
            side: Some(side).filter(|_| rng.below(2) == 0),
            fault: None,
        }),
        95..98 => Command::Fund(Funding {
            id: rng.below(1 << 40),
            account: AccountId(port),
            asset: USD,
            amount: Amount(i128::from(rng.below(20_000)) - 10_000),
        }),
        98 => {
            *date += 1;
            *nums = [0; 3];
            Command::OpenDay(OpenDay { date: *date, midnight: Nanos(0) })
        }
        _ => Command::Tick,
    }
}

fn flow(seed: u64, commands: usize) -> Venue {
    let mut rng = Rng(seed);
    let (maker, taker) = (rng.below(40) as u16 * 3, rng.below(40) as u16 * 7);
    let (usd, stock) = (i128::from(rng.below(300_000)), i128::from(rng.below(3_000)));
    let prices = [1, 3, 10, 200][rng.below(4) as usize];
    let mut venue = Venue::new(maker, taker, usd, stock);
    let (mut nums, mut date) = ([0; 3], 20_261_121);
    for _ in 0..commands {
        let ask = venue.engine.pending_asks().next();
        let command = next(&mut rng, &mut nums, &mut date, prices, ask);
        // Checks every invariant.
        venue.run(command);
    }
    venue
}

#[test]
fn every_invariant_holds_after_every_command() {
    for seed in 0..60 {
        println!("seed {seed}");
        let venue = flow(seed, 1_500);
        let legs = venue.events.iter().filter(|e| matches!(e.body, ironbell_types::EventBody::Settled(_)));
        println!("{} events, {} trades", venue.events.len(), legs.count() / 2);
    }
}

#[test]
fn outputs_and_hashes_are_the_same_in_any_frames_and_with_any_room() {
    for seed in 100..110 {
        println!("seed {seed}");
        let venue = flow(seed, 1_000);
        let mut engine = Engine::new(Config { key: 1, orders: 1, accounts: 1 });
        let (mut out, mut rng) = (Vec::new(), Rng(seed));
        let mut left = venue.journal.as_slice();
        while !left.is_empty() {
            let (frame, behind) = left.split_at(left.len().min(rng.below(40) as usize));
            engine.execute_frame(frame, &mut out);
            left = behind;
        }
        assert!(out == venue.events);
        assert_eq!(engine.output_hash(), venue.engine.output_hash());
        assert_eq!(engine.state_hash(), venue.engine.state_hash());
        assert_eq!(engine.last_seq(), venue.engine.last_seq());
    }
}

#[test]
fn another_command_changes_the_hashes() {
    let venue = flow(200, 50);
    let mut same = flow(200, 50);
    assert_eq!(same.engine.state_hash(), venue.engine.state_hash());
    same.run(Command::Tick);
    assert_eq!(same.engine.output_hash(), venue.engine.output_hash(), "a tick says nothing");
    assert_ne!(same.engine.state_hash(), venue.engine.state_hash(), "but time has passed");
    same.run(venue::buy(1, 1_000, 1, 1));
    assert_ne!(same.engine.output_hash(), venue.engine.output_hash());
}
