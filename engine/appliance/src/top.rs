//! `ironbell top`: a running node on a terminal, once a second.
//!
//! Latencies and counters come from the node's metrics segment, which costs it nothing to have read; the rest from
//! its admin socket. What is shown is a function of two readings: drawing knows no clock and no node.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::path::Path;
use std::time::{Duration, Instant};

use ironbell_sync::histogram::Counts;
use ironbell_sync::metrics::{Reader, RoleCounts};
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style, Stylize as _};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Cell, Gauge, Paragraph, Row, Sparkline, Table, Tabs};
use ratatui::{DefaultTerminal, Frame};

use crate::admin::{self, Request, Seen, Status};
use crate::bench::{WAY, WAY_OF_SOME};
use crate::config::Config;
use crate::failure::Failure;
use crate::inspection;
use crate::topology;

const EVERY: Duration = Duration::from_secs(1);
/// Rates that the sparkline keeps: two minutes.
const HISTORY: usize = 120;
const PANES: [&str; 4] = ["stages", "rings", "threads", "books"];
/// A reading of a node.
#[derive(Clone, Debug)]
pub struct Sample {
    /// When, since `top` began.
    pub at: Duration,
    /// What it says of itself; `None` when it does not answer.
    pub status: Option<Status>,
    /// Its metrics segment.
    pub roles: Vec<RoleCounts>,
    /// Its open orders, when they are shown.
    pub book: Vec<inspection::Line>,
}

/// The command.
///
/// # Errors
/// When this is no terminal, or no node answers at the start.
pub fn run(config: &Path) -> Result<(), Failure> {
    let config = Config::read(config)?;
    if !std::io::stdout().is_terminal() || !std::io::stdin().is_terminal() {
        return Err(Failure::refused("`top` wants a terminal; `ironbell status --json` is for programs"));
    }
    let _: Status = admin::ask(&config.admin_socket(), &Request::Status)?;
    let mut terminal =
        ratatui::try_init().map_err(|e| Failure::refused(format_args!("the terminal: {e}")))?;
    let shown = show(&mut terminal, &config);
    ratatui::restore();
    shown.map_err(|e| Failure::refused(format_args!("the terminal: {e}")))
}

fn show(terminal: &mut DefaultTerminal, config: &Config) -> std::io::Result<()> {
    let (began, mut top) = (Instant::now(), Top::default());
    loop {
        top.take(read(config, began, top.wants_book()));
        let next = Instant::now() + EVERY;
        loop {
            terminal.draw(|frame| top.draw(frame))?;
            if !event::poll(next.saturating_duration_since(Instant::now()))? {
                break;
            }
            if let Event::Key(key) = event::read()?
                && key.kind == KeyEventKind::Press
            {
                let is_interrupt =
                    key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c');
                if is_interrupt || top.key(key.code) {
                    return Ok(());
                }
                if top.wants_book() && top.last.as_ref().is_some_and(|last| last.book.is_empty()) {
                    break;
                }
            }
        }
    }
}

fn read(config: &Config, began: Instant, with_book: bool) -> Sample {
    let socket = config.admin_socket();
    let book = if with_book {
        admin::ask::<Seen<Vec<inspection::Line>>>(&socket, &Request::Book).map(|seen| seen.seen).ok()
    } else {
        None
    };
    Sample {
        at: began.elapsed(),
        status: admin::ask(&socket, &Request::Status).ok(),
        // A node that was started again has another segment at the same place.
        roles: Reader::open(&config.data_dir.join("metrics")).map(|reader| reader.read()).unwrap_or_default(),
        book: book.unwrap_or_default(),
    }
}

/// What is on the screen.
#[derive(Default)]
pub struct Top {
    pane: usize,
    instrument: usize,
    paused: bool,
    last: Option<Sample>,
    before: Option<Sample>,
    /// Latencies count from here: the start of the node, or the last reset.
    base: Option<Sample>,
    rates: Vec<u64>,
}

impl Top {
    /// A reading comes in.
    pub fn take(&mut self, sample: Sample) {
        if self.paused {
            return;
        }
        let is_restarted = |last: &Sample| sample.status.is_some() && uptime(last) > uptime(&sample);
        if self.last.as_ref().is_some_and(is_restarted) {
            (self.before, self.last, self.base) = (None, None, None);
        }
        self.before = self.last.replace(sample);
        if self.before.is_some() {
            let rate = self.per_s("gateway", "messages_in");
            self.rates.push(rate as u64);
            let excess = self.rates.len().saturating_sub(HISTORY);
            self.rates.drain(..excess);
        }
    }

