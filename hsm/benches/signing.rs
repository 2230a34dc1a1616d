//! What signing costs: signatures of each signer, and the entries and hashes of the tree, of one thread.
//!
//! ```text
//! cargo bench -p ironbell-hsm --bench signing [--features ml-dsa] -- [MODULE TOKEN KEY PIN_FILE]
//! ```
//!
//! With a module, a token, a key and the file of its PIN, that key too.

use std::path::Path;
use std::time::{Duration, Instant};

use ironbell_hsm::entry::{Entry, Part, Salts};
use ironbell_hsm::{
    Algorithm, Checkpoint, Head, Key, PinSource, Signer, SoftwareSigner, Token, TokenConfig, TokenSigner,
    Tree,
};

/// Each signer signs for so long.
const SIGNING: Duration = Duration::from_secs(2);
const ENTRIES: u64 = 500_000;

fn main() {
    let dir = std::env::temp_dir().join(format!("ironbell-bench-signing-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("a temporary directory");
    println!("{:<28} {:>10} {:>10} {:>10} {:>10}", "signer", "per s", "p50 µs", "p99 µs", "max µs");
    let classical = [Algorithm::Ed25519, Algorithm::EcdsaP256];
    let post_quantum =
        [Algorithm::MlDsa44, Algorithm::MlDsa87].into_iter().filter(|_| cfg!(feature = "ml-dsa"));
    for algorithm in classical.into_iter().chain(post_quantum) {
        let signer = SoftwareSigner::create(&dir.join(algorithm.name()), algorithm).expect("a new key");
        measure(&format!("file, {algorithm}"), Box::new(signer));
    }
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if let [module, token, key, pin_file] = &arguments[..] {
        let config = TokenConfig {
            module: module.into(),
            token: token.clone(),
            pin: PinSource::File(pin_file.into()),
            sessions_max: 1,
        };
        let signer = TokenSigner::open(Token::open(config).expect("the token"), key).expect("the key");
        measure(&format!("token, {}", signer.public_key().algorithm()), Box::new(signer));
    }
    tree(&dir.join("tree"));
    std::fs::remove_dir_all(dir).expect("it is ours");
}

fn measure(name: &str, mut signer: Box<dyn Signer>) {
    let text =
        Checkpoint { origin: "venue.example/ironbell".into(), size: 1 << 40, root: [7; 32] }.to_string();
    let (begun, mut took) = (Instant::now(), Vec::new());
    while begun.elapsed() < SIGNING {
        let one = Instant::now();
        signer.sign(text.as_bytes()).expect("it signs");
        took.push(one.elapsed());
    }
    let per_s = took.len() as f64 / begun.elapsed().as_secs_f64();
    took.sort_unstable();
    let us = |at: usize| took[at.min(took.len() - 1)].as_secs_f64() * 1e6;
    let (p50, p99, max) = (us(took.len() / 2), us(took.len() * 99 / 100), us(took.len() - 1));
    println!("{name:<28} {per_s:>10.0} {p50:>10.1} {p99:>10.1} {max:>10.1}");
}

/// A trade: command, time, state, two ports and two accounts, padded to eight parts.
fn tree(dir: &Path) {
    let mut salts = Salts::new(&Key::new([7; 32]));
    let mut tree = Tree::open(dir, &Head::empty()).expect("a new one");
    let (mut entry, told, begun) = (Entry::default(), [7; 64], Instant::now());
    for seq in 1..=ENTRIES {
        let salt = salts.of(seq, seq * 1_000);
        entry.clear();
        for part in [
            Part::Command,
            Part::Time,
            Part::State,
            Part::Port(1),
            Part::Port(2),
            Part::Account(1),
            Part::Account(2),
        ] {
            entry.add(&salt, part, &[&seq.to_be_bytes(), &told]);
        }
        tree.push(&entry.finish(&salt)).expect("it is written");
    }
    let grown = begun.elapsed();
    tree.sync().expect("it is on disk");
    println!(
        "\ntree: {:.0} entries/s of one thread ({:.2} µs each), synced after {:.1} ms",
        ENTRIES as f64 / grown.as_secs_f64(),
        grown.as_secs_f64() * 1e6 / ENTRIES as f64,
        (begun.elapsed() - grown).as_secs_f64() * 1e3
    );
}
