//! `ironbell journal`, run as an SRE runs it: on journals with one of every kind of command, damaged, torn,
//! enciphered, and beside a node that runs.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command as Process, Output};

use ironbell_appliance::{config, format, journal, trial::TrialNode};
use ironbell_types::{
    Account, AccountId, AccountQuery, Algorithm, Amount, Asset, AssetId, CancelOrder, Capacity, ClOrdId,
    Command, Control, Credential, DeadMan, Display, EnterOrder, Fees, Firm, FirmId, Funding, Instrument,
    InstrumentId, InstrumentRules, KillScope, Login, Logout, MassCancel, MassCancelSlice, MatchNumber,
    ModifyOrder, Mpid, Nanos, OpenDay, OrderEntrySwitch, OrderOptions, OrderStateQuery, OrderTerms, Phase,
    Port, PortId, PortLimits, PortRules, Price, Qty, Quote, QuoteSide, Reject, ReplaceOrder, Scale, Seq,
    Sequenced, Side, Symbol, TimeInForce, UserRefIdx, UserRefNum, Username,
};
use serde_json::Value;

const SEGMENT_BYTES: u64 = 256 << 10;
/// 2026-11-21T09:30:00Z.
const HALF_PAST_NINE: u64 = 1_795_253_400_000_000_000;

fn ironbell(args: &[&str]) -> Output {
    Process::new(env!("CARGO_BIN_EXE_ironbell")).args(args).output().expect("it runs")
}

/// Standard output of a command that ends well.
fn said(args: &[&str]) -> String {
    let output = ironbell(args);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn lines(args: &[&str]) -> Vec<Value> {
    said(args).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn seqs(lines: &[Value]) -> Vec<u64> {
    lines.iter().map(|line| line["seq"].as_u64().expect("a Seq")).collect()
}

/// Ends with this code and one line that has all of these in it.
fn assert_ends(args: &[&str], code: i32, parts: &[&str]) {
    let output = ironbell(args);
    let line = String::from_utf8_lossy(&output.stderr);
    assert_eq!(
        output.status.code(),
        Some(code),
        "{args:?}: {line}{}",
        String::from_utf8_lossy(&output.stdout)
    );
    assert_eq!(line.lines().count(), 1, "{line}");
    for part in parts {
        assert!(line.contains(part), "{part:?} is not in: {line}");
    }
}

/// A node's folder with a configuration, and the journal of these frames in it, written in order.
struct Venue {
    config: PathBuf,
    data: PathBuf,
}

impl Venue {
    fn new(name: &str, frames: &[Vec<Command>]) -> Self {
        let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("journal-{name}"));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).expect("a folder");
        let (config, data) = (dir.join("node.toml"), dir.join("data"));
        let text =
            format!("data_dir = {data:?}\n[journal]\ndurability = \"buffered\"\nsegment_bytes = 4194304\n");
        std::fs::write(&config, text).expect("a file of ours");
        let venue = Self { config, data };
        let identity = ironbell_store::Identity { cluster: *b"a test's venue 1", key: 7 };
        ironbell_store::format(&venue.journal(), identity, &options(), ironbell_store::WrappedKey::NONE)
            .expect("an empty folder");
        venue.append(1, frames);
        venue
    }

    /// Goes on behind the last Seq, with a second from one command to the next, and closes in order.
    fn append(&self, first_seq: u64, frames: &[Vec<Command>]) {
        let (_, mut writer, mut maker) =
            ironbell_store::open(&self.journal(), &options()).expect("a sound journal");
        let mut seq = first_seq - 1;
        for commands in frames {
            while !writer.can_begin() {
                maker.poll().expect("room on the disk");
                writer.poll().expect("room on the disk");
            }
            let before = Seq(seq);
            let sequenced: Vec<Sequenced> = commands
                .iter()
                .map(|command| {
                    seq += 1;
                    Sequenced { seq: Seq(seq), time: time(seq), command: *command }
                })
                .collect();
            writer.append(&sequenced, before, (Seq(0), 0)).expect("room on the disk");
        }
        writer.seal().expect("room on the disk");
    }

    fn journal(&self) -> PathBuf {
        self.data.join("journal")
    }

    fn segment(&self, index: u64) -> PathBuf {
        self.journal().join(format!("{index:010}.segment"))
    }

    fn data(&self) -> &str {
        self.data.to_str().expect("UTF-8")
    }

    fn config(&self) -> &str {
        self.config.to_str().expect("UTF-8")
    }

    /// Every file of it.
    fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let entries = std::fs::read_dir(self.journal()).expect("the folder");
        let mut files: Vec<_> = entries
            .map(|entry| entry.expect("an entry").path())
            .map(|path| (path.clone(), std::fs::read(&path).expect("a file of ours")))
            .collect();
        files.sort();
        files
    }
}

