//! Stage 2 of the naive engine: phases, schedules, crosses, bands and timers.
