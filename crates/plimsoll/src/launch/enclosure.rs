//! The enclosure: what a re-executed child of ours makes around a container before it starts.
//!
//! ```text
//! harness -> child (in the pen): [user namespace] -> private mount namespace -> union of layers as root
//!                                -> exec a runtime       or       [network namespace] -> container of our own
//! ```
//! The child has one thread, so it may clone; its mounts exist in its own mount namespace alone, so the host never sees
//! one and its end unmounts them. What it does is data ([`Enclosure`]), handed over as one argument.

mod container;
mod namespaces;
mod union;

use std::io::Write;
use std::path::{Path, PathBuf};

pub(super) use container::EMPTY_CGROUP;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use serde::{Deserialize, Serialize};
pub(super) use union::{Union, UnionKind};

use super::process::replace_self;
use crate::sample::Failure;

/// Most lower layers of a union: the fewest that any union filesystem or engine takes (aufs and Docker: 127), with room
/// for those that an engine adds.
pub(super) const LAYERS_MAX: u32 = 120;

/// The hidden subcommand that [`sandbox_child`] answers to.
pub const SUBCOMMAND: &str = "sandbox-child";

/// What the child makes and then becomes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Enclosure {
    /// Without root: everything happens in a user namespace where we are root.
    pub(super) user_namespace: bool,
    /// Mounts that a runtime cannot bear, unmounted for it alone.
    pub(super) unmount: Vec<PathBuf>,
    /// The root; a trial makes its own.
    pub(super) root: Option<Union>,
    /// What follows.
    pub(super) then: Then,
}

/// What the child becomes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Then {
    /// Another program.
    Exec {
        /// As a path.
        program: PathBuf,
        /// After argv\[0\].
        args: Vec<String>,
    },
    /// The keeper of a container of our own.
    Container(Sandbox),
    /// Nothing: a union is tried on memory, and the outcome said.
    Trial(UnionKind),
}

/// A container through libcontainer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sandbox {
    /// Directory with `config.json`.
    pub(super) bundle: PathBuf,
    /// Directory for its state.
    pub(super) state: PathBuf,
    /// Its name.
    pub(super) id: String,
    /// A network namespace of its own with only a loopback.
    pub(super) own_network: bool,
    /// Whether system calls are filtered.
    pub(super) seccomp: bool,
    /// Without cgroups that we may write: the library is shown empty ones.
    pub(super) without_cgroups: bool,
}

/// Arguments of our own executable that make it the child of this enclosure.
pub(super) fn arguments(enclosure: &Enclosure) -> Result<[String; 2], Failure> {
    let text = serde_json::to_string(enclosure).map_err(|error| Failure::launch(error.to_string()))?;
    Ok([SUBCOMMAND.to_owned(), text])
}

/// What the hidden subcommand does; `args` are those after it. Returns the exit status of the process. Must be called
/// while the process has one thread only.
#[must_use]
pub fn sandbox_child(args: &[String]) -> i32 {
    let order = args.first().ok_or_else(|| Failure::launch("no order was given"));
    let order = order.and_then(|text| {
        serde_json::from_str::<Enclosure>(text)
            .map_err(|error| Failure::launch(format!("the order is broken: {error}")))
    });
    match order.and_then(|order| enclose(&order)) {
        Ok(status) => status,
        Err(failure) => {
            // Standard error is the launch's log.
            let _ = writeln!(std::io::stderr(), "{failure}");
            70
        }
    }
}

fn enclose(order: &Enclosure) -> Result<i32, Failure> {
    namespaces::enter(order.user_namespace)?;
    for path in &order.unmount {
        umount2(path, MntFlags::MNT_DETACH).map_err(|error| refused("unmount", path, error))?;
    }
    if let Some(root) = &order.root {
        root.mount(order.user_namespace)?;
    }
    match &order.then {
        Then::Exec { program, args } => {
            Err(Failure::from(replace_self(program, args)).while_doing(&program.display().to_string()))
        }
        Then::Container(sandbox) => container::run(sandbox),
        Then::Trial(kind) => {
            try_union(kind.clone(), order.user_namespace)?;
            std::io::stdout().write_all(TRIAL_WORD.as_bytes())?;
            Ok(0)
        }
    }
}

/// What a trial that went well says.
pub(super) const TRIAL_WORD: &str = "enclosed";

/// On a tmpfs that only this child sees: a union of two layers shows the files of both.
fn try_union(kind: UnionKind, user_namespace: bool) -> Result<(), Failure> {
    let base = Path::new("/tmp");
    let nothing: Option<&str> = None;
    mount(Some("plimsoll"), base, Some("tmpfs"), MsFlags::empty(), nothing)
        .map_err(|error| refused("mount a tmpfs at", base, error))?;
    let [lowers, upper, work, root] = ["lowers", "upper", "work", "root"].map(|name| base.join(name));
    for folder in [&lowers.join("0"), &lowers.join("1"), &upper, &work, &root] {
        std::fs::create_dir_all(folder)?;
    }
    for layer in ["0", "1"] {
        std::fs::write(lowers.join(layer).join(layer), layer)?;
    }
    let filesystem = kind.filesystem();
    Union { kind, lowers, layers: 2, upper, work, root: root.clone() }.mount(user_namespace)?;
    for layer in ["0", "1"] {
        std::fs::read(root.join(layer))
            .map_err(|error| Failure::from(error).while_doing(&format!("a file of layer {layer} of {filesystem}")))?;
    }
    Ok(())
}

fn refused(what: &str, path: &Path, error: nix::errno::Errno) -> Failure {
    Failure::launch(format!("cannot {what} {}: {error}", path.display()))
}
