use super::*;

fn tree(entries: &[(&str, &str)]) -> (tempfile::TempDir, Files) {
    let folder = tempfile::tempdir().unwrap();
    let files = Files::under(folder.path());
    for (path, text) in entries {
        let path = files.path(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    (folder, files)
}

#[test]
fn a_place_that_shows_nothing_is_observed_without_complaint() {
    let (_kept, files) = tree(&[]);
    let mut seen = files.observe(Path::new("/data"));
    seen.facts.remove("memory.page_bytes");
    assert_eq!(seen, Observation::default());
}

#[test]
fn every_field_is_read_from_its_file() {
    let (_kept, files) = tree(&[
        ("/proc/self/status", "Uid:\t5\t5\t5\t5\nSeccomp:\t2\nCapEff:\t0f\n"),
        (
            "/proc/self/mountinfo",
            "1 0 0:1 / / rw - overlay none rw,lowerdir=/l\n2 1 8:1 / /data rw - ext4 /dev/sda1 rw\n",
        ),
        ("/proc/meminfo", "MemTotal:       2048 kB\nMemFree:        1 kB\n"),
        ("/sys/devices/system/clocksource/clocksource0/current_clocksource", "tsc\n"),
        ("/sys/devices/system/cpu/online", "0-1\n"),
        ("/sys/devices/system/cpu/vulnerabilities/meltdown", "Mitigation: PTI\n"),
        ("/sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n"),
        ("/sys/class/net/eth0/address", "x"),
        ("/sys/class/net/bonding_masters", "x"),
    ]);
    let seen = files.observe(Path::new("/data/x"));
    assert_eq!((seen.uid, seen.seccomp_mode, seen.capabilities_effective), (5, 2, 15));
    assert_eq!((seen.memory_total_bytes, seen.cpus_online), (2 << 20, 2));
    assert!(seen.root_layers.is_some());
    assert_eq!((seen.root_filesystem.as_str(), seen.clock_source.as_str()), ("overlay", "tsc"));
    assert_eq!([seen.data_filesystem, seen.data_mount, seen.data_source], ["ext4", "/data", "/dev/sda1"]);
    assert_eq!(seen.data_options, "rw");
    assert_eq!(seen.interfaces, ["eth0"]);
    assert_eq!(seen.facts["mitigation.meltdown"], "Mitigation: PTI");
    assert_eq!(seen.facts["memory.thp"], "madvise");
}

#[test]
fn interfaces_come_from_proc_where_sys_is_hidden() {
    let dev = "Inter-|   Receive\n face |bytes\n    lo:    3193 0\n  eth0:0 0\n";
    let (_kept, files) = tree(&[("/proc/net/dev", dev)]);
    assert_eq!(files.interfaces(), ["eth0", "lo"]);
}

#[test]
fn a_fact_is_never_longer_than_its_bound() {
    let (_kept, files) = tree(&[("/proc/cpuinfo", &format!("flags : {}", "flag ".repeat(10_000)))]);
    assert!(files.facts(&[])["cpu.flags"].len() <= FACT_BYTES_MAX);
}

#[test]
fn this_process_sees_itself() {
    let folder = tempfile::tempdir().unwrap();
    let seen = observe(folder.path());
    assert_eq!(seen.pid, std::process::id());
    assert_eq!(seen.executable_sha256, digest(&std::env::current_exe().unwrap()).unwrap());
    assert!(seen.cpus_allowed >= 1 && seen.cpus_allowed <= seen.cpus_online, "{seen:?}");
    assert!(seen.memory_total_bytes > 0 && !seen.kernel_release.is_empty(), "{seen:?}");
    assert!(!seen.data_filesystem.is_empty() && !seen.data_mount.is_empty(), "{seen:?}");
}

#[test]
fn a_digest_is_the_published_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("abc");
    std::fs::write(&path, "abc").unwrap();
    assert_eq!(digest(&path).unwrap(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}
