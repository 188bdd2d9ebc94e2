//! The points of a sweep: what a workload declares, changed by what the plan wrote.

use std::collections::BTreeMap;

use plimsoll_agent::workload::{Room, Workload};
use plimsoll_protocol::{Parameter, Parameters};

/// Most points of one workload.
const POINTS_MAX: usize = 64;

/// Where every size fits.
const AMPLE: Room =
    Room { cpus: 1024, memory_bytes: 1 << 60, disk_bytes: 1 << 60, files_bytes_max: 1 << 60, cache_bytes: 32 << 20 };

/// Values that a plan wrote for the parameters of a workload: several make a sweep.
pub(super) type Written = BTreeMap<String, Vec<Parameter>>;

/// A workload at one point, with every parameter fixed.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Point {
    /// The values of the axes; empty without a sweep.
    pub(super) axes: Parameters,
    /// All parameters.
    pub(super) parameters: Parameters,
}

impl Point {
    /// The axes as a JSON object; `None` without a sweep.
    pub(super) fn json(&self) -> Option<String> {
        let value = |parameter: &Parameter| match parameter {
            Parameter::Integer(number) => serde_json::Value::from(*number),
            Parameter::Text(text) => serde_json::Value::from(text.as_str()),
        };
        let axes: serde_json::Map<_, _> =
            self.axes.0.iter().map(|(name, parameter)| (name.clone(), value(parameter))).collect();
        if axes.is_empty() { None } else { Some(serde_json::Value::Object(axes).to_string()) }
    }
}

/// The points of a workload in this room, each sized; the first is the one that is tested. Of those that the workload
/// declares, perhaps no other is wanted. What was written must be possible; a declared value that does not go with it,
/// however large the room, is left out.
///
/// # Errors
/// One line for each point that cannot be, and one for a sweep of too many.
pub(super) fn points(
    workload: &dyn Workload,
    room: &Room,
    written: &Written,
    tested_only: bool,
) -> Result<Vec<Point>, Vec<String>> {
    let mut declared = workload.points(room);
    if tested_only {
        declared.truncate(1);
    }
    let is_axis = |name: &String| declared.iter().any(|point| point.0.contains_key(name));
    let (swept, fixed): (Vec<_>, Vec<_>) = written.iter().partition(|(name, values)| values.len() > 1 || is_axis(name));
    let fixed = fixed.into_iter().filter_map(|(name, values)| Some((name.clone(), values.first()?.clone()))).collect();
    let fixed = Parameters(fixed);
    let mut axes: Vec<Parameters> = Vec::new();
    for mut point in declared {
        point.0.retain(|name, _| !swept.iter().any(|(other, _)| *other == name));
        if !axes.contains(&point) {
            axes.push(point);
        }
    }
    for (name, values) in swept {
        let with = |point: &Parameters| values.iter().map(|value| set(point.clone(), name, value)).collect::<Vec<_>>();
        axes = axes.iter().flat_map(with).collect();
        if axes.len() > POINTS_MAX {
            let name = workload.about().name;
            return Err(vec![format!("{name} would be measured at more than {POINTS_MAX} points: write fewer values")]);
        }
    }
    if (1..axes.len()).any(|number| axes[..number].contains(&axes[number])) {
        return Err(vec![format!("{}: the same value is written twice", workload.about().name)]);
    }
    let (mut points, mut conflicts, mut errors) = (Vec::new(), Vec::new(), Vec::new());
    for axes in axes {
        let mut wanted = fixed.clone();
        wanted.0.extend(axes.0.clone());
        let is_partly_declared = axes.0.keys().any(|name| !written.contains_key(name));
        match workload.size(room, &wanted) {
            Ok(parameters) => points.push(Point { axes, parameters }),
            Err(error) if is_partly_declared && workload.size(&AMPLE, &wanted).is_err() => conflicts.push(error),
            Err(error) => errors.push(error),
        }
    }
    if points.is_empty() {
        errors.append(&mut conflicts);
    }
    errors.dedup();
    if errors.is_empty() { Ok(points) } else { Err(errors) }
}

fn set(mut point: Parameters, name: &str, value: &Parameter) -> Parameters {
    point.0.insert(name.to_owned(), value.clone());
    point
}

#[cfg(test)]
mod tests {
    use super::*;
    use plimsoll_agent::workload::{About, Prepared, Scene, WorkloadError, find};

    const ROOM: Room =
        Room { cpus: 4, memory_bytes: 2 << 30, disk_bytes: 8 << 30, files_bytes_max: 768 << 20, cache_bytes: 8 << 20 };

    /// The null workload, swept over iterations and a word.
    #[derive(Debug)]
    struct Swept;

    impl Workload for Swept {
        fn about(&self) -> &'static About {
            find("null").unwrap().about()
        }

        fn points(&self, _room: &Room) -> Vec<Parameters> {
            let point = |size: u64, pages: &str| Parameters::default().with("size", size).with("pages", pages);
            vec![point(2, "4k"), point(1, "4k"), point(2, "huge")]
        }

        fn size(&self, _room: &Room, written: &Parameters) -> Result<Parameters, String> {
            let too_large = written.integer("size", 0, 99).is_err();
            if too_large { Err("the largest size is 99".to_owned()) } else { Ok(written.clone().with("derived", 7)) }
        }

