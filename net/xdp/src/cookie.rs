//! SYN cookies (RFC 4987, section 3.6): the initial sequence number of an answer to a SYN says what we would otherwise have to
//! remember, so that a flood of those who never answer takes no memory, and who does answer brings back what is needed.
//!
//! ```text
//! 31                                                            3 2     0
//! │ keyed hash of peer, its number, the period, the segment size │ size │
//! ```
//!
//! What a cookie cannot say is not spoken of: neither window scaling nor selective acknowledgement is offered with it.

use std::net::{IpAddr, SocketAddr};

use ironbell_device::Nanos;
use sha2::{Digest as _, Sha256};

/// Nanoseconds of a period: 2^32, 4.3 s. A cookie is good until the end of the period after the one that it was made in.
const PERIOD_LOG2: u32 = 32;
/// A cookie is good for so long at most.
pub(crate) const LIFE_MAX: Nanos = Nanos(2 << PERIOD_LOG2);

/// What a cookie can say of the longest segment that the peer takes, in bytes: of links that carry less than is usual, of
/// tunnels, of Ethernet over IPv6 and IPv4, of jumbo frames. The first is the least that makes sense.
const SEGMENT_SIZES: [u16; 8] = [48, 536, 1_220, 1_360, 1_400, 1_440, 1_460, 8_940];
const SIZE_BITS: u32 = 3;

/// Makes cookies, and tells its own from others.
#[derive(Clone)]
pub struct Cookies {
    secret: [u8; 16],
}

impl std::fmt::Debug for Cookies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Cookies")
    }
}

impl Cookies {
    /// Cookies that cannot be made by who does not know `secret`; a guess is right once in 2^28.
    #[must_use]
    pub fn new(secret: u128) -> Self {
        Self { secret: secret.to_le_bytes() }
    }

    /// Our number in the answer to a SYN of `peer`'s with the number `theirs`. A peer that says nothing of `segment_size`, in
    /// bytes, takes 536 (RFC 9293, section 3.7.1).
    #[must_use]
    pub fn number(&self, peer: SocketAddr, theirs: u32, segment_size: Option<u16>, now: Nanos) -> u32 {
        let size = segment_size.filter(|size| *size > 0).unwrap_or(536);
        let index = SEGMENT_SIZES.iter().rposition(|known| *known <= size).unwrap_or(0) as u32;
        self.of(peer, theirs, index, now.0 >> PERIOD_LOG2)
    }

    /// The longest segment in bytes that `peer` takes, if `number` was our answer to its SYN with the number `theirs`, and not
    /// long ago.
    #[must_use]
    pub fn read(&self, number: u32, peer: SocketAddr, theirs: u32, now: Nanos) -> Option<u16> {
        let index = number & ((1 << SIZE_BITS) - 1);
        let period = now.0 >> PERIOD_LOG2;
        let mut periods = [Some(period), period.checked_sub(1)].into_iter().flatten();
        periods
            .any(|period| self.of(peer, theirs, index, period) == number)
            .then(|| SEGMENT_SIZES[index as usize])
    }

    /// What is hashed has another length than what initial sequence numbers are made of with the same secret.
    fn of(&self, peer: SocketAddr, theirs: u32, index: u32, period: u64) -> u32 {
        let mut hash = Sha256::new();
        hash.update(match peer.ip() {
            IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
            IpAddr::V6(v6) => v6.octets(),
        });
        hash.update(peer.port().to_be_bytes());
        hash.update(theirs.to_be_bytes());
        hash.update(period.to_be_bytes());
        hash.update([index as u8]);
        hash.update(self.secret);
        let digest = hash.finalize();
        let hash = u32::from_le_bytes([digest[0], digest[1], digest[2], digest[3]]);
        hash << SIZE_BITS | index
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::draws::draws;

    const PERIOD: u64 = 1 << PERIOD_LOG2;

    /// Of whom, and with which number.
    fn drawn(draw: &mut impl FnMut(u64) -> u64) -> (SocketAddr, u32) {
        let port = draw(1 << 16) as u16;
        let ip: IpAddr = match draw(2) {
            0 => IpAddr::from((draw(1 << 32) as u32).to_be_bytes()),
            _ => IpAddr::from(((u128::from(draw(1 << 63)) << 64) | u128::from(draw(1 << 63))).to_be_bytes()),
        };
        (SocketAddr::new(ip, port), draw(1 << 32) as u32)
    }

    #[test]
    fn a_cookie_is_good_for_its_own_peer_for_a_while_and_for_nobody_else() {
        for seed in 0..20_u64 {
            let mut draw = draws(seed);
            let cookies = Cookies::new(u128::from(draw(1 << 63)) << 64 | u128::from(draw(1 << 63)));
            for _ in 0..500 {
                let (peer, theirs) = drawn(&mut draw);
                let (size, now) = (1 + draw(10_000) as u16, draw(1 << 60));
                let number = cookies.number(peer, theirs, Some(size), Nanos(now));
                let read = |peer, theirs, at| cookies.read(number, peer, theirs, Nanos(at));
                let known = read(peer, theirs, now).unwrap_or_else(|| panic!("seed {seed}"));
                assert!(known <= size.max(SEGMENT_SIZES[0]), "seed {seed}: {known} of {size}");
                assert!(size < 48 || SEGMENT_SIZES.iter().all(|other| *other <= known || *other > size));
                // Whenever within a period of its making; after two there is nothing left of it.
                assert_eq!(read(peer, theirs, now + draw(PERIOD)), Some(known), "seed {seed}");
                assert_eq!(read(peer, theirs, now + 2 * PERIOD + draw(1 << 60)), None, "seed {seed}");
                let (other, number_of_other) = drawn(&mut draw);
                assert_eq!(read(other, theirs, now), None, "seed {seed}");
                assert_eq!(read(peer, number_of_other, now), None, "seed {seed}");
                let turned = number ^ 1 << draw(32);
                assert_eq!(cookies.read(turned, peer, theirs, Nanos(now)), None, "seed {seed}");
                assert_eq!(Cookies::new(7).read(number, peer, theirs, Nanos(now)), None, "seed {seed}");
            }
        }
    }

    #[test]
    fn the_sizes_that_are_usual_are_kept() {
        let cookies = Cookies::new(1);
        let peer = "10.0.0.2:50000".parse().expect("an address");
        for (told, kept) in [
            (None, 536),
            (Some(0), 536),
            (Some(535), 48),
            (Some(536), 536),
            (Some(1_440), 1_440),
            (Some(1_459), 1_440),
            (Some(1_460), 1_460),
            (Some(8_939), 1_460),
            (Some(8_940), 8_940),
            (Some(u16::MAX), 8_940),
        ] {
            let number = cookies.number(peer, 9, told, Nanos(0));
            assert_eq!(cookies.read(number, peer, 9, Nanos(0)), Some(kept), "{told:?}");
        }
    }
}
