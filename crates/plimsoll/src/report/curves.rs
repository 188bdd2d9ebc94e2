//! Where the lines of a sweep's drawing go: values become percent of its width and height. Drawing, not statistics.
//!
//! One chart for each group of points, all to the same scale; one line for each environment. A line breaks where a
//! value is missing, and spoiled figures are not drawn. A whisker is the interval of the cost, put where the value
//! would be at its ends.

use serde::Serialize;

use super::sweep::{Column, Drawn, PLACES_MIN, Sweep, SweepRow};
use super::units;
use super::words::Tone;

/// Span of the axis of points above which it is logarithmic.
const LINEAR_X_MAX: f64 = 16.0;
/// The same of the axis of values.
const LINEAR_Y_MAX: f64 = 30.0;
/// Free percent at each end of a scale.
const ROOM: f64 = 4.0;
/// Least percent between the words of two points.
const WORDS_APART: f64 = 15.0;
const TICKS_MAX: usize = 8;
/// Ways to draw a line that differ by dashes and marks; colours repeat with another period.
const DASHES: usize = 5;
const MARKS: usize = 6;
const COLOURS: usize = 8;

/// The drawing of a sweep.
#[derive(Debug, Serialize)]
pub(super) struct Curves {
    /// One for each group of points.
    charts: Vec<Chart>,
    /// Environments in the order of their lines.
    legend: Vec<Key>,
    /// Words on the scales.
    scales: String,
    /// What is not drawn, in a sentence; empty where all is.
    left_out: String,
}

#[derive(Debug, Serialize)]
struct Key {
    name: String,
    style: String,
    mark: &'static str,
}

#[derive(Debug, Serialize)]
struct Chart {
    /// What its points share: `pages=4k`.
    group: String,
    x_ticks: Vec<Tick>,
    y_ticks: Vec<Tick>,
    lines: Vec<Line>,
}

#[derive(Debug, Serialize)]
struct Tick {
    at: String,
    label: String,
}

#[derive(Debug, Serialize)]
struct Line {
    style: String,
    mark: &'static str,
    /// Path in percent of the chart.
    path: String,
    dots: Vec<Dot>,
}

#[derive(Debug, Serialize)]
struct Dot {
    x: String,
    y: String,
    whisker: Option<[String; 2]>,
}

impl Curves {
    /// The drawing; `None` where the sweep has too few places on an axis of numbers, or nothing to draw.
    pub(super) fn of(sweep: &Sweep) -> Option<Self> {
        let mut places: Vec<f64> = sweep.rows.iter().filter_map(|row| row.at).collect();
        places.sort_by(f64::total_cmp);
        places.dedup();
        if places.len() < PLACES_MIN {
            return None;
        }
        let x = Scale::of(&places, LINEAR_X_MAX)?;
        let values: Vec<f64> = sweep.rows.iter().flat_map(reaches).collect();
        let y = Scale::of(&values, LINEAR_Y_MAX)?.down_to_zero();
        let series = series(sweep);
        let chart = |rows: &[SweepRow]| Chart {
            group: rows[0].group.clone(),
            x_ticks: x_ticks(rows, &x),
            y_ticks: y_ticks(&y, &sweep.unit),
            lines: series.iter().map(|series| series.line(rows, &x, &y)).collect(),
        };
        let groups = sweep.rows.chunk_by(|a, b| a.group == b.group);
        Some(Self {
            charts: groups.map(chart).collect(),
            legend: series.iter().map(Series::key).collect(),
            scales: scales(sweep, &x, &y),
            left_out: left_out(sweep),
        })
    }
}

fn scales(sweep: &Sweep, x: &Scale, y: &Scale) -> String {
    let kind = |scale: &Scale| if scale.logarithmic { " (logarithmic)" } else { "" };
    format!("{}{} by {}{}", sweep.metric, kind(y), sweep.axis, kind(x))
}

fn left_out(sweep: &Sweep) -> String {
    let name = |(number, column): (usize, &Column)| {
        let cells = || sweep.rows.iter().map(|row| &row.cells[number]).filter(|cell| cell.tone.is_some());
        let spoiled = cells().filter(|cell| cell.tone == Some(Tone::Spoiled)).count();
        match spoiled {
            0 => None,
            some if some < cells().count() => Some(format!("{} in part", column.name)),
            _ => Some(column.name.clone()),
        }
    };
    let names: Vec<String> = sweep.columns.iter().enumerate().filter_map(name).collect();
    if names.is_empty() { String::new() } else { format!("Spoiled and so not drawn: {}.", names.join(", ")) }
}

