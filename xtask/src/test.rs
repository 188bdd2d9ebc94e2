//! Builds everything, installs what the tests need (as root), and runs them beside one private Docker engine.
//!
//! ```text
//! cargo xtask test -> plimsoll setup -> plimsoll private-docker -- xtask tests-inside -> cargo test --workspace
//!                                    -> cargo test of what starts a Docker engine of its own, when ours has ended
//! ```
//! A test that lacks an engine prints a line that begins with `skipped:`; what was skipped is printed again at the end.
//! In CI, as root, PLIMSOLL_REQUIRE turns such a skip into a failure.

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::tools;

/// The part that runs beside the Docker engine.
pub(crate) const INSIDE: &str = "tests-inside";
/// Engines that the tests need and `plimsoll setup` installs.
const ENGINES: &[&str] = &["docker", "runc", "crun", "gvisor", "qemu"];
/// What may not be missing in CI.
const DEMANDED: &str = "docker,qemu,runc,crun,gvisor,root";
/// Part of the names of the tests that start, interrupt and kill a private Docker engine: there can be only one.
const ALONE: &str = "private_docker_engine";
/// Where a Docker engine of the host's own listens.
const HOST_DOCKER: &str = "/var/run/docker.sock";
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
    let done = done.and_then(|()| match (finished.exists(), arguments) {
        (false, _) => bail!("`plimsoll private-docker` succeeded without running the tests"),
        (true, []) => without_docker(&skips),
        (true, _) => Ok(()),
    });
    print_skips(&skips)?;
    done
}

fn beside_docker(plimsoll: &Path, arguments: &[String], skips: &Path, finished: &Path) -> Result<()> {
    let ourselves = std::env::current_exe().context("cannot find this executable")?;
    let mut command = tools::program(plimsoll, &["private-docker", "--"]);
    command.arg(ourselves).arg(INSIDE).args(arguments).env(SKIPS, skips).env(FINISHED, finished);
    if makes_demands() {
        command.env("PLIMSOLL_REQUIRE", DEMANDED);
    }
    tools::run(command)
}

/// The tests that start a Docker engine of their own.
fn without_docker(skips: &Path) -> Result<()> {
    let mut command = tools::cargo(&["test", "--package", "plimsoll", "--test", "faults"]);
    command.args(["--", ALONE, "--show-output"]).env(SKIPS, skips);
    let host_has_one = std::env::var_os("DOCKER_HOST").is_some() || UnixStream::connect(HOST_DOCKER).is_ok();
    if makes_demands() && !host_has_one {
        command.env("PLIMSOLL_REQUIRE", format!("{DEMANDED},private-docker"));
    }
    tools::run(command)
}

/// Whether a missing engine is a failure, and nobody has said which.
fn makes_demands() -> bool {
    std::env::var_os("CI").is_some() && tools::is_root() && std::env::var_os("PLIMSOLL_REQUIRE").is_none()
}

/// The tests themselves; leaves a mark when all of them passed.
pub(crate) fn run_inside(arguments: &[String]) -> Result<()> {
    let file = |variable: &str| {
        let path = std::env::var_os(variable).map(PathBuf::from);
        path.with_context(|| format!("{variable} is not set: this task is started by `cargo xtask test`"))
    };
    let (skips, finished) = (file(SKIPS)?, file(FINISHED)?);
    let mut command = tools::cargo(&["test", "--no-fail-fast"]);
    if !names_a_package(arguments) {
        command.arg("--workspace");
    }
    command.args(with_output_shown(arguments));
    if arguments.is_empty() {
        command.args(["--skip", ALONE]);
    }
    let mut seen = Skips::default();
    let done = tools::run_and_read(command, &mut |line| seen.read(line));
    let mut note = OpenOptions::new().create(true).append(true).open(&skips).context("cannot note what was skipped")?;
    seen.lines.iter().try_for_each(|line| writeln!(note, "{line}")).context("cannot note what was skipped")?;
    done?;
    std::fs::write(&finished, "").with_context(|| format!("cannot write {}", finished.display()))
}

/// Whether the arguments choose packages; else all are tested.
fn names_a_package(arguments: &[String]) -> bool {
    let own = arguments.iter().take_while(|argument| *argument != "--");
    own.into_iter().any(|argument| argument == "-p" || argument.starts_with("--package"))
}

/// The arguments with one for the test programs: what a passing test says is shown as well, since skips pass.
fn with_output_shown(arguments: &[String]) -> Vec<String> {
    let mut all = arguments.to_vec();
    if !all.iter().any(|argument| argument == "--") {
        all.push("--".to_owned());
    }
    all.push("--show-output".to_owned());
    all
}

/// Picks skips out of what `cargo test` prints.
#[derive(Default)]
struct Skips {
    test: String,
    lines: Vec<String>,
}

impl Skips {
    fn read(&mut self, line: &str) {
        if let Some(test) = line.strip_prefix("---- ").and_then(|rest| rest.strip_suffix(" stdout ----")) {
            test.clone_into(&mut self.test);
        } else if line.starts_with("SKIPPED: ") {
            self.lines.push(line.to_owned());
        } else if let Some(reason) = line.strip_prefix("skipped: ") {
            self.lines.push(format!("SKIPPED: {}: {reason}", self.test));
        }
    }
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
    fn skips_are_picked_out_with_the_test_that_skipped() {
        let mut skips = Skips::default();
        let output = "successes:\n---- a::b stdout ----\nskipped: not root\n---- c stdout ----\nhello\n\
                      SKIPPED: c: docker: no engine\ntest d ... ok\n";
        output.lines().for_each(|line| skips.read(line));
        assert_eq!(skips.lines, ["SKIPPED: a::b: not root", "SKIPPED: c: docker: no engine"]);
    }

    #[test]
    fn arguments_for_the_test_programs_are_kept() {
        let own =
            |arguments: &[&str]| with_output_shown(&arguments.iter().map(|a| (*a).to_owned()).collect::<Vec<_>>());
        assert_eq!(own(&["-p", "xtask"]), ["-p", "xtask", "--", "--show-output"]);
        assert_eq!(own(&["--", "name"]), ["--", "name", "--show-output"]);
        assert!(names_a_package(&["-p".to_owned(), "xtask".to_owned()]));
        assert!(!names_a_package(&["--".to_owned(), "-p".to_owned()]));
    }

    #[test]
    fn forgetting_a_file_that_is_not_there_is_no_error() {
        assert!(forget(Path::new("/nonexistent/file")).is_ok());
    }
}
