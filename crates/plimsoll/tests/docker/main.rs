//! The engine `docker` against a real Docker engine. Without one, every test says so and passes, unless
//! `PLIMSOLL_REQUIRE` names `docker`.

#![allow(clippy::unwrap_used, clippy::print_stderr, clippy::print_stdout, missing_docs)]

mod containers;
mod engines;
mod ground;
