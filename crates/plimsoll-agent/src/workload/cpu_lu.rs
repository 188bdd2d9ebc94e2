//! `cpu.lu`: a dense system of equations solved by LU decomposition with partial pivoting, the work of HPL (Petitet,
//! Whaley, Dongarra, Cleary) on one machine. [`super::lu`] does the linear algebra.
//!
//! A unit is one factorisation and one solution. The matrix is copied anew before each, untimed, and nothing is allocated
//! in a unit. After a slice HPL's scaled residual of the last solution must pass HPL's threshold.

use std::sync::Arc;

use plimsoll_protocol::Parameters;

use super::lu::{Equations, Instructions, Solver};
use super::region::Region;
use super::team::{THREADS_MAX, all_cpus_and_one};
use super::{
    About, MeasuredBy, Metric, MetricKind, ParameterAbout, Prepared, Recorder, Room, Scene, WarmUp, Workload,
    WorkloadError, mib,
};
use crate::seeded::Seeded;

/// 1.4 * 10^8 operations: some milliseconds natively, and a second or two in a guest that is emulated.
const N_DEFAULT: u64 = 600;
/// With many CPUs more, so that each thread has two of the narrowest blocks.
const N_PER_CPU: u64 = 48;
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
    summary: "a dense system solved by LU with partial pivoting, as HPL does",
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
};

impl Workload for Lu {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn size(&self, room: &Room, written: &Parameters) -> Result<Parameters, String> {
        let largest = (room.memory_bytes / (2 * BYTES_PER_ENTRY)).isqrt();
        let derived =
            Parameters::default().with("n", largest.clamp(1, N_DEFAULT.max(u64::from(room.cpus) * N_PER_CPU)));
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
        system.solver.solve()?;
        system.verify()?;
        Ok(Box::new(system))
    }
}

/// A x = b, and what solves it.
struct System {
    equations: Arc<Equations>,
    solver: Solver,
    /// That of the solution that was verified last.
    residual: f64,
}

impl System {
    /// With entries in [-0.5, 0.5), as HPL has them.
    fn random(n: usize, threads: usize, seed: u64) -> Result<Self, WorkloadError> {
        Self::new(random(n, seed)?, threads, Instructions::best())
    }

    fn new(equations: Equations, threads: usize, with: Instructions) -> Result<Self, WorkloadError> {
        let equations = Arc::new(equations);
        let solver = Solver::new(Arc::clone(&equations), threads, with)?;
        Ok(Self { equations, solver, residual: f64::NAN })
    }

    /// Whether `x` solves it, with its residual.
    fn check(&self, x: &[f64], bad_pivot: Option<usize>) -> (f64, Result<(), WorkloadError>) {
        let residual = residual(&self.equations.a, x, &self.equations.b);
        let outcome = match bad_pivot {
            Some(pivot) => Err(format!("the matrix is singular: pivot {pivot} is 0 or no number")),
            None if residual < RESIDUAL_MAX => Ok(()),
            None => Err(format!(
                "the solution is wrong: its scaled residual is {residual:.3e}, and must be less than {RESIDUAL_MAX}"
            )),
        };
        (residual, outcome.map_err(|why| WorkloadError::Wrong(format!("cpu.lu: {why}"))))
    }
}

impl Prepared for System {
    fn renew(&mut self) -> Result<bool, WorkloadError> {
        self.solver.renew()?;
        Ok(true)
    }

    fn unit(&mut self, recorder: &mut Recorder) -> Result<f64, WorkloadError> {
        self.solver.solve()?;
        // The same system has the same residual every time; this slice's own is looked at when it is over.
        recorder.note("residual", "1", self.residual);
        Ok(operations(self.equations.b.len() as u64))
    }

    fn verify(&mut self) -> Result<(), WorkloadError> {
        let (residual, outcome) = self.solver.solution(|x, bad_pivot| self.check(x, bad_pivot));
        self.residual = residual;
        outcome
    }
}

