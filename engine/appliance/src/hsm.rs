//! `ironbell hsm`: tokens, keys and the key journal, for the people who keep them.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use base64ct::{Base64, Encoding};
use clap::{Args, Subcommand};
use ironbell_hsm::{
    Algorithm, Form, KeyChange, KeyHistory, Leaves, Note, PinSource, PublicKey, SignatureLine, Signer,
    SoftwareSigner, Token, TokenConfig, TokenKeyFile, VerifierKey, WrappedKey, confirm_pin, init_token,
    join_components, write_durably,
};

use crate::failure::Failure;
use crate::moment::time_text;
use crate::signing::KeyPlace;

/// What to do.
#[derive(Subcommand)]
pub enum Options {
    /// Make a token in a free slot, with the PINs of its two roles: the security officer, who sets PINs, and the crypto
    /// user, who signs.
    Init {
        /// Which token.
        #[command(flatten)]
        token: TokenArgs,
        /// The file that the security officer's PIN stands in, mode 0400.
        #[arg(long, value_name = "FILE")]
        officer_pin_file: PathBuf,
    },
    /// List the keys on a token.
    List {
        /// Which token.
        #[command(flatten)]
        token: TokenArgs,
    },
    /// Make a key pair, on a token or in a file, and print its public key as a verifier key.
    Generate {
        /// Which key.
        #[command(flatten)]
        key: KeyArgs,
        /// ed25519, ecdsa-p256, ml-dsa-44 or ml-dsa-87; the last two in files alone.
        #[arg(long, default_value = "ed25519")]
        algorithm: String,
        /// The name on its signature lines: the venue's origin, or the officer's.
        #[arg(long)]
        name: String,
        /// Let it leave its token wrapped by a backup key, and never otherwise; what was made without this never leaves.
        #[arg(long, conflicts_with = "file")]
        backup: bool,
    },
    /// Put a backup key on a token: the XOR of components that custodians hold, so that nobody alone can read what it wraps.
    BackupKey {
        /// Which token.
        #[command(flatten)]
        token: TokenArgs,
        /// Its label there.
        #[arg(long)]
        key: String,
        /// A key file, as `ironbell key FILE` makes it, of each custodian: two or more.
        #[arg(long, value_name = "FILE", required = true)]
        component: Vec<PathBuf>,
    },
    /// Write a signing key that was made with --backup, wrapped by a backup key, to a file.
    Export(BackupArgs),
    /// Put an exported signing key on a token that has the same backup key, and see that it signs.
    Import(BackupArgs),
    /// Print the verifier key of a key that is there.
    Public {
        /// Which key.
        #[command(flatten)]
        key: KeyArgs,
        /// The name on its signature lines.
        #[arg(long)]
        name: String,
    },
    /// Make an AES-256 key on a token that wraps the journal's key.
    GenerateWrapping {
        /// Which token.
        #[command(flatten)]
        token: TokenArgs,
        /// Its label.
        #[arg(long)]
        key: String,
        /// The file to make that names it, for `[journal] key_file` and wherever else a key file is asked for.
        #[arg(long, value_name = "FILE")]
        key_file: PathBuf,
    },
    /// Rotate the log's key: add the new one from a size on, retire the old one from a later size on, and sign both
    /// changes of the key journal with both. In between both keys sign checkpoints, so that holders of either go on.
    Rotate {
        /// Which key journal.
        #[command(flatten)]
        journal: JournalArgs,
        /// The old key in a file,
        #[arg(long, value_name = "FILE", required_unless_present = "old_key", conflicts_with = "old_key")]
        old_file: Option<PathBuf>,
        /// or by its label on the token.
        #[arg(long, requires = "module")]
        old_key: Option<String>,
        /// The new key in a file,
        #[arg(long, value_name = "FILE", required_unless_present = "new_key", conflicts_with = "new_key")]
        new_file: Option<PathBuf>,
        /// or by its label on the token.
        #[arg(long, requires = "module")]
        new_key: Option<String>,
        /// The token's PKCS#11 module.
        #[arg(long, value_name = "FILE", requires_all = ["token", "pin_file"])]
        module: Option<PathBuf>,
        /// The token's label.
        #[arg(long, default_value = "")]
        token: String,
        /// The file that the crypto user's PIN stands in.
        #[arg(long, value_name = "FILE")]
        pin_file: Option<PathBuf>,
        /// Checkpoints of this size and more are signed by the new key.
        #[arg(long, value_name = "SIZE")]
        from: u64,
        /// Checkpoints of this size and more are signed by it alone.
        #[arg(long, value_name = "SIZE")]
        until: u64,
    },
    /// Say what a token says of its keys, signed by one of them.
    Attest {
        /// Which token.
        #[command(flatten)]
        token: TokenArgs,
        /// The key that signs.
        #[arg(long)]
        key: String,
        /// The name on its signature line.
        #[arg(long)]
        name: String,
        /// Text of whoever asks, so that the answer is not an old one.
        #[arg(long)]
        challenge: String,
    },
    /// Log in, even after a wrong PIN, sign and verify twenty times, and say how long that took.
    Test {
        /// Which key.
        #[command(flatten)]
        key: KeyArgs,
    },
    /// The key journal: who may sign for the venue, from which size on.
    #[command(subcommand)]
    Journal(Journal),
    /// Print what each person does when a venue's keys are made; with --log, write down who did what.
    Ceremony {
        /// The file that the record is added to.
        #[arg(long, value_name = "FILE")]
        log: Option<PathBuf>,
    },
}

