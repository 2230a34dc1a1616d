//! The canonical listing of the whole state: what decides any later outcome, in tables, and the state made
//! of such tables again. What follows from the rest (counts, indexes, timers, places in memory) is left out
//! and made anew.

use crate::{
    Balance, Config, Engine,
    book::{Order, Standing},
    canonical::Sink,
    columns::{Column, Fault, Source, columns},
    desk::{Desk, OpenRecord, TOTAL_MAX, notional},
    directory::{DeadMan, Directory, FirmState, InstrumentState, PortState},
    homes::{self, Homes},
    ledger::Ledger,
    limits::{Credit, Exposure, Position, Shorts},
    matching::Matching,
    office::Office,
    phase::Trading,
    quotes::{Quoted, Sides},
    rate::{Bucket, Row},
    snapshot::{LoadError, Section, Sections, Tables},
    superstep::Part,
    sweep::{Sweep, Whose},
    trades::Leg,
};
use alloc::{collections::BTreeMap, vec::Vec};
use ironbell_types::{
    Account, AccountId, AdminRefusal, Amount, Asset, AssetId, Capacity, Display, Fees, Firm, FirmId,
    Instrument, InstrumentId, InstrumentRules, Nanos, OpenDay, OrderKey, OrderOptions, OrderRef, OrderTerms,
    Port, PortId, PortRules, Seq, Side, TIERS, TimeInForce, UserRefIdx, UserRefNum, Username,
};

/// What there is once.
struct Venue {
    seq: Seq,
    time: Nanos,
    output_hash: u128,
    last_day: Option<OpenDay>,
    day_open: bool,
    venue_killed: bool,
    order_entry_halted: bool,
    volume_min: [u64; TIERS],
    decline_levels: [u64; 3],
}

struct InstrumentRow {
    instrument: Instrument,
    killed: bool,
    delisted: bool,
    fees: [Fees; TIERS],
    rules: InstrumentRules,
}

struct FirmRow {
    firm: Firm,
    order_entry_disabled: bool,
    killed: bool,
    tier: u8,
}

struct PortRow {
    port: Port,
    rules: PortRules,
    incarnation: u32,
    logged_in: bool,
    killed: bool,
    bucket: Bucket,
    row: Option<Row>,
    dead_man: Option<DeadMan>,
    grace_end: Option<Nanos>,
    consumed: Vec<(UserRefIdx, UserRefNum)>,
}

/// An open order: what stage 1 knows of it, and how it stands on its instrument.
struct OrderRow {
    instrument: InstrumentId,
    key: OrderKey,
    order_ref: OrderRef,
    price: u64,
    worth: u64,
    leaves: u64,
    executed: u64,
    hold: i128,
    fee_sum: i128,
    charged: i128,
    options: OrderOptions,
    side: Side,
    capacity: Capacity,
    time_in_force: TimeInForce,
    tier: u8,
    /// `None` of a plain order.
    terms: Option<OrderTerms>,
    standing: Standing,
}

/// What counts against a limit follows from open orders and trades.
struct PositionRow {
    account: AccountId,
    instrument: InstrumentId,
    long_max: Option<u64>,
    short_max: Option<u64>,
}

struct CreditRow {
    account: AccountId,
    asset: AssetId,
    credit_max: Option<i128>,
}

struct ExposureRow {
    firm: FirmId,
    asset: AssetId,
    gross_max: Option<i128>,
    net_max: Option<i128>,
}

struct ShortsRow {
    firm: FirmId,
    instrument: InstrumentId,
    shorts: Shorts,
}

/// A mass quote: its port, channel and instrument as [`crate::quotes`] packs them, and its orders that are open.
struct QuoteRow {
    name: u64,
    sides: [Option<OrderRef>; 2],
}

