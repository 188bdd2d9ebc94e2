//! Real virtual machines: what the engine promises, seen from outside and by the agent inside.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod guest;
mod support;

use std::time::Duration;

use guest::Rig;
use plimsoll::launch::Usability;
use plimsoll::sample::Cause;
use plimsoll_protocol::{Parameters, Reply, Request, SliceOrder};

const MEMORY_BYTES: u64 = 512 << 20;

#[test]
fn a_guest_is_what_was_asked_for() {
    let Some(mut rig) = Rig::new("qemu") else { return };
    let mut guest = rig.launch(MEMORY_BYTES);
    let hello = guest.hello();
    assert!(hello.pid > 1, "{hello:?}");
    let seen = guest.observe();
    let asked = guest.vessel.asked();
    assert_eq!(seen.kernel_release, asked["kernel"]);
    assert_eq!(seen.root_filesystem, asked["root_filesystem"]);
    assert_eq!(seen.data_filesystem, asked["data_filesystem"]);
    assert_eq!((seen.data_mount.as_str(), seen.data_source.as_str()), ("/plimsoll/data", "/dev/vda"));
    assert!(asked["clock_source"].split('|').any(|right| right == seen.clock_source), "{}", seen.clock_source);
    assert_eq!((seen.cpus_online, seen.cpus_allowed), (1, 1));
    // The kernel keeps some for itself before it counts.
    assert!((MEMORY_BYTES * 8 / 10..MEMORY_BYTES).contains(&seen.memory_total_bytes), "{}", seen.memory_total_bytes);
    assert_eq!(seen.interfaces, ["lo"]);
    assert_eq!(guest.vessel.labels().contains(&"emulated".to_owned()), guest.vessel.facts()["accelerator"] == "tcg");
    guest.finish();
    rig.finish();
}

#[test]
fn a_parked_guest_does_not_see_the_pause() {
    let Some(mut rig) = Rig::new("qemu") else { return };
    let mut guest = rig.launch(MEMORY_BYTES);
    guest.hello();
    let clock_source = guest.observe().clock_source;
    guest.prepare("null", Parameters::default());
    let slice = Request::Slice(SliceOrder { lead_in_ns: 0, slice_ns_min: 300_000_000 });
    // The request is on its way when the machine stops; the slice spans the pause.
    guest.send(&slice);
    let pause = Duration::from_secs(2);
    guest.vessel.park().unwrap();
    assert!(!guest.has_answer_within(pause), "a stopped guest answered");
    guest.vessel.resume().unwrap();
    let Reply::Slice(report) = guest.receive() else { panic!("no slice") };
    assert!(report.seconds < pause.as_secs_f64(), "the guest's clock saw the pause: {} s", report.seconds);
    // The kernel's watchdog compares its clocks all the time and drops one that seems to have stood still.
    guest.slice();
    assert_eq!(guest.observe().clock_source, clock_source);
    guest.finish();
    rig.finish();
}

/// `volatile` where flushes are ignored; the last one goes through everything that is not the default.
const DISKS: [(&str, &str, bool); 3] = [
    ("qemu", "/dev/vda", false),
    ("qemu:tuned", "/dev/vda", false),
    ("qemu:bus=virtio-scsi,iothread,cache=unsafe,aio=io_uring", "/dev/sda", true),
];

#[test]
fn the_data_disk_is_what_was_asked_for_and_takes_direct_reads() {
    for (environment, device, volatile) in DISKS {
        let Some(mut rig) = Rig::with_data_disk(environment, 2 << 30) else { return };
        let mut guest = rig.launch(MEMORY_BYTES);
        guest.hello();
        guest.prepare("disk.randread", guest::small_file());
        let report = guest.slice();
        assert!(report.work > 0.0 && report.units > 0, "{report:?}");
        let (asked, facts) = (guest.vessel.asked(), guest.vessel.facts());
        let disk: Vec<_> = asked.iter().filter(|(name, _)| name.starts_with("disk_")).collect();
        assert_eq!(disk.len(), 6, "{disk:?}");
        for (name, asked) in disk {
            assert_eq!(facts.get(name), Some(asked), "{environment}: {name}");
        }
        assert_eq!(facts["disk_bytes"], (2_u64 << 30).to_string());
        assert!(facts["ext4_features"].contains("extent"), "{facts:?}");
        let seen = guest.observe();
        assert_eq!((seen.data_filesystem.as_str(), seen.data_source.as_str()), ("ext4", device));
        assert!(seen.data_options.starts_with("rw,"), "{}", seen.data_options);
        assert_eq!(guest.vessel.labels().contains(&"volatile".to_owned()), volatile);
        guest.finish();
        rig.finish();
    }
}

#[test]
fn a_guest_without_a_data_disk_keeps_its_data_in_memory() {
    let Some(mut rig) = Rig::new("qemu:disk=initramfs") else { return };
    let mut guest = rig.launch(MEMORY_BYTES);
    guest.hello();
    let seen = guest.observe();
    assert_eq!((seen.data_filesystem.as_str(), seen.data_mount.as_str()), ("tmpfs", "/"));
    assert_eq!(guest.vessel.asked()["data_filesystem"], "tmpfs");
    assert!(guest.vessel.labels().contains(&"memory".to_owned()));
    assert!(!guest.vessel.facts().keys().any(|name| name.starts_with("disk_")));
    guest.prepare("disk.randread", guest::small_file().with("access", "buffered"));
    assert!(guest.slice().units > 0);
    guest.finish();
    rig.finish();
}

