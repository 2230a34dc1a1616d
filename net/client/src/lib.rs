//! The member's side: order entry, feed following, book building