/// The key journal.
#[derive(Subcommand)]
pub enum Journal {
    /// Read and check it, and print its fingerprint, the keys in force and the officers.
    Show(JournalArgs),
    /// Print the text of the next entry, to be signed by those whom it needs.
    Propose {
        /// Which key journal.
        #[command(flatten)]
        journal: JournalArgs,
        /// A change as hsm/README.md lists them, such as "add log VKEY from 1000"; may be repeated.
        #[arg(long, required = true)]
        change: Vec<String>,
    },
    /// Print a signature line for a text: one person's part in an entry or a payment.
    Sign {
        /// Which key.
        #[command(flatten)]
        key: KeyArgs,
        /// The name on the line.
        #[arg(long)]
        name: String,
        /// The text.
        text: PathBuf,
    },
    /// Add an entry, if it is the next one and signed by those whom it needs.
    Append {
        /// Which key journal.
        #[command(flatten)]
        journal: JournalArgs,
        /// The entry's text.
        #[arg(long, value_name = "FILE")]
        text: PathBuf,
        /// Files with signature lines; may be repeated.
        #[arg(long, value_name = "FILE", required = true)]
        signature: Vec<PathBuf>,
    },
}

/// Which key journal.
#[derive(Args)]
pub struct JournalArgs {
    /// The key journal.
    #[arg(long, value_name = "FILE")]
    journal: PathBuf,
    /// The venue's origin.
    #[arg(long)]
    origin: String,
}

/// Which token.
#[derive(Args, Clone)]
pub struct TokenArgs {
    /// The PKCS#11 module, such as /usr/lib/softhsm/libsofthsm2.so.
    #[arg(long, value_name = "FILE")]
    module: PathBuf,
    /// The token's label.
    #[arg(long)]
    token: String,
    /// The file that the crypto user's PIN stands in, mode 0400.
    #[arg(long, value_name = "FILE")]
    pin_file: PathBuf,
}

impl TokenArgs {
    fn config(&self) -> TokenConfig {
        TokenConfig {
            module: self.module.clone(),
            token: self.token.clone(),
            pin: PinSource::File(self.pin_file.clone()),
            sessions_max: 2,
        }
    }
}

/// A signing key on a token, and its backup.
#[derive(Args)]
pub struct BackupArgs {
    /// Which token.
    #[command(flatten)]
    token: TokenArgs,
    /// The signing key's label there.
    #[arg(long)]
    key: String,
    /// The backup key.
    #[arg(long, value_name = "KEY")]
    with: String,
    /// The file with the key, wrapped.
    file: PathBuf,
}

/// Which key.
#[derive(Args, Clone)]
pub struct KeyArgs {
    /// A key in a file.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["module", "token", "key", "pin_file"])]
    file: Option<PathBuf>,
    /// Or on a token: its PKCS#11 module,
    #[arg(long, value_name = "FILE", requires_all = ["token", "key", "pin_file"])]
    module: Option<PathBuf>,
    /// its label,
    #[arg(long, default_value = "")]
    token: String,
    /// the key's label,
    #[arg(long, default_value = "")]
    key: String,
    /// and the file that the crypto user's PIN stands in.
    #[arg(long, value_name = "FILE")]
    pin_file: Option<PathBuf>,
}

impl KeyArgs {
    /// Opens the key.
    pub(crate) fn open(&self) -> Result<Box<dyn Signer>, Failure> {
        self.place().open()
    }

    fn place(&self) -> KeyPlace {
        KeyPlace {
            file: self.file.clone(),
            module: self.module.clone(),
            token: self.token.clone(),
            key: self.key.clone(),
            pin_file: self.pin_file.clone(),
            pin_credential: None,
        }
    }

