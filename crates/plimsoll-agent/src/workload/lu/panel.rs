//! The arithmetic of a factorisation, on one thread: a panel, and the update of columns by it.

use super::sys::{Instructions, Kernel, Pass};
use crate::workload::WorkloadError;
use crate::workload::region::Region;

/// Columns that are factored one after the other; wider panels are halved.
const LEAF_COLUMNS: usize = 12;
/// Columns that are updated together: so much of U lies packed, and is read once for each part of L.
const CHUNK_COLUMNS: usize = 768;
/// As much of L as is kept in a CPU's own cache while columns pass.
const L_BYTES: usize = 384 << 10;

/// Columns of a matrix that lie one after the other, each of `stride` numbers; rows before `first` are finished.
pub(super) struct Columns<'a> {
    pub(super) numbers: &'a mut [f64],
    pub(super) stride: usize,
    pub(super) rows: usize,
    pub(super) first: usize,
}

impl<'a> Columns<'a> {
    fn count(&self) -> usize {
        self.numbers.len() / self.stride
    }

    fn part(&mut self, columns: std::ops::Range<usize>, first: usize) -> Columns<'_> {
        let numbers = &mut self.numbers[columns.start * self.stride..columns.end * self.stride];
        Columns { numbers, first, ..*self }
    }

    /// The same, borrowed.
    pub(super) fn all(&mut self) -> Columns<'_> {
        Columns { numbers: self.numbers, ..*self }
    }

    fn split(&mut self, at: usize) -> (Columns<'_>, Columns<'_>) {
        let (stride, rows, first) = (self.stride, self.rows, self.first);
        let (left, right) = self.numbers.split_at_mut(at * stride);
        (Columns { numbers: left, stride, rows, first }, Columns { numbers: right, stride, rows, first })
    }

    fn swap(&mut self, swaps: &[usize]) {
        self.numbers.chunks_exact_mut(self.stride).for_each(|column| swap(&mut column[self.first..self.rows], swaps));
    }
}

/// Lets rows change places, one pair after the other.
#[inline(always)]
fn swap(column: &mut [f64], swaps: &[usize]) {
    for (row, other) in swaps.iter().enumerate() {
        column.swap(row, *other);
    }
}

/// Factored columns, as updates want them: L in strips as high as a tile, each row after row.
pub(super) struct Panel {
    width: usize,
    /// With which row, counted from the panel's first, each of its rows changed places.
    swaps: Vec<usize>,
    /// The rows that are as many as the columns, and those below.
    square: Region<f64>,
    below: Region<f64>,
}

impl Panel {
    /// With room for so many rows and columns.
    pub(super) fn new(rows: usize, width: usize, instructions: Instructions) -> Result<Self, WorkloadError> {
        let tile = instructions.tile_rows();
        let strips = |rows: usize| Region::new(rows.next_multiple_of(tile) * width);
        Ok(Self { width: 0, swaps: Vec::with_capacity(width), square: strips(width)?, below: strips(rows)? })
    }

    pub(super) fn pack(&mut self, columns: &Columns<'_>, swaps: &[usize], instructions: Instructions) {
        self.width = columns.count();
        self.swaps.clear();
        self.swaps.extend_from_slice(swaps);
        let tile = instructions.tile_rows();
        let below = columns.first + self.width;
        pack(&mut self.square, columns, columns.first..below, tile);
        pack(&mut self.below, columns, below..columns.rows, tile);
    }
}

fn pack(strips: &mut [f64], columns: &Columns<'_>, rows: std::ops::Range<usize>, tile: usize) {
    let width = columns.count();
    for (strip, row) in strips.chunks_exact_mut(tile * width).zip(rows.clone().step_by(tile)) {
        let end = rows.end.min(row + tile);
        for (to, from) in strip.chunks_exact_mut(tile).zip(columns.numbers.chunks_exact(columns.stride)) {
            let (there, beyond) = to.split_at_mut(end - row);
            there.copy_from_slice(&from[row..end]);
            beyond.fill(0.0);
        }
    }
}

/// What one thread needs beside its columns.
pub(super) struct Scratch {
    half: Panel,
    pub(super) upper: Region<f64>,
}

impl Scratch {
    pub(super) fn new(rows: usize, width: usize, instructions: Instructions) -> Result<Self, WorkloadError> {
        Ok(Self {
            half: Panel::new(rows, (width / 2).next_multiple_of(LEAF_COLUMNS), instructions)?,
            upper: Region::new(width * CHUNK_COLUMNS)?,
        })
    }
}

