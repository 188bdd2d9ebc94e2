//! Where the marks of a drawing go: costs become percent of the width. Drawing, not statistics.
//!
//! One axis for all rows of a panel. It is linear while costs are moderate; where one is above [`LINEAR_MAX`], it is
//! logarithmic in time per unit of work (1 + cost), so that twice and half are equally far. Emulated and spoiled rows do
//! not stretch the axis: what lies beyond its end is drawn as an arrow.

use serde::Serialize;

use super::page::Panel;
use super::units;
use super::words::Tone;

/// Cost above which an axis is logarithmic.
const LINEAR_MAX: f64 = 2.0;
/// Narrowest axis: half of it.
const SPAN_MIN: f64 = 0.01;
/// Smallest 1 + cost that a logarithmic axis shows.
const TIMES_MIN: f64 = 1e-4;
const TICKS_MAX: usize = 7;

/// The axis of a panel.
#[derive(Debug, Serialize)]
pub(super) struct Axis {
    /// Whether it is logarithmic.
    pub(super) logarithmic: bool,
    /// Marks with their words.
    pub(super) ticks: Vec<Tick>,
    /// Where native is, percent of the width.
    pub(super) zero: String,
    /// Where the margin of equivalence begins, percent, and how wide it is.
    pub(super) margin: [String; 2],
    #[serde(skip)]
    low: f64,
    #[serde(skip)]
    high: f64,
}

/// One mark of an axis.
#[derive(Debug, Serialize)]
pub(super) struct Tick {
    /// Percent of the width.
    pub(super) at: String,
    /// Its words.
    pub(super) label: String,
}

/// One row, drawn.
#[derive(Debug, Serialize)]
pub(super) struct Mark {
    /// The cost, percent of the width; empty where there is none or it lies outside.
    pub(super) at: String,
    /// The interval; empty where there is none.
    pub(super) span: Option<[String; 2]>,
    /// `left` or `right` where the cost lies beyond the axis, else empty.
    pub(super) beyond: &'static str,
}

impl Axis {
    /// The axis that holds all rows of a panel that count.
    pub(super) fn of(panel: &Panel) -> Self {
        let counts = |tone: Tone| !matches!(tone, Tone::Native | Tone::Emulated | Tone::Spoiled);
        let ends = panel.rows.iter().filter(|row| counts(row.tone)).flat_map(|row| {
            let [low, high] = row.span.unwrap_or([row.at, row.at]);
            // An interval of few blocks can be absurdly wide: it may not push its own estimate into a corner.
            let reach = (row.at.abs() * 3.0).max(0.05);
            [row.at, low.max(row.at - reach), high.min(row.at + reach)]
        });
        let ends: Vec<f64> = ends.filter(|end| end.is_finite() && *end > TIMES_MIN - 1.0).collect();
        let high = ends.iter().copied().fold(SPAN_MIN, f64::max);
        let low = ends.iter().copied().fold(-SPAN_MIN, f64::min);
        let logarithmic = high > LINEAR_MAX;
        let mut axis = Self {
            logarithmic,
            ticks: Vec::new(),
            zero: String::new(),
            margin: [String::new(), String::new()],
            low: scaled(low, logarithmic),
            high: scaled(high, logarithmic),
        };
        let room = (axis.high - axis.low) * 0.06;
        axis.low -= room;
        axis.high += room;
        axis.ticks = axis.ticks();
        axis.zero = axis.percent(0.0);
        let margin = panel.rows.iter().map(|row| row.margin).fold(0.0, f64::max).min(0.5);
        axis.margin = [axis.percent(-margin), format!("{:.2}", axis.place(margin) - axis.place(-margin))];
        axis
    }

    /// Where a row is drawn.
    pub(super) fn mark(&self, at: f64, span: Option<[f64; 2]>) -> Mark {
        let place = self.place(at);
        let beyond = match place {
            place if place > 100.0 => "right",
            place if place < 0.0 => "left",
            _ => "",
        };
        if !place.is_finite() || !beyond.is_empty() {
            return Mark { at: String::new(), span: None, beyond };
        }
        let span = span.map(|ends| ends.map(|end| self.percent(end)));
        Mark { at: self.percent(at), span, beyond }
    }

    fn place(&self, cost: f64) -> f64 {
        (scaled(cost, self.logarithmic) - self.low) / (self.high - self.low) * 100.0
    }

    fn percent(&self, cost: f64) -> String {
        let place = self.place(cost);
        format!("{:.2}", if place.is_nan() { 0.0 } else { place.clamp(0.0, 100.0) })
    }

