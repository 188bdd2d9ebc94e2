//! The HPC Challenge suite (Debian's `hpcc`): its input file, how it is started, and what it measured.
//!
//! It knows no selection: each run makes all of its tests. The order of HPL's matrix gives the sizes of all others.

use std::fs::read_to_string;

use anyhow::{Context, Result, bail};

use super::theirs::{Program, Ran, lack};
use crate::tools;

const PACKAGES: &str = "hpcc libopenblas0 openmpi-bin";
const OUTPUT: &str = "hpccoutf.txt";
/// The block size of HPL's matrix, among those that its authors advise.
const BLOCK: u64 = 192;

/// Why it cannot be run with so many processes.
pub(super) fn lacks(processes: usize) -> Option<String> {
    // It has no option that does nothing: whoever asks for help makes it measure.
    if !tools::succeeds(tools::program("sh", &["-c", "command -v hpcc"])) {
        return Some(format!("no program hpcc; remedy: apt-get install {PACKAGES}"));
    }
    if processes > 1 { lack(&["mpirun", "--version"], PACKAGES) } else { None }
}

/// A run with a matrix of order `n`, one process on each CPU.
pub(super) fn program(cpus: &[u32], n: u64) -> Program {
    let processes = cpus.len().to_string();
    let mpirun = ["mpirun", "--allow-run-as-root", "--oversubscribe", "--use-hwthread-cpus", "--bind-to", "hwthread"];
    let words = match cpus.len() {
        1 => vec!["hpcc"],
        _ => [&mpirun[..], &["-np", &processes, "hpcc"]].concat(),
    };
    Program {
        files: vec![("hpccinf.txt", input(n, cpus.len()))],
        // One process on each CPU is all the parallelism that is meant.
        variables: vec![("OPENBLAS_NUM_THREADS", "1"), ("OMP_NUM_THREADS", "1")],
        ..Program::new(cpus, &words)
    }
}

/// The largest grid of processes with as many rows as fit, and no more rows than columns.
fn grid(processes: usize) -> (usize, usize) {
    let rows = (1..=processes).take_while(|rows| rows * rows <= processes);
    let rows = rows.filter(|rows| processes.is_multiple_of(*rows)).max().unwrap_or(1);
    (rows, processes / rows)
}

/// The input file: HPL's (its TUNING says what each line is), and no further sizes for PTRANS.
fn input(n: u64, processes: usize) -> String {
    let (rows, columns) = grid(processes);
    format!(
        "HPLinpack benchmark input file\nby plimsoll's bench\nHPL.out output file name (if any)\n8 device out\n\
         1 # of problems sizes (N)\n{n} Ns\n1 # of NBs\n{BLOCK} NBs\n0 PMAP process mapping (0=Row-,1=Column-major)\n\
         1 # of process grids (P x Q)\n{rows} Ps\n{columns} Qs\n16.0 threshold\n\
         1 # of panel fact\n2 PFACTs (0=left, 1=Crout, 2=Right)\n1 # of recursive stopping criterium\n4 NBMINs (>= 1)\n\
         1 # of panels in recursion\n2 NDIVs\n1 # of recursive panel fact.\n1 RFACTs (0=left, 1=Crout, 2=Right)\n\
         1 # of broadcast\n1 BCASTs (0=1rg,1=1rM,2=2rg,3=2rM,4=Lng,5=LnM)\n1 # of lookahead depth\n1 DEPTHs (>=0)\n\
         2 SWAP (0=bin-exch,1=long,2=mix)\n64 swapping threshold\n0 L1 in (0=transposed,1=no-transposed) form\n\
         0 U  in (0=transposed,1=no-transposed) form\n1 Equilibration (0=no,1=yes)\n\
         8 memory alignment in double (> 0)\n##### This line (no. 32) is ignored (it serves as a separator). ######\n\
         0 Number of additional problem sizes for PTRANS\n1200 10000 30000 values of N\n\
         0 number of additional blocking sizes for PTRANS\n40 9 8 13 13 20 16 32 64 values of NB\n"
    )
}

/// What its summary says, if it succeeded.
pub(super) struct Summary(String);

impl Summary {
    /// Out of the folder where it ran.
    pub(super) fn of(ran: &Ran) -> Result<Self> {
        let path = ran.folder.join(OUTPUT);
        Self::read(&read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?)
    }

