//! The union filesystem that is a container's root: lower layers that are only read, and an empty one above that takes
//! what is written. What it is told is data; mounting it is at the end of the file.

use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::Duration;

use nix::mount::{MsFlags, mount};
use serde::{Deserialize, Serialize};

use super::super::patience;
use super::super::process::start_beside;
use super::refused;
use crate::sample::Failure;

/// How long a union filesystem in user space may take until it is mounted.
const MOUNT_BOUND: Duration = Duration::from_secs(10);

/// What means something in the options of a mount, or is written otherwise in the list of mounts.
const SIGNS: [char; 6] = [',', ':', '=', '\\', ' ', '\t'];

/// A union mount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::launch) struct Union {
    pub(in crate::launch) kind: UnionKind,
    /// Folder of the lower layers: directories `0` (the lowest), `1` and so on. Their names are short, and are given
    /// relative to this folder, since the kernel takes a page of options.
    pub(in crate::launch) lowers: PathBuf,
    /// How many of them.
    pub(in crate::launch) layers: u32,
    pub(in crate::launch) upper: PathBuf,
    pub(in crate::launch) work: PathBuf,
    /// Mount point.
    pub(in crate::launch) root: PathBuf,
}

/// Which union filesystem.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::launch) enum UnionKind {
    /// The kernel's own.
    Overlay,
    /// In user space, by this program.
    FuseOverlayfs(PathBuf),
    /// Out of the kernel's tree; the one of the 2014 study.
    Aufs,
}

impl UnionKind {
    /// Its type, as mounts show it.
    pub(in crate::launch) fn filesystem(&self) -> &'static str {
        match self {
            Self::Overlay => "overlay",
            Self::FuseOverlayfs(_) => "fuse.fuse-overlayfs",
            Self::Aufs => "aufs",
        }
    }
}

impl Union {
    /// The mount's options. Upper layers stand first.
    fn options(&self, user_namespace: bool) -> String {
        let Self { upper, work, .. } = self;
        let lowers = |suffix: &str| {
            let names: Vec<String> = (0..self.layers).rev().map(|number| format!("{number}{suffix}")).collect();
            names.join(":")
        };
        match &self.kind {
            UnionKind::Aufs => {
                let xino = upper.with_file_name("xino");
                format!("br:{}=rw:{},dio,xino={}", upper.display(), lowers("=ro+wh"), xino.display())
            }
            UnionKind::Overlay | UnionKind::FuseOverlayfs(_) => {
                let own = if user_namespace && self.kind == UnionKind::Overlay { ",userxattr" } else { "" };
                format!("lowerdir={},upperdir={},workdir={}{own}", lowers(""), upper.display(), work.display())
            }
        }
    }

    /// Mounts it. Leaves this process in `/`.
    pub(super) fn mount(&self, user_namespace: bool) -> Result<(), Failure> {
        let upper = self.upper.display().to_string();
        if let Some(sign) = upper.chars().find(|sign| SIGNS.contains(sign)) {
            return Err(Failure::launch(format!(
                "a mount's options cannot hold `{sign}` of {upper}: choose a --data folder without it"
            )));
        }
        std::env::set_current_dir(&self.lowers)
            .map_err(|error| Failure::from(error).while_doing(&self.lowers.display().to_string()))?;
        let options = self.options(user_namespace);
        match &self.kind {
            UnionKind::FuseOverlayfs(program) => self.mount_by(program, options),
            UnionKind::Overlay => self.mount_in_kernel(&options).map_err(|failure| {
                Failure::launch(format!("{failure}; an overlay needs a plain disk below, so try another --data folder"))
            }),
            UnionKind::Aufs => self.mount_in_kernel(&options).map_err(|failure| {
                Failure::launch(format!(
                    "{failure}; aufs is not part of Linux and must come with the distribution's kernel"
                ))
            }),
        }?;
        Ok(std::env::set_current_dir("/")?)
    }

    fn mount_in_kernel(&self, options: &str) -> Result<(), Failure> {
        let kind = self.kind.filesystem();
        mount(Some(kind), &self.root, Some(kind), MsFlags::empty(), Some(options))
            .map_err(|error| refused(&format!("mount {kind} at"), &self.root, error))
    }

    /// The program serves the mount until its parent ends, which is whoever this process becomes.
    fn mount_by(&self, program: &Path, options: String) -> Result<(), Failure> {
        let arguments = ["-f".to_owned(), "-o".to_owned(), options, self.root.display().to_string()];
        let mut server = start_beside(program, &arguments)?;
        let mut ended = false;
        patience::until(MOUNT_BOUND, || {
            ended = has_ended(&mut server);
            ended || is_mounted(&self.root, self.kind.filesystem())
        });
        if is_mounted(&self.root, self.kind.filesystem()) {
            return Ok(());
        }
        let how = if ended { "ended at once" } else { "did not mount in time" };
        Err(Failure::launch(format!("{} {how}", program.display())))
    }
}

fn has_ended(server: &mut Child) -> bool {
    !matches!(server.try_wait(), Ok(None))
}

fn is_mounted(point: &Path, filesystem: &str) -> bool {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let point = point.display().to_string();
    mounts.lines().any(|line| {
        line.split(' ').nth(4) == Some(&point)
            && line.split_once(" - ").is_some_and(|(_, rest)| rest.split(' ').next() == Some(filesystem))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(kind: UnionKind, user_namespace: bool) -> String {
        let path = |name: &str| PathBuf::from("/data").join(name);
        let (lowers, upper, work, root) = (path("lowers"), path("upper"), path("work"), path("root"));
        Union { kind, lowers, layers: 3, upper, work, root }.options(user_namespace)
    }

    #[test]
    fn the_newest_layer_stands_first_and_the_written_one_apart() {
        let fuse = UnionKind::FuseOverlayfs("/usr/bin/fuse-overlayfs".into());
        let told = [
            options(UnionKind::Overlay, false),
            options(UnionKind::Overlay, true),
            options(fuse, true),
            options(UnionKind::Aufs, false),
        ];
        insta::assert_snapshot!(told.join("\n"), @r"
        lowerdir=2:1:0,upperdir=/data/upper,workdir=/data/work
        lowerdir=2:1:0,upperdir=/data/upper,workdir=/data/work,userxattr
        lowerdir=2:1:0,upperdir=/data/upper,workdir=/data/work
        br:/data/upper=rw:2=ro+wh:1=ro+wh:0=ro+wh,dio,xino=/data/xino
        ");
    }

    #[test]
    fn a_folder_whose_name_would_be_read_as_options_is_refused() {
        for name in ["/a,b", "/a:b", "/a b", "/a\\b"] {
            let path = PathBuf::from(name);
            let (lowers, upper, work, root) = (path.clone(), path.join("upper"), path.clone(), path);
            let union = Union { kind: UnionKind::Overlay, lowers, layers: 1, upper, work, root };
            let refused = union.mount(false).unwrap_err().message;
            assert!(refused.contains("choose a --data folder without it"), "{refused}");
        }
    }

    #[test]
    fn the_options_of_the_most_layers_fit_a_page() {
        let long = PathBuf::from("/").join("x".repeat(250));
        for kind in [UnionKind::Overlay, UnionKind::Aufs] {
            let union = Union {
                kind,
                lowers: long.clone(),
                layers: super::super::LAYERS_MAX,
                upper: long.clone(),
                work: long.clone(),
                root: long.clone(),
            };
            assert!(union.options(true).len() < 4096, "{:?}", union.kind);
        }
    }
}