fn options() -> ironbell_store::Options {
    ironbell_store::Options {
        durability: ironbell_store::Durability::Buffered,
        segment_bytes: SEGMENT_BYTES,
        ..ironbell_store::Options::default()
    }
}

fn time(seq: u64) -> Nanos {
    Nanos(HALF_PAST_NINE + seq * 1_000_000_000)
}

const ONE: InstrumentId = InstrumentId(1);
const PORT: PortId = PortId(1);
const CHANNEL: UserRefIdx = UserRefIdx(0);

fn symbol(text: &str) -> Symbol {
    Symbol::new(text).expect("short")
}

/// Seqs 1 to 8: two assets, a share with a tick of a cent, two firms, their accounts, a port of the first.
fn genesis() -> Vec<Command> {
    let firm = |id, mpid| Command::DefineFirm(Firm { id: FirmId(id), mpid: Mpid::new(mpid).expect("short") });
    let account = |id| Command::DefineAccount(Account { id: AccountId(id), firm: FirmId(id) });
    let asset =
        |id, code, decimals| Command::DefineAsset(Asset { id: AssetId(id), code: symbol(code), decimals });
    vec![
        asset(1, "USD", 4),
        asset(2, "IRON", 0),
        Command::DefineInstrument(Instrument {
            id: ONE,
            symbol: symbol("IRON"),
            base: AssetId(2),
            quote: AssetId(1),
            scale: Scale::EquityExact { price_tick: 100 },
            tick_value: 100,
            lot_units: 1,
            round_lot: 100,
            maker_fee_bps: 1,
            taker_fee_bps: 3,
        }),
        firm(1, "ALFA"),
        firm(2, "BETA"),
        account(1),
        account(2),
        Command::DefinePort(Port {
            id: PORT,
            username: Username::new("ALFA01").expect("short"),
            firm: FirmId(1),
            account: AccountId(1),
            limits: PortLimits { qty_max: Qty(1_000), notional_max: Amount(1_000_000_000) },
            credential: Credential { salt: [1; 16], hash: [2; 32], memory_kib: 8, passes: 1, lanes: 1 },
        }),
    ]
}

fn enter(num: u32, qty: u64, ticks: i64, text: &str) -> Command {
    Command::EnterOrder(EnterOrder {
        port: PORT,
        user_ref_idx: CHANNEL,
        user_ref_num: UserRefNum(num),
        instrument: ONE,
        side: Side::Buy,
        qty: Qty(qty),
        price: Price(ticks),
        time_in_force: TimeInForce::Day,
        display: Display::Visible,
        capacity: Capacity::Agency,
        cl_ord_id: ClOrdId::new(text).expect("short"),
        options: OrderOptions::default(),
        terms: OrderTerms::default(),
        fault: None,
    })
}

fn cancel(num: u32) -> Command {
    Command::CancelOrder(CancelOrder {
        port: PORT,
        user_ref_idx: CHANNEL,
        user_ref_num: UserRefNum(num),
        qty: Qty(0),
    })
}

fn fund(id: u64, account: u32) -> Command {
    Command::Fund(Funding { id, account: AccountId(account), asset: AssetId(1), amount: Amount(12_345_678) })
}

const OPEN_DAY: Command =
    Command::OpenDay(OpenDay { date: 20_261_121, midnight: Nanos(HALF_PAST_NINE - 34_200_000_000_000) });

