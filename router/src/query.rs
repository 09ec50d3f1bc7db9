//! Pure: what a statement is, which tables it reads and writes, and where key values stand in it.
//! Knows nothing of the topology: which column is a key is asked in [`crate::route`].
