//! The enclosure: what a re-executed child of ours makes around a container before it starts.
//!
//! ```text
//! harness -> child (in the pen): [user namespace] -> private mount namespace -> overlay root
//!                                -> exec a runtime       or       [network namespace] -> container of our own
//! ```
//! The child has one thread, so it may clone; its mounts exist in its own mount namespace alone, so the host never sees
//! one and its end unmounts them. What it does is data ([`Enclosure`]), handed over as one argument.

mod container;
mod namespaces;

use std::io::Write;
use std::path::{Path, PathBuf};

pub(super) use container::EMPTY_CGROUP;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use serde::{Deserialize, Serialize};

use super::process::replace_self;
use crate::sample::Failure;

/// The hidden subcommand that [`sandbox_child`] answers to.
pub const SUBCOMMAND: &str = "sandbox-child";

/// What the child makes and then becomes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Enclosure {
    /// Without root: everything happens in a user namespace where we are root.
    pub(super) user_namespace: bool,
    /// Mounts that a runtime cannot bear, unmounted for it alone.
    pub(super) unmount: Vec<PathBuf>,
    /// The root; a trial has none.
    pub(super) overlay: Option<Overlay>,
    /// What follows.
    pub(super) then: Then,
}

/// An overlay mount: the bundle below, an empty layer above.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Overlay {
    pub(super) lower: PathBuf,
    pub(super) upper: PathBuf,
    pub(super) work: PathBuf,
    /// Mount point.
    pub(super) root: PathBuf,
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
    /// Nothing: an overlay is tried on memory, and the outcome said.
    Trial,
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
    if let Some(overlay) = &order.overlay {
        overlay.mount(order.user_namespace)?;
    }
    match &order.then {
        Then::Exec { program, args } => {
            Err(Failure::from(replace_self(program, args)).while_doing(&program.display().to_string()))
        }
        Then::Container(sandbox) => container::run(sandbox),
        Then::Trial => {
            try_overlay(order.user_namespace)?;
            std::io::stdout().write_all(TRIAL_WORD.as_bytes())?;
            Ok(0)
        }
    }
}

/// What a trial that went well says.
pub(super) const TRIAL_WORD: &str = "enclosed";

/// On a tmpfs that only this child sees.
fn try_overlay(user_namespace: bool) -> Result<(), Failure> {
    let base = Path::new("/tmp");
    let nothing: Option<&str> = None;
    mount(Some("plimsoll"), base, Some("tmpfs"), MsFlags::empty(), nothing)
        .map_err(|error| refused("mount a tmpfs at", base, error))?;
    let [lower, upper, work, root] = ["lower", "upper", "work", "root"].map(|name| base.join(name));
    for folder in [&lower, &upper, &work, &root] {
        std::fs::create_dir(folder)?;
    }
    Overlay { lower, upper, work, root }.mount(user_namespace)
}

impl Overlay {
    fn mount(&self, user_namespace: bool) -> Result<(), Failure> {
        let option = |name: &str, path: &Path| format!("{name}={}", path.display());
        let mut options =
            [option("lowerdir", &self.lower), option("upperdir", &self.upper), option("workdir", &self.work)].join(",");
        if user_namespace {
            options.push_str(",userxattr");
        }
        mount(Some("overlay"), &self.root, Some("overlay"), MsFlags::empty(), Some(options.as_str())).map_err(|error| {
            let failure = refused("mount an overlay at", &self.root, error);
            Failure::launch(format!("{failure}; an overlay needs a plain disk below, so try another --data folder"))
        })
    }
}

fn refused(what: &str, path: &Path, error: nix::errno::Errno) -> Failure {
    Failure::launch(format!("cannot {what} {}: {error}", path.display()))
}