/// Equations with entries drawn from the seed.
fn random(n: usize, seed: u64) -> Result<Equations, WorkloadError> {
    let mut a = Region::new(n * n)?;
    fill(&mut a, &mut Seeded::stream(seed, 1));
    let mut b = vec![0.0; n];
    fill(&mut b, &mut Seeded::stream(seed, 2));
    Ok(Equations { a, b })
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
    fn system<const N: usize>(rows: [[f64; N]; N], b: [f64; N], threads: usize, with: Instructions) -> System {
        let mut a = Region::new(N * N).unwrap();
        for (place, entry) in a.iter_mut().enumerate() {
            *entry = rows[place % N][place / N];
        }
        System::new(Equations { a, b: b.to_vec() }, threads, with).unwrap()
    }

    fn solved(mut system: System) -> System {
        system.renew().unwrap();
        system.unit(&mut Recorder::default()).unwrap();
        system
    }

    fn x(system: &System) -> Vec<f64> {
        system.solver.solution(|x, _| x.to_vec())
    }

    #[test]
    fn a_system_that_needs_pivoting_is_solved() {
        for threads in [1, 2] {
            for with in Instructions::all() {
                let rows = [[0.0, 2.0, 1.0], [1.0, 1.0, 0.0], [4.0, 0.0, 1.0]];
                let mut system = solved(system(rows, [7.0, 3.0, 7.0], threads, with));
                system.verify().unwrap();
                for (found, expected) in x(&system).iter().zip([1.0, 2.0, 3.0]) {
                    assert!((found - expected).abs() < 1e-14, "{:?}", x(&system));
                }
            }
        }
    }

    #[test]
    fn every_unit_passes_hpls_test_and_counts_its_operations() {
        // With and beside whole blocks, of 24 columns and of 48.
        for n in [1, 2, 23, 24, 25, 47, 48, 49, 63, 287, 288, 289, 335, 336, 337] {
            for (threads, with) in
                [1, 2, 3, 5].into_iter().flat_map(|n| Instructions::all().into_iter().map(move |w| (n, w)))
            {
                let mut system = System::new(random(n, 1).unwrap(), threads, with).unwrap();
                for _ in 0..2 {
                    system.renew().unwrap();
                    assert_eq!(system.unit(&mut Recorder::default()).unwrap(), operations(n as u64));
                    system.verify().unwrap();
                    assert!(system.residual < 1.0, "order {n}, {threads} threads, {with:?}: {}", system.residual);
                }
            }
        }
    }

    #[test]
    fn all_threads_and_all_instructions_find_the_same() {
        let found = |threads, with| x(&solved(System::new(random(400, 5).unwrap(), threads, with).unwrap()));
        let first = found(1, Instructions::best());
        for with in Instructions::all() {
            let one = found(1, with);
            let differences: Vec<_> = one.iter().zip(&first).map(|(one, first)| one - first).collect();
            assert!(norm(&differences) < 1e-9 * norm(&first), "{with:?}");
            assert!([2, 3, 5].into_iter().all(|threads| found(threads, with) == one), "{with:?}: to the last bit");
        }
        let other = x(&solved(System::random(400, 1, 6).unwrap()));
        assert_ne!(first, other, "another seed is another system");
    }

    /// Of more threads than CPUs some come late to a panel: it must wait for them.
    #[test]
    fn threads_that_come_late_find_what_they_need() {
        for threads in [5, 7, 13] {
            let mut system = System::random(300, threads, 1).unwrap();
            for _ in 0..20 {
                system.renew().unwrap();
                system.unit(&mut Recorder::default()).unwrap();
                system.verify().unwrap();
            }
        }
    }

    #[test]
    fn pivots_are_found_wherever_they_are() {
        let n = 130;
        for with in Instructions::all() {
            let mut upside_down = random(n, 1).unwrap();
            upside_down.a.fill(0.0);
            let mut tiny = random(n, 1).unwrap();
            for place in 0..n {
                upside_down.a[place * n + n - 1 - place] = 2.0;
                tiny.a[place * n + place] = 1e-30;
            }
            let halves: Vec<_> = upside_down.b.iter().rev().map(|b| b / 2.0).collect();
            assert_eq!(x(&solved(System::new(upside_down, 2, with).unwrap())), halves);
            let mut system = solved(System::new(tiny, 2, with).unwrap());
            system.verify().unwrap();
            assert!(system.residual < 1.0, "{}", system.residual);
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
        let mut x = x(&system);
        for place in [0, 77, 199] {
            let kept = x[place];
            for wrong in [kept * (1.0 + 1e-9), f64::NAN, f64::INFINITY, 0.0] {
                x[place] = wrong;
                let error = system.check(&x, None).1.unwrap_err().to_string();
                assert!(error.contains("its scaled residual is"), "{error}");
            }
            x[place] = kept;
        }
        system.check(&x, None).1.unwrap();
        system.verify().unwrap();
        system.renew().unwrap();
        assert!(system.verify().is_err(), "nobody has solved it");
    }

    #[test]
    fn a_singular_matrix_is_an_error() {
        for threads in [1, 2] {
            for rows in [[[1.0, 2.0], [2.0, 4.0]], [[0.0, 1.0], [0.0, 2.0]], [[0.0; 2]; 2]] {
                let mut system = solved(system(rows, [1.0, 1.0], threads, Instructions::best()));
                let error = system.verify().unwrap_err().to_string();
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
    fn entries_are_hpls_and_fill_their_range() {
        let system = random(100, 1).unwrap();
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
        assert_eq!([derived(64 << 30), derived(11_520_000), derived(8 << 20)], [Ok(600), Ok(600), Ok(512)]);
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
