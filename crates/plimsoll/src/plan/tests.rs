//! Plans that are right, and everything that is wrong with those that are not.

use super::*;
use crate::environment::{OptionAbout, Values};
use crate::sample::Arm;

static BOX: EngineAbout = EngineAbout {
    name: "sandbox",
    summary: "",
    needs: "",
    virtual_machine: false,
    nests_in_guest: true,
    options: &[OptionAbout { key: "net", values: Values::OneOf(&["none", "host"]), default: "none", meaning: "" }],
    rules: &[],
};
static OTHER: EngineAbout = EngineAbout {
    name: "docker",
    summary: "",
    needs: "",
    virtual_machine: false,
    nests_in_guest: false,
    options: &[],
    rules: &[],
};
static GVISOR: EngineAbout = EngineAbout {
    name: "gvisor",
    summary: "",
    needs: "",
    virtual_machine: false,
    nests_in_guest: false,
    options: &[],
    rules: &[],
};
static VM: EngineAbout = EngineAbout {
    name: "qemu",
    summary: "",
    needs: "",
    virtual_machine: true,
    nests_in_guest: false,
    options: &[],
    rules: &[],
};

fn check(wishes: Wishes) -> Result<Plan, Vec<String>> {
    Plan::check(wishes, &[&BOX, &OTHER, &GVISOR, &VM])
        .map_err(|errors| errors.iter().map(ToString::to_string).collect())
}

fn said(words: &[&str]) -> Vec<Said<String>> {
    words.iter().map(|word| Said::new((*word).to_owned(), "-e")).collect()
}

fn host() -> HostNumbers {
    HostNumbers {
        takes_direct_io: true,
        cpus: vec![1],
        shared_cpu: false,
        memory_available_bytes: 24 << 30,
        disk_free_bytes: 80 << 30,
        cache_bytes: 36 << 20,
    }
}

#[test]
fn no_wishes_are_the_quick_preset() {
    let plan = check(Wishes::default()).unwrap();
    assert_eq!(plan.preset.as_deref(), Some("quick"));
    let names: Vec<&str> = plan.environments.iter().map(|planned| planned.environment.name()).collect();
    assert_eq!(names, ["native", "sandbox", "docker", "gvisor", "qemu", "qemu/sandbox"]);
    assert!(plan.environments.iter().all(|planned| !planned.by_name));
    assert!(plan.blocks >= 5);
}

#[test]
fn native_is_always_first_and_never_twice() {
    let plan = check(Wishes { environments: said(&["sandbox", "native"]), ..Wishes::default() }).unwrap();
    let names: Vec<&str> = plan.environments.iter().map(|planned| planned.environment.name()).collect();
    assert_eq!(names, ["native", "sandbox"]);
}

#[test]
fn a_family_stands_for_its_workloads_in_the_table_order() {
    let plan = check(Wishes { workloads: said(&["start,cpu", "cpu.lzma"]), ..Wishes::default() }).unwrap();
    let names: Vec<&str> = plan.workloads.iter().map(|workload| workload.about().name).collect();
    assert_eq!(names, ["cpu.lzma", "cpu.lu", "start.ready"]);
}

#[test]
fn everything_that_is_wrong_is_said_at_once_and_with_its_place() {
    let wishes = Wishes {
        environments: said(&["sandbx", "sandbox:net=hosts", "qemu", "qemu"]),
        workloads: vec![Said::new("cpu.lzna,disk".into(), "-w")],
        blocks: Some(Said::new(0, "plan.toml line 2")),
        precision: Some(Said::new("1".into(), "--precision")),
        memory: Some(Said::new("1MiB".into(), "--memory")),
        cpus: Some(Said::new("5-3".into(), "--cpus")),
        ..Wishes::default()
    };
    assert_eq!(
        check(wishes).unwrap_err(),
        [
            "--precision: `1` is no percentage; write it like 1%",
            "-e: environment `sandbx`: unknown layer `sandbx`; did you mean `sandbox`?",
            "-e: environment `sandbox:net=hosts`: `net=hosts`; did you mean `host`?",
            "-e: environment `qemu` is named twice",
            "-w: unknown workload `cpu.lzna`; did you mean `cpu.lzma`?",
            "plan.toml line 2: must be between 1 and 1000",
            "--cpus: `5-3` is no list of CPUs; write it like 1,3-5",
            "--memory: must be at least 64MiB",
        ]
    );
}

