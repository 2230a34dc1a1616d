//! Keys on a token, spoken to over PKCS#11.
//!
//! What the standard leaves open, and how it is met here:
//! - a module is initialised once in a process, whoever uses it ([`Module`]);
//! - login is the token's, not the session's: the first session logs in, and "already logged in" is success;
//! - a session is used by one thread at a time: each call takes one from a pool of a stated size;
//! - when the token is gone (its sessions are invalid, nobody is logged in, the device was removed) the call opens
//!   new sessions, logs in and tries once more; when that fails the module is initialised anew and it tries again,
//!   after each of [`WAITS`]: a token kept in files (SoftHSM 2) is not there, or has nobody logged in, for whoever
//!   reads it while another process writes that it has logged in;
//! - **a wrong PIN is said once and never again.** The token itself remembers it (CKF_USER_PIN_COUNT_LOW), so
//!   that a service which is restarted in a loop does not lock it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread;
use std::time::Duration;

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error as Pkcs11Error, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::aead::GcmParams;
use cryptoki::mechanism::eddsa::{EddsaParams, EddsaSignatureScheme};
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;
use ring::rand::{SecureRandom, SystemRandom};
use zeroize::Zeroizing;

use crate::signer::{ecdsa_der, sha256};
use crate::{Algorithm, Error, Key, KeyWrap, PinSource, PublicKey, Signer};

/// Which token, and how it is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenConfig {
    /// The vendor's shared library.
    pub module: PathBuf,
    /// The token's label.
    pub token: String,
    /// Where the crypto user's PIN is read from.
    pub pin: PinSource,
    /// Sessions open at once, at most: each is one call under way.
    pub sessions_max: usize,
}

/// How long a token that is gone is waited for before its module is initialised anew.
const WAITS: [Duration; 4] =
    [Duration::ZERO, Duration::from_millis(10), Duration::from_millis(40), Duration::from_millis(160)];
const ABSENT: &str = "no slot shows a token of that label";

/// A shared library, initialised. There is one for each path in a process, and it stays.
struct Module {
    path: PathBuf,
    /// Read by every call, written while it is initialised anew: nothing may be under way then.
    context: RwLock<Option<Pkcs11>>,
    /// How often it was initialised. Handles of an earlier time name nothing, or something else.
    generation: AtomicU64,
}

static MODULES: Mutex<BTreeMap<PathBuf, Arc<Module>>> = Mutex::new(BTreeMap::new());

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is guarded is replaced as a whole, so that a panic elsewhere leaves nothing half done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Module {
    fn of(path: &Path) -> Result<Arc<Self>, Error> {
        let mut modules = lock(&MODULES);
        if let Some(module) = modules.get(path) {
            return Ok(module.clone());
        }
        let context = Self::initialise(path)?;
        let module = Arc::new(Self {
            path: path.to_owned(),
            context: RwLock::new(Some(context)),
            generation: AtomicU64::new(1),
        });
        modules.insert(path.to_owned(), module.clone());
        Ok(module)
    }

    fn initialise(path: &Path) -> Result<Pkcs11, Error> {
        let failed = |error: Pkcs11Error| Error::Module { path: path.to_owned(), why: error.to_string() };
        let context = Pkcs11::new(path).map_err(failed)?;
        match context.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
            // Somebody else in this process uses it too.
            Ok(()) | Err(Pkcs11Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => Ok(context),
            Err(error) => Err(failed(error)),
        }
    }

    /// Initialises it anew, unless that was done since `generation`.
    fn again(&self, generation: u64) -> Result<(), Error> {
        let mut context = self.context.write().unwrap_or_else(PoisonError::into_inner);
        if self.generation.load(Ordering::Acquire) != generation {
            return Ok(());
        }
        if let Some(context) = context.take() {
            // What it says does not matter: the token is lost anyway.
            let _ = context.finalize();
        }
        *context = Some(Self::initialise(&self.path)?);
        self.generation.fetch_add(1, Ordering::AcqRel);
        Ok(())
    }

    /// Runs `call` while the module stays as it is.
    fn with<T>(&self, call: impl FnOnce(&Pkcs11, u64) -> Result<T, Error>) -> Result<T, Error> {
        let context = self.context.read().unwrap_or_else(PoisonError::into_inner);
        let generation = self.generation.load(Ordering::Acquire);
        match &*context {
            Some(context) => call(context, generation),
            None => Err(Error::TokenLost {
                token: self.path.display().to_string(),
                why: "its module could not be initialised again".into(),
            }),
        }
    }
}

/// A token that its crypto user is logged in to.
pub struct Token {
    config: TokenConfig,
    module: Arc<Module>,
    pool: Mutex<Pool>,
}

/// Sessions of one generation.
#[derive(Default)]
struct Pool {
    generation: u64,
    /// Raised when the sessions are given up.
    epoch: u64,
    idle: Vec<Session>,
    out: usize,
    /// The user was logged in once.
    seen: bool,
    /// The PIN was wrong once: it is not said again.
    refused: bool,
}

/// A session on loan.
struct Loan {
    session: Session,
    epoch: u64,
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Token({})", self.config.token)
    }
}

