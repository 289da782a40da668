//! The macros of Trunkline. Use them through the `trunkline` crate.
