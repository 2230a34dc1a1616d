//! Runs every file of `scenarios/` on the engine and on the naive one. Both must tell what the file
//! tells. `IRONBELL_BLESS=1` writes what they told into the files, to be read before it is committed.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use ironbell_core::{Config, Engine};
use ironbell_tests::oracle::{Balance, Oracle};
use ironbell_tests::scenario::{Resting, Venue, transcript};
use ironbell_types::{Event, InstrumentId, Sequenced};

/// Sizes of icebergs' parts depend on it.
const KEY: u64 = 1;

struct Core(Engine);

impl Venue for Core {
    fn execute(&mut self, command: &Sequenced) -> Vec<Event> {
        let mut said = Vec::new();
        self.0.execute(command, &mut said);
        self.0.check_invariants();
        said
    }

    fn book(&self, instrument: InstrumentId) -> Vec<Resting> {
        let order = |o: ironbell_core::BookOrder, waits| Resting {
            key: o.key,
            buys: o.buys,
            price: o.price,
            leaves_qty: o.leaves_qty,
            shown_qty: o.shown.qty,
            waits,
        };
        let resting = self.0.book(instrument).map(|o| order(o, false));
        resting.chain(self.0.waiting(instrument).map(|o| order(o, true))).collect()
    }

    fn balances(&self) -> Vec<Balance> {
        let balance = |b: &ironbell_core::Balance| Balance {
            account: b.account,
            asset: b.asset,
            total: b.total,
            held: b.held,
        };
        self.0.balances().iter().map(balance).collect()
    }
}

struct Naive(Oracle);

impl Venue for Naive {
    fn execute(&mut self, command: &Sequenced) -> Vec<Event> {
        let said = self.0.execute(command);
        self.0.check().expect("the naive engine keeps its own invariants");
        said
    }

    fn book(&self, instrument: InstrumentId) -> Vec<Resting> {
        self.0.book(instrument).iter().map(Resting::from).collect()
    }

    fn balances(&self) -> Vec<Balance> {
        let mut balances = self.0.balances();
        balances.retain(|b| b.total.0 != 0 || b.held.0 != 0);
        balances
    }
}