#[test]
fn two_guests_of_a_run_live_side_by_side_on_disks_of_their_own() {
    let Some(mut rig) = Rig::new("qemu") else { return };
    let mut one = rig.launch(MEMORY_BYTES);
    one.hello();
    one.prepare("disk.randread", guest::small_file());
    one.vessel.park().unwrap();
    let mut other = rig.launch(MEMORY_BYTES);
    other.hello();
    other.prepare("disk.randread", guest::small_file());
    assert!(other.slice().units > 0);
    other.vessel.park().unwrap();
    one.vessel.resume().unwrap();
    assert!(one.slice().units > 0);
    one.finish();
    other.finish();
    rig.finish();
}

#[test]
fn a_kernel_image_that_is_none_is_refused_before_anything_is_made() {
    let Some(rig) = Rig::new("qemu") else { return };
    let garbage = rig.folder().join("garbage");
    std::fs::write(&garbage, vec![0; 1 << 20]).unwrap();
    let refused = rig.open_another(&format!("qemu:kernel=\"{}\"", garbage.display())).unwrap_err();
    assert!(refused.message.contains("not a Linux kernel image"), "{refused}");
    rig.finish();
}

#[test]
fn a_guest_whose_init_fails_ends_with_its_words_from_the_console() {
    let Some(mut rig) = Rig::without_data_disk_module() else { return };
    let mut guest = rig.launch(MEMORY_BYTES);
    let error = guest.ask(&Request::Hello).unwrap_err();
    assert!(!guest::is_timeout(&error), "a guest that powered off is gone, not slow: {error}");
    let diagnosis = guest.vessel.diagnose();
    assert!(diagnosis.words.contains("plimsoll guest: data disk /dev/vda is missing"), "{}", diagnosis.words);
    assert!(diagnosis.words.contains("QEMU ended"), "{}", diagnosis.words);
    guest.finish();
    rig.finish();
}

#[test]
fn a_guest_that_never_boots_is_a_timeout_and_can_be_torn_down() {
    let Some(mut rig) = Rig::with_a_kernel_that_hangs() else { return };
    let mut guest = rig.launch(MEMORY_BYTES);
    let error = guest.ask_within(&Request::Hello, Duration::from_secs(2)).unwrap_err();
    assert!(guest::is_timeout(&error), "{error}");
    let diagnosis = guest.vessel.diagnose();
    assert!(diagnosis.words.contains("its machine is running"), "{}", diagnosis.words);
    assert!(diagnosis.words.contains("the guest's console is empty"), "{}", diagnosis.words);
    guest.finish();
    rig.finish();
}

#[test]
fn a_qemu_killed_during_a_request_is_an_end_and_not_a_hang() {
    let Some(mut rig) = Rig::new("qemu") else { return };
    let mut guest = rig.launch(MEMORY_BYTES);
    guest.hello();
    guest.prepare("null", Parameters::default());
    guest.send(&Request::Slice(SliceOrder { lead_in_ns: 0, slice_ns_min: 60_000_000_000 }));
    guest.kill();
    let error = guest.try_receive().unwrap_err();
    assert!(!guest::is_timeout(&error), "{error}");
    let diagnosis = guest.vessel.diagnose();
    assert!(diagnosis.words.contains("QEMU ended (signal 9"), "{}", diagnosis.words);
    guest.finish();
    rig.finish();
}

#[test]
fn a_container_runs_inside_a_guest() {
    let Some(mut rig) = Rig::new("qemu/sandbox") else { return };
    let mut guest = rig.launch(MEMORY_BYTES);
    guest.hello();
    let outside = guest.observe();
    let data_dir = guest.nest("sandbox");
    let hello = guest.hello();
    assert!(hello.pid > 1, "{hello:?}");
    let inside = guest.observe_at(&data_dir);
    assert_eq!(inside.kernel_release, outside.kernel_release);
    assert_ne!(inside.root_filesystem, outside.root_filesystem);
    guest.prepare_at("null", Parameters::default(), &data_dir);
    assert!(guest.slice().work > 0.0);
    guest.finish();
    rig.finish();
}
#[test]
fn an_interruption_ends_a_launch_and_leaves_nothing() {
    let Some(mut rig) = Rig::new("qemu") else { return };
    let failure = rig.launch_interrupted(MEMORY_BYTES);
    assert_eq!(failure.cause, Cause::Interrupted, "{failure}");
    rig.finish();
}

#[test]
fn where_kvm_executes_no_guest_whatever_needs_it_is_refused_with_the_reason() {
    if Rig::new("qemu").map(Rig::finish).is_none() {
        return;
    }
    let Usability::Usable { details, labels } = guest::probe("qemu") else { panic!("{:?}", guest::probe("qemu")) };
    let emulated = details["accelerator"] == "tcg";
    assert_eq!(labels.contains(&"emulated".to_owned()), emulated);
    for environment in ["qemu:accel=kvm", "qemu:machine=microvm"] {
        match guest::probe(environment) {
            Usability::Usable { labels, .. } => assert!(!emulated && !labels.contains(&"emulated".to_owned())),
            Usability::Unusable { why, remedy } => {
                assert!(emulated && why.contains("kvm: ") && remedy.is_some(), "{why}");
            }
        }
    }
    let Usability::Unusable { why, .. } = guest::probe("qemu:accel=tcg,machine=microvm") else { panic!("usable") };
    assert!(why.contains("microvm under tcg"), "{why}");
}
