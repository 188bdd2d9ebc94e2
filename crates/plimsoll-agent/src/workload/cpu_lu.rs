//! `cpu.lu`: a dense system of equations solved by LU decomposition with partial pivoting, the work of HPL (Petitet,
//! Whaley, Dongarra, Cleary) on one machine. faer does the linear algebra, with kernels chosen by the CPU that it sees.
//!
//! A unit is one factorisation and one solve. The matrix is copied anew before each, untimed; nothing but what faer
//! packs for itself is allocated. After a slice HPL's scaled residual of the last solution must pass HPL's threshold.

use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::lu::partial_pivoting::{factor, solve};
use faer::{ColMut, MatMut, Par, Spec};
use plimsoll_protocol::Parameters;

use super::pool::Pool;
use super::region::Region;
use super::team::{THREADS_MAX, all_cpus_and_one};
use super::{
    About, MeasuredBy, Metric, MetricKind, ParameterAbout, Prepared, Recorder, Room, Scene, WarmUp, Workload,
    WorkloadError, mib,
};
use crate::seeded::Seeded;

/// Two thirds of 10^9 operations: some tens of milliseconds natively, and a second or two in a guest that is emulated.
const N_DEFAULT: u64 = 1000;
const N_MAX: u64 = 1 << 20;
/// The matrix, and its copy that is factored in place, each of n * n doubles.
const BYTES_PER_ENTRY: u64 = 2 * size_of::<f64>() as u64;
/// HPL's threshold.
const RESIDUAL_MAX: f64 = 16.0;

/// The workload `cpu.lu`.
#[derive(Debug)]
pub(super) struct Lu;

static ABOUT: About = About {
    name: "cpu.lu",
    summary: "a dense system solved by LU with partial pivoting (faer), as HPL does",
    work: "floating-point operation",
    metrics: &[Metric { name: "throughput", unit: "FLOP/s", kind: MetricKind::Rate, headline: true }],
    warm_up: WarmUp { slices_min: 1, slices_max: 3, tolerance: 0.10 },
    measured_by: MeasuredBy::Slices,
    parameters: &[
        ParameterAbout { name: "n", meaning: "order of the matrix", range: Some((1, N_MAX)) },
        ParameterAbout {
            name: "threads",
            meaning: "threads that share a factorisation",
            range: Some((1, THREADS_MAX as u64)),
        },
    ],
    uses_disk: false,
    disk_bytes_per_work: None,
};

impl Workload for Lu {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn size(&self, room: &Room, written: &Parameters) -> Result<Parameters, String> {
        let largest = (room.memory_bytes / (2 * BYTES_PER_ENTRY)).isqrt();
        let derived = Parameters::default().with("n", largest.clamp(1, N_DEFAULT));
        let parameters = ABOUT.merged(derived.with("threads", u64::from(room.cpus.clamp(1, THREADS_MAX))), written)?;
        let n = ABOUT.number(&parameters, "n").map_err(|error| error.to_string())?;
        if n > largest {
            let needed = n * n * BYTES_PER_ENTRY * 2;
            return Err(format!(
                "cpu.lu needs two matrices of order {n} in half of the memory, and the limit is {} MiB: set --memory to {} \
                 MiB or more, or `n` in the plan to {largest} or less",
                mib(room.memory_bytes),
                mib(needed),
            ));
        }
        Ok(parameters)
    }

    fn points(&self, room: &Room) -> Vec<Parameters> {
        all_cpus_and_one(room)
    }

    fn prepare(&self, parameters: &Parameters, scene: &Scene<'_>) -> Result<Box<dyn Prepared>, WorkloadError> {
        ABOUT.accept(parameters)?;
        let (n, threads) = (ABOUT.count(parameters, "n")?, ABOUT.count(parameters, "threads")?);
        let mut system = System::random(n, threads, scene.seed)?;
        // The first solution shows that the arithmetic is right.
        system.renew()?;
        system.solve();
        system.verify()?;
        Ok(Box::new(system))
    }
}

