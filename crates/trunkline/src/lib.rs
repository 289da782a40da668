//! Trunkline: one service, every wire.