columns! {
    Venue { seq, time, output_hash, last_day, day_open, venue_killed, order_entry_halted, volume_min, decline_levels }
    InstrumentRow { instrument, killed, delisted, fees, rules }
    FirmRow { firm, order_entry_disabled, killed, tier }
    PortRow { port, rules, incarnation, logged_in, killed, bucket, row, dead_man, grace_end, consumed }
    Bucket { tokens, since }
    Row { instrument, side, qty, price, begin, orders }
    DeadMan { timeout_ns, heard }
    Balance { account, asset, total, held }
    PositionRow { account, instrument, long_max, short_max }
    CreditRow { account, asset, credit_max }
    ExposureRow { firm, asset, gross_max, net_max }
    ShortsRow { firm, instrument, shorts }
    Shorts { located, open, executed }
    OrderRow {
        instrument, key, order_ref, price, worth, leaves, executed, hold, fee_sum, charged, options, side, capacity,
        time_in_force, tier, terms, standing,
    }
    QuoteRow { name, sides }
    Sweep { cause, slice, instrument, all, whose, group, side, day_only, reason }
    Leg { match_number, key, instrument, buys, busted, price, qty, tick_value, worth, fee }
}

impl Column for Whose {
    fn put(&self, sink: &mut impl Sink) {
        match self {
            Self::All => (0u8, 0),
            Self::Firm(firm) => (1, firm.0),
            Self::Port(port) => (2, port.0),
        }
        .put(sink);
    }

    fn get(source: &mut Source<'_>) -> Result<Self, Fault> {
        match Column::get(source)? {
            (0u8, 0) => Ok(Self::All),
            (1, firm) => Ok(Self::Firm(FirmId(firm))),
            (2, port) => Ok(Self::Port(PortId(port))),
            _ => Err("nobody is meant by it"),
        }
    }
}

// Written.

fn table<T: Column>(section: Section, rows: impl ExactSizeIterator<Item = T>, out: &mut impl Sections) {
    out.section(section, rows.len());
    rows.for_each(|row| row.put(out));
}

impl Engine {
    pub(crate) fn list(&self, out: &mut impl Sections) {
        // What firms owe follows from the balances.
        let Office { last_day, sweeps, fundings, locates: _, owed: _, volume_min, decline_levels } =
            &self.office;
        let venue = Venue {
            seq: self.last_seq(),
            time: self.last_time(),
            output_hash: self.output_hash(),
            last_day: *last_day,
            day_open: self.desk().day_open,
            venue_killed: self.desk().venue_killed,
            order_entry_halted: self.desk().order_entry_halted,
            volume_min: *volume_min,
            decline_levels: *decline_levels,
        };
        table(Section::Venue, core::iter::once(venue), out);
        self.list_directory(out);
        table(Section::Fundings, fundings.iter().copied(), out);
        table(Section::Balances, self.balances().into_iter(), out);
        self.list_limits(out);
        self.list_books(out);
        let quotes = self.gathered(|desk| desk.quotes.all(|quoted| desk.is_open(quoted)).into_iter());
        let quote = |(name, sides): (u64, Sides)| QuoteRow {
            name,
            sides: sides.map(|side| side.map(|quoted| quoted.order_ref)),
        };
        table(Section::Quotes, quotes.into_iter().map(quote), out);
        table(Section::Sweeps, sweeps.iter().copied(), out);
        table(Section::Trades, self.legs().into_iter().copied(), out);
    }

    fn list_directory(&self, out: &mut impl Sections) {
        let directory = self.directory();
        table(Section::Assets, directory.assets.values().copied(), out);
        let instrument = |state: &InstrumentState| {
            let InstrumentState {
                instrument,
                range: _,
                killed,
                delisted,
                is_restricted: _,
                fees,
                orders: _,
                rules,
            } = *state;
            InstrumentRow { instrument, killed, delisted, fees, rules }
        };
        table(Section::Instruments, directory.instruments.iter().map(instrument), out);
        let firm = |state: &FirmState| {
            let FirmState { firm, order_entry_disabled, killed, tier } =
                *self.firm(state.firm.id).expect("a known firm");
            FirmRow { firm, order_entry_disabled, killed, tier }
        };
        table(Section::Firms, directory.firms.iter().map(firm), out);
        table(Section::Accounts, directory.accounts.values().copied(), out);
        let port = |state: &PortState| {
            let state = self.port(state.port.id).expect("a known port");
            PortRow {
                port: state.port,
                rules: state.rules,
                incarnation: state.incarnation,
                logged_in: state.logged_in,
                killed: state.killed,
                bucket: state.bucket,
                row: state.row,
                dead_man: state.dead_man,
                grace_end: state.grace_end,
                consumed: state.consumed().collect(),
            }
        };
        table(Section::Ports, directory.ports.iter().map(port), out);
        table(Section::Denied, directory.denied.iter().copied(), out);
        table(Section::Restricted, directory.restricted.iter().copied(), out);
    }