/// A key as `ironbell hsm list` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenKey {
    /// Its label.
    pub label: String,
    /// What it is for: an algorithm's name, `aes-256`, or `unknown`.
    pub kind: &'static str,
    /// The key itself is never shown by the token.
    pub sensitive: bool,
    /// It may leave the token, wrapped by another.
    pub extractable: bool,
    /// It was made on the token and never was anything but sensitive and not extractable.
    pub never_left: bool,
}

/// Whether a signing key may leave the token that it is made on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaves {
    /// It dies with the token.
    Never,
    /// Wrapped by another key of the token: for a backup.
    Wrapped,
}

/// Whether the error says that the token, or what was known of it, is gone.
fn is_loss(error: &Pkcs11Error) -> bool {
    matches!(
        error,
        Pkcs11Error::Pkcs11(
            RvError::SessionHandleInvalid
                | RvError::SessionClosed
                | RvError::DeviceError
                | RvError::DeviceMemory
                | RvError::DeviceRemoved
                | RvError::TokenNotPresent
                | RvError::TokenNotRecognized
                | RvError::SlotIdInvalid
                | RvError::UserNotLoggedIn
                | RvError::CryptokiNotInitialized
                | RvError::KeyHandleInvalid
                | RvError::ObjectHandleInvalid
                | RvError::GeneralError
                | RvError::FunctionFailed,
            _
        )
    )
}

/// The end of one try.
enum Failed {
    /// The token is gone; another try may find it.
    Lost(String),
    Other(Error),
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

impl Token {
    /// Logs in to the token of that label.
    ///
    /// # Errors
    /// [`Error::Module`], [`Error::NoToken`], [`Error::Pin`] and what is wrong with the PIN's file.
    pub fn open(config: TokenConfig) -> Result<Arc<Self>, Error> {
        assert!(config.sessions_max > 0, "a token needs a session");
        let module = Module::of(&config.module)?;
        let token = Arc::new(Self { config, module, pool: Mutex::default() });
        token.call("log in", |_, _| Ok(()))?;
        Ok(token)
    }

    /// The token's label.
    #[must_use]
    pub fn label(&self) -> &str {
        &self.config.token
    }

    /// Runs `call` with a session in which the user is logged in. It may run more than once: what is lost is looked
    /// for again, then in a module initialised anew, after each of [`WAITS`].
    pub(crate) fn call<T>(
        &self,
        what: &'static str,
        mut call: impl FnMut(&Session, u64) -> Result<T, Pkcs11Error>,
    ) -> Result<T, Error> {
        let mut why = String::new();
        for wait in [None, None].into_iter().chain(WAITS.map(Some)) {
            if let Some(wait) = wait {
                let generation = self.module.generation.load(Ordering::Acquire);
                thread::sleep(wait);
                self.module.again(generation)?;
            }
            match self.attempt(what, &mut call) {
                Ok(value) => return Ok(value),
                Err(Failed::Other(error)) => return Err(error),
                Err(Failed::Lost(said)) => {
                    why = said;
                    self.give_up_sessions();
                }
            }
        }
        let token = self.config.token.clone();
        if why == ABSENT && !lock(&self.pool).seen {
            return Err(Error::NoToken { module: self.config.module.clone(), token });
        }
        Err(Error::TokenLost { token, why })
    }

    fn attempt<T>(
        &self,
        what: &'static str,
        call: &mut impl FnMut(&Session, u64) -> Result<T, Pkcs11Error>,
    ) -> Result<T, Failed> {
        let mut lost = None;
        let done = self.module.with(|context, generation| {
            let loan = match self.borrow(context, generation) {
                Ok(loan) => loan,
                Err(Failed::Other(error)) => return Err(error),
                Err(Failed::Lost(why)) => {
                    lost = Some(why);
                    return Ok(None);
                }
            };
            // Handles are the token's and outlive a session, but not what made the sessions invalid.
            let done = call(&loan.session, loan.epoch);
            self.put_back(loan);
            match done {
                Ok(value) => Ok(Some(value)),
                Err(error) if is_loss(&error) => {
                    lost = Some(error.to_string());
                    Ok(None)
                }
                Err(error) => Err(self.failed(what, &error)),
            }
        })?;
        done.ok_or_else(|| Failed::Lost(lost.unwrap_or_default()))
    }

    fn failed(&self, what: &'static str, error: &Pkcs11Error) -> Error {
        let token = self.config.token.clone();
        match error {
            Pkcs11Error::Pkcs11(RvError::SessionCount, _) => {
                Error::Sessions { token, max: self.config.sessions_max }
            }
            error => Error::Token { token, what, why: error.to_string() },
        }
    }

    /// A session of the pool, or a new one in which the user is logged in.
    fn borrow(&self, context: &Pkcs11, generation: u64) -> Result<Loan, Failed> {
        let mut pool = lock(&self.pool);
        if pool.generation != generation {
            // Sessions of before are not closed: their numbers may be others' now.
            pool.idle.clear();
            (pool.generation, pool.epoch, pool.out) = (generation, pool.epoch + 1, 0);
        }
        let epoch = pool.epoch;
        if let Some(session) = pool.idle.pop() {
            pool.out += 1;
            return Ok(Loan { session, epoch });
        }
        if pool.out >= self.config.sessions_max {
            let max = self.config.sessions_max;
            return Err(Error::Sessions { token: self.config.token.clone(), max }.into());
        }
        let session = self.open_session(context, &mut pool)?;
        pool.out += 1;
        Ok(Loan { session, epoch })
    }

