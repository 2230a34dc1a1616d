//! A member in a page: log in, rest a buy, reduce it, cancel the rest, and print what the venue says.
//!
//! `cargo run -p ironbell-client --example trade -- ADDR USERNAME PASSWORD SYMBOL PRICE QTY`
//! (the price in 1/10,000 and the quantity in shares, or in ticks and lots for scaled instruments)
//!
//! With the node of `engine/appliance/node.toml`, a buy of 10 IRON at 10.00 USD:
//! `… --example trade -- 127.0.0.1:26400 ALFA01 change-me IRON 100000 10`

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
        return Err("usage: trade ADDR USERNAME PASSWORD SYMBOL PRICE QTY, for example\n       \
                    trade 127.0.0.1:26400 ALFA01 change-me IRON 100000 10"
            .into());
    };
    let username = Username::new(username).ok_or("a user name has at most six characters")?;
    let symbol = Symbol::new(symbol).ok_or("a symbol has at most eight characters")?;
    let price: u64 = price.parse().map_err(|e| format!("price {price:?} in 1/10,000 or ticks: {e}"))?;
    let qty: u32 = qty.parse().map_err(|e| format!("quantity {qty:?} in shares or lots: {e}"))?;
    let addr = addr.parse().map_err(|e| format!("address {addr:?}, as in 127.0.0.1:26400: {e}"))?;

    let clock = Instant::now();
    let now = || Nanos(clock.elapsed().as_nanos() as u64);
    let config = Config::default();
    // 0: from the most recent message. With 1 the venue would tell the whole day again first, and an answer to
    // an account query of an earlier run, with a number used since, could pass for the answer to this one's.
    let mut member = Member::connect(addr, &config, username, password, 0, now())?;
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
                    println!("{number}: {}", in_words(&message));
                    is_told |= matches!(message, Outbound::AccountQueryResponse(..));
                    if let Some((num, open)) = &mut order {
                        *open -= taken_off(*num, *open, &message);
                    }
                }
                // Nobody who sends no native message hears one; an earlier run may have.
                Event::Native { number, message, .. } => println!("{number}: {message:?}"),
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

/// What a member needs of a message; the rest of its fields are in `ironbell_wire::ouch`.
fn in_words(message: &Outbound<'_>) -> String {
    match message {
        Outbound::AccountQueryResponse(told, _) => format!("the next order is {}", told.next_user_ref_num),
        Outbound::OrderAccepted(told, _) => format!(
            "order {} accepted: {} at {}, order reference {}",
            told.user_ref_num, told.quantity, told.price, told.order_reference_number
        ),
        Outbound::OrderExecuted(told, _) => {
            format!("order {} executed: {} at {}", told.user_ref_num, told.quantity, told.price)
        }
        Outbound::OrderCanceled(told, _) => {
            format!("order {} canceled: {}, reason {}", told.user_ref_num, told.quantity, told.reason as char)
        }
        Outbound::Rejected(told, _) => {
            format!("order {} rejected, reason {:#06x}", told.user_ref_num, told.reason.get())
        }
        other => format!("{other:?}"),
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
