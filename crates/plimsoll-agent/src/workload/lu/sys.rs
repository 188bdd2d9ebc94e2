//! Code for the instructions that this CPU has: the innermost loop of a product, and the choice of everything around it.
#![allow(unsafe_code, reason = "instructions that not every CPU has run only where the CPU has said that it has them")]

/// A set of instructions, as arithmetic is compiled for it. There is a value only where the CPU has them.
pub(super) trait Kernel<const ROWS: usize, const COLUMNS: usize>: Copy {
    /// `to -= l * upper`: a tile of so many rows and columns, which fits the registers. Each column of `to` begins
    /// `stride` numbers after the one before.
    fn subtract_product(self, l: &[[f64; ROWS]], upper: &[[f64; COLUMNS]], to: &mut [f64], stride: usize);

    /// `a * b + c`, rounded once where the CPU does that in one instruction.
    fn multiply_add(self, a: f64, b: f64, c: f64) -> f64;
}

/// Arithmetic that is compiled for each set of instructions.
pub(super) trait Pass {
    /// Does it. Implementations must be inlined, or they are compiled for the oldest CPU only.
    fn run<const ROWS: usize, const COLUMNS: usize>(self, kernel: impl Kernel<ROWS, COLUMNS>);
}

/// Which instructions to use. Only [`Instructions::all`] makes one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::workload) struct Instructions(Set);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Set {
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    Oldest,
}

impl Instructions {
    /// Those that this CPU has, the fastest first.
    pub(in crate::workload) fn all() -> Vec<Self> {
        let mut all = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            if std::arch::is_x86_feature_detected!("avx512f") {
                all.push(Self(Set::Avx512));
            }
            if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma") {
                all.push(Self(Set::Avx2));
            }
        }
        all.push(Self(Set::Oldest));
        all
    }

    /// The fastest that this CPU has.
    pub(in crate::workload) fn best() -> Self {
        Self::all()[0]
    }

    /// Rows of a tile.
    pub(super) fn tile_rows(self) -> usize {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Set::Avx512 => 24,
            #[cfg(target_arch = "x86_64")]
            Set::Avx2 => 12,
            Set::Oldest => 4,
        }
    }

    pub(super) fn run(self, pass: impl Pass) {
        match self.0 {
            // SAFETY: there is such a value only where the CPU has said that it has AVX-512.
            #[cfg(target_arch = "x86_64")]
            Set::Avx512 => unsafe { x86::avx512(pass) },
            // SAFETY: there is such a value only where the CPU has said that it has AVX2 and FMA.
            #[cfg(target_arch = "x86_64")]
            Set::Avx2 => unsafe { x86::avx2(pass) },
            Set::Oldest => pass.run(Plain),
        }
    }
}

/// What every CPU of its architecture has; the compiler finds the vectors.
#[derive(Clone, Copy)]
struct Plain;

impl Kernel<4, 4> for Plain {
    #[inline(always)]
    fn subtract_product(self, l: &[[f64; 4]], upper: &[[f64; 4]], to: &mut [f64], stride: usize) {
        let mut sums = [[0.0; 4]; 4];
        for (l, upper) in l.iter().zip(upper) {
            for (sums, factor) in sums.iter_mut().zip(upper) {
                for (sum, l) in sums.iter_mut().zip(l) {
                    *sum = self.multiply_add(*l, *factor, *sum);
                }
            }
        }
        for (column, sums) in sums.iter().enumerate() {
            for (number, sum) in to[column * stride..][..4].iter_mut().zip(sums) {
                *number -= sum;
            }
        }
    }