/// Factors columns in place.
pub(super) fn factor(mut columns: Columns<'_>, swaps: &mut [usize], scratch: &mut Scratch, instructions: Instructions) {
    let count = columns.count();
    if count <= LEAF_COLUMNS {
        return instructions.run(Leaf { columns, swaps });
    }
    let half = (count / 2).next_multiple_of(LEAF_COLUMNS).min(count - 1);
    let first = columns.first;
    let (swaps_left, swaps_right) = swaps.split_at_mut(half);
    factor(columns.part(0..half, first), swaps_left, scratch, instructions);
    scratch.half.pack(&columns.part(0..half, first), swaps_left, instructions);
    let (mut left, mut right) = columns.split(half);
    update(&mut right, &scratch.half, &mut scratch.upper, instructions);
    right.first += half;
    factor(right, swaps_right, scratch, instructions);
    left.first += half;
    left.swap(swaps_right);
    for swap in swaps_right {
        *swap += half;
    }
}

/// What a panel does to columns on its right.
pub(super) fn update(columns: &mut Columns<'_>, panel: &Panel, upper: &mut [f64], instructions: Instructions) {
    let count = columns.count();
    for start in (0..count).step_by(CHUNK_COLUMNS) {
        let end = count.min(start + CHUNK_COLUMNS);
        let columns = columns.part(start..end, columns.first);
        instructions.run(Update { columns, panel, upper });
    }
}

/// Factors narrow columns, one after the other.
struct Leaf<'a> {
    columns: Columns<'a>,
    swaps: &'a mut [usize],
}

impl Pass for Leaf<'_> {
    #[inline(always)]
    fn run<const ROWS: usize, const COLUMNS: usize>(self, kernel: impl Kernel<ROWS, COLUMNS>) {
        let Columns { numbers, stride, rows, first } = self.columns;
        for (place, swap) in self.swaps.iter_mut().enumerate() {
            let diagonal = first + place;
            let pivot = diagonal + largest(&numbers[place * stride..][diagonal..rows]);
            *swap = pivot - first;
            for column in numbers.chunks_exact_mut(stride) {
                column.swap(diagonal, pivot);
            }
            let (left, right) = numbers.split_at_mut((place + 1) * stride);
            let (head, below) = left[place * stride..][diagonal..rows].split_at_mut(1);
            if head[0] != 0.0 {
                let reciprocal = 1.0 / head[0];
                below.iter_mut().for_each(|number| *number *= reciprocal);
            }
            for column in right.chunks_exact_mut(stride) {
                let (head, rest) = column[diagonal..rows].split_at_mut(1);
                for (number, l) in rest.iter_mut().zip(&*below) {
                    *number = kernel.multiply_add(-head[0], *l, *number);
                }
            }
        }
    }
}

#[inline(always)]
fn largest(numbers: &[f64]) -> usize {
    let mut lanes = [0.0_f64; 32];
    let (chunks, rest) = numbers.as_chunks::<32>();
    for chunk in chunks {
        for (lane, number) in lanes.iter_mut().zip(chunk) {
            *lane = if number.abs() > *lane { number.abs() } else { *lane };
        }
    }
    let largest = lanes
        .iter()
        .chain(rest)
        .fold(0.0_f64, |largest, number| if number.abs() > largest { number.abs() } else { largest });
    numbers.iter().position(|number| number.abs() == largest).unwrap_or(0)
}

/// Swaps the rows of some columns, finds their part of U, and takes L times that from what lies below.
struct Update<'a> {
    columns: Columns<'a>,
    panel: &'a Panel,
    upper: &'a mut [f64],
}

