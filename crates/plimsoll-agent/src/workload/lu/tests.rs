//! The arithmetic beside loops that anybody can check, and who owns what.

use super::panel::Panel;
use super::sys::{Kernel, Pass};
use super::*;
use crate::seeded::Seeded;

fn numbers(count: usize, seed: u64) -> Vec<f64> {
    let mut seeded = Seeded::new(seed);
    (0..count).map(|_| (seeded.next() >> 11) as f64 / (1_u64 << 53) as f64 - 0.5).collect()
}

/// Gaussian elimination as it is written in books.
fn factor_plainly(numbers: &mut [f64], rows: usize, stride: usize) -> Vec<usize> {
    let columns = numbers.len() / stride;
    let mut swaps = Vec::new();
    for k in 0..columns {
        let magnitude = |row: &usize| numbers[k * stride + row].abs();
        let pivot = (k..rows).max_by(|one, other| magnitude(one).total_cmp(&magnitude(other))).unwrap();
        swaps.push(pivot);
        for column in numbers.chunks_mut(stride) {
            column.swap(k, pivot);
        }
        for row in k + 1..rows {
            numbers[k * stride + row] /= numbers[k * stride + k];
            for column in k + 1..columns {
                numbers[column * stride + row] -= numbers[k * stride + row] * numbers[column * stride + k];
            }
        }
    }
    swaps
}

fn assert_near(found: &[f64], expected: &[f64], what: &str) {
    for (place, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!((found - expected).abs() < 1e-10, "{what}, number {place}: {found}, expected {expected}");
    }
}

#[test]
fn a_panel_is_factored_as_in_books_whatever_its_shape() {
    for with in Instructions::all() {
        for columns in [1, 2, 11, 12, 13, 23, 24, 25, 48, 50, 96] {
            for rows in [columns, columns + 1, columns + 23, columns + 24, columns + 200] {
                let stride = rows + 3;
                let mut found = numbers(columns * stride, 1);
                let (mut expected, mut swaps) = (found.clone(), vec![0; columns]);
                let mut scratch = Scratch::new(rows, columns, with).unwrap();
                factor(Columns { numbers: &mut found, stride, rows, first: 0 }, &mut swaps, &mut scratch, with);
                assert_eq!(swaps, factor_plainly(&mut expected, rows, stride), "{rows} x {columns}, {with:?}");
                assert_near(&found, &expected, &format!("{rows} x {columns}, {with:?}"));
            }
        }
    }
}

/// More columns than one chunk has, and more rows of L than are kept together.
#[test]
fn columns_are_updated_as_in_books_whatever_their_number() {
    for with in Instructions::all() {
        for (width, rows, right) in [(5, 9, 1), (24, 26, 7), (24, 51, 8), (50, 100, 9), (192, 700, 3), (30, 60, 771)] {
            let (stride, first) = (rows + 5, 2);
            let mut found = numbers((width + right) * stride, 2);
            let mut expected = found.clone();
            let mut scratch = Scratch::new(rows, width, with).unwrap();
            let (left, columns) = found.split_at_mut(width * stride);
            let mut swaps = vec![0; width];
            let mut left = Columns { numbers: left, stride, rows, first };
            factor(left.all(), &mut swaps, &mut scratch, with);
            let mut panel = Panel::new(rows, width, with).unwrap();
            panel.pack(&left, &swaps, with);
            let mut columns = Columns { numbers: columns, stride, rows, first };
            update(&mut columns, &panel, &mut scratch.upper, with);

            let what = format!("{width} columns of {rows} rows for {right}, {with:?}");
            for (row, swap) in swaps.iter().enumerate() {
                expected.chunks_mut(stride).for_each(|column| column.swap(first + row, first + swap));
            }
            let (_, expected) = expected.split_at_mut(width * stride);
            let l = &found[..width * stride];
            for column in expected.chunks_mut(stride) {
                for k in 0..width {
                    for row in first + k + 1..rows {
                        column[row] -= l[k * stride + row] * column[first + k];
                    }
                }
            }
            assert_near(&found[width * stride..], expected, &what);
        }
    }
}

#[test]
fn a_tile_loses_the_product_and_nothing_beside_it_changes() {
    struct Tile;
    impl Pass for Tile {
        #[inline(always)]
        fn run<const ROWS: usize, const COLUMNS: usize>(self, kernel: impl Kernel<ROWS, COLUMNS>) {
            for depth in [0, 1, 2, 7, 192] {
                let (l, upper) = (numbers(depth * ROWS, 3), numbers(depth * COLUMNS, 4));
                let (l, upper) = (l.as_chunks::<ROWS>().0, upper.as_chunks::<COLUMNS>().0);
                let stride = ROWS + 3;
                let mut found = numbers(COLUMNS * stride, 5);
                let mut expected = found.clone();
                kernel.subtract_product(l, upper, &mut found, stride);
                for (column, row) in (0..COLUMNS).flat_map(|column| (0..ROWS).map(move |row| (column, row))) {
                    let product: f64 = l.iter().zip(upper).map(|(l, upper)| l[row] * upper[column]).sum();
                    expected[column * stride + row] -= product;
                }
                assert_near(&found, &expected, &format!("{ROWS} x {COLUMNS}, depth {depth}"));
                assert_eq!(found[ROWS..stride], expected[ROWS..stride]);
            }
            assert_eq!(kernel.multiply_add(2.0, 3.0, 4.0), 10.0);
        }
    }
    Instructions::all().into_iter().for_each(|with| with.run(Tile));
}

#[test]
fn a_tile_that_does_not_fit_is_refused() {
    struct Short;
    impl Pass for Short {
        #[inline(always)]
        fn run<const ROWS: usize, const COLUMNS: usize>(self, kernel: impl Kernel<ROWS, COLUMNS>) {
            let mut to = vec![0.0; ROWS * COLUMNS - 1];
            kernel.subtract_product(&[], &[], &mut to, ROWS);
        }
    }
    for with in Instructions::all() {
        assert!(std::panic::catch_unwind(|| with.run(Short)).is_err(), "{with:?}");
    }
}

#[test]
fn every_column_has_one_owner_and_one_place() {
    for n in [1, 23, 24, 25, 48, 49, 289, 1000, 2400] {
        for threads in [1, 2, 3, 5, 200] {
            let deal = Deal::new(n, threads);
            let mut places = std::collections::BTreeSet::new();
            for block in 0..deal.blocks {
                let (owner, start) = (deal.owner(block), deal.owned_before(deal.owner(block), block));
                places.extend((start..start + deal.columns(block).len()).map(|place| (owner, place)));
                assert_eq!(deal.owned_before(owner, block + 1), start + deal.columns(block).len(), "{deal:?}");
            }
            assert_eq!(places.len(), n, "{deal:?}");
            let owned = |index| deal.owned_before(index, deal.blocks);
            assert!(places.iter().all(|(owner, place)| *place < owned(*owner)), "{deal:?}");
            assert_eq!((0..threads).map(owned).sum::<usize>(), n, "{deal:?}");
            assert!(deal.stride >= n && deal.stride / LINE % 2 == 1);
        }
    }
}
