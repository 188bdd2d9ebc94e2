use super::*;

fn container() -> Container {
    Container {
        root: PathBuf::from("/data/root"),
        cgroup: "/plimsoll-x-1/c".to_owned(),
        memory_bytes: Some(1 << 30),
        data: Data::Overlay,
        own_network: true,
        network_is_ours: true,
        seccomp: true,
        user_namespace: false,
    }
}

fn destinations(config: &Value) -> Vec<&str> {
    config["mounts"].as_array().unwrap().iter().filter_map(|mount| mount["destination"].as_str()).collect()
}

#[test]
#[expect(clippy::too_many_lines, reason = "the configuration is one long value")]
fn the_configuration_is_what_docker_would_give() {
    let mut config = config(&container());
    // Long lists that have their own tests.
    config["linux"]["seccomp"]["syscalls"] = json!("...");
    config["process"]["capabilities"] = json!("...");
    config["mounts"] = json!("...");
    insta::assert_snapshot!(serde_json::to_string_pretty(&config).unwrap(), @r#"
    {
      "hostname": "plimsoll",
      "linux": {
        "cgroupsPath": "/plimsoll-x-1/c",
        "maskedPaths": [
          "/proc/acpi",
          "/proc/asound",
          "/proc/kcore",
          "/proc/keys",
          "/proc/latency_stats",
          "/proc/sched_debug",
          "/proc/scsi",
          "/proc/timer_list",
          "/sys/firmware"
        ],
        "namespaces": [
          {
            "type": "pid"
          },
          {
            "type": "ipc"
          },
          {
            "type": "uts"
          },
          {
            "type": "mount"
          },
          {
            "type": "cgroup"
          },
          {
            "type": "network"
          }
        ],
        "readonlyPaths": [
          "/proc/bus",
          "/proc/fs",
          "/proc/irq",
          "/proc/sys",
          "/proc/sysrq-trigger"
        ],
        "resources": {
          "devices": [
            {
              "access": "rwm",
              "allow": false
            }
          ],
          "memory": {
            "limit": 1073741824
          }
        },
        "seccomp": {
          "defaultAction": "SCMP_ACT_ALLOW",
          "syscalls": "..."
        }
      },
      "mounts": "...",
      "ociVersion": "1.0.2",
      "process": {
        "args": [
          "plimsoll",
          "agent"
        ],
        "capabilities": "...",
        "cwd": "/",
        "env": [
          "PATH=/plimsoll:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
          "HOME=/"
        ],
        "noNewPrivileges": true,
        "terminal": false,
        "user": {
          "gid": 0,
          "uid": 0
        }
      },
      "root": {
        "path": "/data/root",
        "readonly": false
      }
    }
    "#);
}

#[test]
fn each_mount_has_dockers_options() {
    let config = config(&container());
    let lines: Vec<String> = config["mounts"].as_array().unwrap().iter().map(Value::to_string).collect();
    insta::assert_snapshot!(lines.join("\n"), @r#"
    {"destination":"/proc","options":["nosuid","noexec","nodev"],"source":"proc","type":"proc"}
    {"destination":"/dev","options":["nosuid","strictatime","mode=755","size=65536k"],"source":"tmpfs","type":"tmpfs"}
    {"destination":"/dev/pts","options":["nosuid","noexec","newinstance","ptmxmode=0666","mode=0620"],"source":"devpts","type":"devpts"}
    {"destination":"/dev/shm","options":["nosuid","noexec","nodev","mode=1777","size=67108864"],"source":"tmpfs","type":"tmpfs"}
    {"destination":"/dev/mqueue","options":["nosuid","noexec","nodev"],"source":"mqueue","type":"mqueue"}
    {"destination":"/sys","options":["nosuid","noexec","nodev","ro"],"source":"sysfs","type":"sysfs"}
    {"destination":"/sys/fs/cgroup","options":["nosuid","noexec","nodev","relatime","ro"],"source":"cgroup","type":"cgroup"}
    "#);
}

#[test]
fn data_lie_where_the_option_says() {
    let volume = config(&Container { data: Data::Volume(PathBuf::from("/host/volume")), ..container() });
    let last = volume["mounts"].as_array().unwrap().last().unwrap().clone();
    assert_eq!((&last["destination"], &last["source"]), (&json!(DATA_PATH), &json!("/host/volume")));
    let memory = config(&Container { data: Data::Memory, ..container() });
    assert_eq!(memory["mounts"].as_array().unwrap().last().unwrap()["type"], "tmpfs");
    assert!(!destinations(&config(&container())).contains(&DATA_PATH));
}

#[test]
fn the_hosts_network_is_one_namespace_less() {
    let kinds = |own_network| {
        let config = config(&Container { own_network, ..container() });
        config["linux"]["namespaces"].as_array().unwrap().len()
    };
    assert_eq!(kinds(true), kinds(false) + 1);
}

#[test]
fn a_user_namespace_gets_nothing_that_needs_root() {
    let config = config(&Container { user_namespace: true, network_is_ours: false, memory_bytes: None, ..container() });
    assert!(config["linux"].get("resources").is_none());
    assert!(!destinations(&config).contains(&"/sys/fs/cgroup"));
    let sys = config["mounts"].as_array().unwrap().iter().find(|mount| mount["destination"] == "/sys").unwrap();
    assert_eq!(sys["source"], "/sys", "the host's is shown");
}

#[test]
fn without_a_filter_there_is_no_profile() {
    assert!(config(&Container { seccomp: false, ..container() })["linux"].get("seccomp").is_none());
}

#[test]
fn the_filter_compiles_for_this_architecture() {
    assert_eq!(filters().unwrap().len(), 2);
}
