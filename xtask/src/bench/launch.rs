//! How long a launch takes beside the usual way: sandbox and `runc run`, docker and `docker run --rm -i`, qemu and a bare
//! kernel that powers off at once. docs/benches.md says what each side includes.
//!
//! Ours is what a user gets: the time from the request to the agent's first answer, as a run of one block reports it
//! (`start.ready`). Each way is tried once before anything is counted. A pair that cannot be measured here is one line
//! that says why and what would help; an engine that fails in between ends the bench.

mod bare_kernel;
mod child;
mod reference;

use std::path::{Path, PathBuf};
use std::rc::Rc;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::{Pair, Way, measure, print};
use crate::tools;

const ROUNDS: usize = 21;
/// Says that a Docker engine answers at DOCKER_HOST, if there can be one.
const BESIDE_DOCKER: &str = "beside-docker";
/// The memory limit of every environment, ours and theirs.
const MEMORY_BYTES: u64 = 1 << 30;
/// On a disk, where /tmp may not be; `plimsoll run` keeps its data there as well.
const SCRATCH: &str = "/var/tmp";

/// The bench: `bench launch [ROUNDS]`.
pub(super) fn run(arguments: &[String]) -> Result<()> {
    let beside_docker = arguments.first().is_some_and(|argument| argument == BESIDE_DOCKER);
    let rest = if beside_docker { &arguments[1..] } else { arguments };
    let rounds = match rest {
        [] => ROUNDS,
        [rounds] => rounds.parse().ok().filter(|rounds| *rounds > 0).context("ROUNDS is no count")?,
        _ => bail!("takes the number of rounds and nothing else"),
    };
    if !beside_docker {
        tools::run(tools::cargo(&["build", "--release", "--package", "plimsoll"]))?;
    }
    let plimsoll = tools::built("release")?.join("plimsoll");
    let host = Host::asked(&plimsoll)?;
    if !beside_docker && host.lacks("docker").is_none() {
        return again_beside_docker(&plimsoll, rest);
    }
    let scratch = Scratch::make()?;
    let mut pairs = pairs(&host, &Rc::new(Ours { plimsoll, folder: scratch.0.clone() }))?;
    if pairs.is_empty() {
        bail!("no pair can be measured on this host");
    }
    print(&measure(&mut pairs, rounds)?);
    Ok(())
}

/// One Docker engine serves both sides: the one that runs, else a private one for as long as the bench takes.
fn again_beside_docker(plimsoll: &Path, rest: &[String]) -> Result<()> {
    let ourselves = std::env::current_exe().context("cannot find this executable")?;
    let mut command = tools::program(plimsoll, &["private-docker", "--"]);
    command.arg(ourselves).args(["bench", "launch", BESIDE_DOCKER]).args(rest);
    tools::run(command)
}

