//! What a guest's memory holds when its kernel starts: the agent's bundle, the modules without which the kernel sees no
//! virtio device, and a manifest for the init inside ([`crate::guest`]).

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use super::arguments::{Machine, PORT_NAME};
use super::drive::Drive;
use super::kernel::Kernel;
use super::modules::{self, Module};
use crate::guest::manifest::{DataDisk, Leave, MANIFEST_PATH, MODULES_PATH, Manifest};
use crate::launch::bundle::{Bundle, Content, Item};
use crate::sample::Failure;

/// Modules that every guest needs beside its transport and its disk's. The overlay is what containers inside stand on.
const MODULES: &[&str] = &["virtio_console", "overlay"];
/// Filesystem of the data disk; built into Debian's kernels, a module elsewhere.
pub(super) const DATA_FILESYSTEM: &str = "ext4";

/// Writes the initramfs of a guest with this data disk, or with its data in memory.
///
/// # Errors
/// When a module is missing or a file cannot be read or written.
pub(super) fn write(
    agent: &Bundle,
    kernel: &Kernel,
    machine: Machine,
    drive: Option<&Drive>,
    path: &Path,
) -> Result<(), Failure> {
    let bundle = contents(agent, kernel, machine, drive)?;
    let named = |failure: Failure| failure.while_doing(&format!("initramfs {}", path.display()));
    let file = File::create(path).map_err(|error| named(error.into()))?;
    let mut writer = BufWriter::with_capacity(1 << 20, file);
    bundle.write_newc(&mut writer).map_err(named)?;
    writer.flush().map_err(|error| named(error.into()))
}

fn contents(agent: &Bundle, kernel: &Kernel, machine: Machine, drive: Option<&Drive>) -> Result<Bundle, Failure> {
    let mut names = vec![machine.transport_module()];
    names.extend(MODULES);
    if let Some(drive) = drive {
        names.extend(drive.modules());
        names.push(DATA_FILESYSTEM);
    }
    let modules = modules::with_dependencies(kernel, &names)?;
    let mut bundle = agent.clone();
    // The kernel opens it for init's standard streams before anything is mounted.
    bundle.add(Item { path: "/dev/console".into(), mode: 0o600, content: Content::Device { major: 5, minor: 1 } });
    let manifest = manifest(&modules, machine, drive);
    let text =
        serde_json::to_vec(&manifest).map_err(|error| Failure::launch(format!("the guest's manifest: {error}")))?;
    bundle.add(Item { path: MANIFEST_PATH.into(), mode: 0o644, content: Content::Bytes(text) });
    for (module, path) in modules.into_iter().zip(manifest.modules) {
        bundle.add(Item { path, mode: 0o644, content: Content::Bytes(module.bytes) });
    }
    Ok(bundle)
}

fn manifest(modules: &[Module], machine: Machine, drive: Option<&Drive>) -> Manifest {
    Manifest {
        modules: modules.iter().map(|module| format!("{MODULES_PATH}/{}.ko", module.name)).collect(),
        port: PORT_NAME.to_owned(),
        data_disk: drive
            .map(|drive| DataDisk { device: drive.device().to_owned(), filesystem: DATA_FILESYSTEM.to_owned() }),
        leave: match machine {
            Machine::Q35 => Leave::PowerOff,
            Machine::Microvm => Leave::Restart,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;
    use crate::environment::Environment;
    use crate::launch::engines::abouts;

    /// The initramfs of a guest of this name, and what its manifest says; `None` without a kernel.
    fn guest(name: &str) -> Option<(Bundle, Manifest)> {
        let kernel = testing::kernel()?;
        let drive = Drive::of(&Environment::parse(name, &abouts()).unwrap().stack()[0]);
        let bundle = contents(&Bundle::default(), &kernel, Machine::Q35, drive.as_ref()).unwrap();
        let manifest = bundle.items().iter().find(|item| item.path == MANIFEST_PATH).unwrap();
        let Content::Bytes(text) = &manifest.content else { panic!("{manifest:?}") };
        let manifest = serde_json::from_slice(text).unwrap();
        Some((bundle, manifest))
    }

    #[test]
    fn a_guest_gets_the_modules_of_its_disk_alone() {
        for (name, device, module) in [("qemu", Some("/dev/vda"), "virtio_blk"), ("qemu:disk=initramfs", None, "")] {
            let Some((_, manifest)) = guest(name) else { return };
            assert_eq!(manifest.data_disk.map(|disk| disk.device).as_deref(), device);
            let has = |module: &str| manifest.modules.iter().any(|path| path.ends_with(&format!("/{module}.ko")));
            assert_eq!(has("virtio_blk"), module == "virtio_blk");
            assert!(!has("virtio_scsi"));
        }
        let Some((_, manifest)) = guest("qemu:bus=virtio-scsi") else { return };
        assert_eq!(manifest.data_disk.unwrap().device, "/dev/sda");
        assert!(manifest.modules.iter().any(|path| path.ends_with("/sd_mod.ko")), "{:?}", manifest.modules);
    }

    #[test]
    fn a_guest_gets_its_transport_first_and_the_host_s_names() {
        let Some((bundle, manifest)) = guest("qemu") else { return };
        let at = |name: &str| manifest.modules.iter().position(|path| path.ends_with(&format!("/{name}.ko")));
        assert!(at("virtio") < at("virtio_pci") && at("virtio_pci") < at("virtio_blk"), "{:?}", manifest.modules);
        assert!(at("virtio_console").is_some() && at("overlay").is_some());
        let inside = |path: &String| bundle.items().iter().any(|item| item.path == *path);
        assert!(manifest.modules.iter().all(inside));
        assert_eq!(manifest.port, PORT_NAME);
    }
}
