//! Builds everything, installs what the tests need (as root), and runs them beside one private Docker engine.
//!
//! ```text
//! cargo xtask test -> plimsoll setup -> plimsoll private-docker -- xtask tests-inside -> cargo test --workspace
//! ```
//! A test that lacks an engine notes that in the file named by PLIMSOLL_SKIPS; what was skipped is printed at the end.
//! In CI, as root, PLIMSOLL_REQUIRE turns such a skip into a failure.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::tools;

/// The part that runs beside the Docker engine.
pub(crate) const INSIDE: &str = "tests-inside";
/// Engines that the tests need and `plimsoll setup` installs.
const ENGINES: &[&str] = &["docker", "runc", "crun", "gvisor", "qemu"];
/// What may not be missing in CI.
const DEMANDED: &str = "docker,qemu,runc,crun,gvisor,root";
/// Names the file that says that the tests were really run.
const FINISHED: &str = "PLIMSOLL_TESTS_FINISHED";
/// Names the file to which a skipping test appends its reason.
const SKIPS: &str = "PLIMSOLL_SKIPS";

/// The task; `arguments` go to `cargo test`.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    tools::run(tools::cargo(&["build", "--package", "plimsoll"]))?;
    tools::run(tools::cargo(&["test", "--workspace", "--no-run"]))?;
    let plimsoll = tools::built("debug")?.join("plimsoll");
    if tools::is_root() {
        let setup = [&["setup", "--yes"], ENGINES].concat();
        tools::run(tools::program(&plimsoll, &setup))?;
    } else {
        println!("not root: nothing is installed, and tests that need root or a missing engine are skipped");
    }
    let folder = tools::built("debug")?;
    let (skips, finished) = (folder.join("test-skips"), folder.join("tests-finished"));
    forget(&skips)?;
    forget(&finished)?;
    let done = beside_docker(&plimsoll, arguments, &skips, &finished);
    print_skips(&skips)?;
    done?;
    if !finished.exists() {
        bail!("`plimsoll private-docker` succeeded without running the tests");
    }
    Ok(())
}

fn beside_docker(plimsoll: &Path, arguments: &[String], skips: &Path, finished: &Path) -> Result<()> {
    let ourselves = std::env::current_exe().context("cannot find this executable")?;
    let mut command = tools::program(plimsoll, &["private-docker", "--"]);
    command.arg(ourselves).arg(INSIDE).args(arguments).env(SKIPS, skips).env(FINISHED, finished);
    if std::env::var_os("CI").is_some() && tools::is_root() && std::env::var_os("PLIMSOLL_REQUIRE").is_none() {
        command.env("PLIMSOLL_REQUIRE", DEMANDED);
    }
    tools::run(command)
}

/// The tests themselves; leaves a mark when all of them passed.
pub(crate) fn run_inside(arguments: &[String]) -> Result<()> {
    let mut command = tools::cargo(&["test", "--workspace"]);
    command.args(arguments);
    tools::run(command)?;
    let finished =
        std::env::var_os(FINISHED).map(PathBuf::from).context("this task is started by `cargo xtask test`")?;
    std::fs::write(&finished, "").with_context(|| format!("cannot write {}", finished.display()))
}

fn forget(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

fn print_skips(path: &Path) -> Result<()> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    let lines = distinct(&text);
    println!("{} tests were skipped", lines.len());
    lines.iter().for_each(|line| println!("  {line}"));
    Ok(())
}

fn distinct(text: &str) -> Vec<&str> {
    text.lines().filter(|line| !line.is_empty()).collect::<BTreeSet<&str>>().into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_that_skips_twice_is_named_once() {
        assert_eq!(distinct("SKIPPED: b: no docker\nSKIPPED: a: no root\n\nSKIPPED: b: no docker\n").len(), 2);
        assert!(distinct("").is_empty());
    }

    #[test]
    fn forgetting_a_file_that_is_not_there_is_no_error() {
        assert!(forget(Path::new("/nonexistent/file")).is_ok());
    }
}