    fn list_limits(&self, out: &mut impl Sections) {
        let positions = self.gathered(|desk| desk.limits.positions.iter());
        let position = |(&(account, instrument), row): (&(AccountId, InstrumentId), &Position)| {
            let Position { long_max, short_max, net: _, open_buys: _, open_sells: _ } = *row;
            PositionRow { account, instrument, long_max, short_max }
        };
        table(Section::Positions, positions.into_iter().map(position), out);
        let credits = self.gathered(|desk| desk.limits.credits.iter());
        let credit = |(&(account, asset), row): (&(AccountId, AssetId), &Credit)| {
            let Credit { credit_max, held: _, paid: _ } = *row;
            CreditRow { account, asset, credit_max }
        };
        table(Section::Credits, credits.into_iter().map(credit), out);
        let exposures = self.gathered(|desk| desk.limits.exposures.iter());
        let exposure = |(&(firm, asset), row): (&(FirmId, AssetId), &Exposure)| {
            let Exposure { gross_max, net_max, net: _, open_buys: _, open_sells: _ } = *row;
            ExposureRow { firm, asset, gross_max, net_max }
        };
        table(Section::Exposures, exposures.into_iter().map(exposure), out);
        table(Section::LocateIds, self.office.locates.iter().copied(), out);
        let shorts = self.gathered(|desk| desk.shorts.iter());
        let short = |((firm, instrument), shorts): (&(FirmId, InstrumentId), &Shorts)| ShortsRow {
            firm: *firm,
            instrument: *instrument,
            shorts: *shorts,
        };
        table(Section::Shorts, shorts.into_iter().map(short), out);
    }

    fn list_books(&self, out: &mut impl Sections) {
        out.section(Section::Trading, self.directory().instruments.len());
        for Instrument { id, .. } in self.instruments() {
            self.matching_of(*id).trading(*id).put(out);
        }
        out.section(Section::Orders, self.parts.iter().map(|part| part.matching.orders()).sum());
        for Instrument { id, .. } in self.instruments() {
            let matching = self.matching_of(*id);
            for slot in matching.books.slots(*id) {
                let token = matching.books.order(slot).token;
                let desk = &self.parts[homes::shard_of(token)].desk;
                order_row(desk, homes::slot_of(token), matching, slot).put(out);
            }
        }
    }

