//! A venue around a gateway: the definitions, a stand-in for everything behind the rings, and members.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use ironbell_device::{Acceptor, Closed, Stream};
use ironbell_gateway::{Config, Gateway, LoginChecker};
use ironbell_session::{ClientEvent, ClientSession, Refusal};
use ironbell_sessionlog::{Config as LogConfig, Maker, Recovered, SessionLog};
use ironbell_sync::{Consumer, Producer, ring};
use ironbell_types::{
    Accepted, AccountId, Amount, AssetId, ClOrdId, Command, Credential, EnterOrder, Event, EventBody, Firm,
    FirmId, Inbound, Instrument, InstrumentId, Mpid, Nanos, OpenDay, OrderKey, OrderRef, Outbound, Port,
    PortId, PortLimits, Qty, Reject, Scale, Seq, Stage, Symbol, UserRefNum, Username,
};
use ironbell_wire::soup::LoginRequest;
use ironbell_wire::{Type, U32, U64, native, ouch};

pub const SECOND: u64 = 1_000_000_000;
pub const DAY: OpenDay = OpenDay { date: 20_261_121, midnight: Nanos(1_000_000) };
pub const SESSION: [u8; 10] = *b"0020261121";

/// A credential that [`Plain`] understands: the password itself.
pub fn plain(password: &str) -> Credential {
    let mut hash = [b' '; 32];
    hash[..password.len()].copy_from_slice(password.as_bytes());
    Credential { salt: [0; 16], hash, memory_kib: 8, passes: 1, lanes: 1 }
}

/// Checks passwords at once.
#[derive(Debug, Default)]
pub struct Plain(VecDeque<(u64, bool)>);

impl LoginChecker for Plain {
    fn submit(&mut self, id: u64, password: [u8; 10], credential: Credential) -> bool {
        self.0.push_back((id, credential.hash[..10] == password));
        true
    }

    fn poll(&mut self) -> Option<(u64, bool)> {
        self.0.pop_front()
    }
}

pub fn instrument(id: u32, symbol: &str, scale: Scale) -> Instrument {
    Instrument {
        id: InstrumentId(id),
        symbol: Symbol::new(symbol).expect("it fits"),
        base: AssetId(id + 1),
        quote: AssetId(1),
        scale,
        tick_value: 1,
        lot_units: 1,
        round_lot: 100,
        maker_fee_bps: 0,
        taker_fee_bps: 0,
    }
}

pub fn port(id: u32, firm: u32, credential: Credential) -> Port {
    Port {
        id: PortId(id),
        username: Username::new(&format!("PORT{id}")).expect("it fits"),
        firm: FirmId(firm),
        account: AccountId(firm),
        limits: PortLimits { qty_max: Qty(1_000_000), notional_max: Amount(1 << 100) },
        credential,
    }
}

/// Two instruments (ticks of a cent; scaled), two firms, ports 1 to 3 (the last of firm 2).
pub fn definitions(credential: Credential) -> Vec<EventBody> {
    let firm = |id, mpid| Firm { id: FirmId(id), mpid: Mpid::new(mpid).expect("it fits") };
    vec![
        EventBody::InstrumentDefined(instrument(1, "IRON", Scale::EquityExact { price_tick: 100 })),
        EventBody::InstrumentDefined(instrument(2, "BELLUSD", Scale::Scaled)),
        EventBody::FirmDefined(firm(1, "AAAA")),
        EventBody::FirmDefined(firm(2, "BB")),
        EventBody::PortDefined(port(1, 1, credential)),
        EventBody::PortDefined(port(2, 1, credential)),
        EventBody::PortDefined(port(3, 2, credential)),
    ]
}

pub fn event(seq: u64, body: EventBody) -> Event {
    Event { seq: Seq(seq), time: Nanos(DAY.midnight.0 + seq), stage: Stage::Risk, step: 0, body }
}

pub fn accepted(order: &EnterOrder, seq: u64) -> Accepted {
    Accepted {
        key: order.key(),
        order_ref: OrderRef::new(Seq(seq), 0),
        firm: FirmId(1),
        instrument: order.instrument,
        side: order.side,
        qty: order.qty,
        price: order.price,
        time_in_force: order.time_in_force,
        display: order.display,
        capacity: order.capacity,
        cl_ord_id: order.cl_ord_id,
        options: order.options,
        booked: true,
        shown_qty: order.qty,
    }
}

/// What is behind the rings: it accepts every order without fault, and remembers what it said.
pub struct Behind {
    pub from_gateway: Consumer<Inbound>,
    pub to_gateway: Producer<Outbound>,
    pub journal: Vec<Event>,
    pub commands: Vec<Command>,
    incarnations: [u32; 4],
}

