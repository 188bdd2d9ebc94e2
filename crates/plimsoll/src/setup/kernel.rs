//! Fetching a guest's kernel: the distribution's cloud kernel is downloaded and unpacked into our cache. It is never
//! installed, since that would touch the host's boot loader.
//!
//! An entry of the cache appears complete or not at all. Only Debian and its package manager are known here; elsewhere
//! the host's own kernel or `qemu:kernel=PATH` serves.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::launch::engines::qemu::kernel::{CACHED_IMAGE, CACHED_MODULES, Kernel, cache, cached_kernels, fetched};
use crate::launch::process::{find_program, run_tool_for_its_output};
use crate::sample::Failure;

/// How long one call of the package manager may take; the package is about 27 MB.
const FETCH_TIME_MAX: Duration = Duration::from_secs(300);
/// How long unpacking may take.
const UNPACK_TIME_MAX: Duration = Duration::from_secs(120);

/// The newest kernel that was fetched before, by us or by root for everybody; fetched now if there is none.
///
/// # Errors
/// When this is no Debian, the package cannot be had, or the cache cannot be written.
pub fn fetched_kernel(interrupted: fn() -> bool) -> Result<Kernel, Failure> {
    fetched().map_or_else(|| fetch(&cache(), interrupted), Ok)
}

fn fetch(cache: &Path, interrupted: fn() -> bool) -> Result<Kernel, Failure> {
    if let Some(missing) = ["apt-get", "apt-cache", "dpkg-deb"].into_iter().find(|tool| find_program(tool).is_none()) {
        return Err(Failure::launch(format!(
            "cannot fetch a guest kernel: `{missing}` is missing, and only Debian's package manager is known; name a kernel \
             with `qemu:kernel=PATH`"
        )));
    }
    let draft = Draft::make(cache)?;
    let package = download(&draft.0, interrupted)?;
    let unpacked = draft.0.join("unpacked");
    let (from, to) = (package.display().to_string(), unpacked.display().to_string());
    run_tool_for_its_output(&["dpkg-deb", "-x", &from, &to], UNPACK_TIME_MAX, interrupted)?;
    let release = assemble(&unpacked, &draft.0.join("entry"))?;
    let entry = cache.join(&release);
    match fs::rename(draft.0.join("entry"), &entry) {
        // Somebody else was faster; theirs is as good.
        Err(_) if entry.join(CACHED_MODULES).is_dir() => {}
        renamed => renamed.map_err(|error| Failure::from(error).while_doing(&entry.display().to_string()))?,
    }
    let mut found = cached_kernels(cache).into_iter().filter(|kernel| kernel.image.starts_with(&entry));
    found.next().ok_or_else(|| Failure::launch(format!("{}: the package held no usable kernel", entry.display())))
}

/// A folder for one attempt, gone at its end.
struct Draft(PathBuf);