/// Seqs 9 to 48, one of each kind that [`genesis`] has not.
fn one_of_each_other_kind() -> Vec<Command> {
    let switch = OrderEntrySwitch {
        port: PORT,
        user_ref_idx: CHANNEL,
        user_ref_num: UserRefNum(6),
        firm: FirmId(1),
        fault: None,
    };
    let mut commands = vec![
        OPEN_DAY,
        fund(1, 1),
        Command::Login(Login { port: PORT }),
        enter(1, 100, 1_025, "tulip-1"),
        Command::ReplaceOrder(ReplaceOrder {
            port: PORT,
            user_ref_idx: CHANNEL,
            orig_user_ref_num: UserRefNum(1),
            user_ref_num: UserRefNum(2),
            qty: Qty(90),
            wire_price: 102_600,
            time_in_force: TimeInForce::Day,
            display: Display::Visible,
            cl_ord_id: ClOrdId::new("rose").expect("short"),
            options: OrderOptions::default(),
            max_floor: None,
            random_reserves: None,
            expire: Nanos(0),
            fault: None,
        }),
        Command::ModifyOrder(ModifyOrder {
            port: PORT,
            user_ref_idx: CHANNEL,
            user_ref_num: UserRefNum(2),
            side: Side::SellShort,
            qty: Qty(80),
        }),
        cancel(2),
        Command::MassCancel(MassCancel {
            port: PORT,
            user_ref_idx: CHANNEL,
            user_ref_num: UserRefNum(5),
            firm: FirmId(1),
            instrument: InstrumentId::NONE,
            group: Some(4),
            side: Some(Side::Buy),
            fault: Some(Reject::Other),
        }),
        Command::MassCancelSlice(MassCancelSlice { cause: Seq(16), slice: 0 }),
        Command::AccountQuery(AccountQuery { port: PORT, user_ref_idx: CHANNEL }),
        Command::Tick,
        Command::DisableOrderEntry(switch),
        Command::EnableOrderEntry(switch),
        Command::Quote(Quote {
            port: PORT,
            user_ref_idx: UserRefIdx(3),
            user_ref_num: UserRefNum(1),
            instrument: ONE,
            bid: QuoteSide { qty: Qty(5), price: Price(999) },
            ask: QuoteSide { qty: Qty(6), price: Price(1_001) },
            capacity: Capacity::Principal,
            fault: None,
        }),
        Command::OrderStateQuery(OrderStateQuery {
            port: PORT,
            user_ref_idx: CHANNEL,
            user_ref_num: UserRefNum(2),
        }),
        Command::DeadMan(DeadMan { port: PORT, timeout_ns: 5_000_000_000 }),
        Command::Logout(Logout { port: PORT, incarnation: 1 }),
    ];
    let limits = PortLimits { qty_max: Qty(10), notional_max: Amount(10) };
    commands.extend(
        [
            Control::SetRules {
                instrument: ONE,
                rules: InstrumentRules {
                    algorithm: Algorithm::ProRata,
                    reference: Price(1_000),
                    static_bps: 2_000,
                    ..InstrumentRules::PLAIN
                },
            },
            Control::SetSchedule {
                instrument: ONE,
                slot: 0,
                at_s: 33_900,
                phase: Some(Phase::OpeningAuction),
            },
            Control::SetPhase { instrument: InstrumentId::NONE, phase: Phase::Halted, reason: *b"T1  " },
            Control::SetPortRules { port: PORT, rules: PortRules::plain(limits) },
            Control::SetExposure {
                firm: FirmId(2),
                asset: AssetId(1),
                gross_max: Some(Amount(5_000)),
                net_max: None,
            },
            Control::SetCredit { account: AccountId(2), asset: AssetId(1), credit_max: None },
            Control::SetPosition {
                account: AccountId(2),
                instrument: ONE,
                long_max: Some(Qty(5)),
                short_max: None,
            },
            Control::Entitle { port: PORT, instrument: ONE, allowed: false },
            Control::Restrict { firm: FirmId(0), instrument: ONE, restricted: true },
            Control::Locate { id: 1, firm: FirmId(2), instrument: ONE, qty: -5 },
            Control::Kill { scope: KillScope::Venue, on: true },
            Control::SetFees {
                instrument: ONE,
                tier: 1,
                fees: Fees { maker_bps: -1, taker_bps: 3, minimum: 100 },
            },
            Control::SetTier { tier: 1, volume_min: 1_000 },
            Control::SetFirmTier { firm: FirmId(2), tier: 1 },
            Control::CloseDay,
            Control::Bust { match_number: MatchNumber(5), reason: b'E' },
            Control::Delist { instrument: ONE },
            Control::ChangeTick { instrument: ONE, price_tick: 500, tick_value: 500 },
            Control::ChangeSymbol { instrument: ONE, symbol: symbol("STEEL") },
            Control::SetDeclineLevels { levels: [300_000_000, 200_000_000, 150_000_000] },
            Control::MarketWideHalt { level: 1 },
            Control::HaltOrderEntry { on: true },
            Control::SignedHead { size: 5, root: [7; 32], epoch: 1 },
            Control::BeginGrace { grace_ns: 5_000_000_000 },
        ]
        .map(Command::Control),
    );
    commands
}