    /// Rows of all shards in the order of their keys, each of which is on one shard only.
    pub(crate) fn gathered<'a, K: Ord + Copy + 'a, V, I: Iterator<Item = (K, V)>>(
        &'a self,
        rows: impl Fn(&'a Desk) -> I,
    ) -> Vec<(K, V)> {
        let mut gathered: Vec<_> = self.parts.iter().flat_map(|part| rows(&part.desk)).collect();
        gathered.sort_unstable_by_key(|(key, _)| *key);
        gathered
    }

    /// The day's legs, the buyer's and the seller's of each trade.
    pub(crate) fn legs(&self) -> Vec<&Leg> {
        let mut legs: Vec<_> = self.parts.iter().flat_map(|part| part.desk.trades.iter()).collect();
        if self.parts.len() > 1 {
            legs.sort_unstable_by_key(|leg| leg.place());
        }
        legs
    }
}

fn order_row(desk: &Desk, record: u32, matching: &Matching, slot: u32) -> OrderRow {
    let terms = desk.terms(record);
    let OpenRecord {
        key,
        order_ref,
        price,
        worth,
        leaves,
        executed,
        hold,
        fee_sum,
        charged,
        base: _,
        quote: _,
        instrument,
        options,
        side,
        capacity,
        time_in_force,
        tier,
        is_plain: _,
    } = desk.open[record];
    OrderRow {
        instrument,
        key,
        order_ref,
        price,
        worth,
        leaves,
        executed,
        hold,
        fee_sum,
        charged,
        options,
        side,
        capacity,
        time_in_force,
        tier,
        terms: Some(terms).filter(|terms| !terms.is_plain()),
        standing: matching.books.standing(slot),
    }
}

// Read back.

fn holds(holds: bool, fault: Fault) -> Result<(), Fault> {
    if holds { Ok(()) } else { Err(fault) }
}

fn defined(done: Result<(), AdminRefusal>) -> Result<(), Fault> {
    done.map_err(|refusal| match refusal {
        AdminRefusal::Id => "its id is taken or not the next one",
        AdminRefusal::NameTaken => "its name is another's",
        AdminRefusal::Unknown => "it names what is not defined",
        _ => "a field is out of its range",
    })
}

const UNDEFINED: Fault = "it names what is not defined";

impl Engine {
    /// A state of its tables. Tables, and rows in them, come in the order they are listed in. Each row goes to
    /// the shard where it is at home; definitions go to all. What is counted over many rows is counted at the end.
    pub(crate) fn restored(tables: &mut Tables<'_>, config: Config, homes: Homes) -> Result<Self, LoadError> {
        let mut engine = Self::with_room(room(tables, config), 2 * config.orders, homes);
        let mut venue = None;
        tables.each(Section::Venue, |row: Venue| {
            holds(venue.is_none(), "there is one venue")?;
            holds(row.seq <= Seq::MAX, "its Seq is beyond the last one there is")?;
            venue = Some(row);
            Ok(())
        })?;
        let missing = LoadError::Row { section: "venue", row: 1, what: "it is missing" };
        let Venue {
            seq,
            time,
            output_hash,
            last_day,
            day_open,
            venue_killed,
            order_entry_halted,
            volume_min,
            decline_levels,
        } = venue.ok_or(missing)?;
        engine.resume(seq, time, output_hash);
        for part in &mut engine.parts {
            (part.desk.day_open, part.desk.venue_killed) = (day_open, venue_killed);
            part.desk.order_entry_halted = order_entry_halted;
        }
        engine.office.last_day = last_day;
        (engine.office.volume_min, engine.office.decline_levels) = (volume_min, decline_levels);
        engine.restore_directory(tables)?;
        let mut fundings = Vec::new();
        tables.each(Section::Fundings, |id: u64| {
            holds(fundings.last().is_none_or(|last| *last < id), "an earlier one comes behind it")?;
            fundings.push(id);
            Ok(())
        })?;
        engine.office.fundings = fundings.into_iter().collect();
        engine.restore_balances(tables)?;
        engine.restore_limits(tables)?;
        engine.restore_books(tables)?;
        engine.restore_quotes(tables)?;
        let mut last = Seq(0);
        tables.each(Section::Sweeps, |row: Sweep| {
            holds(row.cause >= last && row.cause > Seq(0), "an earlier one comes behind it")?;
            holds(row.instrument != InstrumentId::NONE, "it has no instrument")?;
            last = row.cause;
            engine.office.sweeps.push(row);
            Ok(())
        })?;
        engine.restore_trades(tables)?;
        for part in &mut engine.parts {
            let desk = &mut part.desk;
            desk.note_limited();
            if !desk.limits.is_empty() {
                desk.limits = desk.counted(desk.limits.uncounted());
            }
        }
        Ok(engine)
    }

    fn define(
        &mut self,
        mut define: impl FnMut(&mut Directory) -> Result<(), AdminRefusal>,
    ) -> Result<(), Fault> {
        defined(self.parts.iter_mut().try_for_each(|part| define(&mut part.desk.directory)))
    }

    /// The desk that a firm is at home on.
    fn desk_of_firm(&mut self, firm: FirmId) -> &mut Desk {
        &mut self.parts[self.homes.of_firm(firm)].desk
    }

    /// The desk that a port is at home on, and whose that is.
    fn desk_of_port(&mut self, port: PortId) -> Result<(&mut Desk, Port), Fault> {
        let port = self.directory().port(port).ok_or("its port is not defined")?.port;
        Ok((self.desk_of_firm(port.firm), port))
    }

