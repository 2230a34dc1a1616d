//! The disk fills up under the real program: new orders are refused and cancels go on, while a reserve is still
//! untouched; with space, trading goes on; without, the node ends in good order once the reserve is used up. Nothing that
//! was acknowledged is lost.

mod trader;

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ironbell_appliance::admin::{self, Request, Status};
use ironbell_client::order_entry::{Event, NewOrder};
use ironbell_load::{Driver, DriverConfig, FlowConfig, Login, Mix, Traded, Until};
use ironbell_types::{Side, Symbol, Username};
use ironbell_wire::ouch::{OptionsBuf, Outbound};
use trader::{Node, PATIENCE, Trader};

const SECTIONS: &str = r#"durability = "none"
segment_bytes = 4194304

[genesis]
assets = [{ code = "USD", decimals = 4 }, { code = "ANVL", decimals = 0 }]
instruments = [{ symbol = "ANVL", base = "ANVL", quote = "USD", tick = "0.01" }]
firms = [{ mpid = "ALFA" }, { mpid = "BETA" }]
ports = [
    { username = "ALFA01", password = "secret", firm = "ALFA", account = 1 },
    { username = "BETA01", password = "secret", firm = "BETA", account = 2 },
]
funds = [
    { account = 1, asset = "USD", amount = "1000000000" }, { account = 1, asset = "ANVL", amount = "10000000" },
    { account = 2, asset = "USD", amount = "1000000000" },
]
"#;

/// OUCH 5.0: halted.
const HALTED: &str = "J 0x0007";

impl Trader {
    /// A buy of one share that meets nobody: what is said of it.
    fn buy(&mut self) -> String {
        let order = NewOrder::day(Side::Buy, 1, Symbol::new("ANVL").expect("short"), 10_000);
        self.member.entry().enter(&order, &OptionsBuf::EMPTY).expect("there is room");
        self.hear()
    }

    fn cancel(&mut self, num: u32) -> String {
        self.member.entry().cancel(num, 0).expect("there is room");
        self.hear()
    }

    fn hear(&mut self) -> String {
        self.next(|event| match event {
            Event::Message { message: Outbound::OrderAccepted(told, _), .. } => {
                format!("A {}", told.user_ref_num.get())
            }
            Event::Message { message: Outbound::OrderCanceled(told, _), .. } => {
                format!("C {}", told.user_ref_num.get())
            }
            Event::Message { message: Outbound::Rejected(told, _), .. } => {
                format!("J {:#06x}", told.reason.get())
            }
            other => panic!("{other:?}"),
        })
    }
}

/// A node on a small file system that is gone with its process: a tmpfs of 160 MiB. 112 MiB of it are files made
/// ahead, 24 the ballast that goes when the file `go` is there; the rest is for trading.
struct Small {
    dir: PathBuf,
    entry: SocketAddr,
    shell: Child,
}

impl Small {
    /// Runs the node; when it ends, prints its exit code, starts it again on what is left, prints that exit code, and what
    /// is in the journal.
    fn start() -> Self {
        let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("disk-full");
        // Linux takes 107 bytes (unix(7)).
        assert!(dir.as_os_str().len() <= 96, "{} is too long for a socket in it", dir.display());
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(dir.join("small")).expect("a folder");
        let entry = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port");
        let config = dir.join("node.toml");
        let text = format!(
            "data_dir = \"small/data\"\n[order_entry]\nlisten = \"{entry}\"\n[service]\nitch = \"127.0.0.1:0\"\n\
             glimpse = \"127.0.0.1:0\"\nadmin = \"{}\"\n[feed]\nrerequest = \"127.0.0.1:0\"\n[journal]\n{SECTIONS}",
            dir.join("admin.sock").display()
        );
        std::fs::write(&config, text).expect("a file of ours");
        let script = "mount -t tmpfs -o size=160m none \"$0/small\" || exit 99\n\
            head -c 25165824 /dev/zero > \"$0/small/ballast\"\n\
            \"$1\" format --config \"$0/node.toml\" >/dev/null || exit 98\n\
            (n=0; while [ ! -e \"$0/go\" ] && [ $n -lt 3000 ]; do sleep 0.1; n=$((n+1)); done; rm \"$0/small/ballast\") &\n\
            \"$1\" run --config \"$0/node.toml\" >/dev/null; echo ended $?\n\
            timeout 60 \"$1\" run --config \"$0/node.toml\" >/dev/null; echo again $?\n\
            \"$1\" journal grep \"$0/small/data\" --kind halt_order_entry\n\
            \"$1\" replay \"$0/small/data\" --json";
        let shell = Command::new("unshare")
            .args(["--map-root-user", "--mount", "--kill-child", "sh", "-c", script])
            .arg(&dir)
            .arg(env!("CARGO_BIN_EXE_ironbell"))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("unshare (util-linux) is there");
        let small = Self { dir, entry, shell };
        small.wait_for("an answer", |_| true);
        small
    }

