//! A small day of trading, written as Parquet and read back.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command as Process, Output};

use ironbell_store::{Durability, Identity, WrappedKey};
use ironbell_types::{
    Account, AccountId, Amount, Asset, AssetId, CancelOrder, Capacity, ClOrdId, Command, Control, Credential,
    Display, EnterOrder, Firm, FirmId, Funding, Instrument, InstrumentId, MatchNumber, Mpid, Nanos, OpenDay,
    OrderOptions, OrderTerms, Port, PortId, PortLimits, Price, Qty, ReplaceOrder, Scale, Seq, Sequenced,
    Side, Symbol, TimeInForce, UserRefIdx, UserRefNum, Username, VoidReason,
};
use parquet::file::reader::{FileReader, SerializedFileReader};

const IRON: InstrumentId = InstrumentId(1);

fn options() -> ironbell_store::Options {
    let durability = Durability::Buffered;
    ironbell_store::Options { durability, segment_bytes: 256 << 10, ..ironbell_store::Options::default() }
}

/// A new folder with a journal of these commands, 1 ns apart from one another.
fn journal(name: &str, commands: &[Command]) -> PathBuf {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&dir);
    let identity = Identity { cluster: *b"a venue of tests", key: 7 };
    ironbell_store::format(&dir.join("journal"), identity, &options(), WrappedKey::NONE)
        .expect("it is empty");
    let (_, mut writer, mut maker) =
        ironbell_store::open(&dir.join("journal"), &options()).expect("it is new");
    for (frame, commands) in commands.chunks(FRAME).enumerate() {
        while !writer.can_begin() {
            maker.poll().expect("room on the disk");
            writer.poll().expect("room on the disk");
        }
        let first = (frame * FRAME) as u64 + 1;
        let sequenced: Vec<Sequenced> = (first..)
            .zip(commands)
            .map(|(seq, command)| Sequenced { seq: Seq(seq), time: Nanos(DAY_NS + seq), command: *command })
            .collect();
        writer.append(&sequenced, Seq(first - 1), (Seq(0), 0)).expect("room on the disk");
    }
    writer.seal().expect("room on the disk");
    dir
}

/// Commands in a frame.
const FRAME: usize = 700;

/// 2026-11-21.
const DAY_NS: u64 = 1_795_219_200_000_000_000;

fn symbol(text: &str) -> Symbol {
    Symbol::new(text).expect("short")
}

/// Two firms with a port each, funds, and an open day: 16 commands.
fn genesis() -> Vec<Command> {
    let mut commands = vec![
        Command::DefineAsset(Asset { id: AssetId(1), code: symbol("USD"), decimals: 4 }),
        Command::DefineAsset(Asset { id: AssetId(2), code: symbol("IRON"), decimals: 0 }),
        Command::DefineInstrument(Instrument {
            id: IRON,
            symbol: symbol("IRON"),
            base: AssetId(2),
            quote: AssetId(1),
            scale: Scale::EquityExact { price_tick: 100 },
            tick_value: 100,
            lot_units: 1,
            round_lot: 100,
            maker_fee_bps: 10,
            taker_fee_bps: 30,
        }),
    ];
    for (id, mpid, username) in [(1, "ALFA", "ALFA01"), (2, "BETA", "BETA01")] {
        commands.push(Command::DefineFirm(Firm { id: FirmId(id), mpid: Mpid::new(mpid).expect("short") }));
        commands.push(Command::DefineAccount(Account { id: AccountId(id), firm: FirmId(id) }));
        commands.push(Command::DefinePort(Port {
            id: PortId(id),
            username: Username::new(username).expect("short"),
            firm: FirmId(id),
            account: AccountId(id),
            limits: PortLimits { qty_max: Qty(1_000), notional_max: Amount(1_000_000_000) },
            credential: Credential { salt: [1; 16], hash: [2; 32], memory_kib: 8, passes: 1, lanes: 1 },
        }));
        for (asset, amount) in [(1, 1_000_000_000), (2, 1_000)] {
            let id = u64::from(id) * 10 + asset;
            let (account, asset) = (AccountId(id as u32 / 10), AssetId(asset as u32));
            commands.push(Command::Fund(Funding { id, account, asset, amount: Amount(amount) }));
        }
    }
    // A name that the venue refuses, since it is taken: no row may bear it.
    commands.push(Command::DefineFirm(Firm { id: FirmId(3), mpid: Mpid::new("ALFA").expect("short") }));
    commands.push(Command::Control(Control::SetTier { tier: 1, volume_min: 5 }));
    commands.push(Command::OpenDay(OpenDay { date: 20_261_121, midnight: Nanos(DAY_NS) }));
    commands
}