    fn restore_directory(&mut self, tables: &mut Tables<'_>) -> Result<(), LoadError> {
        tables
            .each(Section::Assets, |asset: Asset| self.define(|directory| directory.define_asset(asset)))?;
        tables.each(Section::Instruments, |row: InstrumentRow| {
            let InstrumentRow { instrument, killed, delisted, fees, rules } = row;
            self.define(|directory| {
                directory.define_instrument(instrument)?;
                let state = directory.instrument_mut(instrument.id).expect("it was just defined");
                (state.killed, state.delisted, state.fees) = (killed, delisted, fees);
                state.set_rules(rules);
                Ok(())
            })?;
            for part in &mut self.parts {
                let entry = part.desk.ledger.open(AccountId::fees(instrument.id), instrument.quote);
                part.desk.fee_entries.push(entry);
            }
            Ok(())
        })?;
        tables.each(Section::Firms, |row: FirmRow| {
            let FirmRow { firm, order_entry_disabled, killed, tier } = row;
            holds(usize::from(tier) < TIERS, "there is no such tier")?;
            self.define(|directory| {
                directory.define_firm(firm)?;
                let state = directory.firm_mut(firm.id).expect("it was just defined");
                (state.order_entry_disabled, state.killed, state.tier) = (order_entry_disabled, killed, tier);
                Ok(())
            })
        })?;
        let mut accounts = Vec::new();
        tables.each(Section::Accounts, |account: Account| {
            let is_next = accounts.last().is_none_or(|last: &Account| last.id < account.id);
            holds(is_next, "an earlier one comes behind it")?;
            defined(self.directory().check_account(account))?;
            accounts.push(account);
            Ok(())
        })?;
        // What comes in order and all at once is put into a map at a fraction of the cost.
        for part in &mut self.parts {
            part.desk.directory.accounts = accounts.iter().map(|account| (account.id, *account)).collect();
        }
        let mut usernames = Vec::new();
        tables.each(Section::Ports, |row: PortRow| {
            usernames.push(row.port.username);
            self.restore_port(row)
        })?;
        self.restore_usernames(usernames)?;
        tables.each(Section::Denied, |(port, instrument): (PortId, InstrumentId)| {
            let directory = self.directory();
            let is_known = directory.port(port).is_some() && directory.instrument(instrument).is_some();
            holds(is_known, UNDEFINED)?;
            self.define(|directory| {
                directory.entitle(port, instrument, false);
                Ok(())
            })
        })?;
        tables.each(Section::Restricted, |(firm, instrument): (FirmId, InstrumentId)| {
            holds(self.directory().instrument(instrument).is_some(), UNDEFINED)?;
            self.define(|directory| {
                directory.restrict(firm, instrument, true);
                Ok(())
            })
        })
    }

    /// A port is defined everywhere; what it did is known where it is at home.
    fn restore_port(&mut self, row: PortRow) -> Result<(), Fault> {
        let PortRow {
            port,
            rules,
            incarnation,
            logged_in,
            killed,
            bucket,
            row,
            dead_man,
            grace_end,
            consumed,
        } = row;
        holds(logged_in || grace_end.is_none(), "a grace of a port that is not logged in")?;
        self.define(|directory| directory.define_port_unnamed(port))?;
        for part in &mut self.parts {
            let state = part.desk.directory.port_mut(port.id).expect("it was just defined");
            state.set_rules(rules);
            state.killed = killed;
        }
        let desk = self.desk_of_firm(port.firm);
        let state = desk.directory.port_mut(port.id).expect("it was just defined");
        (state.bucket, state.row, state.dead_man) = (bucket, row, dead_man);
        (state.incarnation, state.logged_in, state.grace_end) = (incarnation, logged_in, grace_end);
        for (idx, num) in consumed {
            holds(num > state.last(idx), "a channel is there twice, or its number is 0")?;
            state.consume(idx, num);
        }
        if let Some(dead_man) = dead_man {
            desk.dead_men += 1;
            desk.note_dead_man(dead_man);
        }
        grace_end.into_iter().for_each(|end| desk.note_grace(end));
        Ok(())
    }

    fn restore_usernames(&mut self, mut usernames: Vec<Username>) -> Result<(), LoadError> {
        usernames.sort_unstable();
        if usernames.windows(2).any(|pair| pair[0] == pair[1]) {
            let what = "a username is that of two";
            return Err(LoadError::Row { section: "ports", row: usernames.len() as u64, what });
        }
        for part in &mut self.parts {
            part.desk.directory.usernames = usernames.iter().copied().collect();
        }
        Ok(())
    }

