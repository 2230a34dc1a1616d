//! The gateway from outside: its two pure functions, and members over many kinds of lines.

mod inbound;
mod native;
mod outbound;
mod quiet;
mod scenarios;
mod venue;
