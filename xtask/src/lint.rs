//! Formatting, clippy and, where it is installed, cargo-deny. The tidy test is among the tests.

use anyhow::{Result, bail};

use crate::tools;

/// Runs every check and names all that failed, not only the first.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    if let Some(argument) = arguments.first() {
        bail!("takes no arguments, but got `{argument}`");
    }
    let mut checks = vec![
        tools::cargo(&["fmt", "--all", "--", "--check"]),
        tools::cargo(&["fmt", "--manifest-path", "fuzz/Cargo.toml", "--", "--check"]),
        tools::cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]),
    ];
    if tools::succeeds(tools::cargo(&["deny", "--version"])) {
        checks.push(tools::cargo(&["deny", "check"]));
    } else {
        println!("cargo-deny is not installed: licences and sources of dependencies are not checked here");
    }
    let failed: Vec<String> =
        checks.into_iter().filter_map(|check| tools::run(check).err()).map(|error| error.to_string()).collect();
    if failed.is_empty() { Ok(()) } else { bail!("{}", failed.join("\n")) }
}
