//! What a test needs that this machine may lack: a skip has a printed reason, and CI can forbid it.
//!
//! Used as `mod support;` from a file in `tests/`:
//!
//! ```text
//! if !support::require("docker") { return; }
//! ```

#![allow(dead_code, reason = "each test file uses a part")]
#![allow(clippy::print_stderr, reason = "a skip has a printed reason")]

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::sync::OnceLock;

use plimsoll::environment::Environment;
use plimsoll::launch::{Usability, engines};
use plimsoll::probe::examine;

/// Whether the machine has what a test needs: `root`, `userns`, `private-docker` (a run would start a Docker engine of
/// its own), `fuse-overlayfs`, `loop` (loop devices can be made), or an environment such as `docker` or `qemu/sandbox`.
///
/// If not, the test must return: the reason is printed and appended to the file named by `PLIMSOLL_SKIPS`.
///
/// # Panics
/// When it is missing and `PLIMSOLL_REQUIRE` (a comma list) names it.
#[must_use]
pub(crate) fn require(what: &str) -> bool {
    let Some(reason) = lack(what) else { return true };
    assert!(!demanded(what), "PLIMSOLL_REQUIRE names {what}, but {reason}");
    let thread = std::thread::current();
    let line = format!("SKIPPED: {}: {what}: {reason}", thread.name().unwrap_or("?"));
    eprintln!("{line}");
    if let Some(path) = std::env::var_os("PLIMSOLL_SKIPS") {
        let mut file =
            OpenOptions::new().create(true).append(true).open(&path).expect("PLIMSOLL_SKIPS must be writable");
        writeln!(file, "{line}").expect("PLIMSOLL_SKIPS must be writable");
    }
    false
}

/// The outermost engine's name is what CI demands: `qemu` demands `qemu/sandbox`. Where root is demanded, so is the
/// sandbox, which needs nothing else.
fn demanded(what: &str) -> bool {
    let engine = what.split(['/', ':']).next().unwrap_or(what);
    let demands = |one: &str| one == engine || (one == "root" && engine == "sandbox");
    std::env::var("PLIMSOLL_REQUIRE").is_ok_and(|list| list.split(',').any(|one| demands(one.trim())))
}

/// Why the machine lacks it; `None` if it does not.
pub(crate) fn lack(what: &str) -> Option<String> {
    match what {
        "root" => (!nix::unistd::Uid::effective().is_root()).then(|| "not root".to_owned()),
        "userns" => userns_lack(),
        "loop" => lack("root").or_else(loop_lack),
        "private-docker" => private_docker_lack(),
        "fuse-overlayfs" => {
            let missing = plimsoll::launch::process::find_program(what).is_none();
            missing.then(|| format!("{what} is not installed"))
        }
        environment => engine_lack(environment),
    }
}

fn userns_lack() -> Option<String> {
    let forbidden = |path: &str| std::fs::read_to_string(path).is_ok_and(|text| text.trim() == "0");
    let closed = ["/proc/sys/user/max_user_namespaces", "/proc/sys/kernel/unprivileged_userns_clone"];
    closed.iter().find(|path| forbidden(path)).map(|path| format!("{path} is 0"))
}

#[allow(clippy::disallowed_methods, reason = "a tool says whether there are loop devices")]
fn loop_lack() -> Option<String> {
    match Command::new("losetup").arg("--find").output() {
        Err(error) => Some(format!("losetup cannot be run: {error}")),
        Ok(said) if said.status.success() => None,
        Ok(said) => Some(String::from_utf8_lossy(&said.stderr).trim().to_owned()),
    }
}

/// Whether a run would have to use an engine that is not its own, or none.
fn private_docker_lack() -> Option<String> {
    const SYSTEM_SOCKET: &str = "/var/run/docker.sock";
    if std::env::var_os("DOCKER_HOST").is_some() {
        return Some("DOCKER_HOST is set".to_owned());
    }
    if UnixStream::connect(SYSTEM_SOCKET).is_ok() {
        return Some(format!("the host's engine answers at {SYSTEM_SOCKET}"));
    }
    lack("root").or_else(|| lack("docker"))
}

fn engine_lack(name: &str) -> Option<String> {
    match doctor().iter().find(|one| one["name"] == name) {
        Some(said) if said["usable"] == true => None,
        Some(said) => Some(said["why"].as_str().unwrap_or("the doctor does not say why").to_owned()),
        None => unlisted_lack(name),
    }
}

/// What the program itself says of every environment without options. Not asked in this process: an engine that tries a
/// container executes itself, and a test is no program that could enclose anything.
#[allow(clippy::disallowed_methods, reason = "the program under test is a process")]
fn doctor() -> &'static [serde_json::Value] {
    static SAID: OnceLock<Vec<serde_json::Value>> = OnceLock::new();
    SAID.get_or_init(|| {
        let arguments = ["doctor", "--format", "json"];
        let output = Command::new(env!("CARGO_BIN_EXE_plimsoll")).args(arguments).output().expect("plimsoll starts");
        let said: serde_json::Value = serde_json::from_slice(&output.stdout).expect("the doctor speaks JSON");
        said["environments"].as_array().expect("the doctor lists environments").clone()
    })
}

fn unlisted_lack(name: &str) -> Option<String> {
    let environment = match Environment::parse(name, &engines::abouts()) {
        Ok(environment) => environment,
        Err(errors) => return Some(errors.iter().map(ToString::to_string).collect::<Vec<String>>().join("; ")),
    };
    match examine(&[environment]).pop()?.usability {
        Usability::Usable { .. } => None,
        Usability::Unusable { why, .. } => Some(why),
    }
}