/// What is drawn of a row: every value, and as much of its whisker as may stretch a scale.
fn reaches(row: &SweepRow) -> Vec<f64> {
    let mut reaches: Vec<f64> = row.native_value.into_iter().collect();
    let sound = row.cells.iter().filter(|cell| cell.tone != Some(Tone::Spoiled));
    for drawn in sound.filter_map(|cell| cell.drawn).filter(|drawn| drawn.value > 0.0) {
        reaches.push(drawn.value);
        // An interval of few blocks can be absurdly wide: it may not press the lines together.
        let bounds = ends(&drawn).into_iter().flatten();
        reaches.extend(bounds.map(|end| end.clamp(drawn.value / 1.5, drawn.value * 1.5)));
    }
    reaches
}

/// The values at the ends of the cost's interval: the definition of the cost, read backwards.
fn ends(drawn: &Drawn) -> Option<[f64; 2]> {
    let end = |cost: f64| match drawn.higher_is_better {
        true => drawn.baseline / (1.0 + cost),
        false => drawn.baseline * (1.0 + cost),
    };
    let ends = drawn.cost_interval?.map(end);
    ends.iter().all(|end| end.is_finite() && *end >= 0.0).then_some(ends)
}

/// Who is drawn: native, or the environment of a column.
struct Series<'a> {
    name: &'a str,
    column: Option<usize>,
    style: String,
    mark: &'static str,
}

/// Marks as paths around the origin.
const PATHS: [&str; MARKS] = [
    "M-3.2 -3.2H3.2V3.2H-3.2Z",
    "M0 -4.4L4.2 3.2H-4.2Z",
    "M0 -4.6L4.6 0L0 4.6L-4.6 0Z",
    "M0 4.4L4.2 -3.2H-4.2Z",
    "M-3.5 -3.5L3.5 3.5M-3.5 3.5L3.5 -3.5",
    "M-4.2 0H4.2M0 -4.2V4.2",
];
const CIRCLE: &str = "M-3.4 0A3.4 3.4 0 1 0 3.4 0A3.4 3.4 0 1 0 -3.4 0Z";

fn series(sweep: &Sweep) -> Vec<Series<'_>> {
    let native = Series { name: "native", column: None, style: "native".to_owned(), mark: CIRCLE };
    let column = |(number, column): (usize, &Column)| match column.control {
        true => ("control".to_owned(), CIRCLE),
        false => (format!("c{} d{}", number % COLOURS, number % DASHES), PATHS[number % MARKS]),
    };
    let of_columns = sweep.columns.iter().enumerate().map(|(number, it)| {
        let (style, mark) = column((number, it));
        Series { name: &it.name, column: Some(number), style, mark }
    });
    std::iter::once(native).chain(of_columns.filter(|series| series.is_drawn(&sweep.rows))).collect()
}

impl Series<'_> {
    fn key(&self) -> Key {
        Key { name: self.name.to_owned(), style: self.style.clone(), mark: self.mark }
    }

    fn is_drawn(&self, rows: &[SweepRow]) -> bool {
        rows.iter().any(|row| self.value(row).is_some())
    }

    /// The value at a point, with the ends of its whisker.
    fn value(&self, row: &SweepRow) -> Option<(f64, Option<[f64; 2]>)> {
        let Some(column) = self.column else { return Some((row.native_value?, None)) };
        let cell = &row.cells[column];
        let drawn = cell.drawn.filter(|_| cell.tone != Some(Tone::Spoiled))?;
        Some((drawn.value, ends(&drawn)))
    }

    fn line(&self, rows: &[SweepRow], x: &Scale, y: &Scale) -> Line {
        let (mut path, mut dots, mut is_open) = (String::new(), Vec::new(), false);
        for row in rows {
            let place = || {
                let (value, ends) = self.value(row)?;
                Some((x.percent(row.at?)?, y.percent(value).map(upwards)?, ends))
            };
            let Some((at, up, ends)) = place() else {
                is_open = false;
                continue;
            };
            let command = if is_open { "L" } else { "M" };
            path.push_str(&format!("{command}{at:.2} {up:.2}"));
            is_open = true;
            let whisker = ends.map(|ends| ends.map(|end| format!("{:.2}", upwards(y.clamped(end)))));
            dots.push(Dot { x: format!("{at:.2}"), y: format!("{up:.2}"), whisker });
        }
        Line { style: self.style.clone(), mark: self.mark, path, dots }
    }
}

