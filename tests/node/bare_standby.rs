//! A standby without a state machine: it appends what comes, and acknowledges. For who looks at a primary alone.

use std::path::Path;

use ironbell_appliance::ha::carriage::Carriage;
use ironbell_appliance::ha::primary::OUTBOX_BYTES;
use ironbell_device::kernel::Connection;
use ironbell_record::{Chain, Executed, Identity};
use ironbell_replica::message::{Asks, Hello, Message};
use ironbell_replica::standby::{Heard, Link};
use ironbell_replica::{AckPolicy, NodeId};
use ironbell_runtime::clock::boot_time;
use ironbell_store::{Options, SegmentMaker, Term, WrappedKey, Writer, format, open};
use ironbell_types::Seq;

/// An empty journal in `dir`, to be led or to copy into.
pub fn journal(dir: &Path, identity: Identity) -> (Writer, SegmentMaker) {
    let options = Options { term: Term::Copy, ..Options::default() };
    format(dir, identity, &options, WrappedKey::NONE).expect("a folder on a disk");
    let (_, writer, maker) = open(dir, &options).expect("it was just formatted");
    (writer, maker)
}

pub struct BareStandby {
    writer: Writer,
    maker: SegmentMaker,
    carriage: Carriage,
    link: Link,
}

impl BareStandby {
    /// Node 2, with an empty journal in `dir`.
    pub fn new(dir: &Path, identity: Identity, connection: Connection, ack: AckPolicy) -> Self {
        let (writer, maker) = journal(dir, identity);
        let mut carriage = Carriage::new(connection, OUTBOX_BYTES);
        let last = Chain::genesis(&identity).point();
        let hello = Hello {
            identity,
            node: NodeId::TWO,
            ack,
            asks: Asks::Frames,
            promised: writer.promised(),
            leading: None,
            last,
            epochs: Vec::new(),
            voids: writer.voids(),
        };
        Message::Hello(Box::new(hello)).encode(carriage.outbox());
        let link = Link::new(writer.promised(), last, Executed { seq: Seq(0), output_hash: 0 });
        Self { writer, maker, carriage, link }
    }

    /// Moves everything on; whether there was anything.
    pub fn poll(&mut self) -> bool {
        let Self { writer, maker, carriage, link } = self;
        let now = boot_time();
        let mut work = carriage.receive().expect("the connection stands");
        loop {
            while !writer.can_begin() {
                writer.poll().expect("the disk writes");
                maker.poll().expect("the disk writes");
            }
            let Some(message) = carriage.message().expect("a message") else { break };
            if matches!(message, Message::Hello(_)) {
                continue;
            }
            match link.receive(&message, now).expect("one history") {
                Heard::Promise(epoch) => {
                    writer.promise(epoch).expect("the disk writes");
                    link.promised(epoch);
                }
                Heard::Frame(copy) => {
                    writer.append_copy(&copy).expect("it goes on");
                    link.appended(&copy).expect("nothing is executed");
                }
                Heard::Nothing => {}
                other => panic!("{other:?}"),
            }
        }
        work += writer.poll().expect("the disk writes");
        link.durable(writer.durable_point());
        work += usize::from(link.acknowledge(now, carriage.outbox()));
        work += carriage.send().expect("the connection stands");
        work > 0
    }
}