fn enter(port: u32, num: u32, side: Side, qty: u64, ticks: i64, text: &str) -> Command {
    Command::EnterOrder(EnterOrder {
        port: PortId(port),
        user_ref_idx: UserRefIdx(0),
        user_ref_num: UserRefNum(num),
        instrument: IRON,
        side,
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

/// Seqs 17 to 23.
fn trading() -> Vec<Command> {
    vec![
        enter(1, 1, Side::Buy, 10, 1_025, "rests"),
        enter(2, 1, Side::Sell, 4, 1_020, "takes"),
        enter(2, 2, Side::Sell, 5_000, 1_030, "too many"),
        Command::ReplaceOrder(ReplaceOrder {
            port: PortId(1),
            user_ref_idx: UserRefIdx(0),
            orig_user_ref_num: UserRefNum(1),
            user_ref_num: UserRefNum(2),
            qty: Qty(9),
            wire_price: 102_400,
            time_in_force: TimeInForce::Day,
            display: Display::Visible,
            cl_ord_id: ClOrdId::new("lower").expect("short"),
            options: OrderOptions::default(),
            max_floor: None,
            random_reserves: None,
            expire: Nanos(0),
            fault: None,
        }),
        enter(2, 3, Side::Sell, 1, 1_024, "void"),
        Command::CancelOrder(CancelOrder {
            port: PortId(1),
            user_ref_idx: UserRefIdx(0),
            user_ref_num: UserRefNum(2),
            qty: Qty(0),
        }),
        Command::Control(Control::Bust { match_number: MatchNumber::new(Seq(18), 0), reason: b'E' }),
    ]
}

fn run(journal: &Path, out: &Path, more: &[&str]) -> Output {
    let mut program = Process::new(env!("CARGO_BIN_EXE_ironbell-parquet"));
    program.arg(journal).arg(out).args(more).output().expect("it runs")
}

/// Every row of a table: its values as text, without those that are null.
fn rows(out: &Path, table: &str) -> Vec<BTreeMap<String, String>> {
    let file = File::open(out.join(format!("{table}.parquet"))).expect("it was made");
    let reader = SerializedFileReader::new(file).expect("it is whole");
    let row = |row: parquet::record::Row| {
        let fields = row.get_column_iter().map(|(name, field)| (name.clone(), field.to_string()));
        fields.filter(|(_, value)| value != "null").collect()
    };
    reader.get_row_iter(None).expect("rows").map(|read| row(read.expect("a row"))).collect()
}

fn column<'a>(rows: &'a [BTreeMap<String, String>], name: &str) -> Vec<&'a str> {
    rows.iter().map(|row| row.get(name).map_or("", String::as_str).trim_matches('"')).collect()
}

/// Some columns of a row.
fn picked(row: &BTreeMap<String, String>, names: &str) -> String {
    // A whole decimal is shown with its point.
    let value = |name: &str| {
        row.get(name).map_or("-", String::as_str).trim_matches('"').trim_end_matches('.').to_owned()
    };
    names.split(' ').map(value).collect::<Vec<_>>().join(" ")
}

#[test]
fn a_day_of_trading_is_four_tables() {
    let commands = [genesis(), trading()].concat();
    let dir = journal("day", &commands);
    let reason = VoidReason::new("it is in the way").expect("short");
    assert_eq!(
        ironbell_store::void(&dir.join("journal"), &options(), Seq(21), reason).expect("free"),
        Seq(24)
    );
    let out = dir.join("tables");
    let output = run(&dir, &out, &[]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(
        said.split_whitespace().filter_map(|word| word.parse().ok()).collect::<Vec<u64>>(),
        [24, 5, 2, 2]
    );

    let commands = rows(&out, "commands");
    let seqs: Vec<String> = (1..=24).map(|seq: u64| seq.to_string()).collect();
    assert_eq!(column(&commands, "seq"), seqs);
    assert_eq!(
        picked(
            &commands[16],
            "seq time epoch kind void port firm symbol user_ref_num side qty price_ticks price cl_ord_id"
        ),
        format!("17 {} 1 enter_order false ALFA01 ALFA IRON 1 buy 10 1025 10.25 rests", DAY_NS + 17)
    );
    assert_eq!(
        picked(&commands[19], "kind port symbol orig_user_ref_num user_ref_num price_ticks price"),
        "replace_order ALFA01 IRON 1 2 1024 10.24"
    );
    assert_eq!(picked(&commands[20], "kind void cl_ord_id"), "enter_order true void");
    assert_eq!(picked(&commands[21], "kind symbol port side price"), "cancel_order IRON ALFA01 - -");
    assert_eq!(picked(&commands[23], "kind epoch"), "void 2");

    let orders = rows(&out, "orders");
    let told: Vec<String> = orders
        .iter()
        .map(|row| picked(row, "seq event port user_ref_num qty leaves_qty price reason cl_ord_id"))
        .collect();
    assert_eq!(
        told,
        [
            "17 accepted ALFA01 1 10 10 10.25 - rests",
            "18 accepted BETA01 1 4 4 10.2 - takes",
            "19 rejected BETA01 2 - - - MaxQuantity too many",
            "20 replaced ALFA01 2 5 5 10.24 - lower",
            "22 canceled ALFA01 2 5 0 - User -",
        ]
    );

    let trades = rows(&out, "trades");
    let names = "seq event match_number symbol qty price_ticks price aggressor_side cross buyer_port seller_port reason";
    let number = MatchNumber::new(Seq(18), 0);
    assert_eq!(
        picked(&trades[0], names),
        format!("18 trade {number} IRON 4 1025 10.25 sell - ALFA01 BETA01 -")
    );
    assert_eq!(picked(&trades[1], names), format!("23 bust {number} IRON 4 1025 10.25 - - ALFA01 BETA01 E"));

    // 4 × 10.25 = 41 USD: 410,000 of its smallest units; 10 and 30 basis points of them.
    let fills = rows(&out, "fills");
    let names = "seq port firm account side role qty leaves_qty price quote_units fee_units quote_decimals";
    assert_eq!(picked(&fills[0], names), "18 ALFA01 ALFA 1 buy resting 4 6 10.25 410000 410 4");
    assert_eq!(picked(&fills[1], names), "18 BETA01 BETA 2 sell aggressor 4 0 10.25 410000 1230 4");
}

#[test]
fn a_part_of_the_day_is_written_and_nothing_is_overwritten() {
    let dir = journal("part", &[genesis(), trading()].concat());
    let out = dir.join("tables");
    let output = run(&dir.join("journal"), &out, &["--from", "18", "--to", "19"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(column(&rows(&out, "commands"), "seq"), ["18", "19"]);
    assert_eq!(column(&rows(&out, "orders"), "event"), ["accepted", "rejected"]);
    assert_eq!((rows(&out, "trades").len(), rows(&out, "fills").len()), (1, 2));
    let before = std::fs::read(out.join("commands.parquet")).expect("it was made");
    let refused = |output: &Output, part: &str| {
        let line = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), line.lines().count()), (Some(2), 1), "{line}");
        assert!(line.contains(part), "{line}");
    };
    refused(&run(&dir, &out, &[]), "commands.parquet");
    assert_eq!(std::fs::read(out.join("commands.parquet")).expect("it is there"), before);
    refused(&run(Path::new("/nonexistent"), &dir.join("other"), &[]), "/nonexistent");
    assert!(!dir.join("other").exists(), "nothing is made for a journal that is none");
}

/// More rows than one group has.
#[test]
fn a_long_journal_has_several_groups() {
    let count = 140_000;
    let dir = journal("long", &[genesis(), vec![Command::Tick; count]].concat());
    let out = dir.join("tables");
    assert!(run(&dir, &out, &[]).status.success());
    let file = File::open(out.join("commands.parquet")).expect("it was made");
    let reader = SerializedFileReader::new(file).expect("it is whole");
    assert!(reader.num_row_groups() == 2);
    let rows = reader.metadata().file_metadata().num_rows();
    assert_eq!(rows, (count + genesis().len()) as i64);
}
