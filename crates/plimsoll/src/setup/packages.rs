//! Which package of which package manager brings which program: a table. It looks at nothing and starts nothing.
//!
//! Tried here: apt on Debian 12. The names for dnf, zypper, pacman and apk are from those distributions' package lists
//! and were not tried.

use super::Step;

/// A package manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manager {
    /// Debian, Ubuntu and their kin.
    Apt,
    /// Fedora and its kin.
    Dnf,
    /// openSUSE.
    Zypper,
    /// Arch.
    Pacman,
    /// Alpine.
    Apk,
}

impl Manager {
    /// All of them, in the order in which they are looked for.
    pub const ALL: &'static [Self] = &[Self::Apt, Self::Dnf, Self::Zypper, Self::Pacman, Self::Apk];

    /// Its program.
    #[must_use]
    pub fn program(self) -> &'static str {
        match self {
            Self::Apt => "apt-get",
            Self::Dnf => "dnf",
            Self::Zypper => "zypper",
            Self::Pacman => "pacman",
            Self::Apk => "apk",
        }
    }

    /// Whether installing with it was tried by Plimsoll's tests.
    #[must_use]
    pub fn tried(self) -> bool {
        self == Self::Apt
    }

    /// The step that installs a package, without its recommendations where the manager knows such a thing.
    #[must_use]
    pub(super) fn install(self, package: &str, program: &str) -> Step {
        let arguments: &[&str] = match self {
            Self::Apt => &["install", "-y", "--no-install-recommends"],
            Self::Dnf => &["install", "-y", "--setopt=install_weak_deps=False"],
            Self::Zypper => &["--non-interactive", "install", "--no-recommends"],
            Self::Pacman => &["-S", "--noconfirm", "--needed"],
            Self::Apk => &["add", "--no-cache"],
        };
        let mut step = self.step(arguments, Some(program.to_owned()));
        step.argv.push(package.to_owned());
        step
    }

    /// The step that refreshes the lists of packages.
    #[must_use]
    pub(super) fn refresh(self) -> Step {
        let arguments: &[&str] = match self {
            Self::Apt | Self::Apk => &["update"],
            Self::Dnf => &["makecache"],
            Self::Zypper => &["--non-interactive", "refresh"],
            Self::Pacman => &["-Sy", "--noconfirm"],
        };
        self.step(arguments, None)
    }

    fn step(self, arguments: &[&str], brings: Option<String>) -> Step {
        let argv = std::iter::once(self.program()).chain(arguments.iter().copied()).map(str::to_owned).collect();
        let quiet = ("DEBIAN_FRONTEND".to_owned(), "noninteractive".to_owned());
        let environment = if self == Self::Apt { vec![quiet] } else { Vec::new() };
        Step { argv, environment, brings, manager: self }
    }
}

/// A program that an engine needs, and what brings it.
#[derive(Debug, Clone)]
pub(super) struct Need {
    /// The program.
    pub(super) program: String,
    /// Package names in the order of [`Manager::ALL`]; empty where that manager's distributions have none.
    packages: [&'static str; 5],
    /// Distributions (`ID` of os-release) to which the table's line is limited, with their manager.
    only: &'static [(Manager, &'static str)],
    /// Where its makers say how to install it.
    upstream: &'static str,
}

/// Where a program comes from on a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    /// This package.
    Package(String),
    /// Nothing that we start; the sentence says where to look.
    ByHand(String),
}

impl Need {
    /// Where it comes from with this manager on this distribution.
    pub(super) fn source(&self, manager: Manager, os_release: &str) -> Source {
        let column = Manager::ALL.iter().position(|known| *known == manager).unwrap_or_default();
        let package = self.packages[column];
        let limits: Vec<&str> = self.only.iter().filter(|(of, _)| *of == manager).map(|(_, id)| *id).collect();
        if package.is_empty() || !(limits.is_empty() || limits.contains(&distribution(os_release))) {
            return Source::ByHand(format!(
                "this distribution has no package with `{}`: see {}",
                self.program, self.upstream
            ));
        }
        Source::Package(package.to_owned())
    }
}

/// `ID` of os-release, such as `debian`.
fn distribution(os_release: &str) -> &str {
    os_release.lines().find_map(|line| line.strip_prefix("ID=")).unwrap_or_default().trim_matches('"')
}

/// The engines that need an installation.
#[must_use]
pub fn engines() -> Vec<&'static str> {
    vec!["docker", "runc", "crun", "gvisor", "qemu"]
}

/// What an engine needs, in the order in which it must be installed; `sandbox` needs nothing.
pub(super) fn needs(engine: &str, architecture: &str) -> Option<(&'static str, Vec<Need>)> {
    let need = |program: &str, packages, upstream| Need { program: program.to_owned(), packages, only: &[], upstream };
    let docker_url = "https://docs.docker.com/engine/install/";
    let gvisor_url = "https://gvisor.dev/docs/user_guide/install/";
    Some(match engine {
        "sandbox" => ("sandbox", Vec::new()),
        "docker" => {
            let dockerd = need("dockerd", ["docker.io", "moby-engine", "docker", "docker", "docker"], docker_url);
            ("docker", vec![Need { only: &[(Manager::Dnf, "fedora")], ..dockerd }])
        }
        "runc" => ("runc", vec![need("runc", ["runc"; 5], "https://github.com/opencontainers/runc")]),
        "crun" => ("crun", vec![need("crun", ["crun"; 5], "https://github.com/containers/crun")]),
        "gvisor" => {
            let runsc = need("runsc", ["runsc", "", "", "", ""], gvisor_url);
            ("gvisor", vec![Need { only: &[(Manager::Apt, "debian")], ..runsc }])
        }
        "qemu" => ("qemu", qemu_needs(architecture)),
        "fuse-overlayfs" => {
            let url = "https://github.com/containers/fuse-overlayfs";
            ("fuse-overlayfs", vec![need("fuse-overlayfs", ["fuse-overlayfs"; 5], url)])
        }
        _ => return None,
    })
}

/// The emulator goes first: on hosts with packages from several releases apt may choose a qemu-utils that conflicts with
/// the emulator, and the emulator's own dependencies decide better.
fn qemu_needs(architecture: &str) -> Vec<Need> {
    let url = "https://www.qemu.org/download/";
    let emulators = match architecture {
        "aarch64" => {
            ["qemu-system-arm", "qemu-system-aarch64-core", "qemu-arm", "qemu-system-aarch64", "qemu-system-aarch64"]
        }
        _ => ["qemu-system-x86", "qemu-system-x86-core", "qemu-x86", "qemu-system-x86", "qemu-system-x86_64"],
    };
    let need = |program: String, packages, upstream| Need { program, packages, only: &[], upstream };
    vec![
        need(format!("qemu-system-{architecture}"), emulators, url),
        need("qemu-img".to_owned(), ["qemu-utils", "qemu-img", "qemu-tools", "qemu-img", "qemu-img"], url),
        need("mkfs.ext4".to_owned(), ["e2fsprogs"; 5], "https://e2fsprogs.sourceforge.net/"),
    ]
}
