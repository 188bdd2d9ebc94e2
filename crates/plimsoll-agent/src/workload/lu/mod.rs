//! A x = b by LU decomposition with partial pivoting, on a team of threads, laid out as HPL lays it out over a row of
//! processes.
//!
//! Blocks of columns are dealt out to the threads in turn, and each thread owns its columns. A block is factored by its
//! owner, packed, and shown to all; each then updates its own columns to the right. Whoever owns the next block updates
//! and factors it first, so that the others find it finished when they come to it. b is one more column: when the last
//! block is finished, it is what back substitution begins with.

mod board;
mod panel;
mod sys;

use std::ops::Range;
use std::sync::Arc;

use super::WorkloadError;
use super::region::Region;
use super::team::{Member, Team};
use board::Board;
use panel::{Columns, Scratch, factor, substitute, update};
pub(super) use sys::Instructions;

/// Columns of a block, a multiple of every tile's height. The wider it is, the less memory passes by for each operation;
/// the more blocks there are, the more evenly are they shared.
const WIDTH_MIN: usize = 24;
const WIDTH_MAX: usize = 192;
const BLOCKS_WANTED: usize = 12;
/// Numbers in a cache line.
const LINE: usize = 8;

/// A, in columns, and b.
pub(super) struct Equations {
    pub(super) a: Region<f64>,
    pub(super) b: Vec<f64>,
}

/// What solves one system again and again.
pub(super) struct Solver {
    team: Team<Share>,
    board: Arc<Board>,
}

impl Solver {
    pub(super) fn new(equations: Arc<Equations>, threads: usize, with: Instructions) -> Result<Self, WorkloadError> {
        let deal = Deal::new(equations.b.len(), threads);
        let board = Arc::new(Board::new(deal.n, deal.width, threads, with)?);
        let shown = Arc::clone(&board);
        let make = move |index| Share::new(index, deal, Arc::clone(&equations), Arc::clone(&shown), with);
        Ok(Self { team: Team::assemble(threads, make)?, board })
    }

    /// Copies A and b, and forgets x.
    pub(super) fn renew(&mut self) -> Result<(), WorkloadError> {
        self.board.solution().x.fill(f64::NAN);
        self.team.all(Task::Copy).map(drop)
    }

    /// Factors the copy and finds x, once.
    pub(super) fn solve(&mut self) -> Result<(), WorkloadError> {
        self.board.restart();
        self.team.all(Task::Solve).map(drop)
    }

    /// x, and the first pivot by which nothing can be divided.
    pub(super) fn solution<T>(&self, look: impl FnOnce(&[f64], Option<usize>) -> T) -> T {
        let solution = self.board.solution();
        look(&solution.x, solution.bad_pivot)
    }
}

/// Who owns which columns.
#[derive(Debug, Clone, Copy)]
struct Deal {
    n: usize,
    width: usize,
    blocks: usize,
    threads: usize,
    /// From one column to the next.
    stride: usize,
}

impl Deal {
    fn new(n: usize, threads: usize) -> Self {
        let width = (n / BLOCKS_WANTED.max(2 * threads)).next_multiple_of(WIDTH_MIN).clamp(WIDTH_MIN, WIDTH_MAX);
        // An odd number of lines, so that neighbours do not compete for the same places in a cache.
        let stride = (n.div_ceil(LINE) | 1) * LINE;
        Self { n, width, blocks: n.div_ceil(width), threads, stride }
    }

    fn owner(self, block: usize) -> usize {
        block % self.threads
    }

    /// Columns of A.
    fn columns(self, block: usize) -> Range<usize> {
        block * self.width..self.n.min((block + 1) * self.width)
    }

