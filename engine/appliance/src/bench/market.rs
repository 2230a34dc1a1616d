//! The market that a bench trades in: so many members, so many instruments, and funds for all of it.

use std::fmt::Write as _;

use ironbell_load::{Login, Traded};
use ironbell_types::{Symbol, Username};

use crate::failure::Failure;

/// One password for all: it is a trial.
const PASSWORD: &str = "bench";
/// First funds are a line each: a member's of every instrument.
const FUNDS_MAX: usize = 400_000;

/// Members and instruments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Market {
    /// Each with a firm, a port and an account of its own.
    pub sessions: usize,
    /// Each with an asset of its own, traded for USD.
    pub instruments: usize,
}

impl Market {
    /// Checks the sizes.
    ///
    /// # Errors
    /// When there is none, or more than can be named or funded.
    pub fn new(sessions: usize, instruments: usize) -> Result<Self, Failure> {
        // An instrument's number is its ITCH stock locate, of 16 bits.
        if !(1..=46_656).contains(&sessions) || !(1..=65_535).contains(&instruments) {
            return Err(Failure::refused(
                "--sessions is within 1 to 46656 (firms have names of four characters), --instruments within 1 to 65535 \
                 (ITCH's stock locate has 16 bits)",
            ));
        }
        if sessions * instruments > FUNDS_MAX {
            return Err(Failure::refused(format_args!(
                "{sessions} sessions in {instruments} instruments are {} first funds; at most {FUNDS_MAX}",
                sessions * instruments
            )));
        }
        Ok(Self { sessions, instruments })
    }

    /// The genesis, as it stands in a configuration.
    #[must_use]
    pub fn genesis(&self) -> String {
        self.genesis_with("")
    }

    /// The same with passwords that cost next to nothing to check, so that thousands are let in within seconds: of a node
    /// of this machine and this program.
    #[must_use]
    pub fn genesis_of_a_trial(&self) -> String {
        self.genesis_with("password_memory_kib = 8\n")
    }

    fn genesis_with(&self, settings: &str) -> String {
        let mut text = format!("[genesis]\n{settings}assets = [{{ code = \"USD\", decimals = 4 }}");
        for n in 0..self.instruments {
            let _ = write!(text, ", {{ code = \"{}\", decimals = 0 }}", symbol(n));
        }
        text += "]\n";
        for n in 0..self.instruments {
            let symbol = symbol(n);
            let _ = write!(
                text,
                "[[genesis.instruments]]\nsymbol = \"{symbol}\"\nbase = \"{symbol}\"\nquote = \"USD\"\ntick = \"0.01\"\n\
                 maker_fee_bps = 1\ntaker_fee_bps = 3\n"
            );
        }
        for n in 0..self.sessions {
            let (username, mpid, account) = (username(n), mpid(n), n + 1);
            let _ = write!(
                text,
                "[[genesis.firms]]\nmpid = \"{mpid}\"\n[[genesis.ports]]\nusername = \"{username}\"\npassword = \"{PASSWORD}\"\n\
                 firm = \"{mpid}\"\naccount = {account}\n[[genesis.funds]]\naccount = {account}\nasset = \"USD\"\n\
                 amount = \"100000000000\"\n"
            );
            for instrument in 0..self.instruments {
                let _ = write!(
                    text,
                    "[[genesis.funds]]\naccount = {account}\nasset = \"{}\"\namount = \"1000000000\"\n",
                    symbol(instrument)
                );
            }
        }
        text
    }

    /// How the members log in.
    #[must_use]
    pub fn logins(&self) -> Vec<Login> {
        let login = |n| Login {
            username: Username::new(&username(n)).expect("it is short"),
            password: PASSWORD.to_owned(),
        };
        (0..self.sessions).map(login).collect()
    }

    /// What they trade; wire prices of four decimals, a tick of a cent.
    #[must_use]
    pub fn traded(&self) -> Vec<Traded> {
        let traded = |n: usize| Traded {
            symbol: Symbol::new(&symbol(n)).expect("it is short"),
            // 100 dollars and up, so that books differ.
            mid: (10_000 + (n as u64 * 137) % 30_000) * 100,
            tick: 100,
            qty_max: 500,
        };
        (0..self.instruments).map(traded).collect()
    }
}

fn symbol(n: usize) -> String {
    format!("I{n:05}")
}

fn username(n: usize) -> String {
    format!("M{n:05}")
}

/// Four characters: three digits of base 36 behind a letter.
fn mpid(n: usize) -> String {
    let digit = |n: usize| char::from_digit((n % 36) as u32, 36).expect("below 36").to_ascii_uppercase();
    ['M', digit(n / 1_296), digit(n / 36), digit(n)].iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_member_has_names_of_its_own() {
        let market = Market::new(5_000, 3).expect("a market");
        let users: BTreeSet<String> = (0..5_000).map(username).collect();
        let firms: BTreeSet<String> = (0..5_000).map(mpid).collect();
        assert_eq!((users.len(), firms.len(), market.logins().len()), (5_000, 5_000, 5_000));
        assert!(firms.iter().all(|mpid| mpid.len() == 4));
        assert_eq!(market.traded().len(), 3);
        assert!(Market::new(5_000, 500).is_err() && Market::new(0, 1).is_err());
    }

    #[test]
    fn its_genesis_is_read_as_one() {
        let market = Market::new(3, 2).expect("a market");
        for (text, kib) in [(market.genesis(), 0), (market.genesis_of_a_trial(), 8)] {
            let config: crate::config::Config = toml::from_str(&text).expect("it is TOML");
            assert_eq!((config.genesis.ports.len(), config.genesis.instruments.len()), (3, 2));
            assert_eq!((config.genesis.funds.len(), config.genesis.password_memory_kib), (9, kib));
        }
    }
}