#[test]
fn a_preset_that_does_not_exist_is_suggested() {
    let wishes = Wishes { preset: Some(Said::new("quik".into(), "--preset")), ..Wishes::default() };
    assert_eq!(check(wishes).unwrap_err(), ["--preset: unknown preset `quik`; did you mean `quick`?"]);
}

#[test]
fn a_flag_beats_the_file_and_the_file_beats_the_preset() {
    let file = file::read("p", "blocks = 7\nslices = 9\n").unwrap();
    let flags = Wishes { blocks: Some(Said::new(8, "--blocks")), ..Wishes::default() };
    let plan = check(flags.or(file)).unwrap();
    assert_eq!((plan.blocks, plan.slices), (8, 9));
}

#[test]
fn a_run_for_precision_is_not_cut_at_the_presets_blocks() {
    let wishes = Wishes { precision: Some(Said::new("1%".into(), "--precision")), ..Wishes::default() };
    assert!(check(wishes).unwrap().blocks > 10);
}

#[test]
fn an_unknown_parameter_or_one_out_of_range_is_refused() {
    let file = file::read("p", "[parameters.\"cpu.lzma\"]\ninput_byte = 5\nthreads = 999999\n").unwrap();
    let errors = check(file).unwrap_err();
    assert_eq!(errors.len(), 2, "{errors:?}");
}

#[test]
fn what_does_not_fit_at_once_is_split_into_groups_with_two_natives_each() {
    let plan = check(Wishes::default()).unwrap();
    let roomy = plan.settle(&host(), Vec::new(), 1).unwrap();
    assert_eq!(roomy.record.groups, [[0, 1, 2, 3, 4, 5]]);
    let tight = plan.settle(&HostNumbers { memory_available_bytes: 8 << 30, ..host() }, Vec::new(), 1).unwrap();
    assert_eq!(tight.record.groups, [vec![0, 1, 2], vec![0, 3], vec![0, 4], vec![0, 5]]);
    for group in &tight.design.groups {
        assert_eq!(group[..2], [Arm { environment: 0, replica: 1 }, Arm { environment: 0, replica: 2 }]);
    }
}

#[test]
fn what_is_unusable_takes_no_part() {
    let plan = check(Wishes::default()).unwrap();
    let unusable = crate::sample::UnusableRecord {
        environment: "docker".into(),
        why: "no engine".into(),
        remedy: None,
        asked_by_name: false,
    };
    let settled = plan.settle(&host(), vec![unusable], 1).unwrap();
    assert_eq!(settled.record.environments, ["native", "sandbox", "gvisor", "qemu", "qemu/sandbox"]);
    assert_eq!(settled.environments.len(), 5);
}

#[test]
fn a_workload_that_the_limits_cannot_hold_is_refused_with_a_remedy() {
    let wishes = Wishes {
        workloads: said(&["mem.triad"]),
        memory: Some(Said::new("64MiB".into(), "--memory")),
        ..Wishes::default()
    };
    let errors = check(wishes).unwrap().settle(&host(), Vec::new(), 1).unwrap_err();
    assert_eq!(errors[0].at, "workload mem.triad");
    assert!(errors[0].message.contains("--memory"), "{}", errors[0].message);
}

#[test]
fn a_size_that_the_plan_sets_is_taken_where_the_usual_one_would_not_fit() {
    let written = file::read("p", "memory = \"64MiB\"\n[parameters.\"mem.triad\"]\narray_bytes = 8388608\n").unwrap();
    let wishes = Wishes { workloads: said(&["mem.triad"]), ..written };
    let settled = check(wishes).unwrap().settle(&host(), Vec::new(), 1).unwrap();
    assert_eq!(settled.record.workloads[0].parameters["array_bytes"], "8388608");
}

