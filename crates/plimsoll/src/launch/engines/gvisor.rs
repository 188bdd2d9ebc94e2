//! `gvisor`: a kernel of its own in user space, through runsc, on the bundle that `sandbox` uses.
//!
//! Its processes (sentry and gofer) stay in our pen: it is told to leave cgroups alone, so its own threads run on the
//! environment's CPUs like QEMU's. The memory limit covers the sentry too, with an overhead on top. It ignores the
//! host's seccomp profile: its kernel answers the system calls.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::container::{self, DISK, LAYERS, NET, Runtime, UNION};
use crate::environment::{EngineAbout, Layer as LayerChoice, OptionAbout, Values};
use crate::interrupt;
use crate::launch::process::run_tool;
use crate::launch::{Engine, Layer, Place, Usability};
use crate::sample::Failure;

/// What sentry and gofer themselves may use beside the container's memory.
const MEMORY_EXTRA_BYTES: u64 = 256 * 1024 * 1024;

/// Its kernel says a release of its own making and names its filesystems in its own way: what they should be is nowhere
/// written down, so nothing is asked for.
const NOT_VERIFIED: &str = "kernel and filesystems not verified";

/// The engine.
pub(super) struct GvisorEngine;

static ABOUT: EngineAbout = EngineAbout {
    name: "gvisor",
    summary: "a container with a kernel of its own in user space (runsc)",
    needs: "root; program runsc",
    virtual_machine: false,
    nests_in_guest: false,
    options: &[
        NET,
        DISK,
        LAYERS,
        UNION,
        OptionAbout {
            key: "platform",
            values: Values::OneOf(&["auto", "systrap", "ptrace", "kvm"]),
            default: "auto",
            meaning: "how system calls are caught; auto is systrap where runsc has it, else ptrace",
        },
    ],
    rules: &[],
};

impl Engine for GvisorEngine {
    fn about(&self) -> &'static EngineAbout {
        &ABOUT
    }

    fn probe(&self, choice: &LayerChoice) -> Usability {
        container::probe_runtime("runsc", "gvisor", choice, |program| {
            Ok(vec![format!("platform={}", platform(program, choice)?)])
        })
    }

    fn open(&self, place: &Arc<Place>, choice: &LayerChoice) -> Result<Box<dyn Layer>, Failure> {
        let program = container::program("runsc", "gvisor")?;
        let platform = platform(&program, choice)?;
        let runtime = runtime(&program, container::version(&program)?, &platform, choice.option("net"));
        container::open(place, choice, runtime)
    }
}

/// The platform that was asked for, or the best that this runsc knows.
fn platform(program: &Path, choice: &LayerChoice) -> Result<String, Failure> {
    match choice.option("platform") {
        "auto" => {
            // It lists the platforms that it was built with in the help of the flag.
            let program = program.display().to_string();
            let output = run_tool(&[&program, "flags"], container::VERSION_BOUND, interrupt::requested)?;
            let known = output.stdout + &output.stderr;
            Ok(if known.contains("systrap") { "systrap" } else { "ptrace" }.to_owned())
        }
        asked => Ok(asked.to_owned()),
    }
}

fn runtime(program: &Path, version: String, platform: &str, net: &str) -> Runtime {
    let flags = [format!("--platform={platform}"), "--ignore-cgroups".to_owned(), format!("--network={net}")];
    let facts = [("runtime", version), ("platform", platform.to_owned())];
    Runtime {
        program: Some(program.to_owned()),
        flags: flags.to_vec(),
        shares_kernel: false,
        unmount: Vec::new(),
        facts: facts.map(|(name, value)| (name.to_owned(), value)).into_iter().collect::<BTreeMap<_, _>>(),
        labels: vec![format!("platform={platform}"), NOT_VERIFIED.to_owned()],
        memory_extra_bytes: MEMORY_EXTRA_BYTES,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_asked_for_is_called_not_verified() {
        let runtime = runtime(Path::new("/usr/bin/runsc"), String::new(), "ptrace", "none");
        assert!(!runtime.shares_kernel, "nothing is asked of a kernel that is not ours");
        assert_eq!(runtime.labels, ["platform=ptrace", "kernel and filesystems not verified"]);
    }

    #[test]
    fn runsc_is_told_its_platform_and_to_leave_cgroups_alone() {
        let runtime = runtime(Path::new("/usr/bin/runsc"), String::new(), "ptrace", "none");
        assert_eq!(
            container::arguments_for_a_test(&runtime),
            "--platform=ptrace --ignore-cgroups --network=none \
             --root SCRATCH/NAME/state run --bundle SCRATCH/NAME NAME"
        );
    }
}
