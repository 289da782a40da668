//! Which wire do the first bytes of a connection speak?