impl Behind {
    pub fn say(&mut self, body: EventBody) {
        let event = event(self.journal.len() as u64 + 1, body);
        self.journal.push(event);
        self.to_gateway.push(Outbound { received: 0, event }).expect("the gateway drains its ring");
    }

    /// Executes what came, at most `count` commands.
    pub fn execute(&mut self, count: usize) {
        for _ in 0..count {
            let Ok(Inbound { command, .. }) = self.from_gateway.pop() else { break };
            self.commands.push(command);
            let seq = self.journal.len() as u64 + 1;
            match command {
                Command::Login(login) => {
                    let incarnation = &mut self.incarnations[login.port.0 as usize];
                    *incarnation += 1;
                    let incarnation = *incarnation;
                    self.say(EventBody::LoggedIn { port: login.port, incarnation });
                }
                Command::Logout(logout) => {
                    self.say(EventBody::LoggedOut { port: logout.port, incarnation: logout.incarnation });
                }
                Command::EnterOrder(order) => match order.fault {
                    None => self.say(EventBody::Accepted(accepted(&order, seq))),
                    Some(reason) => {
                        self.say(EventBody::Rejected {
                            key: order.key(),
                            reason,
                            cl_ord_id: order.cl_ord_id,
                        });
                    }
                },
                Command::AccountQuery(query) => self.say(EventBody::AccountQueried {
                    port: query.port,
                    user_ref_idx: query.user_ref_idx,
                    next: UserRefNum(1),
                }),
                Command::Quote(quote) => self.say(EventBody::Rejected {
                    key: OrderKey::new(quote.port, quote.user_ref_idx, quote.user_ref_num),
                    reason: Reject::Halted,
                    cl_ord_id: ClOrdId::default(),
                }),
                Command::Control(control) => self.say(EventBody::Controlled(control)),
                other => panic!("the tests do not send {other:?}"),
            }
        }
    }
}

/// A directory that goes away with the test.
#[derive(Debug)]
pub struct Dir(pub PathBuf);

impl Dir {
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name =
            format!("ironbell-gateway-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        Self(std::env::temp_dir().join(name))
    }

    pub fn log(&self) -> (SessionLog, Maker) {
        let config = LogConfig {
            segment_size: 128 << 10,
            segments_max: 512,
            streams_max: 16,
            ..LogConfig::new(self.0.clone())
        };
        SessionLog::open(&config).expect("the temporary directory can be used")
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A gateway with everything around it, and a clock that only the test moves.
pub struct Venue<A: Acceptor, L> {
    pub gateway: Gateway<A, L>,
    pub behind: Behind,
    pub maker: Maker,
    pub now: Nanos,
}

pub fn config() -> Config {
    Config { sessions_max: 8, input_size: 1024, output_size: 1024, ..Config::default() }
}

impl<A: Acceptor, L: LoginChecker> Venue<A, L> {
    /// A venue that recovers `journal` with the log in `dir`.
    pub fn recover(
        config: Config,
        acceptor: A,
        checker: L,
        dir: &Dir,
        journal: Vec<Event>,
    ) -> (Self, Recovered) {
        let (gateway_sequencer, from_gateway) = ring(64);
        let (to_gateway, release_gateway) = ring(4096);
        let (log, maker) = dir.log();
        let mut gateway = Gateway::new(config, acceptor, log, gateway_sequencer, release_gateway, checker);
        let mut incarnations = [0; 4];
        for event in &journal {
            gateway.replay(event).expect("the log has room");
            if let EventBody::LoggedIn { port, incarnation } = event.body {
                incarnations[port.0 as usize] = incarnation;
            }
        }
        let recovered = gateway.end_recovery();
        let behind = Behind { from_gateway, to_gateway, journal, commands: Vec::new(), incarnations };
        (Self { gateway, behind, maker, now: Nanos(SECOND) }, recovered)
    }

    /// A new venue, its day open.
    pub fn open(config: Config, acceptor: A, checker: L, dir: &Dir, credential: Credential) -> Self {
        let mut bodies = definitions(credential);
        bodies.push(EventBody::DayOpened(DAY));
        let journal = bodies.into_iter().zip(1..).map(|(body, seq)| event(seq, body)).collect();
        Self::recover(config, acceptor, checker, dir, journal).0
    }

    /// One turn of everything.
    pub fn turn(&mut self) {
        self.gateway.poll(self.now);
        self.behind.execute(usize::MAX);
        self.maker.poll().expect("the temporary directory has room");
        assert!(self.gateway.failure().is_none(), "{:?}", self.gateway.failure());
    }

    /// Turns until `done`; fails after so many that waiting longer is pointless.
    pub fn until(&mut self, mut done: impl FnMut(&mut Self) -> bool) {
        for _ in 0..100_000 {
            if done(self) {
                return;
            }
            self.turn();
        }
        panic!("it never came to pass: {:?}", self.gateway.counters());
    }
}

/// What a member heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    In([u8; 10], u64),
    Refused(Refusal),
    Message(u64, Vec<u8>),
    Debug(String),
    Ended,
    Closed,
}

/// A member at its end of a connection.
pub struct Member<S> {
    pub stream: Option<S>,
    pub session: ClientSession,
    pub heard: Vec<Heard>,
}

impl<S: Stream> Member<S> {
    pub fn new(stream: S, now: Nanos) -> Self {
        let session = ClientSession::new(&ironbell_session::Config::default(), now);
        Self { stream: Some(stream), session, heard: Vec::new() }
    }

