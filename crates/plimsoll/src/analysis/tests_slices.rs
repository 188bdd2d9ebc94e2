//! Which slices make up a comparison: those of the same point, and those beyond the planned ones.

use std::collections::BTreeMap;

use super::analyse;
use super::findings::Comparison;
use super::simulated::Simulated;
use crate::sample::PointRecord;

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() < 1e-9
}

#[test]
fn every_point_of_a_sweep_is_compared_with_native_at_the_same_point() {
    let mut record = Simulated::without_effects(1, 1).exact().cost(0, 1, 0.5).record();
    let more: Vec<_> = record.slices.clone();
    for bundle in &mut record.slices {
        bundle.slice.point = Some(r#"{"threads":16}"#.to_owned());
    }
    record.slices.extend(more.into_iter().map(|mut bundle| {
        bundle.slice.id += 10_000;
        bundle.slice.point = Some(r#"{"threads":4}"#.to_owned());
        bundle.slice.seconds_inside *= 2.0;
        bundle
    }));
    let findings = analyse(&record);
    let threads = |it: &Comparison| it.point.as_ref().unwrap()["threads"].as_u64().unwrap();
    assert_eq!(findings.comparisons.iter().map(threads).collect::<Vec<_>>(), [4, 16]);
    assert!(findings.comparisons.iter().all(|it| close(it.cost, 0.5) && it.family_size == 2));
    // A plan that says which point is tested leaves the others out of the family.
    let point = |threads: u32| PointRecord { point: format!("{{\"threads\":{threads}}}"), parameters: BTreeMap::new() };
    record.plan.workloads[0].points = vec![point(16), point(4)];
    let findings = analyse(&record);
    let tests = |it: &Comparison| (threads(it), it.headline, it.family_size, it.p_adjusted.is_some());
    assert_eq!(findings.comparisons.iter().map(tests).collect::<Vec<_>>(), [(4, false, 0, false), (16, true, 1, true)]);
    assert!(findings.comparisons[0].labels.contains(&"exploratory".to_owned()));
}

/// A launch that lost two slices to the host was visited twice more than the others.
#[test]
fn slices_that_make_up_for_spoiled_ones_cost_the_others_nothing() {
    let mut record = Simulated::without_effects(1, 1).exact().cost(0, 1, 0.5).record();
    let launch = record.launches.iter().find(|launch| launch.block == 1 && launch.arm.environment == 1).unwrap().id;
    let mut more: Vec<_> = record.slices.iter().filter(|it| it.slice.launch == launch).take(2).cloned().collect();
    for (number, bundle) in more.iter_mut().enumerate() {
        bundle.slice.id = 50_000 + number as u64;
        bundle.slice.spoiled = Some("stolen".to_owned());
    }
    record.slices.extend(more);
    let findings = analyse(&record);
    assert_eq!(findings.comparisons[0].blocks, 5);
    assert!(close(findings.comparisons[0].cost, 0.5));
}