    #[inline(always)]
    fn multiply_add(self, a: f64, b: f64, c: f64) -> f64 {
        // In software it would take a hundred times as long.
        if cfg!(any(target_feature = "fma", target_arch = "aarch64")) { a.mul_add(b, c) } else { a * b + c }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::{Kernel, Pass};

    /// A kernel with tiles of `VECTORS` registers' rows and `COLUMNS` columns.
    macro_rules! kernel {
        (
            $name:ident, $run:ident, $tile:ident, $feature:literal, $lanes:literal lanes,
            $vectors:literal by $columns:literal,
            $zero:ident, $load:ident, $splat:ident, $store:ident, $subtract:ident,
            |$a:ident, $b:ident, $c:ident| $multiply_add:expr, |$d:ident, $e:ident, $f:ident| $scalar:expr
        ) => {
            #[derive(Clone, Copy)]
            struct $name(());

            #[target_feature(enable = $feature)]
            pub(super) fn $run(pass: impl Pass) {
                pass.run::<{ $vectors * $lanes }, $columns>($name(()));
            }

            impl Kernel<{ $vectors * $lanes }, $columns> for $name {
                #[inline(always)]
                fn subtract_product(
                    self,
                    l: &[[f64; $vectors * $lanes]],
                    upper: &[[f64; $columns]],
                    to: &mut [f64],
                    stride: usize,
                ) {
                    // SAFETY: there is such a value only within the function above, which is called only where the CPU
                    // has these instructions.
                    unsafe { $tile(l, upper, to, stride) }
                }

                #[inline(always)]
                fn multiply_add(self, $d: f64, $e: f64, $f: f64) -> f64 {
                    $scalar
                }
            }

            #[inline]
            #[target_feature(enable = $feature)]
            fn $tile(l: &[[f64; $vectors * $lanes]], upper: &[[f64; $columns]], to: &mut [f64], stride: usize) {
                // What is subtracted from should be near at the end.
                for place in (0..$columns).flat_map(|column| (0..$vectors).map(move |v| column * stride + v * $lanes)) {
                    let address = to.as_ptr().wrapping_add(place).cast();
                    // SAFETY: a hint, which reads nothing wherever it points.
                    #[allow(unused_unsafe, reason = "it is unsafe by older compilers only")]
                    unsafe {
                        _mm_prefetch::<_MM_HINT_T0>(address);
                    }
                }
                let mut sums = [[$zero(); $vectors]; $columns];
                for (l, upper) in l.iter().zip(upper) {
                    let mut $a = [$zero(); $vectors];
                    for (vector, $a) in $a.iter_mut().enumerate() {
                        // SAFETY: so many vectors of so many lanes are the whole array.
                        *$a = unsafe { $load(l.as_ptr().add(vector * $lanes)) };
                    }
                    for (sums, factor) in sums.iter_mut().zip(upper) {
                        let $b = $splat(*factor);
                        for ($c, $a) in sums.iter_mut().zip($a) {
                            *$c = $multiply_add;
                        }
                    }
                }
                for (column, sums) in sums.iter().enumerate() {
                    let to = &mut to[column * stride..][..$vectors * $lanes];
                    for (to, sum) in to.chunks_exact_mut($lanes).zip(sums) {
                        // SAFETY: a chunk has as many numbers as a vector has lanes.
                        unsafe { $store(to.as_mut_ptr(), $subtract($load(to.as_ptr()), *sum)) };
                    }
                }
            }
        };
    }

    kernel!(
        Avx512, avx512, tile_avx512, "avx512f", 8 lanes, 3 by 8,
        _mm512_setzero_pd, _mm512_loadu_pd, _mm512_set1_pd, _mm512_storeu_pd, _mm512_sub_pd,
        |a, b, c| _mm512_fmadd_pd(a, b, *c), |a, b, c| a.mul_add(b, c)
    );
    kernel!(
        Avx2, avx2, tile_avx2, "avx2,fma", 4 lanes, 3 by 4,
        _mm256_setzero_pd, _mm256_loadu_pd, _mm256_set1_pd, _mm256_storeu_pd, _mm256_sub_pd,
        |a, b, c| _mm256_fmadd_pd(a, b, *c), |a, b, c| a.mul_add(b, c)
    );
}