    /// Totals; what is held follows from the orders.
    fn restore_balances(&mut self, tables: &mut Tables<'_>) -> Result<(), LoadError> {
        let mut sums = BTreeMap::<AssetId, (i128, i128)>::new();
        let mut rows = 0;
        let mut last_home = None;
        let approach = |engine: &Self, row: &Balance| {
            // A wrong home costs a look in vain.
            engine.parts[0].desk.ledger.approach(row.account, row.asset);
        };
        tables.each_approached(Section::Balances, self, &[approach], |this, row| {
            let Balance { account, asset, total: Amount(total), .. } = *row;
            rows += 1;
            holds(this.directory().assets.contains_key(&asset), "its asset is not defined")?;
            let home = match last_home {
                Some((of, home)) if of == account => home,
                _ => this.home_of(account).ok_or("its account is not defined")?,
            };
            last_home = Some((account, home));
            let is_members = account != AccountId::WORLD && account <= AccountId::MEMBER_MAX;
            holds((-TOTAL_MAX..=2 * (TOTAL_MAX - 1)).contains(&total), "it is beyond what can be")?;
            holds(total >= 0 || !is_members, "it is below zero")?;
            let ledger = &mut this.parts[home].desk.ledger;
            let entry = ledger.open(account, asset);
            holds(ledger.total(entry) == 0, "it is there twice")?;
            ledger.add(entry, total);
            let (below, above) = sums.entry(asset).or_default();
            let sum = if total < 0 { below } else { above };
            *sum = sum.checked_add(total).ok_or("the sum over its asset leaves 128 bits")?;
            if account >= AccountId::receivable(FirmId(0)) {
                let owed = this.office.owed.entry(asset).or_insert(0);
                *owed = owed.checked_sub(total).ok_or("firms owe more than they may")?;
            }
            Ok(())
        })?;
        if sums.values().all(|(below, above)| below.checked_neg() == Some(*above)) {
            return Ok(());
        }
        let what = "the sum over an asset is not zero";
        Err(LoadError::Row { section: "balances", row: rows, what })
    }

    /// The shard that keeps an account, if it can be; of a fee account, of which each has a share, the first.
    fn home_of(&self, account: AccountId) -> Option<usize> {
        let directory = self.directory();
        let AccountId(number) = account;
        if account == AccountId::WORLD {
            return Some(0);
        }
        let firm = if account <= AccountId::MEMBER_MAX {
            directory.accounts.get(&account)?.firm
        } else if account < AccountId::receivable(FirmId(0)) {
            let instrument = InstrumentId(number - AccountId::fees(InstrumentId(0)).0);
            return directory.instrument(instrument).map(|_| 0);
        } else {
            directory.firm(FirmId(number - AccountId::receivable(FirmId(0)).0))?.firm.id
        };
        Some(self.homes.of_firm(firm))
    }

    fn restore_limits(&mut self, tables: &mut Tables<'_>) -> Result<(), LoadError> {
        tables.each(Section::Positions, |row: PositionRow| {
            let PositionRow { account, instrument, long_max, short_max } = row;
            let firm = self.directory().accounts.get(&account).ok_or(UNDEFINED)?.firm;
            let position = Position { long_max, short_max, ..Position::default() };
            self.desk_of_firm(firm).limits.positions.insert((account, instrument), position);
            Ok(())
        })?;
        tables.each(Section::Credits, |row: CreditRow| {
            let CreditRow { account, asset, credit_max } = row;
            let firm = self.directory().accounts.get(&account).ok_or(UNDEFINED)?.firm;
            let credit = Credit { credit_max, ..Credit::default() };
            self.desk_of_firm(firm).limits.credits.insert((account, asset), credit);
            Ok(())
        })?;
        tables.each(Section::Exposures, |row: ExposureRow| {
            let ExposureRow { firm, asset, gross_max, net_max } = row;
            let exposure = Exposure { gross_max, net_max, ..Exposure::default() };
            self.desk_of_firm(firm).limits.exposures.insert((firm, asset), exposure);
            Ok(())
        })?;
        let ids = &mut self.office.locates;
        tables.each(Section::LocateIds, |id: u64| holds(ids.insert(id), "it is there twice"))?;
        tables.each(Section::Shorts, |row: ShortsRow| {
            let ShortsRow { firm, instrument, shorts } = row;
            // What is open is counted with the orders. None of these can come near the ends of 128 bits.
            let is_possible = (-TOTAL_MAX..=TOTAL_MAX).contains(&shorts.executed);
            holds(is_possible, "more was sold short than there is")?;
            self.desk_of_firm(firm).shorts.insert((firm, instrument), Shorts { open: 0, ..shorts });
            Ok(())
        })
    }

