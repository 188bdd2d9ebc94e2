//! Starting other programs, and where they put what they build.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// The folder of the workspace.
pub(crate) fn root() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own).to_owned()
}

/// A program that will start in the workspace's folder.
pub(crate) fn program(name: impl AsRef<std::ffi::OsStr>, arguments: &[&str]) -> Command {
    let mut command = Command::new(name);
    command.args(arguments).current_dir(root());
    command
}

/// Cargo, the one that runs us.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    program(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()), arguments)
}

/// Says what is started, starts it, and fails if it does.
pub(crate) fn run(mut command: Command) -> Result<()> {
    let line = words(&command);
    println!("$ {line}");
    let status = command.status().with_context(|| format!("cannot start `{line}`"))?;
    if !status.success() {
        bail!("`{line}` failed ({status})");
    }
    Ok(())
}

/// As [`run`], and shows each line of its standard output to `read` as well.
pub(crate) fn run_and_read(mut command: Command, read: &mut dyn FnMut(&str)) -> Result<()> {
    let line = words(&command);
    println!("$ {line}");
    let mut child = command.stdout(Stdio::piped()).spawn().with_context(|| format!("cannot start `{line}`"))?;
    let output = child.stdout.take().context("no stream to read from")?;
    for said in BufReader::new(output).split(b'\n') {
        let said = said.with_context(|| format!("cannot read what `{line}` says"))?;
        let said = String::from_utf8_lossy(&said);
        println!("{said}");
        read(&said);
    }
    let status = child.wait().with_context(|| format!("cannot wait for `{line}`"))?;
    if status.success() { Ok(()) } else { bail!("`{line}` failed ({status})") }
}

/// What a program prints, if it succeeds.
pub(crate) fn output_of(mut command: Command) -> Result<String> {
    let line = words(&command);
    let output = command.output().with_context(|| format!("cannot start `{line}`"))?;
    if !output.status.success() {
        bail!("`{line}` failed ({}): {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Whether a program can be started and succeeds.
pub(crate) fn succeeds(mut command: Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// A command as it would be typed.
pub(crate) fn words(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// The folder of a profile's executables (`debug`, `release`): the workspace always names its target.
pub(crate) fn built(profile: &str) -> Result<PathBuf> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    Ok(root().join(target).join(host_tuple()?).join(profile))
}

/// The target that rustc builds for here, such as `x86_64-unknown-linux-gnu`.
pub(crate) fn host_tuple() -> Result<String> {
    let about = output_of(program("rustc", &["-vV"]))?;
    let tuple = about.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(tuple.context("`rustc -vV` names no host")?.to_owned())
}

/// Whether we are root: only root owns /proc/self of a root process.
pub(crate) fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|data| data.uid() == 0)
}
