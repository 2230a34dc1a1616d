//! `ironbell status`, `inspect` and `replay`.

use std::io::Write;
use std::path::Path;

use ironbell_core::SHARDS_MAX;
use ironbell_types::Seq;
use serde::Serialize;

use crate::admin::{self, Request, Seen, Status};
use crate::config::{Config, data_key};
use crate::failure::Failure;
use crate::inspection::{self, Balance, Line, PhaseLine, RiskLine, Statement, table};
use crate::journal::journal_dir;
use crate::moment::{Moment, time_text};
use crate::recovery;

/// `ironbell status`.
///
/// # Errors
/// When no node runs with this configuration.
pub fn status(config: &Path, json: bool) -> Result<(), Failure> {
    let status: Status = admin::ask(&Config::read(config)?.admin_socket(), &Request::Status)?;
    print(&if json { to_json(&status)? + "\n" } else { status.to_table() })
}

/// `ironbell inspect book`.
///
/// # Errors
/// When neither a node answers nor its journal can be replayed.
pub fn book(config: &Path, json: bool) -> Result<(), Failure> {
    let lines: Vec<Line> = from_node_or_journal(&Config::read(config)?, &Request::Book, inspection::book)?;
    show_book(json, &lines)
}

fn show_book(json: bool, lines: &[Line]) -> Result<(), Failure> {
    let heading =
        ["symbol", "side", "stands", "price", "leaves", "shown", "order ref", "firm", "port", "number"];
    show(json, lines, &heading, &[false, false, false, true, true, true, true, false, false, true], |l| {
        [
            l.symbol.clone(),
            l.side.to_string(),
            l.stands.clone(),
            l.price.clone(),
            l.leaves_qty.to_string(),
            l.shown_qty.to_string(),
            l.order_ref.to_string(),
            l.mpid.clone(),
            l.port.clone(),
            l.user_ref_num.to_string(),
        ]
    })
}

/// `ironbell inspect risk`.
///
/// # Errors
/// When neither a node answers nor its journal can be replayed.
pub fn risk(config: &Path, json: bool) -> Result<(), Failure> {
    let lines: Vec<RiskLine> =
        from_node_or_journal(&Config::read(config)?, &Request::Risk, inspection::risk)?;
    let heading = ["of", "name", "rule", "limit", "used"];
    show(json, &lines, &heading, &[], |l| {
        [l.scope.clone(), l.name.clone(), l.rule.clone(), l.limit.clone(), l.used.clone()]
    })
}

/// `ironbell inspect phases`.
///
/// # Errors
/// When neither a node answers nor its journal can be replayed.
pub fn phases(config: &Path, json: bool) -> Result<(), Failure> {
    let lines: Vec<PhaseLine> =
        from_node_or_journal(&Config::read(config)?, &Request::Phases, inspection::phases)?;
    let heading = ["symbol", "phase", "last", "volume", "rules", "schedule"];
    show(json, &lines, &heading, &[false, false, true, true], |l| {
        let schedule = if l.schedule.is_empty() { "none".to_owned() } else { l.schedule.join(", ") };
        [l.symbol.clone(), l.phase.clone(), l.last.clone(), l.volume.clone(), l.rules.clone(), schedule]
    })
}

/// `ironbell inspect statement`, of every account or of one.
///
/// # Errors
/// When neither a node answers nor its journal can be replayed, or there is no such account.
pub fn statement(config: &Path, account: Option<u32>, json: bool) -> Result<(), Failure> {
    let statements: Vec<Statement> =
        from_node_or_journal(&Config::read(config)?, &Request::Statement { account }, |engine| {
            inspection::statements(engine, account)
        })?;
    if let (Some(number), true) = (account, statements.is_empty()) {
        return Err(Failure::refused(format_args!(
            "there is no account {number}; `ironbell inspect statement` shows all"
        )));
    }
    if json {
        return show(json, &statements, &[], &[], |_| []);
    }
    print(&statements.iter().map(told).collect::<Vec<_>>().join("\n"))
}

