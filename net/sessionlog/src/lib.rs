//! What each session and feed was told: memory-mapped, rebuilt from the journal if damaged
