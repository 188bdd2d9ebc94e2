//! What is asked of a Docker engine, as data: nothing here talks to one.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use bollard::models::{ContainerCreateBody, HostConfig, HostConfigLogConfig};

use crate::environment::Layer as LayerChoice;
use crate::launch::LaunchOrder;
use crate::launch::bundle::{AGENT_PATH, DATA_PATH};

/// Where the directory under [`DATA_PATH`] comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Disk {
    /// The container's writable layer.
    Overlay,
    /// This directory of the host.
    Volume(PathBuf),
    /// Memory.
    Tmpfs,
}

/// The options of the layer, read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wishes {
    /// The host's network namespace instead of an empty one of its own.
    pub(super) host_network: bool,
    /// Which disk lies under the data.
    pub(super) disk: DiskKind,
    /// The engine's default system call filter, or none.
    pub(super) seccomp: bool,
    /// Layers of the image.
    pub(super) layers: u32,
}

/// `disk=`, read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DiskKind {
    /// `overlay`
    Overlay,
    /// `volume`
    Volume,
    /// `tmpfs`
    Tmpfs,
}

impl Wishes {
    /// Reads a layer's options; the parser has refused every other value.
    pub(super) fn of(choice: &LayerChoice) -> Self {
        Self {
            host_network: choice.option("net") == "host",
            disk: match choice.option("disk") {
                "volume" => DiskKind::Volume,
                "tmpfs" => DiskKind::Tmpfs,
                _ => DiskKind::Overlay,
            },
            seccomp: choice.option("seccomp") != "off",
            layers: choice.option("layers").parse().unwrap_or(1),
        }
    }

    /// `net=none` or `net=host`.
    pub(super) fn network_label(self) -> String {
        format!("net={}", self.network())
    }

    fn network(self) -> &'static str {
        if self.host_network { "host" } else { "none" }
    }
}

/// The container of one launch.
///
/// Nothing of the image's configuration counts, so that an empty one is enough. argv is `plimsoll agent`, as in every
/// other environment: Docker finds `plimsoll` by the `PATH` of the container, and so leaves argv\[0\] as it is. The
/// agent's bytes are never logged: the default log driver would write every frame to the disk under test.
pub(super) fn container(wishes: Wishes, disk: &Disk, order: &LaunchOrder, image: &str) -> ContainerCreateBody {
    ContainerCreateBody {
        image: Some(image.to_owned()),
        cmd: Some(vec!["plimsoll".to_owned(), "agent".to_owned()]),
        env: Some(vec![format!("PATH={}", search_path()), "HOME=/".to_owned()]),
        working_dir: Some("/".to_owned()),
        user: Some("0:0".to_owned()),
        tty: Some(false),
        open_stdin: Some(true),
        stdin_once: Some(true),
        attach_stdin: Some(true),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        labels: Some(HashMap::from([("plimsoll".to_owned(), order.name.clone())])),
        host_config: Some(host_config(wishes, disk, order)),
        ..ContainerCreateBody::default()
    }
}

fn host_config(wishes: Wishes, disk: &Disk, order: &LaunchOrder) -> HostConfig {
    let memory_bytes = i64::try_from(order.limits.memory_bytes).unwrap_or(i64::MAX);
    HostConfig {
        network_mode: Some(wishes.network().to_owned()),
        cpuset_cpus: Some(order.limits.cpu_list()),
        memory: Some(memory_bytes),
        // Memory and swap together: so much as memory alone means no swap.
        memory_swap: Some(memory_bytes),
        log_config: Some(HostConfigLogConfig { typ: Some("none".to_owned()), config: None }),
        security_opt: (!wishes.seccomp).then(|| vec!["seccomp=unconfined".to_owned()]),
        binds: match disk {
            Disk::Volume(directory) => Some(vec![format!("{}:{DATA_PATH}:rw", directory.display())]),
            Disk::Overlay | Disk::Tmpfs => None,
        },
        tmpfs: (*disk == Disk::Tmpfs).then(|| HashMap::from([(DATA_PATH.to_owned(), "rw,exec,mode=0755".to_owned())])),
        auto_remove: Some(false),
        init: Some(false),
        ..HostConfig::default()
    }
}

fn search_path() -> String {
    let directory = Path::new(AGENT_PATH).parent().unwrap_or(Path::new("/"));
    format!("{}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", directory.display())
}

