//! The members: each sends orders on a port of its own, to whichever node lets it in, and reads what it is told from
//! where it had come to.

use std::collections::VecDeque;

use ironbell_replica::NodeId;
use ironbell_tests::rng::Rng;
use ironbell_types::{
    Account, AccountId, Amount, Asset, AssetId, Capacity, ClOrdId, Command, Credential, Display, EnterOrder,
    Event, EventBody, Firm, FirmId, Funding, Instrument, InstrumentId, Mpid, Nanos, OpenDay, OrderKey,
    OrderOptions, OrderTerms, Port, PortId, PortLimits, Price, Qty, Scale, Side, Symbol, TimeInForce,
    UserRefIdx, UserRefNum, Username,
};

/// How many there are.
pub const MEMBERS: usize = 3;

/// The commands that a venue for them begins with.
#[must_use]
pub fn genesis() -> Vec<Command> {
    let (usd, iron) = (AssetId(1), AssetId(2));
    let symbol = |text| Symbol::new(text).expect("short");
    let mut commands = vec![
        Command::DefineAsset(Asset { id: usd, code: symbol("USD"), decimals: 4 }),
        Command::DefineAsset(Asset { id: iron, code: symbol("IRON"), decimals: 0 }),
        Command::DefineInstrument(Instrument {
            id: InstrumentId(1),
            symbol: symbol("IRON"),
            base: iron,
            quote: usd,
            scale: Scale::EquityExact { price_tick: 100 },
            tick_value: 100,
            lot_units: 1,
            round_lot: 100,
            maker_fee_bps: 1,
            taker_fee_bps: 3,
        }),
    ];
    for member in 0..MEMBERS as u32 {
        let (firm, account) = (FirmId(member + 1), AccountId(member + 1));
        commands.push(Command::DefineFirm(Firm {
            id: firm,
            mpid: Mpid::new(&format!("MEM{member}")).expect("short"),
        }));
        commands.push(Command::DefineAccount(Account { id: account, firm }));
        commands.push(Command::DefinePort(Port {
            id: port(member as usize),
            username: Username::new(&format!("MEM{member}A")).expect("short"),
            firm,
            account,
            limits: PortLimits { qty_max: Qty(1_000), notional_max: Amount(1 << 40) },
            credential: Credential { salt: [0; 16], hash: [0; 32], memory_kib: 8, passes: 1, lanes: 1 },
        }));
        for (nth, asset) in [usd, iron].into_iter().enumerate() {
            let id = u64::from(member) * 2 + nth as u64 + 1;
            commands.push(Command::Fund(Funding { id, account, asset, amount: Amount(1 << 50) }));
        }
    }
    commands.push(Command::OpenDay(OpenDay { date: 20_261_121, midnight: Nanos(0) }));
    commands
}

/// The port of a member.
#[must_use]
pub fn port(member: usize) -> PortId {
    PortId(member as u32 + 1)
}

/// Whose streams an event goes on.
pub fn hear(event: &Event) -> impl Iterator<Item = usize> {
    let key = |key: OrderKey| Some(key.port().0 as usize - 1);
    let [one, other] = match event.body {
        EventBody::Accepted(accepted) => [key(accepted.key), None],
        EventBody::Rejected { key: of, .. } => [key(of), None],
        EventBody::Canceled(canceled) => [key(canceled.key), None],
        EventBody::Trade(trade) => [key(trade.resting.key), key(trade.aggressor.key)],
        _ => [None, None],
    };
    one.into_iter().chain(other)
}

/// The number of the order that the event answers, if it does.
fn answered(event: &Event) -> Option<UserRefNum> {
    match event.body {
        EventBody::Accepted(accepted) => Some(accepted.key.num()),
        EventBody::Rejected { key, .. } => Some(key.num()),
        _ => None,
    }
}

/// One member.
#[derive(Debug)]
pub struct Member {
    nth: usize,
    /// Everything it was ever told, in order.
    pub told: Vec<Event>,
    /// What it sent and had no answer to.
    pub unanswered: VecDeque<EnterOrder>,
    /// How many of those it has sent to who it is connected to.
    sent: usize,
    next: u32,
    /// Who it is connected to, and in which of its lives.
    pub connected: Option<(NodeId, u64)>,
}

impl Member {
    /// Member number `nth`, from 0.
    #[must_use]
    pub fn new(nth: usize) -> Self {
        Self { nth, told: Vec::new(), unanswered: VecDeque::new(), sent: 0, next: 1, connected: None }
    }

    /// It is connected anew: what was not answered is sent again, under the same numbers.
    pub fn connect(&mut self, node: NodeId, life: u64) {
        self.connected = Some((node, life));
        self.sent = 0;
    }

    /// Makes up an order now and then.
    pub fn trade(&mut self, rng: &mut Rng) {
        if self.unanswered.len() >= 8 || rng.below(100) >= 15 {
            return;
        }
        let order = EnterOrder {
            port: port(self.nth),
            user_ref_idx: UserRefIdx(0),
            user_ref_num: UserRefNum(self.next),
            instrument: InstrumentId(1),
            side: rng.pick(&[Side::Buy, Side::Sell]),
            qty: Qty(rng.between(1, 30)),
            price: Price(rng.between(1_000, 1_006) as i64),
            time_in_force: rng.pick(&[TimeInForce::Day, TimeInForce::Ioc]),
            display: Display::Visible,
            capacity: Capacity::Principal,
            cl_ord_id: ClOrdId::default(),
            options: OrderOptions::default(),
            terms: OrderTerms::default(),
            fault: None,
        };
        self.next += 1;
        self.unanswered.push_back(order);
    }

    /// The next order that is not sent yet.
    pub fn send(&mut self) -> Option<Command> {
        let order = self.unanswered.get(self.sent)?;
        self.sent += 1;
        Some(Command::EnterOrder(*order))
    }

    /// It is told the next thing.
    ///
    /// # Panics
    /// When it answers what was not asked, or is not the answer that is due: something was lost, or came twice.
    pub fn hear(&mut self, event: Event) {
        if let Some(number) = answered(&event) {
            let asked = self.unanswered.pop_front();
            let expected = asked.map(|order| order.user_ref_num);
            assert!(expected == Some(number), "member {} hears of {number}, not of {expected:?}", self.nth);
            self.sent = self.sent.saturating_sub(1);
        }
        self.told.push(event);
    }
}