    fn put_back(&self, loan: Loan) {
        let mut pool = lock(&self.pool);
        if pool.epoch == loan.epoch {
            pool.out -= 1;
            pool.idle.push(loan.session);
        }
    }

    fn give_up_sessions(&self) {
        let mut pool = lock(&self.pool);
        pool.epoch += 1;
        pool.out = 0;
        let generation_is_now = pool.generation == self.module.generation.load(Ordering::Acquire);
        for session in pool.idle.drain(..) {
            if generation_is_now {
                // It may be known no more.
                let _ = session.close();
            }
        }
    }

    fn open_session(&self, context: &Pkcs11, pool: &mut Pool) -> Result<Session, Failed> {
        let lost = |error: Pkcs11Error| {
            if is_loss(&error) {
                Failed::Lost(error.to_string())
            } else {
                Failed::Other(self.failed("open a session", &error))
            }
        };
        let slot = find(context, &self.config.token).map_err(lost)?;
        let Some(slot) = slot else {
            return Err(Failed::Lost(ABSENT.into()));
        };
        let session = context.open_rw_session_no_drop(slot).map_err(lost)?;
        match self.log_in(context, slot, &session, pool) {
            Ok(()) => {
                pool.seen = true;
                Ok(session)
            }
            Err(failed) => {
                let _ = session.close();
                Err(failed)
            }
        }
    }

