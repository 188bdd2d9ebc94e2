//! Namespaces that the child enters itself.

use std::path::Path;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use super::super::sys::raise_loopback;
use crate::sample::Failure;

/// A private mount namespace, and without root a user namespace around it in which we are root.
pub(super) fn enter(user_namespace: bool) -> Result<(), Failure> {
    if user_namespace {
        let (user, group) = (nix::unistd::geteuid(), nix::unistd::getegid());
        unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS).map_err(|error| {
            Failure::launch(format!(
                "user namespaces are not permitted here ({error}); run as root, or see the sysctls \
                 user.max_user_namespaces, kernel.unprivileged_userns_clone, \
                 kernel.apparmor_restrict_unprivileged_userns"
            ))
        })?;
        write("/proc/self/setgroups", "deny")?;
        write("/proc/self/uid_map", &format!("0 {user} 1"))?;
        write("/proc/self/gid_map", &format!("0 {group} 1"))?;
    } else {
        unshare(CloneFlags::CLONE_NEWNS)
            .map_err(|error| Failure::launch(format!("a mount namespace is refused: {error}")))?;
    }
    let nothing: Option<&str> = None;
    mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_PRIVATE, nothing)
        .map_err(|error| Failure::launch(format!("mounts cannot be made private: {error}")))
}

/// A network namespace with nothing but a loopback that is up, as runtimes give a container without a network.
pub(super) fn enter_network() -> Result<(), Failure> {
    unshare(CloneFlags::CLONE_NEWNET)
        .map_err(|error| Failure::launch(format!("a network namespace is refused: {error}")))?;
    raise_loopback().map_err(|error| Failure::from(error).while_doing("the loopback cannot be brought up"))
}

fn write(path: &str, text: &str) -> Result<(), Failure> {
    std::fs::write(Path::new(path), text).map_err(|error| Failure::from(error).while_doing(path))
}
