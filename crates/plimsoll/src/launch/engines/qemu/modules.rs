//! Which module files a guest must load, in which order. An unpacked package has no modules.dep, so the dependencies
//! are read where depmod reads them: in each module's `.modinfo` section.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use goblin::elf::Elf;

use super::kernel::Kernel;
use super::unpack;
use crate::sample::Failure;

/// Deepest folder that is searched below the modules' own.
const DEPTH_MAX: usize = 16;

/// A module, ready to be loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Module {
    /// Its name, with underscores.
    pub(super) name: String,
    /// The ELF file, uncompressed.
    pub(super) bytes: Vec<u8>,
}

/// The modules of these names with everything that they need, in an order in which they can be loaded. Those that are
/// built into the kernel are left out.
///
/// # Errors
/// When one is neither built in nor there, or its file cannot be read.
pub(super) fn with_dependencies(kernel: &Kernel, names: &[&str]) -> Result<Vec<Module>, Failure> {
    let Some(folder) = &kernel.modules else { return Ok(Vec::new()) };
    let mut closure = Closure {
        folder,
        files: module_files(folder),
        built_in: built_in(folder),
        seen: BTreeSet::new(),
        order: Vec::new(),
    };
    for name in names {
        closure.visit(name)?;
    }
    Ok(closure.order)
}

struct Closure<'a> {
    folder: &'a Path,
    files: BTreeMap<String, PathBuf>,
    built_in: BTreeSet<String>,
    seen: BTreeSet<String>,
    order: Vec<Module>,
}

impl Closure<'_> {
    /// Dependencies first; a circle, which the kernel's build would refuse, ends at what was seen.
    fn visit(&mut self, name: &str) -> Result<(), Failure> {
        let name = name.replace('-', "_");
        if self.built_in.contains(&name) || !self.seen.insert(name.clone()) {
            return Ok(());
        }
        let Some(file) = self.files.get(&name) else {
            let folder = self.folder.display();
            return Err(Failure::launch(format!(
                "the guest needs kernel module `{name}`, which {folder} does not hold"
            )));
        };
        let bytes = read_module(file)?;
        let refused = |error: String| Failure::launch(format!("{}: {error}", file.display()));
        for needed in dependencies(&bytes).map_err(refused)? {
            self.visit(&needed)?;
        }
        self.order.push(Module { name, bytes });
        Ok(())
    }
}

/// Every module file below a folder, by the module's name.
fn module_files(folder: &Path) -> BTreeMap<String, PathBuf> {
    let mut files = BTreeMap::new();
    let mut folders = vec![(folder.to_owned(), 0)];
    while let Some((folder, depth)) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            // `build` and `source` are links out of the tree and are not followed.
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) && depth < DEPTH_MAX {
                folders.push((path, depth + 1));
            } else if let Some(name) = module_name(&path) {
                files.insert(name, path);
            }
        }
    }
    files
}

/// `virtio_rng` of `.../virtio-rng.ko.xz`; `None` for what is no module.
fn module_name(path: &Path) -> Option<String> {
    let (name, rest) = path.file_name()?.to_str()?.split_once(".ko")?;
    matches!(rest, "" | ".xz" | ".zst" | ".gz").then(|| name.replace('-', "_"))
}

/// Names in modules.builtin; none where there is no such file.
fn built_in(folder: &Path) -> BTreeSet<String> {
    let list = fs::read_to_string(folder.join("modules.builtin")).unwrap_or_default();
    list.lines().filter_map(|line| module_name(Path::new(line))).collect()
}

fn read_module(file: &Path) -> Result<Vec<u8>, Failure> {
    let read = unpack::read(file).and_then(|bytes| unpack::elf(&bytes));
    read.map_err(|error| Failure::from(error).while_doing(&file.display().to_string()))
}

