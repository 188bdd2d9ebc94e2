//! The ELF closure of a program: its interpreter and the shared libraries that the dynamic linker would load.
//!
//! The order of search is ld.so's (ld.so(8)) without LD_LIBRARY_PATH: RUNPATH or RPATH of the file that needs the
//! library, the folders of /etc/ld.so.conf, the standard folders. Libraries that a program opens by itself (dlopen)
//! cannot be seen here.

use std::collections::{BTreeSet, VecDeque};
use std::path::{Path, PathBuf};

use goblin::elf::Elf;

use super::{Content, Item, named};
use crate::sample::Failure;

const STANDARD_FOLDERS: [&str; 4] = ["/lib64", "/usr/lib64", "/lib", "/usr/lib"];
/// Libraries of one closure at most: more is a loop.
const LIBRARIES_MAX: usize = 1024;
const INCLUDE_DEPTH_MAX: u32 = 8;

/// What one ELF file says about itself.
struct About {
    interpreter: Option<PathBuf>,
    needed: Vec<String>,
    run_path: Vec<String>,
    /// Machine, and whether 64-bit.
    kind: (u16, bool),
}

/// Interpreter and libraries of a program as items of a bundle, each once; none for a static one.
pub(super) fn libraries(program: &Path) -> Result<Vec<Item>, Failure> {
    let about = read(program)?.ok_or_else(|| {
        Failure::launch(format!("{} is no ELF executable; name the program itself, not a script", program.display()))
    })?;
    let mut items: Vec<Item> = about.interpreter.iter().map(|path| library(path)).collect();
    let mut seen: BTreeSet<String> = about.interpreter.iter().filter_map(|path| file_name(path)).collect();
    let search = Search { configured: folders_of_configuration(Path::new("/etc/ld.so.conf"), 0), kind: about.kind };
    let mut waiting = VecDeque::from([(program.to_owned(), about)]);
    while let Some((needing, about)) = waiting.pop_front() {
        for name in &about.needed {
            if !seen.insert(name.clone()) {
                continue;
            }
            if seen.len() > LIBRARIES_MAX {
                return Err(Failure::launch(format!(
                    "{} needs more than {LIBRARIES_MAX} libraries",
                    program.display()
                )));
            }
            let (path, its) = search.find(name, &needing, &about)?;
            items.push(library(&path));
            items.extend(links_for_the_linker(name, &path));
            waiting.push_back((path, its));
        }
    }
    Ok(items)
}

fn file_name(path: &Path) -> Option<String> {
    path.file_name().map(|name| name.to_string_lossy().into_owned())
}

fn library(path: &Path) -> Item {
    Item { path: path.display().to_string(), mode: 0o755, content: Content::File(path.to_owned()) }
}

/// No linker cache travels with a bundle, so a library outside the folders that every linker knows is linked there.
fn links_for_the_linker(name: &str, path: &Path) -> Vec<Item> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let multiarch = format!("{}-linux-gnu", std::env::consts::ARCH);
    let mut standard = STANDARD_FOLDERS.iter().map(Path::new);
    if standard.any(|standard| folder == standard || folder == standard.join(&multiarch)) {
        return Vec::new();
    }
    let target = path.display().to_string();
    ["/lib64", "/lib"]
        .map(|at| Item { path: format!("{at}/{name}"), mode: 0o777, content: Content::Link(target.clone()) })
        .to_vec()
}

/// Where libraries of one kind are looked for.
struct Search {
    configured: Vec<PathBuf>,
    kind: (u16, bool),
}

impl Search {
    fn find(&self, name: &str, needing: &Path, about: &About) -> Result<(PathBuf, About), Failure> {
        let origin = std::fs::canonicalize(needing).unwrap_or_else(|_| needing.to_owned());
        let origin = origin.parent().unwrap_or(Path::new("/")).to_string_lossy().into_owned();
        let expand = |folder: &String| PathBuf::from(folder.replace("${ORIGIN}", &origin).replace("$ORIGIN", &origin));
        let run_path = about.run_path.iter().map(expand);
        let folders = run_path.chain(self.configured.iter().cloned()).chain(STANDARD_FOLDERS.map(PathBuf::from));
        for path in folders.map(|folder| folder.join(name)).filter(|path| path.is_file()) {
            // A library of another architecture under the same name is passed over, as the linker does.
            if let Some(its) = read(&path)?.filter(|its| its.kind == self.kind) {
                return Ok((path, its));
            }
        }
        Err(Failure::launch(format!("{} needs {name}, which is not installed", needing.display())))
    }
}

/// `None` for a file that is not ELF.
fn read(path: &Path) -> Result<Option<About>, Failure> {
    let bytes = std::fs::read(path).map_err(|error| named(path, error))?;
    let Ok(elf) = Elf::parse(&bytes) else { return Ok(None) };
    let lists = if elf.runpaths.is_empty() { &elf.rpaths } else { &elf.runpaths };
    let run_path = lists.iter().flat_map(|list| list.split(':')).filter(|folder| !folder.is_empty());
    Ok(Some(About {
        interpreter: elf.interpreter.map(PathBuf::from),
        needed: elf.libraries.iter().map(|name| (*name).to_owned()).collect(),
        run_path: run_path.map(str::to_owned).collect(),
        kind: (elf.header.e_machine, elf.is_64),
    }))
}

/// The folders of ld.so.conf and of the files that it includes.
fn folders_of_configuration(file: &Path, depth: u32) -> Vec<PathBuf> {
    if depth > INCLUDE_DEPTH_MAX {
        return Vec::new();
    }
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or("").trim()).filter(|line| !line.is_empty());
    let read = |line: &str| match line.strip_prefix("include ") {
        Some(pattern) => {
            included(file, pattern.trim()).iter().flat_map(|file| folders_of_configuration(file, depth + 1)).collect()
        }
        None => vec![PathBuf::from(line)],
    };
    lines.flat_map(read).collect()
}

/// Files of a pattern whose only wildcard is one `*` in the last part, as distributions write it.
fn included(file: &Path, pattern: &str) -> Vec<PathBuf> {
    let pattern = file.parent().unwrap_or(Path::new("/")).join(pattern);
    let name = file_name(&pattern).unwrap_or_default();
    let Some((start, end)) = name.split_once('*') else { return vec![pattern] };
    let fits = |path: &PathBuf| {
        file_name(path)
            .is_some_and(|name| name.len() >= start.len() + end.len() && name.starts_with(start) && name.ends_with(end))
    };
    let entries = pattern.parent().and_then(|folder| std::fs::read_dir(folder).ok()).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(fits).collect();
    found.sort();
    found
}
