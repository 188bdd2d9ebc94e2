//! Plans for hosts that we do not have, and one for this.

use super::*;

const DEBIAN: &str = "PRETTY_NAME=\"Debian GNU/Linux 12\"\nID=debian\n";
const UBUNTU: &str = "ID=ubuntu\nID_LIKE=debian\n";
const FEDORA: &str = "ID=fedora\n";

/// The commands for all engines on a host that has only its package manager.
fn commands(manager: &'static str, os_release: &str) -> (Vec<String>, Vec<String>) {
    let host = Host {
        has_program: &|name| name == manager,
        os_release: os_release.to_owned(),
        architecture: "x86_64",
        docker_socket: false,
        package_lists: true,
        guest_kernel: true,
        root: true,
    };
    let plan = host.plan(&[]);
    (plan.commands(), plan.by_hand)
}

fn check(manager: &'static str, os_release: &str, expected: &[&str]) {
    assert_eq!(commands(manager, os_release).0, expected);
}

#[test]
fn a_bare_debian_gets_everything_from_apt_and_the_emulator_before_its_tools() {
    let apt = "DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends";
    let packages = ["docker.io", "runc", "crun", "runsc", "qemu-system-x86", "qemu-utils", "e2fsprogs"];
    let expected: Vec<String> = packages.iter().map(|package| format!("{apt} {package}")).collect();
    assert_eq!(commands("apt-get", DEBIAN), (expected, Vec::new()));
}

#[test]
fn ubuntu_is_told_where_gvisor_comes_from() {
    let (commands, by_hand) = commands("apt-get", UBUNTU);
    assert_eq!(commands.len(), 6);
    let sentence = "this distribution has no package with `runsc`: see https://gvisor.dev/docs/user_guide/install/";
    assert_eq!(by_hand, [sentence]);
}

#[test]
fn fedora_uses_dnf() {
    check(
        "dnf",
        FEDORA,
        &[
            "dnf install -y --setopt=install_weak_deps=False moby-engine",
            "dnf install -y --setopt=install_weak_deps=False runc",
            "dnf install -y --setopt=install_weak_deps=False crun",
            "dnf install -y --setopt=install_weak_deps=False qemu-system-x86-core",
            "dnf install -y --setopt=install_weak_deps=False qemu-img",
            "dnf install -y --setopt=install_weak_deps=False e2fsprogs",
        ],
    );
}

#[test]
fn an_enterprise_linux_has_no_docker_package() {
    let (commands, by_hand) = commands("dnf", "ID=\"rhel\"\n");
    assert!(commands.iter().all(|command| !command.contains("moby-engine")));
    assert!(by_hand.iter().any(|sentence| sentence.contains("docs.docker.com")), "{by_hand:?}");
}

#[test]
fn opensuse_uses_zypper() {
    check(
        "zypper",
        "ID=\"opensuse-tumbleweed\"\n",
        &[
            "zypper --non-interactive install --no-recommends docker",
            "zypper --non-interactive install --no-recommends runc",
            "zypper --non-interactive install --no-recommends crun",
            "zypper --non-interactive install --no-recommends qemu-x86",
            "zypper --non-interactive install --no-recommends qemu-tools",
            "zypper --non-interactive install --no-recommends e2fsprogs",
        ],
    );
}

#[test]
fn arch_uses_pacman() {
    check(
        "pacman",
        "ID=arch\n",
        &[
            "pacman -S --noconfirm --needed docker",
            "pacman -S --noconfirm --needed runc",
            "pacman -S --noconfirm --needed crun",
            "pacman -S --noconfirm --needed qemu-system-x86",
            "pacman -S --noconfirm --needed qemu-img",
            "pacman -S --noconfirm --needed e2fsprogs",
        ],
    );
}

#[test]
fn alpine_uses_apk() {
    check(
        "apk",
        "ID=alpine\n",
        &[
            "apk add --no-cache docker",
            "apk add --no-cache runc",
            "apk add --no-cache crun",
            "apk add --no-cache qemu-system-x86_64",
            "apk add --no-cache qemu-img",
            "apk add --no-cache e2fsprogs",
        ],
    );
}

fn debian<'a>(has_program: &'a dyn Fn(&str) -> bool) -> Host<'a> {
    Host {
        has_program,
        os_release: DEBIAN.to_owned(),
        architecture: "x86_64",
        docker_socket: false,
        package_lists: true,
        guest_kernel: true,
        root: true,
    }
}

#[test]
fn lists_are_refreshed_first_where_there_are_none_and_only_if_something_is_missing() {
    let bare = Host { package_lists: false, ..debian(&|name| name == "apt-get") };
    let plan = bare.plan(&["crun"]);
    assert_eq!(plan.commands()[0], "DEBIAN_FRONTEND=noninteractive apt-get update");
    assert_eq!(plan.commands().len(), 2);
    let complete = Host { package_lists: false, ..debian(&|_| true) };
    assert!(complete.plan(&[]).steps.is_empty());
}