/// The reference of the run's image of so many layers.
pub(super) fn image_reference(run: &str, layers: u32) -> String {
    format!("plimsoll:{run}-{layers}")
}

/// The type of a container's root filesystem by the engine's storage driver; `None` where the driver's name does not
/// tell (such as `vfs`, which copies onto whatever is there).
pub(super) fn root_filesystem(storage_driver: &str) -> Option<&'static str> {
    match storage_driver {
        "overlay2" | "overlay" | "overlayfs" => Some("overlay"),
        "btrfs" => Some("btrfs"),
        "zfs" => Some("zfs"),
        "aufs" => Some("aufs"),
        "fuse-overlayfs" => Some("fuse.fuse-overlayfs"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::Environment;
    use crate::launch::Limits;
    use crate::launch::engines::docker::ABOUT;

    fn asked(name: &str, disk: &Disk) -> String {
        let environment = Environment::parse(name, &[&ABOUT]).unwrap();
        let order = LaunchOrder {
            name: "plimsoll-1a2b3c4d-17".to_owned(),
            limits: Limits { cpus: vec![1, 3], memory_bytes: 1 << 30 },
            holds_layers: false,
        };
        let wishes = Wishes::of(&environment.stack()[0]);
        serde_json::to_string_pretty(&container(wishes, disk, &order, "plimsoll:plimsoll-1a2b3c4d")).unwrap()
    }

    fn only_difference(name: &str, disk: &Disk) -> Vec<String> {
        let (plain, other) = (asked("docker", &Disk::Overlay), asked(name, disk));
        let word = |line: &str| line.trim().trim_end_matches(',').to_owned();
        let plain: Vec<String> = plain.lines().map(word).collect();
        other.lines().map(word).filter(|line| !plain.contains(line)).collect()
    }

    #[test]
    fn the_default_container_has_no_network_no_log_and_no_swap() {
        insta::assert_snapshot!(asked("docker", &Disk::Overlay), @r#"
        {
          "User": "0:0",
          "AttachStdin": true,
          "AttachStdout": true,
          "AttachStderr": true,
          "Tty": false,
          "OpenStdin": true,
          "StdinOnce": true,
          "Env": [
            "PATH=/plimsoll:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME=/"
          ],
          "Cmd": [
            "plimsoll",
            "agent"
          ],
          "Image": "plimsoll:plimsoll-1a2b3c4d",
          "WorkingDir": "/",
          "Labels": {
            "plimsoll": "plimsoll-1a2b3c4d-17"
          },
          "HostConfig": {
            "Memory": 1073741824,
            "CpusetCpus": "1,3",
            "MemorySwap": 1073741824,
            "Init": false,
            "LogConfig": {
              "Type": "none"
            },
            "NetworkMode": "none",
            "AutoRemove": false
          }
        }
        "#);
    }

    #[test]
    fn each_option_changes_its_own_part_of_the_request() {
        let volume = Disk::Volume(PathBuf::from("/data/plimsoll-1a2b3c4d-17"));
        let differences = [
            only_difference("docker:net=host", &Disk::Overlay),
            only_difference("docker:seccomp=off", &Disk::Overlay),
            only_difference("docker:disk=volume", &volume),
            only_difference("docker:disk=tmpfs", &Disk::Tmpfs),
        ];
        insta::assert_snapshot!(differences.map(|lines| lines.join(" ")).join("\n"), @r#"
        "NetworkMode": "host"
        "SecurityOpt": [ "seccomp=unconfined"
        "Binds": [ "/data/plimsoll-1a2b3c4d-17:/plimsoll/data:rw"
        "Tmpfs": { "/plimsoll/data": "rw,exec,mode=0755"
        "#);
    }

    #[test]
    fn options_that_come_later_are_refused() {
        for name in ["docker:image=redis", "docker:tuned", "docker:net=bridge", "docker:disk=raw"] {
            assert!(Environment::parse(name, &[&ABOUT]).is_err(), "{name}");
        }
    }

    #[test]
    fn a_storage_driver_that_does_not_tell_promises_nothing() {
        assert_eq!(root_filesystem("overlay2"), Some("overlay"));
        assert_eq!(root_filesystem("vfs"), None);
    }
}
