//! The seams to the network: SessionIo over kernel sockets, in memory, and with injected faults
