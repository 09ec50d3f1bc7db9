//! The tests of routing, by what they look at.

pub(crate) mod cluster;
mod corpus;
mod ddl;
mod facts;
mod forms;
mod hints;
mod resolving;
mod views;
