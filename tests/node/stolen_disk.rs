//! Who takes the disk of a node with a key file reads nothing of its members on it.

mod trader;

use std::path::{Path, PathBuf};
use std::process::Command;

use ironbell_appliance::trial::TrialNode;
use ironbell_client::order_entry::{Event, NewOrder};
use ironbell_types::{ClOrdId, Side, Symbol};
use ironbell_wire::ouch::{OptionsBuf, Outbound};
use trader::Trader;

const SECTIONS: &str = r#"segment_bytes = 4194304

[genesis]
assets = [{ code = "USD", decimals = 4 }, { code = "ANVL", decimals = 0 }]
instruments = [{ symbol = "ANVL", base = "ANVL", quote = "USD", tick = "0.01" }]
firms = [{ mpid = "ALFA" }, { mpid = "BETA" }]
ports = [
    { username = "ALFA01", password = "secret", firm = "ALFA", account = 1 },
    { username = "BETA01", password = "secret", firm = "BETA", account = 2 },
]
funds = [{ account = 1, asset = "USD", amount = "1000" }, { account = 2, asset = "ANVL", amount = "1000" }]
"#;

/// What members wrote, and who they are.
const TEXTS: [&str; 5] = ["PLANTED-BUY-01", "PLANTED-SELL-2", "PLANTED-AFTER3", "ALFA01", "ANVL"];

impl Trader {
    fn order(&mut self, side: Side, text: &str) -> String {
        let symbol = Symbol::new("ANVL").expect("short");
        let cl_ord_id = ClOrdId::new(text).expect("fourteen characters");
        let order = NewOrder { cl_ord_id, ..NewOrder::day(side, 1, symbol, 10_000) };
        self.member.entry().enter(&order, &OptionsBuf::EMPTY).expect("there is room");
        self.hear()
    }

    fn hear(&mut self) -> String {
        self.next(|event| match event {
            Event::Message { message: Outbound::OrderAccepted(told, _), .. } => {
                String::from_utf8_lossy(&told.cl_ord_id).into_owned()
            }
            Event::Message { message: Outbound::OrderExecuted(..), .. } => "executed".into(),
            other => panic!("{other:?}"),
        })
    }
}

/// Each text that stands in a file below `dir`, with the file's name.
fn found_in(dir: &Path) -> Vec<(String, &'static str)> {
    let (mut found, mut folders, mut files) = (Vec::new(), vec![dir.to_owned()], 0);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder") {
            let entry = entry.expect("an entry");
            let (path, kind) = (entry.path(), entry.file_type().expect("its type"));
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_file() {
                files += 1;
                let bytes = match std::fs::read(&path) {
                    // A segment that was just finished got its name: all is looked at again.
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => return found_in(dir),
                    read => read.expect("a file of ours"),
                };
                let name = path.strip_prefix(dir).expect("below").display().to_string();
                let stands = |text: &&&str| contains(&bytes, text.as_bytes());
                found.extend(TEXTS.iter().filter(stands).map(|text| (name.clone(), *text)));
            }
        }
    }
    assert!(files >= 5, "journal, logs and metrics are files, and {files} were looked at");
    found
}

fn contains(bytes: &[u8], text: &[u8]) -> bool {
    // The first byte alone first: most of a segment is zeros, and a test is built without optimisation.
    let (first, rest) = (text[0], &text[1..]);
    let mut at = 0;
    while let Some(next) = bytes[at..].iter().position(|byte| *byte == first) {
        at += next + 1;
        if bytes[at..].starts_with(rest) {
            return true;
        }
    }
    false
}

/// Orders, a trade, a kill, a restart, more orders: what of it lies on the disk while the node runs, after it was
/// killed, and after it has ended.
fn trade(name: &str, key_file: Option<&Path>) -> Vec<(String, &'static str)> {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("stolen-disk-{name}"));
    let key = key_file.map_or(String::new(), |file| format!("key_file = {file:?}\n"));
    let program = Path::new(env!("CARGO_BIN_EXE_ironbell"));
    let mut node = TrialNode::prepare(&dir, &format!("{key}{SECTIONS}"), Some(program)).expect("a node");
    let data = node.config().data_dir.clone();
    node.start().expect("it starts");
    let (mut buyer, mut seller) = (Trader::connect(&node, "ALFA01"), Trader::connect(&node, "BETA01"));
    assert_eq!(buyer.order(Side::Buy, TEXTS[0]), TEXTS[0]);
    assert_eq!(seller.order(Side::Sell, TEXTS[1]), TEXTS[1]);
    assert_eq!((buyer.hear(), seller.hear()), ("executed".into(), "executed".into()));
    let mut found = found_in(&data);
    node.kill();
    found.extend(found_in(&data));
    node.start().expect("it starts again");
    let mut buyer = buyer.reconnect(&node);
    assert_eq!(buyer.order(Side::Buy, TEXTS[2]), TEXTS[2]);
    assert_eq!(node.stop().expect("it ends"), 0);
    found.extend(found_in(&data));
    found.sort();
    found.dedup();
    found
}

#[test]
fn nothing_of_a_member_can_be_read_on_an_enciphered_nodes_disk() {
    let keys = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("stolen-disk-keys");
    let _ = std::fs::remove_dir_all(&keys);
    std::fs::create_dir_all(&keys).expect("a folder");
    let key = keys.join("key");
    let made = Command::new(env!("CARGO_BIN_EXE_ironbell")).arg("key").arg(&key).status().expect("it runs");
    assert!(made.success());
    assert_eq!(trade("enciphered", Some(&key)), []);
    // The same search of a plain node finds all of it, in each place.
    let found = trade("plain", None);
    for text in TEXTS {
        let holds =
            |folder: &str| found.iter().any(|(name, there)| *there == text && name.starts_with(folder));
        assert!(holds("journal/"), "{text} is not in the plain journal: {found:?}");
    }
    for (folder, text) in [("sessions/", TEXTS[0]), ("sessions/", TEXTS[2]), ("feed/", "ANVL")] {
        assert!(found.contains(&(format!("{folder}00000000.seg"), text)), "{folder} {text}: {found:?}");
    }
}
