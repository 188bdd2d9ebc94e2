//! What the container engines share: lower layers that all of them put below their root, one configuration, one way to
//! launch. An engine adds its [`Runtime`], which is data.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::environment::{Layer as LayerChoice, OptionAbout, Values};
use crate::launch::bundle::DATA_PATH;
use crate::launch::cage::{Plan, Shell, asked_of_this_kernel, filesystem_of};
use crate::launch::enclosure::{self, EMPTY_CGROUP, Enclosure, LAYERS_MAX, Sandbox, Then, Union, UnionKind};
use crate::launch::journal::{Entry, Resource};
use crate::launch::oci::{Container, Data, config};
use crate::launch::process::{find_program, run_tool};
use crate::launch::trial::can_enclose;
use crate::launch::{LaunchOrder, Layer, Place, Usability, Vessel, lowers};
use crate::sample::Failure;

/// How long a program may take to say its version.
pub(super) const VERSION_BOUND: Duration = Duration::from_secs(3);

/// The union filesystem in user space.
const FUSE_OVERLAYFS: &str = "fuse-overlayfs";
/// What it may use beside the container, bytes.
const FUSE_OVERLAYFS_BYTES: u64 = 64 << 20;

/// Options that every container engine takes.
pub(super) const NET: OptionAbout = OptionAbout {
    key: "net",
    values: Values::OneOf(&["none", "host"]),
    default: "none",
    meaning: "network: a loopback of its own, or the host's network",
};
pub(super) const DISK: OptionAbout = OptionAbout {
    key: "disk",
    values: Values::OneOf(&["overlay", "volume", "tmpfs"]),
    default: "overlay",
    meaning: "where data lie: the container's writable layer, a directory of the host, or memory",
};
pub(super) const SECCOMP: OptionAbout = OptionAbout {
    key: "seccomp",
    values: Values::OneOf(&["default", "off"]),
    default: "default",
    meaning: "whether system calls are filtered",
};

pub(super) const LAYERS: OptionAbout = OptionAbout {
    key: "layers",
    values: Values::Number(1, LAYERS_MAX as u64),
    default: "1",
    meaning: "lower layers of the root: as many directories are looked through, as for an image of so many layers",
};
pub(super) const UNION: OptionAbout = OptionAbout {
    key: "union",
    values: Values::OneOf(&["overlay", FUSE_OVERLAYFS, "aufs"]),
    default: "overlay",
    meaning: "the root's union filesystem; aufs where the kernel has it",
};

/// What starts a container, as data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Runtime {
    /// The runtime's program; `None` for our own container.
    pub(super) program: Option<PathBuf>,
    /// Arguments before `--root`.
    pub(super) flags: Vec<String>,
    /// Whether the container's processes run on the host's kernel.
    pub(super) shares_kernel: bool,
    /// Mounts that it cannot bear.
    pub(super) unmount: Vec<PathBuf>,
    /// Facts and labels of every environment of it.
    pub(super) facts: BTreeMap<String, String>,
    pub(super) labels: Vec<String>,
    /// What the runtime itself may use on top of the memory limit, bytes.
    pub(super) memory_extra_bytes: u64,
}

/// Opens a container engine.
pub(super) fn open(place: &Arc<Place>, choice: &LayerChoice, runtime: Runtime) -> Result<Box<dyn Layer>, Failure> {
    let union = union(choice).map_err(|lack| Failure::launch(lack.why))?;
    let layers = choice.option(LAYERS.key).parse().unwrap_or(1);
    let mut opened =
        Containers { place: Arc::clone(place), choice: choice.clone(), runtime, union, layers, entry: None };
    opened.write_lowers()?;
    Ok(Box::new(opened))
}

/// Why a union filesystem is not to be had.
struct Lack {
    why: String,
    remedy: String,
}

/// The union filesystem that was asked for.
fn union(choice: &LayerChoice) -> Result<UnionKind, Lack> {
    match choice.option(UNION.key) {
        FUSE_OVERLAYFS => find_program(FUSE_OVERLAYFS).map(UnionKind::FuseOverlayfs).ok_or_else(|| Lack {
            why: format!("{FUSE_OVERLAYFS} is not installed"),
            remedy: format!("plimsoll setup {FUSE_OVERLAYFS}"),
        }),
        "aufs" => Ok(UnionKind::Aufs),
        _ => Ok(UnionKind::Overlay),
    }
}

/// What a choice needs beside its engine that can be installed.
pub fn needs_beside(choice: &LayerChoice) -> Option<&'static str> {
    let takes_one = choice.engine.options.iter().any(|option| option.key == UNION.key);
    (takes_one && choice.option(UNION.key) == FUSE_OVERLAYFS).then_some(FUSE_OVERLAYFS)
}

struct Containers {
    place: Arc<Place>,
    choice: LayerChoice,
    runtime: Runtime,
    union: UnionKind,
    layers: u32,
    /// Of the folder of lower layers, with whoever made it.
    entry: Option<Entry>,
}

