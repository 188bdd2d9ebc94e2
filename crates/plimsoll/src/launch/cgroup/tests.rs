use std::process::{Child, Command, Stdio};

use super::super::sys::{BeforeExec, before_exec};
use super::*;
use crate::launch::bundle::Bundle;

/// A pen of its own for every test; skipped where cgroups cannot be written.
fn in_pen(test: &str, check: impl FnOnce(&mut Pen)) {
    let folder = tempfile::tempdir().unwrap();
    let run = format!("plimsoll-test-{test}-{}", std::process::id());
    let place = Place {
        journal: Journal::start(folder.path(), &run).unwrap(),
        run: run.clone(),
        scratch: folder.path().to_owned(),
        data: folder.path().to_owned(),
        bundle: Bundle::default(),
        tree: None,
        root: true,
        data_disk_bytes: 0,
        interrupted: || false,
    };
    let limits = Limits { cpus: vec![0], memory_bytes: 64 * 1024 * 1024 };
    match Pen::make(&place, &run, &limits, 0).unwrap() {
        Some(mut pen) => {
            check(&mut pen);
            pen.remove().unwrap();
            assert_eq!(place.journal.left(), [], "nothing is left in the journal");
        }
        None => crate::launch::testing::skip("root", "cgroups cannot be written here"),
    }
}

fn start(pen: &Pen, script: &str) -> Child {
    let mut command = Command::new("sh");
    command.args(["-c", script]).stdout(Stdio::null()).stderr(Stdio::null());
    let entrances = pen.entrances().unwrap();
    before_exec(&mut command, BeforeExec { entrances, dies_with_parent: true, ..BeforeExec::default() });
    command.spawn().unwrap()
}

#[test]
fn what_is_started_in_a_pen_has_its_cpus() {
    in_pen("cpus", |pen| {
        let mut child = start(pen, "sleep 1000");
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
        assert!(status.contains("Cpus_allowed_list:\t0\n"), "{status}");
        pen.remove().unwrap();
        child.wait().unwrap();
    });
}

#[test]
fn a_frozen_pen_makes_no_progress_and_a_thawed_one_does() {
    in_pen("freeze", |pen| {
        let mut child = start(pen, "while :; do :; done");
        pen.freeze().unwrap();
        let before = pen.cpu_time();
        std::thread::sleep(Duration::from_millis(20));
        assert_eq!(pen.cpu_time(), before, "it ran while it was frozen");
        pen.thaw().unwrap();
        assert!(patience::until(Duration::from_secs(20), || pen.cpu_time() > before), "it did not go on");
        pen.remove().unwrap();
        child.wait().unwrap();
    });
}

#[test]
fn a_frozen_pen_is_removed_with_all_its_processes() {
    in_pen("remove", |pen| {
        let mut child = start(pen, "sleep 1000 & sleep 1000 & wait");
        pen.freeze().unwrap();
        pen.remove().unwrap();
        pen.remove().unwrap();
        assert!(!child.wait().unwrap().success());
        assert!(Hierarchies::of_this_process().unwrap().mounts().all(|mount| !mount.join(&pen.path[1..]).exists()));
    });
}

#[test]
fn a_process_over_the_memory_limit_is_counted() {
    in_pen("memory", |pen| {
        assert_eq!(pen.oom_kills(), 0);
        let mut child = start(pen, "head -c 300000000 /dev/zero | tail");
        child.wait().unwrap();
        assert_eq!(pen.oom_kills(), 1);
    });
}

#[test]
fn a_folder_that_is_no_cgroup_is_not_emptied() {
    let folder = tempfile::tempdir().unwrap();
    assert!(remove_tree(folder.path()).unwrap_err().message.contains("no cgroup filesystem"));
    assert!(folder.path().exists());
    assert_eq!(remove_tree(&folder.path().join("nothing")), Ok(()));
}

#[test]
fn what_does_not_freeze_at_once_is_let_go_and_frozen_again() {
    let folder = tempfile::tempdir().unwrap();
    let (file, state) = (folder.path().join("cgroup.freeze"), folder.path().join("cgroup.events"));
    let (watched, shown) = (file.clone(), state.clone());
    // Freezes only after it was let go once.
    let kernel = std::thread::spawn(move || {
        let let_go = || std::fs::read_to_string(&watched).is_ok_and(|word| word == "0");
        assert!(patience::until(FREEZE_TRY * FREEZE_TRIES, let_go));
        std::fs::write(shown, "populated 1\nfrozen 1\n").unwrap();
    });
    assert!(urge(&file, ["1", "0"], &state, "frozen 1").unwrap());
    kernel.join().unwrap();
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "1");
}