impl Draft {
    fn make(cache: &Path) -> Result<Self, Failure> {
        let named = |error: std::io::Error| Failure::from(error).while_doing(&cache.display().to_string());
        fs::create_dir_all(cache).map_err(named)?;
        for left in fs::read_dir(cache).map_err(named)?.flatten() {
            let owner = left.file_name().to_str().and_then(|name| name.strip_prefix(".draft-")).map(str::to_owned);
            if owner.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
                fs::remove_dir_all(left.path()).map_err(named)?;
            }
        }
        let draft = cache.join(format!(".draft-{}", std::process::id()));
        fs::create_dir(&draft).map_err(named)?;
        Ok(Self(draft))
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // What stays behind is removed by the next attempt.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Downloads the package that the cloud kernel's metapackage depends on; refreshes the package lists if they are too old.
fn download(folder: &Path, interrupted: fn() -> bool) -> Result<PathBuf, Failure> {
    let attempt = || {
        let package = newest_package(interrupted)?;
        let chdir = format!("--chdir={}", folder.display());
        // As root, the download would otherwise run as a user who cannot write here, and warn about it.
        let argv = ["env", &chdir, "apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", &package];
        run_tool_for_its_output(&argv, FETCH_TIME_MAX, interrupted)
    };
    if let Err(failure) = attempt() {
        if !nix::unistd::geteuid().is_root() {
            return Err(failure.while_doing("cannot download a guest kernel; `apt-get update` as root may help"));
        }
        run_tool_for_its_output(&["apt-get", "-q", "update"], FETCH_TIME_MAX, interrupted)?;
        attempt()?;
    }
    let mut files = fs::read_dir(folder)?.flatten().map(|entry| entry.path());
    files
        .find(|file| file.extension().is_some_and(|extension| extension == "deb"))
        .ok_or_else(|| Failure::launch("`apt-get download` left no package behind"))
}

fn newest_package(interrupted: fn() -> bool) -> Result<String, Failure> {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let meta = format!("linux-image-cloud-{architecture}");
    let said = run_tool_for_its_output(&["apt-cache", "depends", "--important", &meta], FETCH_TIME_MAX, interrupted)?;
    dependency(&said).map(str::to_owned).ok_or_else(|| {
        Failure::launch(format!("package `{meta}` is not known here; name a kernel with `qemu:kernel=PATH`"))
    })
}

/// The kernel's package among what `apt-cache depends` says.
fn dependency(said: &str) -> Option<&str> {
    said.lines().filter_map(|line| line.trim().strip_prefix("Depends: ")).find(|name| name.starts_with("linux-image-"))
}

/// Moves image and modules out of an unpacked package into an entry of the cache; returns the release.
fn assemble(unpacked: &Path, entry: &Path) -> Result<String, Failure> {
    let no_kernel = || Failure::launch("the package holds no kernel with its modules");
    let files = fs::read_dir(unpacked.join("boot")).map_err(|_| no_kernel())?;
    let release =
        files.flatten().find_map(|file| Some(file.file_name().to_str()?.strip_prefix("vmlinuz-")?.to_owned()));
    let release = release.ok_or_else(no_kernel)?;
    let modules = ["lib/modules", "usr/lib/modules"].into_iter().map(|folder| unpacked.join(folder).join(&release));
    let modules = modules.into_iter().find(|folder| folder.is_dir()).ok_or_else(no_kernel)?;
    fs::create_dir(entry)?;
    fs::rename(unpacked.join("boot").join(format!("vmlinuz-{release}")), entry.join(CACHED_IMAGE))?;
    fs::rename(modules, entry.join(CACHED_MODULES))?;
    Ok(release)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_s_package_is_what_the_metapackage_depends_on() {
        let said = "linux-image-cloud-amd64\n  Depends: linux-image-6.1.0-56-cloud-amd64\n";
        assert_eq!(dependency(said), Some("linux-image-6.1.0-56-cloud-amd64"));
        assert_eq!(dependency("linux-image-cloud-amd64\n"), None);
    }

    #[test]
    fn an_entry_holds_image_and_modules_under_names_without_the_release() {
        for modules in ["lib/modules/6.1.0", "usr/lib/modules/6.1.0"] {
            let folder = tempfile::tempdir().unwrap();
            let unpacked = folder.path().join("unpacked");
            fs::create_dir_all(unpacked.join("boot")).unwrap();
            fs::create_dir_all(unpacked.join(modules).join("kernel")).unwrap();
            fs::write(unpacked.join("boot/System.map-6.1.0"), "").unwrap();
            fs::write(unpacked.join("boot/vmlinuz-6.1.0"), "image").unwrap();
            let entry = folder.path().join("entry");
            assert_eq!(assemble(&unpacked, &entry).unwrap(), "6.1.0");
            assert_eq!(fs::read_to_string(entry.join(CACHED_IMAGE)).unwrap(), "image");
            assert!(entry.join(CACHED_MODULES).join("kernel").is_dir());
        }
    }

    #[test]
    fn a_package_without_a_kernel_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        assert!(assemble(folder.path(), &folder.path().join("entry")).is_err());
    }

    #[test]
    fn what_a_killed_attempt_left_is_removed_by_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let left = folder.path().join(".draft-4194305");
        fs::create_dir(&left).unwrap();
        let draft = Draft::make(folder.path()).unwrap();
        assert!(!left.exists());
        let made = draft.0.clone();
        assert!(made.is_dir());
        drop(draft);
        assert!(!made.exists());
    }
}
