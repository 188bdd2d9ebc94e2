use super::*;
use crate::launch::bundle::Bundle;

/// A place of its own for one test.
fn in_place(test: impl FnOnce(&Place)) {
    let folder = tempfile::tempdir().unwrap();
    let run = "plimsoll-test-process".to_owned();
    let place = Place {
        journal: Journal::start(folder.path(), &run).unwrap(),
        run,
        scratch: folder.path().to_owned(),
        data: folder.path().to_owned(),
        bundle: Bundle::default(),
        tree: None,
        root: false,
        data_disk_bytes: 0,
        interrupted: || false,
    };
    test(&place);
    assert_eq!(place.journal.left(), [], "nothing is left in the journal");
}

fn shell(place: &Place, script: &str) -> Spec {
    Spec {
        program: "/bin/sh".into(),
        argv0: None,
        args: vec!["-c".to_owned(), script.to_owned()],
        env: vec![("PATH".to_owned(), "/usr/bin:/bin".to_owned()), ("WORD".to_owned(), "kept".to_owned())],
        cwd: Some("/".into()),
        affinity: None,
        wired: true,
        log: place.scratch.join("log"),
        outlives_parent: false,
    }
}

fn say(running: &mut Running, words: &str) -> String {
    use std::io::Write;
    let mut wire = running.take_wire().unwrap();
    wire.allow(Some(Duration::from_secs(20)));
    wire.write_all(words.as_bytes()).unwrap();
    let mut answer = [0; 256];
    let count = wire.read(&mut answer).unwrap();
    String::from_utf8_lossy(&answer[..count]).into_owned()
}

#[test]
fn the_wire_is_stdin_and_stdout_and_stderr_is_the_log() {
    in_place(|place| {
        let mut running =
            Running::start(place, &shell(place, "read line; echo got $line; echo oops >&2"), None).unwrap();
        assert_eq!(say(&mut running, "this\n"), "got this\n");
        assert_eq!(running.wait(Duration::from_secs(20)).unwrap(), "exit status 0");
        assert_eq!(running.log_tail(), "oops");
        assert!(running.take_wire().is_none());
    });
}

#[test]
fn a_process_has_only_the_environment_it_was_given_and_its_own_session() {
    in_place(|place| {
        let script = "read line; echo $(env | sort | tr '\\n' ' ') $(cut -d' ' -f6 /proc/$$/stat | sed s/$$/own/)";
        let mut running = Running::start(place, &shell(place, script), None).unwrap();
        let said = say(&mut running, "\n");
        assert!(said.contains("WORD=kept") && !said.contains("CARGO") && said.trim().ends_with("own"), "{said}");
        running.end(Duration::from_secs(20)).unwrap();
    });
}

#[test]
fn a_process_runs_on_the_cpus_it_was_given() {
    in_place(|place| {
        let script = "read line; grep Cpus_allowed_list /proc/self/status";
        let spec = Spec { affinity: Some(vec![0]), ..shell(place, script) };
        let mut running = Running::start(place, &spec, None).unwrap();
        assert_eq!(say(&mut running, "\n"), "Cpus_allowed_list:\t0\n");
    });
}

#[test]
fn ending_is_safe_to_repeat_and_kills_what_does_not_listen() {
    in_place(|place| {
        let script = "trap '' TERM; echo deaf; while :; do sleep 1000; done";
        let mut running = Running::start(place, &shell(place, script), None).unwrap();
        assert_eq!(say(&mut running, ""), "deaf\n");
        running.end(Duration::from_millis(20)).unwrap();
        running.end(Duration::from_millis(20)).unwrap();
        assert_eq!(running.ended().unwrap(), "signal 9");
        assert!(running.stop(true).is_err(), "it is gone");
    });
}

#[test]
fn a_program_that_is_not_there_is_named() {
    in_place(|place| {
        let spec = Spec { program: "/nonexistent/program".into(), ..shell(place, "") };
        let failure = Running::start(place, &spec, None).unwrap_err();
        assert!(failure.message.contains("/nonexistent/program"), "{failure}");
    });
}

#[test]
fn only_the_end_of_a_long_log_is_quoted() {
    in_place(|place| {
        let script = "i=0; while [ $i -lt 2000 ]; do echo line $i >&2; i=$((i+1)); done";
        let mut running = Running::start(place, &shell(place, script), None).unwrap();
        running.wait(Duration::from_secs(20)).unwrap();
        let tail = running.log_tail();
        assert!(tail.len() <= 2048 && tail.starts_with("line ") && tail.ends_with("line 1999"), "{tail}");
    });
}