    /// Whether open orders are to be read too: they are not, unless they are looked at.
    #[must_use]
    pub fn wants_book(&self) -> bool {
        PANES[self.pane] == "books"
    }

    /// A key was pressed; says whether it ends the screen.
    pub fn key(&mut self, key: KeyCode) -> bool {
        match key {
            KeyCode::Char('q') | KeyCode::Esc => return true,
            KeyCode::Tab | KeyCode::Right => self.pane = (self.pane + 1) % PANES.len(),
            KeyCode::BackTab | KeyCode::Left => self.pane = (self.pane + PANES.len() - 1) % PANES.len(),
            KeyCode::Char(digit @ '1'..='4') => self.pane = digit as usize - '1' as usize,
            KeyCode::Char('r') => {
                self.base.clone_from(&self.last);
                self.rates.clear();
            }
            KeyCode::Char('p') => self.paused = !self.paused,
            KeyCode::Down => self.instrument += 1,
            KeyCode::Up => self.instrument = self.instrument.saturating_sub(1),
            _ => {}
        }
        false
    }

    /// Draws it all.
    pub fn draw(&self, frame: &mut Frame<'_>) {
        let areas = Layout::vertical([
            Constraint::Length(5),
            Constraint::Length(4),
            Constraint::Length(1),
            Constraint::Min(6),
            Constraint::Length(1),
        ])
        .split(frame.area());
        frame.render_widget(self.headline(), areas[0]);
        let line = Sparkline::default()
            .block(Block::new().title("orders/s, two minutes".dim()))
            .data(self.rates.iter().rev().take(usize::from(areas[1].width)).rev().copied())
            .style(Color::Cyan);
        frame.render_widget(line, areas[1]);
        let titles = PANES.iter().enumerate().map(|(n, name)| format!("{} {name}", n + 1));
        let tabs = Tabs::new(titles).select(self.pane).highlight_style(Modifier::REVERSED);
        frame.render_widget(tabs, areas[2]);
        match PANES[self.pane] {
            "stages" => frame.render_widget(self.stages(), areas[3]),
            "rings" => self.rings(frame, areas[3]),
            "threads" => frame.render_widget(self.threads(), areas[3]),
            _ => self.books(frame, areas[3]),
        }
        let keys = if self.paused { "PAUSED  p go on" } else { "p pause" };
        let keys = format!("q quit   Tab or 1-4 panes   ↑↓ instrument   r reset   {keys}");
        frame.render_widget(Paragraph::new(keys).dim(), areas[4]);
    }

