//! Engines: one file each, and the table.

mod container;
mod crun;
pub mod docker;
mod gvisor;
pub mod native;
pub mod qemu;
mod runc;
mod sandbox;

pub use container::needs_beside;

use super::Engine;
use crate::environment::EngineAbout;

/// Every engine, in the order in which `list environments` shows them. A new engine is one file and one line here.
pub static ENGINES: &[&dyn Engine] = &[
    &sandbox::SandboxEngine,
    &docker::Docker,
    &runc::RuncEngine,
    &crun::CrunEngine,
    &gvisor::GvisorEngine,
    &qemu::Qemu,
];

/// What each engine is, for reading names.
#[must_use]
pub fn abouts() -> Vec<&'static EngineAbout> {
    ENGINES.iter().map(|engine| engine.about()).collect()
}

/// The engine of this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static dyn Engine> {
    ENGINES.iter().copied().find(|engine| engine.about().name == name)
}