/// A x = b, and what a solution needs. Matrices lie in columns.
struct System {
    n: usize,
    a: Region<f64>,
    b: Vec<f64>,
    /// A, which becomes L below the diagonal and U from it on.
    lu: Region<f64>,
    /// b, which becomes x.
    x: Vec<f64>,
    /// The order of rows that pivoting chose, and the way back.
    order: Vec<usize>,
    order_back: Vec<usize>,
    scratch: MemBuffer,
    pool: Pool,
    parallelism: Par,
    /// That of the solution that was verified last.
    residual: f64,
}

impl System {
    /// With entries in [-0.5, 0.5), as HPL has them.
    fn random(n: usize, threads: usize, seed: u64) -> Result<Self, WorkloadError> {
        let mut a = Region::new(n * n)?;
        fill(&mut a, &mut Seeded::stream(seed, 1));
        let mut b = vec![0.0; n];
        fill(&mut b, &mut Seeded::stream(seed, 2));
        Self::new(a, b, threads)
    }

    fn new(a: Region<f64>, b: Vec<f64>, threads: usize) -> Result<Self, WorkloadError> {
        let n = b.len();
        let parallelism = if threads == 1 { Par::Seq } else { Par::rayon(threads) };
        let factor = factor::lu_in_place_scratch::<usize, f64>(n, n, parallelism, Spec::default());
        let solve = solve::solve_in_place_scratch::<usize, f64>(n, 1, parallelism);
        let scratch = MemBuffer::try_new(factor.or(solve)).map_err(|_| WorkloadError::no_memory("faer's scratch"))?;
        Ok(Self {
            n,
            lu: Region::new(n * n)?,
            x: vec![0.0; n],
            order: vec![0; n],
            order_back: vec![0; n],
            scratch,
            pool: Pool::start(threads)?,
            parallelism,
            residual: f64::NAN,
            a,
            b,
        })
    }

    /// What is timed.
    fn solve(&mut self) {
        let (n, par) = (self.n, self.parallelism);
        let (order, back, stack) = (&mut self.order, &mut self.order_back, MemStack::new(&mut self.scratch));
        let mut lu = MatMut::from_column_major_slice_mut(&mut self.lu, n, n);
        let mut x = ColMut::from_slice_mut(&mut self.x).as_mat_mut();
        self.pool.run(|| {
            let (_, order) = factor::lu_in_place(lu.as_mut(), order, back, par, stack, Spec::default());
            solve::solve_in_place(lu.as_ref(), lu.as_ref(), order, x.as_mut(), par, stack);
        });
    }

    /// The first pivot that nothing can be divided by.
    fn bad_pivot(&self) -> Option<usize> {
        let pivots = self.lu.iter().step_by(self.n + 1);
        pivots.into_iter().position(|pivot| *pivot == 0.0 || !pivot.is_finite())
    }
}

impl Prepared for System {
    fn renew(&mut self) -> Result<(), WorkloadError> {
        self.lu.copy_from_slice(&self.a);
        self.x.copy_from_slice(&self.b);
        Ok(())
    }

    fn unit(&mut self, recorder: &mut Recorder) -> Result<f64, WorkloadError> {
        self.solve();
        // The same system has the same residual every time; this slice's own is looked at when it is over.
        recorder.note("residual", "1", self.residual);
        Ok(operations(self.n as u64))
    }

    fn verify(&mut self) -> Result<(), WorkloadError> {
        if let Some(pivot) = self.bad_pivot() {
            return Err(WorkloadError::Wrong(format!(
                "cpu.lu: the matrix is singular: pivot {pivot} is 0 or no number"
            )));
        }
        self.residual = residual(&self.a, &self.x, &self.b);
        if self.residual < RESIDUAL_MAX {
            return Ok(());
        }
        Err(WorkloadError::Wrong(format!(
            "cpu.lu: the solution is wrong: its scaled residual is {:.3e}, and must be less than {RESIDUAL_MAX}",
            self.residual
        )))
    }
}

/// HPL's count, 2/3 n^3 + 3/2 n^2, to the nearest whole number.
fn operations(n: u64) -> f64 {
    let n = u128::from(n);
    ((4 * n * n * n + 9 * n * n + 3) / 6) as f64
}

