//! Order entry: OUCH over SoupBinTCP to commands, events back to members
