//! What only git does.