    fn token(&self) -> Option<TokenConfig> {
        let (module, pin_file) = self.module.clone().zip(self.pin_file.clone())?;
        Some(TokenArgs { module, token: self.token.clone(), pin_file }.config())
    }
}

/// The command.
///
/// # Errors
/// What token, key or key journal say.
pub fn run(options: &Options) -> Result<(), Failure> {
    match options {
        Options::Init { token, officer_pin_file } => {
            let officer = PinSource::File(officer_pin_file.clone()).read()?;
            let user = PinSource::File(token.pin_file.clone()).read()?;
            init_token(&token.module, &token.token, &officer, &user)?;
            say(&format!("made the token {}", token.token));
            Ok(())
        }
        Options::List { token } => {
            for key in Token::open(token.config())?.list()? {
                let never_left =
                    if key.never_left { "never left the token" } else { "may have left the token" };
                say(&format!("{:<24} {:<12} {never_left}", key.label, key.kind));
            }
            Ok(())
        }
        Options::Generate { key, algorithm, name, backup } => {
            let leaves = if *backup { Leaves::Wrapped } else { Leaves::Never };
            generate(key, algorithm, name, leaves)
        }
        Options::BackupKey { token, key, component } => {
            let joined = join_components(component)?;
            Token::open(token.config())?.put_backup_key(key, &joined)?;
            say(&format!("put the backup key {key}, of {} components, on {}", component.len(), token.token));
            Ok(())
        }
        Options::Export(BackupArgs { token, key, with, file }) => {
            if file.exists() {
                return Err(Failure::file(file, "it is there already", "name another file"));
            }
            let wrapped = Token::open(token.config())?.export(key, with)?;
            write_durably(file, &wrapped.to_string())?;
            say(&format!("{} is {key}, wrapped by {with}", file.display()));
            Ok(())
        }
        Options::Import(BackupArgs { token, key, with, file }) => {
            let wrapped = WrappedKey::parse(&read(file)?)?;
            Token::open(token.config())?.import(key, with, &wrapped)?;
            say(&format!("{key} is on {} and signs", token.token));
            Ok(())
        }
        Options::Public { key, name } => {
            say(&text_key(name, key.open()?.public_key().clone())?.to_string());
            Ok(())
        }
        Options::GenerateWrapping { token, key, key_file } => {
            if key_file.exists() {
                return Err(Failure::file(key_file, "it is there already", "name another file"));
            }
            let TokenConfig { module, token, pin, sessions_max } = token.config();
            let config =
                TokenConfig { module: module.clone(), token: token.clone(), pin: pin.clone(), sessions_max };
            Token::open(config)?.generate_wrapping(key)?;
            let named = TokenKeyFile { module, token, key: key.clone(), pin };
            write_durably(key_file, &named.to_string())?;
            say(&format!("made the wrapping key {key}, which {} names", key_file.display()));
            Ok(())
        }
        Options::Rotate {
            journal,
            old_file,
            old_key,
            new_file,
            new_key,
            module,
            token,
            pin_file,
            from,
            until,
        } => {
            let token = KeyPlace {
                module: module.clone(),
                token: token.clone(),
                pin_file: pin_file.clone(),
                ..KeyPlace::default()
            };
            let mut keys = [
                rotated(old_file.as_deref(), old_key.as_deref(), &token)?,
                rotated(new_file.as_deref(), new_key.as_deref(), &token)?,
            ];
            rotate(journal, &mut keys, *from, *until)
        }
        Options::Attest { token, key, name, challenge } => attest(token, key, name, challenge),
        Options::Test { key } => test(key),
        Options::Journal(journal) => run_journal(journal),
        Options::Ceremony { log } => ceremony(log.as_deref()),
    }
}

/// A reader that has gone is no failure: it is done all the same.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

fn generate(key: &KeyArgs, algorithm: &str, name: &str, leaves: Leaves) -> Result<(), Failure> {
    let algorithm = Algorithm::named(algorithm).ok_or_else(|| {
        Failure::refused(format_args!("{algorithm:?} is none of ed25519, ecdsa-p256, ml-dsa-44, ml-dsa-87"))
    })?;
    let public = match (&key.file, key.token()) {
        (Some(file), _) => SoftwareSigner::create(file, algorithm)?.public_key().clone(),
        (None, Some(token)) => Token::open(token)?.generate(&key.key, algorithm, leaves)?,
        (None, None) => {
            return Err(Failure::refused("give --file, or --module, --token, --key and --pin-file"));
        }
    };
    say(&text_key(name, public)?.to_string());
    Ok(())
}

