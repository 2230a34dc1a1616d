use ironbell_core::Engine;
use ironbell_types::{
    AccountId, Algorithm, Amount, AssetId, Command, Control, InstrumentId, Nanos, Phase, PortId, Price, Qty,
    Sequenced, Stp,
};

use super::*;
use crate::genesis::Genesis;
use crate::recovery::engine_config;

const GENESIS: &str = r#"
    date = 20261121
    assets = [{ code = "USD", decimals = 4 }, { code = "XYZ", decimals = 0 }, { code = "BTC", decimals = 8 }]
    instruments = [
        { symbol = "XYZ", base = "XYZ", quote = "USD", tick = "0.01", maker_fee_bps = 1, taker_fee_bps = 3 },
        { symbol = "BTCUSD", base = "BTC", quote = "USD", tick = "0.5", lot = "0.0010", scaled = true },
    ]
    firms = [{ mpid = "ALFA" }, { mpid = "BETA" }]
    ports = [{ username = "alfa01", password = "secret", firm = "ALFA", account = 7 }]
    funds = [{ account = 7, asset = "USD", amount = "1000" }]
"#;

/// A venue, and its time.
struct Venue(Engine, Nanos);

impl Venue {
    fn new(genesis: &str) -> Self {
        let genesis: Genesis = toml::from_str(genesis).expect("it parses");
        let mut venue = Self(Engine::new(engine_config(1)), Nanos(1_795_251_600_000_000_000));
        for command in genesis.commands(venue.1, || [1; 16]).expect("commands") {
            venue.execute(&command);
        }
        venue
    }

    fn execute(&mut self, command: &Command) -> Told {
        let (seq, mut events) = (self.0.last_seq().next(), Vec::new());
        self.0.execute(&Sequenced { seq, time: self.1, command: *command }, &mut events);
        told(command, seq, &events, &self.0)
    }

    fn command(&self, line: &str) -> Result<Command, String> {
        // Numbers that are made of the present time must differ.
        let now = Nanos(self.1.0 + self.0.last_seq().0);
        command(&Ask::parse(line)?, &self.0, now)
    }

    fn control(&self, line: &str) -> Control {
        match self.command(line) {
            Ok(Command::Control(control)) => control,
            other => panic!("{line}: {other:?}"),
        }
    }

    fn ask(&mut self, line: &str) -> Told {
        let command = self.command(line).unwrap_or_else(|e| panic!("{line}: {e}"));
        self.execute(&command)
    }

    /// Asks for what is done, and returns what is said of it.
    fn done(&mut self, line: &str) -> String {
        match self.ask(line) {
            Told::Done { lines, .. } => lines.join("; "),
            other => panic!("{line}: {other:?}"),
        }
    }
}

#[test]
fn an_ask_is_the_same_as_a_line_and_as_json() {
    for line in [
        "phase XYZ halted --reason T1",
        "phase all continuous",
        "rules XYZ --reference 150.25 --static 20% --collar 5% --band 10% --limit-state 15s --volatility 2m \
         --algorithm pro-rata --top-order 10 --batch 100ms --short-restricted on",
        "schedule XYZ 09:25 opening-auction",
        "port alfa01 --rate 1000 --burst 100 --duplicates 5/1s --slide --stp oldest --cancel-on-disconnect \
         --qty-cap 5000 --notional-cap 1000000",
        "port add BETA01 --firm BETA --account 8",
        "exposure ALFA USD --gross 1000.50 --net none",
        "credit 7 USD 1000",
        "position 7 XYZ --long 100 --short none",
        "entitle ALFA01 XYZ off",
        "restrict all XYZ on",
        "locate ALFA XYZ -100 --id 5",
        "kill venue on",
        "kill port ALFA01 off",
        "fees XYZ --tier 1 --maker -1bp --taker 0.03% --minimum 0.01",
        "tier 1 100000",
        "firm-tier ALFA 2",
        "close-day",
        "open-day 2026-11-23 --utc-offset -300",
        "bust 1234 --reason E",
        "delist XYZ",
        "tick XYZ 0.05",
        "symbol XYZ ZYX",
        "decline-levels 4000.12345678 3500 3000",
        "market-wide-halt 1",
        "instrument add ABC --base ABC --quote USD --tick 0.01 --lot 1 --maker-fee-bps 1",
        "asset add ABC --decimals 0",
        "firm add GAMM",
        "account add 9 --firm ALFA",
        "fund 7 USD -10.5",
    ] {
        let ask = Ask::parse(line).unwrap_or_else(|e| panic!("{line}: {e}"));
        let json = serde_json::to_string(&ask).expect("it is written");
        let back: Ask = serde_json::from_str(&json).unwrap_or_else(|e| panic!("{json}: {e}"));
        assert_eq!(back, ask, "{json}");
    }
}