/// A statement for people.
fn told(statement: &Statement) -> String {
    let mut rows = vec![["asset", "total", "held", "available"].map(str::to_owned).to_vec()];
    rows.extend(
        statement
            .balances
            .iter()
            .map(|b| vec![b.asset.clone(), b.total.clone(), b.held.clone(), b.available.clone()]),
    );
    let mut text = format!("account {} of {}, {}\n", statement.account, statement.mpid, statement.date);
    text += &table(&rows, &[false, true, true, true]);
    if statement.trades.is_empty() {
        return text + "no trades\n";
    }
    let heading = [
        "match number",
        "symbol",
        "side",
        "quantity",
        "price",
        "amount",
        "fee",
        "asset",
        "port",
        "number",
        "",
    ];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    rows.extend(statement.trades.iter().map(|t| {
        vec![
            t.match_number.to_string(),
            t.symbol.clone(),
            t.side.to_string(),
            t.quantity.clone(),
            t.price.clone(),
            t.amount.clone(),
            t.fee.clone(),
            t.asset.clone(),
            t.port.clone(),
            t.user_ref_num.to_string(),
            if t.busted { "busted".to_owned() } else { String::new() },
        ]
    }));
    text + &table(&rows, &[true, false, false, true, true, true, true, false, false, true, false])
}

/// `ironbell inspect ledger`.
///
/// # Errors
/// When neither a node answers nor its journal can be replayed.
pub fn ledger(config: &Path, json: bool) -> Result<(), Failure> {
    let balances: Vec<Balance> =
        from_node_or_journal(&Config::read(config)?, &Request::Ledger, inspection::ledger)?;
    show_ledger(json, &balances)
}

fn show_ledger(json: bool, balances: &[Balance]) -> Result<(), Failure> {
    let heading = ["account", "asset", "total", "held", "available"];
    show(json, balances, &heading, &[false, false, true, true, true], |b| {
        [b.account.clone(), b.asset.clone(), b.total.clone(), b.held.clone(), b.available.clone()]
    })
}

#[derive(Serialize)]
struct FrameLine {
    segment: u64,
    offset: u64,
    epoch: u64,
    first_seq: u64,
    commands: u32,
    bytes: u64,
    commit_seq: u64,
    executed_seq: u64,
    chain: String,
    /// Commands in it that are void.
    void_seqs: Vec<u64>,
}

/// `ironbell inspect journal`.
///
/// # Errors
/// When the journal cannot be read, or is damaged: the place is named.
pub fn journal(config: &Path, json: bool) -> Result<(), Failure> {
    let config = Config::read(config)?;
    let mut reader = ironbell_store::Reader::deciphering(&config.journal_dir(), config.data_key()?)?;
    let mut lines = Vec::new();
    while let Some(frame) = reader.next_frame()? {
        let header = frame.header;
        let void_seqs = frame.voided.iter().map(|voided| voided.seq.0).collect();
        let (segment, offset) = (reader.segment_index(), header.place.offset);
        lines.push(FrameLine {
            segment,
            offset,
            epoch: header.epoch,
            first_seq: header.first_seq.0,
            commands: header.count,
            bytes: header.frame_bytes() as u64,
            commit_seq: header.commit.0,
            executed_seq: header.executed.seq.0,
            chain: inspection::hex(&header.chain.0[..8]),
            void_seqs,
        });
    }
    let heading = [
        "segment",
        "offset",
        "epoch",
        "first seq",
        "commands",
        "bytes",
        "commit",
        "executed",
        "chain",
        "void",
    ];
    show(json, &lines, &heading, &[true, true, true, true, true, true, true, true, false], |l| {
        [
            l.segment.to_string(),
            l.offset.to_string(),
            l.epoch.to_string(),
            l.first_seq.to_string(),
            l.commands.to_string(),
            l.bytes.to_string(),
            l.commit_seq.to_string(),
            l.executed_seq.to_string(),
            l.chain.clone(),
            l.void_seqs.iter().map(u64::to_string).collect::<Vec<_>>().join(" "),
        ]
    })
}

#[derive(Serialize)]
struct Replayed {
    #[serde(flatten)]
    hashes: inspection::Hashes,
    /// The time of the last command.
    time: String,
    /// The last Seq of the snapshot that the replay went on from; 0 is none.
    snapshot_seq: u64,
    commands: u64,
    events: u64,
    ms: f64,
    commands_per_s: f64,
    /// Open orders and balances as of then, if a moment was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    book: Option<Vec<Line>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ledger: Option<Vec<Balance>>,
}

/// What `ironbell replay` is told.
pub struct Replaying<'a> {
    /// The data directory, or the journal in it.
    pub dir: &'a Path,
    /// What its key is unwrapped with.
    pub key_file: Option<&'a Path>,
    /// On how many shards.
    pub shards: usize,
    /// Up to here, and tell books and balances.
    pub until: Option<Moment>,
    /// Use no snapshot.
    pub from_genesis: bool,
    /// As one JSON object.
    pub json: bool,
}

