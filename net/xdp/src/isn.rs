//! Initial sequence numbers by RFC 6528: a clock, and a keyed hash of both addresses and ports. So nobody who does not
//! see a connection can guess a number in it, and the numbers of one pair of addresses and ports still go up, by which
//! a segment of an old connection is told from the new one's.

use std::net::{IpAddr, SocketAddr};

use ironbell_device::Nanos;
use sha2::{Digest as _, Sha256};

/// Nanoseconds of the clock in one number: 64. RFC 6528's 4 µs is outrun by who sends more than 250 kB/s, and a day's
/// first burst is more.
const TICK_LOG2: u32 = 6;

/// Makes initial sequence numbers.
#[derive(Clone)]
pub struct Isns {
    secret: [u8; 16],
}

impl std::fmt::Debug for Isns {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Isns")
    }
}

impl Isns {
    /// Numbers that cannot be guessed by who does not know `secret`.
    #[must_use]
    pub fn new(secret: u128) -> Self {
        Self { secret: secret.to_le_bytes() }
    }

    /// The number of our first byte in a connection between our address and the peer's that begins `now`
    /// (RFC 6528, section 3: ISN = M + F(localip, localport, remoteip, remoteport, secretkey)).
    #[must_use]
    pub fn number(&self, ours: SocketAddr, peers: SocketAddr, now: Nanos) -> u32 {
        let mut hash = Sha256::new();
        for address in [ours, peers] {
            let octets = match address.ip() {
                IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
                IpAddr::V6(v6) => v6.octets(),
            };
            hash.update(octets);
            hash.update(address.port().to_be_bytes());
        }
        hash.update(self.secret);
        let digest = hash.finalize();
        let hash = u32::from_le_bytes([digest[0], digest[1], digest[2], digest[3]]);
        ((now.0 >> TICK_LOG2) as u32).wrapping_add(hash)
    }
}

/// What smoltcp's interface has to be seeded with for its next connection to begin with `number`.
///
/// smoltcp draws the number from a generator of its own (sPCG32, `src/rand.rs`) and takes none from outside; but the
/// generator's step can be turned round. Its state of 64 bits becomes `state × M + A`, and its draw is 32 bits of that
/// from bit 29 on when the three highest are zero. A new interface has made one draw before, for IPv4's identification,
/// and makes another when that was zero. Should smoltcp ever change this, its numbers would be random ones again, and
/// `initial_sequence_numbers_are_those_of_rfc_6528` in `tests/tcp.rs` would fail.
pub(crate) fn seed_for(number: u32) -> u64 {
    const M: u64 = 0xbb2e_fcec_3c39_611d;
    const A: u64 = 0x7590_ef39;
    const M_INVERSE: u64 = inverse(M);
    let before = |state: u64| state.wrapping_sub(A).wrapping_mul(M_INVERSE);
    for low in 0.. {
        let drawn = before(u64::from(number) << 29 | low);
        let identification = (drawn >> (29 - (drawn >> 61))) as u32;
        if (identification ^ identification >> 16) as u16 != 0 {
            return before(drawn);
        }
    }
    unreachable!("one draw in 65,536 is zero")
}

/// The number by which `odd` is multiplied to 1, modulo 2^64: each step of Newton's doubles the bits that are right,
/// of which `odd` itself has three.
const fn inverse(odd: u64) -> u64 {
    let (mut inverse, mut steps) = (odd, 0);
    while steps < 5 {
        inverse = inverse.wrapping_mul(2_u64.wrapping_sub(odd.wrapping_mul(inverse)));
        steps += 1;
    }
    assert!(odd.wrapping_mul(inverse) == 1, "an inverse");
    inverse
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &str = "10.0.0.1:26400";
    const PEERS: &str = "10.0.0.2:50000";

    fn number(secret: u128, ours: &str, peers: &str, now: u64) -> u32 {
        let address = |text: &str| text.parse().expect("an address");
        Isns::new(secret).number(address(ours), address(peers), Nanos(now))
    }

    #[test]
    fn the_numbers_of_one_pair_go_up_with_the_clock() {
        let start = number(7, OURS, PEERS, 0);
        assert_eq!(number(7, OURS, PEERS, 63), start);
        for now in [64, 6_400, 1 << 37, 1_700_000_000_000_000_000] {
            assert_eq!(number(7, OURS, PEERS, now).wrapping_sub(start), (now >> 6) as u32, "{now}");
        }
    }

    #[test]
    fn everything_that_tells_connections_apart_is_in_the_hash() {
        let numbers = [
            number(7, OURS, PEERS, 0),
            number(8, OURS, PEERS, 0),
            number(7 | 1 << 127, OURS, PEERS, 0),
            number(7, PEERS, OURS, 0),
            number(7, "10.0.0.3:26400", PEERS, 0),
            number(7, "10.0.0.1:26401", PEERS, 0),
            number(7, OURS, "10.0.0.3:50000", 0),
            number(7, OURS, "10.0.0.2:50001", 0),
            number(7, "[fd00::1]:26400", "[fd00::2]:50000", 0),
            number(7, "[fd00::1]:26400", "[fd01::2]:50000", 0),
        ];
        for (at, one) in numbers.iter().enumerate() {
            assert!(!numbers[..at].contains(one), "{numbers:x?}");
        }
    }
}
