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

use plimsoll::environment::Environment;
use plimsoll::launch::{Usability, engines};
use plimsoll::probe::examine;

/// Whether the machine has what a test needs: `root`, `userns`, or an environment such as `docker` or `qemu/sandbox`.
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

/// The outermost engine's name is what CI demands: `qemu` demands `qemu/sandbox`.
fn demanded(what: &str) -> bool {
    let engine = what.split(['/', ':']).next().unwrap_or(what);
    std::env::var("PLIMSOLL_REQUIRE").is_ok_and(|list| list.split(',').any(|one| one.trim() == engine))
}

/// Why the machine lacks it; `None` if it does not.
pub(crate) fn lack(what: &str) -> Option<String> {
    match what {
        "root" => (!nix::unistd::Uid::effective().is_root()).then(|| "not root".to_owned()),
        "userns" => userns_lack(),
        environment => engine_lack(environment),
    }
}

fn userns_lack() -> Option<String> {
    let forbidden = |path: &str| std::fs::read_to_string(path).is_ok_and(|text| text.trim() == "0");
    let closed = ["/proc/sys/user/max_user_namespaces", "/proc/sys/kernel/unprivileged_userns_clone"];
    closed.iter().find(|path| forbidden(path)).map(|path| format!("{path} is 0"))
}

fn engine_lack(name: &str) -> Option<String> {
    let environment = match Environment::parse(name, &engines::abouts()) {
        Ok(environment) => environment,
        Err(errors) => return Some(errors.iter().map(ToString::to_string).collect::<Vec<String>>().join("; ")),
    };
    match examine(&[environment]).pop()?.usability {
        Usability::Usable { .. } => None,
        Usability::Unusable { why, .. } => Some(why),
    }
}