/// `ironbell replay`.
///
/// # Errors
/// When the journal cannot be read or is damaged, or there cannot be so many shards.
pub fn replay(asked: &Replaying<'_>) -> Result<(), Failure> {
    let Replaying { dir, key_file, shards, until, from_genesis, json } = *asked;
    if !(1..=SHARDS_MAX).contains(&shards) {
        return Err(Failure::refused(format_args!("--shards {shards} is not within 1 to {SHARDS_MAX}")));
    }
    let dir = journal_dir(dir);
    let data_key = data_key(&dir, key_file)?;
    let mut events = 0;
    let count = |_: &[_], said: &[_]| events += said.len() as u64;
    let (replayed, snapshot, passed_over) = if from_genesis {
        (recovery::replay_until(&dir, data_key, until, shards, count)?, Seq(0), Vec::new())
    } else {
        recovery::replay_shortest(&dir, data_key, until, shards, count)?
    };
    passed_over.iter().for_each(|line| eprintln!("ironbell: {line}"));
    let engine = &replayed.engine;
    let replayed = Replayed {
        hashes: inspection::hashes(engine),
        time: time_text(engine.last_time()),
        snapshot_seq: snapshot.0,
        commands: replayed.commands,
        events,
        ms: replayed.elapsed.as_secs_f64() * 1e3,
        commands_per_s: replayed.commands_per_s(),
        book: until.map(|_| inspection::book(engine)),
        ledger: until.map(|_| inspection::ledger(engine)),
    };
    if json {
        return print(&(to_json(&replayed)? + "\n"));
    }
    let h = &replayed.hashes;
    let sums =
        h.ledger_sum.iter().map(|(asset, sum)| format!("{asset} {sum}")).collect::<Vec<_>>().join(", ");
    let behind =
        if snapshot == Seq(0) { String::new() } else { format!(" behind the snapshot at seq {snapshot}") };
    print(&format!(
        "commands     {} in {:.1} ms, {:.0}/s{behind}; {} events\nseq          {}\ntime         {}\nstate hash   {}\noutput hash  {}\nbook hash    {}\nledger sums  {sums}\n",
        replayed.commands,
        replayed.ms,
        replayed.commands_per_s,
        replayed.events,
        h.seq,
        replayed.time,
        h.state_hash,
        h.output_hash,
        h.book_hash,
    ))?;
    if let (Some(book), Some(ledger)) = (&replayed.book, &replayed.ledger) {
        print("\n")?;
        show_book(false, book)?;
        print("\n")?;
        show_ledger(false, ledger)?;
    }
    Ok(())
}

/// Asks a running node; when none answers, replays the journal. Says on standard error which it was, so that
/// what is piped on stays data.
fn from_node_or_journal<T: for<'a> serde::Deserialize<'a>>(
    config: &Config,
    request: &Request,
    from: impl Fn(&ironbell_core::Engine) -> T,
) -> Result<T, Failure> {
    let (Seen { seq, seen }, whence) = match admin::ask(&config.admin_socket(), request) {
        Ok(seen) => (seen, "the running node"),
        Err(_) => {
            let (replayed, _, passed_over) =
                recovery::replay_shortest(&config.journal_dir(), config.data_key()?, None, 1, |_, _| {})?;
            passed_over.iter().for_each(|line| eprintln!("ironbell: {line}"));
            let engine = replayed.engine;
            (Seen::at(&engine, from(&engine)), "its journal, since no node answers")
        }
    };
    let _ = writeln!(std::io::stderr(), "from {whence}, at seq {seq}");
    Ok(seen)
}

fn show<T: Serialize, const N: usize>(
    json: bool,
    items: &[T],
    heading: &[&str; N],
    right: &[bool],
    row: impl Fn(&T) -> [String; N],
) -> Result<(), Failure> {
    if json {
        return print(
            &items.iter().map(|item| Ok(to_json(item)? + "\n")).collect::<Result<String, Failure>>()?,
        );
    }
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    rows.extend(items.iter().map(|item| row(item).to_vec()));
    print(&table(&rows, right))
}

fn to_json(value: &impl Serialize) -> Result<String, Failure> {
    serde_json::to_string(value)
        .map_err(|e| Failure::refused(format_args!("the answer cannot be written as JSON: {e}")))
}

/// Prints; a reader that closed the pipe (`| head`) is not a failure.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::refused(format_args!("standard output: {e}")))
        }
        _ => Ok(()),
    }
}
