//! A member in a page: log in, rest a buy, reduce it, cancel the rest, and print what the venue says.
//!
//! `cargo run -p ironbell-client --example trade -- ADDR USERNAME PASSWORD SYMBOL PRICE QTY`
//! (the price in 1/10,000, or in ticks for scaled instruments; QTY at least 2)

use std::error::Error;
use std::process::ExitCode;
use std::time::Instant;

use ironbell_client::order_entry::{Event, Member, NewOrder};
use ironbell_session::Config;
use ironbell_types::{Nanos, Side, Symbol, Username};
use ironbell_wire::ouch::{OptionsBuf, Outbound};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match trade(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn trade(arguments: &[String]) -> Result<(), Box<dyn Error>> {
    let [addr, username, password, symbol, price, qty] = arguments else {
        return Err("usage: trade ADDR USERNAME PASSWORD SYMBOL PRICE QTY".into());
    };
    let username = Username::new(username).ok_or("a user name has at most six characters")?;
    let symbol = Symbol::new(symbol).ok_or("a symbol has at most eight characters")?;
    let (price, qty): (u64, u32) = (price.parse()?, qty.parse()?);

    let clock = Instant::now();
    let now = || Nanos(clock.elapsed().as_nanos() as u64);
    let config = Config::default();
    let mut member = Member::connect(addr.parse()?, &config, username, password, 1, now())?;
    // The order's number and what is open of it, once it is sent.
    let mut order: Option<(u32, u32)> = None;
    loop {
        let moved = member.poll(now())?;
        // An event borrows the session it came in by, so what follows from it is done after it.
        let (mut is_in, mut is_told) = (false, false);
        while let Some(event) = member.next()? {
            match event {
                Event::LoggedIn { first, .. } => {
                    println!("logged in, the first message is {first}");
                    is_in = true;
                }
                Event::Refused(refusal) => return Err(format!("login refused: {refusal}").into()),
                Event::Message { number, message, .. } => {
                    println!("{number}: {message:?}");
                    is_told |= matches!(message, Outbound::AccountQueryResponse(..));
                    if let Some((num, open)) = &mut order {
                        *open -= taken_off(*num, *open, &message);
                    }
                }
                Event::Debug(text) => println!("{}", text.escape_ascii()),
                Event::Ended => return Err("the session has ended for good".into()),
            }
        }
        let entry = member.entry();
        if is_in {
            // Numbers of an earlier run of the day are used: ask for the next one before the first order.
            entry.account_query()?;
        }
        if is_told && order.is_none() {
            let num = entry.enter(&NewOrder::day(Side::Buy, qty, symbol, price), &OptionsBuf::EMPTY)?;
            entry.cancel(num, qty / 2)?;
            entry.cancel(num, 0)?;
            order = Some((num, qty));
        }
        if order.is_some_and(|(_, open)| open == 0) {
            return Ok(());
        }
        if moved == 0 {
            std::thread::yield_now();
        }
    }
}

/// What a message takes off an order of which `open` is open.
fn taken_off(num: u32, open: u32, message: &Outbound<'_>) -> u32 {
    let (about, qty) = match message {
        Outbound::OrderExecuted(told, _) => (told.user_ref_num, told.quantity.get()),
        Outbound::OrderCanceled(told, _) => (told.user_ref_num, told.quantity.get()),
        Outbound::Rejected(told, _) => (told.user_ref_num, open),
        _ => return 0,
    };
    if about.get() == num { qty.min(open) } else { 0 }
}