/// Drawings count from the top.
fn upwards(percent: f64) -> f64 {
    100.0 - percent
}

/// Numbers along one side of a chart.
#[derive(Debug)]
struct Scale {
    low: f64,
    high: f64,
    logarithmic: bool,
}

impl Scale {
    /// One that holds all these, and is logarithmic where they span more than so many times.
    fn of(numbers: &[f64], linear_max: f64) -> Option<Self> {
        let numbers = || numbers.iter().copied().filter(|number| number.is_finite() && *number >= 0.0);
        let (low, high) = (numbers().reduce(f64::min)?, numbers().reduce(f64::max)?);
        let positive = numbers().filter(|number| *number > 0.0).reduce(f64::min)?;
        // Zero has no place on a logarithmic scale.
        if low > 0.0 && high / positive > linear_max {
            return Some(Self { low: positive.ln(), high: high.ln(), logarithmic: true });
        }
        let high = if high > low { high } else { low * 1.1 };
        (high - low).is_normal().then_some(Self { low, high, logarithmic: false })
    }

    /// The same down to zero, where it is linear.
    fn down_to_zero(self) -> Self {
        if self.logarithmic { self } else { Self { low: 0.0, ..self } }
    }

    /// `None` for what no scale can hold: 0 on a logarithmic one, numbers that are none.
    fn percent(&self, number: f64) -> Option<f64> {
        let scaled = if self.logarithmic { number.ln() } else { number };
        let share = (scaled - self.low) / (self.high - self.low);
        share.is_finite().then(|| share.mul_add(100.0 - 2.0 * ROOM, ROOM).clamp(0.0, 100.0))
    }

    /// The end of a whisker: what lies beyond the scale ends at its edge.
    fn clamped(&self, number: f64) -> f64 {
        self.percent(number).unwrap_or(0.0)
    }

    /// Round numbers on it: 1, 2 or 5 times a power of ten.
    fn round(&self) -> Vec<f64> {
        let digits: [&[f64]; 3] = [&[1.0, 2.0, 5.0], &[1.0], &[1.0]];
        let round = |digits: &'static [f64], every: i32| {
            let powers = (-15..19).filter(move |power| power % every == 0);
            powers.flat_map(move |power| digits.iter().map(move |digit| digit * 10_f64.powi(power)))
        };
        if self.logarithmic {
            let within = |number: &f64| (self.low..=self.high).contains(&number.ln());
            let all = digits.into_iter().zip([1, 1, 3]).map(|(digits, every)| round(digits, every).filter(within));
            return all.map(Vec::from_iter).find(|ticks| ticks.len() <= TICKS_MAX).unwrap_or_default();
        }
        let few = |step: &f64| self.high / step < 5.5;
        let step = round(&[1.0, 2.0, 5.0], 1).find(few).unwrap_or(self.high);
        let multiples = (0_u8..6).map(|number| f64::from(number) * step);
        multiples.filter(|number| (self.low..=self.high).contains(number)).collect()
    }
}

fn y_ticks(y: &Scale, unit: &str) -> Vec<Tick> {
    let tick = |number: f64| {
        let label = trimmed(&units::quantity(number, unit));
        Some(Tick { at: format!("{:.2}", upwards(y.percent(number)?)), label })
    };
    y.round().into_iter().filter_map(tick).collect()
}

/// The words of the points themselves, as many as have room.
fn x_ticks(rows: &[SweepRow], x: &Scale) -> Vec<Tick> {
    let mut ticks = Vec::new();
    let mut last = f64::NEG_INFINITY;
    for row in rows {
        let Some(at) = row.at.and_then(|at| x.percent(at)) else { continue };
        if at - last >= WORDS_APART {
            ticks.push(Tick { at: format!("{at:.2}"), label: row.at_words.clone() });
            last = at;
        }
    }
    ticks
}

