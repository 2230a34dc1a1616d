//! Letters that OUCH options and native messages have in common.

use ironbell_types::{Peg, Stp};

/// What a letter pegs to (OUCH 5.0, tag 6, PriceType; native `peg`): `L` to nothing, `R` primary, `P` market,
/// `M` midpoint. `None` when it is none of these.
#[must_use]
pub const fn peg(code: u8) -> Option<Peg> {
    match code {
        b'L' => Some(Peg::None),
        b'R' => Some(Peg::Primary),
        b'P' => Some(Peg::Market),
        b'M' => Some(Peg::Midpoint),
        _ => None,
    }
}

/// The letter of what an order is pegged to.
#[must_use]
pub const fn peg_code(peg: Peg) -> u8 {
    match peg {
        Peg::None => b'L',
        Peg::Primary => b'R',
        Peg::Market => b'P',
        Peg::Midpoint => b'M',
    }
}

/// The self-trade rule of a letter (OUCH 5.0 revision 1.05, tag 29, AIQ strategy; native `stp`): `*` as the
/// port, `N` off, `Y` cancel newest, `O` cancel oldest, `W` cancel both, `D` decrement. `None` when it is none
/// of these. The letters are Nasdaq's; which of its rules each stands for there is not public.
#[must_use]
pub const fn stp(code: u8) -> Option<Stp> {
    match code {
        b'*' => Some(Stp::Port),
        b'N' => Some(Stp::Off),
        b'Y' => Some(Stp::CancelNewest),
        b'O' => Some(Stp::CancelOldest),
        b'W' => Some(Stp::CancelBoth),
        b'D' => Some(Stp::Decrement),
        _ => None,
    }
}

/// The letter of a self-trade rule.
#[must_use]
pub const fn stp_code(stp: Stp) -> u8 {
    match stp {
        Stp::Port => b'*',
        Stp::Off => b'N',
        Stp::CancelNewest => b'Y',
        Stp::CancelOldest => b'O',
        Stp::CancelBoth => b'W',
        Stp::Decrement => b'D',
    }
}
