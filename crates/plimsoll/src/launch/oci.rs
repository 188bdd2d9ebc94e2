//! The OCI configuration of a container as data: the same for every runtime, so that what differs is the runtime.
//!
//! It follows what Docker gives a container by default (capabilities, masked paths, mounts), with one difference that
//! is the same everywhere: no new privileges, so that the system call filter can be installed last. CPUs are those of
//! the pen around the runtime; the memory limit stands here too, since the pen's has room for the runtime.

mod seccomp;

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

pub(super) use seccomp::{filters, profile};

use super::bundle::{AGENT_PATH, Bundle, DATA_PATH};
use crate::sample::Failure;

/// Docker's default capabilities.
const CAPABILITIES: [&str; 14] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];
const MASKED_PATHS: [&str; 9] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/sys/firmware",
];
const READ_ONLY_PATHS: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// What a container is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Container {
    /// Directory that becomes its root.
    pub(super) root: PathBuf,
    /// Its cgroup below the pen.
    pub(super) cgroup: String,
    /// The limit that it sees and is held to, bytes; `None` where cgroups cannot be written.
    pub(super) memory_bytes: Option<u64>,
    /// What lies at [`DATA_PATH`].
    pub(super) data: Data,
    /// A network namespace of its own, made by the runtime; else the runtime's.
    pub(super) own_network: bool,
    /// Whether the network namespace that it ends up in belongs to us; only then can a sysfs be mounted without root.
    pub(super) network_is_ours: bool,
    /// Whether system calls are filtered.
    pub(super) seccomp: bool,
    /// Whether it lives in a user namespace of ours.
    pub(super) user_namespace: bool,
}

/// What lies at the data directory of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Data {
    /// The container's own writable layer.
    Overlay,
    /// A directory of the host.
    Volume(PathBuf),
    /// Memory.
    Memory,
}

/// Writes `rootfs` and `config.json` into a folder, for whoever starts a runtime without us: a default container of
/// root's, but on a plain folder instead of an overlay.
///
/// # Errors
/// When a file cannot be read or written.
pub fn write_bundle(folder: &Path, executable: &Path, cgroup: &str, memory_bytes: u64) -> Result<(), Failure> {
    Bundle::of_agent(executable)?.write_folder(&folder.join("rootfs"))?;
    let config = config(&Container {
        root: PathBuf::from("rootfs"),
        cgroup: cgroup.to_owned(),
        memory_bytes: Some(memory_bytes),
        data: Data::Overlay,
        own_network: true,
        network_is_ours: true,
        seccomp: true,
        user_namespace: false,
    });
    let path = folder.join("config.json");
    std::fs::write(&path, config.to_string())
        .map_err(|error| Failure::from(error).while_doing(&path.display().to_string()))
}

/// The configuration that a runtime reads as `config.json`.
pub(super) fn config(container: &Container) -> Value {
    let folder = Path::new(AGENT_PATH).parent().unwrap_or(Path::new("/")).display().to_string();
    json!({
        "ociVersion": "1.0.2",
        "root": { "path": container.root, "readonly": false },
        "hostname": "plimsoll",
        "process": {
            "terminal": false,
            "user": { "uid": 0, "gid": 0 },
            "args": ["plimsoll", "agent"],
            "env": [format!("PATH={folder}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"), "HOME=/"],
            "cwd": "/",
            "noNewPrivileges": true,
            "capabilities": {
                "bounding": CAPABILITIES, "effective": CAPABILITIES, "permitted": CAPABILITIES,
            },
        },
        "mounts": mounts(container),
        "linux": linux(container),
    })
}

fn linux(container: &Container) -> Value {
    let mut kinds = vec!["pid", "ipc", "uts", "mount", "cgroup"];
    if container.own_network {
        kinds.push("network");
    }
    let namespaces: Vec<Value> = kinds.into_iter().map(|kind| json!({ "type": kind })).collect();
    let mut linux = json!({
        "namespaces": namespaces,
        "maskedPaths": MASKED_PATHS,
        "readonlyPaths": READ_ONLY_PATHS,
    });
    linux["cgroupsPath"] = json!(container.cgroup);
    if let Some(bytes) = container.memory_bytes {
        linux["resources"] = json!({ "devices": [{ "allow": false, "access": "rwm" }], "memory": { "limit": bytes } });
    }
    if container.seccomp {
        linux["seccomp"] = profile();
    }
    linux
}

fn mounts(container: &Container) -> Value {
    let mount = |destination: &str, kind: &str, options: &[&str]| json!({ "destination": destination, "type": kind, "source": kind, "options": options });
    let mut mounts = vec![
        mount("/proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount("/dev", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount("/dev/pts", "devpts", &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]),
        mount("/dev/shm", "tmpfs", &["nosuid", "noexec", "nodev", "mode=1777", "size=67108864"]),
        mount("/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
    ];
    if container.user_namespace && !container.network_is_ours {
        // A sysfs belongs to a network namespace; the host's can only be shown, not mounted anew.
        mounts.push(json!({
            "destination": "/sys", "type": "none", "source": "/sys", "options": ["rbind", "ro", "nosuid", "noexec", "nodev"],
        }));
    } else {
        mounts.push(mount("/sys", "sysfs", &["nosuid", "noexec", "nodev", "ro"]));
    }
    if container.memory_bytes.is_some() {
        mounts.push(mount("/sys/fs/cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", "ro"]));
    }
    match &container.data {
        Data::Overlay => {}
        Data::Volume(folder) => mounts.push(json!({
            "destination": DATA_PATH, "type": "none", "source": folder, "options": ["rbind", "rw"],
        })),
        Data::Memory => mounts.push(mount(DATA_PATH, "tmpfs", &["nosuid", "nodev", "mode=755"])),
    }
    Value::Array(mounts)
}

#[cfg(test)]
mod tests;