fn text_key(name: &str, public: PublicKey) -> Result<VerifierKey, Failure> {
    Ok(VerifierKey::new(name, Form::Text, public)?)
}

fn attest(token: &TokenArgs, key: &str, name: &str, challenge: &str) -> Result<(), Failure> {
    if challenge.is_empty() || challenge.contains(char::is_control) {
        return Err(Failure::refused("the challenge is one line of text"));
    }
    let open = Token::open(token.config())?;
    let mut text =
        format!("ironbell attestation v1\n{name}\ntoken {}\nchallenge {challenge}\n", open.label());
    for key in open.list()? {
        let yes = |is: bool| if is { "yes" } else { "no" };
        let (kind, label) = (key.kind, &key.label);
        text.push_str(&format!(
            "key {label} {kind} sensitive {} extractable {} never-left {}\n",
            yes(key.sensitive),
            yes(key.extractable),
            yes(key.never_left)
        ));
    }
    let mut signer = ironbell_hsm::TokenSigner::open(open, key)?;
    let line = sign(&text, name, &mut signer)?;
    let _ = write!(std::io::stdout(), "{}", Note { text, signatures: vec![line] });
    Ok(())
}

fn sign(text: &str, name: &str, signer: &mut dyn Signer) -> Result<SignatureLine, Failure> {
    let key = text_key(name, signer.public_key().clone())?;
    Ok(SignatureLine::sign(&key, signer, text, 0)?)
}

/// Signatures of `ironbell hsm test`.
const TESTS: usize = 20;

fn test(key: &KeyArgs) -> Result<(), Failure> {
    if let Some(token) = key.token() {
        confirm_pin(&token)?;
    }
    let mut signer = key.open()?;
    let public = signer.public_key().clone();
    let mut took = Vec::new();
    for number in 0..TESTS {
        let message = format!("ironbell test {number}");
        let begun = Instant::now();
        let signature = signer.sign(message.as_bytes())?;
        took.push(begun.elapsed());
        public.verify(message.as_bytes(), &signature)?;
    }
    took.sort_unstable();
    say(&format!(
        "{}: {TESTS} {} signatures made and verified; median {:.1} ms, longest {:.1} ms",
        signer.place(),
        public.algorithm(),
        took[TESTS / 2].as_secs_f64() * 1e3,
        took[TESTS - 1].as_secs_f64() * 1e3
    ));
    Ok(())
}

fn read(path: &Path) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(|e| Failure::file(path, e, "give a file that you may read"))
}

fn open_journal(args: &JournalArgs) -> Result<KeyHistory, Failure> {
    if !args.journal.exists() {
        return Ok(KeyHistory::new(&args.origin));
    }
    KeyHistory::parse(&args.origin, &read(&args.journal)?)
        .map_err(|e| Failure::file(&args.journal, e, "put back the key journal as it was"))
}

fn append(args: &JournalArgs, mut history: KeyHistory, entry: Note) -> Result<KeyHistory, Failure> {
    history.append(entry)?;
    write_durably(&args.journal, &history.to_string())?;
    Ok(history)
}

fn run_journal(journal: &Journal) -> Result<(), Failure> {
    match journal {
        Journal::Show(args) => {
            let history = open_journal(args)?;
            let Some(fingerprint) = history.fingerprint() else {
                return Err(Failure::file(&args.journal, "it is missing or empty", "append a first entry"));
            };
            say(&format!("fingerprint {}", Base64::encode_string(&fingerprint)));
            say(&format!("entries     {}", history.len()));
            if let Some((size, root)) = history.anchor() {
                say(&format!("anchored    at size {size}, root {}", Base64::encode_string(&root)));
            }
            for key in history.log_keys(u64::MAX).unwrap_or_default() {
                say(&format!("log         {key}"));
            }
            let (officers, quorum) = history.officers();
            for officer in officers {
                say(&format!("officer     {officer}"));
            }
            if !officers.is_empty() {
                say(&format!("quorum      {quorum} of {}", officers.len()));
            }
            Ok(())
        }
        Journal::Propose { journal, change } => {
            let changes = change.iter().map(|line| KeyChange::parse(line)).collect::<Result<Vec<_>, _>>()?;
            let _ = write!(std::io::stdout(), "{}", open_journal(journal)?.propose(&changes));
            Ok(())
        }
        Journal::Sign { key, name, text } => {
            let line = sign(&read(text)?, name, &mut *key.open()?)?;
            let _ = write!(std::io::stdout(), "{line}");
            Ok(())
        }
        Journal::Append { journal, text, signature } => {
            let mut signatures = Vec::new();
            for path in signature {
                for line in read(path)?.lines() {
                    signatures.push(SignatureLine::parse(line)?);
                }
            }
            let history = append(journal, open_journal(journal)?, Note { text: read(text)?, signatures })?;
            say(&format!("entry {} added to {}", history.len() - 1, journal.journal.display()));
            Ok(())
        }
    }
}

