//! Nodes against each other and against bytes, over memory and on virtual time.

mod calls;
mod frames;
mod support;
