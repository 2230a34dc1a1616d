//! The Internet checksum (RFC 1071), and who fills it in.

/// A checksum of TCP or UDP that the device fills in.
///
/// It goes over the frame's bytes from `start` to the end, and into the two bytes `offset` behind `start`. Until then these
/// hold the sum of the pseudo-header, folded and not complemented, as a card takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsummed {
    /// In bytes, from the frame's first.
    pub start: u16,
    /// In bytes, from `start`.
    pub offset: u16,
}

impl Unsummed {
    /// Does what the device would.
    ///
    /// # Panics
    /// When the checksum's place is not within `frame`.
    pub fn fill(self, frame: &mut [u8]) {
        let summed = &mut frame[usize::from(self.start)..];
        let checksum = filled(sum(summed));
        let at = usize::from(self.offset);
        summed[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
    }
}

/// The sum of `bytes` before it is folded. Words of four bytes are summed at a time: whoever folds them to two bytes comes to
/// the same.
#[must_use]
pub fn sum(bytes: &[u8]) -> u64 {
    let words = bytes.chunks_exact(4);
    let mut last = [0; 4];
    last[..words.remainder().len()].copy_from_slice(words.remainder());
    let word = |bytes: &[u8]| u64::from(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]));
    words.map(word).sum::<u64>() + word(&last)
}

/// A sum of 16 bits, carries added.
#[must_use]
pub fn folded(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// The checksum of a sum. Zero is sent as its other form: in UDP it would say that there is none (RFC 768).
#[must_use]
pub fn filled(sum: u64) -> u16 {
    match !folded(sum) {
        0 => 0xffff,
        checksum => checksum,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 1071, section 3.
    #[test]
    fn the_example_of_the_rfc_comes_to_its_sum() {
        assert_eq!(folded(sum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7])), 0xddf2);
        assert_eq!(folded(sum(&[0x00, 0x01, 0xf2])), folded(sum(&[0x00, 0x01, 0xf2, 0])));
        assert_eq!((filled(0xffff), filled(0x1_fffe)), (0xffff, 0xffff), "zero has two forms");
    }

    /// Whoever sums a filled frame, with the pseudo-header's sum, comes to 0xffff.
    #[test]
    fn a_filled_frame_sums_up() {
        for len in 8..80_u16 {
            let mut frame: Vec<u8> = (0..len).map(|at| (at * 37 + len) as u8).collect();
            let pseudo = len.wrapping_mul(7_919);
            frame[6..8].copy_from_slice(&pseudo.to_be_bytes());
            let whole = frame.clone();
            Unsummed { start: 2, offset: 4 }.fill(&mut frame);
            assert_eq!(folded(sum(&frame[2..]) + u64::from(pseudo)), 0xffff, "{len} bytes");
            frame[6..8].copy_from_slice(&pseudo.to_be_bytes());
            assert_eq!(frame, whole, "nothing else is touched");
        }
    }
}