#[test]
fn scenarios_go_as_they_are_told() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let bless = std::env::var_os("IRONBELL_BLESS").is_some();
    let mut files: Vec<PathBuf> = fs::read_dir(&folder)
        .expect("scenarios/ is readable")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "txt"));
    files.sort();
    assert!(files.len() >= 10, "scenarios are missing");

    let mut broken = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).expect("a scenario is readable");
        let name = file.file_name().expect("a name").to_string_lossy().into_owned();
        let by_core = told_by_both(&name, &text);
        if bless {
            fs::write(&file, &by_core).expect("a scenario is writable");
        } else if by_core != text {
            broken.push(format!("{name}:\n{}", first_difference(&text, &by_core)));
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// What both engines tell of the commands of `text`.
fn told_by_both(name: &str, text: &str) -> String {
    let engine = Engine::new(Config { key: KEY, orders: 16, accounts: 4 });
    let by_core = transcript(text, &mut Core(engine)).unwrap_or_else(|why| panic!("{name}: {why}"));
    let by_oracle =
        transcript(text, &mut Naive(Oracle::new(KEY))).unwrap_or_else(|why| panic!("{name}: {why}"));
    assert!(
        by_core == by_oracle,
        "{name}: core and oracle differ\n{}",
        first_difference(&by_oracle, &by_core)
    );
    by_core
}

const OPENING: &str = "instrument XYZ in USD
day 20261120
member alice
member bob
fund alice USD 100000000
fund alice XYZ 100000000
fund bob USD 100000000
";

/// The last words of a transcript.
fn ends_with(told: &str, words: &[&str]) -> bool {
    let lines: Vec<&str> = told.lines().collect();
    lines.ends_with(words)
}

#[test]
fn of_pegs_and_trailing_stops_64_of_a_firm_and_4096_of_all_find_room() {
    for (terms, room_is) in [("peg primary", "on the book, hidden"), ("trail 5", "waiting")] {
        let mut text = OPENING.to_owned();
        let mut ends = |line: &str, words: &[&str]| {
            writeln!(text, "{line}").expect("writing to a string");
            assert!(ends_with(&told_by_both(terms, &text), words), "{terms}: {line}");
        };
        let order = |who: &str, number| format!("{who} {number}: buy 1 XYZ at 100 {terms}");
        let refused = |who: &str, number| {
            [
                format!("> {who} {number} accepted: buy 1 XYZ at 100"),
                format!("> {who} {number} cancelled: 1 gone, 0 left, Immediate, not shown"),
            ]
        };
        let rests = |who: &str, number| [format!("> {who} {number} accepted: buy 1 XYZ at 100, {room_is}")];
        let all = |who: &str| (1..=64).map(|number| order(who, number)).collect::<Vec<_>>().join("\n");
        let [accepted, cancelled] = refused("alice", 65);
        ends(&format!("{}\n{}", all("alice"), order("alice", 65)), &[&accepted, &cancelled]);
        // Nobody else is locked out, and where one leaves, one finds room.
        ends(&order("bob", 1), &[&rests("bob", 1)[0]]);
        ends(&format!("alice cancel 7\n{}", order("alice", 66)), &[&rests("alice", 66)[0]]);
        // 62 firms besides alice and bob, and one more: once, since it takes a while.
        if terms.starts_with("trail") {
            continue;
        }
        let others: Vec<String> = (3..=64).map(|at| format!("m{at}")).collect();
        let mut lines: Vec<String> = others
            .iter()
            .map(|who| format!("member {who}\nfund {who} USD 100000000\n{}", all(who)))
            .collect();
        lines.push((2..=64).map(|number| order("bob", number)).collect::<Vec<_>>().join("\n"));
        lines.push(format!("member late\nfund late USD 100000000\n{}", order("late", 1)));
        let [accepted, cancelled] = refused("late", 1);
        ends(&lines.join("\n"), &[&accepted, &cancelled]);
    }
}

#[test]
fn of_a_pro_rata_line_4096_orders_share() {
    let mut text = format!("{OPENING}rules XYZ pro-rata\n");
    for number in 1..=4_096 {
        writeln!(text, "alice {number}: sell 1 XYZ at 100").expect("writing to a string");
    }
    // By size the last in line would get both lots.
    text.push_str("alice 4097: sell 9000000 XYZ at 100\nbob 1: buy 2 XYZ at 100\n");
    let told = told_by_both("pro-rata line", &text);
    let trades: Vec<&str> = told.lines().filter(|line| line.starts_with("> trade")).collect();
    let expected = [
        "> trade of 1 at 100: bob 1 (1 left) buys from alice 1 (0 left)",
        "> trade of 1 at 100: bob 1 (0 left) buys from alice 2 (0 left)",
    ];
    assert_eq!(trades, expected);
}

#[test]
fn what_a_command_of_too_many_trades_leaves_goes_on_with_the_next_tick() {
    let text = format!(
        "{OPENING}fund bob USD 10000000000
alice 1: sell 70000 XYZ at 100 show 1
bob 1: buy 5 XYZ at 100 stop 100
bob 2: buy 70000 XYZ at 100 fok
bob 3: buy 70000 XYZ at 100
tick
tick
book XYZ
"
    );
    let told = told_by_both("too many trades", &text);
    let lines = |start: &str| told.lines().filter(|line| line.starts_with(start)).count();
    assert_eq!(lines("> trade of 1 at 100: bob 3"), 65_534);
    assert_eq!(lines("> bob 2 cancelled: 70000 gone, 0 left, Immediate"), 1);
    // 70,000 - 65,534.
    assert_eq!(lines("> bob 3 cancelled: 4466 gone, 0 left, Immediate"), 1);
    // The first tick goes on waking: bob's stop takes its 5; the second finds nothing to do.
    assert_eq!(lines("> trade of 1 at 100: bob 1"), 5);
    assert!(ends_with(&told, &["tick", "> nothing", "book XYZ", "> ask 100: alice 1 (4461, 1 shown)"]));
}

#[test]
fn a_slice_takes_1024_orders() {
    let mut text = OPENING.to_owned();
    for number in 1..=1_025 {
        writeln!(text, "alice {number}: sell 1 XYZ at 100").expect("writing to a string");
    }
    text.push_str("alice 2000: mass cancel\nslice\nslice\n");
    let told = told_by_both("slices", &text);
    assert!(ends_with(&told, &["slice", "> alice 1025 cancelled: 1 gone, 0 left, Supervisory"]));
    assert_eq!(told.lines().filter(|line| line.ends_with("Supervisory")).count(), 1_025);
}

fn first_difference(told: &str, happened: &str) -> String {
    let mut pairs = told.lines().zip(happened.lines()).enumerate();
    let Some((at, (told, happened))) = pairs.find(|(_, (told, happened))| told != happened) else {
        return "  one ends before the other".into();
    };
    format!("  line {}\n    told:     {told}\n    happened: {happened}", at + 1)
}