#[test]
fn sizes_are_the_same_whatever_environments_take_part() {
    let parameters = |environments: &[&str]| {
        let plan = check(Wishes { environments: said(environments), ..Wishes::default() }).unwrap();
        let settled = plan.settle(&host(), Vec::new(), 1).unwrap();
        settled.design.workloads.iter().map(|workload| workload.order.clone()).collect::<Vec<_>>()
    };
    assert_eq!(parameters(&["sandbox"]), parameters(&["sandbox", "docker", "qemu"]));
}

fn settled_with(memory: &str, text: &str) -> Result<Settled, Vec<PlanError>> {
    let flags = Wishes {
        environments: said(&["sandbox"]),
        workloads: said(&["mem.triad", "disk.randread"]),
        memory: Some(Said::new(memory.into(), "--memory")),
        ..Wishes::default()
    };
    check(flags.or(file::read("p", text).unwrap())).unwrap().settle(&host(), Vec::new(), 1)
}

#[test]
fn the_advice_to_write_a_smaller_size_can_be_followed() {
    assert!(settled_with("512MiB", "").is_err());
    let settled = settled_with("512MiB", "[parameters.\"mem.triad\"]\narray_bytes = 4194304\n").unwrap();
    assert_eq!(settled.record.workloads[0].parameters["array_bytes"], "4194304");
}

#[test]
fn written_sizes_must_fit_the_limits_and_the_free_disk() {
    for (name, key) in [("mem.triad", "array_bytes"), ("disk.randread", "file_bytes")] {
        let text = format!("[parameters.\"{name}\"]\n{key} = 1099511627776\n");
        assert_eq!(settled_with("2GiB", &text).unwrap_err()[0].at, format!("workload {name}"));
    }
}

#[test]
fn the_default_memory_holds_every_workload_on_hosts_with_many_cpus() {
    for cpus in [1, 2, 64, 256_u32] {
        for cache_bytes in [0, 36 << 20, 512 << 20] {
            let room = plimsoll_agent::workload::Room {
                cpus,
                memory_bytes: settle::default_memory(cache_bytes, u64::from(cpus)),
                disk_bytes: 8 << 30,
                files_bytes_max: 768 << 20,
                cache_bytes,
            };
            for workload in WORKLOADS {
                let sized = workload.size(&room, &Parameters::default());
                assert!(sized.is_ok(), "{cpus} CPUs, {cache_bytes} bytes of cache: {sized:?}");
            }
        }
    }
}

#[test]
fn what_is_named_without_a_preset_has_the_default_blocks_and_slices() {
    let named = check(Wishes { environments: said(&["sandbox"]), ..Wishes::default() }).unwrap();
    assert_eq!((named.blocks, named.slices, &named.points), (5, 3, &Points::All));
    let preset = Some(Said::new("standard".to_owned(), "--preset"));
    let both = check(Wishes { preset, environments: said(&["sandbox"]), ..Wishes::default() }).unwrap();
    assert_eq!((both.blocks, both.slices, &both.points), (10, 3, &Points::Of(Vec::new())));
}

#[test]
fn a_preset_of_a_later_version_is_no_typing_error() {
    for name in ["network", "apps", "vm", "paper"] {
        let wishes = Wishes { preset: Some(Said::new(name.to_owned(), "--preset")), ..Wishes::default() };
        let expected = format!("--preset: preset `{name}` is not in this version; there is quick, standard, storage");
        assert_eq!(check(wishes).unwrap_err(), [expected]);
    }
}

#[test]
fn the_record_says_each_workloads_tolerance_of_warm_up() {
    let settled = check(Wishes::default()).unwrap().settle(&host(), Vec::new(), 1).unwrap();
    let tolerances = |name: &str| settled.record.workloads.iter().find(|it| it.name == name).unwrap().warm_up_tolerance;
    assert_eq!((tolerances("cpu.lzma"), tolerances("disk.randread")), (0.10, 0.15));
}

