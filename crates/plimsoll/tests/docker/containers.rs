//! One container: what its agent sees, parking, death, removal.

use std::time::{Duration, Instant};

use plimsoll_agent::wire::Wire;
use plimsoll_protocol::{FrameError, Parameters, Reply, Request, SliceOrder, WorkloadOrder, read_frame, write_frame};

use crate::ground::{Ground, ask, environment, hello, last_cpu, observe, pids_of_container};

/// What each option must change, and nothing else.
#[test]
fn the_agent_sees_what_was_asked_for() {
    let Some(ground) = Ground::for_test("asked") else { return };
    let mut keeps_the_engine = ground.open("docker");
    let names = [
        "docker",
        "docker:net=host",
        "docker:disk=volume",
        "docker:disk=tmpfs",
        "docker:seccomp=off",
        "docker:layers=2",
        "docker:layers=120",
    ];
    for (number, name) in (1..).zip(names) {
        let mut layer = ground.open(name);
        let mut vessel = layer.launch(&ground.order(number, 256)).unwrap();
        assert_ne!(hello(&mut *vessel).pid, 1, "{name}");
        let seen = observe(&mut *vessel);
        let asked = vessel.asked();
        assert_eq!(asked["root_filesystem"], seen.root_filesystem, "{name}");
        assert_eq!(asked["data_filesystem"], seen.data_filesystem, "{name}");
        assert_eq!(asked["kernel"], seen.kernel_release, "{name}");
        assert_eq!(asked.get("root_layers").cloned(), seen.root_layers.map(|layers| layers.to_string()), "{name}");
        assert_eq!(seen.data_mount == vessel.data_dir(), name.contains("disk="), "{name}: {}", seen.data_mount);
        assert_eq!(seen.cpus_allowed, 1, "{name}");
        assert_eq!(seen.memory_limit_bytes, Some(256 << 20), "{name}");
        assert_eq!(seen.seccomp_mode, if name.contains("seccomp") { 0 } else { 2 }, "{name}");
        let links = std::fs::read_dir("/sys/class/net").unwrap().count();
        let network = if name.contains("net=host") { links } else { 1 };
        assert_eq!(seen.interfaces.len(), network, "{name}: {:?}", seen.interfaces);
        let mut labels = vec![if name.contains("net=host") { "net=host" } else { "net=none" }];
        // An engine that somebody else started runs where it likes.
        labels.extend(std::env::var_os("DOCKER_HOST").map(|_| "engine daemon unpinned"));
        assert_eq!(vessel.labels(), labels);
        assert!(vessel.facts().contains_key("docker_storage_driver"), "{:?}", vessel.facts());
        vessel.tear_down().unwrap();
        vessel.tear_down().unwrap();
        layer.close().unwrap();
        layer.close().unwrap();
    }
    keeps_the_engine.close().unwrap();
    ground.assert_nothing_left();
}

#[test]
fn the_environments_of_a_run_share_one_engine() {
    let Some(ground) = Ground::for_test("share") else { return };
    let (mut one, mut other) = (ground.open("docker"), ground.open("docker:net=host"));
    let mut vessel = one.launch(&ground.order(1, 128)).unwrap();
    let mut second = other.launch(&ground.order(2, 128)).unwrap();
    one.close().unwrap();
    assert_ne!(hello(&mut *vessel).pid, 1);
    assert_ne!(hello(&mut *second).pid, 1);
    vessel.tear_down().unwrap();
    second.tear_down().unwrap();
    drop((vessel, second));
    other.close().unwrap();
    ground.assert_nothing_left();
}

fn prepare(wire: &mut Wire, name: &str, parameters: Parameters) -> Reply {
    let order = WorkloadOrder { name: name.to_owned(), parameters, data_dir: "/plimsoll/data".to_owned(), seed: 1 };
    ask(wire, &Request::Prepare(order))
}

/// CPU time of processes in clock ticks: fields 14 and 15 of /proc/PID/stat.
fn cpu_ticks(pids: &[i32]) -> u64 {
    let ticks = |pid: &i32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let fields = stat.rsplit_once(')').map(|(_, fields)| fields.to_owned()).unwrap_or_default();
        fields.split_ascii_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum::<u64>()
    };
    pids.iter().map(ticks).sum()
}

#[test]
fn a_parked_container_makes_no_progress_and_a_resumed_one_finishes() {
    let Some(ground) = Ground::for_test("park") else { return };
    let mut layer = ground.open("docker");
    let mut vessel = layer.launch(&ground.order(1, 256)).unwrap();
    hello(&mut *vessel);
    let calls = Parameters::default().with("call", "getppid").with("calls", 10_000);
    assert_eq!(prepare(vessel.wire(), "kernel.syscall", calls), Reply::Prepared);
    let slice = SliceOrder { lead_in_ns: 0, slice_ns_min: 500_000_000 };
    write_frame(vessel.wire(), &Request::Slice(slice)).unwrap();
    vessel.park().unwrap();
    let pids = pids_of_container(&ground, &ground.order(1, 0).name);
    assert!(pids.len() >= 2, "{pids:?}");
    let before = cpu_ticks(&pids);
    let since = Instant::now();
    while since.elapsed() < Duration::from_millis(100) {}
    assert_eq!(cpu_ticks(&pids), before, "it ran while it was parked");
    vessel.resume().unwrap();
    vessel.wire().allow(Some(Duration::from_secs(60)));
    assert!(matches!(read_frame::<Reply>(vessel.wire()).unwrap(), Reply::Slice(_)));
    vessel.tear_down().unwrap();
    drop(vessel);
    layer.close().unwrap();
    ground.assert_nothing_left();
}