    fn log_in(&self, context: &Pkcs11, slot: Slot, session: &Session, pool: &mut Pool) -> Result<(), Failed> {
        use cryptoki::session::SessionState;
        let failed = |error: Pkcs11Error| {
            if is_loss(&error) {
                Failed::Lost(error.to_string())
            } else {
                Failed::Other(self.failed("log in", &error))
            }
        };
        let state = session.get_session_info().map_err(failed)?.session_state();
        if matches!(state, SessionState::RwUser | SessionState::RoUser) {
            return Ok(());
        }
        let token = || self.config.token.clone();
        let info = context.get_token_info(slot).map_err(failed)?;
        if info.user_pin_locked() {
            return Err(Error::Pin { token: token(), what: PinTrouble::Locked }.into());
        }
        if pool.refused {
            return Err(Error::Pin { token: token(), what: PinTrouble::Wrong }.into());
        }
        if info.user_pin_count_low() || info.user_pin_final_try() {
            return Err(Error::Pin { token: token(), what: PinTrouble::WrongBefore }.into());
        }
        let pin = self.config.pin.read()?;
        match session.login(UserType::User, Some(&auth_pin(&pin))) {
            Ok(()) | Err(Pkcs11Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(()),
            Err(Pkcs11Error::Pkcs11(
                RvError::PinIncorrect | RvError::PinInvalid | RvError::PinLenRange,
                _,
            )) => {
                pool.refused = true;
                Err(Error::Pin { token: token(), what: PinTrouble::Wrong }.into())
            }
            Err(Pkcs11Error::Pkcs11(RvError::PinLocked, _)) => {
                pool.refused = true;
                Err(Error::Pin { token: token(), what: PinTrouble::Locked }.into())
            }
            Err(error) => Err(failed(error)),
        }
    }

    /// Makes a key pair on the token, not extractable, and returns its public half.
    ///
    /// # Errors
    /// [`Error::KeyExists`]; [`Error::Token`] when it cannot, as when it does not know the algorithm.
    pub fn generate(&self, label: &str, algorithm: Algorithm, leaves: Leaves) -> Result<PublicKey, Error> {
        let Some((key_type, parameters)) = curve_of(algorithm) else {
            let why = format!("{algorithm} keys are kept in files until tokens offer them");
            return Err(Error::Token { token: self.config.token.clone(), what: "make a key", why });
        };
        let mechanism =
            if key_type == KeyType::EC { Mechanism::EccKeyPairGen } else { Mechanism::EccEdwardsKeyPairGen };
        self.refuse_taken(label)?;
        let [public, private] = halves(label, parameters, leaves)?;
        self.call("make a key", |session, _| session.generate_key_pair(&mechanism, &public, &private))?;
        self.public_key(label)
    }

    /// Makes an AES-256 key on the token that wraps others, not extractable.
    ///
    /// # Errors
    /// [`Error::KeyExists`], [`Error::Token`].
    pub fn generate_wrapping(&self, label: &str) -> Result<(), Error> {
        self.refuse_taken(label)?;
        let template = [
            Attribute::Token(true),
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
            Attribute::Encrypt(true),
            Attribute::Decrypt(true),
            Attribute::ValueLen(32.into()),
            Attribute::Label(label.as_bytes().to_vec()),
        ];
        self.call("make a key", |session, _| session.generate_key(&Mechanism::AesKeyGen, &template))?;
        Ok(())
    }

    pub(crate) fn refuse_taken(&self, label: &str) -> Result<(), Error> {
        let template = [Attribute::Label(label.as_bytes().to_vec())];
        let found = self.call("look for a key", |session, _| session.find_objects(&template))?;
        if found.is_empty() {
            return Ok(());
        }
        Err(Error::KeyExists { token: self.config.token.clone(), label: label.to_owned() })
    }

    /// Removes the keys of that label; how many objects that were.
    ///
    /// # Errors
    /// [`Error::Token`].
    pub fn destroy(&self, label: &str) -> Result<usize, Error> {
        let template = [Attribute::Label(label.as_bytes().to_vec())];
        self.call("remove a key", |session, _| {
            let found = session.find_objects(&template)?;
            found.iter().try_for_each(|object| session.destroy_object(*object))?;
            Ok(found.len())
        })
    }

    /// The public half of a key pair.
    ///
    /// # Errors
    /// [`Error::NoTokenKey`], [`Error::Token`].
    pub fn public_key(&self, label: &str) -> Result<PublicKey, Error> {
        let template =
            [Attribute::Class(ObjectClass::PUBLIC_KEY), Attribute::Label(label.as_bytes().to_vec())];
        let attributes = self.call("read a public key", |session, _| {
            let Some(object) = session.find_objects(&template)?.first().copied() else { return Ok(None) };
            session.get_attributes(object, &[AttributeType::EcParams, AttributeType::EcPoint]).map(Some)
        })?;
        let missing = || Error::NoTokenKey { token: self.config.token.clone(), label: label.to_owned() };
        let (mut params, mut point) = (None, None);
        for attribute in attributes.ok_or_else(missing)? {
            match attribute {
                Attribute::EcParams(bytes) => params = Some(bytes),
                Attribute::EcPoint(bytes) => point = Some(bytes),
                _ => {}
            }
        }
        let (params, point) = params.zip(point).ok_or_else(missing)?;
        let algorithm = if params == P256_PARAMS { Algorithm::EcdsaP256 } else { Algorithm::Ed25519 };
        PublicKey::from_raw(algorithm, bare_point(&point, algorithm))
    }

    /// The private and secret keys on the token.
    ///
    /// # Errors
    /// [`Error::Token`].
    pub fn list(&self) -> Result<Vec<TokenKey>, Error> {
        let wanted = [
            AttributeType::Label,
            AttributeType::EcParams,
            AttributeType::Sensitive,
            AttributeType::Extractable,
            AttributeType::AlwaysSensitive,
            AttributeType::NeverExtractable,
            AttributeType::Local,
        ];
        let mut keys = Vec::new();
        for class in [ObjectClass::PRIVATE_KEY, ObjectClass::SECRET_KEY] {
            let found = self.call("list keys", |session, _| {
                let found = session.find_objects(&[Attribute::Class(class)])?;
                found
                    .iter()
                    .map(|object| session.get_attributes(*object, &wanted))
                    .collect::<Result<Vec<_>, _>>()
            })?;
            let kind = if class == ObjectClass::SECRET_KEY { "aes-256" } else { "unknown" };
            keys.extend(found.iter().map(|attributes| listed(attributes, kind)));
        }
        keys.sort_by(|a, b| a.label.cmp(&b.label));
        Ok(keys)
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        self.give_up_sessions();
    }
}

fn listed(attributes: &[Attribute], kind: &'static str) -> TokenKey {
    let mut key =
        TokenKey { label: String::new(), kind, sensitive: false, extractable: true, never_left: false };
    let (mut always, mut never, mut local) = (false, false, false);
    for attribute in attributes {
        match attribute {
            Attribute::Label(label) => key.label = String::from_utf8_lossy(label).into_owned(),
            Attribute::EcParams(params) if params == P256_PARAMS => key.kind = Algorithm::EcdsaP256.name(),
            Attribute::EcParams(params) if params == ED25519_PARAMS || params == ED25519_OID => {
                key.kind = Algorithm::Ed25519.name();
            }
            Attribute::Sensitive(is) => key.sensitive = *is,
            Attribute::Extractable(is) => key.extractable = *is,
            Attribute::AlwaysSensitive(is) => always = *is,
            Attribute::NeverExtractable(is) => never = *is,
            Attribute::Local(is) => local = *is,
            _ => {}
        }
    }
    key.never_left = always && never && local;
    key
}

/// CKA_EC_PARAMS of Ed25519: the curve's name as a PrintableString (PKCS#11 v3.0, section 2.3.5).
const ED25519_PARAMS: &[u8] = b"\x13\x0cedwards25519";
/// The same as an object identifier (RFC 8410), as some tokens say it.
const ED25519_OID: &[u8] = &[0x06, 0x03, 0x2b, 0x65, 0x70];
/// CKA_EC_PARAMS of P-256: an object identifier.
const P256_PARAMS: &[u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];

/// What PKCS#11 calls the kind of key, and CKA_EC_PARAMS; `None` for what tokens do not have.
pub(crate) fn curve_of(algorithm: Algorithm) -> Option<(KeyType, &'static [u8])> {
    match algorithm {
        Algorithm::Ed25519 => Some((KeyType::EC_EDWARDS, ED25519_PARAMS)),
        Algorithm::EcdsaP256 => Some((KeyType::EC, P256_PARAMS)),
        Algorithm::MlDsa44 | Algorithm::MlDsa87 => None,
    }
}

/// What both halves of a signing key are on a token: the public one, and the private one. CKA_ID is random, so that they are
/// found together.
pub(crate) fn halves(label: &str, parameters: &[u8], leaves: Leaves) -> Result<[Vec<Attribute>; 2], Error> {
    let mut id = [0; 16];
    SystemRandom::new().fill(&mut id).map_err(|_| Error::Random)?;
    let (label, id) = (Attribute::Label(label.as_bytes().to_vec()), Attribute::Id(id.to_vec()));
    let public = vec![
        Attribute::Token(true),
        Attribute::Private(false),
        Attribute::Verify(true),
        Attribute::EcParams(parameters.to_vec()),
        label.clone(),
        id.clone(),
    ];
    let private = vec![
        Attribute::Token(true),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(leaves == Leaves::Wrapped),
        Attribute::Sign(true),
        label,
        id,
    ];
    Ok([public, private])
}

/// CKA_EC_POINT without the OCTET STRING that some tokens put around it.
fn bare_point(point: &[u8], algorithm: Algorithm) -> &[u8] {
    let size = algorithm.public_key_size();
    match point {
        [4, length, bare @ ..] if usize::from(*length) == bare.len() && bare.len() == size => bare,
        bare => bare,
    }
}

fn find(context: &Pkcs11, label: &str) -> Result<Option<Slot>, Pkcs11Error> {
    for slot in context.get_slots_with_token()? {
        if context.get_token_info(slot)?.label().trim_end() == label {
            return Ok(Some(slot));
        }
    }
    Ok(None)
}

fn auth_pin(pin: &str) -> AuthPin {
    AuthPin::new(pin.into())
}

/// What is wrong with a PIN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PinTrouble {
    /// The token refused it.
    Wrong,
    /// A wrong one was said since the last right one.
    WrongBefore,
    /// The token takes none any more.
    Locked,
}

impl std::fmt::Display for PinTrouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Wrong => {
                "refused the PIN, which is not tried again lest the token lock: put the right one into its file, \
                 then run `ironbell hsm test` and start again"
            }
            Self::WrongBefore => {
                "was told a wrong PIN since the last right one, so none is tried by itself: put the right one into its \
                 file, then run `ironbell hsm test` and start again"
            }
            Self::Locked => "is locked after too many wrong PINs: its security officer must set a new one",
        })
    }
}

