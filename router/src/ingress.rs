//! Where clients come in. Each front turns its own protocol into the same calls.

pub mod pg;