    pub fn login(mut self, port: u32, password: &str, session: &str, sequence: u64) -> Self {
        let username = format!("port{port}");
        self.session
            .login(&LoginRequest::new(&username, password, session, sequence).expect("the texts fit"));
        self
    }

    /// Writes and reads what can be, without reading more than `count` bytes.
    pub fn pump(&mut self, now: Nanos, count: usize) {
        if self.pump_bytes(now, count).is_err() {
            self.stream = None;
            self.heard.push(Heard::Closed);
        }
    }

    fn pump_bytes(&mut self, now: Nanos, count: usize) -> Result<(), Closed> {
        let Some(stream) = &mut self.stream else { return Ok(()) };
        // What the venue wrote before it closed is read even if nothing can be written any more.
        let written = stream.write(self.session.output());
        self.session.sent(*written.as_ref().unwrap_or(&0), now);
        if count > 0 {
            let space = self.session.space();
            let count = count.min(space.len());
            let count = stream.read(&mut space[..count])?;
            self.session.received(count, now);
        }
        while let Some(event) = self.session.next().expect("the venue keeps the protocol") {
            self.heard.push(match event {
                ClientEvent::Accepted { session, first } => Heard::In(session, first),
                ClientEvent::Refused(refusal) => Heard::Refused(refusal),
                ClientEvent::Message { number, message } => Heard::Message(number, message.to_vec()),
                ClientEvent::Unsequenced(_) => panic!("the venue sends no unsequenced data"),
                ClientEvent::Debug(text) => Heard::Debug(String::from_utf8_lossy(text).into_owned()),
                ClientEvent::Ended => Heard::Ended,
            });
        }
        Ok(())
    }

    pub fn messages(&self) -> Vec<(u64, Vec<u8>)> {
        let message = |heard: &Heard| match heard {
            Heard::Message(number, bytes) => Some((*number, bytes.clone())),
            _ => None,
        };
        self.heard.iter().filter_map(message).collect()
    }

    pub fn is_closed(&self) -> bool {
        self.stream.is_none()
    }
}

/// An Enter Order without options.
pub fn enter_order(user_ref_num: u32) -> Vec<u8> {
    let order = ouch::EnterOrder {
        message_type: Type::new(),
        user_ref_num: U32::new(user_ref_num),
        side: b'B',
        quantity: U32::new(100),
        symbol: *b"IRON    ",
        price: U64::new(10_000),
        time_in_force: b'0',
        display: b'Y',
        capacity: b'P',
        inter_market_sweep: b'N',
        cross_type: b'N',
        cl_ord_id: *b"an order      ",
    };
    encode(&order, &ouch::OptionsBuf::EMPTY)
}

/// A mass quote of so many entries.
pub fn mass_quote(first: u32, count: usize) -> Vec<u8> {
    let entry = native::QuoteEntry {
        symbol: *b"IRON    ",
        bid_quantity: native::U64::new(100),
        bid_price: native::I64::new(99),
        ask_quantity: native::U64::new(100),
        ask_price: native::I64::new(101),
    };
    let quote = native::MassQuote { user_ref_num: native::U32::new(first), user_ref_idx: 0, capacity: b'P' };
    let mut bytes = vec![0; native::mass_quote_len(count)];
    quote.encode_with(&vec![entry; count], &mut bytes).expect("it has its length");
    bytes
}

pub fn encode<M: ouch::OuchMessage>(message: &M, options: &ouch::OptionsBuf) -> Vec<u8> {
    let mut bytes = vec![0; ouch::MESSAGE_LEN_MAX];
    let len = message.encode(options, &mut bytes).expect("the buffer holds the longest message");
    bytes.truncate(len);
    bytes
}
