//! Our workloads beside the programs whose work they do: `bench reference cpu|mem|kernel|disk [ROUNDS]`. docs/benches.md says
//! what each pair compares and what is not alike.
//!
//! A contest is one run of ours and one of theirs, on the same CPUs, in turns; it may give several pairs of figures,
//! since HPCC measures everything at once. The ratio of a pair comes from the rounds: ours and theirs of one round were
//! measured next to each other. Everything that either side wrote is kept.

mod cpu;
mod disk;
mod hpcc;
mod kernel;
mod mem;
mod ours;
mod table;
mod theirs;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use self::ours::{Cell, Plan};
use self::table::Row;
use self::theirs::Program;
use super::in_turn;
use crate::tools;

/// Under two there is no interval; these are few because a round of HPCC takes minutes.
const ROUNDS: usize = 5;

/// Ours beside theirs, measured together.
struct Contest {
    /// What its files are called.
    name: String,
    plan: Plan,
    program: Program,
    pairs: Vec<Pair>,
    /// Reads as many figures as there are pairs, in their order, out of the folder where the program ran.
    read: Read,
    /// Whatever must be known to read the figures: the program's version first.
    notes: Vec<String>,
}

type Read = Box<dyn Fn(&theirs::Ran) -> Result<Vec<f64>>>;

/// A figure of ours and one of theirs.
struct Pair {
    name: String,
    unit: &'static str,
    ours: Cell,
}

/// A contest, or the line that says why there is none.
type Offer = Result<Contest, String>;

/// What a family needs to know.
struct Scene {
    plimsoll: PathBuf,
    folder: PathBuf,
    /// CPUs that this process may use.
    cpus: Vec<u32>,
    /// Names of the workloads that this build has.
    workloads: Vec<String>,
}

impl Scene {
    fn lacks_workload(&self, name: &str) -> Option<String> {
        let known = self.workloads.iter().any(|known| known == name);
        (!known).then(|| format!("this build of plimsoll has no workload {name}"))
    }

    /// For what uses one CPU: the last, since the first serves most interrupts.
    fn one_cpu(&self) -> &[u32] {
        &self.cpus[self.cpus.len() - 1..]
    }

    /// The CPUs of each contest that is held on one CPU and on all.
    fn one_and_all(&self) -> Vec<&[u32]> {
        let mut both = vec![self.one_cpu()];
        if self.cpus.len() > 1 {
            both.push(&self.cpus);
        }
        both
    }
}

/// The bench.
pub(super) fn run(arguments: &[String]) -> Result<()> {
    type Family = fn(&Scene) -> Result<Vec<(String, Offer)>>;
    let families: [(&str, Family); 4] =
        [("cpu", cpu::offers), ("mem", mem::offers), ("kernel", kernel::offers), ("disk", disk::offers)];
    let (family, rounds) = match arguments {
        [family] => (family, ROUNDS),
        [family, rounds] => (family, rounds.parse().ok().filter(|rounds| *rounds > 0).context("ROUNDS is no count")?),
        _ => bail!("takes a family (cpu, mem, kernel or disk) and the number of rounds"),
    };
    let Some((_, offers)) = families.iter().find(|(name, _)| name == family) else {
        bail!("there is no family `{family}`; there is cpu, mem, kernel, disk");
    };
    tools::run(tools::cargo(&["build", "--release", "--package", "plimsoll"]))?;
    let scene = scene()?;
    let mut contests = Vec::new();
    for (name, offer) in offers(&scene)? {
        match offer {
            Ok(contest) => contests.push(contest),
            Err(lack) => println!("{name}: not measured: {lack}"),
        }
    }
    if contests.is_empty() {
        bail!("no pair can be measured on this host");
    }
    let rows = measure(&scene, &contests, rounds)?;
    let written = table::write(&rows, &notes(&contests));
    print!("{written}");
    keep(&scene.folder, "table.txt", &written)?;
    keep(&scene.folder, "rounds.csv", &table::rounds(&rows))?;
    println!("every run file and every output of the references: {}", scene.folder.display());
    Ok(())
}