/// Names after `depends=` in a module's `.modinfo` section.
fn dependencies(module: &[u8]) -> Result<Vec<String>, String> {
    let elf = Elf::parse(module).map_err(|error| format!("not a kernel module: {error}"))?;
    let named = |name: Option<&str>| name == Some(".modinfo");
    let section = elf.section_headers.iter().find(|section| named(elf.shdr_strtab.get_at(section.sh_name)));
    let range = section.and_then(|section| section.file_range());
    let text = range.and_then(|range| module.get(range)).ok_or("no .modinfo section: not a kernel module")?;
    let mut entries = text.split(|byte| *byte == 0).filter_map(|entry| std::str::from_utf8(entry).ok());
    let depends = entries.find_map(|entry| entry.strip_prefix("depends=")).unwrap_or_default();
    Ok(depends.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The smallest 64-bit ELF file that has a `.modinfo` section.
    fn module(depends: &str) -> Vec<u8> {
        let modinfo = format!("license=GPL\0depends={depends}\0");
        let names = b"\0.modinfo\0.shstrtab\0";
        let names_at = 64 + modinfo.len();
        let headers_at = names_at + names.len();
        let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
        for (value, bytes) in [(1, 2), (62, 2), (1, 4), (0, 8), (0, 8), (headers_at, 8), (0, 4), (64, 2)] {
            file.extend(&(value as u64).to_le_bytes()[..bytes]);
        }
        for (value, bytes) in [(0, 2), (0, 2), (64, 2), (3, 2), (2, 2)] {
            file.extend(&(value as u64).to_le_bytes()[..bytes]);
        }
        file.extend(modinfo.as_bytes());
        file.extend(names);
        for (name, kind, offset, size) in [(0, 0, 0, 0), (1, 1, 64, modinfo.len()), (10, 3, names_at, names.len())] {
            for (value, bytes) in [(name, 4), (kind, 4), (0, 8), (0, 8), (offset, 8), (size, 8)] {
                file.extend(&(value as u64).to_le_bytes()[..bytes]);
            }
            file.extend([0; 24]);
        }
        file
    }

    /// A modules folder with files of these names and dependencies.
    fn kernel(modules: &[(&str, &str)], built_in: &str) -> (tempfile::TempDir, Kernel) {
        let folder = tempfile::tempdir().unwrap();
        for (path, depends) in modules {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, module(depends)).unwrap();
        }
        fs::write(folder.path().join("modules.builtin"), built_in).unwrap();
        let kernel = Kernel { image: "k".into(), release: None, modules: Some(folder.path().to_owned()) };
        (folder, kernel)
    }

    fn names(kernel: &Kernel, wanted: &[&str]) -> Result<Vec<String>, String> {
        let modules = with_dependencies(kernel, wanted).map_err(|failure| failure.message)?;
        Ok(modules.into_iter().map(|module| module.name).collect())
    }

    #[test]
    fn what_is_needed_comes_first_and_once() {
        let files = [
            ("kernel/a/virtio_pci.ko", "virtio,virtio-ring"),
            ("kernel/b/virtio_blk.ko", "virtio_ring"),
            ("kernel/virtio-ring.ko", "virtio"),
            ("kernel/virtio.ko", ""),
        ];
        let (_folder, kernel) = kernel(&files, "");
        assert_eq!(
            names(&kernel, &["virtio_pci", "virtio_blk"]).unwrap(),
            ["virtio", "virtio_ring", "virtio_pci", "virtio_blk"]
        );
    }

    #[test]
    fn what_is_built_in_is_not_loaded() {
        let (_folder, kernel) = kernel(&[("kernel/virtio_blk.ko", "virtio")], "kernel/drivers/virtio/virtio.ko\n");
        assert_eq!(names(&kernel, &["virtio_blk"]).unwrap(), ["virtio_blk"]);
    }

    #[test]
    fn a_module_that_is_nowhere_is_named() {
        let (_folder, kernel) = kernel(&[("kernel/virtio_blk.ko", "virtio")], "");
        assert!(names(&kernel, &["virtio_blk"]).unwrap_err().contains("kernel module `virtio`"));
    }

    #[test]
    fn a_compressed_module_is_unpacked() {
        let (folder, kernel) = kernel(&[], "");
        let packed = ruzstd::encoding::compress_to_vec(&module("")[..], ruzstd::encoding::CompressionLevel::Fastest);
        fs::write(folder.path().join("one.ko.zst"), packed).unwrap();
        assert_eq!(with_dependencies(&kernel, &["one"]).unwrap()[0].bytes, module(""));
    }

    #[test]
    fn a_file_that_is_no_module_is_refused_by_name() {
        let (folder, kernel) = kernel(&[], "");
        fs::write(folder.path().join("three.ko"), b"text").unwrap();
        assert!(names(&kernel, &["three"]).unwrap_err().contains("three.ko: neither ELF nor packed"));
    }
}
