//! `crun`: the runtime in C by its command line, on the bundle that `sandbox` uses.
//!
//! crun 1.8 takes a hybrid cgroup layout for v2 because a v2 hierarchy is mounted, and then finds no controllers there.
//! On such a host that hierarchy is unmounted for crun alone, in its private mount namespace, and the label says so.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::container::{self, DISK, LAYERS, NET, Runtime, SECCOMP, UNION};
use crate::environment::{EngineAbout, Layer as LayerChoice};
use crate::launch::cgroup::v2_beside_v1;
use crate::launch::{Engine, Layer, Place, Usability};
use crate::sample::Failure;

/// What crun itself may use beside the container: it stays as the container's parent.
const MEMORY_EXTRA_BYTES: u64 = 32 * 1024 * 1024;
/// Label of an environment on a host whose cgroup layout had to be changed for crun.
const UNMOUNTED: &str = "v2 unmounted for crun";

/// The engine.
pub(super) struct CrunEngine;

static ABOUT: EngineAbout = EngineAbout {
    name: "crun",
    summary: "an OCI container through crun, the runtime below Podman",
    needs: "root; program crun",
    virtual_machine: false,
    nests_in_guest: false,
    options: &[NET, DISK, LAYERS, UNION, SECCOMP],
    rules: &[],
};

impl Engine for CrunEngine {
    fn about(&self) -> &'static EngineAbout {
        &ABOUT
    }

    fn probe(&self, choice: &LayerChoice) -> Usability {
        container::probe_runtime("crun", "crun", choice, |_| Ok(labels(v2_beside_v1()?.as_deref())))
    }

    fn open(&self, place: &Arc<Place>, choice: &LayerChoice) -> Result<Box<dyn Layer>, Failure> {
        let program = container::program("crun", "crun")?;
        let runtime = runtime(&program, container::version(&program)?, v2_beside_v1()?);
        container::open(place, choice, runtime)
    }
}

fn labels(v2: Option<&Path>) -> Vec<String> {
    v2.map(|_| UNMOUNTED.to_owned()).into_iter().collect()
}

fn runtime(program: &Path, version: String, v2: Option<PathBuf>) -> Runtime {
    Runtime {
        program: Some(program.to_owned()),
        flags: vec!["--cgroup-manager=cgroupfs".to_owned()],
        shares_kernel: true,
        labels: labels(v2.as_deref()),
        unmount: v2.into_iter().collect(),
        facts: BTreeMap::from([("runtime".to_owned(), version)]),
        memory_extra_bytes: MEMORY_EXTRA_BYTES,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hybrid_layout_is_changed_for_crun_alone_and_labelled() {
        let v2 = PathBuf::from("/sys/fs/cgroup/unified");
        let hybrid = runtime(Path::new("/usr/bin/crun"), String::new(), Some(v2.clone()));
        assert_eq!((hybrid.unmount, hybrid.labels), (vec![v2], vec![UNMOUNTED.to_owned()]));
        let pure = runtime(Path::new("/usr/bin/crun"), String::new(), None);
        assert_eq!((pure.unmount.len(), pure.labels.len()), (0, 0));
    }

    #[test]
    fn crun_is_told_where_its_state_and_the_bundle_are() {
        let arguments = container::arguments_for_a_test(&runtime(Path::new("/usr/bin/crun"), String::new(), None));
        assert_eq!(arguments, "--cgroup-manager=cgroupfs --root SCRATCH/NAME/state run --bundle SCRATCH/NAME NAME");
    }
}
