//! The init that forks the agent, in processes of its own.
//!
//! Forking needs a process with one thread, and libtest starts one for every test: so this file has its own `main`,
//! which plays the part that it is told in a variable, or runs the tests.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr, reason = "a test, and its own test runner")]

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, dup2_stdout, getpid, getppid};
use plimsoll_agent::init::{EXIT_BUG, EXIT_SYSTEM, run_under_init};

const PLAY: &str = "PLIMSOLL_TEST_INIT_PLAY";

const TESTS: &[(&str, fn())] = &[
    ("init_exits_with_the_code_of_the_agent", init_exits_with_the_code_of_the_agent),
    ("an_agent_that_was_killed_gives_128_plus_the_signal", an_agent_that_was_killed_gives_128_plus_the_signal),
    ("an_orphan_comes_to_init_and_is_reaped", an_orphan_comes_to_init_and_is_reaped),
    ("a_signal_to_init_reaches_the_agent", a_signal_to_init_reaches_the_agent),
    ("the_agent_does_not_outlive_init", the_agent_does_not_outlive_init),
    ("the_end_of_the_stream_is_seen_while_init_still_lives", the_end_of_the_stream_is_seen_while_init_still_lives),
    ("a_process_with_threads_is_not_forked", a_process_with_threads_is_not_forked),
    ("the_wire_over_standard_streams_carries_nothing_else", the_wire_over_standard_streams_carries_nothing_else),
];

fn main() {
    if let Ok(name) = std::env::var(PLAY) {
        std::process::exit(stage(&name));
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let filter = arguments.iter().find(|argument| !argument.starts_with('-'));
    for (name, test) in TESTS.iter().filter(|(name, _)| filter.is_none_or(|filter| name.contains(filter.as_str()))) {
        if arguments.iter().any(|argument| argument == "--list") {
            println!("{name}: test");
        } else {
            test();
            println!("test {name} ... ok");
        }
    }
}

/// A shell in the background ignores SIGINT, and so do its children until somebody restores it.
fn play(name: &str) -> Child {
    Command::new("env")
        .arg("--default-signal=INT")
        .arg(std::env::current_exe().unwrap())
        .env(PLAY, name)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn stage(name: &str) -> i32 {
    if name == "threaded" {
        thread::spawn(|| thread::sleep(Duration::from_secs(20)));
    }
    run_under_init(|| match name {
        "code" => 42,
        "panic" => panic!("on purpose"),
        "killed" => kill(getpid(), Signal::SIGKILL).map_or(1, |()| 2),
        "orphan" => watch_an_orphan(),
        "wait" => announce_and_wait(),
        "pid" => i32::from(getpid().as_raw() == 1),
        "deaf" => close_the_stream_and_wait(),
        "stdio" => use_the_stream(),
        other => panic!("no play {other}"),
    })
}

/// A stray print and a greedy child come between two words on the wire.
fn use_the_stream() -> i32 {
    let mut wire = plimsoll_agent::Wire::from_stdio(|| false).unwrap();
    wire.allow(Some(Duration::from_secs(5)));
    wire.write_all(b"frame ").unwrap();
    println!("stray");
    let child = Command::new("sh").args(["-c", "echo stray too; cat"]).status().unwrap();
    let mut heard = [0; 5];
    wire.read_exact(&mut heard).unwrap();
    wire.write_all(&heard).unwrap();
    i32::from(!child.success())
}

/// 0 if a grandchild that lost its parent came to init and was reaped.
fn watch_an_orphan() -> i32 {
    let shell = Command::new("sh").args(["-c", "sleep 0.3 >/dev/null 2>&1 & echo $!"]).output().unwrap();
    let orphan = String::from_utf8(shell.stdout).unwrap().trim().to_owned();
    let status = || std::fs::read_to_string(format!("/proc/{orphan}/status"));
    let parent = format!("PPid:\t{}\n", getppid());
    if !status().unwrap().contains(&parent) {
        return 3;
    }
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(5) {
        if status().is_err() {
            return 0;
        }
        thread::sleep(Duration::from_millis(20));
    }
    4
}

fn announce_and_wait() -> i32 {
    eprintln!("agent {}", getpid());
    thread::sleep(Duration::from_secs(20));
    5
}

fn close_the_stream_and_wait() -> i32 {
    dup2_stdout(io::stderr().as_fd()).unwrap();
    announce_and_wait()
}

/// The agent's process id, once it lives.
fn announced(child: &mut Child) -> Pid {
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let line = lines.find_map(|line| line.unwrap().strip_prefix("agent ").map(str::to_owned)).unwrap();
    // Keeps draining, so that a late message does not break the pipe.
    thread::spawn(move || lines.count());
    Pid::from_raw(line.parse().unwrap())
}

fn code_of(name: &str) -> Option<i32> {
    play(name).wait().unwrap().code()
}

fn init_exits_with_the_code_of_the_agent() {
    assert_eq!(code_of("code"), Some(42));
    assert_eq!(code_of("panic"), Some(EXIT_BUG));
    assert_eq!(code_of("pid"), Some(0));
}

fn an_agent_that_was_killed_gives_128_plus_the_signal() {
    assert_eq!(code_of("killed"), Some(137));
}

fn an_orphan_comes_to_init_and_is_reaped() {
    assert_eq!(code_of("orphan"), Some(0));
}

fn a_signal_to_init_reaches_the_agent() {
    for (signal, code) in [(Signal::SIGTERM, 143), (Signal::SIGINT, 130)] {
        let mut init = play("wait");
        announced(&mut init);
        kill(Pid::from_raw(init.id().cast_signed()), signal).unwrap();
        assert_eq!(init.wait().unwrap().code(), Some(code));
    }
}

fn the_agent_does_not_outlive_init() {
    let mut init = play("wait");
    let agent = announced(&mut init);
    init.kill().unwrap();
    init.wait().unwrap();
    let start = Instant::now();
    // Whoever inherits it may leave a zombie: dead is what counts.
    let alive = || std::fs::read_to_string(format!("/proc/{agent}/stat")).is_ok_and(|stat| !stat.contains(") Z "));
    while alive() {
        assert!(start.elapsed() < Duration::from_secs(5), "agent {agent} lives on");
        thread::sleep(Duration::from_millis(10));
    }
}

fn the_end_of_the_stream_is_seen_while_init_still_lives() {
    let mut init = play("deaf");
    let mut said = Vec::new();
    let mut stdout = init.stdout.take().unwrap();
    announced(&mut init);
    stdout.read_to_end(&mut said).unwrap();
    assert_eq!(init.try_wait().unwrap(), None, "init ended before the stream did");
    kill(Pid::from_raw(init.id().cast_signed()), Signal::SIGTERM).unwrap();
    init.wait().unwrap();
}

fn a_process_with_threads_is_not_forked() {
    assert_eq!(code_of("threaded"), Some(EXIT_SYSTEM));
}

fn the_wire_over_standard_streams_carries_nothing_else() {
    let mut init = play("stdio");
    init.stdin.take().unwrap().write_all(b"hello").unwrap();
    let output = init.wait_with_output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "frame hello");
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "stray\nstray too\n");
    assert_eq!(output.status.code(), Some(0));
}