/// Makes a new token in a slot without one, with the PINs of its two roles.
///
/// # Errors
/// [`Error::KeyExists`] when there is a token of that label, [`Error::NoToken`] when there is no free slot,
/// [`Error::Token`].
pub fn init_token(
    module: &Path,
    label: &str,
    officer_pin: &Zeroizing<String>,
    user_pin: &Zeroizing<String>,
) -> Result<(), Error> {
    let failed = |error: Pkcs11Error| Error::Token {
        token: label.to_owned(),
        what: "initialise the token",
        why: error.to_string(),
    };
    Module::of(module)?.with(|context, _| {
        if find(context, label).map_err(failed)?.is_some() {
            return Err(Error::TokenExists(label.to_owned()));
        }
        let mut free = None;
        for slot in context.get_slots_with_token().map_err(failed)? {
            if !context.get_token_info(slot).map_err(failed)?.token_initialized() {
                free = Some(slot);
            }
        }
        let free =
            free.ok_or_else(|| Error::NoToken { module: module.to_owned(), token: "(a new one)".into() })?;
        context.init_token(free, &auth_pin(officer_pin), label).map_err(failed)?;
        // Some modules give it another slot then.
        let slot = find(context, label).map_err(failed)?.unwrap_or(free);
        let session = context.open_rw_session(slot).map_err(failed)?;
        session.login(UserType::So, Some(&auth_pin(officer_pin))).map_err(failed)?;
        session.init_pin(&auth_pin(user_pin)).map_err(failed)?;
        session.logout().map_err(failed)
    })
}