#[test]
fn every_kind_of_command_is_dumped_and_found_again() {
    let frames = [genesis(), one_of_each_other_kind(), vec![enter(7, 10, 1_000, "after")]];
    let venue = Venue::new("dump", &frames);
    let total = frames.iter().map(Vec::len).sum::<usize>() as u64;
    let dumped = lines(&["journal", "dump", venue.data()]);
    assert_eq!(seqs(&dumped), (1..=total).collect::<Vec<_>>());
    let kinds: BTreeSet<&str> = dumped.iter().map(|line| line["kind"].as_str().expect("a kind")).collect();
    let void = BTreeSet::from(["void"]);
    let of_each = journal::KINDS.iter().copied().collect::<BTreeSet<_>>();
    assert_eq!(kinds, &of_each - &void, "one of each kind is in it, but for what only `void` writes");
    let at = |seq: u64| &dumped[seq as usize - 1];
    assert_eq!(
        at(12).to_string(),
        r#"{"capacity":"agency","cl_ord_id":"tulip-1","display":"visible","epoch":1,"firm":"ALFA","kind":"enter_order","port":"ALFA01","price":"10.25","price_ticks":1025,"qty":100,"quantity":"100","seq":12,"side":"buy","symbol":"IRON","time":"2026-11-21T09:30:12.000000000Z","time_in_force":"day","user_ref_idx":0,"user_ref_num":1}"#
    );
    assert_eq!((&at(10)["amount"], &at(10)["firm"]), (&Value::from("1234.5678"), &Value::from("ALFA")));
    assert_eq!((&at(13)["price"], &at(13)["price_ticks"]), (&Value::from("10.26"), &Value::from(1_026)));
    assert_eq!(at(15)["symbol"], "IRON", "a cancel is of the instrument of the order that it names");
    assert_eq!(at(16)["fault"], "Other");
    let last = at(total);
    assert_eq!(
        (&last["symbol"], &last["price"]),
        (&Value::from("STEEL"), &Value::from("50")),
        "new name, new tick"
    );
    let text = said(&["journal", "dump", venue.data()]);
    assert!(
        text.starts_with(
            r#"{"seq":1,"time":"2026-11-21T09:30:01.000000000Z","epoch":1,"kind":"define_asset","#
        )
    );
    assert!(!text.contains("[2,2"), "a password's hash stays where it is");

    // By Seq, by time, and frame by frame.
    let range =
        |from: &str, to: &str| seqs(&lines(&["journal", "dump", venue.data(), "--from", from, "--to", to]));
    assert_eq!(range("9", "11"), [9, 10, 11]);
    assert_eq!(range("2026-11-21T09:30:09", "2026-11-21T09:30:11.999"), [9, 10, 11]);
    assert!(range("2026-11-22", "2026-11-23").is_empty());
    let frames = lines(&["journal", "dump", venue.data(), "--frames"]);
    let counts: Vec<u64> = frames.iter().map(|frame| frame["count"].as_u64().expect("a number")).collect();
    assert_eq!(counts, [0, 8, 41, 1], "the first is the empty one that begins the epoch");
    assert!(frames.windows(2).all(|pair| pair[0]["chain"] == pair[1]["previous"]), "they are chained");

    // What is looked for is found, and nothing else.
    let grep = |filter: &[&str]| seqs(&lines(&[&["journal", "grep", venue.data()], filter].concat()));
    assert_eq!(grep(&["--order", "ALFA01:2"]), [13, 14, 15, 23]);
    assert_eq!(grep(&["--order", "alfa01:3:2"]), [22], "the second side of the quote");
    assert_eq!(grep(&["--text", "tulip"]), [12]);
    assert_eq!(grep(&["--kind", "tick", "--kind", "close_day"]), [19, 40]);
    assert_eq!(grep(&["--firm", "BETA"]), [5, 7, 30, 31, 32, 35, 39]);
    assert_eq!(grep(&["--port", "alfa01", "--kind", "login"]), [11]);
    assert_eq!(grep(&["--symbol", "STEEL"]), [44, total]);
    assert_eq!(grep(&["--symbol", "IRON", "--from", "13", "--to", "23"]), [13, 14, 15, 22, 23]);
    assert_eq!(said(&["journal", "grep", venue.data(), "--firm", "BETA", "--count"]), "7\n");
    assert_ends(&["journal", "grep", venue.data(), "--text", "narcissus"], 1, &["no command matches"]);
    assert_ends(&["journal", "dump", "/nonexistent"], 2, &["/nonexistent", "no journal"]);

    let stats: Value =
        serde_json::from_str(&said(&["journal", "stats", venue.data(), "--json"])).expect("JSON");
    assert_eq!(stats["commands"], total);
    let of_kinds = stats["kinds"].as_object().expect("an object").values();
    let sum: u64 = of_kinds.map(|kind| kind["commands"].as_u64().expect("a number")).sum();
    assert_eq!(sum, total);
    assert_eq!((&stats["frames"], &stats["frames_empty"]), (&Value::from(3), &Value::from(1)));
    let frame_bytes: u64 = frames.iter().map(|frame| frame["bytes"].as_u64().expect("a number")).sum();
    assert_eq!(stats["frame_bytes"], frame_bytes);
    assert_eq!(stats["span_ns"], (total - 1) * 1_000_000_000);
    let of_slots = stats["rate"].as_array().expect("a list").iter();
    assert_eq!(of_slots.map(|slot| slot["commands"].as_u64().expect("a number")).sum::<u64>(), total);
    let table = said(&["journal", "stats", venue.data()]);
    assert!(table.contains("set_decline_levels") && table.contains("####"), "{table}");
}