fn settled_on(host: &HostNumbers, memory: Option<&str>, environments: &[&str]) -> Result<Settled, Vec<String>> {
    let wishes = Wishes {
        environments: said(environments),
        memory: memory.map(|memory| Said::new(memory.into(), "--memory")),
        workloads: said(&["null", "disk.randread"]),
        ..Wishes::default()
    };
    let settled = check(wishes).unwrap().settle(host, Vec::new(), 1);
    settled.map_err(|errors| errors.iter().map(ToString::to_string).collect())
}

#[test]
fn memory_that_the_host_does_not_have_is_refused_with_what_there_is() {
    assert!(settled_on(&host(), Some("8GiB"), &["sandbox"]).is_ok());
    let refused = settled_on(&host(), Some("9GiB"), &["sandbox"]).unwrap_err();
    assert_eq!(
        refused,
        [
            "--memory: two natives and one environment need 27648 MiB of memory, and there are 24576 MiB: choose a smaller \
          limit"
        ]
    );
    for huge in ["4TiB", "8388608TiB", "16777215TiB"] {
        assert_eq!(settled_on(&host(), Some(huge), &["sandbox"]).unwrap_err().len(), 1, "{huge}");
    }
}

#[test]
fn a_machine_counts_with_what_its_translator_may_take() {
    assert!(settled_on(&host(), Some("7936MiB"), &["sandbox"]).is_ok());
    assert!(settled_on(&host(), Some("7936MiB"), &["qemu"]).is_err(), "three times 7.75 GiB and 1.25 GiB exceed 24");
}

#[test]
fn what_does_not_fit_the_disk_at_once_is_split_into_groups() {
    let machines = ["qemu", "qemu/sandbox"];
    assert_eq!(settled_on(&host(), None, &machines).unwrap().record.groups, [[0, 1, 2]]);
    let small = HostNumbers { disk_free_bytes: 3 << 30, ..host() };
    assert_eq!(settled_on(&small, None, &machines).unwrap().record.groups, [[0, 1], [0, 2]]);
    let tiny = HostNumbers { disk_free_bytes: 1 << 30, ..host() };
    assert!(settled_on(&tiny, None, &machines).unwrap_err()[0].starts_with("--data: two natives and one environment"));
    assert!(settled_on(&tiny, None, &["sandbox"]).is_ok());
}

/// A file of so many bytes in these environments of this build, on a host with 24 GiB of memory and 80 GiB of disk.
fn with_files(mebibytes: u64, memory: &str, environments: &[&str]) -> Result<Settled, Vec<String>> {
    let written =
        file::read("p", &format!("[parameters.\"disk.randread\"]\nfile_bytes = {}\n", mebibytes << 20)).unwrap();
    let wishes = Wishes {
        environments: said(environments),
        workloads: said(&["disk.randread"]),
        memory: Some(Said::new(memory.into(), "--memory")),
        ..written
    };
    let settled = Plan::check(wishes, &crate::launch::engines::abouts()).unwrap().settle(&host(), Vec::new(), 1);
    settled.map_err(|errors| errors.iter().map(ToString::to_string).collect())
}

#[test]
fn a_guests_disk_is_as_large_as_the_largest_files_need() {
    let gibibytes =
        |mebibytes| with_files(mebibytes, "1GiB", &["qemu"]).unwrap().data_disk_bytes as f64 / 1024_f64.powi(3);
    assert_eq!([gibibytes(32), gibibytes(768), gibibytes(769), gibibytes(3072)], [1.0, 1.0, 1.25, 4.0]);
    let refused = with_files(20 << 10, "1GiB", &["qemu"]).unwrap_err();
    assert!(refused[0].contains("choose another --data folder"), "{refused:?}");
}

