//! Engines: one file each, and the table.

<<<<<<< HEAD
<<<<<<< HEAD
<<<<<<< HEAD
pub mod docker;
pub mod qemu;
=======
=======
>>>>>>> qemu
=======
>>>>>>> docker
mod container;
mod crun;
pub mod docker;
mod gvisor;
pub mod native;
pub mod qemu;
mod runc;
mod sandbox;
<<<<<<< HEAD
<<<<<<< HEAD
>>>>>>> launch
=======
>>>>>>> qemu
=======
>>>>>>> docker

use super::Engine;
use crate::environment::EngineAbout;

/// Every engine, in the order in which `list environments` shows them. A new engine is one file and one line here.
<<<<<<< HEAD
<<<<<<< HEAD
<<<<<<< HEAD
pub static ENGINES: &[&dyn Engine] = &[&docker::Docker, &qemu::Qemu];
=======
pub static ENGINES: &[&dyn Engine] =
    &[&sandbox::SandboxEngine, &runc::RuncEngine, &crun::CrunEngine, &gvisor::GvisorEngine];
>>>>>>> launch
=======
pub static ENGINES: &[&dyn Engine] =
    &[&sandbox::SandboxEngine, &runc::RuncEngine, &crun::CrunEngine, &gvisor::GvisorEngine, &qemu::Qemu];
>>>>>>> qemu
=======
pub static ENGINES: &[&dyn Engine] =
    &[&sandbox::SandboxEngine, &docker::Docker, &runc::RuncEngine, &crun::CrunEngine, &gvisor::GvisorEngine];
>>>>>>> docker

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