    fn restore_books(&mut self, tables: &mut Tables<'_>) -> Result<(), LoadError> {
        let mut opened = 0;
        tables.each(Section::Trading, |row: Trading| {
            let instrument = row.instrument();
            opened += 1;
            holds(instrument.0 == opened, "its instrument is not the next one")?;
            holds(self.directory().instrument(instrument).is_some(), "its instrument is not defined")?;
            // Ids stay dense on every shard; a book is only ever used at home.
            self.parts.iter_mut().for_each(|part| part.matching.open_book(false));
            let home = self.homes.of_instrument(instrument);
            *self.parts[home].matching.trading_mut(instrument) = row;
            Ok(())
        })?;
        let next = OrderRef::new(self.last_seq().next(), 0);
        let mut special: Vec<Vec<u32>> = self.parts.iter().map(|_| Vec::new()).collect();
        // By shard, what its orders are found by: names at the desk's, numbers at the book's.
        let mut names: Vec<Vec<(u64, u32)>> = self.parts.iter().map(|_| Vec::new()).collect();
        let mut numbers: Vec<Vec<(OrderRef, u32)>> = self.parts.iter().map(|_| Vec::new()).collect();
        let passes = [Self::approach_port, Self::approach_balances];
        tables.each_approached(Section::Orders, self, &passes, |this, row: &OrderRow| {
            holds(
                row.order_ref < next && row.order_ref != OrderRef(0),
                "its number is of no command so far",
            )?;
            holds((1..=opened).contains(&row.instrument.0), "its instrument is not defined")?;
            let (desk, Port { firm, account, .. }) = this.desk_of_port(row.key.port())?;
            let record = desk.restore_order(row, account)?;
            names[desk.shard].push((row.key.0, record));
            let token = homes::token(desk.shard, record);
            let home = this.homes.of_instrument(row.instrument);
            let Part { matching, .. } = &mut *this.parts[home];
            let order = Order::new(
                row.order_ref,
                row.key,
                row.leaves,
                row.executed,
                row.price,
                token,
                firm,
                0,
                row.side,
                Display::Visible,
                row.time_in_force,
            );
            let slot = matching.books.restore(row.instrument, &order, &row.standing)?;
            numbers[home].push((row.order_ref, slot));
            if matching.books.extra(slot).is_some() {
                special[home].push(slot);
            }
            Ok(())
        })?;
        let row = names.iter().map(Vec::len).sum::<usize>() as u64;
        for (shard, part) in self.parts.iter_mut().enumerate() {
            let Part { desk, matching, .. } = &mut **part;
            let named = desk.by_key.fill(names[shard].iter().copied()).map_err(|_| "its name is another's");
            let found = named.and_then(|()| matching.books.number(numbers[shard].iter().copied()));
            let relinked = found.and_then(|()| matching.books.relink(core::mem::take(&mut special[shard])));
            relinked.map_err(|what| LoadError::Row { section: "orders", row, what })?;
        }
        for instrument in (1..=opened).map(InstrumentId) {
            self.parts[self.homes.of_instrument(instrument)].matching.note_due(instrument);
        }
        Ok(())
    }

    // What the next orders will need is looked at first, each pass at what the one before it found. A row that names what
    // there is not is none of this concern.

    fn approach_port(&self, row: &OrderRow) {
        core::hint::black_box(self.directory().port(row.key.port()).map(|state| state.port.account));
    }

    fn approach_balances(&self, row: &OrderRow) {
        let Some(state) = self.directory().port(row.key.port()) else { return };
        let ledger = &self.parts[self.homes.of_firm(state.port.firm)].desk.ledger;
        if let Some((base, quote)) = state.entries(row.instrument) {
            ledger.approach_entry(if row.side.is_buy() { quote } else { base });
        } else if let Some(InstrumentState { instrument, .. }) = self.directory().instrument(row.instrument) {
            ledger.approach(state.port.account, instrument.base);
            ledger.approach(state.port.account, instrument.quote);
        }
    }