    fn headline(&self) -> Paragraph<'static> {
        let Some(status) = self.last.as_ref().and_then(|last| last.status.as_ref()) else {
            return Paragraph::new(vec![
                Line::from("ironbell".bold()),
                Line::from("the node does not answer".bold().red()),
            ]);
        };
        let (seq, durable) = (self.counter("sequencer", "seq"), self.counter("journal", "durable_seq"));
        let per_frame = |of: (&str, &str)| {
            let frames = self.delta("journal", "frames");
            if frames == 0 {
                "-".to_owned()
            } else {
                format!("{:.1}", self.delta(of.0, of.1) as f64 / frames as f64)
            }
        };
        let check = match (status.checks_unequal, &status.shadow_stuck) {
            (Some(at), _) => format!("ALARM: shard and shadow differ since seq {at}").bold().red(),
            (None, Some(why)) => format!("ALARM: the shadow stands still: {why}").bold().red(),
            (None, None) => format!("self-check equal at {} frames", status.checks_equal).green(),
        };
        let state =
            if status.order_entry_halted { "HALTED: the disk is full".bold().red() } else { "open".green() };
        Paragraph::new(vec![
            Line::from(vec![
                "ironbell ".bold(),
                Span::from(format!(
                    "{}   up {:.0} s   epoch {}   durability {}   ",
                    status.order_entry, status.uptime_s, status.epoch, status.durability
                )),
                state,
            ]),
            Line::from(format!(
                "orders/s {:>9.0}   answers/s {:>9.0}   feed messages/s {:>9.0}   sessions {}",
                self.per_s("gateway", "messages_in"),
                self.per_s("gateway", "messages_out"),
                self.per_s("feed", "sequence"),
                self.counter("gateway", "sessions_open")
            )),
            Line::from(format!(
                "frames/s {:>9.0}   commands a frame {:>7}   bytes a frame {:>8}   supersteps/s {:>7.0}",
                self.per_s("journal", "frames"),
                per_frame(("sequencer", "commands")),
                per_frame(("journal", "bytes")),
                self.per_s("shard", "supersteps")
            )),
            Line::from(format!(
                "seq {seq}   journal lag {}   shadow lag {}   standby lag {}",
                seq.saturating_sub(durable),
                seq.saturating_sub(status.seq),
                standby_lag(status),
            )),
            Line::from(check),
        ])
    }

    fn stages(&self) -> Table<'static> {
        let mut stages = self.last.as_ref().map(histograms).unwrap_or_default();
        let place = |name: &str| WAY.iter().position(|of| *of == name).unwrap_or(WAY.len());
        stages.sort_by_key(|(name, _)| place(name));
        stages.retain(|(name, now)| now.total() > 0 || !WAY_OF_SOME.contains(&name.as_str()));
        let row = |(stage, now): &(String, Counts)| {
            let since = |then: Option<&Sample>| {
                let then = then.map(histograms).unwrap_or_default();
                let then = then.into_iter().find(|(name, _)| name == stage);
                then.map_or_else(|| now.clone(), |(_, then)| now.since(&then))
            };
            let (second, all) = (since(self.before.as_ref()), since(self.base.as_ref()));
            let figures = |counts: &Counts| {
                let told = |value: u64| match counts.total() {
                    0 => "-".to_owned(),
                    _ => format!("{:.1}", value as f64 / 1e3),
                };
                [told(counts.percentile(50, 100)), told(counts.percentile(99, 100)), told(counts.max())]
            };
            let cells = figures(&second).into_iter().chain([second.total().to_string()]);
            let cells = cells.chain(figures(&all)).chain([all.total().to_string()]);
            Row::new(std::iter::once(Cell::from(stage.clone())).chain(cells.map(right)))
        };
        let since = if self.base.is_some() { "since reset" } else { "since start" };
        let head = ["µs, in the node", "p50", "p99", "max", "last second", "p50", "p99", "max", since];
        let widths = [18, 9, 9, 10, 12, 9, 9, 10, 12].map(Constraint::Length);
        let head = Row::new(
            head.into_iter()
                .enumerate()
                .map(|(n, text)| if n == 0 { Cell::from(text) } else { right(text.to_owned()) }),
        );
        Table::new(stages.iter().map(row), widths)
            .header(head.style(Style::new().bold()))
            .block(Block::bordered().title("latency of each stage, from the message read"))
    }

    fn rings(&self, frame: &mut Frame<'_>, area: Rect) {
        let block = Block::bordered().title("rings: how full each was when its role last looked");
        let inner = block.inner(area);
        frame.render_widget(block, area);
        let filled = |(ring, _): (topology::Ring, usize)| {
            let name = format!("ring_{}", ring.name);
            let roles = &self.last.as_ref()?.roles;
            let counters = roles.iter().flat_map(|role| &role.counters);
            counters.into_iter().find(|(of, _)| *of == name).map(|(_, n)| (ring.name, *n, ring.depth))
        };
        let rings: Vec<_> = topology::rings(1).into_iter().filter_map(filled).collect();
        for ((name, filled, depth), n) in rings.into_iter().zip(0..inner.height) {
            let row = Rect { y: inner.y + n, height: 1, ..inner };
            let [left, rest] = Layout::horizontal([Constraint::Length(22), Constraint::Min(10)]).areas(row);
            let share = (filled as f64 / depth as f64).min(1.0);
            let color = if share > 0.5 { Color::Red } else { Color::Cyan };
            frame.render_widget(Paragraph::new(name), left);
            let gauge = Gauge::default().ratio(share).label(format!("{filled}/{depth}")).gauge_style(color);
            frame.render_widget(gauge, rest);
        }
    }

    fn threads(&self) -> Table<'static> {
        let status = self.last.as_ref().and_then(|last| last.status.as_ref());
        let row = |thread: &String| {
            let name = thread.split([' ', ':']).next().unwrap_or(thread);
            let idle = self.find(&format!("thread {name}"), "idle_permille");
            let busy = idle.map_or("-".to_owned(), |idle| format!("{:.1} %", 100.0 - idle as f64 / 10.0));
            Row::new([right(busy), Cell::from(thread.clone())])
        };
        let rows: Vec<_> = status.map(|status| status.threads.iter().map(row).collect()).unwrap_or_default();
        Table::new(rows, [Constraint::Length(9), Constraint::Min(20)])
            .header(Row::new([right("busy".to_owned()), Cell::from("thread, its CPU, its roles")]).bold())
            .block(Block::bordered().title("threads, last second"))
    }

    fn books(&self, frame: &mut Frame<'_>, area: Rect) {
        let mut books: BTreeMap<&str, Vec<&inspection::Line>> = BTreeMap::new();
        for line in self.last.iter().flat_map(|last| &last.book) {
            books.entry(&line.symbol).or_default().push(line);
        }
        if books.is_empty() {
            frame
                .render_widget(Paragraph::new("no open order").block(Block::bordered().title("books")), area);
            return;
        }
        let chosen = self.instrument.min(books.len() - 1);
        let [left, right_side] =
            Layout::horizontal([Constraint::Length(24), Constraint::Min(30)]).areas(area);
        let first = chosen.saturating_sub(usize::from(left.height.saturating_sub(4)));
        let rows = books.iter().enumerate().skip(first).map(|(n, (symbol, lines))| {
            let row = Row::new([Cell::from((*symbol).to_owned()), right(lines.len().to_string())]);
            if n == chosen { row.reversed() } else { row }
        });
        let list = Table::new(rows, [Constraint::Length(9), Constraint::Min(8)])
            .header(Row::new([Cell::from("symbol"), right("orders".to_owned())]).bold())
            .block(Block::bordered().title("instruments"));
        frame.render_widget(list, left);
        let (symbol, lines) = books.iter().nth(chosen).expect("one of them is chosen");
        frame.render_widget(depth(symbol, lines), right_side);
    }

    fn find(&self, role: &str, name: &str) -> Option<u64> {
        counter(self.last.as_ref()?, role, name)
    }

    fn counter(&self, role: &str, name: &str) -> u64 {
        self.find(role, name).unwrap_or(0)
    }

    /// What was counted since the reading before.
    fn delta(&self, role: &str, name: &str) -> u64 {
        let before = self.before.as_ref().and_then(|before| counter(before, role, name));
        before.map_or(0, |before| self.counter(role, name).saturating_sub(before))
    }

    fn per_s(&self, role: &str, name: &str) -> f64 {
        let (Some(last), Some(before)) = (&self.last, &self.before) else { return 0.0 };
        self.delta(role, name) as f64 / (last.at - before.at).as_secs_f64().max(1e-3)
    }
}

