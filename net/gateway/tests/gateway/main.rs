//! The gateway from outside: its two pure functions, and members over many kinds of lines.

mod inbound;
mod outbound;
mod scenarios;
mod venue;
