//! The rules: the "never" column of the architecture, and who may use what. Data only.

/// What sources below a path must not mention, except below some of its paths.
pub(crate) struct Rule {
    /// Start of the path from the workspace's root.
    pub(crate) below: &'static str,
    /// Starts of paths that are free of it.
    pub(crate) except: &'static [&'static str],
    /// Paths or words that must not stand in code.
    pub(crate) never: &'static [&'static str],
    /// Why.
    pub(crate) because: &'static str,
}

const PROGRAM: &str = "crates/plimsoll/src/";
const HIDDEN: &str = "crates/plimsoll/src/cli/hidden.rs";
const ENCLOSURE: &str = "crates/plimsoll/src/launch/enclosure.rs";

/// Every rule.
pub(crate) const RULES: &[Rule] = &[
    Rule {
        below: "crates/plimsoll/src/environment",
        except: &[],
        never: &[
            "std::fs",
            "std::process",
            "std::net",
            "std::env",
            "std::io",
            "nix",
            "crate::launch",
            "crate::probe",
            "crate::plan",
            "crate::rounds",
            "crate::store",
            "crate::analysis",
            "crate::report",
            "crate::sample",
        ],
        because: "the nouns do no I/O and depend on nothing",
    },
    Rule {
        below: "crates/plimsoll/src/plan",
        except: &[],
        never: &[
            "std::process",
            "std::net",
            "nix",
            "crate::probe",
            "crate::setup",
            "crate::store",
            "crate::analysis",
            "crate::report",
            "/proc/",
            "/sys/",
        ],
        because: "a plan is checked without looking at the host",
    },
    Rule {
        below: "crates/plimsoll/src/probe",
        except: &[],
        never: &[
            "LaunchOrder",
            "crate::plan",
            "crate::rounds",
            "crate::store",
            "crate::analysis",
            "crate::report",
            "crate::setup",
        ],
        because: "a probe never starts the plan's environments and installs nothing",
    },
    Rule {
        below: PROGRAM,
        except: &["crates/plimsoll/src/setup", "crates/plimsoll/src/cli"],
        never: &["crate::setup"],
        because: "no run needs an installation",
    },
    Rule {
        below: "crates/plimsoll/src/launch",
        except: &[],
        never: &[
            "crate::store",
            "crate::analysis",
            "crate::report",
            "crate::plan",
            "crate::probe",
            "plimsoll_stats",
            "rusqlite",
            "rounds::schedule",
            "rounds::walk",
            "rounds::Event",
        ],
        because: "places know neither order nor store nor analysis",
    },
    Rule {
        below: "crates/plimsoll/src/rounds",
        except: &[],
        never: &[
            "std::process",
            "std::fs",
            "std::net",
            "nix",
            "crate::launch",
            "crate::probe",
            "crate::store",
            "crate::analysis",
            "crate::report",
            "plimsoll_stats",
            "rusqlite",
        ],
        because: "the loop that measures starts no process, keeps no file and computes no statistic",
    },
    Rule {
        below: "crates/plimsoll/src/sample",
        except: &[],
        never: &[
            "plimsoll_stats",
            "rusqlite",
            "crate::launch",
            "crate::rounds",
            "crate::store",
            "crate::analysis",
            "crate::report",
        ],
        because: "records flow; they compute and store nothing",
    },
    Rule {
        below: "crates/plimsoll/src/evidence",
        except: &[],
        never: &["plimsoll_stats", "rusqlite", "crate::rounds", "crate::store", "crate::analysis", "crate::report"],
        because: "counters are read, not interpreted",
    },
    Rule {
        below: "crates/plimsoll/src/clock",
        except: &[],
        never: &["plimsoll_stats", "rusqlite", "crate::launch", "crate::rounds", "crate::store", "crate::analysis"],
        because: "the clock knows nobody",
    },
    Rule {
        below: "crates/plimsoll/src/store",
        except: &[],
        never: &["plimsoll_stats", "crate::analysis", "crate::launch", "crate::report", "crate::probe"],
        because: "the store keeps raw records, never a derived number",
    },
    Rule {
        below: PROGRAM,
        except: &["crates/plimsoll/src/store"],
        never: &["rusqlite"],
        because: "the store has the only SQL",
    },
    Rule {
        below: "crates/plimsoll/src/analysis",
        except: &[],
        never: &[
            "std::fs",
            "std::io",
            "std::process",
            "std::net",
            "std::env",
            "std::time::Instant",
            "std::time::SystemTime",
            "nix",
            "rusqlite",
            "crate::clock",
            "crate::launch",
            "crate::probe",
            "crate::store",
            "crate::report",
            "crate::rounds::walk",
        ],
        because: "the same run file gives the same bytes: no I/O and no clock",
    },
    Rule {
        below: "crates/plimsoll/src/report",
        except: &[],
        never: &[
            "std::fs",
            "std::process",
            "std::net",
            "File::open",
            "File::create",
            "plimsoll_stats",
            "rusqlite",
            "crate::store",
            "crate::launch",
            "crate::probe",
        ],
        because: "a report is built for a writer that it is given; it computes no number and opens no file",
    },
    Rule {
        below: PROGRAM,
        // The guest's init has a console and no caller; the enclosure is a child of ours whose streams are pipes.
        except: &["crates/plimsoll/src/cli", "crates/plimsoll/src/main.rs", "crates/plimsoll/src/guest", ENCLOSURE],
        never: &[
            "crate::cli",
            "println!",
            "print!",
            "eprintln!",
            "eprint!",
            "std::io::stdout",
            "io::stdout",
            "std::io::stderr",
            "io::stderr",
        ],
        because: "only `cli` talks to the terminal, and nobody imports it",
    },
    Rule {
        below: PROGRAM,
        // `private-docker -- COMMAND` starts the command that it was given.
        except: &["crates/plimsoll/src/launch", "crates/plimsoll/src/probe", "crates/plimsoll/src/setup", HIDDEN],
        never: &["Command::new", "std::process::Command", "std::process::Child"],
        because: "processes are started where they are bounded and ended",
    },
    Rule {
        below: PROGRAM,
        except: &["crates/plimsoll/src/clock.rs"],
        never: &["Instant::now", "SystemTime::now"],
        because: "one place reads time",
    },
    Rule {
        below: PROGRAM,
        // The guest's init has nothing to return to.
        except: &["crates/plimsoll/src/guest", "crates/plimsoll/src/main.rs"],
        never: &["process::exit"],
        because: "clean-up would not run; return an exit code to `main`",
    },
    Rule {
        below: "crates/plimsoll-stats/src",
        except: &[],
        never: &["std::fs", "std::io", "std::process", "std::net", "std::env", "std::time"],
        because: "numbers in, numbers out",
    },
    Rule {
        below: "crates/plimsoll-protocol/src",
        except: &[],
        never: &["std::fs", "std::process", "std::net", "std::env", "std::time::Instant", "std::time::SystemTime"],
        because: "messages and framing, nothing else",
    },
    Rule {
        below: "crates/plimsoll-agent/src",
        except: &[],
        never: &["PLIMSOLL_ENVIRONMENT", "plimsoll::"],
        because: "the agent is never told where it is",
    },
    Rule { below: "crates/", except: &[], never: &["unsafe"], because: "unsafe code lives in one `sys.rs` per crate" },
];

/// Dependencies that a crate may have; the program itself may have any.
pub(crate) const DEPENDENCIES: &[(&str, &[&str])] = &[
    ("plimsoll-stats", &["proptest", "insta", "serde", "serde_json", "statrs"]),
    ("plimsoll-protocol", &["serde", "serde_json", "postcard", "thiserror", "proptest"]),
    (
        "plimsoll-agent",
        &[
            "plimsoll-protocol",
            "hdrhistogram",
            "io-uring",
            "liblzma",
            "nix",
            "serde",
            "serde_json",
            "sha2",
            "thiserror",
            "tempfile",
            "proptest",
        ],
    ),
];

/// Names that say nothing.
pub(crate) const EMPTY_NAMES: &[&str] = &["util", "utils", "common", "helper", "helpers", "manager", "misc", "imp"];

/// Words that the glossary must define.
pub(crate) const WORDS: &[&str] = &[
    "agent",
    "arm",
    "block",
    "bundle",
    "comparison",
    "engine",
    "environment",
    "evidence",
    "journal",
    "layer",
    "mishap",
    "parked",
    "peer",
    "pen",
    "place",
    "run file",
    "service",
    "session",
    "slice",
    "unit",
    "verdict",
    "vessel",
    "visit",
    "workload",
];