impl Layer for Containers {
    fn launch(&mut self, order: &LaunchOrder) -> Result<Box<dyn Vessel>, Failure> {
        self.write_lowers()?;
        let place = &self.place;
        let mut shell = Shell::make(place, order, self.memory_extra_bytes())?;
        let folders = self.folders(&order.name);
        folders.make(&mut shell)?;
        // In a user namespace the container stays where its keeper is; the pen around both has the limits.
        let cgroup = shell.pen.as_ref().filter(|_| place.root).map(|pen| format!("{}/c", pen.path()));
        let without_cgroups = cgroup.is_none();
        let container = self.container(&folders, order, cgroup);
        let text = config(&container).to_string();
        std::fs::write(folders.bundle.join("config.json"), text)?;
        let enclosure = self.enclosure(&folders, &order.name, without_cgroups);
        let plan = Plan {
            program: place.executable()?.to_owned(),
            argv0: Some("plimsoll".to_owned()),
            args: enclosure::arguments(&enclosure)?.to_vec(),
            data_dir: DATA_PATH.to_owned(),
            asked: self.asked(),
            facts: self.runtime.facts.clone(),
            labels: self.labels(),
            container: self.leftover(&folders, &order.name),
        };
        Ok(Box::new(shell.start(place, plan)?))
    }

    fn close(&mut self) -> Result<(), Failure> {
        self.entry.take().map_or(Ok(()), |entry| self.place.journal.undo(entry))
    }
}

impl Containers {
    /// The layers below every union of the run; whoever finds the folder missing makes it.
    fn write_lowers(&mut self) -> Result<(), Failure> {
        let folder = lowers::folder(&self.place);
        if !folder.exists() {
            self.entry = Some(self.place.journal.note(Resource::Directory { path: folder })?);
        }
        lowers::write(&self.place, self.layers)
    }

    fn folders(&self, name: &str) -> Folders {
        let place = &self.place;
        let (bundle, data) = (place.scratch.join(name), place.data.join(name));
        let root = Union {
            kind: self.union.clone(),
            lowers: lowers::folder(place),
            layers: self.layers,
            upper: data.join("upper"),
            work: data.join("work"),
            root: data.join("root"),
        };
        Folders { state: bundle.join("state"), bundle, root, volume: data.join("volume"), data }
    }

    fn memory_extra_bytes(&self) -> u64 {
        let union = if matches!(self.union, UnionKind::FuseOverlayfs(_)) { FUSE_OVERLAYFS_BYTES } else { 0 };
        self.runtime.memory_extra_bytes + union
    }

    fn own_network(&self) -> bool {
        self.choice.option("net") == "none"
    }

    fn seccomp(&self) -> bool {
        self.choice.option("seccomp") != "off"
    }

    fn container(&self, folders: &Folders, order: &LaunchOrder, cgroup: Option<String>) -> Container {
        let data = match self.choice.option("disk") {
            "volume" => Data::Volume(folders.volume.clone()),
            "tmpfs" => Data::Memory,
            _ => Data::Overlay,
        };
        Container {
            root: folders.root.root.clone(),
            memory_bytes: cgroup.is_some().then_some(order.limits.memory_bytes),
            cgroup: cgroup.unwrap_or_else(|| EMPTY_CGROUP.to_owned()),
            data,
            // Our own container gets its namespace from the enclosure, which brings the loopback up.
            own_network: self.runtime.program.is_some() && self.own_network(),
            network_is_ours: self.own_network(),
            seccomp: self.seccomp(),
            user_namespace: !self.place.root,
        }
    }

    fn enclosure(&self, folders: &Folders, name: &str, without_cgroups: bool) -> Enclosure {
        let then = match &self.runtime.program {
            Some(program) => Then::Exec { program: program.clone(), args: self.runtime.arguments(folders, name) },
            None => Then::Container(Sandbox {
                bundle: folders.bundle.clone(),
                state: folders.state.clone(),
                id: name.to_owned(),
                own_network: self.own_network(),
                seccomp: self.seccomp(),
                without_cgroups,
            }),
        };
        Enclosure {
            user_namespace: !self.place.root,
            unmount: self.runtime.unmount.clone(),
            root: Some(folders.root.clone()),
            then,
        }
    }

    fn labels(&self) -> Vec<String> {
        let mut labels = vec![format!("net={}", self.choice.option("net"))];
        if self.union != UnionKind::Overlay {
            labels.push(format!("union={}", self.choice.option(UNION.key)));
        }
        labels.extend(self.runtime.labels.iter().cloned());
        // Nobody inside can see them.
        if self.layers > 1 && !(self.runtime.shares_kernel && self.union == UnionKind::Overlay) {
            labels.push("layers not verified".to_owned());
        }
        if self.choice.option("disk") == "tmpfs" {
            labels.push("memory".to_owned());
        }
        labels
    }

