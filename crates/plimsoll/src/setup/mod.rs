//! Installs engines through the system's package manager: first a plan, as data that can be printed, then its steps.
//!
//! ```text
//! plan(engines) -> SetupPlan -> shown to the user -> carry_out(plan)        nothing missing: no step, nothing started
//! ```
//!
//! What this deliberately does not do: it installs no kernel package (that would touch the boot loader), adds no
//! package source, and starts no daemon: while packages are installed, Debian's `policy-rc.d` tells their scripts to
//! start nothing, on hosts with and without systemd. A Docker engine that was installed here may be enabled for the
//! next boot by its package; until then Plimsoll starts a private one when it needs one. No run needs this module.

mod carry_out;
pub mod kernel;
mod packages;
mod services;

use std::path::Path;

pub use carry_out::{SetupError, carry_out};
pub use packages::{Manager, engines};
pub use services::remove_leftovers;

use packages::{Need, Source};

use crate::launch::engines::qemu::kernel as guest_kernel;
use crate::launch::process::find_program;

/// What is missing on this host and how it would be installed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SetupPlan {
    /// Programs that are missing, by engine, in the order asked.
    pub missing: Vec<Missing>,
    /// Commands, in order. Empty: nothing that a package manager could do is left to do.
    pub steps: Vec<Step>,
    /// Whether a kernel for guests is fetched into our cache after that; it needs no root and installs nothing.
    pub fetch_kernel: bool,
    /// Sentences for what the package manager of this host does not have.
    pub by_hand: Vec<String>,
    /// Names that are no engines that need an installation.
    pub unknown: Vec<String>,
    /// Whether we may install; otherwise [`SetupPlan::commands`] are for the user, with `sudo`.
    pub root: bool,
}

/// A program that an engine needs and this host lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// The engine.
    pub engine: &'static str,
    /// The program, or [`GUEST_KERNEL`].
    pub program: String,
}

/// What [`Missing::program`] says where qemu has no kernel to boot a guest with.
pub const GUEST_KERNEL: &str = "a guest kernel";

/// One command of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Variables that it is given besides ours.
    pub environment: Vec<(String, String)>,
    /// The program that it brings; the step is left out if an earlier one brought it. `None`: it refreshes lists.
    pub brings: Option<String>,
    /// Whose command it is.
    pub manager: Manager,
}

impl Step {
    /// The command as a shell would take it.
    #[must_use]
    pub fn command(&self) -> String {
        let variables = self.environment.iter().map(|(name, value)| format!("{name}={value}"));
        variables.chain(self.argv.iter().cloned()).collect::<Vec<String>>().join(" ")
    }
}

impl SetupPlan {
    /// Whether nothing is missing (and nothing unknown was asked for).
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.missing.is_empty() && self.unknown.is_empty()
    }

    /// The commands as a user would type them: what a confirmation shows, and what a user without root runs.
    #[must_use]
    pub fn commands(&self) -> Vec<String> {
        let sudo = if self.root { "" } else { "sudo " };
        let installs = self.steps.iter().map(|step| format!("{sudo}{}", step.command()));
        let fetch = self.fetch_kernel.then(|| {
            let cache = guest_kernel::cache();
            format!("plimsoll setup qemu   # unpacks the distribution's cloud kernel into {}", cache.display())
        });
        installs.chain(fetch).collect()
    }

    /// What an engine still lacks, one line, with the command: the remedy that a probe can show.
    #[must_use]
    pub fn summary(&self) -> String {
        if self.is_empty() {
            return "nothing is missing".to_owned();
        }
        let missing: Vec<String> = self.missing.iter().map(|m| format!("{} (for {})", m.program, m.engine)).collect();
        let unknown = self.unknown.iter().map(|name| format!("no engine `{name}` to install"));
        missing.into_iter().chain(unknown).collect::<Vec<String>>().join(", ")
    }
}

/// What is missing for these engines on this host; for all that can be installed where the list is empty.
#[must_use]
pub fn plan(engines: &[&str]) -> SetupPlan {
    Host::here().plan(engines)
}

/// What a plan depends on, so that tests can plan for hosts that we do not have.
struct Host<'a> {
    has_program: &'a dyn Fn(&str) -> bool,
    os_release: String,
    architecture: &'static str,
    docker_socket: bool,
    package_lists: bool,
    guest_kernel: bool,
    root: bool,
}

impl Host<'static> {
    fn here() -> Self {
        Self {
            has_program: &has_program,
            os_release: std::fs::read_to_string("/etc/os-release").unwrap_or_default(),
            architecture: std::env::consts::ARCH,
            docker_socket: std::env::var_os("DOCKER_HOST").is_some() || Path::new("/var/run/docker.sock").exists(),
            package_lists: apt_has_lists(Path::new("/var/lib/apt/lists")),
            guest_kernel: guest_kernel::find("").is_ok(),
            root: nix::unistd::Uid::effective().is_root(),
        }
    }
}

impl Host<'_> {
    fn plan(&self, engines: &[&str]) -> SetupPlan {
        let manager = Manager::ALL.iter().copied().find(|manager| (self.has_program)(manager.program()));
        let mut plan = SetupPlan { root: self.root, ..SetupPlan::default() };
        let all = packages::engines();
        for engine in if engines.is_empty() { &all } else { engines } {
            match packages::needs(engine, self.architecture) {
                Some((engine, needs)) => needs.iter().for_each(|need| self.add(engine, need, manager, &mut plan)),
                None => plan.unknown.push((*engine).to_owned()),
            }
            if *engine == "qemu" && !self.guest_kernel {
                add_kernel(manager, &mut plan);
            }
        }
        let asks_apt = !plan.steps.is_empty() || plan.fetch_kernel;
        if manager == Some(Manager::Apt) && asks_apt && !self.package_lists {
            plan.steps.insert(0, Manager::Apt.refresh());
        }
        plan
    }

    fn add(&self, engine: &'static str, need: &Need, manager: Option<Manager>, plan: &mut SetupPlan) {
        let served = need.program == "dockerd" && self.docker_socket;
        let planned = plan.missing.iter().any(|missing| missing.program == need.program);
        if served || planned || (self.has_program)(&need.program) {
            return;
        }
        plan.missing.push(Missing { engine, program: need.program.clone() });
        match manager.map(|manager| (manager, need.source(manager, &self.os_release))) {
            Some((manager, Source::Package(package))) => plan.steps.push(manager.install(&package, &need.program)),
            Some((_, Source::ByHand(sentence))) => plan.by_hand.push(sentence),
            None => plan.by_hand.push(format!(
                "no package manager that Plimsoll knows was found: install `{}` for {engine} by hand",
                need.program
            )),
        }
    }
}

/// Only Debian's cloud kernel can be fetched; elsewhere the user names one.
fn add_kernel(manager: Option<Manager>, plan: &mut SetupPlan) {
    plan.missing.push(Missing { engine: "qemu", program: GUEST_KERNEL.to_owned() });
    if manager == Some(Manager::Apt) {
        plan.fetch_kernel = true;
    } else {
        plan.by_hand.push(
            "no guest kernel can be fetched on this distribution: install a kernel that everybody may read, or name one with \
             `qemu:kernel=PATH`"
                .to_owned(),
        );
    }
}

fn has_program(name: &str) -> bool {
    find_program(name).is_some()
}

/// Whether `apt-get update` ever ran here (images of containers come without its lists).
fn apt_has_lists(folder: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(folder) else { return false };
    entries.flatten().any(|entry| entry.file_name().to_string_lossy().contains("_Packages"))
}

#[cfg(test)]
mod tests;
