//! `sandbox`: our own OCI container, through libcontainer in a re-executed child. Needs nothing to be installed.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::container::{self, DISK, LAYERS, NET, Runtime, SECCOMP, UNION};
use crate::environment::{EngineAbout, Layer as LayerChoice};
use crate::launch::{Engine, Layer, Place, Usability};
use crate::sample::Failure;

/// The engine.
pub(super) struct SandboxEngine;

static ABOUT: EngineAbout = EngineAbout {
    name: "sandbox",
    summary: "a container of our own: namespaces, cgroups, seccomp and an overlay, without any engine installed",
    needs: "root, or user namespaces; overlay filesystem",
    virtual_machine: false,
    nests_in_guest: true,
    options: &[NET, DISK, LAYERS, UNION, SECCOMP],
    rules: &[],
};

impl Engine for SandboxEngine {
    fn about(&self) -> &'static EngineAbout {
        &ABOUT
    }

    fn probe(&self, choice: &LayerChoice) -> Usability {
        match container::probe_enclosure(choice) {
            Ok(()) => Usability::Usable { details: BTreeMap::new(), labels: Vec::new() },
            Err(unusable) => unusable,
        }
    }

    fn open(&self, place: &Arc<Place>, choice: &LayerChoice) -> Result<Box<dyn Layer>, Failure> {
        let runtime = Runtime {
            program: None,
            flags: Vec::new(),
            shares_kernel: true,
            unmount: Vec::new(),
            facts: BTreeMap::from([("runtime".to_owned(), "libcontainer".to_owned())]),
            labels: Vec::new(),
            memory_extra_bytes: 0,
        };
        container::open(place, choice, runtime)
    }
}