    fn asked(&self) -> BTreeMap<String, String> {
        if !self.runtime.shares_kernel {
            return BTreeMap::new();
        }
        let mut asked = asked_of_this_kernel();
        let data = match self.choice.option("disk") {
            "volume" => filesystem_of(&self.place.data),
            "tmpfs" => Some("tmpfs".to_owned()),
            _ => Some(self.union.filesystem().to_owned()),
        };
        asked.insert("root_filesystem".to_owned(), self.union.filesystem().to_owned());
        if self.union == UnionKind::Overlay {
            asked.insert("root_layers".to_owned(), self.layers.to_string());
        }
        asked.extend(data.map(|kind| ("data_filesystem".to_owned(), kind)));
        asked
    }

    /// What the runtime leaves behind when it is killed.
    fn leftover(&self, folders: &Folders, name: &str) -> Option<Resource> {
        let runtime = self.runtime.program.clone()?;
        Some(Resource::OciContainer { runtime, root: folders.state.clone(), id: name.to_owned() })
    }
}

impl Runtime {
    fn arguments(&self, folders: &Folders, id: &str) -> Vec<String> {
        let text = |path: &Path| path.display().to_string();
        let run = ["--root".to_owned(), text(&folders.state), "run".to_owned(), "--bundle".to_owned()];
        let run = run.into_iter().chain([text(&folders.bundle), id.to_owned()]);
        self.flags.iter().cloned().chain(run).collect()
    }
}

/// The folders of one launch.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Folders {
    /// In the scratch: configuration and the runtime's state.
    bundle: PathBuf,
    state: PathBuf,
    /// On the disk under test, with everything below.
    data: PathBuf,
    root: Union,
    volume: PathBuf,
}

impl Folders {
    fn make(&self, shell: &mut Shell) -> Result<(), Failure> {
        shell.folder(&self.bundle)?;
        shell.folder(&self.data)?;
        for folder in [&self.state, &self.root.upper, &self.root.work, &self.root.root, &self.volume] {
            std::fs::create_dir(folder)
                .map_err(|error| Failure::from(error).while_doing(&folder.display().to_string()))?;
        }
        Ok(())
    }
}

/// Where a runtime's program lies.
///
/// # Errors
/// When it is not installed; says how to install it.
pub(super) fn program(name: &str, engine: &str) -> Result<PathBuf, Failure> {
    find_program(name)
        .ok_or_else(|| Failure::launch(format!("{name} is not installed; install it with `plimsoll setup {engine}`")))
}

/// Whether a container with this root can be made here.
pub(super) fn probe_enclosure(choice: &LayerChoice) -> Result<(), Usability> {
    let kind = union(choice).map_err(|lack| Usability::no(lack.why, lack.remedy))?;
    let remedy = match kind {
        UnionKind::Overlay if nix::unistd::geteuid().is_root() => None,
        UnionKind::Overlay => Some("run as root, or permit user namespaces".to_owned()),
        _ => Some("leave `union=` away for the kernel's overlay".to_owned()),
    };
    can_enclose(kind).map_err(|failure| Usability::Unusable { why: failure.message, remedy })
}

/// Whether a runtime can be used: root, the program, an enclosure. `labels` may look at the program further.
pub(super) fn probe_runtime(
    name: &str,
    engine: &str,
    choice: &LayerChoice,
    labels: impl FnOnce(&Path) -> Result<Vec<String>, Failure>,
) -> Usability {
    let Some(program) = find_program(name) else {
        return Usability::no(format!("{name} is not installed"), format!("plimsoll setup {engine}"));
    };
    if !nix::unistd::geteuid().is_root() {
        return Usability::no(format!("{name} is used with root only"), "run as root, or use `sandbox`");
    }
    if let Err(unusable) = probe_enclosure(choice) {
        return unusable;
    }
    let found = version(&program).and_then(|version| Ok((version, labels(&program)?)));
    match found {
        Ok((version, labels)) => {
            let details = [("program", program.display().to_string()), ("version", version)];
            Usability::Usable { details: details.map(|(name, value)| (name.to_owned(), value)).into(), labels }
        }
        Err(failure) => Usability::Unusable { why: failure.message, remedy: None },
    }
}

/// The first line that a program says about its version.
pub(super) fn version(program: &Path) -> Result<String, Failure> {
    let output = run_tool(&[&program.display().to_string(), "--version"], VERSION_BOUND, crate::interrupt::requested)?;
    let line = output.stdout.lines().next().unwrap_or_default().trim().to_owned();
    if output.code == Some(0) && !line.is_empty() {
        return Ok(line);
    }
    Err(Failure::launch(format!("{} does not run: {}", program.display(), output.stderr.trim())))
}

/// A runtime's whole command line with the folders' names instead of paths.
#[cfg(test)]
pub(super) fn arguments_for_a_test(runtime: &Runtime) -> String {
    let place = |name: &str| PathBuf::from(name);
    let (lowers, upper, work, root) = (place(""), place(""), place(""), place(""));
    let root = Union { kind: UnionKind::Overlay, lowers, layers: 1, upper, work, root };
    let (bundle, state) = (place("SCRATCH/NAME"), place("SCRATCH/NAME/state"));
    runtime.arguments(&Folders { bundle, state, root, data: place(""), volume: place("") }, "NAME").join(" ")
}
