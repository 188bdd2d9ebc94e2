//! Finding a guest's kernel and its modules: the one that was named, one that `plimsoll setup qemu` fetched, or the
//! host's own. It reads files only; fetching is the business of `setup`.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use crate::sample::Failure;

/// What to do when there is no kernel.
pub(super) const REMEDY: &str = "plimsoll setup qemu";

/// Name of the kernel image in an entry of the cache.
pub const CACHED_IMAGE: &str = "vmlinuz";
/// Name of the folder with the kernel's modules in an entry of the cache.
pub const CACHED_MODULES: &str = "modules";

/// The cache that root fills and everybody can read.
const SYSTEM_CACHE: &str = "/var/cache/plimsoll/kernels";

/// A kernel that a guest can be started with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kernel {
    /// The image, in the x86 boot protocol's format.
    pub image: PathBuf,
    /// Its release, as `uname -r` will say inside; `None` where the image does not say.
    pub release: Option<String>,
    /// The folder that holds its modules; `None` where there is none: everything must then be built in.
    pub modules: Option<PathBuf>,
}

/// Where fetched kernels lie, one folder per release: `/var/cache/plimsoll/kernels` for root, else
/// `$XDG_CACHE_HOME/plimsoll/kernels` or `~/.cache/plimsoll/kernels`.
#[must_use]
pub fn cache() -> PathBuf {
    let user_cache = || match std::env::var_os("XDG_CACHE_HOME") {
        Some(cache) => PathBuf::from(cache),
        None => PathBuf::from(std::env::var_os("HOME").unwrap_or_else(|| "/tmp".into())).join(".cache"),
    };
    match nix::unistd::geteuid().is_root() {
        true => PathBuf::from(SYSTEM_CACHE),
        false => user_cache().join("plimsoll/kernels"),
    }
}

/// The newest kernel that was fetched: by this user, else by root for everybody.
#[must_use]
pub fn fetched() -> Option<Kernel> {
    [cache(), PathBuf::from(SYSTEM_CACHE)].iter().find_map(|cache| cached_kernels(cache).into_iter().next())
}

/// The kernel for `kernel=NAMED`; where that is empty, the newest of the cache, else the newest of the host's /boot that
/// has its modules.
///
/// # Errors
/// When there is none, or the named file is no kernel image.
pub fn find(named: &str) -> Result<Kernel, Failure> {
    if !named.is_empty() {
        return named_kernel(Path::new(named));
    }
    let found = fetched().or_else(|| host_kernels(Path::new("/boot"), Path::new("/lib/modules")).into_iter().next());
    found.ok_or_else(|| {
        Failure::launch(format!(
            "no guest kernel: none fetched into {}, no readable /boot/vmlinuz-* with its /lib/modules",
            cache().display()
        ))
    })
}

/// A kernel that a person named: its modules are looked for where packages and our cache put them.
fn named_kernel(image: &Path) -> Result<Kernel, Failure> {
    let release = read_release(image)
        .map_err(|error| Failure::launch(format!("kernel {}: {error}; name a bzImage", image.display())))?;
    let folder = image.parent().unwrap_or(Path::new("/"));
    let modules = match &release {
        None => None,
        Some(release) => [
            folder.join(CACHED_MODULES),
            folder.join("../lib/modules").join(release),
            Path::new("/lib/modules").join(release),
        ]
        .into_iter()
        .find(|candidate| candidate.join("kernel").is_dir()),
    };
    Ok(Kernel { image: image.to_owned(), release, modules })
}

/// The kernels of a cache, newest first.
#[must_use]
pub fn cached_kernels(cache: &Path) -> Vec<Kernel> {
    newest_first(cache, "", |entry, _| {
        let (image, modules) = (entry.join(CACHED_IMAGE), entry.join(CACHED_MODULES));
        (modules.is_dir()).then_some((image, modules))
    })
}

/// The host's own kernels that can be read and have their modules, newest first.
fn host_kernels(boot: &Path, modules: &Path) -> Vec<Kernel> {
    newest_first(boot, "vmlinuz-", |image, release| {
        let modules = modules.join(release);
        modules.join("kernel").is_dir().then(|| (image.to_owned(), modules))
    })
}

/// The entries of a folder that begin with `prefix` and are kernels, in falling order of what follows the prefix.
fn newest_first(folder: &Path, prefix: &str, files: impl Fn(&Path, &str) -> Option<(PathBuf, PathBuf)>) -> Vec<Kernel> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut names: Vec<String> = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort_by(|one, other| by_version(other, one));
    let candidates = names.iter().filter_map(|name| Some((name, name.strip_prefix(prefix)?)));
    candidates
        .filter_map(|(name, release)| {
            let (image, modules) = files(&folder.join(name), release)?;
            let release = read_release(&image).ok()?;
            Some(Kernel { image, release, modules: Some(modules) })
        })
        .collect()
}