fn scene() -> Result<Scene> {
    let release = tools::built("release")?;
    let plimsoll = release.join("plimsoll");
    let now = tools::output_of(tools::program("date", &["-u", "+%Y%m%dT%H%M%SZ"]))?;
    let target = release.ancestors().nth(2).context("the release folder has no target folder around it")?;
    let folder = target.join(format!("reference-{}", now.trim()));
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let listed = tools::output_of(tools::program(&plimsoll, &["list", "workloads"]))?;
    let workloads = listed.lines().filter(|line| !line.starts_with(' '));
    let workloads = workloads.filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect();
    let status = std::fs::read_to_string("/proc/self/status").context("cannot read /proc/self/status")?;
    let allowed = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    let cpus = allowed.and_then(|list| cpu_list(list.trim())).context("cannot tell which CPUs may be used")?;
    Ok(Scene { plimsoll, folder, cpus, workloads })
}

/// A list of CPUs as the kernel writes it.
fn cpu_list(text: &str) -> Option<Vec<u32>> {
    let mut cpus = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        cpus.extend(first.parse::<u32>().ok()?..=last.parse().ok()?);
    }
    (!cpus.is_empty()).then_some(cpus)
}

/// A list of CPUs as taskset and plimsoll read it.
fn cpu_text(cpus: &[u32]) -> String {
    cpus.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

/// Holds all contests in turns.
fn measure(scene: &Scene, contests: &[Contest], rounds: usize) -> Result<Vec<Row>> {
    let row = |pair: &Pair| Row { name: pair.name.clone(), unit: pair.unit, seen: Vec::with_capacity(rounds) };
    let mut rows: Vec<Vec<Row>> = contests.iter().map(|contest| contest.pairs.iter().map(row).collect()).collect();
    for round in 0..rounds {
        for (contest, rows) in contests.iter().zip(&mut rows) {
            let name = &contest.name;
            println!("round {} of {rounds}: {name}", round + 1);
            let ours = || ours::turn(scene, contest, round).with_context(|| format!("{name}, ours"));
            let theirs = || theirs::turn(scene, contest, round).with_context(|| format!("{name}, theirs"));
            // Such as one in which the hypervisor gave the CPUs to others: other rounds are not lost with it.
            let (ours, theirs) = match in_turn(round, ours, theirs) {
                Ok(both) => both,
                Err(error) => {
                    println!("  left out: {error:#}");
                    continue;
                }
            };
            for (row, both) in rows.iter_mut().zip(ours.into_iter().zip(theirs)) {
                println!("  {}", table::line(&row.name, row.unit, both));
                row.seen.push(both);
            }
        }
    }
    let rows: Vec<Row> = rows.into_iter().flatten().collect();
    let empty: Vec<&str> = rows.iter().filter(|row| row.seen.is_empty()).map(|row| row.name.as_str()).collect();
    if empty.is_empty() { Ok(rows) } else { bail!("no round gave a figure for {}", empty.join("; ")) }
}

/// What stands below the table.
fn notes(contests: &[Contest]) -> Vec<String> {
    let of = |contest: &Contest| {
        let line = format!("{}: $ {}", contest.name, contest.program.line());
        std::iter::once(line).chain(contest.notes.iter().map(|note| format!("  {note}"))).collect::<Vec<_>>()
    };
    contests.iter().flat_map(of).collect()
}

fn keep(folder: &Path, name: &str, text: &str) -> Result<()> {
    let path = folder.join(name);
    std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cpus_are_read_as_the_kernel_writes_them() {
        assert_eq!(cpu_list("0-2,5"), Some(vec![0, 1, 2, 5]));
        assert_eq!(cpu_list("3"), Some(vec![3]));
        assert_eq!((cpu_list(""), cpu_list("a-b")), (None, None));
        assert_eq!(cpu_text(&[0, 1, 5]), "0,1,5");
    }

    #[test]
    fn an_unknown_family_is_refused_before_anything_is_built() {
        let error = run(&["net".to_owned()]).expect_err("there is no such family").to_string();
        assert_eq!(error, "there is no family `net`; there is cpu, mem, kernel, disk");
    }
}