/// So many frames of orders that they fill more than one segment.
fn long() -> Vec<Vec<Command>> {
    let mut frames = vec![genesis(), vec![OPEN_DAY]];
    frames.extend((0..60).map(|frame| (0..100).map(|n| enter(frame * 100 + n + 1, 1, 100, "x")).collect()));
    frames
}

#[test]
fn a_sound_journal_verifies_and_the_first_damage_is_named() {
    let venue = Venue::new("verify", &long());
    let report = |code: i32| -> Value {
        let output = ironbell(&["journal", "verify", venue.data(), "--json"]);
        assert_eq!(output.status.code(), Some(code), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("JSON")
    };
    let sound = report(0);
    assert_eq!((&sound["sound"], &sound["end"]), (&Value::from(true), &Value::from("closed in order")));
    assert_eq!((&sound["commands"], &sound["frames"]), (&Value::from(6_009), &Value::from(63)));
    let segments = sound["segments"].as_array().expect("a list").clone();
    assert!(segments.len() > 2, "{segments:?}");
    let text = said(&["journal", "verify", venue.data(), "--replay"]);
    assert!(text.contains("as written down") && text.contains("verdict      sound"), "{text}");

    // A byte in the midst of the second segment: which frame it is in, the dump knows.
    let frames = lines(&["journal", "dump", venue.data(), "--frames"]);
    let hit = frames.iter().filter(|frame| frame["segment"] == 2).nth(3).expect("a frame in it");
    let (offset, seq) =
        (hit["offset"].as_u64().expect("a number"), hit["first_seq"].as_u64().expect("a number"));
    let path = venue.segment(2);
    let whole = std::fs::read(&path).expect("the segment");
    let damaged = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        std::fs::write(&path, bytes).expect("ours");
    };
    for within in [0, 100, 300] {
        damaged(offset as usize + within);
        let found = report(1);
        assert_eq!(found["sound"], false);
        let damage = &found["damage"];
        assert_eq!(damage["file"], path.to_str().expect("UTF-8"), "{damage}");
        assert_eq!(
            (damage["offset"].as_u64(), damage["seq"].as_u64()),
            (Some(offset), Some(seq)),
            "{damage}"
        );
        let (byte, seq) = (format!("byte {offset}"), format!("Seq {seq}"));
        let parts =
            [path.to_str().expect("UTF-8"), &byte, &seq, "restore the file from the standby or a backup"];
        assert_ends(&["journal", "verify", venue.data()], 1, &parts);
        assert_ends(&["journal", "dump", venue.data(), "--from", "6009"], 2, &parts);
        assert_ends(
            &["journal", "repair", "--dry-run", "--config", venue.config()],
            1,
            &["start would refuse", &byte],
        );
        assert_ends(&["journal", "repair", "--yes", "--config", venue.config()], 2, &parts);
    }
    std::fs::write(&path, &whole).expect("ours");
    assert_eq!(report(0)["sound"], true);

    // A superblock of which one copy is left, and a journal that does not end where it was closed.
    let superblock = venue.journal().join("superblock");
    let copies = std::fs::read(&superblock).expect("the superblock");
    let mut bytes = copies.clone();
    bytes[8] ^= 1;
    std::fs::write(&superblock, &bytes).expect("ours");
    assert_eq!(report(0)["superblock_copies_sound"], 3);
    bytes[4_096 + 8] ^= 1;
    bytes[8_192 + 8] ^= 1;
    std::fs::write(&superblock, &bytes).expect("ours");
    let file = superblock.to_str().expect("UTF-8");
    assert_ends(&["journal", "verify", venue.data()], 1, &[file, "1 of 4 copies are sound", "backup"]);
    std::fs::write(&superblock, &copies).expect("ours");
    let last =
        segments.iter().rposition(|segment| segment["frames"] != 0).expect("there are frames") as u64 + 1;
    let used = segments[last as usize - 1]["used"].as_u64().expect("a number") as usize;
    let path = venue.segment(last);
    let whole = std::fs::read(&path).expect("the segment");
    let mut bytes = whole.clone();
    bytes[used - 4_096..used].fill(0);
    std::fs::write(&path, &bytes).expect("ours");
    assert_ends(&["journal", "verify", venue.data()], 1, &["closed in order behind 63 frames"]);
    std::fs::write(&path, &whole).expect("ours");
    std::fs::remove_file(venue.segment(2)).expect("ours");
    assert_ends(&["journal", "verify", venue.data()], 1, &["segment 2 is missing", "restore"]);
}

