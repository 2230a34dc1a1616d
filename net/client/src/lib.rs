//! The member's side: order entry, feed following, book building

pub mod itch_book;
pub mod market_data;
