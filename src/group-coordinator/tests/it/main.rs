//! The group coordinator from outside: golden scripts, encodability of every reply, random histories, a simulation of commits.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::cast_possible_truncation, missing_docs)]

mod commits;
mod encode;
mod history;
mod hostile;
mod print;
mod scripts;
mod world;
