//! Until when certificates hold: the two lines of X.509 that an alert needs, and nothing else of it.
//!
//! ```text
//! Certificate ::= SEQUENCE { tbsCertificate SEQUENCE { [0] version OPTIONAL, serialNumber INTEGER,
//!     signature SEQUENCE, issuer SEQUENCE, validity SEQUENCE { notBefore Time, notAfter Time }, … } … }
//! ```
//!
//! RFC 5280, sections 4.1 and 4.1.2.5. No signature is checked here: who uses a certificate does that.

use std::path::Path;

use base64ct::{Base64, Encoding as _};

const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;

/// When the first certificate in a file of PEM ceases to hold, in seconds since 1970.
///
/// # Errors
/// Why there is no telling.
pub fn not_after(path: &Path) -> Result<i64, String> {
    let text = std::fs::read_to_string(path).map_err(|e| e.to_string())?;
    first_end(&text).ok_or_else(|| "it holds no certificate in PEM, or one that cannot be read".to_owned())
}

/// The earliest end of all certificates in `text`; none when there is none, or one cannot be read.
fn first_end(text: &str) -> Option<i64> {
    const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
    const END: &str = "-----END CERTIFICATE-----";
    let bodies = text.split(BEGIN).skip(1);
    let ends = bodies.map(|rest| {
        let body: String = rest.split_once(END)?.0.split_whitespace().collect();
        end_of(&Base64::decode_vec(&body).ok()?)
    });
    ends.collect::<Option<Vec<_>>>()?.into_iter().min()
}

fn end_of(certificate: &[u8]) -> Option<i64> {
    let (whole, _) = expect(SEQUENCE, certificate)?;
    let (mut tbs, _) = expect(SEQUENCE, whole)?;
    if tbs.first() == Some(&VERSION) {
        tbs = expect(VERSION, tbs)?.1;
    }
    for tag in [INTEGER, SEQUENCE, SEQUENCE] {
        tbs = expect(tag, tbs)?.1;
    }
    let (validity, _) = expect(SEQUENCE, tbs)?;
    let (_, _, rest) = element(validity)?;
    let (tag, time, _) = element(rest)?;
    unix(tag, std::str::from_utf8(time).ok()?)
}

fn expect(tag: u8, bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (found, content, rest) = element(bytes)?;
    (found == tag).then_some((content, rest))
}

/// The first element of DER: its tag, its content, and what is behind it.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[tag, short], rest) = bytes.split_first_chunk()?;
    let (length, rest) = match short {
        0..=0x7f => (usize::from(short), rest),
        // So many bytes of length; a certificate has no need of more than four.
        0x81..=0x84 => {
            let (length, rest) = rest.split_at_checked(usize::from(short & 0x7f))?;
            (length.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

/// `YYMMDDHHMMSSZ` or `YYYYMMDDHHMMSSZ`, in seconds since 1970.
fn unix(tag: u8, time: &str) -> Option<i64> {
    let digits = time.strip_suffix('Z')?;
    if !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let (year, rest) = match (tag, digits.len()) {
        (UTC_TIME, 12) => {
            let year: i64 = digits[..2].parse().ok()?;
            (if year < 50 { 2000 + year } else { 1900 + year }, &digits[2..])
        }
        (GENERALIZED_TIME, 14) => (digits[..4].parse().ok()?, &digits[4..]),
        _ => return None,
    };
    let part = |nth: usize| rest[2 * nth..2 * nth + 2].parse::<i64>().ok();
    let (month, day) = (part(0)?, part(1)?);
    if !(1..=12).contains(&month) {
        return None;
    }
    // The year begins in March, so that a leap day is its last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1 - 719_468;
    Some(((days * 24 + part(2)?) * 60 + part(3)?) * 60 + part(4)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_both_forms_are_read() {
        assert_eq!(unix(UTC_TIME, "700101000000Z"), Some(0));
        assert_eq!(unix(UTC_TIME, "000229120000Z"), Some(951_825_600));
        assert_eq!(unix(UTC_TIME, "491231235959Z"), Some(2_524_607_999));
        assert_eq!(unix(GENERALIZED_TIME, "20500101000000Z"), Some(2_524_608_000));
        assert_eq!(unix(GENERALIZED_TIME, "99991231235959Z"), Some(253_402_300_799));
        for (tag, time) in
            [(UTC_TIME, "20500101000000Z"), (UTC_TIME, "700101000000"), (UTC_TIME, "7001010000é0Z")]
        {
            assert_eq!(unix(tag, time), None, "{time}");
        }
        assert_eq!(unix(UTC_TIME, "701301000000Z"), None);
    }

    /// Certificates as openssl makes them, cut at every byte and with every byte changed: a time or none, never a panic.
    #[test]
    fn certificates_of_openssl_are_read_and_damaged_ones_do_no_harm() {
        let dir = std::env::temp_dir().join(format!("ironbell-certificate-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("room");
        let make = |name: &str, days: &str| {
            let made = std::process::Command::new("openssl")
                .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"])
                .args(["-subj", "/CN=node", "-days", days, "-keyout"])
                .arg(dir.join("key"))
                .arg("-out")
                .arg(dir.join(name))
                .output()
                .expect("openssl: run tests/setup.sh");
            assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
            let said = std::process::Command::new("openssl")
                .args([
                    "x509",
                    "-noout",
                    "-checkend",
                    &(days.parse::<u64>().expect("a number") * 86_400 - 300).to_string(),
                ])
                .arg("-in")
                .arg(dir.join(name))
                .status();
            assert!(said.expect("openssl").success());
            not_after(&dir.join(name)).expect("a certificate")
        };
        let now =
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs()
                as i64;
        let (week, century) = (make("week.pem", "7"), make("century.pem", "36500"));
        // The second is a minute's worth of clock away at most, whatever the machine is doing.
        assert!((week - now - 7 * 86_400).abs() <= 300, "{week} {now}");
        assert!((century - now - 36_500 * 86_400).abs() <= 300, "{century} {now}");

        let read = |name: &str| std::fs::read_to_string(dir.join(name)).expect("a file");
        assert_eq!(first_end(&format!("{}{}", read("century.pem"), read("week.pem"))), Some(week));
        assert_eq!(first_end("no certificate"), None);
        let body: String = read("week.pem").lines().filter(|line| !line.starts_with('-')).collect();
        let whole = Base64::decode_vec(&body).expect("base64");
        assert_eq!(end_of(&whole), Some(week));
        for at in 0..whole.len() {
            assert_eq!(end_of(&whole[..at]), None, "cut at {at}");
            for bits in [0x01, 0x80, 0xff] {
                let mut damaged = whole.clone();
                damaged[at] ^= bits;
                let _ = end_of(&damaged);
            }
        }
        std::fs::remove_dir_all(&dir).expect("it is ours");
    }
}