#[test]
fn a_torn_tail_is_told_and_cut_only_when_asked_for() {
    let venue = Venue::new("torn", &[genesis()]);
    // A crash: the superblock's note of the end is gone with the next opening, which this process does not close.
    {
        let (_, writer, _maker) =
            ironbell_store::open(&venue.journal(), &options()).expect("a sound journal");
        drop(writer);
    }
    let path = venue.segment(1);
    let sound: Value =
        serde_json::from_str(&said(&["journal", "verify", venue.data(), "--json"])).expect("JSON");
    assert_eq!(sound["end"], "not closed in order; nothing is torn");
    let used = sound["segments"][0]["used"].as_u64().expect("a number");
    let mut bytes = std::fs::read(&path).expect("the segment");
    bytes[used as usize..used as usize + 700].fill(0xa5);
    std::fs::write(&path, &bytes).expect("ours");
    let before = venue.files();

    let torn = said(&["journal", "verify", venue.data()]);
    let place = format!("4096 bytes at byte {used} of {}", path.display());
    assert!(torn.contains(&place) && torn.contains("verdict      sound"), "{torn}");
    let dry = said(&["journal", "repair", "--dry-run", "--config", venue.config()]);
    assert!(dry.contains(&place) && dry.contains("epoch 3"), "{dry}");
    assert_ends(&["journal", "repair", "--config", venue.config()], 2, &["--yes"]);
    assert!(venue.files() == before, "nothing was changed so far");

    let kept = venue.journal().join(format!("0000000001-{used}.torn"));
    let done = said(&["journal", "repair", "--yes", "--config", venue.config()]);
    assert!(done.contains(&kept.display().to_string()) && done.contains("epoch 3"), "{done}");
    let cut = std::fs::read(&kept).expect("it is kept");
    assert!(
        cut.len() == 4_096
            && cut[..700].iter().all(|byte| *byte == 0xa5)
            && cut[700..].iter().all(|b| *b == 0)
    );
    assert!(said(&["journal", "verify", venue.data()]).contains("closed in order"));
    assert_eq!(seqs(&lines(&["journal", "dump", venue.data()])), (1..=8).collect::<Vec<_>>());
}

/// Who reads a few lines and goes away has not broken anything.
#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let venue = Venue::new("pipe", &long());
    let program = env!("CARGO_BIN_EXE_ironbell");
    for what in ["dump", "dump --frames", "grep --kind enter_order"] {
        let script = format!("set -o pipefail; '{program}' journal {what} '{}' | head -n 2", venue.data());
        let output = Process::new("bash").args(["-c", &script]).output().expect("it runs");
        let (code, heard) = (output.status.code(), String::from_utf8_lossy(&output.stdout).lines().count());
        assert_eq!((code, heard, output.stderr.len()), (Some(0), 2, 0), "{what}");
    }
}

const GENESIS: &str = r#"
[genesis]
assets = [{ code = "USD", decimals = 4 }, { code = "ANVL", decimals = 0 }]
instruments = [{ symbol = "ANVL", base = "ANVL", quote = "USD", tick = "0.01" }]
firms = [{ mpid = "ALFA" }]
ports = [{ username = "ALFA01", password = "secret", firm = "ALFA", account = 1 }]
funds = [{ account = 1, asset = "USD", amount = "1000" }]
"#;

#[test]
fn a_running_node_is_read_beside_and_never_repaired() {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("trial-journal");
    let mut node =
        TrialNode::prepare(&dir, GENESIS, Some(Path::new(env!("CARGO_BIN_EXE_ironbell")))).expect("a node");
    node.start().expect("it starts");
    let config = node.config_path().to_str().expect("UTF-8").to_owned();
    let seq = |output: &str| output.split([' ', ':']).nth(1).and_then(|seq| seq.parse::<u64>().ok());
    let done = said(&["ctl", "--config", &config, "fund", "1", "USD", "5"]);
    let seq = seq(&done).unwrap_or_else(|| panic!("{done}"));
    // It was answered, so it is on the disk, and whoever reads the disk sees it.
    let found =
        lines(&["journal", "grep", "--config", &config, "--kind", "fund", "--from", &seq.to_string()]);
    assert_eq!((seqs(&found), &found[0]["amount"]), (vec![seq], &Value::from("5.0000")));
    let text = said(&["journal", "verify", "--replay", "--config", &config]);
    assert!(text.contains("in use by a running node") && text.contains("verdict      sound"), "{text}");
    for way in ["--dry-run", "--yes"] {
        assert_ends(&["journal", "repair", way, "--config", &config], 2, &["in use by another process"]);
    }
    assert_eq!(node.stop().expect("it ends"), 0);
    assert!(said(&["journal", "verify", "--replay", "--config", &config]).contains("closed in order"));
}