    fn ticks(&self) -> Vec<Tick> {
        let costs = if self.logarithmic { times_ticks(self.low, self.high) } else { cost_ticks(self.low, self.high) };
        let label = |cost: f64| match (cost.abs() < 1e-12, self.logarithmic) {
            (true, _) => "native".to_owned(),
            (false, true) => format!("{}×", trimmed(1.0 + cost)),
            (false, false) => {
                let text = units::cost(cost);
                text.replace(".0 %", " %")
            }
        };
        costs.into_iter().map(|cost| Tick { at: self.percent(cost), label: label(cost) }).collect()
    }
}

fn trimmed(times: f64) -> String {
    let text = format!("{times:.4}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn scaled(cost: f64, logarithmic: bool) -> f64 {
    if logarithmic { (1.0 + cost).max(TIMES_MIN).ln() } else { cost }
}

/// Round costs within an axis: 1, 2 or 5 times a power of ten apart.
fn cost_ticks(low: f64, high: f64) -> Vec<f64> {
    let steps = (-4..2).flat_map(|power| [1.0, 2.0, 5.0].map(|digit| digit * 10_f64.powi(power)));
    let count = |step: f64| ((high / step).floor(), (low / step).ceil());
    for step in steps {
        let (last, first) = count(step);
        if last - first < 6.0 {
            return (0..TICKS_MAX)
                .map(|number| first + small(number))
                .filter(|n| *n <= last)
                .map(|n| n * step)
                .collect();
        }
    }
    vec![0.0]
}

/// Round multiples of native within a logarithmic axis, as costs.
fn times_ticks(low: f64, high: f64) -> Vec<f64> {
    let digits: [&[f64]; 2] = [&[1.0, 2.0, 5.0], &[1.0]];
    let within = |times: &f64| (low..=high).contains(&times.ln());
    for digits in digits {
        let ticks: Vec<f64> = (-4..18)
            .flat_map(|power| digits.iter().map(move |digit| digit * 10_f64.powi(power)))
            .filter(within)
            .map(|times| times - 1.0)
            .collect();
        if ticks.len() <= TICKS_MAX {
            return ticks;
        }
    }
    vec![0.0]
}

#[expect(clippy::cast_precision_loss, reason = "below the most ticks of an axis")]
fn small(number: usize) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;
    use crate::report::page::Page;

    fn axis(workload: &str) -> Axis {
        let page = Page::of(&fixture::rich());
        let mut panels = page.families.iter().flat_map(|family| &family.headline);
        Axis::of(panels.find(|panel| panel.workload == workload).unwrap())
    }

    fn labels(axis: &Axis) -> Vec<&str> {
        axis.ticks.iter().map(|tick| tick.label.as_str()).collect()
    }

    #[test]
    fn emulated_rows_do_not_stretch_the_axis_and_become_arrows() {
        let axis = axis("cpu.lzma");
        assert!(!axis.logarithmic);
        assert_eq!(labels(&axis), ["−2 %", "native", "+2 %", "+4 %"]);
        assert_eq!(axis.mark(9.02, Some([8.6, 9.4])).beyond, "right");
        assert_eq!(axis.mark(0.04, None).beyond, "");
    }

    #[test]
    fn a_large_span_is_logarithmic_in_time() {
        let axis = axis("kernel.syscall");
        assert!(axis.logarithmic);
        assert_eq!(labels(&axis), ["native", "2×", "5×", "10×", "20×"]);
        let [native, two, five, ten] = [0.0, 1.0, 4.0, 9.0].map(|cost| axis.place(cost));
        assert!((two - native - (ten - five)).abs() < 1e-9);
    }

    proptest::proptest! {
        #[test]
        fn every_mark_lies_within_the_drawing(cost in proptest::num::f64::ANY, other in proptest::num::f64::ANY) {
            let mut page = Page::of(&fixture::rich());
            let panel = &mut page.families[1].headline[0];
            panel.rows[1].at = cost;
            panel.rows[1].span = Some([other, cost]);
            let axis = Axis::of(panel);
            proptest::prop_assert!(axis.ticks.len() <= TICKS_MAX);
            for row in &panel.rows {
                let mark = axis.mark(row.at, row.span);
                let places = mark.span.into_iter().flatten().chain([mark.at, axis.zero.clone()]);
                for place in places.filter(|place| !place.is_empty()) {
                    let place: f64 = place.parse().unwrap();
                    proptest::prop_assert!((0.0..=100.0).contains(&place));
                }
            }
        }
    }
}
