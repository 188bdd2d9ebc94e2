//! Their side: a program on given CPUs, in a folder of its own, where all that it says is kept. Bounded.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use super::{Contest, Scene, cpu_text, keep};
use crate::tools;

/// What one run may take, seconds: HPCC with large matrices needs minutes.
const BOUND_SECONDS: &str = "7200";
/// The file that holds the command line, both output streams and the time.
const SAID: &str = "said.txt";

/// A program with all that it needs.
pub(super) struct Program {
    pub(super) cpus: Vec<u32>,
    pub(super) words: Vec<String>,
    /// Written into the folder first: names and contents.
    pub(super) files: Vec<(&'static str, String)>,
    pub(super) variables: Vec<(&'static str, &'static str)>,
    /// Its standard output is a product and is thrown away.
    pub(super) discards_product: bool,
}

impl Program {
    /// Words that need no files.
    pub(super) fn new(cpus: &[u32], words: &[&str]) -> Self {
        let words = words.iter().map(|word| (*word).to_owned()).collect();
        Self { cpus: cpus.to_vec(), words, files: Vec::new(), variables: Vec::new(), discards_product: false }
    }

    /// As it would be typed.
    pub(super) fn line(&self) -> String {
        let variables = self.variables.iter().map(|(name, value)| format!("{name}={value} ")).collect::<String>();
        let product = if self.discards_product { " >/dev/null" } else { "" };
        format!("{variables}taskset -c {} {}{product}", cpu_text(&self.cpus), self.words.join(" "))
    }
}

/// A run that has ended.
pub(super) struct Ran {
    pub(super) folder: PathBuf,
    /// Its standard output and error.
    pub(super) said: String,
    /// From its start to its end.
    pub(super) seconds: f64,
}

/// One run; its figures in the order of the pairs.
pub(super) fn turn(scene: &Scene, contest: &Contest, round: usize) -> Result<Vec<f64>> {
    let folder = scene.folder.join(format!("{}-{}", contest.name, round + 1));
    std::fs::create_dir(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let ran = run(&contest.program, folder)?;
    let figures = (contest.read)(&ran).with_context(|| format!("in {}", ran.folder.display()))?;
    match figures.iter().find(|figure| !(figure.is_finite() && **figure > 0.0)) {
        Some(figure) => bail!("{figure} is no figure; see {}", ran.folder.display()),
        None => Ok(figures),
    }
}

fn run(program: &Program, folder: PathBuf) -> Result<Ran> {
    for (name, content) in &program.files {
        keep(&folder, name, content)?;
    }
    let path = folder.join(SAID);
    let about = || format!("cannot write {}", path.display());
    let mut said = File::create_new(&path).with_context(about)?;
    writeln!(said, "$ {}", program.line()).with_context(about)?;
    let stream = || OpenOptions::new().append(true).open(&path).with_context(about);
    // In the foreground, so that Ctrl-C ends it as well.
    let bound = ["--foreground", "--kill-after=10", BOUND_SECONDS];
    let mut command = tools::program("timeout", &[&bound[..], &["taskset", "-c"]].concat());
    command.arg(cpu_text(&program.cpus)).args(&program.words).env("LC_ALL", "C");
    command.envs(program.variables.iter().copied());
    command.current_dir(&folder).stdin(Stdio::null()).stderr(stream()?);
    command.stdout(if program.discards_product { Stdio::null() } else { stream()?.into() });
    let started = Instant::now();
    let status = command.status().context("cannot start timeout (coreutils)")?;
    let seconds = started.elapsed().as_secs_f64();
    let text = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let text = String::from_utf8_lossy(&text).into_owned();
    writeln!(stream()?, "# {status}, {seconds:.6} s from start to end").with_context(about)?;
    if !status.success() {
        bail!("`{}` failed ({status}): {}", program.line(), text.lines().last().unwrap_or_default());
    }
    Ok(Ran { folder, said: text, seconds })
}

/// Why a program cannot be used, with the remedy: it is tried with these words.
pub(super) fn lack(words: &[&str], package: &str) -> Option<String> {
    let (program, arguments) = words.split_first()?;
    let why = match tools::program(program, arguments).stdin(Stdio::null()).output() {
        Err(error) => format!("cannot start {program}: {error}"),
        Ok(output) if output.status.success() => return None,
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            format!("`{}` fails: {}", words.join(" "), said.lines().next().unwrap_or("it says nothing"))
        }
    };
    Some(format!("{why}; remedy: apt-get install {package}"))
}

/// The first line that a program prints.
pub(super) fn first_line(words: &[&str]) -> Result<String> {
    let (program, arguments) = words.split_first().context("no words")?;
    let said = tools::output_of(tools::program(program, arguments))?;
    Ok(said.lines().next().unwrap_or("it prints no version").to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_is_shown_with_its_cpus_variables_and_lost_product() {
        let mut program = Program::new(&[0, 3], &["xz", "-c", "text"]);
        assert_eq!(program.line(), "taskset -c 0,3 xz -c text");
        program.variables = vec![("A", "1")];
        program.discards_product = true;
        assert_eq!(program.line(), "A=1 taskset -c 0,3 xz -c text >/dev/null");
    }

    #[test]
    fn a_program_that_is_missing_or_fails_is_named_with_its_remedy() {
        assert_eq!(lack(&["true"], "coreutils"), None);
        let lack_of = |words: &[&str]| lack(words, "a-package").expect("it cannot be used");
        let missing = lack_of(&["no-such-program", "--version"]);
        assert!(missing.starts_with("cannot start no-such-program: "), "{missing}");
        let failing = lack_of(&["sh", "-c", "echo not today >&2; exit 1"]);
        assert!(failing.ends_with("fails: not today; remedy: apt-get install a-package"), "{failing}");
    }
}
