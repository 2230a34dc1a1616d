//! Frames that nobody sent, through the parser and the TCP above it: what `make fuzz` does on nightly Rust, on any.

#[path = "../../../tests/fuzz/ethernet.rs"]
mod ethernet;

mod draws;

use std::net::SocketAddr;

use draws::draws;
use ethernet::{FITS, LISTEN};

/// Segments of a few members, whose flags, options, lengths and data are drawn, turned and cut. Most fit a connection, so
/// that all states are come to.
#[test]
fn whatever_comes_in_breaks_nothing() {
    let seed_of_all = std::env::var("IRONBELL_SEED").ok().map_or(1, |seed| seed.parse().expect("a number"));
    let (mut connected, mut aborted, mut unknown, mut ignored, mut redeemed) = (0, 0, 0, 0, 0);
    for seed in seed_of_all..seed_of_all + 3_000_u64 {
        let mut draw = draws(seed);
        let mut bytes = Vec::new();
        for _ in 0..40 {
            let mut frame = segment(&mut draw);
            if draw(6) == 0 {
                let at = draw(frame.len() as u64) as usize;
                frame[at] = draw(256) as u8;
            }
            if draw(20) == 0 {
                frame.truncate(draw(frame.len() as u64) as usize);
            }
            let time = if draw(10) == 0 { draw(128) } else { draw(3) } as u8;
            bytes.extend([frame.len() as u8, time | if draw(8) == 0 { 0 } else { FITS }]);
            bytes.extend(frame);
        }
        println!("IRONBELL_SEED={seed}");
        let counters = ethernet::ethernet(&bytes);
        connected += counters.connected;
        aborted += counters.aborted;
        unknown += counters.unknown;
        ignored += counters.ignored;
        redeemed += counters.cookies_redeemed;
    }
    println!(
        "{connected} connected, {redeemed} by a cookie, {aborted} aborted, {unknown} unknown, {ignored} ignored"
    );
    assert!(redeemed > 100, "some by cookies");
    assert!([connected, unknown, ignored].iter().all(|count| *count > 1_000), "all of it happens");
}

fn segment(draw: &mut impl FnMut(u64) -> u64) -> Vec<u8> {
    let from = SocketAddr::from(([10, 0, 0, 2], 50_000 + draw(3) as u16));
    let flags = [0x02, 0x10, 0x10, 0x18, 0x18, 0x11, 0x14, draw(64) as u8][draw(8) as usize];
    let mut options = match draw(4) {
        0 => vec![2, 4, 5, 0xb4, 1, 3, 3, 7],
        1 => vec![4, 2, draw(20) as u8, draw(12) as u8],
        _ => Vec::new(),
    };
    options.resize(options.len().next_multiple_of(4), 0);
    let payload = if flags & 8 != 0 { draw(100) } else { draw(2) * draw(3) } as usize;
    let len = 40 + options.len() + payload;
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
    frame.extend([0x45, 0, 0, len as u8, 0, 0, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 2]);
    frame.extend([10, 0, 0, 1]);
    frame.extend(from.port().to_be_bytes());
    frame.extend(LISTEN.port().to_be_bytes());
    frame.extend((draw(1 << 32) as u32).to_be_bytes());
    frame.extend((draw(1 << 32) as u32).to_be_bytes());
    frame.extend([((20 + options.len()) as u8) << 2, flags, draw(256) as u8, draw(256) as u8, 0, 0, 0, 0]);
    frame.extend(options);
    frame.extend((0..payload).map(|at| at as u8));
    frame
}
