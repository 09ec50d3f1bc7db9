//! The tests of routing, by what they look at.

mod cluster;
mod ddl;
mod facts;
mod resolving;