/// Price levels, best first: bids on the left, asks on the right.
fn depth(symbol: &str, lines: &[&inspection::Line]) -> Table<'static> {
    let side = |of: char| -> Vec<(String, u64, usize)> {
        let mut levels: BTreeMap<i64, (String, u64, usize)> = BTreeMap::new();
        for line in lines.iter().filter(|line| line.side == of && line.shown_qty > 0) {
            let level = levels.entry(line.price_ticks).or_insert_with(|| (line.price.clone(), 0, 0));
            level.1 += line.shown_qty;
            level.2 += 1;
        }
        if of == 'B' { levels.into_values().rev().collect() } else { levels.into_values().collect() }
    };
    let (bids, asks) = (side('B'), side('S'));
    let rows = (0..bids.len().max(asks.len())).map(|n| {
        let cells = |level: Option<&(String, u64, usize)>| {
            level.map_or_else(
                || ["", "", ""].map(str::to_owned),
                |(price, qty, orders)| [price.clone(), qty.to_string(), orders.to_string()],
            )
        };
        let [bid, bid_qty, bid_orders] = cells(bids.get(n));
        let [ask, ask_qty, ask_orders] = cells(asks.get(n));
        Row::new([bid_orders, bid_qty, bid, ask, ask_qty, ask_orders].map(right))
    });
    let head = ["orders", "shown", "bid", "ask", "shown", "orders"].map(|text| right(text.to_owned()));
    Table::new(rows, [7, 10, 12, 12, 10, 7].map(Constraint::Length))
        .header(Row::new(head).bold())
        .block(Block::bordered().title(symbol.to_owned()))
}

fn right(text: String) -> Cell<'static> {
    Cell::from(Line::from(text).right_aligned())
}

fn uptime(sample: &Sample) -> f64 {
    sample.status.as_ref().map_or(0.0, |status| status.uptime_s)
}

