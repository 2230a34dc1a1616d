//! Passwords, off the order path: checking one takes milliseconds by design.

use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::thread::JoinHandle;

use argon2::{Algorithm, Argon2, Params, Version};
use ironbell_types::Credential;

use crate::Error;

/// Checks passwords somewhere else than on the calling thread. Neither call waits.
pub trait LoginChecker {
    /// Asks whether `password` (as it stood in the login, padded right) is that of `credential`. `id`
    /// comes back with the answer. False: too many are being checked, ask again later.
    fn submit(&mut self, id: u64, password: [u8; 10], credential: Credential) -> bool;

    /// The next answer: the id and whether the password is right.
    fn poll(&mut self) -> Option<(u64, bool)>;
}

/// Memory in KiB of new credentials: what OWASP's password storage cheat sheet names as the least for Argon2id with
/// two passes and one lane. The credentials tell members' ports apart on a private line; they are not
/// a login of the open internet, and a whole venue logs in at once after a restart.
pub const PASSWORD_MEMORY_KIB: u32 = 19_456;
const PASSES: u32 = 2;
const LANES: u32 = 1;

/// Argon2id (RFC 9106) of a password. Passwords are case-insensitive (SoupBinTCP 3.00, Login Request):
/// it is upper-cased, and its padding on the right is cut off.
///
/// # Panics
/// Never: the cost and the lengths are within the algorithm's limits.
#[must_use]
pub fn hash_password(password: &[u8], salt: [u8; 16]) -> Credential {
    hash_password_in(PASSWORD_MEMORY_KIB, password, salt)
}

/// As [`hash_password`], in so many KiB of memory: less is for trials alone, where thousands log in and nothing is at stake.
///
/// # Panics
/// With less than 8 KiB, or more than the algorithm takes.
#[must_use]
pub fn hash_password_in(memory_kib: u32, password: &[u8], salt: [u8; 16]) -> Credential {
    let credential = Credential { salt, hash: [0; 32], memory_kib, passes: PASSES, lanes: LANES };
    let hash = argon2id(password, &credential).expect("the cost is within the limits");
    Credential { hash, ..credential }
}

/// Whether `password` is that of `credential`. Takes milliseconds. A credential of impossible cost has
/// no password.
#[must_use]
pub fn is_password(password: &[u8], credential: &Credential) -> bool {
    // All bytes are compared whatever the first ones say, so that time tells nothing.
    argon2id(password, credential)
        .is_ok_and(|hash| hash.iter().zip(credential.hash).fold(0, |all, (a, b)| all | (a ^ b)) == 0)
}

fn argon2id(password: &[u8], credential: &Credential) -> Result<[u8; 32], argon2::Error> {
    let params = Params::new(credential.memory_kib, credential.passes, credential.lanes, Some(32))?;
    let mut hash = [0; 32];
    let password = password.trim_ascii_end().to_ascii_uppercase();
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params).hash_password_into(
        &password,
        &credential.salt,
        &mut hash,
    )?;
    Ok(hash)
}

/// Logins that may wait for the checking thread.
const WAITING_MAX: usize = 64;

/// Checks on a thread of its own, one at a time, so that logins can never take more than one core.
#[derive(Debug)]
pub struct ArgonChecker {
    ends: Option<(SyncSender<Question>, Receiver<Answer>)>,
    thread: Option<JoinHandle<()>>,
}

/// The question's id, and whether the password is right.
type Answer = (u64, bool);

struct Question {
    id: u64,
    password: [u8; 10],
    credential: Credential,
}

impl ArgonChecker {
    /// Starts the thread. It ends when the checker is dropped.
    ///
    /// # Errors
    /// [`Error::Thread`].
    pub fn start() -> Result<Self, Error> {
        let (ask, asked) = sync_channel::<Question>(WAITING_MAX);
        let (answer, answers) = sync_channel(WAITING_MAX);
        let check = move || {
            for Question { id, password, credential } in asked {
                if answer.send((id, is_password(&password, &credential))).is_err() {
                    break;
                }
            }
        };
        let thread = std::thread::Builder::new().name("login".into()).spawn(check).map_err(Error::Thread)?;
        Ok(Self { ends: Some((ask, answers)), thread: Some(thread) })
    }
}

impl LoginChecker for ArgonChecker {
    fn submit(&mut self, id: u64, password: [u8; 10], credential: Credential) -> bool {
        let (ask, _) = self.ends.as_ref().expect("there until dropped");
        match ask.try_send(Question { id, password, credential }) {
            Ok(()) => true,
            Err(TrySendError::Full(_)) => false,
            Err(TrySendError::Disconnected(_)) => panic!("the login thread panicked"),
        }
    }

    fn poll(&mut self) -> Option<(u64, bool)> {
        let (_, answers) = self.ends.as_ref().expect("there until dropped");
        match answers.try_recv() {
            Ok(answer) => Some(answer),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => panic!("the login thread panicked"),
        }
    }
}

impl Drop for ArgonChecker {
    fn drop(&mut self) {
        // Without its ends the thread stops after the check it is at.
        self.ends = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_case_insensitive_and_padded() {
        let credential = hash_password(b"Secret", [7; 16]);
        assert!(is_password(b"SECRET    ", &credential));
        assert!(is_password(b"secret", &credential));
        assert!(!is_password(b"SECRET2   ", &credential));
        assert!(!is_password(b" SECRET   ", &credential));
        assert!(!is_password(b"SECRET", &Credential { salt: [8; 16], ..credential }));
        assert!(!is_password(b"SECRET", &Credential { lanes: 0, ..credential }));
    }

    #[test]
    fn a_hash_is_that_of_the_reference_implementation() {
        // echo -n PASSWORD | argon2 somesaltsomesalt -id -t 2 -k 256 -p 1 -l 32 -r (phc-winner-argon2)
        let credential =
            Credential { salt: *b"somesaltsomesalt", hash: [0; 32], memory_kib: 256, passes: 2, lanes: 1 };
        let hash = argon2id(b"password  ", &credential).expect("the cost is within the limits");
        let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "b98693a9c1f5dcde6f370b7eba3a46e3d01ffa8857a3e7ea2c52c22b7ecc37c0");
    }

    #[test]
    fn the_thread_answers_every_question_with_its_id() {
        let cheap = |password: &[u8]| {
            let credential = Credential { salt: [1; 16], hash: [0; 32], memory_kib: 8, passes: 1, lanes: 1 };
            Credential { hash: argon2id(password, &credential).expect("within the limits"), ..credential }
        };
        let mut checker = ArgonChecker::start().expect("a thread can be started");
        let mut answers = std::collections::BTreeMap::new();
        let mut asked = 0;
        while answers.len() < 200 {
            let credential = cheap(if asked % 2 == 0 { b"RIGHT" } else { b"OTHER" });
            if asked < 200 && checker.submit(asked, *b"RIGHT     ", credential) {
                asked += 1;
            }
            answers.extend(checker.poll());
        }
        assert!(answers.iter().all(|(id, right)| *right == (id % 2 == 0)), "{answers:?}");
    }
}
