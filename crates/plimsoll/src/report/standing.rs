//! How the costs stand while a run goes on, as lines for [`super::Live`].

use super::units;
use super::words;
use crate::analysis::Standing;

/// More lines than this would push the progress off a terminal.
const LINES_MAX: usize = 14;

/// One line for each comparison: environment, workload, cost so far with its interval; no verdict.
#[must_use]
pub fn standing_lines(standings: &[Standing]) -> Vec<String> {
    let names: Vec<[String; 2]> = standings.iter().map(|standing| [name(standing), workload(standing)]).collect();
    let widest = |which: usize| names.iter().map(|names| names[which].chars().count()).max().unwrap_or(0);
    let (first, second) = (widest(0), widest(1));
    let line = |(names, standing): (&[String; 2], &Standing)| {
        let cost = units::cost_with_interval(standing.cost, standing.cost_ci95);
        format!("{:first$}  {:second$}  {cost}", names[0], names[1])
    };
    let mut lines: Vec<String> = names.iter().zip(standings).take(LINES_MAX).map(line).collect();
    if standings.len() > LINES_MAX {
        lines.push(format!("and {} more", standings.len() - LINES_MAX));
    }
    lines
}

fn name(standing: &Standing) -> String {
    let labels = [(standing.emulated, words::EMULATED), (standing.spoiled, "spoiled")];
    let labels: Vec<String> =
        labels.into_iter().filter(|(applies, _)| *applies).map(|(_, label)| label.to_owned()).collect();
    words::name_with_labels(&standing.environment, &labels)
}

fn workload(standing: &Standing) -> String {
    super::points::with_point(&standing.workload, standing.point.as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(environment: &str, workload: &str, cost: f64, emulated: bool) -> Standing {
        Standing {
            workload: workload.to_owned(),
            metric: "time".to_owned(),
            point: None,
            environment: environment.to_owned(),
            blocks: 2,
            ratio: 1.0 + cost,
            cost,
            cost_ci95: Some([cost - 0.03, cost + 0.03]),
            log_half_width: Some(0.03),
            recent: true,
            emulated,
            spoiled: false,
        }
    }

    #[test]
    fn costs_stand_below_one_another_without_a_verdict() {
        let lines = standing_lines(&[
            standing("docker", "cpu.lzma", 0.25, false),
            standing("qemu/sandbox", "kernel.syscall", 9.0, true),
        ]);
        insta::assert_snapshot!(lines.join("\n"), @r"
        docker                   cpu.lzma        +25 % [22, 28]
        qemu/sandbox (emulated)  kernel.syscall  +900 % [897, 903]
        ");
    }

    #[test]
    fn more_than_fit_are_counted() {
        let lines = standing_lines(&vec![standing("docker", "cpu.lzma", 0.25, false); LINES_MAX + 3]);
        assert_eq!(lines.len(), LINES_MAX + 1);
        assert_eq!(lines.last().map(String::as_str), Some("and 3 more"));
    }
}