fn counter(sample: &Sample, role: &str, name: &str) -> Option<u64> {
    let role = sample.roles.iter().find(|of| of.role == role)?;
    role.counters.iter().find(|(of, _)| of == name).map(|(_, value)| *value)
}

fn histograms(sample: &Sample) -> Vec<(String, Counts)> {
    sample.roles.iter().flat_map(|role| role.histograms.clone()).collect()
}

/// How far the other node of a pair is behind.
fn standby_lag(status: &Status) -> String {
    match &status.pair {
        None => "no standby".to_owned(),
        Some(pair) => match (&pair.lag, pair.behind) {
            (Some(lag), _) => format!("{} ({} ms)", lag.commands, lag.ms),
            (None, Some(behind)) => format!("this is it: {behind} to execute"),
            (None, None) => "the other node is not there".to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::{Recovered, RoleStatus};
    use crate::inspection::Hashes;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    fn status(uptime_s: f64) -> Status {
        let hashes = Hashes {
            seq: 0,
            output_hash: String::new(),
            state_hash: String::new(),
            book_hash: String::new(),
            ledger_sum: BTreeMap::new(),
        };
        Status {
            pair: None,
            order_entry: "127.0.0.1:26400".to_owned(),
            order_entry_by: None,
            feed_by: None,
            feed: String::new(),
            rerequest: String::new(),
            itch: String::new(),
            glimpse: String::new(),
            order_entry_halted: false,
            durability: "disk".to_owned(),
            epoch: 3,
            uptime_s,
            seq: 990,
            feed_sequence: 0,
            checks_equal: 77,
            checks_unequal: None,
            shadow_stuck: None,
            snapshot_seq: None,
            snapshot_age_s: None,
            sessions_max: 256,
            rings: BTreeMap::new(),
            recovery: Recovered {
                snapshot_seq: None,
                commands: 0,
                ms: 0.0,
                commands_per_s: 0.0,
                stages: Vec::new(),
                torn_tail: None,
                log_messages_rewritten: 0,
                hashes,
            },
            threads: vec!["order-path on CPU 1: gateway sequencer".to_owned()],
            roles: Vec::<RoleStatus>::new(),
        }
    }

    fn line(side: char, price_ticks: i64, shown_qty: u64) -> inspection::Line {
        inspection::Line {
            symbol: "BELL".to_owned(),
            side,
            stands: "shown".to_owned(),
            price: format!("{}.{:02}", price_ticks / 100, price_ticks % 100),
            price_ticks,
            wire_price: 0,
            leaves_qty: shown_qty,
            shown_qty,
            order_ref: 1,
            feed_ref: 1,
            mpid: String::new(),
            port: String::new(),
            user_ref_num: 1,
        }
    }

    /// At `at` seconds: `messages` came in, 10 to a frame, and each took `nanos` until it was executed.
    fn sample(at: u64, messages: u64, latencies: &[(u64, u64)]) -> Sample {
        let mut slots = vec![0; ironbell_sync::histogram::SLOTS];
        for (nanos, count) in latencies {
            slots[ironbell_sync::histogram::slot_of(*nanos)] += count;
        }
        let role = |role: &str, counters: &[(&str, u64)], histograms: Vec<(String, Counts)>| RoleCounts {
            role: role.to_owned(),
            counters: counters.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect(),
            histograms,
        };
        Sample {
            at: Duration::from_secs(at),
            status: Some(status(at as f64 + 100.0)),
            roles: vec![
                role(
                    "gateway",
                    &[("messages_in", messages), ("messages_out", messages), ("sessions_open", 4)],
                    vec![],
                ),
                role(
                    "sequencer",
                    &[("seq", 1_000), ("commands", messages), ("ring_gateway_sequencer", 2_048)],
                    vec![],
                ),
                role(
                    "journal",
                    &[("frames", messages / 10), ("bytes", messages * 64), ("durable_seq", 980)],
                    vec![],
                ),
                role("release", &[], vec![("executed".to_owned(), Counts(slots))]),
                role("thread order-path", &[("idle_permille", 250)], vec![]),
            ],
            book: vec![
                line('B', 4_249, 100),
                line('B', 4_249, 50),
                line('B', 4_248, 7),
                line('S', 4_251, 30),
            ],
        }
    }

    fn drawn(top: &Top) -> String {
        let mut terminal = Terminal::new(TestBackend::new(120, 24)).expect("a terminal in memory");
        terminal.draw(|frame| top.draw(frame)).expect("it takes everything");
        let buffer = terminal.backend().buffer().clone();
        let rows = buffer.content.chunks(120);
        rows.map(|row| row.iter().map(ratatui::buffer::Cell::symbol).collect::<String>() + "\n").collect()
    }

    fn row(screen: &str, start: &str) -> Vec<String> {
        let row = screen.lines().find(|line| line.trim_start_matches(['│', ' ']).starts_with(start));
        let row = row.unwrap_or_else(|| panic!("no row of {start}:\n{screen}"));
        row.split([' ', '│']).filter(|word| !word.is_empty()).map(str::to_owned).collect()
    }

    #[test]
    fn a_pair_is_told_how_far_its_other_node_is_behind() {
        use crate::ha::desk::{LagStatus, PairStatus};
        let lag = Some(LagStatus { commands: 12, bytes: None, ms: 3 });
        for (pair, told) in [
            (PairStatus { lag, ..PairStatus::default() }, "12 (3 ms)"),
            (PairStatus { behind: Some(7), ..PairStatus::default() }, "this is it: 7 to execute"),
            (PairStatus::default(), "the other node is not there"),
        ] {
            assert_eq!(standby_lag(&Status { pair: Some(pair), ..status(1.0) }), told);
        }
    }

    #[test]
    fn stages_are_told_of_the_last_second_and_since_the_start_or_a_reset() {
        let mut top = Top::default();
        top.take(sample(0, 0, &[(1_000, 100)]));
        top.take(sample(2, 6_000, &[(1_000, 100), (5_000, 300)]));
        let screen = drawn(&top);
        assert_eq!(
            row(&screen, "executed"),
            ["executed", "5.0", "5.0", "5.0", "300", "5.0", "5.0", "5.0", "400"]
        );
        assert!(
            screen.contains("orders/s      3000") && screen.contains("commands a frame    10.0"),
            "{screen}"
        );
        assert!(screen.contains("bytes a frame    640.0"), "{screen}");
        assert!(screen.contains("journal lag 20") && screen.contains("shadow lag 10"), "{screen}");
        assert!(
            screen.contains("no standby") && screen.contains("sessions 4") && screen.contains("since start")
        );
        assert!(!top.key(KeyCode::Char('r')));
        let screen = drawn(&top);
        assert!(screen.contains("since reset"), "{screen}");
        assert_eq!(row(&screen, "executed")[5..], ["-", "-", "-", "0"]);
    }

    #[test]
    fn panes_are_chosen_by_keys_and_q_ends_it() {
        let mut top = Top::default();
        top.take(sample(0, 0, &[]));
        top.key(KeyCode::Tab);
        let screen = drawn(&top);
        assert!(screen.contains("gateway_sequencer") && screen.contains("2048/"), "{screen}");
        top.key(KeyCode::Char('3'));
        assert_eq!(row(&drawn(&top), "75.0")[..3], ["75.0", "%", "order-path"]);
        assert!(!top.wants_book());
        top.key(KeyCode::Right);
        assert!(top.wants_book());
        let screen = drawn(&top);
        assert_eq!(row(&screen, "BELL"), ["BELL", "4", "2", "150", "42.49", "42.51", "30", "1"]);
        top.key(KeyCode::Right);
        assert!(drawn(&top).contains("latency of each stage"));
        assert!(top.key(KeyCode::Char('q')) && top.key(KeyCode::Esc));
    }

    #[test]
    fn what_is_paused_stands_still_and_a_restart_begins_anew() {
        let mut top = Top::default();
        top.take(sample(50, 5_000, &[(1_000, 5)]));
        top.key(KeyCode::Char('p'));
        top.take(sample(51, 9_000, &[(1_000, 9)]));
        assert!(drawn(&top).contains("PAUSED"));
        assert_eq!(row(&drawn(&top), "executed").last().map(String::as_str), Some("5"));
        top.key(KeyCode::Char('p'));
        top.key(KeyCode::Char('r'));
        // The node was started again: it has been up for less long, and counts from nothing.
        top.take(Sample { status: Some(status(1.0)), ..sample(60, 10, &[(1_000, 1)]) });
        assert_eq!(row(&drawn(&top), "executed").last().map(String::as_str), Some("1"));
        top.take(Sample { status: None, roles: Vec::new(), ..sample(61, 0, &[]) });
        assert!(drawn(&top).contains("the node does not answer"));
    }
}