    fn read(output: &str) -> Result<Self> {
        let (_, summary) = output.split_once("Begin of Summary section.").context("hpcc wrote no summary")?;
        let summary = Self(summary.to_owned());
        if summary.number("Success")? < 1.0 {
            bail!("hpcc says that a test of it failed");
        }
        Ok(summary)
    }

    /// A value by its name.
    pub(super) fn number(&self, name: &str) -> Result<f64> {
        let mut pairs = self.0.lines().filter_map(|line| line.split_once('='));
        let value = pairs.find(|(key, _)| *key == name).map(|(_, value)| value.trim());
        let value = value.with_context(|| format!("hpcc's summary has no {name}"))?;
        value.parse().with_context(|| format!("hpcc's {name} is `{value}`"))
    }

    /// Fails unless a value is what the other side got, within a hundredth.
    pub(super) fn expect(&self, name: &str, expected: f64) -> Result<()> {
        let got = self.number(name)?;
        if (got / expected - 1.0).abs() > 0.01 {
            bail!("hpcc's {name} is {got} and ours is {expected}: not the same work");
        }
        Ok(())
    }
}

/// The package's version, and which BLAS it is linked with here.
pub(super) fn notes() -> Vec<String> {
    let query = tools::program("dpkg-query", &["--show", "--showformat", "${Package} ${Version}", "hpcc"]);
    let version = tools::output_of(query).unwrap_or_else(|_| "hpcc, not from a package".to_owned());
    vec![version, blas().unwrap_or_else(|| "its BLAS is unknown: ldd names none".to_owned())]
}

fn blas() -> Option<String> {
    let linked = tools::output_of(tools::program("sh", &["-c", "ldd \"$(command -v hpcc)\""])).ok()?;
    let path = linked.lines().find(|line| line.contains("blas"))?.split_whitespace().nth(2)?;
    let real = std::fs::canonicalize(path).ok()?;
    let slow = if real.to_string_lossy().contains("openblas") { "" } else { " (slow: apt-get install libopenblas0)" };
    Some(format!("BLAS: {}{slow}", real.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An excerpt of what hpcc 1.5.0 wrote.
    const OUTPUT: &str = "\
End of LatencyBandwidth section.
Begin of Summary section.
VersionMajor=1
VersionMinor=5
Success=1
HPL_Tflops=0.0308838
HPL_N=2000
RandomAccess_N=2097152
StarRandomAccess_GUPs=0.0451812
SingleRandomAccess_GUPs=0.0498963
STREAM_VectorSize=1333333
SingleSTREAM_Copy=9.98533
SingleSTREAM_Triad=11.9117
End of Summary section.
";

    #[test]
    fn the_summary_is_read_by_whole_names() {
        let summary = Summary::read(OUTPUT).expect("it is whole");
        for (name, value) in [("HPL_Tflops", 0.030_883_8), ("SingleRandomAccess_GUPs", 0.049_896_3), ("HPL_N", 2000.0)]
        {
            assert!((summary.number(name).expect(name) - value).abs() < 1e-12, "{name}");
        }
        let error = summary.number("STREAM_Copy").expect_err("no such name").to_string();
        assert_eq!(error, "hpcc's summary has no STREAM_Copy");
    }

    #[test]
    fn a_failed_or_unfinished_run_gives_no_figure() {
        assert!(Summary::read(&OUTPUT.replace("Success=1", "Success=0")).is_err());
        assert!(Summary::read(OUTPUT.split("Begin of Summary").next().expect("it begins")).is_err());
    }

    #[test]
    fn another_size_than_ours_is_refused() {
        let summary = Summary::read(OUTPUT).expect("it is whole");
        assert!(summary.expect("RandomAccess_N", 2_097_152.0).is_ok());
        let error = summary.expect("RandomAccess_N", 4_194_304.0).expect_err("half").to_string();
        assert_eq!(error, "hpcc's RandomAccess_N is 2097152 and ours is 4194304: not the same work");
    }

    #[test]
    fn grids_are_as_square_as_the_processes_allow() {
        assert_eq!([1, 2, 4, 6, 7, 12].map(grid), [(1, 1), (1, 2), (2, 2), (2, 3), (1, 7), (3, 4)]);
    }

    #[test]
    fn the_input_has_hpls_lines_in_their_places() {
        let input = input(4000, 2);
        let lines: Vec<&str> = input.lines().collect();
        assert_eq!((lines[5], lines[7], lines[10], lines[11]), ("4000 Ns", "192 NBs", "1 Ps", "2 Qs"));
        assert_eq!(lines.len(), 36);
        assert!(lines[31].contains("(no. 32)"));
    }
}
