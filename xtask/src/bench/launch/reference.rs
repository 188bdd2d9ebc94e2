//! The containers that we are compared with: plain `runc run` and `docker run --rm -i`, on the same root, with the same
//! namespaces and limits, and with everything that a run of ours makes once made before.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use anyhow::{Context, Result};
use serde_json::Value;

use super::child::seconds_to_hello;
use super::{MEMORY_BYTES, Ours, unique_name};
use crate::bench::Pair;
use crate::tools;

/// Where the bundle has the executable.
const AGENT: &str = "/plimsoll/plimsoll";

/// `sandbox` beside `runc run` of the bundle that `sandbox` would get, on a plain folder.
pub(super) fn runc<'a>(ours: &Rc<Ours>) -> Result<Pair<'a>> {
    let cpus = ours.launch("sandbox")?.cpus;
    let bundle = bundle(ours)?;
    confine(&bundle.join("config.json"), &cpus)?;
    let (bundle, state) = (text(&bundle)?, text(&ours.folder.join("runc"))?);
    let count = Cell::new(0_u32);
    let theirs = move || {
        count.set(count.get() + 1);
        let id = format!("{}-{}", unique_name(), count.get());
        let command = tools::program("runc", &["--root", &state, "run", "--bundle", &bundle, &id]);
        seconds_to_hello(command, &["runc", "--root", &state, "delete", "--force", &id])
    };
    Ok(Pair { name: "sandbox / runc run".to_owned(), ours: ours.way("sandbox"), theirs: Box::new(theirs) })
}

/// `docker` beside `docker run --rm -i` of an image with the same root.
pub(super) fn docker<'a>(ours: &Rc<Ours>) -> Result<Pair<'a>> {
    let cpus = ours.launch("docker")?.cpus;
    let image = Image::import(ours)?;
    let memory = MEMORY_BYTES.to_string();
    let count = Cell::new(0_u32);
    let theirs = move || {
        count.set(count.get() + 1);
        let name = format!("{}-{}", unique_name(), count.get());
        let run = ["run", "--rm", "-i", "--name", &name, "--network", "none", "--log-driver", "none"];
        let limits = ["--cpuset-cpus", &cpus, "--memory", &memory, "--memory-swap", &memory];
        let words = [&run[..], &limits, &["--workdir", "/", &image.0, AGENT, "agent"]].concat();
        seconds_to_hello(tools::program("docker", &words), &["docker", "rm", "--force", &name])
    };
    Ok(Pair { name: "docker / docker run".to_owned(), ours: ours.way("docker"), theirs: Box::new(theirs) })
}

/// The bundle, written by whoever needs it first.
fn bundle(ours: &Ours) -> Result<PathBuf> {
    let folder = ours.folder.join("bundle");
    if !folder.exists() {
        let (memory, cgroup) = (MEMORY_BYTES.to_string(), format!("/{}", unique_name()));
        let words = ["oci-bundle", &text(&folder)?, "--cgroup", &cgroup, "--memory-bytes", &memory];
        tools::output_of(tools::program(&ours.plimsoll, &words))?;
    }
    Ok(folder)
}

/// Puts the container on the CPUs that ours is put on by the pen around it.
fn confine(path: &Path, cpus: &str) -> Result<()> {
    let written = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut config: Value = serde_json::from_str(&written).context("the bundle's config.json is no JSON")?;
    config["linux"]["resources"]["cpu"]["cpus"] = cpus.into();
    std::fs::write(path, config.to_string()).with_context(|| format!("cannot write {}", path.display()))
}

/// An image that is removed when this is dropped.
struct Image(String);

impl Image {
    fn import(ours: &Ours) -> Result<Self> {
        let (root, archive) = (text(&bundle(ours)?.join("rootfs"))?, text(&ours.folder.join("image.tar"))?);
        tools::output_of(tools::program("tar", &["-C", &root, "-cf", &archive, "."]))?;
        let image = Self(format!("{}:1", unique_name()));
        tools::output_of(tools::program("docker", &["import", &archive, &image.0]))?;
        Ok(image)
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        tools::succeeds(tools::program("docker", &["rmi", "--force", &self.0]));
    }
}

fn text(path: &Path) -> Result<String> {
    Ok(path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))?.to_owned())
}