#[test]
fn what_is_wrong_with_a_line_is_said_in_one() {
    for (line, part) in [
        ("halt XYZ", "halt"),
        ("phase XYZ open", "opening-auction"),
        ("rules XYZ --static 20", "20% or 35bp"),
        ("port", "NAME"),
        ("kill everything on", "everything"),
        ("bust 12", "--reason"),
        ("fund 7 USD ten", "ten"),
    ] {
        let refusal = Ask::parse(line).expect_err(line);
        assert!(refusal.contains(part) && !refusal.contains('\n'), "{line}: {refusal}");
    }
}

#[test]
fn names_and_decimals_become_numbers() {
    let venue = Venue::new(GENESIS);
    let (xyz, btc) = (InstrumentId(1), InstrumentId(2));
    let reason = *b"T1  ";
    assert_eq!(
        venue.control("phase XYZ halted --reason T1"),
        Control::SetPhase { instrument: xyz, phase: Phase::Halted, reason }
    );
    let Control::SetPhase { instrument, .. } = venue.control("phase all paused") else { panic!("a phase") };
    assert_eq!(instrument, InstrumentId::NONE);
    let Control::SetRules { instrument, rules } =
        venue.control("rules BTCUSD --reference 50000.5 --top-order 0.25 --algorithm pro-rata")
    else {
        panic!("rules")
    };
    assert_eq!((instrument, rules.reference, rules.top_order_max), (btc, Price(100_001), Qty(250)));
    assert_eq!(rules.algorithm, Algorithm::ProRata);
    assert_eq!(
        venue.control("position 7 BTCUSD --long 1.5"),
        Control::SetPosition {
            account: AccountId(7),
            instrument: btc,
            long_max: Some(Qty(1_500)),
            short_max: None
        }
    );
    assert_eq!(
        venue.control("credit 7 USD 12.5"),
        Control::SetCredit { account: AccountId(7), asset: AssetId(1), credit_max: Some(Amount(125_000)) }
    );
    assert_eq!(
        venue.control("decline-levels 4650 4350.5 4000"),
        Control::SetDeclineLevels { levels: [465_000_000_000, 435_050_000_000, 400_000_000_000] }
    );
    assert_eq!(
        venue.control("tick XYZ 0.05"),
        Control::ChangeTick { instrument: xyz, price_tick: 500, tick_value: 500 }
    );
    assert_eq!(
        venue.control("tick BTCUSD 1"),
        Control::ChangeTick { instrument: btc, price_tick: 1, tick_value: 10 }
    );
    let Ok(Command::OpenDay(day)) = venue.command("open-day 2026-11-23") else { panic!("a day") };
    assert_eq!((day.date, day.midnight.0 % 86_400_000_000_000), (20_261_123, 0));
    let Ok(Command::DefineInstrument(new)) =
        venue.command("instrument add BTC2 --base BTC --quote USD --tick 0.5 --lot 0.01 --scaled")
    else {
        panic!("an instrument")
    };
    assert_eq!((new.id, new.lot_units, new.tick_value), (InstrumentId(3), 1_000_000, 50));
    for (line, part) in [
        ("phase ABC halted", "inspect phases"),
        ("rules XYZ --reference 150.255", "0.01"),
        ("exposure GAMM USD", "no firm GAMM"),
        ("credit 8 USD 1", "no account 8"),
        ("credit 7 EUR 1", "no asset EUR"),
        ("fund 7 USD 0.00001", "decimal places"),
        ("locate ALFA BTCUSD 0.0005", "lots"),
        ("fees XYZ --tier 4", "--tier 4"),
        ("open-day 2026-02-30", "20260230"),
        ("schedule XYZ 10:00 none", "no entry at 10:00"),
        ("phase XYZ halted --reason LONGER", "four characters"),
    ] {
        let refusal = venue.command(line).expect_err(line);
        assert!(refusal.contains(part), "{line}: {refusal}");
    }
}