impl Pass for Update<'_> {
    #[inline(always)]
    fn run<const ROWS: usize, const COLUMNS: usize>(self, kernel: impl Kernel<ROWS, COLUMNS>) {
        let Self { columns: Columns { numbers, stride, rows, first }, panel, upper } = self;
        let width = panel.width;
        let groups = numbers.chunks_mut(COLUMNS * stride).zip(upper.chunks_exact_mut(COLUMNS * width));
        for (group, upper) in groups {
            for column in group.chunks_exact_mut(stride) {
                swap(&mut column[first..rows], &panel.swaps);
            }
            solve(kernel, group, stride, first, panel, upper);
        }
        let strips_together = (L_BYTES / (8 * width * ROWS)).max(1);
        let below = first + width;
        let strips = (rows - below).div_ceil(ROWS);
        let l = &panel.below[..strips * ROWS * width];
        for (block, l) in l.chunks(strips_together * width * ROWS).enumerate() {
            let top = below + block * strips_together * ROWS;
            let groups = numbers.chunks_mut(COLUMNS * stride).zip(upper.chunks_exact(COLUMNS * width));
            for (group, upper) in groups {
                for (strip, l) in l.chunks_exact(width * ROWS).enumerate() {
                    let row = top + strip * ROWS;
                    if row + ROWS <= rows && group.len() == COLUMNS * stride {
                        kernel.subtract_product(l.as_chunks().0, upper.as_chunks().0, &mut group[row..], stride);
                    } else {
                        let mut tile = [[0.0; ROWS]; COLUMNS];
                        kernel.subtract_product(l.as_chunks().0, upper.as_chunks().0, tile.as_flattened_mut(), ROWS);
                        for (column, tile) in group.chunks_exact_mut(stride).zip(&tile) {
                            for (number, less) in column[row..rows].iter_mut().zip(tile) {
                                *number += less;
                            }
                        }
                    }
                }
            }
        }
    }
}

#[inline(always)]
fn solve<const ROWS: usize, const COLUMNS: usize>(
    kernel: impl Kernel<ROWS, COLUMNS>,
    group: &mut [f64],
    stride: usize,
    first: usize,
    panel: &Panel,
    upper: &mut [f64],
) {
    let width = panel.width;
    let (upper, _) = upper.as_chunks_mut::<COLUMNS>();
    if group.len() < COLUMNS * stride {
        upper.fill([0.0; COLUMNS]);
    }
    for (place, column) in group.chunks_exact(stride).enumerate() {
        for (row, number) in upper.iter_mut().zip(&column[first..]) {
            row[place] = *number;
        }
    }
    for (strip, l) in panel.square.chunks_exact(width * ROWS).take(width.div_ceil(ROWS)).enumerate() {
        let top = strip * ROWS;
        let (above, here) = upper.split_at_mut(top);
        let (l_above, l_here) = l.split_at(top * ROWS);
        let mut less = [[0.0; ROWS]; COLUMNS];
        kernel.subtract_product(l_above.as_chunks().0, above, less.as_flattened_mut(), ROWS);
        let height = here.len().min(ROWS);
        let mut rows = [[0.0; COLUMNS]; ROWS];
        for row in 0..height {
            for column in 0..COLUMNS {
                rows[row][column] = here[row][column] + less[column][row];
            }
        }
        for (row, l) in l_here.as_chunks::<ROWS>().0.iter().enumerate().take(height) {
            let done = rows[row];
            for (below, l) in rows.iter_mut().zip(l).skip(row + 1) {
                for (number, done) in below.iter_mut().zip(&done) {
                    *number = kernel.multiply_add(-l, *done, *number);
                }
            }
        }
        here[..height].copy_from_slice(&rows[..height]);
    }
    for (place, column) in group.chunks_exact_mut(stride).enumerate() {
        for (row, number) in upper.iter().zip(&mut column[first..]) {
            *number = row[place];
        }
    }
}

/// Finds the unknowns of these columns, of U, and takes what they amount to from the right sides above. Pivots by which
/// nothing can be divided are told.
pub(super) fn substitute(columns: Columns<'_>, x: &mut [f64], instructions: Instructions) -> Option<usize> {
    let pivots = columns.numbers.chunks_exact(columns.stride).zip(columns.first..).map(|(column, row)| column[row]);
    let bad = pivots.into_iter().position(|pivot| pivot == 0.0 || !pivot.is_finite());
    let first = columns.first;
    instructions.run(Substitute { columns, x });
    bad.map(|place| first + place)
}

struct Substitute<'a> {
    columns: Columns<'a>,
    x: &'a mut [f64],
}

impl Pass for Substitute<'_> {
    #[inline(always)]
    fn run<const ROWS: usize, const COLUMNS: usize>(self, kernel: impl Kernel<ROWS, COLUMNS>) {
        let Columns { numbers, stride, first, .. } = self.columns;
        for (place, column) in numbers.chunks_exact(stride).enumerate().rev() {
            let (above, rest) = self.x.split_at_mut(first + place);
            rest[0] /= column[first + place];
            for (number, u) in above.iter_mut().zip(column) {
                *number = kernel.multiply_add(-rest[0], *u, *number);
            }
        }
    }
}