#[test]
fn an_enciphered_journal_is_read_with_its_key_alone() {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("journal-enciphered");
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).expect("a folder");
    let (path, key) = (dir.join("node.toml"), dir.join("key"));
    format::key(&key).expect("a new file");
    let text = format!(
        "data_dir = \"data\"\n[journal]\ndurability = \"buffered\"\nsegment_bytes = 4194304\nkey_file = {key:?}\n{GENESIS}"
    );
    std::fs::write(&path, text).expect("a file of ours");
    format::format(&config::Config::read(&path).expect("it is complete")).expect("a new node");
    let (config, data) = (path.to_str().expect("UTF-8"), dir.join("data"));
    let (data, key) = (data.to_str().expect("UTF-8"), key.to_str().expect("UTF-8"));
    let dumped = said(&["journal", "dump", "--config", config]);
    assert!(dumped.contains(r#""symbol":"ANVL""#));
    assert_eq!(said(&["journal", "dump", data, "--key-file", key]), dumped);
    let replayed = said(&["journal", "verify", data, "--key-file", key, "--replay"]);
    assert!(replayed.contains("enciphered") && replayed.contains("as written down"), "{replayed}");
    for what in ["verify", "dump", "stats"] {
        assert_ends(&["journal", what, data], 2, &["enciphered", "key file"]);
    }
}

/// In a release build the process aborts; here it unwinds. Which it is decides nothing.
#[test]
fn a_command_that_replay_panics_at_is_named() {
    let orders = vec![enter(2, 10, 1_000, "sound"), enter(3, 10, 1_000, "the end"), cancel(2)];
    let venue =
        Venue::new("panics", &[genesis(), vec![OPEN_DAY, fund(1, 1), enter(1, 10, 1_000, "x")], orders]);
    assert!(said(&["journal", "verify", venue.data(), "--replay"]).contains("verdict      sound"));
    let output = Process::new(env!("CARGO_BIN_EXE_ironbell"))
        .args(["journal", "verify", venue.data(), "--replay", "--json"])
        .env("IRONBELL_PLANTED_PANIC_AT_SEQ", "13")
        .output()
        .expect("it runs");
    assert_eq!(output.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((&report["sound"], &report["damage"]["seq"]), (&Value::from(false), &Value::from(13)));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("replay panics at Seq 13") && said.contains("a planted panic"), "{said}");
    assert!(!said.contains("backtrace"), "{said}");
    let shown = lines(&["journal", "dump", venue.data(), "--from", "13", "--to", "13"]);
    assert_eq!(shown[0]["cl_ord_id"], "the end");
}

const ANY_PORTS: &str = "[order_entry]\nlisten = \"127.0.0.1:0\"\n[service]\nitch = \"127.0.0.1:0\"\nglimpse = \"127.0.0.1:0\"\n\
                         [feed]\nrerequest = \"127.0.0.1:0\"\n";

/// The program, whose state machine panics at Seq 13, or at another one.
fn poisoned(seq: &str, args: &[&str]) -> Output {
    let mut program = Process::new(env!("CARGO_BIN_EXE_ironbell"));
    program.args(args).env("IRONBELL_PLANTED_PANIC_AT_SEQ", seq).output().expect("it runs")
}

/// An order that no version at hand can take: without a decision the venue would never open again.
#[test]
fn a_command_that_crashes_every_replay_is_made_void() {
    let frames = [
        genesis(),
        vec![OPEN_DAY, fund(1, 1), enter(1, 10, 1_000, "first")],
        vec![enter(2, 10, 1_000, "second"), enter(3, 10, 1_000, "poison"), cancel(2), Command::Tick],
    ];
    let venue = Venue::new("void", &frames);
    let text = std::fs::read_to_string(venue.config()).expect("ours");
    let data_dir = format!("data_dir = {:?}\n", venue.data());
    std::fs::write(venue.config(), text.replace(&data_dir, &format!("{data_dir}{ANY_PORTS}"))).expect("ours");
    let void = |planted: &str, seq: &str, reason: &str| {
        poisoned(planted, &["journal", "void", seq, "--reason", reason, "--config", venue.config()])
    };
    let before = venue.files();
    for (planted, seq, reason, parts) in [
        ("13", "13", " ", ["48 ASCII characters", "--reason"]),
        (
            "13",
            "13",
            "a reason that is so long that no superblock would take it",
            ["48 ASCII characters", ""],
        ),
        ("13", "16", "no such Seq", ["no Seq 16", "Seq 15"]),
        ("13", "12", "another one", ["replay panics at Seq 13", "Seq 12 was not made void"]),
        ("13", "11", "was committed", ["up to Seq 11 was committed", "may have been heard"]),
        ("0", "13", "nothing is wrong with it", ["replay takes it", "nothing to be done"]),
        ("15", "15", "a tick", ["the venue asks of itself", "run a version"]),
    ] {
        let output = void(planted, seq, reason);
        let line = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), line.lines().count()), (Some(2), 1), "{line}");
        assert!(parts.iter().all(|part| line.contains(part)), "{parts:?} are not in {line}");
    }
    let snapshot = ironbell_store::snapshot::path(&venue.journal(), Seq(14));
    std::fs::write(&snapshot, "its name alone counts").expect("ours");
    let taken = void("13", "13", "a version that executed it made a snapshot");
    let line = String::from_utf8_lossy(&taken.stderr).into_owned();
    assert!(line.contains("up to Seq 14") && line.contains(snapshot.to_str().expect("UTF-8")), "{line}");
    std::fs::remove_file(&snapshot).expect("ours");
    assert!(venue.files() == before, "nothing was changed so far");
    assert!(!poisoned("13", &["run", "--config", venue.config()]).status.success(), "the node cannot start");

    let output = void("13", "13", "it divides by the spread");
    let done = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{done}{}", String::from_utf8_lossy(&output.stderr));
    assert!(done.contains("Seq 13 is void: it divides by the spread; recorded at Seq 16"), "{done}");
    assert!(done.contains("replay comes to Seq 16"), "{done}");
    let again = void("13", "13", "again");
    assert!(
        String::from_utf8_lossy(&again.stderr)
            .contains("void already: it divides by the spread, recorded at Seq 16")
    );

    // Everybody who reads the journal knows, and nobody executes it.
    let dumped = lines(&["journal", "dump", venue.data(), "--from", "13"]);
    assert_eq!(seqs(&dumped), [13, 14, 15, 16]);
    assert_eq!(
        (&dumped[0]["kind"], &dumped[0]["cl_ord_id"], &dumped[0]["void"]),
        (&"enter_order".into(), &"poison".into(), &"it divides by the spread".into())
    );
    assert_eq!((&dumped[3]["kind"], &dumped[3]["void_seq"]), (&"void".into(), &13.into()));
    let verified = poisoned("13", &["journal", "verify", "--replay", "--config", venue.config()]);
    let text = String::from_utf8_lossy(&verified.stdout);
    assert!(verified.status.success(), "{text}{}", String::from_utf8_lossy(&verified.stderr));
    assert!(text.contains("void         Seq 13: it divides by the spread; recorded at Seq 16"), "{text}");
    assert!(said(&["journal", "stats", venue.data()]).contains("16, 1 void,"));
    let frames = lines(&["inspect", "journal", "--json", "--config", venue.config()]);
    assert_eq!(frames.iter().filter(|frame| frame["void_seqs"] == serde_json::json!([13])).count(), 1);
    let book = lines(&["inspect", "book", "--json", "--config", venue.config()]);
    assert_eq!(book.iter().map(|line| line["user_ref_num"].as_u64()).collect::<Vec<_>>(), [Some(1)]);

    // The node starts with it, and so it does without the cause.
    let hash = |planted: &str| {
        let replayed = poisoned(planted, &["replay", venue.data(), "--json"]);
        let replayed: Value = serde_json::from_slice(&replayed.stdout).expect("JSON");
        (replayed["state_hash"].clone(), replayed["output_hash"].clone())
    };
    assert_eq!(hash("13"), hash("0"));
    let mut node = Process::new(env!("CARGO_BIN_EXE_ironbell"))
        .args(["run", "--config", venue.config()])
        .env("IRONBELL_PLANTED_PANIC_AT_SEQ", "13")
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("it runs");
    let mut ready = String::new();
    let stdout = node.stdout.take().expect("it is piped");
    std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut ready).expect("a line");
    assert!(ready.starts_with("ready") && ready.contains("16 commands recovered"), "{ready}");
    let running = void("13", "14", "while it runs");
    assert!(String::from_utf8_lossy(&running.stderr).contains("in use by another process"));
    let id = rustix::process::Pid::from_raw(node.id().cast_signed()).expect("it is not 0");
    rustix::process::kill_process(id, rustix::process::Signal::TERM).expect("it is ours");
    assert!(node.wait().expect("it ends").success());
    let heard = void("14", "14", "the node has told of it meanwhile");
    assert!(
        String::from_utf8_lossy(&heard.stderr).contains("was executed, so its answer may have been heard")
    );
}