#[test]
fn what_is_not_given_stays_as_it_is() {
    let mut venue = Venue::new(GENESIS);
    venue.done("rules XYZ --reference 150.25 --static 20%");
    let said = venue.done("rules XYZ --collar 5%");
    assert!(said.contains("reference 150.25, static 20%, collar 5%"), "{said}");
    venue.done("port ALFA01 --rate 100 --burst 10 --stp oldest");
    venue.done("port alfa01 --slide --qty-cap 500");
    let rules = venue.0.port_rules(PortId(1)).expect("a port");
    assert_eq!((rules.rate_per_second, rules.rate_burst, rules.stp), (100, 10, Stp::CancelOldest));
    assert_eq!((rules.slides, rules.limits.qty_max), (true, Qty(500)));
    assert_eq!(rules.limits.notional_max, Amount(10_000_000_000_000));
    venue.done("exposure ALFA USD --gross 1000");
    venue.done("exposure ALFA USD --net 500");
    let limits = venue.0.exposures();
    assert_eq!((limits[0].gross_max, limits[0].net_max), (Some(Amount(10_000_000)), Some(Amount(5_000_000))));
    venue.done("fees XYZ --maker -1bp");
    let fees = venue.0.fees(InstrumentId(1), 0).expect("a tier");
    assert_eq!((fees.maker_bps, fees.taker_bps), (-1, 3));
    venue.done("schedule XYZ 09:25 opening-auction");
    venue.done("schedule XYZ 09:30 continuous");
    venue.done("schedule XYZ 09:25 pre-open");
    let schedule: Vec<_> = venue.0.schedule(InstrumentId(1)).into_iter().flatten().collect();
    assert_eq!(schedule, [(33_900, Phase::PreOpen), (34_200, Phase::Continuous)]);
    venue.done("schedule XYZ 09:25 none");
    assert_eq!(venue.0.schedule(InstrumentId(1)).into_iter().flatten().count(), 1);
}

#[test]
fn what_was_done_is_said_and_what_was_refused_with_what_to_do() {
    let mut venue = Venue::new(GENESIS);
    assert_eq!(venue.done("phase XYZ halted --reason T1"), "XYZ: halted; XYZ is halted");
    assert_eq!(venue.done("kill firm ALFA on"), "firm ALFA is killed; open orders are being cancelled");
    assert!(venue.done("fund 7 USD -10.5").starts_with("account 7: -10.5000 USD moved"));
    for (line, part) in [
        ("fund 7 USD -1000", "more than is available"),
        ("bust 99 --reason E", "match number"),
        ("rules XYZ --static 100%", "99.99%"),
        ("symbol XYZ BTCUSD", "name is taken"),
        ("symbol XYZ ABC", "close-day"),
        ("open-day 2026-11-20", "later"),
        ("market-wide-halt 4", "1, 2 or 3"),
    ] {
        let Told::Refused { seq, why } = venue.ask(line) else { panic!("{line} is done") };
        assert!(why.contains(part), "{line}: {why}");
        assert_eq!(seq, venue.0.last_seq().0);
    }
    venue.done("close-day");
    let Told::Refused { why, .. } = venue.ask("close-day") else { panic!("it is closed") };
    assert!(why.contains("open-day"), "{why}");
}

#[test]
fn a_genesis_takes_the_same_words() {
    let ctl = "ctl = [\"rules XYZ --reference 150.25 --static 20%\", \"port ALFA01 --stp both\", \"schedule XYZ 09:30 continuous\"]\n";
    let venue = Venue::new(&format!("{ctl}{GENESIS}"));
    assert_eq!(venue.0.rules(InstrumentId(1)).map(|r| r.static_bps), Some(2_000));
    assert_eq!(venue.0.port_rules(PortId(1)).map(|r| r.stp), Some(Stp::CancelBoth));
    assert_ne!(venue.0.phase(InstrumentId(1)), None);
    for (line, part) in [
        ("rules ABC --static 20%", "no instrument ABC"),
        ("rules XYZ --static 20", "20%"),
        ("phase XYZ halted", "no day is open"),
    ] {
        let text = format!("ctl = [\"{line}\"]\n{GENESIS}");
        let genesis: Genesis = toml::from_str(&text).expect("it parses");
        let refusal = genesis.commands(Nanos(0), || [1; 16]).expect_err(line);
        assert!(refusal.contains(part) && refusal.contains(line), "{refusal}");
    }
}
