//! `runc`: the reference runtime by its command line, on the bundle that `sandbox` uses.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::container::{self, DISK, LAYERS, NET, Runtime, SECCOMP, UNION};
use crate::environment::{EngineAbout, Layer as LayerChoice};
use crate::launch::{Engine, Layer, Place, Usability};
use crate::sample::Failure;

/// What runc itself may use beside the container: it stays as the container's parent.
const MEMORY_EXTRA_BYTES: u64 = 64 * 1024 * 1024;

/// The engine.
pub(super) struct RuncEngine;

static ABOUT: EngineAbout = EngineAbout {
    name: "runc",
    summary: "an OCI container through runc, the runtime below Docker",
    needs: "root; program runc",
    virtual_machine: false,
    nests_in_guest: false,
    options: &[NET, DISK, LAYERS, UNION, SECCOMP],
    rules: &[],
};

impl Engine for RuncEngine {
    fn about(&self) -> &'static EngineAbout {
        &ABOUT
    }

    fn probe(&self, choice: &LayerChoice) -> Usability {
        container::probe_runtime("runc", "runc", choice, |_| Ok(Vec::new()))
    }

    fn open(&self, place: &Arc<Place>, choice: &LayerChoice) -> Result<Box<dyn Layer>, Failure> {
        let program = container::program("runc", "runc")?;
        let runtime = runtime(&program, container::version(&program)?);
        container::open(place, choice, runtime)
    }
}

fn runtime(program: &Path, version: String) -> Runtime {
    Runtime {
        program: Some(program.to_owned()),
        flags: Vec::new(),
        shares_kernel: true,
        unmount: Vec::new(),
        facts: BTreeMap::from([("runtime".to_owned(), version)]),
        labels: Vec::new(),
        memory_extra_bytes: MEMORY_EXTRA_BYTES,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runc_is_told_where_its_state_and_the_bundle_are() {
        let arguments = container::arguments_for_a_test(&runtime(Path::new("/usr/sbin/runc"), "runc 1.1".to_owned()));
        assert_eq!(arguments, "--root SCRATCH/NAME/state run --bundle SCRATCH/NAME NAME");
    }
}
