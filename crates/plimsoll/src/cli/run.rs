//! `plimsoll run`: the spine. Wishes, plan, host, rounds, report.

mod data;
mod listeners;
mod stop;

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write as _};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use plimsoll::analysis::{Findings, analyse};
use plimsoll::clock::{self, RunClock};
use plimsoll::environment::Environment;
use plimsoll::launch::{Launchpad, Limits, Place, Usability, engines};
use plimsoll::plan::{HostNumbers, Plan, PlanError, Said, Settled, Wishes, estimate, file};
use plimsoll::report::{self, Format as _, PlanText};
use plimsoll::rounds::{Walk, walk};
use plimsoll::sample::{Cause, Failure, MishapRecord, PlanRecord, RunInfo, RunRecord, StopReason, UnusableRecord};
use plimsoll::store::{self, Store};
use plimsoll::{interrupt, probe};

use self::data::Home;
use super::exit::{self, Refusal};

/// What to compare, how often, where.
#[derive(Debug, Args)]
pub(super) struct RunArguments {
    /// A plan file; flags beat it
    plan: Option<PathBuf>,
    /// Ready-made plan (see `plimsoll list presets`)
    #[arg(long)]
    preset: Option<String>,
    /// An environment, such as docker:net=host or qemu/sandbox; repeat for more
    #[arg(short, long = "environment", value_name = "ENV")]
    environments: Vec<String>,
    /// Workloads or families, separated by commas
    #[arg(short, long = "workload", value_name = "WORKLOAD,...")]
    workloads: Vec<String>,
    /// Blocks: fresh launches of every environment
    #[arg(long)]
    blocks: Option<u64>,
    /// Go on until every interval is this narrow, such as 1%
    #[arg(long)]
    precision: Option<String>,
    /// Start no new block after this time, such as 10m
    #[arg(long)]
    time: Option<String>,
    /// Seed of every order; drawn and printed if absent
    #[arg(long)]
    seed: Option<u64>,
    /// CPUs of the environments, such as 1,3-5
    #[arg(long)]
    cpus: Option<String>,
    /// Memory limit of an environment, such as 1GiB
    #[arg(long)]
    memory: Option<String>,
    /// Directory on the disk under test
    #[arg(long, value_name = "DIR")]
    data: Option<String>,
    /// An empty block device that gets a filesystem for the run, and loses it afterwards
    #[arg(long, value_name = "DEVICE", conflicts_with = "data")]
    data_device: Option<String>,
    /// The run file to write
    #[arg(short, long, value_name = "RUN.sqlite")]
    output: Option<PathBuf>,
    /// What is printed at the end
    #[arg(long, value_enum, default_value = "text")]
    format: RunFormat,
    /// Install what is missing first (asks, unless --yes)
    #[arg(long)]
    setup: bool,
    /// Answer yes to every question
    #[arg(long)]
    yes: bool,
    /// Show the plan and start nothing
    #[arg(long)]
    dry_run: bool,
    /// No progress, only the result
    #[arg(long)]
    quiet: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum RunFormat {
    Text,
    Json,
    Markdown,
}

impl RunFormat {
    fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
            Self::Markdown => "markdown",
        }
    }
}

pub(super) fn run(arguments: &RunArguments) -> Result<u8> {
    interrupt::listen().context("cannot listen for Ctrl-C")?;
    let plan = plan(arguments)?;
    let output = Output::named(arguments.output.clone())?;
    if arguments.setup && !arguments.dry_run {
        super::setup::for_plan(&plan, arguments.yes)?;
    }
    let home = Home::of(&plan)?;
    let examined = Examined::of(&plan);
    let seed = plan.seed().unwrap_or_else(new_seed);
    let settled = plan.settle(&host_numbers(&plan, &home)?, examined.unusable.clone(), seed).map_err(refused)?;
    announce(&settled, &examined, arguments.quiet)?;
    if arguments.dry_run {
        return Ok(exit::DONE);
    }
    let measured = measure(&settled, &examined, &output, &home, arguments.quiet)?;
    for failure in &measured.failures {
        eprintln!("plimsoll: {failure}");
    }
    let findings = analyse(&measured.record);
    say(&findings, &measured.record, &output, arguments.format)?;
    Ok(code(&plan, &measured))
}