#[test]
fn files_are_bound_by_a_guest_only_where_one_keeps_them_in_its_memory() {
    assert!(with_files(2048, "1GiB", &["sandbox"]).is_ok());
    assert!(with_files(2048, "1GiB", &["qemu:tuned", "qemu/sandbox"]).is_ok());
    let refused = with_files(433, "1GiB", &["qemu", "qemu:disk=initramfs"]).unwrap_err();
    assert_eq!(
        refused,
        [
            "workload disk.randread: disk.randread's file of 433 MiB does not fit the memory of a guest that keeps its data \
             there, which holds files of up to 432 MiB: set a smaller `file_bytes` in the plan, or a larger --memory"
        ]
    );
    assert!(with_files(432, "1GiB", &["qemu:disk=initramfs"]).is_ok());
    assert!(with_files(433, "2GiB", &["qemu:disk=initramfs"]).is_ok());
}

#[test]
fn a_guest_that_keeps_its_data_in_memory_takes_no_disk() {
    let tight = |environment: &str| {
        let wishes =
            Wishes { environments: said(&[environment]), workloads: said(&["disk.randread"]), ..Wishes::default() };
        let host = HostNumbers { disk_free_bytes: 1 << 30, ..host() };
        Plan::check(wishes, &crate::launch::engines::abouts()).unwrap().settle(&host, Vec::new(), 1)
    };
    assert!(tight("qemu").is_err());
    assert!(tight("qemu:disk=initramfs").is_ok());
}

fn settled_layers(text: &str) -> Result<Settled, Vec<String>> {
    let wishes = Wishes { workloads: said(&["disk.layers"]), ..file::read("p", text).unwrap() };
    let settled = check(wishes).unwrap().settle(&host(), Vec::new(), 1);
    settled.map_err(|errors| errors.iter().map(ToString::to_string).collect())
}

#[test]
fn a_plan_that_may_want_more_slices_than_there_is_data_for_is_refused_with_what_to_set() {
    assert!(settled_layers("slices = 3\n").is_ok());
    let expected = "workload disk.layers: 4 slices may take 8 turns in a launch, with those for slices that the host disturbs, \
                    and there is data for 6: set `rounds` to 8 in the plan, or fewer slices";
    assert_eq!(settled_layers("slices = 4\n").unwrap_err(), [expected]);
    assert!(settled_layers("slices = 4\n[parameters.\"disk.layers\"]\nrounds = 8\n").is_ok());
    let repeated = "slices = 50\n[parameters.\"disk.layers\"]\noperation = [\"again\", \"missing\"]\n";
    assert!(settled_layers(repeated).is_ok(), "what can be repeated has no end");
}

#[test]
fn a_disk_without_direct_io_is_refused_for_workloads_that_ask_for_it() {
    let host = HostNumbers { takes_direct_io: false, ..host() };
    let plan = |text: &str| check(file::read("p", text).unwrap()).unwrap();
    let refused = plan("workloads = [\"disk.randread\", \"disk.fsync\"]\n").settle(&host, Vec::new(), 1).unwrap_err();
    assert_eq!(refused.len(), 1);
    assert!(
        refused[0]
            .to_string()
            .contains("--data: the filesystem refuses direct I/O (O_DIRECT), which disk.randread ask")
    );
    assert!(!refused[0].message.contains("disk.fsync"));
    let buffered = "workloads = [\"disk.randread\"]\n[parameters.\"disk.randread\"]\naccess = \"buffered\"\n";
    assert!(plan(buffered).settle(&host, Vec::new(), 1).is_ok());
}

#[test]
fn the_disk_under_test_is_named_once() {
    let said = |flag: Option<&str>, device: Option<&str>| {
        let said = |text: Option<&str>, at: &str| text.map(|text| Said::new(text.to_owned(), at));
        Wishes { data: said(flag, "--data"), data_device: said(device, "p line 1"), ..Wishes::default() }
    };
    assert!(check(said(Some("/a"), Some("/dev/b"))).unwrap_err()[0].contains("leave one of them away"));
    // Flags beat the file whichever way they name it.
    let beaten = said(Some("/a"), None).or(said(None, Some("/dev/b")));
    assert_eq!(check(beaten).unwrap().data(), Some(&DataWish::Folder("/a".into())));
    let beaten = said(None, Some("/dev/b")).or(said(Some("/a"), None));
    assert_eq!(check(beaten).unwrap().data(), Some(&DataWish::Device("/dev/b".into())));
}
