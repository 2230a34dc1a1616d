//! `ironbell-parquet`: a journal as four Parquet tables, for who computes with it. The journal is replayed: what the
//! venue did is a function of it.
//!
//! A program of its own, so that a node need not bring Parquet along. Start with [`commands`] and [`events`], where the
//! columns are; [`table`] writes rows as columns, [`names`] follows what is defined.

#![forbid(unsafe_code)]

mod commands;
mod events;
mod names;
mod table;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use ironbell_core::Engine;
use ironbell_hsm::open_wrap;
use ironbell_store::{DataKey, Reader};
use ironbell_types::Seq;

use crate::events::Tables;
use crate::names::Names;
use crate::table::Table;

/// Writes a journal as Parquet: commands.parquet, and by a replay orders.parquet, trades.parquet, fills.parquet.
///
/// It only reads the journal, and may be used beside a running node: it then ends where that one's first unfinished frame
/// is. Times are UTC in nanoseconds, quantities in lots, prices both in ticks (exact) and as the nearest double.
///
/// Exit codes: 0 done; 2 refused or failed, the line says why.
#[derive(Parser)]
#[command(version)]
struct Options {
    /// A node's data directory, or the journal folder in it.
    journal: PathBuf,
    /// The folder for the tables; it is made if there is none, and no file in it is overwritten.
    out: PathBuf,
    /// The key file that the journal was formatted with, if its records are enciphered.
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// The first command.
    #[arg(long, value_name = "SEQ", default_value_t = 1)]
    from: u64,
    /// The last command; by default that of the journal.
    #[arg(long, value_name = "SEQ")]
    to: Option<u64>,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(done) => {
            // Whoever asked may have closed the pipe already.
            let _ = std::io::Write::write_all(&mut std::io::stdout(), done.as_bytes());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("ironbell-parquet: {}", error.to_string().replace('\n', " "));
            ExitCode::from(2)
        }
    }
}

type Failed = Box<dyn Error>;

fn run(options: &Options) -> Result<String, Failed> {
    let nested = options.journal.join("journal");
    let dir = if nested.is_dir() { nested } else { options.journal.clone() };
    let mut reader = Reader::deciphering(&dir, data_key(&dir, options.key_file.as_deref())?)?;
    std::fs::create_dir_all(&options.out).map_err(|e| format!("{}: {e}", options.out.display()))?;
    let mut commands = Table::create(&options.out, "commands", commands::COLUMNS)?;
    let mut tables = Tables::new(
        Table::create(&options.out, "orders", events::ORDER_COLUMNS)?,
        Table::create(&options.out, "trades", events::TRADE_COLUMNS)?,
        Table::create(&options.out, "fills", events::FILL_COLUMNS)?,
    );
    let config = ironbell_core::Config { key: reader.identity().key, orders: 1 << 17, accounts: 1 << 12 };
    let (mut engine, mut names) = (Engine::new(config), Names::default());
    let mut events = Vec::new();
    let range = Seq(options.from)..=Seq(options.to.unwrap_or(u64::MAX));
    'frames: while let Some(frame) = reader.next_frame()? {
        for sequenced in frame.commands {
            if sequenced.seq > *range.end() {
                break 'frames;
            }
            let wanted = range.contains(&sequenced.seq);
            if wanted {
                let given = frame.voided.iter().find(|voided| voided.seq == sequenced.seq);
                let (epoch, void) = (frame.header.epoch, given.is_some());
                commands::add(&mut commands, given.unwrap_or(sequenced), epoch, void, &names)?;
            }
            events.clear();
            engine.execute(sequenced, &mut events);
            for event in &events {
                names.observe(&event.body);
                if wanted {
                    tables.add(event, &names)?;
                }
            }
            tables.end_command();
        }
    }
    let told = [
        ("commands", commands.finish()?),
        ("orders", tables.orders.finish()?),
        ("trades", tables.trades.finish()?),
        ("fills", tables.fills.finish()?),
    ];
    let line = |(name, rows): (&str, u64)| {
        format!("{rows} rows in {}\n", options.out.join(format!("{name}.parquet")).display())
    };
    Ok(told.map(line).concat())
}

/// The key of the journal's records, if they are enciphered.
fn data_key(dir: &Path, key_file: Option<&Path>) -> Result<Option<Arc<DataKey>>, Failed> {
    let wrapped = ironbell_store::superblock(dir)?.wrapped_key;
    let Some(key_file) = key_file else { return Ok(None) };
    if wrapped.bytes().is_empty() {
        return Err(format!("the records of {} are plain: leave the key file out", dir.display()).into());
    }
    let key = open_wrap(key_file)?.unwrap(wrapped.bytes())?;
    Ok(Some(Arc::new(DataKey::new(&key))))
}