    fn restore_quotes(&mut self, tables: &mut Tables<'_>) -> Result<(), LoadError> {
        tables.each(Section::Quotes, |row: QuoteRow| {
            let QuoteRow { name, sides } = row;
            let (port, idx) = (PortId((name >> 24) as u32), UserRefIdx((name >> 16) as u8));
            let instrument = InstrumentId(u32::from(name as u16));
            let is_known = name >> 48 == 0 && self.directory().instrument(instrument).is_some();
            holds(is_known, UNDEFINED)?;
            let books = &self.matching_of(instrument).books;
            let mut standing = [None; 2];
            for (order_ref, standing) in sides.into_iter().zip(&mut standing) {
                let Some(order_ref) = order_ref else { continue };
                let slot = books.find(order_ref).ok_or("an order of it is not open")?;
                *standing = Some(Quoted { key: books.order(slot).key, order_ref });
            }
            let (desk, _) = self.desk_of_port(port)?;
            let slot = desk.quotes.open(port, idx, instrument);
            desk.quotes.replace(slot, standing, [None; 2], 0);
            Ok(())
        })
    }

    fn restore_trades(&mut self, tables: &mut Tables<'_>) -> Result<(), LoadError> {
        let mut last = None;
        tables.each(Section::Trades, |leg: Leg| {
            holds(last < Some(leg.place()), "an earlier one comes behind it")?;
            last = Some(leg.place());
            holds(self.directory().instrument(leg.instrument).is_some(), "its instrument is not defined")?;
            let at = |price| notional(leg.tick_value, price, leg.qty.0);
            let paid = at(leg.price.0.cast_unsigned()).and_then(|paid| paid.checked_add(leg.fee));
            holds(at(leg.worth).is_some() && paid.is_some(), "what was paid leaves 128 bits")?;
            let (desk, _) = self.desk_of_port(leg.key.port())?;
            desk.trades.push_with(|| leg);
            desk.trades.make_room();
            Ok(())
        })
    }
}

/// Room for what comes, if that is more than was asked for.
fn room(tables: &Tables<'_>, config: Config) -> Config {
    // An open order takes more bytes than this, so that no header can ask for memory that its rows do not fill.
    const ORDER_BYTES_MIN: usize = 100;
    const BALANCE_BYTES: usize = 40;
    let orders = config.orders.max(tables.rows_of(Section::Orders, ORDER_BYTES_MIN));
    let accounts = config
        .accounts
        .max(tables.rows_of(Section::Balances, BALANCE_BYTES).div_ceil(Ledger::ENTRIES_PER_ACCOUNT));
    Config { orders, accounts, ..config }
}

impl Desk {
    /// The risk side of an open order; its hold must be its worst case, and covered. Returns its record's slot, by which
    /// its name is to be found afterwards.
    fn restore_order(&mut self, row: &OrderRow, account: AccountId) -> Result<u32, Fault> {
        let state = self.directory.instrument(row.instrument).ok_or("its instrument is not defined")?;
        let Instrument { base, quote, tick_value, .. } = state.instrument;
        holds(row.leaves > 0, "nothing is left of it")?;
        holds(usize::from(row.tier) < TIERS, "there is no such tier")?;
        notional(tick_value, row.worth, row.leaves).ok_or("its worth leaves 128 bits")?;
        let (base, quote) = self.entries_of(row.key.port(), account, row.instrument, (base, quote));
        let record = OpenRecord {
            key: row.key,
            order_ref: row.order_ref,
            price: row.price,
            worth: row.worth,
            leaves: row.leaves,
            executed: row.executed,
            hold: row.hold,
            fee_sum: row.fee_sum,
            charged: row.charged,
            base,
            quote,
            instrument: row.instrument,
            options: row.options,
            side: row.side,
            capacity: row.capacity,
            time_in_force: row.time_in_force,
            tier: row.tier,
            is_plain: row.terms.is_none(),
        };
        holds(self.hold(&record, row.leaves) == Some(row.hold), "its hold is not its worst case")?;
        holds(
            self.ledger.available(record.held_in()) >= row.hold,
            "its account does not have what it holds",
        )?;
        Ok(self.open_unnamed(record, &row.terms.unwrap_or_default()))
    }

    /// The ledger entries of an account for what an instrument trades, which its port remembers.
    fn entries_of(
        &mut self,
        port: PortId,
        account: AccountId,
        instrument: InstrumentId,
        (base, quote): (AssetId, AssetId),
    ) -> (u32, u32) {
        let state = self.directory.port_mut(port).expect("it was looked for");
        if let Some(entries) = state.entries(instrument) {
            return entries;
        }
        let (base, quote) = (self.ledger.open(account, base), self.ledger.open(account, quote));
        state.note_entries(instrument, base, quote);
        (base, quote)
    }
}
