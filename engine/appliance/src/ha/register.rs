//! The thread that speaks to etcd: reads who leads, swaps it, and holds this node's lease. It may wait; nobody waits for it.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use ironbell_etcd::{Client, Lease, Swap};
use ironbell_replica::control::{Input, Seen, Swapped};
use ironbell_replica::{NodeId, Register};
use ironbell_runtime::Stop;

use crate::failure::Failure;
use crate::ha::config::Ha;

enum Ask {
    Read,
    Swap(Box<(Option<Register>, Register)>),
    HoldLease(bool),
}

/// This end of it. An answer reaches only the life of the node that asked: taken for the answer to another question, an
/// old one would say that a swap was done which was not, or pass for a fresh read.
pub struct Registrar {
    life: u64,
    asks: Sender<(u64, Ask)>,
    heard: Receiver<(u64, Input)>,
}

impl Registrar {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the configuration names no etcd that can be spoken to, or there is no thread.
    pub fn start(ha: &Ha, stop: Stop) -> Result<Self, Failure> {
        let ((asks, asked), (tell, heard)) = (channel::<(u64, Ask)>(), channel());
        let client =
            Client::new(&ha.etcd_options()).map_err(|e| Failure::refused(format_args!("ha.etcd: {e}")))?;
        let node = ha.node();
        let lease_key = |node: NodeId| format!("{}/lease/{node}", ha.key);
        let mut clerk = Clerk {
            client,
            key: ha.key.clone(),
            own_lease: lease_key(node),
            peer_lease: lease_key(node.other()),
            lease_s: ha.lease_s,
            wants_lease: false,
            lease: None,
        };
        let work = move || {
            while !stop.asked() {
                match asked.recv_timeout(clerk.pause()) {
                    Ok((life, ask)) => {
                        if let Some(input) = clerk.answer(ask)
                            && tell.send((life, input)).is_err()
                        {
                            return;
                        }
                    }
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => return,
                }
                clerk.keep_lease();
            }
        };
        std::thread::Builder::new().name("register".into()).spawn(work).map_err(Failure::no_thread)?;
        Ok(Self { life: 0, asks, heard })
    }

    /// Another life of the node begins: what was asked before is not answered any more.
    pub fn begin_life(&mut self) {
        self.life += 1;
    }

    /// Asks who leads.
    pub fn read(&self) {
        self.ask(Ask::Read);
    }

    /// Asks for a swap.
    pub fn swap(&self, expect: Option<Register>, to: Register) {
        self.ask(Ask::Swap(Box::new((expect, to))));
    }

    /// Holds the lease from now on, or gives it back.
    pub fn hold_lease(&self, hold: bool) {
        self.ask(Ask::HoldLease(hold));
    }

    fn ask(&self, ask: Ask) {
        // The thread ends with the program.
        let _ = self.asks.send((self.life, ask));
    }

    /// What it has to say.
    #[must_use]
    pub fn heard(&self) -> Option<Input> {
        self.heard.try_iter().find(|(life, _)| *life == self.life).map(|(_, input)| input)
    }
}

struct Clerk {
    client: Client,
    key: String,
    own_lease: String,
    peer_lease: String,
    lease_s: u32,
    wants_lease: bool,
    lease: Option<(Lease, Instant)>,
}

/// How long it waits for a question when it holds no lease.
const PAUSE: Duration = Duration::from_millis(50);

impl Clerk {
    /// A lease is kept alive three times as often as it must be.
    fn pause(&self) -> Duration {
        self.lease
            .map_or(PAUSE, |(lease, kept_at)| (lease.ttl / 3).saturating_sub(kept_at.elapsed()).min(PAUSE))
    }