/// A key in a file, or on the token by its label.
fn rotated(file: Option<&Path>, label: Option<&str>, token: &KeyPlace) -> Result<Box<dyn Signer>, Failure> {
    match (file, label) {
        (Some(file), _) => Ok(Box::new(SoftwareSigner::open(file)?)),
        (None, label) => KeyPlace { key: label.unwrap_or_default().to_owned(), ..token.clone() }.open(),
    }
}

fn rotate(
    journal: &JournalArgs,
    [old, new]: &mut [Box<dyn Signer>; 2],
    from: u64,
    until: u64,
) -> Result<(), Failure> {
    if until <= from {
        return Err(Failure::refused("--until must be above --from: in between both keys sign"));
    }
    let mut history = open_journal(journal)?;
    let key = |signer: &dyn Signer| text_key(&journal.origin, signer.public_key().clone());
    for change in [KeyChange::AddLog(key(&**new)?, from), KeyChange::RetireLog(key(&**old)?, until)] {
        let text = history.propose(&[change]);
        let signatures =
            vec![sign(&text, &journal.origin, &mut **old)?, sign(&text, &journal.origin, &mut **new)?];
        history = append(journal, history, Note { text, signatures })?;
    }
    say(&format!("both keys sign from size {from} on, the new one alone from {until} on"));
    Ok(())
}

/// What each person does, in order.
const CEREMONY: [(&str, &str); 10] = [
    (
        "all",
        "Meet in a room without cameras. Compare the SHA-256 of the ironbell program with the release's, each on a machine of your own.",
    ),
    (
        "security officer",
        "Write a PIN of your own into a file of mode 0400 on a RAM disk. Nobody else sees it.",
    ),
    ("crypto user", "Write a PIN of your own into another such file."),
    ("security officer", "ironbell hsm init --module … --token venue --officer-pin-file … --pin-file …"),
    (
        "crypto user",
        "ironbell hsm generate --module … --token venue --key log-1 --pin-file … --name ORIGIN. Read the verifier key aloud; all write it down.",
    ),
    (
        "recovery officers",
        "Each, on a machine without a network: ironbell hsm generate --file recovery.pem --name YOU. The file goes into a safe, on two media.",
    ),
    (
        "auditor",
        "ironbell hsm journal propose --change \"add log VKEY from 0\" --change \"add recovery VKEY\" …, read it aloud; each holder signs it with ironbell hsm journal sign; ironbell hsm journal append.",
    ),
    (
        "custodians",
        "If there is a second token: each makes a component, ironbell key FILE, and keeps it on two media. ironbell hsm backup-key --component … --component … on both tokens; ironbell hsm export from the first, ironbell hsm import to the second (the key was made with --backup).",
    ),
    (
        "all",
        "ironbell hsm journal show. Compare the fingerprint with what the others see, and publish it where it cannot be changed.",
    ),
    (
        "auditor",
        "ironbell hsm attest --challenge TODAYS_NEWS. Keep its output with this record. Wipe the RAM disk.",
    ),
];

fn ceremony(log: Option<&Path>) -> Result<(), Failure> {
    let Some(path) = log else {
        for (number, (who, what)) in CEREMONY.iter().enumerate() {
            say(&format!("{}. {who}: {what}", number + 1));
        }
        return Ok(());
    };
    let failed = |e: std::io::Error| Failure::file(path, e, "make it writable");
    let mut record = OpenOptions::new().append(true).create(true).open(path).map_err(failed)?;
    for (number, (who, what)) in CEREMONY.iter().enumerate() {
        say(&format!("{}. {who}: {what}", number + 1));
        say("   Who did it, and what is to be noted? (an empty line ends the ceremony here)");
        let mut line = String::new();
        std::io::stdin()
            .read_line(&mut line)
            .map_err(|e| Failure::refused(format_args!("standard input: {e}")))?;
        let line = line.trim();
        if line.is_empty() {
            return Err(Failure::refused(format_args!("the ceremony ended before step {}", number + 1)));
        }
        let now = ironbell_runtime::Clock::now(&mut ironbell_runtime::SystemClock);
        writeln!(record, "{} step {} {who}: {line}", time_text(now), number + 1)
            .and_then(|()| record.sync_data())
            .map_err(failed)?;
    }
    Ok(())
}
