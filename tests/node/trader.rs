//! A member on the real program, who hears one thing after another.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ironbell_appliance::trial::TrialNode;
use ironbell_client::order_entry::{Event, Member};
use ironbell_session::Config;
use ironbell_types::{Nanos, Username};
use ironbell_wire::ouch::Outbound;

/// How long an answer may take before the test gives up; how long it does take decides nothing.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub struct Trader {
    pub member: Member,
    clock: Instant,
}

impl Trader {
    pub fn connect(node: &impl Node, username: &str) -> Self {
        let username = Username::new(username).expect("six characters");
        let member = Member::connect(node.order_entry(), &Config::default(), username, "secret", 1, Nanos(0));
        Self { member: member.expect("the node listens"), clock: Instant::now() }.logged_in()
    }

    pub fn reconnect(mut self, node: &impl Node) -> Self {
        let now = self.now();
        self.member.reconnect(node.order_entry(), now).expect("the node listens");
        self.logged_in()
    }

    fn logged_in(mut self) -> Self {
        assert_eq!(self.next(|other| panic!("{other:?}")), "logged in");
        self
    }

    fn now(&self) -> Nanos {
        Nanos(self.clock.elapsed().as_nanos() as u64)
    }

    /// The next thing that is said, as `told` puts it, but for the start of the day.
    pub fn next(&mut self, told: impl Fn(&Event<'_>) -> String) -> String {
        let begun = self.now();
        loop {
            let now = self.now();
            self.member.poll(now).expect("the connection stands");
            while let Some(event) = self.member.next().expect("the protocol is kept") {
                match event {
                    Event::Message { message: Outbound::SystemEvent(..), .. } => {}
                    Event::LoggedIn { .. } => return "logged in".into(),
                    other => return told(&other),
                }
            }
            assert!(now.0 - begun.0 < PATIENCE.as_nanos() as u64, "no answer came");
            std::thread::sleep(Duration::from_micros(100));
        }
    }
}

/// Whose members these are.
pub trait Node {
    fn order_entry(&self) -> SocketAddr;
}

impl Node for TrialNode {
    fn order_entry(&self) -> SocketAddr {
        self.status().expect("it answers").order_entry.parse().expect("an address")
    }
}
