//! The feed against followers that know nothing but what it sends.

mod books;
mod quiet;
mod rig;
mod role;
mod service;
mod sockets;
mod venue;
