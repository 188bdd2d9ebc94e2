//! CPUs that the user names and this host does not have: refused, never replaced in silence.

#![allow(clippy::unwrap_used, reason = "a test that unwraps has failed")]
#![allow(clippy::disallowed_methods, reason = "the program under test is a process")]

use std::process::Command;

#[test]
fn a_cpu_that_does_not_exist_is_refused_and_nothing_is_started() {
    let folder = tempfile::tempdir().unwrap();
    let run = Command::new(env!("CARGO_BIN_EXE_plimsoll"))
        .args(["run", "-e", "sandbox", "-w", "null", "--blocks", "1", "--cpus", "0,8191", "-o", "run.sqlite"])
        .current_dir(folder.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&run.stderr);
    assert_eq!(run.status.code(), Some(2), "{said}");
    assert!(said.contains("--cpus: CPU 8191 does not exist here or may not be used"), "{said}");
    assert_eq!(folder.path().read_dir().unwrap().count(), 0);
}
