//! The deterministic state machine: risk, matching, settlement, ledger