/// Flags over the file over the preset, checked.
fn plan(arguments: &RunArguments) -> Result<Plan> {
    let written = match &arguments.plan {
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .map_err(|error| Refusal::usage(format!("cannot read the plan {}: {error}", path.display())))?;
            file::read(&path.display().to_string(), &text).map_err(refused)?
        }
        None => Wishes::default(),
    };
    Ok(Plan::check(flags(arguments).or(written), &engines::abouts()).map_err(refused)?)
}

fn flags(arguments: &RunArguments) -> Wishes {
    let all = |values: &[String], at: &str| values.iter().map(|value| Said::new(value.clone(), at)).collect();
    let text = |value: &Option<String>, at: &str| value.clone().map(|value| Said::new(value, at));
    Wishes {
        preset: text(&arguments.preset, "--preset"),
        environments: all(&arguments.environments, "-e"),
        workloads: all(&arguments.workloads, "-w"),
        blocks: arguments.blocks.map(|blocks| Said::new(blocks, "--blocks")),
        precision: text(&arguments.precision, "--precision"),
        time: text(&arguments.time, "--time"),
        seed: arguments.seed.map(|seed| Said::new(seed, "--seed")),
        cpus: text(&arguments.cpus, "--cpus"),
        memory: text(&arguments.memory, "--memory"),
        data: text(&arguments.data, "--data"),
        data_device: text(&arguments.data_device, "--data-device"),
        ..Wishes::default()
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that `map_err` hands over")]
fn refused(errors: Vec<PlanError>) -> Refusal {
    let lines: Vec<String> = errors.iter().map(|error| format!("\n  {error}")).collect();
    Refusal::usage(format!("the plan cannot be run; nothing was started{}", lines.concat()))
}

/// What the engines said of this host.
struct Examined {
    unusable: Vec<UnusableRecord>,
    labels: BTreeMap<String, Vec<String>>,
}

impl Examined {
    fn of(plan: &Plan) -> Self {
        let environments: Vec<Environment> =
            plan.environments().iter().map(|planned| planned.environment.clone()).collect();
        let mut examined = Self { unusable: Vec::new(), labels: BTreeMap::new() };
        for (planned, report) in plan.environments().iter().zip(probe::examine(&environments)) {
            match report.usability {
                Usability::Usable { labels, .. } => {
                    examined.labels.insert(report.name, labels);
                }
                Usability::Unusable { why, remedy } => examined.unusable.push(UnusableRecord {
                    environment: report.name,
                    why,
                    remedy,
                    asked_by_name: planned.by_name,
                }),
            }
        }
        examined
    }

    fn is_emulated(&self, environment: &Environment) -> bool {
        self.labels.get(environment.name()).is_some_and(|labels| labels.iter().any(|label| label == "emulated"))
    }
}

fn host_numbers(plan: &Plan, home: &Home) -> Result<HostNumbers, Refusal> {
    let split = probe::split_cpus(plan.cpus());
    if let Some(cpu) = split.unavailable.first() {
        return Err(Refusal::usage(format!("--cpus: CPU {cpu} does not exist here or may not be used")));
    }
    Ok(HostNumbers {
        shared_cpu: split.shared,
        cpus: split.environments,
        memory_available_bytes: probe::memory_available_bytes().unwrap_or(0),
        disk_free_bytes: home.free_bytes(),
        takes_direct_io: home.takes_direct_io(),
        cache_bytes: probe::cache_bytes_last_level().unwrap_or(32 << 20),
    })
}

fn announce(settled: &Settled, examined: &Examined, quiet: bool) -> Result<()> {
    let seconds = estimate::seconds(settled, &|environment| examined.is_emulated(environment));
    if quiet {
        return Ok(());
    }
    let resolution = resolution(&settled.record);
    let text = PlanText {
        estimate_seconds: Some(seconds),
        resolution: &resolution,
        width: super::report::width(),
        colour: std::io::stderr().is_terminal(),
    };
    report::write_plan(&settled.record, &text, &mut std::io::stderr().lock())?;
    Ok(())
}

/// What so many blocks can resolve, before anything is known of this host's noise.
fn resolution(plan: &PlanRecord) -> String {
    if let Some(precision) = plan.precision {
        return format!("Stops when every 95 % interval is within {:.2} % of its middle.", precision * 100.0);
    }
    let mde = |sd: f64| plimsoll_stats::minimum_detectable_effect(sd, plan.blocks as usize, 0.05).map(f64::exp_m1);
    match (mde(0.005), mde(0.03)) {
        (Some(low), Some(high)) => format!(
            "{} blocks find single costs from about {:.1} % on a quiet host (launches differ by 0.5 %) and {:.0} % on a \
             noisy one (3 %), before allowing for the number of comparisons.",
            plan.blocks,
            low * 100.0,
            high * 100.0
        ),
        _ => "Too few blocks for intervals: values only.".to_owned(),
    }
}

/// The files that a run leaves.
struct Output {
    run_file: PathBuf,
    page: PathBuf,
    id: String,
}

impl Output {
    fn named(asked: Option<PathBuf>) -> Result<Self> {
        let id = format!("{:08x}", new_seed() as u32);
        let run_file = asked.unwrap_or_else(|| PathBuf::from(format!("plimsoll-{id}.sqlite")));
        let page = run_file.with_extension("html");
        let refuse = |message: String| Err(Refusal::usage(message).into());
        if page == run_file {
            return refuse(format!("-o: {} would be the page, not the run file; end it in .sqlite", page.display()));
        }
        if let Some(taken) = [&run_file, &page].into_iter().find(|path| path.exists()) {
            return refuse(format!("{} exists; name another file with -o", taken.display()));
        }
        let folder = run_file.parent().filter(|folder| !folder.as_os_str().is_empty());
        if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
            return refuse(format!("-o: there is no folder {}", folder.display()));
        }
        Ok(Self { page, run_file, id })
    }
}

/// What came of the rounds.
struct Measured {
    record: RunRecord,
    /// `None` where the record itself could not be written to its end.
    reason: Option<StopReason>,
    /// What went wrong beside the mishaps in the record: recording, or cleaning up.
    failures: Vec<Failure>,
}

/// Opens the host, walks the rounds, closes the host again whatever happened, and loads what was recorded: whatever was
/// measured is reported, also where the end was not a good one.
fn measure(settled: &Settled, examined: &Examined, output: &Output, home: &Home, quiet: bool) -> Result<Measured> {
    let info = RunInfo {
        id: output.id.clone(),
        started: clock::rfc3339(clock::unix_seconds()),
        plimsoll: env!("CARGO_PKG_VERSION").to_owned(),
        stopped_because: None,
    };
    let place = home.open_place(&output.id)?.with_tree(settled.tree.as_ref())?;
    let place = Arc::new(Place { data_disk_bytes: settled.data_disk_bytes, ..place });
    let created = Store::create(&output.run_file, &info, &settled.record, &probe::describe_host());
    let (walked, cleaned) = match created {
        Ok(mut store) => {
            stay_on_the_harness_cpus(settled);
            (walk_rounds(settled, examined, &place, &mut store, &info, quiet), place.close())
        }
        Err(error) => {
            place.close()?;
            return Err(error.into());
        }
    };
    let mut failures: Vec<Failure> = cleaned.err().map(still_here).into_iter().collect();
    let reason = match walked {
        Ok((reason, closed)) => {
            failures.extend(closed.err().map(still_here));
            Some(reason)
        }
        Err(failure) => {
            failures.push(failure);
            None
        }
    };
    Ok(Measured { record: store::load(&output.run_file)?, reason, failures })
}

fn still_here(failure: Failure) -> Failure {
    failure.while_doing("something of the run is still on this host; `plimsoll clean` tries again")
}

fn walk_rounds(
    settled: &Settled,
    examined: &Examined,
    place: &Arc<Place>,
    store: &mut Store,
    info: &RunInfo,
    quiet: bool,
) -> Result<(StopReason, Result<(), Failure>), Failure> {
    let limits = Limits { cpus: settled.record.cpus.clone(), memory_bytes: settled.record.memory_bytes };
    let mut launchpad =
        Launchpad::open(Arc::clone(place), &settled.environments, limits, settled.record.steal_share_max)?;
    let mut so_far = listeners::SoFar::new(info, &settled.record);
    let seconds = estimate::seconds(settled, &|environment| examined.is_emulated(environment));
    let mut live = listeners::progress(&settled.record, so_far.clone(), seconds, quiet);
    let mut stop = stop::Stop::new(&settled.record, so_far.clone());
    let walked = walk(Walk {
        design: &settled.design,
        launcher: &mut launchpad,
        listeners: vec![store, &mut so_far, &mut live],
        stop: &mut stop,
        clock: RunClock::start(),
        interrupted: interrupt::requested,
    });
    let closed = launchpad.close();
    walked.map(|reason| (reason, closed))
}

/// The harness keeps off the environments' CPUs; where that is refused it is said, for it disturbs what is measured.
fn stay_on_the_harness_cpus(settled: &Settled) {
    if !settled.record.shared_cpu {
        let mut mine = CpuSet::new();
        let harness = probe::split_cpus(Some(&settled.record.cpus)).harness;
        let all_set = harness.iter().all(|cpu| mine.set(*cpu as usize).is_ok());
        if !all_set || sched_setaffinity(Pid::this(), &mine).is_err() {
            eprintln!(
                "plimsoll: the harness may not be kept off the environments' CPUs here; figures may be disturbed"
            );
        }
    }
}

fn say(findings: &Findings, record: &RunRecord, output: &Output, format: RunFormat) -> Result<()> {
    let mut page = Vec::new();
    report::Html.write(findings, record, &mut page)?;
    std::fs::File::create_new(&output.page)
        .and_then(|mut file| file.write_all(&page))
        .with_context(|| format!("cannot write {}", output.page.display()))?;
    let mut stdout = std::io::stdout().lock();
    super::report::print(format.name(), findings, record, &mut stdout, std::io::stdout().is_terminal())?;
    if format == RunFormat::Text {
        writeln!(stdout, "\nrun file  {}\npage      {}", output.run_file.display(), output.page.display())?;
    }
    Ok(())
}

fn code(plan: &Plan, measured: &Measured) -> u8 {
    let record = &measured.record;
    let asked_for_more = plan.environments().len() > 1;
    if measured.reason == Some(StopReason::Interrupted) {
        exit::INTERRUPTED
    } else if asked_for_more && record.plan.environments.len() == 1 {
        exit::HOST
    } else if !measured.failures.is_empty()
        || record.mishaps.iter().any(|mishap| mishap.cause != Cause::Missing || lacks_a_tested_point(record, mishap))
        || record.plan.unusable.iter().any(|other| other.asked_by_name)
    {
        exit::MISHAPS
    } else {
        exit::DONE
    }
}

/// Whether what is missing was to be tested: then the run does not hold what was asked for.
fn lacks_a_tested_point(record: &RunRecord, mishap: &MishapRecord) -> bool {
    let mut of_workload =
        record.plan.workloads.iter().filter(|workload| mishap.workload.as_ref() == Some(&workload.name));
    of_workload.any(|workload| workload.tests(mishap.point.as_deref()))
}

/// A number that nobody chose; it is stored and printed, so the run can be repeated. 53 bits, because readers of JSON
/// lose what lies beyond.
fn new_seed() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::collections::hash_map::RandomState::new().build_hasher().finish() >> 11
}
