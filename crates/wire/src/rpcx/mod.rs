//! The rpcx wire, which easymicro speaks too.
