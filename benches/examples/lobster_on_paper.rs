//! Dry run of a LOBSTER recording against a venue on paper: does priority over the shown orders
//! explain every event, and is the book equal after each?
//!
//! `cargo run --release -p ironbell-load --example lobster_on_paper -- MESSAGE.csv ORDERBOOK.csv`

use ironbell_load::lobster::{PaperVenue, Recording, Replay};
use std::fs::File;
use std::io::BufReader;
use std::process::ExitCode;

fn main() -> ExitCode {
    let paths: Vec<String> = std::env::args().skip(1).collect();
    let [messages, depths] = paths.as_slice() else {
        eprintln!("usage: lobster_on_paper MESSAGE.csv ORDERBOOK.csv");
        return ExitCode::from(2);
    };
    let open = |path: &String| match File::open(path) {
        Ok(file) => Some(BufReader::new(file)),
        Err(error) => {
            eprintln!("cannot open {path}: {error}");
            None
        }
    };
    let (Some(messages), Some(depths)) = (open(messages), open(depths)) else { return ExitCode::from(2) };
    let recording = match Recording::read(messages, depths) {
        Ok(recording) => recording,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    let Ok(report) = Replay::new(&recording).run(&mut PaperVenue::default());
    println!("{report:#?}");
    if report.books_equal() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
