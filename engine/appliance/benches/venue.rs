//! A venue and what happens in it, as commands: shared by the benches of this crate.

use ironbell_types::{
    Account, AccountId, Amount, Asset, AssetId, CancelOrder, Capacity, ClOrdId, Command, Credential, Display,
    EnterOrder, Firm, FirmId, Funding, Instrument, InstrumentId, Mpid, Nanos, OpenDay, OrderOptions,
    OrderTerms, Port, PortId, PortLimits, Price, Qty, Scale, Seq, Sequenced, Side, Symbol, TimeInForce,
    UserRefIdx, UserRefNum, Username,
};

/// Where prices of all instruments are, in ticks.
pub const MID: i64 = 10_000;

/// A node keeps a log of each port, and no more than 65,536.
const PORTS_MAX: u32 = 60_000;

/// Assets are numbered from here on.
const ASSETS: u32 = 1_000;

/// How large the venue is.
#[derive(Clone, Copy)]
pub struct Size {
    /// Instruments, each with a base asset of its own.
    pub instruments: u32,
    /// Accounts of one firm, each with a port as long as there are ports.
    pub accounts: u32,
}

/// What makes commands one after the other, the same ones each time.
pub struct Venue {
    size: Size,
    /// The ids that come first are taken by others.
    taken: u32,
    seq: Seq,
    time: Nanos,
    random: u64,
    /// Of each port the last number used.
    numbers: Vec<u32>,
    recent: Vec<(PortId, UserRefNum)>,
}

impl Venue {
    /// A venue that goes on behind a command of this Seq and time. The first `taken` instruments, firms, accounts and
    /// ports are somebody else's.
    pub fn new(size: Size, taken: u32, seq: Seq, time: Nanos) -> Self {
        let numbers = vec![0; size.accounts as usize];
        Self { size, taken, seq, time, random: 1, numbers, recent: Vec::new() }
    }

    fn below(&mut self, limit: u32) -> u32 {
        self.random =
            self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.random >> 33) % u64::from(limit)) as u32
    }

    fn sequenced(&mut self, command: Command) -> Sequenced {
        self.seq = self.seq.next();
        self.time.0 += 1_000;
        Sequenced { seq: self.seq, time: self.time, command }
    }

    /// Everything defined and funded, and the day open.
    pub fn definitions(&mut self) -> Vec<Sequenced> {
        let (Size { instruments, accounts }, taken) = (self.size, self.taken);
        let cash = AssetId(ASSETS);
        let firm = FirmId(taken + 1);
        let symbol = |number: u32| Symbol::new(&format!("{number:05}")).expect("short");
        let mut commands = vec![Command::DefineAsset(Asset { id: cash, code: symbol(0), decimals: 2 })];
        for number in 1..=instruments {
            let base = AssetId(ASSETS + number);
            commands.push(Command::DefineAsset(Asset { id: base, code: symbol(number), decimals: 0 }));
            commands.push(Command::DefineInstrument(Instrument {
                id: InstrumentId(taken + number),
                symbol: symbol(number),
                base,
                quote: cash,
                scale: Scale::Scaled,
                tick_value: 1,
                lot_units: 1,
                round_lot: 1,
                maker_fee_bps: 1,
                taker_fee_bps: 2,
            }));
        }
        commands.push(Command::DefineFirm(Firm { id: firm, mpid: Mpid::new("MANY").expect("short") }));
        for number in 1..=accounts {
            let (account, port) = (AccountId(taken + number), PortId(taken + number));
            commands.push(Command::DefineAccount(Account { id: account, firm }));
            let port = Port {
                id: port,
                username: Username::new(&format!("{number:06}")).expect("short"),
                firm,
                account,
                limits: PortLimits { qty_max: Qty(1_000), notional_max: Amount(1 << 60) },
                credential: Credential { salt: [0; 16], hash: [0; 32], memory_kib: 8, passes: 1, lanes: 1 },
            };
            if number <= PORTS_MAX {
                commands.push(Command::DefinePort(port));
            }
            let of = self.instrument_of(number - 1);
            for (asset, amount) in [(cash, 1 << 50), (AssetId(ASSETS + of.0 - taken), 1 << 40)] {
                let id = 1 << 32 | u64::from(number) << 1 | u64::from(asset == cash);
                commands.push(Command::Fund(Funding { id, account, asset, amount: Amount(amount) }));
            }
        }
        commands.push(Command::OpenDay(OpenDay { date: 20_261_121, midnight: Nanos(0) }));
        commands.into_iter().map(|command| self.sequenced(command)).collect()
    }

    /// What the port at a place trades.
    fn instrument_of(&self, place: u32) -> InstrumentId {
        InstrumentId(self.taken + 1 + place % self.size.instruments)
    }

    /// An order of anybody, `distance` ticks on its own side of the middle; below 0 it is beyond.
    pub fn order(&mut self, distance: i64) -> Sequenced {
        let place = self.below(self.size.accounts.min(PORTS_MAX));
        let buys = self.below(2) == 0;
        let number = &mut self.numbers[place as usize];
        *number += 1;
        let (port, user_ref_num) = (PortId(self.taken + 1 + place), UserRefNum(*number));
        if self.recent.len() < 4_096 {
            self.recent.push((port, user_ref_num));
        } else {
            let at = self.below(4_096) as usize;
            self.recent[at] = (port, user_ref_num);
        }
        let order = EnterOrder {
            port,
            user_ref_idx: UserRefIdx(0),
            user_ref_num,
            instrument: self.instrument_of(place),
            side: if buys { Side::Buy } else { Side::Sell },
            qty: Qty(1 + u64::from(self.below(100))),
            price: Price(if buys { MID - distance } else { MID + 1 + distance }),
            time_in_force: TimeInForce::Day,
            display: Display::Visible,
            capacity: Capacity::Agency,
            cl_ord_id: ClOrdId::default(),
            options: OrderOptions::default(),
            terms: OrderTerms::default(),
            fault: None,
        };
        self.sequenced(Command::EnterOrder(order))
    }

    /// What comes in all day: of ten commands about five orders that rest near the middle, one that trades, and four
    /// cancels of one of the last few thousand orders, some of which are gone.
    pub fn command(&mut self) -> Sequenced {
        match self.below(10) {
            0 => self.order(-3),
            1..=5 => {
                let distance = i64::from(self.below(50));
                self.order(distance)
            }
            _ if self.recent.is_empty() => self.order(1),
            _ => {
                let at = self.below(self.recent.len() as u32) as usize;
                let (port, user_ref_num) = self.recent[at];
                let user_ref_idx = UserRefIdx(0);
                let qty = Qty(0);
                self.sequenced(Command::CancelOrder(CancelOrder { port, user_ref_idx, user_ref_num, qty }))
            }
        }
    }
}