        fn prepare(&self, _: &Parameters, _: &Scene<'_>) -> Result<Box<dyn Prepared>, WorkloadError> {
            unreachable!("nothing is measured")
        }
    }

    fn json(written: &[(&str, &[Parameter])]) -> Result<Vec<String>, Vec<String>> {
        let written = written.iter().map(|(name, values)| ((*name).to_owned(), values.to_vec())).collect();
        Ok(points(&Swept, &ROOM, &written, false)?.iter().filter_map(Point::json).collect())
    }

    #[test]
    fn declared_points_stand_where_nothing_is_written() {
        let declared = [r#"{"pages":"4k","size":2}"#, r#"{"pages":"4k","size":1}"#, r#"{"pages":"huge","size":2}"#];
        assert_eq!(json(&[]).unwrap(), declared);
        let all = points(&Swept, &ROOM, &Written::new(), false).unwrap();
        assert_eq!(all[0].parameters, all[0].axes.clone().with("derived", 7));
    }

    #[test]
    fn only_the_tested_point_may_be_wanted_and_what_is_written_stands() {
        let tested = |written: &Written| points(&Swept, &ROOM, written, true).unwrap();
        assert_eq!(
            tested(&Written::new()).iter().filter_map(Point::json).collect::<Vec<_>>(),
            [r#"{"pages":"4k","size":2}"#]
        );
        assert_eq!(tested(&Written::from([("size".to_owned(), vec![5.into(), 6.into()])])).len(), 2);
    }

    #[test]
    fn written_values_replace_an_axis_and_cross_the_others() {
        assert_eq!(
            json(&[("size", &[5.into()])]).unwrap(),
            [r#"{"pages":"4k","size":5}"#, r#"{"pages":"huge","size":5}"#]
        );
        let crossed = json(&[("pages", &["x".into()]), ("size", &[5.into(), 6.into()])]).unwrap();
        assert_eq!(crossed, [r#"{"pages":"x","size":5}"#, r#"{"pages":"x","size":6}"#]);
    }

    #[test]
    fn one_value_of_what_is_no_axis_is_no_sweep_and_several_are() {
        let triad = find("mem.triad").unwrap();
        let written = |values: &[u64]| {
            let values: Vec<Parameter> = values.iter().map(|value| (*value).into()).collect();
            points(triad, &ROOM, &Written::from([("array_bytes".to_owned(), values)]), false).unwrap()
        };
        assert!(written(&[8192]).iter().all(|point| !point.axes.0.contains_key("array_bytes")));
        assert!(written(&[8192]).iter().all(|point| point.parameters.integer("array_bytes", 0, 9999) == Ok(8192)));
        let swept = written(&[8192, 16384]);
        assert!(swept[0].json().unwrap().contains(r#""array_bytes":8192"#), "{swept:?}");
    }

    #[test]
    fn what_does_not_fit_is_refused_once() {
        assert_eq!(json(&[("size", &[100.into()])]).unwrap_err(), ["the largest size is 99"]);
        let many: Vec<Parameter> = (0..65).map(Parameter::from).collect();
        assert!(json(&[("size", &many)]).unwrap_err()[0].contains("more than 64 points"));
        assert!(json(&[("size", &[5.into(), 5.into()])]).unwrap_err()[0].contains("written twice"));
    }

    /// Huge pages do not go with a working set of one small page, which somebody wrote.
    #[test]
    fn declared_values_that_do_not_go_with_what_is_written_are_left_out() {
        let latency = find("mem.latency").unwrap();
        let written = |bytes: u64| Written::from([("bytes".to_owned(), vec![bytes.into()])]);
        let json =
            |bytes| points(latency, &ROOM, &written(bytes), false).unwrap().iter().filter_map(Point::json).collect();
        let found: Vec<String> = json(4096);
        assert_eq!(found, [r#"{"bytes":4096,"pages":"4k"}"#]);
        let found: Vec<String> = json(4 << 20);
        assert_eq!(found.len(), 2);
        assert!(points(latency, &ROOM, &written(1 << 37), false).unwrap_err()[0].contains("--memory"));
        let never = Written::from([("pages".to_owned(), vec!["1g".into()])]);
        let errors = points(latency, &ROOM, &never, false).unwrap_err();
        assert_eq!(errors, ["parameter `pages` is `1g`; it can be `4k` or `huge`"]);
    }

    #[test]
    fn declared_values_for_which_there_is_no_room_are_refused_whatever_is_written() {
        let latency = find("mem.latency").unwrap();
        let small = Room { memory_bytes: 48 << 20, ..ROOM };
        let written = Written::from([("pages".to_owned(), vec!["4k".into()])]);
        let errors = points(latency, &small, &written, false).unwrap_err();
        assert!(errors[0].contains("set --memory to 64 MiB"), "{errors:?}");
        // What was written leaves out the large working sets, so the small room is no matter.
        let written = Written::from([("bytes".to_owned(), vec![4096.into()])]);
        assert_eq!(points(latency, &small, &written, false).unwrap().len(), 1);
    }
}