#[test]
fn a_missing_guest_kernel_is_fetched_on_debian_and_named_by_hand_elsewhere() {
    let debian = Host { guest_kernel: false, ..debian(&|_| true) };
    let plan = debian.plan(&["qemu"]);
    assert!(plan.fetch_kernel && plan.steps.is_empty() && !plan.is_empty());
    assert!(plan.commands()[0].starts_with("plimsoll setup qemu   # unpacks"), "{:?}", plan.commands());
    assert!(debian.plan(&["docker"]).is_empty());
    let fedora = Host { has_program: &|name| name != "apt-get", os_release: FEDORA.to_owned(), ..debian };
    let plan = fedora.plan(&["qemu"]);
    assert!(!plan.fetch_kernel);
    assert!(plan.by_hand[0].contains("qemu:kernel=PATH"), "{:?}", plan.by_hand);
}

#[test]
fn only_what_is_missing_is_planned() {
    let host = debian(&|name| name != "qemu-img");
    let plan = host.plan(&["qemu", "runc"]);
    assert_eq!(plan.missing, [Missing { engine: "qemu", program: "qemu-img".to_owned() }]);
    assert_eq!(plan.steps.len(), 1);
    assert_eq!(plan.summary(), "qemu-img (for qemu)");
}

#[test]
fn a_docker_engine_that_answers_elsewhere_is_enough() {
    let host = Host { docker_socket: true, ..debian(&|name| name == "apt-get") };
    assert!(host.plan(&["docker"]).is_empty());
}

#[test]
fn no_kernel_is_ever_installed() {
    for (manager, os_release) in [("apt-get", DEBIAN), ("dnf", FEDORA), ("zypper", ""), ("pacman", ""), ("apk", "")] {
        let kernels = ["linux-image", "kernel", "linux-virt"];
        let commands = commands(manager, os_release).0;
        assert!(commands.iter().all(|command| !kernels.iter().any(|kernel| command.contains(kernel))), "{commands:?}");
    }
}

#[test]
fn without_root_the_commands_carry_sudo_and_nothing_is_started() {
    let host = Host { root: false, ..debian(&|name| name == "apt-get") };
    let plan = host.plan(&["crun"]);
    let error = carry_out(&plan, &mut Vec::new()).unwrap_err().to_string();
    let command = "sudo DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends crun";
    assert_eq!(error, format!("only root may install packages; run:\n{command}"));
}

#[test]
fn a_host_without_a_known_manager_is_told_so() {
    let plan = debian(&|_| false).plan(&["crun"]);
    assert!(plan.steps.is_empty());
    assert_eq!(plan.by_hand, ["no package manager that Plimsoll knows was found: install `crun` for crun by hand"]);
}

#[test]
fn an_unknown_engine_is_named_and_sandbox_needs_nothing() {
    let plan = debian(&|_| true).plan(&["sandbox", "dokcer"]);
    assert_eq!(plan.unknown, ["dokcer"]);
    assert!(plan.missing.is_empty() && !plan.is_empty());
}

#[test]
fn an_empty_plan_starts_nothing_and_says_so() {
    let mut out = Vec::new();
    carry_out(&debian(&|_| true).plan(&[]), &mut out).unwrap();
    assert_eq!(String::from_utf8(out).unwrap(), "nothing is missing\n");
}

#[test]
fn what_this_host_has_is_not_planned_again() {
    let plan = plan(&[]);
    for missing in &plan.missing {
        assert!(!has_program(&missing.program), "{missing:?}");
    }
    let planned: Vec<&str> = plan.missing.iter().map(|missing| missing.program.as_str()).collect();
    for program in ["runc", "crun", "runsc", "qemu-img"].iter().filter(|program| has_program(program)) {
        assert!(!planned.contains(program), "{program}");
    }
}

#[test]
fn lists_of_packages_are_recognised() {
    let folder = tempfile::tempdir().unwrap();
    assert!(!apt_has_lists(folder.path()));
    assert!(!apt_has_lists(&folder.path().join("absent")));
    std::fs::write(folder.path().join("deb.example_main_binary-amd64_Packages.lz4"), "").unwrap();
    assert!(apt_has_lists(folder.path()));
}

fn shell(script: &str, brings: Option<&str>) -> Step {
    let argv = ["sh", "-c", script].map(str::to_owned).to_vec();
    Step { argv, environment: Vec::new(), brings: brings.map(str::to_owned), manager: Manager::Apk }
}

#[test]
fn a_failed_command_is_named_with_its_last_words() {
    let install = |step: &Step| carry_out::install(step, &mut true, &mut |_| Ok(()));
    let error = install(&shell("echo no such package >&2; exit 7", None)).unwrap_err();
    let SetupError::Failed { status, tail, log, .. } = &error else { panic!("{error}") };
    assert_eq!((status.as_str(), tail.as_str()), ("exit status: 7", "no such package"));
    std::fs::remove_file(log).unwrap();
    let error = install(&shell("true", Some("no-such-program-anywhere"))).unwrap_err();
    assert!(matches!(error, SetupError::StillMissing { .. }), "{error}");
}