fn fill(numbers: &mut [f64], seeded: &mut Seeded) {
    for number in numbers {
        *number = (seeded.next() >> 11) as f64 / (1_u64 << 53) as f64 - 0.5;
    }
}

/// HPL's: ||Ax - b|| / (eps (||A|| ||x|| + ||b||) n), all norms those of infinity. No number where x has none.
fn residual(a: &[f64], x: &[f64], b: &[f64]) -> f64 {
    let n = b.len();
    let mut error: Vec<f64> = b.iter().map(|b| -b).collect();
    let mut row_sums = vec![0.0; n];
    for (column, x) in a.chunks_exact(n).zip(x) {
        for ((entry, error), sum) in column.iter().zip(&mut error).zip(&mut row_sums) {
            *error += entry * x;
            *sum += entry.abs();
        }
    }
    // HPL's eps is the distance that rounding bridges, half of Rust's.
    let eps = f64::EPSILON / 2.0;
    norm(&error) / (eps * (norm(&row_sums) * norm(x) + norm(b)) * n as f64)
}

/// The largest magnitude; no number where one is none.
fn norm(numbers: &[f64]) -> f64 {
    let larger = |largest: f64, number: f64| if number > largest || number.is_nan() { number } else { largest };
    numbers.iter().map(|number| number.abs()).fold(0.0, larger)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of rows as they are written.
    fn system<const N: usize>(rows: [[f64; N]; N], b: [f64; N], threads: usize) -> System {
        let mut a = Region::new(N * N).unwrap();
        for (place, entry) in a.iter_mut().enumerate() {
            *entry = rows[place % N][place / N];
        }
        System::new(a, b.to_vec(), threads).unwrap()
    }

    fn solved(mut system: System) -> System {
        system.renew().unwrap();
        system.unit(&mut Recorder::default()).unwrap();
        system
    }

    #[test]
    fn a_system_that_needs_pivoting_is_solved() {
        for threads in [1, 2] {
            let mut system =
                solved(system([[0.0, 2.0, 1.0], [1.0, 1.0, 0.0], [4.0, 0.0, 1.0]], [7.0, 3.0, 7.0], threads));
            system.verify().unwrap();
            for (found, expected) in system.x.iter().zip([1.0, 2.0, 3.0]) {
                assert!((found - expected).abs() < 1e-14, "{:?}", system.x);
            }
        }
    }

    #[test]
    fn every_unit_passes_hpls_test_and_counts_its_operations() {
        for (n, threads) in [(1, 1), (2, 3), (63, 2), (300, 1), (300, 2), (300, 5)] {
            let mut system = System::random(n, threads, 1).unwrap();
            for _ in 0..2 {
                let mut recorder = Recorder::default();
                system.renew().unwrap();
                assert_eq!(system.unit(&mut recorder).unwrap(), operations(n as u64));
                system.verify().unwrap();
                assert!(system.residual < 1.0, "order {n}, {threads} threads: {}", system.residual);
            }
        }
    }

    #[test]
    fn the_residual_is_noted_with_the_slice() {
        let parameters = Parameters::default().with("n", 50).with("threads", 1);
        let mut prepared = Lu.prepare(&parameters, &super::super::tests::scene()).unwrap();
        let mut recorder = Recorder::default();
        prepared.renew().unwrap();
        prepared.unit(&mut recorder).unwrap();
        let row = &recorder.evidence[0];
        assert_eq!((row.name.as_str(), row.unit.as_str()), ("residual", "1"));
        assert!(row.value > 0.0 && row.value < RESIDUAL_MAX, "{}", row.value);
    }

    #[test]
    fn a_solution_that_is_a_little_wrong_or_not_made_at_all_is_found() {
        let mut system = solved(System::random(200, 2, 1).unwrap());
        for place in [0, 77, 199] {
            let kept = system.x[place];
            for wrong in [kept * (1.0 + 1e-9), f64::NAN, f64::INFINITY, 0.0] {
                system.x[place] = wrong;
                let error = system.verify().unwrap_err().to_string();
                assert!(error.contains("its scaled residual is"), "{error}");
            }
            system.x[place] = kept;
        }
        system.verify().unwrap();
        system.renew().unwrap();
        assert!(system.verify().is_err(), "nobody has solved it");
    }

    #[test]
    fn a_singular_matrix_is_an_error() {
        for threads in [1, 2] {
            for rows in [[[1.0, 2.0], [2.0, 4.0]], [[0.0, 1.0], [0.0, 2.0]], [[0.0; 2]; 2]] {
                let error = solved(system(rows, [1.0, 1.0], threads)).verify().unwrap_err().to_string();
                assert!(error.contains("is singular"), "{error}");
            }
        }
    }

    #[test]
    fn the_residual_is_hpls_by_hand() {
        let eps = f64::EPSILON / 2.0;
        // Columns of [[2, -1], [0, 4]]; Ax = (2, 4), ||A|| = 4, ||x|| = 1.5, ||b|| = 5, n = 2.
        let found = residual(&[2.0, 0.0, -1.0, 4.0], &[1.5, 1.0], &[2.0, 5.0]);
        assert_eq!(found, 1.0 / (eps * (4.0 * 1.5 + 5.0) * 2.0));
        assert_eq!(residual(&[2.0], &[0.5], &[1.0]), 0.0);
        assert!(residual(&[2.0, 0.0, 0.0, 1.0], &[f64::NAN, 1.0], &[1.0, 1.0]).is_nan());
    }

    #[test]
    fn work_is_two_thirds_of_the_cube_and_three_halves_of_the_square() {
        assert_eq!([operations(6), operations(600)], [198.0, 144_540_000.0]);
        assert_eq!(operations(1000), 668_166_667.0, "668166666.67, rounded");
        assert_eq!(operations(N_MAX), (2.0_f64.powi(61) / 3.0 + 1.5 * 2.0_f64.powi(40)).round());
    }

    #[test]
    fn one_and_two_threads_agree() {
        let x = |threads| solved(System::random(400, threads, 5).unwrap()).x;
        let (one, two) = (x(1), x(2));
        let largest = norm(&one);
        assert!(one.iter().zip(&two).all(|(one, two)| (one - two).abs() < 1e-9 * largest));
        assert_ne!(one, solved(System::random(400, 1, 6).unwrap()).x, "another seed is another system");
    }

    #[test]
    fn entries_are_hpls_and_fill_their_range() {
        let system = System::random(100, 1, 1).unwrap();
        for numbers in [&system.a[..], &system.b] {
            assert!(numbers.iter().all(|number| (-0.5..0.5).contains(number)));
            assert!(norm(numbers) > 0.45 && numbers.iter().any(|number| *number < -0.4), "{}", norm(numbers));
        }
        assert!(system.a.iter().sum::<f64>().abs() < 150.0, "about 29 is one standard deviation");
    }

    #[test]
    fn the_order_is_bounded_by_half_of_the_memory_and_what_is_refused_is_told_what_would_do() {
        let room = |memory_bytes| Room { cpus: 2, memory_bytes, disk_bytes: 0, files_bytes_max: 0, cache_bytes: 0 };
        let n = |parameters: Parameters| parameters.integer("n", 0, u64::MAX).unwrap();
        let derived = |memory_bytes| Lu.size(&room(memory_bytes), &Parameters::default()).map(n);
        assert_eq!([derived(64 << 30), derived(32_000_000), derived(8 << 20)], [Ok(1000), Ok(1000), Ok(512)]);
        assert!(derived(0).unwrap_err().contains("--memory"));

        let written = |order: u64| Lu.size(&room(1 << 30), &Parameters::default().with("n", order));
        let refusal = written(100_000).unwrap_err();
        let largest: u64 = refusal.split(" to ").last().unwrap().split(' ').next().unwrap().parse().unwrap();
        assert_eq!(largest, 5792, "{refusal}");
        assert!(written(largest).is_ok() && written(largest + 1).is_err(), "the advice can be followed");
        let enough: u64 = refusal.split("--memory to ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
        assert!(Lu.size(&room(enough << 20), &Parameters::default().with("n", 100_000)).is_ok());
        assert!(Lu.size(&room(u64::MAX), &Parameters::default().with("n", N_MAX)).is_ok());
    }
}
