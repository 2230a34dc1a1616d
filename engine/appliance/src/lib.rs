//! The appliance: topology, wiring, configuration and the ironbell command