/// Says the PIN to the token even when a wrong one was said before: for a person who has just corrected it.
///
/// # Errors
/// As [`Token::open`].
pub fn confirm_pin(config: &TokenConfig) -> Result<(), Error> {
    let trouble = |what| Error::Pin { token: config.token.clone(), what };
    let failed = |error: Pkcs11Error| match error {
        Pkcs11Error::Pkcs11(RvError::PinIncorrect | RvError::PinInvalid | RvError::PinLenRange, _) => {
            trouble(PinTrouble::Wrong)
        }
        Pkcs11Error::Pkcs11(RvError::PinLocked, _) => trouble(PinTrouble::Locked),
        error => Error::Token { token: config.token.clone(), what: "log in", why: error.to_string() },
    };
    let pin = config.pin.read()?;
    Module::of(&config.module)?.with(|context, _| {
        let slot = find(context, &config.token).map_err(failed)?;
        let slot = slot
            .ok_or_else(|| Error::NoToken { module: config.module.clone(), token: config.token.clone() })?;
        let session = context.open_rw_session(slot).map_err(failed)?;
        match session.login(UserType::User, Some(&auth_pin(&pin))) {
            Ok(()) | Err(Pkcs11Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(()),
            Err(error) => Err(failed(error)),
        }
    })
}

/// A key pair on a token.
#[derive(Debug)]
pub struct TokenSigner {
    token: Arc<Token>,
    label: String,
    public_key: PublicKey,
    /// Where the private key was last found: the epoch of the sessions, and its handle.
    found: Option<(u64, ObjectHandle)>,
}

impl TokenSigner {
    /// The key pair of that label.
    ///
    /// # Errors
    /// [`Error::NoTokenKey`], [`Error::Token`].
    pub fn open(token: Arc<Token>, label: &str) -> Result<Self, Error> {
        let public_key = token.public_key(label)?;
        Ok(Self { token, label: label.to_owned(), public_key, found: None })
    }
}

impl Signer for TokenSigner {
    fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    fn place(&self) -> String {
        format!("token {}, key {}", self.token.label(), self.label)
    }

    fn sign(&mut self, message: &[u8]) -> Result<Vec<u8>, Error> {
        let algorithm = self.public_key.algorithm();
        let hash = sha256(&[message]);
        // Ed25519 wants the message itself; P-256 its hash, since not every token hashes.
        let (mechanism, data) = if algorithm == Algorithm::EcdsaP256 {
            (Mechanism::Ecdsa, &hash[..])
        } else {
            (Mechanism::Eddsa(EddsaParams::new(EddsaSignatureScheme::Pure)), message)
        };
        let (label, found) = (self.label.as_bytes().to_vec(), &mut self.found);
        let template =
            [Attribute::Class(ObjectClass::PRIVATE_KEY), Attribute::Sign(true), Attribute::Label(label)];
        let signature = self.token.call("sign", |session, epoch| {
            let key = match *found {
                Some((then, key)) if then == epoch => key,
                _ => {
                    match session.find_objects(&template)?.first() {
                        Some(key) => *found.insert((epoch, *key)),
                        None => return Ok(None),
                    }
                    .1
                }
            };
            session.sign(&mechanism, key, data).map(Some)
        })?;
        let signature = signature.ok_or_else(|| Error::NoTokenKey {
            token: self.token.label().to_owned(),
            label: self.label.clone(),
        })?;
        let signature = if algorithm == Algorithm::EcdsaP256 { ecdsa_der(&signature) } else { signature };
        // A device that answers with something else is found out here, not by an auditor.
        self.public_key.verify(message, &signature)?;
        Ok(signature)
    }
}

/// The first byte of what a token has wrapped.
const KIND: u8 = 2;
const IV_BYTES: usize = 12;
/// Authenticated with every key, so that nothing else enciphered with it passes for one.
const PURPOSE: &[u8] = b"ironbell data key, by a token";

/// An AES-256 key on a token that wraps others, by AES-GCM.
#[derive(Debug)]
pub struct TokenWrap {
    token: Arc<Token>,
    label: String,
}

impl TokenWrap {
    /// The key of that label.
    ///
    /// # Errors
    /// [`Error::NoTokenKey`], [`Error::Token`].
    pub fn open(token: Arc<Token>, label: &str) -> Result<Self, Error> {
        let wrap = Self { token, label: label.to_owned() };
        wrap.with_key("look for a key", |_, _| Ok(()))?;
        Ok(wrap)
    }

    fn with_key<T>(
        &self,
        what: &'static str,
        mut call: impl FnMut(&Session, ObjectHandle) -> Result<T, Pkcs11Error>,
    ) -> Result<T, Error> {
        let template = [
            Attribute::Class(ObjectClass::SECRET_KEY),
            Attribute::Encrypt(true),
            Attribute::Label(self.label.as_bytes().to_vec()),
        ];
        let done = self.token.call(what, |session, _| match session.find_objects(&template)?.first() {
            Some(key) => call(session, *key).map(Some),
            None => Ok(None),
        })?;
        done.ok_or_else(|| Error::NoTokenKey {
            token: self.token.label().to_owned(),
            label: self.label.clone(),
        })
    }
}

impl KeyWrap for TokenWrap {
    fn wrap(&self, key: &Key) -> Result<Vec<u8>, Error> {
        let mut iv = [0; IV_BYTES];
        SystemRandom::new().fill(&mut iv).map_err(|_| Error::Random)?;
        let sealed = self.with_key("wrap a key", |session, wrapping| {
            let mut used = iv;
            let parameters = GcmParams::new(&mut used, PURPOSE, 128.into())?;
            session.encrypt(&Mechanism::AesGcm(parameters), wrapping, key.as_ref())
        })?;
        Ok([&[KIND][..], &iv, &sealed].concat())
    }

    fn unwrap(&self, wrapped: &[u8]) -> Result<Key, Error> {
        let (&kind, rest) = wrapped.split_first().ok_or(Error::NotOurs)?;
        let (iv, sealed) = rest.split_first_chunk::<IV_BYTES>().ok_or(Error::NotOurs)?;
        if kind != KIND || sealed.len() != 32 + 16 {
            return Err(Error::NotOurs);
        }
        let opened = self.with_key("unwrap a key", |session, wrapping| {
            let mut used = *iv;
            let parameters = GcmParams::new(&mut used, PURPOSE, 128.into())?;
            match session.decrypt(&Mechanism::AesGcm(parameters), wrapping, sealed) {
                Ok(opened) => Ok(Some(Zeroizing::new(opened))),
                // What a tag that does not fit is called differs: SoftHSM says "general error".
                Err(Pkcs11Error::Pkcs11(
                    RvError::EncryptedDataInvalid | RvError::EncryptedDataLenRange | RvError::GeneralError,
                    _,
                )) => Ok(None),
                Err(error) => Err(error),
            }
        })?;
        let opened = opened.ok_or(Error::NotOurs)?;
        let mut key = Key::default();
        if opened.len() != key.len() {
            return Err(Error::NotOurs);
        }
        key.copy_from_slice(&opened);
        Ok(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::softhsm::{again, alone, config, new_token, right_pin, write_pin};
    use std::fs;
    use std::process::Command;

    #[test]
    fn a_point_is_bare_with_and_without_its_octet_string() {
        let raw = [7; 32];
        assert_eq!(bare_point(&raw, Algorithm::Ed25519), raw);
        assert_eq!(bare_point(&[&[4, 32][..], &raw].concat(), Algorithm::Ed25519), raw);
        // A bare point of P-256 begins with 4 too.
        let point = [&[4, 65][..], &[4; 63]].concat();
        assert_eq!(bare_point(&point, Algorithm::EcdsaP256), point);
        assert_eq!(bare_point(&[&[4, 65][..], &point].concat(), Algorithm::EcdsaP256), point);
    }

    const BOTH: [Algorithm; 2] = [Algorithm::Ed25519, Algorithm::EcdsaP256];

    /// Whether `openssl` verifies it too.
    fn openssl_verifies(dir: &Path, key: &PublicKey, message: &[u8], signature: &[u8]) -> bool {
        let file = |name: &str, bytes: &[u8]| {
            let path = dir.join(name);
            fs::write(&path, bytes).expect("a scratch file");
            path
        };
        let key_file = file("key.der", &key.spki().expect("a classical key"));
        let mut command = Command::new("openssl");
        command.args(["pkeyutl", "-verify", "-pubin", "-keyform", "DER", "-rawin", "-inkey"]).arg(key_file);
        if key.algorithm() == Algorithm::EcdsaP256 {
            command.args(["-digest", "sha256"]);
        }
        command.arg("-in").arg(file("message", message)).arg("-sigfile").arg(file("signature", signature));
        command.output().expect("openssl").status.success()
    }

    #[test]
    fn what_a_token_signs_ring_and_openssl_verify() {
        alone("token::tests::what_a_token_signs_ring_and_openssl_verify", |dir| {
            let token = new_token(dir, "venue");
            for algorithm in BOTH {
                let made = token.generate(algorithm.name(), algorithm, Leaves::Never).expect("a new key");
                let mut signer =
                    TokenSigner::open(token.clone(), algorithm.name()).expect("it was just made");
                assert_eq!((signer.public_key(), made.algorithm()), (&made, algorithm));
                for length in [1, 200, 5_000] {
                    let message = vec![0xa5; length];
                    let signature = signer.sign(&message).expect("it signs");
                    made.verify(&message, &signature).expect("ring verifies");
                    assert!(
                        openssl_verifies(dir, &made, &message, &signature),
                        "{algorithm}, {length} bytes"
                    );
                    assert!(!openssl_verifies(dir, &made, b"another", &signature));
                }
                let again = token.generate(algorithm.name(), algorithm, Leaves::Never);
                assert!(matches!(again, Err(Error::KeyExists { .. })));
            }
            let pq = token.generate("pq", Algorithm::MlDsa44, Leaves::Never).expect_err("no token has it");
            assert!(pq.to_string().contains("ml-dsa-44"), "{pq}");
            let missing = TokenSigner::open(token.clone(), "none").expect_err("there is none");
            assert!(matches!(missing, Error::NoTokenKey { .. }));
            let keys = token.list().expect("a list");
            let kinds: Vec<_> = keys.iter().map(|key| (key.label.as_str(), key.kind)).collect();
            assert_eq!(kinds, [("ecdsa-p256", "ecdsa-p256"), ("ed25519", "ed25519")]);
            assert!(keys.iter().all(|key| key.sensitive && !key.extractable && key.never_left), "{keys:?}");
            assert_eq!(token.destroy("ed25519").expect("it is ours"), 2, "both halves");
            assert_eq!(token.list().expect("a list").len(), 1);
        });
    }

    /// A service that restarts for ever with a wrong PIN must not lock the token: it says it once.
    #[test]
    fn a_wrong_pin_is_said_once() {
        alone("token::tests::a_wrong_pin_is_said_once", |dir| {
            drop(new_token(dir, "venue"));
            let config = config(dir, "venue");
            let PinSource::File(pin) = config.pin.clone() else { unreachable!("it is a file") };
            write_pin(&pin, "wrong");
            let trouble = |result: Result<Arc<Token>, Error>| match result {
                Err(Error::Pin { what, .. }) => what,
                other => panic!("expected trouble with the PIN, not {other:?}"),
            };
            assert_eq!(trouble(Token::open(config.clone())), PinTrouble::Wrong);
            // The right one would be taken: that it is refused shows that none is said.
            right_pin(&pin);
            for _ in 0..20 {
                assert_eq!(trouble(Token::open(config.clone())), PinTrouble::WrongBefore);
            }
            confirm_pin(&config).expect("a person corrected it");
            Token::open(config).expect("the PIN is right");
        });
    }

    #[test]
    fn a_token_with_all_sessions_in_use_says_so_and_goes_on() {
        alone("token::tests::a_token_with_all_sessions_in_use_says_so_and_goes_on", |dir| {
            drop(new_token(dir, "venue"));
            let token =
                Token::open(TokenConfig { sessions_max: 2, ..config(dir, "venue") }).expect("it opens");
            token.generate_wrapping("wrap").expect("a new key");
            let wrap = TokenWrap::open(token.clone(), "wrap").expect("it was just made");
            let key = crate::new_key().expect("random bytes");
            wrap.with_key("hold a session", |_, _| {
                wrap.wrap(&key).expect("the second session");
                wrap.with_key("hold another", |_, _| {
                    let none_left = wrap.wrap(&key).expect_err("both are in use");
                    assert!(matches!(none_left, Error::Sessions { max: 2, .. }), "{none_left}");
                    assert!(none_left.is_passing());
                    Ok(())
                })
                .expect("it is there");
                Ok(())
            })
            .expect("it is there");
            wrap.wrap(&key).expect("they were given back");
        });
    }

    /// Token files moved away and back are as near to pulling a device as SoftHSM2 comes.
    #[test]
    fn a_token_that_is_taken_out_and_put_back_signs_again() {
        alone("token::tests::a_token_that_is_taken_out_and_put_back_signs_again", |dir| {
            let token = new_token(dir, "venue");
            token.generate("sign", Algorithm::Ed25519, Leaves::Never).expect("a new key");
            token.generate_wrapping("wrap").expect("a new key");
            let mut signer = TokenSigner::open(token.clone(), "sign").expect("it was just made");
            let wrap = TokenWrap::open(token.clone(), "wrap").expect("it was just made");
            let key = crate::new_key().expect("random bytes");
            let wrapped = wrap.wrap(&key).expect("it wraps");
            let (tokens, away) = (dir.join("tokens"), dir.join("away"));
            for round in 0..3 {
                signer.sign(b"before").expect("it signs");
                fs::rename(&tokens, &away).expect("taken out");
                fs::create_dir(&tokens).expect("an empty slot");
                for _ in 0..2 {
                    let gone = signer.sign(b"meanwhile").expect_err("it is gone");
                    assert!(gone.is_passing(), "round {round}: {gone}");
                }
                let gone = wrap.unwrap(&wrapped).expect_err("it is gone");
                assert!(gone.is_passing(), "round {round}: {gone}");
                fs::remove_dir_all(&tokens).expect("the empty slot");
                fs::rename(&away, &tokens).expect("put back");
                let signature = signer.sign(b"after").expect("it logs in again");
                signer.public_key().verify(b"after", &signature).expect("it verifies");
                assert_eq!(*wrap.unwrap(&wrapped).expect("it logs in again"), *key);
            }
        });
    }

    #[test]
    fn two_processes_sign_with_one_key_and_a_restart_finds_it() {
        const NAME: &str = "token::tests::two_processes_sign_with_one_key_and_a_restart_finds_it";
        const SECOND: &str = "IRONBELL_TEST_SECOND";
        alone(NAME, |dir| {
            let second = std::env::var_os(SECOND).is_some();
            let token = if second {
                Token::open(config(dir, "venue")).expect("the first made it")
            } else {
                let token = new_token(dir, "venue");
                token.generate("sign", Algorithm::EcdsaP256, Leaves::Never).expect("a new key");
                token
            };
            let mut signer = TokenSigner::open(token, "sign").expect("it is there");
            let key_file = dir.join("public");
            if second {
                assert_eq!(fs::read(&key_file).expect("the first wrote it"), signer.public_key().raw());
            } else {
                fs::write(&key_file, signer.public_key().raw()).expect("a scratch file");
            }
            let mut others = Vec::new();
            if !second {
                others.extend((0..2).map(|_| {
                    again(NAME, dir)
                        .env(SECOND, "1")
                        .stdout(std::process::Stdio::piped())
                        .spawn()
                        .expect("it runs")
                }));
            }
            for n in 0..200u32 {
                // `sign` verifies what it got.
                signer.sign(&n.to_le_bytes()).expect("both may sign");
            }
            for other in others {
                let run = other.wait_with_output().expect("it ends");
                assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stdout));
            }
        });
    }

    #[test]
    fn what_a_token_wraps_it_unwraps_and_every_bit_counts() {
        alone("token::tests::what_a_token_wraps_it_unwraps_and_every_bit_counts", |dir| {
            let token = new_token(dir, "venue");
            token.generate_wrapping("wrap").expect("a new key");
            token.generate_wrapping("other").expect("a new key");
            let open = |label| TokenWrap::open(token.clone(), label).expect("it was just made");
            let (wrap, other) = (open("wrap"), open("other"));
            let key = crate::new_key().expect("random bytes");
            let wrapped = wrap.wrap(&key).expect("it wraps");
            assert_eq!(wrapped.len(), 61);
            assert_eq!(*wrap.unwrap(&wrapped).expect("it is ours"), *key);
            assert_ne!(wrap.wrap(&key).expect("it wraps"), wrapped, "a nonce is used once");
            assert!(matches!(other.unwrap(&wrapped), Err(Error::NotOurs)));
            for bit in 0..wrapped.len() * 8 {
                let mut changed = wrapped.clone();
                changed[bit / 8] ^= 1 << (bit % 8);
                assert!(matches!(wrap.unwrap(&changed), Err(Error::NotOurs)), "bit {bit}");
            }
            for end in 0..wrapped.len() {
                assert!(matches!(wrap.unwrap(&wrapped[..end]), Err(Error::NotOurs)), "{end} bytes");
            }
        });
    }
}