/// `1 µs` for `1.00 µs`.
fn trimmed(quantity: &str) -> String {
    let (number, unit) = quantity.split_once(' ').unwrap_or((quantity, ""));
    let number = if number.contains('.') { number.trim_end_matches('0').trim_end_matches('.') } else { number };
    format!("{number} {unit}").trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;
    use crate::report::page::Page;

    fn sweep() -> Sweep {
        let page = Page::of(&fixture::sweeps());
        page.families.into_iter().flat_map(|family| family.sweeps).next().unwrap()
    }

    fn labels(ticks: &[Tick]) -> Vec<&str> {
        ticks.iter().map(|tick| tick.label.as_str()).collect()
    }

    #[test]
    fn each_group_has_a_chart_and_all_have_one_scale() {
        let curves = Curves::of(&sweep()).unwrap();
        assert_eq!(curves.scales, "latency (logarithmic) by size (logarithmic)");
        let groups: Vec<&str> = curves.charts.iter().map(|chart| chart.group.as_str()).collect();
        assert_eq!(groups, ["pages=4k", "pages=huge"]);
        assert_eq!(labels(&curves.charts[0].x_ticks), ["4 KiB", "32 KiB", "1 MiB", "16 MiB", "144 MiB"]);
        for chart in &curves.charts {
            assert_eq!(labels(&chart.y_ticks), labels(&curves.charts[0].y_ticks));
        }
    }

    #[test]
    fn a_line_breaks_where_a_value_is_missing() {
        let curves = Curves::of(&sweep()).unwrap();
        let gvisor = curves.legend.iter().position(|key| key.name.starts_with("gvisor")).unwrap();
        let strokes = |chart: usize| curves.charts[chart].lines[gvisor].path.matches('M').count();
        assert_eq!((strokes(0), strokes(1)), (1, 2));
        assert_eq!(curves.charts[1].lines[gvisor].dots.len(), 4);
    }

    #[test]
    fn what_is_spoiled_is_named_and_not_drawn() {
        let curves = Curves::of(&sweep()).unwrap();
        assert!(curves.legend.iter().all(|key| key.name != "runc"));
        assert_eq!(curves.left_out, "Spoiled and so not drawn: sandbox in part, runc.");
        let sandbox = curves.legend.iter().position(|key| key.name == "sandbox").unwrap();
        assert_eq!(curves.charts[0].lines[sandbox].dots.len(), 4);
        // The second has a value without an interval.
        assert!(curves.charts[0].lines[sandbox].dots[0].whisker.is_none());
        assert!(curves.charts[0].lines[sandbox].dots[1].whisker.is_some());
    }

    #[test]
    fn two_places_are_no_curve() {
        let mut sweep = sweep();
        sweep.rows.retain(|row| row.at_words == "4 KiB" || row.at_words == "32 KiB");
        assert!(Curves::of(&sweep).is_none());
    }

    #[test]
    fn a_small_span_is_linear_and_begins_at_zero() {
        let y = Scale::of(&[1.2e-6, 3.1e-6, f64::NAN], LINEAR_Y_MAX).unwrap().down_to_zero();
        assert_eq!(labels(&y_ticks(&y, "s")), ["0 s", "1 µs", "2 µs", "3 µs"]);
    }

    proptest::proptest! {
        #[test]
        fn every_mark_lies_within_the_drawing(
            numbers in proptest::collection::vec(proptest::num::f64::ANY, 6),
            higher_is_better: bool,
        ) {
            let mut sweep = sweep();
            for (number, row) in sweep.rows.iter_mut().enumerate() {
                let at = |offset: usize| numbers[(number + offset) % numbers.len()];
                row.native_value = Some(at(0));
                let drawn = Drawn { value: at(1), baseline: at(2), cost_interval: Some([at(3), at(4)]), higher_is_better };
                row.cells[1].drawn = Some(drawn);
                row.at = Some(at(5));
            }
            let Some(curves) = Curves::of(&sweep) else { return Ok(()) };
            for chart in &curves.charts {
                proptest::prop_assert!(chart.x_ticks.len() <= 10 && chart.y_ticks.len() <= TICKS_MAX);
                let ticks = chart.x_ticks.iter().chain(&chart.y_ticks).map(|tick| &tick.at);
                let dots = chart.lines.iter().flat_map(|line| &line.dots);
                let places = dots.flat_map(|dot| [&dot.x, &dot.y].into_iter().chain(dot.whisker.iter().flatten()));
                for place in ticks.chain(places) {
                    let place: f64 = place.parse().unwrap();
                    proptest::prop_assert!((0.0..=100.0).contains(&place));
                }
            }
        }
    }

    #[test]
    fn zero_has_its_place_and_keeps_the_scale_linear() {
        let scale = Scale::of(&[0.0, 5.0, 100.0], 16.0).unwrap();
        assert!(!scale.logarithmic && scale.percent(0.0).is_some());
        assert!(Scale::of(&[1.0, 5.0, 100.0], 16.0).unwrap().logarithmic);
    }
}