    /// Columns of A that a thread owns in blocks before this one, which is where it keeps this one if it is its own.
    fn owned_before(self, index: usize, block: usize) -> usize {
        let blocks = (block + self.threads - 1 - index) / self.threads;
        let whole = blocks * self.width;
        // Only the very last may be narrower.
        if block == self.blocks && self.owner(block - 1) == index {
            whole - (block * self.width - self.n)
        } else {
            whole
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Task {
    Copy,
    Solve,
}

/// What one thread owns: its columns, one after the other; b is the last of whoever owns the last block.
struct Share {
    index: usize,
    deal: Deal,
    equations: Arc<Equations>,
    board: Arc<Board>,
    columns: Region<f64>,
    swaps: Vec<usize>,
    scratch: Scratch,
    with: Instructions,
}

impl Member for Share {
    type Task = Task;

    fn perform(&mut self, task: Task) -> Result<u64, WorkloadError> {
        match task {
            Task::Copy => self.copy(),
            Task::Solve => self.solve()?,
        }
        Ok(0)
    }
}

impl Share {
    fn new(
        index: usize,
        deal: Deal,
        equations: Arc<Equations>,
        board: Arc<Board>,
        with: Instructions,
    ) -> Result<Self, WorkloadError> {
        let count = deal.owned_before(index, deal.blocks) + usize::from(deal.owner(deal.blocks - 1) == index);
        let mut columns = Region::new(count * deal.stride)?;
        // Whoever touches a page first has it near.
        columns.fill(0.0);
        let (swaps, scratch) = (vec![0; deal.width], Scratch::new(deal.n, deal.width, with)?);
        Ok(Self { index, deal, equations, board, columns, swaps, scratch, with })
    }

    fn copy(&mut self) {
        let Deal { n, blocks, stride, .. } = self.deal;
        let own = (0..blocks).filter(|block| self.deal.owner(*block) == self.index);
        let of_a = own.flat_map(|block| self.deal.columns(block)).map(|column| &self.equations.a[column * n..][..n]);
        for (to, from) in self.columns.chunks_exact_mut(stride).zip(of_a.chain([&self.equations.b[..]])) {
            to[..n].copy_from_slice(from);
        }
    }

    fn solve(&mut self) -> Result<(), WorkloadError> {
        let (deal, board) = (self.deal, Arc::clone(&self.board));
        let _attendance = board.attend();
        if deal.owner(0) == self.index {
            self.factor(0)?;
        }
        for block in 0..deal.blocks {
            let panel = board.panel(block)?;
            let (next, end) = (block + 1, self.columns.len() / deal.stride);
            let mut start = deal.owned_before(self.index, next);
            if next < deal.blocks && deal.owner(next) == self.index {
                let after = deal.owned_before(self.index, next + 1);
                let first = block * deal.width;
                let mut columns = columns_of(&mut self.columns, deal, start..after, first);
                update(&mut columns, &panel, &mut self.scratch.upper, self.with);
                self.factor(next)?;
                start = after;
            }
            let mut columns = columns_of(&mut self.columns, deal, start..end, block * deal.width);
            update(&mut columns, &panel, &mut self.scratch.upper, self.with);
            board.done_with(block, panel);
        }
        self.substitute()
    }

    /// Factors a block, packs it and shows it.
    fn factor(&mut self, block: usize) -> Result<(), WorkloadError> {
        let (deal, start) = (self.deal, self.deal.owned_before(self.index, block));
        let place = deal.columns(block);
        let swaps = &mut self.swaps[..place.len()];
        let mut columns = columns_of(&mut self.columns, deal, start..start + place.len(), place.start);
        factor(columns.all(), swaps, &mut self.scratch, self.with);
        self.board.show(block, |panel| panel.pack(&columns, swaps, self.with))
    }

    /// Finds the unknowns of its own blocks, from the last to the first, each when its turn has come.
    fn substitute(&mut self) -> Result<(), WorkloadError> {
        let (deal, board) = (self.deal, &self.board);
        for block in (0..deal.blocks).rev().filter(|block| deal.owner(*block) == self.index) {
            let step = 2 * deal.blocks - block;
            board.wait_for(step - 1)?;
            let mut solution = board.solution();
            let (place, start) = (deal.columns(block), deal.owned_before(self.index, block));
            if block == deal.blocks - 1 {
                let end = self.columns.len() - deal.stride;
                solution.x.copy_from_slice(&self.columns[end..][..deal.n]);
            }
            let columns = columns_of(&mut self.columns, deal, start..start + place.len(), place.start);
            let bad_pivot = substitute(columns, &mut solution.x, self.with);
            solution.bad_pivot = bad_pivot.or(solution.bad_pivot);
            drop(solution);
            board.reach(step);
        }
        Ok(())
    }
}

fn columns_of(numbers: &mut [f64], deal: Deal, columns: Range<usize>, first: usize) -> Columns<'_> {
    let numbers = &mut numbers[columns.start * deal.stride..columns.end * deal.stride];
    Columns { numbers, stride: deal.stride, rows: deal.n, first }
}

#[cfg(test)]
mod tests;