#[test]
fn a_parked_container_is_torn_down_all_the_same() {
    let Some(ground) = Ground::for_test("parked") else { return };
    let mut layer = ground.open("docker:disk=volume");
    let mut vessel = layer.launch(&ground.order(1, 128)).unwrap();
    hello(&mut *vessel);
    vessel.park().unwrap();
    vessel.tear_down().unwrap();
    drop(vessel);
    layer.close().unwrap();
    ground.assert_nothing_left();
}

#[test]
fn an_agent_without_memory_is_diagnosed() {
    let Some(ground) = Ground::for_test("oom") else { return };
    let mut layer = ground.open("docker");
    let mut vessel = layer.launch(&ground.order(1, 64)).unwrap();
    hello(&mut *vessel);
    let parameters = Parameters::default().with("array_bytes", 256_u64 << 20).with("threads", 1_u64);
    let order = WorkloadOrder { name: "mem.triad".to_owned(), parameters, data_dir: vessel.data_dir(), seed: 1 };
    vessel.wire().allow(Some(Duration::from_secs(60)));
    write_frame(vessel.wire(), &Request::Prepare(order)).unwrap();
    let end = read_frame::<Reply>(vessel.wire()).unwrap_err();
    assert!(matches!(end, FrameError::Closed), "{end}");
    let diagnosis = vessel.diagnose();
    assert!(diagnosis.out_of_memory, "{diagnosis:?}");
    assert!(diagnosis.words.contains("exit status 137"), "{diagnosis:?}");
    vessel.tear_down().unwrap();
    drop(vessel);
    layer.close().unwrap();
    ground.assert_nothing_left();
}

#[test]
fn a_container_that_the_engine_refuses_leaves_nothing_and_quotes_it() {
    let Some(ground) = Ground::for_test("refused") else { return };
    let mut layer = ground.open("docker:disk=volume");
    let failure = layer.launch(&ground.order(1, 1)).err().unwrap();
    assert!(failure.message.to_lowercase().contains("minimum memory limit"), "{failure}");
    assert!(!ground.place.data.join(ground.order(1, 1).name).exists());
    let mut order = ground.order(2, 128);
    order.limits.cpus = vec![4095];
    let failure = layer.launch(&order).err().unwrap();
    assert!(failure.message.contains("4095"), "{failure}");
    layer.close().unwrap();
    ground.assert_nothing_left();
}

#[test]
fn the_agents_words_on_stderr_stay_out_of_the_stream() {
    let Some(ground) = Ground::for_test("words") else { return };
    let mut layer = ground.open("docker");
    let mut vessel = layer.launch(&ground.order(1, 128)).unwrap();
    hello(&mut *vessel);
    // No frame: the agent gives up and says why.
    std::io::Write::write_all(vessel.wire(), b"this is no frame").unwrap();
    vessel.wire().allow(Some(Duration::from_secs(60)));
    let reply = read_frame::<Reply>(vessel.wire()).unwrap();
    assert!(matches!(reply, Reply::Failed { .. }), "{reply:?}");
    assert!(matches!(read_frame::<Reply>(vessel.wire()), Err(FrameError::Closed)));
    let diagnosis = vessel.diagnose();
    assert!(!diagnosis.out_of_memory && diagnosis.words.contains("no frame"), "{diagnosis:?}");
    vessel.tear_down().unwrap();
    drop(vessel);
    layer.close().unwrap();
    ground.assert_nothing_left();
}

#[test]
fn the_agent_keeps_to_the_environments_cpus() {
    let Some(ground) = Ground::for_test("cpus") else { return };
    let mut layer = ground.open("docker");
    let mut vessel = layer.launch(&ground.order(1, 128)).unwrap();
    hello(&mut *vessel);
    for pid in pids_of_container(&ground, &ground.order(1, 0).name) {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        assert!(status.contains(&format!("Cpus_allowed_list:\t{}\n", last_cpu())), "{status}");
    }
    vessel.tear_down().unwrap();
    drop(vessel);
    layer.close().unwrap();
    assert_eq!(environment("docker").name(), "docker");
    ground.assert_nothing_left();
}

/// Voluntary context switches of the threads that carry agents' bytes: one that sleeps makes none.
fn pump_wake_ups() -> Vec<String> {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    let statuses = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("status")).ok());
    let pumps = statuses.filter(|status| status.starts_with("Name:\tdocker-pump\n"));
    pumps
        .flat_map(|status| {
            status.lines().filter(|line| line.contains("ctxt_switches")).map(str::to_owned).collect::<Vec<_>>()
        })
        .collect()
}

#[test]
fn the_pump_sleeps_while_nobody_speaks() {
    let Some(ground) = Ground::alone("sleeps") else { return };
    let mut layer = ground.open("docker");
    let mut vessel = layer.launch(&ground.order(1, 128)).unwrap();
    hello(&mut *vessel);
    let asleep = || {
        let before = pump_wake_ups();
        let since = Instant::now();
        while since.elapsed() < Duration::from_millis(200) {}
        assert_eq!(before.len(), 2, "one pump with two counters: {before:?}");
        pump_wake_ups() == before
    };
    // The first look may catch it on its way to sleep after the reply.
    assert!(asleep() || asleep(), "it wakes up again and again");
    vessel.tear_down().unwrap();
    drop(vessel);
    layer.close().unwrap();
    ground.assert_nothing_left();
}