/// Compares runs of digits as numbers and everything else as text.
fn by_version(one: &str, other: &str) -> std::cmp::Ordering {
    version_parts(one).cmp(&version_parts(other))
}

fn version_parts(text: &str) -> Vec<(u64, &str)> {
    let mut parts = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|character: char| !character.is_ascii_digit()).unwrap_or(rest.len());
        let (number, after) = rest.split_at(digits);
        let words = after.find(|character: char| character.is_ascii_digit()).unwrap_or(after.len());
        let (word, after) = after.split_at(words);
        parts.push((number.parse().unwrap_or(0), word));
        rest = after;
    }
    parts
}

/// The release that a bzImage's header points to (the x86 boot protocol: magic at 0x202, `kernel_version` at 0x20e,
/// relative to 0x200); `None` where the header has no such text.
///
/// # Errors
/// When the file cannot be read or is no bzImage.
fn read_release(image: &Path) -> std::io::Result<Option<String>> {
    let mut file = File::open(image)?;
    let mut header = [0; 0x210];
    let no_kernel = || std::io::Error::new(std::io::ErrorKind::InvalidData, "not a Linux kernel image for x86");
    file.read_exact(&mut header).map_err(|_| no_kernel())?;
    if &header[0x202..0x206] != b"HdrS" {
        return Err(no_kernel());
    }
    let offset = u64::from(u16::from_le_bytes([header[0x20e], header[0x20f]]));
    if offset == 0 {
        return Ok(None);
    }
    let mut text = Vec::new();
    file.seek(SeekFrom::Start(offset + 0x200))?;
    file.take(256).read_to_end(&mut text)?;
    let release: Vec<u8> = text.into_iter().take_while(|byte| byte.is_ascii_graphic()).collect();
    Ok(String::from_utf8(release).ok().filter(|release| !release.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file with nothing of a bzImage but the header's magic and its version text.
    fn image(path: &Path, release: &str) {
        let mut bytes = vec![0; 0x400];
        bytes[0x202..0x206].copy_from_slice(b"HdrS");
        bytes[0x20e..0x210].copy_from_slice(&0x100_u16.to_le_bytes());
        bytes[0x300..0x300 + release.len()].copy_from_slice(release.as_bytes());
        bytes[0x300 + release.len()..][..6].copy_from_slice(b" (x) #");
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    #[test]
    fn the_release_is_read_from_the_image() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vmlinuz");
        image(&path, "6.1.0-9-cloud-amd64");
        assert_eq!(read_release(&path).unwrap().as_deref(), Some("6.1.0-9-cloud-amd64"));
    }

    #[test]
    fn a_file_that_is_no_kernel_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("garbage");
        for content in [&b"no kernel"[..], &[0; 4096]] {
            fs::write(&path, content).unwrap();
            let message = find(&path.display().to_string()).unwrap_err().message;
            assert!(message.contains("garbage: not a Linux kernel image"), "{message}");
        }
    }

    #[test]
    fn the_newest_release_is_chosen_by_number_and_not_by_letter() {
        let folder = tempfile::tempdir().unwrap();
        for release in ["6.1.0-9-cloud-amd64", "6.1.0-56-cloud-amd64", "5.10.0-30-amd64"] {
            image(&folder.path().join(release).join(CACHED_IMAGE), release);
            fs::create_dir_all(folder.path().join(release).join(CACHED_MODULES)).unwrap();
        }
        fs::create_dir_all(folder.path().join("7.0.0-half-fetched")).unwrap();
        let releases: Vec<_> = cached_kernels(folder.path()).into_iter().filter_map(|kernel| kernel.release).collect();
        assert_eq!(releases, ["6.1.0-56-cloud-amd64", "6.1.0-9-cloud-amd64", "5.10.0-30-amd64"]);
    }

    #[test]
    fn a_host_kernel_without_its_modules_is_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let (boot, modules) = (folder.path().join("boot"), folder.path().join("modules"));
        image(&boot.join("vmlinuz-6.2.0"), "6.2.0");
        image(&boot.join("vmlinuz-6.1.0"), "6.1.0");
        fs::create_dir_all(modules.join("6.1.0/kernel")).unwrap();
        let found = host_kernels(&boot, &modules);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].release.as_deref(), Some("6.1.0"));
    }

    #[test]
    fn a_named_kernel_finds_the_modules_of_the_package_that_it_lies_in() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("boot/vmlinuz-6.1.0");
        image(&path, "6.1.0");
        fs::create_dir_all(folder.path().join("lib/modules/6.1.0/kernel")).unwrap();
        let kernel = find(&path.display().to_string()).unwrap();
        assert_eq!(kernel.modules, Some(folder.path().join("boot/../lib/modules/6.1.0")));
    }
}