/// Every comparison that this host can make; says which it cannot.
fn pairs<'a>(host: &Host, ours: &Rc<Ours>) -> Result<Vec<Pair<'a>>> {
    type Make<'a> = fn(&Rc<Ours>) -> Result<Pair<'a>>;
    let all: [(&str, &[&str], Make<'a>); 3] = [
        ("sandbox / runc run", &["sandbox", "runc"], reference::runc),
        ("docker / docker run", &["docker"], reference::docker),
        ("qemu / bare kernel", &["qemu"], bare_kernel::pair),
    ];
    let mut pairs = Vec::new();
    for (name, needs, make) in all {
        match needs.iter().find_map(|engine| host.lacks(engine)).or_else(|| lacks_program(name)) {
            Some(lack) => println!("{name}: not measured: {lack}"),
            None => {
                let mut pair = make(ours).with_context(|| name.to_owned())?;
                (pair.theirs)().with_context(|| name.to_owned())?;
                pairs.push(pair);
            }
        }
    }
    Ok(pairs)
}

/// What a reference needs and Plimsoll does not.
fn lacks_program(name: &str) -> Option<String> {
    let missing = |program: &str| !tools::succeeds(tools::program(program, &["--version"]));
    match name {
        "docker / docker run" if missing("docker") => {
            Some("no program docker; remedy: install Docker's command line client".to_owned())
        }
        "qemu / bare kernel" if missing("cc") => Some("no program cc; remedy: install a C compiler".to_owned()),
        _ => None,
    }
}

/// What `plimsoll doctor` says of this host.
struct Host(Value);

impl Host {
    fn asked(plimsoll: &Path) -> Result<Self> {
        // Its exit code says how many engines are usable; what it prints says which.
        let output = tools::program(plimsoll, &["doctor", "--format", "json"]).output();
        let output = output.with_context(|| format!("cannot start {}", plimsoll.display()))?;
        Ok(Self(serde_json::from_slice(&output.stdout).context("`plimsoll doctor` printed no JSON")?))
    }

    /// Why an engine cannot be used, with the remedy; `None` if it can.
    fn lacks(&self, engine: &str) -> Option<String> {
        let environments = self.0["environments"].as_array()?;
        let Some(about) = environments.iter().find(|about| about["name"] == engine) else {
            return Some(format!("`plimsoll doctor` knows no `{engine}`"));
        };
        if about["usable"] == true {
            return None;
        }
        let why = about["why"].as_str().unwrap_or("no reason was given");
        Some(match about["remedy"].as_str() {
            Some(remedy) => format!("{why}; remedy: {remedy}"),
            None => why.to_owned(),
        })
    }
}

/// Launches through `plimsoll run`.
struct Ours {
    plimsoll: PathBuf,
    folder: PathBuf,
}

/// A launch of ours.
struct Launched {
    /// From the request to the agent's first answer.
    seconds: f64,
    /// CPUs that the environment was given, as the kernel writes lists.
    cpus: String,
    /// The facts of the environment.
    facts: Value,
}

impl Ours {
    /// A run of one block.
    fn launch(&self, environment: &str) -> Result<Launched> {
        let file = self.folder.join("run.sqlite");
        let text = file.to_str().context("the scratch folder's path is not UTF-8")?;
        let memory = MEMORY_BYTES.to_string();
        let words = ["run", "-e", environment, "-w", "start", "--blocks", "1", "--quiet", "--format", "json"];
        let words = [&words[..], &["--memory", &memory, "-o", text]].concat();
        let said = tools::output_of(tools::program(&self.plimsoll, &words))?;
        // The page is written beside the run file.
        for made in [&file, &file.with_extension("html")] {
            std::fs::remove_file(made).with_context(|| format!("cannot remove {}", made.display()))?;
        }
        read(&serde_json::from_str(&said).context("`plimsoll run` printed no JSON")?, environment)
    }

    fn way<'a>(self: &Rc<Self>, environment: &'static str) -> Way<'a> {
        let ours = Rc::clone(self);
        Box::new(move || Ok(ours.launch(environment)?.seconds))
    }
}

/// A launch out of a report of one block.
fn read(report: &Value, environment: &str) -> Result<Launched> {
    let all = |name: &str| report[name].as_array().cloned().unwrap_or_default();
    let cell = all("comparisons").into_iter().find(|cell| {
        cell["workload"] == "start.ready" && cell["metric"] == "time" && cell["environment"] == environment
    });
    let seconds = cell.and_then(|cell| cell["value"].as_f64());
    let cpus = report["design"]["cpus"].as_array().context("the report names no CPUs")?;
    let about = all("environments").into_iter().find(|about| about["name"] == environment);
    Ok(Launched {
        seconds: seconds.with_context(|| format!("the report has no start.ready of {environment}"))?,
        cpus: cpus.iter().map(ToString::to_string).collect::<Vec<_>>().join(","),
        facts: about.map(|mut about| about["got"].take()).unwrap_or_default(),
    })
}

/// A folder that is gone when this is dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn make() -> Result<Self> {
        let folder = Path::new(SCRATCH).join(unique_name());
        std::fs::create_dir(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(Self(folder))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What everything is called that the bench makes on the host.
fn unique_name() -> String {
    format!("plimsoll-bench-{}", std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_launch_is_read_from_the_report_of_its_environment() {
        let cell = |environment: &str, value: f64| json!({"workload": "start.ready", "metric": "time", "environment": environment, "value": value});
        let report = json!({
            "comparisons": [cell("docker", 0.3), cell("sandbox", 0.02)],
            "environments": [{"name": "sandbox", "got": {"argv": "a b"}}],
            "design": {"cpus": [1, 3]},
        });
        let launched = read(&report, "sandbox").expect("it is there");
        assert!((launched.seconds - 0.02).abs() < 1e-12);
        assert_eq!((launched.cpus.as_str(), &launched.facts["argv"]), ("1,3", &json!("a b")));
        let error = read(&report, "qemu").map(|_| ()).expect_err("it is not there").to_string();
        assert_eq!(error, "the report has no start.ready of qemu");
    }

    #[test]
    fn an_engine_that_cannot_be_used_is_named_with_its_remedy() {
        let host = Host(json!({"environments": [
            {"name": "sandbox", "usable": true},
            {"name": "runc", "usable": false, "why": "runc is not installed", "remedy": "plimsoll setup runc"},
        ]}));
        assert_eq!(host.lacks("sandbox"), None);
        assert_eq!(host.lacks("runc").as_deref(), Some("runc is not installed; remedy: plimsoll setup runc"));
        assert!(host.lacks("hovercraft").is_some());
    }
}