    /// The first status that is `wanted`.
    fn wait_for(&self, what: &str, wanted: impl Fn(&Status) -> bool) -> Status {
        let begun = Instant::now();
        loop {
            let status = admin::ask::<Status>(&self.dir.join("admin.sock"), &Request::Status);
            match status {
                Ok(status) if wanted(&status) => return status,
                other => {
                    assert!(begun.elapsed() < PATIENCE, "{what} did not come: {other:?}");
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
        }
    }

    fn is_halted(&self) -> bool {
        self.wait_for("an answer", |_| true).order_entry_halted
    }
}

impl Node for Small {
    fn order_entry(&self) -> SocketAddr {
        self.entry
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = self.shell.kill();
        let _ = self.shell.wait();
    }
}

fn flow(entry: SocketAddr) -> Driver {
    let login = Login { username: Username::new("ALFA01").expect("short"), password: "secret".into() };
    let symbol = Symbol::new("ANVL").expect("short");
    let instruments = vec![Traded { symbol, mid: 1_890_000, tick: 100, qty_max: 500 }];
    let flow = FlowConfig { seed: 3, instruments, mix: Mix::default(), standing_max: 500 };
    Driver::connect(entry, DriverConfig::new(vec![login], flow, 3_000.0)).expect("it is let in")
}

/// Trades until order entry is halted.
fn fill(small: &Small, driver: &mut Driver) {
    let begun = Instant::now();
    while !small.is_halted() {
        assert!(begun.elapsed() < PATIENCE, "the disk does not fill up");
        driver.run(Until::Elapsed(Duration::from_millis(100)), |_| {});
    }
}

#[test]
fn a_full_disk_halts_order_entry_until_there_is_space_and_ends_the_node_when_there_is_none() {
    let mut small = Small::start();
    let mut trader = Trader::connect(&small, "BETA01");
    assert_eq!([trader.buy(), trader.buy(), trader.buy()], ["A 1", "A 2", "A 3"]);
    let mut driver = flow(small.entry);
    fill(&small, &mut driver);
    // Nothing new, but everybody can get out.
    assert_eq!([trader.buy(), trader.cancel(1)], [HALTED, "C 1"]);
    let mut trader = trader.reconnect(&small);
    assert_eq!([trader.buy(), trader.cancel(2)], [HALTED, "C 2"]);

    std::fs::write(small.dir.join("go"), "").expect("a file of ours");
    small.wait_for("the end of the halt", |status| !status.order_entry_halted);
    assert_eq!([trader.buy(), trader.cancel(6)], ["A 6", "C 6"]);

    // Now the refusals themselves use up the reserve, and the node ends by itself.
    fill(&small, &mut driver);
    assert_eq!([trader.buy(), trader.cancel(3)], [HALTED, "C 3"]);
    let told = driver.outcome().counts.acks();
    driver.run(Until::Elapsed(Duration::from_secs(300)), |_| {});
    let acks = driver.outcome().counts.acks();
    assert!(acks > 100, "too little was going on: {acks} acks, {told} before the second halt");

    let shell = std::mem::replace(&mut small.shell, Command::new("true").spawn().expect("it runs"));
    let output = shell.wait_with_output().expect("it ends");
    let (said, printed) = (String::from_utf8_lossy(&output.stderr), String::from_utf8_lossy(&output.stdout));
    let lines: Vec<&str> = printed.lines().collect();
    assert_eq!(lines.first(), Some(&"ended 3"), "{printed}{said}");
    // There is still room for a start, which says the same.
    assert_eq!(lines.get(1), Some(&"again 3"), "{printed}{said}");
    let reasons = said.lines().filter(|line| {
        line.starts_with("ironbell: stopped: drained, journal sealed: ")
            && line.contains("space")
            && line.contains("reserve")
    });
    assert_eq!(reasons.count(), 2, "{said}");
    for word in ["new orders are refused", "new orders are taken again"] {
        assert!(said.contains(word), "{word}: {said}");
    }
    let halts: Vec<bool> = lines
        .iter()
        .filter(|line| line.contains("halt_order_entry"))
        .map(|line| line.contains("true"))
        .collect();
    assert_eq!(halts, [true, false, true], "{printed}");
    let replayed: serde_json::Value =
        serde_json::from_str(lines.last().expect("the replay's line")).expect("JSON");
    assert!(replayed["seq"].as_u64() >= Some(acks), "{acks} acks and {replayed}");
}