    fn answer(&mut self, ask: Ask) -> Option<Input> {
        match ask {
            Ask::Read => Some(Input::Read(self.read())),
            Ask::Swap(swap) => {
                let (expect, to) = *swap;
                let expect = expect.map(|register| register.to_text());
                let swapped = match self.client.swap(&self.key, expect.as_deref(), &to.to_text()) {
                    Swap::Done => Swapped::Done,
                    Swap::Refused(found) => match register(found) {
                        Ok(found) => Swapped::Refused(found),
                        // Somebody has written there what is no register: nothing is known of who leads.
                        Err(()) => Swapped::Unknown,
                    },
                    Swap::Unknown(error) => {
                        tracing::warn!(%error, "whether who leads was changed is not known; it will be read");
                        Swapped::Unknown
                    }
                };
                Some(Input::Swapped(swapped))
            }
            Ask::HoldLease(hold) => {
                self.wants_lease = hold;
                if !hold && let Some((lease, _)) = self.lease.take() {
                    // It runs out by itself otherwise.
                    let _ = self.client.revoke(lease.id);
                }
                None
            }
        }
    }

    fn read(&mut self) -> Option<Seen> {
        let read = self.client.read(&[&self.key, &self.peer_lease]);
        let mut values = read.inspect_err(|error| tracing::debug!(%error, "etcd")).ok()?.into_iter();
        let found = register(values.next()?).ok()?;
        Some(Seen { register: found, peer_lease: values.next()?.is_some() })
    }

    fn keep_lease(&mut self) {
        if !self.wants_lease {
            return;
        }
        let kept = match self.lease {
            Some((lease, kept_at)) if kept_at.elapsed() < lease.ttl / 3 => return,
            Some((Lease { id, .. }, _)) => {
                self.client.keep_alive(id).map(|ttl| ttl.map(|ttl| Lease { id, ttl }))
            }
            None => Ok(None),
        };
        let granted = kept.and_then(|kept| match kept {
            Some(kept) => Ok(kept),
            None => {
                let lease = self.client.grant(self.lease_s)?;
                self.client.put(&self.own_lease, "", lease.id)?;
                tracing::info!(ttl_s = lease.ttl.as_secs(), "etcd granted a lease");
                Ok(lease)
            }
        });
        match granted {
            Ok(lease) => self.lease = Some((lease, Instant::now())),
            Err(error) => {
                tracing::debug!(%error, "etcd");
                // A lease only starts a promotion; that it is gone hurts nobody who is heard.
                self.lease = None;
            }
        }
    }
}

/// The register that a text says; an alarm when it is none.
fn register(text: Option<String>) -> Result<Option<Register>, ()> {
    text.map(|text| Register::from_text(&text)).transpose().map_err(|error| {
        tracing::error!(%error, "ALARM: what stands in etcd is no register of a pair");
    })
}

#[cfg(test)]
mod tests {
    use ironbell_record::{Chain, Identity};
    use ironbell_replica::{AckPolicy, InSync, Mode};

    use super::*;

    /// A node that stepped down while a swap was under way heard of it in its next life, and took it for the swap that it
    /// had just asked for itself.
    #[test]
    fn what_an_earlier_life_asked_is_not_answered_in_this_one() {
        // Nobody listens there: each question is answered, by the word that etcd cannot be reached.
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let nobody = free.local_addr().expect("it is bound");
        drop(free);
        let ha = Ha { node: 1, etcd: vec![format!("http://{nobody}")], ..Ha::default() };
        let stop = Stop::default();
        let mut registrar = Registrar::start(&ha, stop.clone()).expect("a thread");
        let point = Chain::genesis(&Identity { cluster: [1; 16], key: 7 }).point();
        let register = Register {
            epoch: 1,
            primary: NodeId::ONE,
            in_sync: InSync::Only(NodeId::ONE),
            mode: Mode::Alone,
            ack: AckPolicy::BothDurable,
            reason: "a test".into(),
            approver: String::new(),
            start: point,
        };
        registrar.swap(None, register);
        registrar.begin_life();
        registrar.read();
        let since = Instant::now();
        let first = loop {
            if let Some(input) = registrar.heard() {
                break input;
            }
            assert!(since.elapsed() < Duration::from_secs(60), "no answer");
            std::thread::sleep(Duration::from_millis(1));
        };
        assert_eq!(first, Input::Read(None));
        stop.ask();
    }
}
