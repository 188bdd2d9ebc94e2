//! The whole pipeline, from made-up records with a known truth to findings.

use std::collections::{BTreeMap, BTreeSet};

use hdrhistogram::Histogram as Hdr;
use plimsoll_stats::simulate::Model;

use super::findings::{Comparison, Verdict};
use super::simulated::{Simulated, encoded, evidence, fail, rate_workload, slice, workload};
use super::*;
use crate::sample::{Arm, Histogram, MetricKindRecord, Phase, RunRecord, StopReason};

const NATIVE_1: Arm = Arm { environment: 0, replica: 1 };

fn only(findings: &Findings) -> &Comparison {
    assert_eq!(findings.comparisons.len(), 1, "{:?}", findings.comparisons);
    &findings.comparisons[0]
}

fn json(record: &RunRecord) -> String {
    serde_json::to_string(&analyse(record)).unwrap()
}

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-9 * a.abs().max(b.abs()).max(1.0)
}

#[test]
fn what_is_planted_is_found_and_the_figures_follow_from_each_other() {
    let record = Simulated::without_effects(1, 1).exact().cost(0, 1, 0.25).record();
    let findings = analyse(&record);
    let found = only(&findings);
    // Time per unit is 1 s natively and 1.25 s here; a rate falls by as much.
    assert!(close(found.baseline_value, 1.0) && close(found.value, 0.8) && close(found.cost, 0.25), "{found:?}");
    assert_eq!(found.ratio, found.value / found.baseline_value);
    assert_eq!(found.cost, 1.0 / found.ratio - 1.0);
    assert_eq!((found.better.as_str(), found.blocks, found.slices), ("higher", 5, 20));
    assert!(found.block_costs.iter().all(|cost| close(*cost, 0.25)) && found.block_costs.len() == 5);
    assert_eq!(found.verdict, Verdict::Cost);
}

#[test]
fn a_time_rises_where_a_rate_falls_and_the_cost_is_the_same() {
    let both = workload("cpu.w0", &[("rate", MetricKindRecord::Rate, true), ("time", MetricKindRecord::Time, false)]);
    let simulated = Simulated { workloads: vec![both], ..Simulated::without_effects(1, 1) };
    let findings = analyse(&simulated.cost(0, 1, 0.3).record());
    let [rate, time] = &findings.comparisons[..] else { panic!("{:?}", findings.comparisons) };
    assert!(close(rate.ratio, 1.0 / time.ratio) && close(rate.cost, time.cost));
    assert_eq!(rate.cost_ci95, time.cost_ci95);
    assert_eq!(time.cost, time.ratio - 1.0);
    assert_eq!((rate.better.as_str(), time.better.as_str()), ("higher", "lower"));
    assert!(time.labels.contains(&"exploratory".to_owned()) && !rate.labels.contains(&"exploratory".to_owned()));
    assert_eq!((time.p_adjusted, time.family_size), (None, 0));
    assert_eq!((rate.verdict, time.verdict), (Verdict::Cost, Verdict::Unresolved));
}

#[test]
fn a_doubled_time_is_found_at_four_blocks_in_a_family_of_fifty_six() {
    for seed in 0..20 {
        let simulated = Simulated::without_effects(7, 8).blocks(4).seed(seed).cost(3, 5, 1.0);
        let findings = analyse(&simulated.record());
        assert_eq!(findings.comparisons.len(), 56);
        assert!(findings.comparisons.iter().all(|it| it.family_size == 56));
        let is_planted = |it: &&Comparison| it.workload == "cpu.w3" && it.environment == "environment5";
        let found = findings.comparisons.iter().find(is_planted).unwrap();
        assert_eq!(found.verdict, Verdict::Cost, "seed {seed}: {found:?}");
        let [low, high] = found.cost_ci95.unwrap();
        assert!(low > 0.5 && high < 1.6, "{found:?}");
    }
}

#[test]
fn runs_in_which_nothing_costs_anything_rarely_say_otherwise() {
    const RUNS: u32 = 150;
    for model in [Model::Quiet, Model::Drift] {
        let (mut families, mut controls) = (0, 0);
        for seed in 0..u64::from(RUNS) {
            let simulated = Simulated { model, ..Simulated::without_effects(2, 4) }.seed(seed + 1);
            let findings = analyse(&simulated.record());
            let is_false = |it: &Comparison| matches!(it.verdict, Verdict::Cost | Verdict::Gain);
            families += u32::from(findings.comparisons.iter().any(is_false));
            controls += findings.control.iter().filter(|it| it.p_adjusted.unwrap() < 0.05).count() as u32;
        }
        // 5 % of 150 families is 7.5, sd 2.7; 5 % of 300 controls is 15, sd 3.8: up to four sd away.
        assert!(families <= 18, "{model:?}: {families} of {RUNS} families");
        assert!((1..=30).contains(&controls), "{model:?}: {controls} of {} controls", 2 * RUNS);
    }
}

#[test]
fn intervals_cover_the_truth_as_often_as_they_say() {
    const RUNS: u64 = 400;
    let covered = (1..=RUNS).filter(|seed| {
        let simulated = Simulated { model: Model::Drift, ..Simulated::without_effects(1, 1) };
        let findings = analyse(&simulated.seed(*seed).cost(0, 1, 0.1).record());
        let [low, high] = only(&findings).cost_ci95.unwrap();
        low <= 0.1 && 0.1 <= high
    });
    // 95 % of 400 is 380, sd 4.4: up to four sd away.
    let covered = covered.count();
    assert!((363..=397).contains(&covered), "{covered} of {RUNS}");
}

#[test]
fn the_order_of_rows_changes_nothing() {
    let mut record = Simulated::without_effects(3, 3).cost(1, 2, 0.2).record();
    for (number, bundle) in record.slices.iter_mut().enumerate() {
        bundle.evidence_inside.push(evidence("test", "number", number as f64 * 0.1));
    }
    let straight = json(&record);
    assert_eq!(straight, json(&record), "the same record twice");
    record.slices.reverse();
    record.launches.reverse();
    let half = record.slices.len() / 3;
    record.slices.rotate_left(half);
    assert_eq!(straight, json(&record));
}

#[test]
fn a_block_whose_native_failed_is_left_out_for_that_workload_and_counted() {
    let mut record = Simulated::without_effects(2, 2).record();
    fail(&mut record, 2, &NATIVE_1, "cpu.w0");
    let findings = analyse(&record);
    for found in &findings.comparisons {
        let was_hit = found.workload == "cpu.w0";
        assert_eq!(found.blocks, if was_hit { 4 } else { 5 });
        let sentence = "1 of 5 blocks left out: a native gave no value".to_owned();
        assert_eq!(found.labels.contains(&sentence), was_hit, "{found:?}");
    }
    assert_eq!(findings.control[0].blocks, 4);
    assert_eq!(findings.mishaps[0].environment.as_deref(), Some("native#1"));
    assert_eq!((findings.mishaps[0].cause.as_str(), findings.mishaps[0].block), ("workload", 2));
}

#[test]
fn a_launch_that_stopped_half_way_through_its_slices_has_no_value() {
    let mut record = Simulated::without_effects(1, 2).record();
    let launch = record.launches.iter().find(|it| it.block == 3 && it.arm.environment == 1).unwrap().id;
    let last = record.slices.iter().rposition(|it| it.slice.launch == launch).unwrap();
    record.slices.remove(last);
    let findings = analyse(&record);
    assert_eq!(findings.comparisons.iter().map(|it| it.blocks).collect::<Vec<_>>(), [4, 5]);
    assert!(findings.comparisons[0].labels.contains(&"1 of 5 blocks left out: gave no value".to_owned()));
}

#[test]
fn an_environment_that_gave_nothing_is_absent_and_stays_in_the_family() {
    let mut record = Simulated::without_effects(1, 2).record();
    for block in 1..=5 {
        fail(&mut record, block, &Arm { environment: 1, replica: 1 }, "cpu.w0");
    }
    let findings = analyse(&record);
    let found = only(&findings);
    assert_eq!((found.environment.as_str(), found.family_size), ("environment2", 2));
    assert_eq!(findings.mishaps.len(), 5);
}

#[test]
fn a_killed_run_without_a_finished_block_has_no_comparison() {
    let mut record = Simulated::without_effects(2, 2).blocks(1).record();
    record.run.stopped_because = None;
    assert_eq!(analyse(&record).comparisons.len(), 4, "whole, although the file does not say so");
    while record.slices.pop().is_some() {
        let findings = analyse(&record);
        assert_eq!((findings.comparisons.len(), findings.control.len(), findings.design.blocks), (0, 0, 0));
        assert_eq!(findings.run.stopped_because, "killed");
    }
    while record.launches.pop().is_some() {
        assert!(analyse(&record).comparisons.is_empty());
    }
    record.plan.environments.clear();
    record.plan.workloads.clear();
    assert!(analyse(&record).environments.is_empty());
}

#[test]
fn an_interrupted_run_keeps_every_finished_block_and_no_half_one() {
    let mut record = Simulated::without_effects(2, 2).blocks(4).record();
    let whole = analyse(&record).comparisons;
    record.run.stopped_because = Some(StopReason::Interrupted);
    assert_eq!(analyse(&record).comparisons, whole);
    let last_block: BTreeSet<u64> = record.launches.iter().filter(|it| it.block == 4).map(|it| it.id).collect();
    let cut = record.slices.iter().rposition(|it| last_block.contains(&it.slice.launch)).unwrap();
    record.slices.remove(cut);
    let findings = analyse(&record);
    assert_eq!(findings.design.blocks, 3);
    assert!(findings.comparisons.iter().all(|it| it.blocks == 3));
}

#[test]
fn an_arm_that_failed_in_the_last_block_does_not_make_it_unfinished() {
    let mut record = Simulated::without_effects(1, 2).blocks(4).record();
    fail(&mut record, 4, &Arm { environment: 1, replica: 1 }, "cpu.w0");
    record.run.stopped_because = None;
    let findings = analyse(&record);
    assert_eq!(findings.design.blocks, 4);
    assert_eq!(findings.comparisons.iter().map(|it| it.blocks).collect::<Vec<_>>(), [3, 4]);
    record.mishaps.clear();
    assert_eq!(analyse(&record).design.blocks, 3, "nothing says why the arm is missing");
}

#[test]
fn a_pilot_block_is_kept_and_not_analysed() {
    let mut record = Simulated::without_effects(1, 1).record();
    record.launches.iter_mut().for_each(|launch| launch.block -= 1);
    let findings = analyse(&record);
    assert_eq!((findings.design.blocks, only(&findings).blocks), (4, 4));
}

#[test]
fn one_and_two_blocks_give_values_without_verdicts() {
    for blocks in [1, 2] {
        let findings = analyse(&Simulated::without_effects(1, 1).blocks(blocks).cost(0, 1, 1.0).record());
        for found in findings.comparisons.iter().chain(&findings.control) {
            assert_eq!((found.verdict, found.p_adjusted), (Verdict::Unresolved, None));
            assert_eq!((found.cost_ci95.is_some(), found.mde.is_some()), (blocks == 2, blocks == 2));
            assert_eq!((found.cost_typical, found.cost_typical_ci95), (None, None));
        }
        assert!((only(&findings).cost - 1.0).abs() < 0.2);
    }
}

#[test]
fn the_typical_cost_is_shown_from_six_blocks() {
    let typical = |blocks| only(&analyse(&Simulated::without_effects(1, 1).blocks(blocks).record())).cost_typical;
    assert_eq!(typical(5), None);
    assert!(typical(6).is_some());
}

#[test]
fn an_environment_that_is_not_what_was_asked_for_gets_no_verdict() {
    let mut record = Simulated::without_effects(1, 2).exact().cost(0, 1, 1.0).cost(0, 2, 1.0).record();
    record.launches[2].profile.mismatches.push("2 CPUs asked, 1 got".to_owned());
    let findings = analyse(&record);
    let [spoiled, sound] = &findings.comparisons[..] else { panic!() };
    assert_eq!((spoiled.verdict, spoiled.p_adjusted), (Verdict::Unresolved, None));
    assert!(spoiled.labels.contains(&"spoiled: asked ≠ got".to_owned()));
    assert_eq!((sound.verdict, sound.family_size), (Verdict::Cost, 2));
    assert_eq!(findings.environments[1].mismatches, ["2 CPUs asked, 1 got"]);

    record.launches[0].profile.mismatches.push("another clock".to_owned());
    let findings = analyse(&record);
    assert!(findings.comparisons.iter().chain(&findings.control).all(|it| it.verdict == Verdict::Unresolved));
}

#[test]
fn labels_and_facts_of_an_environment_are_merged_and_reach_its_comparisons() {
    let mut record = Simulated::without_effects(1, 1).record();
    for launch in record.launches.iter_mut().filter(|launch| launch.arm.environment == 1) {
        launch.profile.labels.push("emulated".to_owned());
        let clock = if launch.block == 3 { "hpet" } else { "tsc" };
        launch.profile.got.insert("clock_source".to_owned(), clock.to_owned());
    }
    let findings = analyse(&record);
    assert_eq!(findings.environments[1].labels, ["emulated"]);
    assert_eq!(findings.environments[1].got["clock_source"], "tsc | hpet");
    assert_eq!(only(&findings).labels, ["emulated"]);
    record.plan.shared_cpu = true;
    assert_eq!(only(&analyse(&record)).labels, ["emulated", "shared cpu"]);
    assert!(standings(&record)[0].emulated);
    let precision = Precision::of(&record).unwrap();
    assert_eq!((precision.comparisons, precision.blocks_min, precision.log_half_width_max), (0, 5, None));
    assert!(!precision.reaches(10.0));
}

#[test]
fn spoiled_slices_are_left_out_and_counted() {
    let mut record = Simulated::without_effects(1, 1).exact().record();
    for bundle in record.slices.iter_mut().filter(|it| it.slice.launch == 3).take(2) {
        bundle.slice.spoiled = Some("steal".to_owned());
        bundle.slice.seconds_inside *= 10.0;
    }
    let findings = analyse(&record);
    assert!(close(only(&findings).cost, 0.0));
    assert_eq!(only(&findings).slices, 18);
    assert_eq!(findings.design.spoiled, BTreeMap::from([("environment1".to_owned(), 2)]));
    record
        .slices
        .iter_mut()
        .filter(|it| it.slice.launch == 2)
        .for_each(|it| it.slice.spoiled = Some("swap".to_owned()));
    let findings = analyse(&record);
    assert_eq!(findings.design.spoiled["native#2"], 4);
    assert_eq!(only(&findings).blocks, 4, "a native without a sound slice has no value");
}

#[test]
fn a_workload_that_the_host_times_uses_the_seconds_until_ready() {
    let mut start = workload("start.ready", &[("ready", MetricKindRecord::Time, true)]);
    start.measured_by = "launch".to_owned();
    let mut record = Simulated::without_effects(1, 1).record();
    record.plan.workloads = vec![start];
    record.slices.clear();
    for launch in record.launches.iter_mut().filter(|launch| launch.arm.environment == 1) {
        launch.ready_seconds = 0.4;
    }
    let findings = analyse(&record);
    let found = only(&findings);
    assert!(close(found.baseline_value, 0.1) && close(found.value, 0.4) && close(found.cost, 3.0), "{found:?}");
    assert_eq!((found.slices, found.verdict), (5, Verdict::Cost));
}

/// A run whose slices hold as many latencies as stated, twice as long in the environment as natively.
fn with_latencies(samples: u64) -> RunRecord {
    let p99 = MetricKindRecord::Percentile { histogram: "latency".to_owned(), p: 0.99 };
    let service = workload("app.redis", &[("rate", MetricKindRecord::Rate, true), ("latency.p99", p99, false)]);
    let mut record = Simulated { workloads: vec![service], ..Simulated::without_effects(1, 1) }.record();
    let histogram = |scale: u64| {
        let mut histogram = Hdr::<u64>::new(3).unwrap();
        (0..samples).for_each(|n| histogram.record((1_000 + n) * scale).unwrap());
        vec![Histogram { name: "latency".to_owned(), v2: encoded(&histogram) }]
    };
    for bundle in &mut record.slices {
        // Launches come in threes: native, native, the environment.
        bundle.histograms = histogram(if bundle.slice.launch % 3 == 0 { 200 } else { 100 });
    }
    record
}

#[test]
fn a_percentile_comes_from_the_merged_slices_if_they_have_enough_samples() {
    let metrics = |record: &RunRecord| analyse(record).comparisons.into_iter().map(|it| it.metric).collect::<Vec<_>>();
    assert_eq!(metrics(&with_latencies(249)), ["rate"], "996 samples in four slices");
    let mut record = with_latencies(250);
    let findings = analyse(&record);
    assert!((findings.comparisons[1].cost - 1.0).abs() < 0.01, "{:?}", findings.comparisons[1]);
    assert_eq!(findings.comparisons[1].unit, "s");
    // A slice's histogram is lost in one launch of the environment: the percentile misses a block, the rate does not.
    record.slices.iter_mut().find(|it| it.slice.launch == 3).unwrap().histograms.clear();
    let findings = analyse(&record);
    assert_eq!(findings.comparisons.iter().map(|it| it.blocks).collect::<Vec<_>>(), [5, 4]);
    let sentence = "1 of 5 blocks left out: too few samples for this percentile".to_owned();
    assert!(findings.comparisons[1].labels.contains(&sentence));
}

#[test]
fn each_group_is_compared_with_its_own_natives() {
    let mut record = Simulated::without_effects(1, 2).exact().record();
    record.plan.groups = vec![vec![0, 1], vec![0, 2]];
    // The second group runs later, when everything takes twice as long.
    let (mut launches, mut slices) = (Vec::new(), Vec::new());
    for launch in record.launches.clone() {
        let groups = match launch.arm.environment {
            0 => vec![0, 1],
            environment => vec![environment - 1],
        };
        for group in groups {
            let id = launch.id + u64::from(group) * 100;
            launches.push(crate::sample::LaunchRecord { id, group, ..launch.clone() });
            for mut bundle in record.slices.iter().filter(|it| it.slice.launch == launch.id).cloned() {
                bundle.slice.launch = id;
                bundle.slice.id += u64::from(group) * 1_000;
                bundle.slice.seconds_inside *= f64::from(group + 1);
                slices.push(bundle);
            }
        }
    }
    (record.launches, record.slices) = (launches, slices);
    record.run.stopped_because = None;
    let findings = analyse(&record);
    assert_eq!(findings.comparisons.len(), 2);
    assert!(findings.comparisons.iter().all(|it| close(it.cost, 0.0) && it.blocks == 5), "{findings:?}");
    assert!(close(findings.control[0].cost, 0.0) && findings.control[0].blocks == 5);
}

#[test]
fn the_control_is_the_second_native_against_the_first() {
    let mut record = Simulated::without_effects(2, 1).exact().record();
    for bundle in record.slices.iter_mut().filter(|it| it.slice.launch % 3 == 2 && it.slice.workload == "cpu.w1") {
        bundle.slice.seconds_inside *= 1.5;
    }
    let control = analyse(&record).control;
    assert_eq!((control[1].environment.as_str(), control[1].baseline.as_str()), ("native#2", "native#1"));
    assert!(close(control[0].cost, 0.0) && close(control[1].cost, 0.5), "{control:?}");
    assert_eq!((control[0].verdict, control[1].verdict), (Verdict::Equivalent, Verdict::Cost));
    assert_eq!(control[1].family_size, 1);
}

#[test]
fn a_warm_up_that_was_not_steady_is_listed_with_its_blocks() {
    let mut record = Simulated::without_effects(1, 1).record();
    // Three warm-up slices beside the measured ones of each launch; in launches 3 and 9 the last two differ by a half.
    for launch in 1..=15 {
        let last = if [3, 9].contains(&launch) { 1.5 } else { 1.05 };
        for (number, seconds) in [7.0, 1.0, last].into_iter().enumerate() {
            let mut bundle = slice(launch, "cpu.w0", seconds);
            (bundle.slice.id, bundle.slice.phase) = (10_000 + launch * 3 + number as u64, Phase::WarmUp);
            record.slices.push(bundle);
        }
    }
    assert_eq!(analyse(&record).design.not_steady, ["environment1: cpu.w0 (2 blocks)"]);
}

#[test]
fn each_workload_is_steady_by_its_own_tolerance() {
    let mut record = Simulated::without_effects(2, 1).record();
    record.plan.workloads[1].warm_up_tolerance = 0.02;
    for (number, workload) in ["cpu.w0", "cpu.w1"].into_iter().enumerate() {
        for (slice_number, seconds) in [1.0, 1.05].into_iter().enumerate() {
            let mut bundle = slice(3, workload, seconds);
            (bundle.slice.id, bundle.slice.phase) = (10_000 + 2 * number as u64 + slice_number as u64, Phase::WarmUp);
            record.slices.push(bundle);
        }
    }
    assert_eq!(analyse(&record).design.not_steady, ["environment1: cpu.w1 (1 block)"]);
}

#[test]
fn a_run_that_goes_on_is_looked_at_in_its_finished_blocks() {
    let mut record = Simulated::without_effects(1, 2).blocks(3).record();
    record.run.stopped_because = None;
    record.slices.pop();
    let standings = standings(&record);
    assert_eq!(standings.iter().map(|it| it.blocks).collect::<Vec<_>>(), [2, 2]);
    let findings = analyse(&record);
    for (standing, found) in standings.iter().zip(&findings.comparisons) {
        assert_eq!((standing.cost, standing.cost_ci95), (found.cost, found.cost_ci95));
    }
}

#[test]
fn numbers_that_are_none_cost_their_launch_and_nothing_else() {
    for bad in [f64::NAN, f64::INFINITY, 0.0, -1.0, 1e308] {
        let mut record = Simulated::without_effects(1, 1).record();
        record.slices.iter_mut().filter(|it| it.slice.launch == 3).for_each(|it| it.slice.seconds_inside = bad);
        let findings = analyse(&record);
        assert_eq!(only(&findings).blocks, 4, "{bad}");
        record.slices.iter_mut().for_each(|it| it.slice.work = bad);
        record.launches.iter_mut().for_each(|it| it.ready_seconds = bad);
        let text = json(&record);
        serde_json::from_str::<Findings>(&text).unwrap();
    }
}

#[test]
fn the_names_in_the_json_are_those_of_the_contract() {
    let mut record = Simulated::without_effects(1, 1).blocks(6).record();
    fail(&mut record, 1, &NATIVE_1, "cpu.w0");
    let findings = analyse(&record);
    let value = serde_json::to_value(&findings).unwrap();
    let keys = |value: &serde_json::Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>().join(" ");
    let sorted =
        |text: &str| text.split_whitespace().collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(" ");
    assert_eq!(value["schema"], 1);
    let top = "schema run environments comparisons control mishaps unusable design";
    let comparison = "workload metric headline unit better point environment baseline blocks slices baseline_value value \
        ratio cost cost_ci95 cost_ci90 margin cost_typical cost_typical_ci95 mde p_adjusted family_size verdict labels \
        evidence block_costs blocks_for_one_percent";
    let run = "id started seed preset plimsoll host stopped_because";
    assert_eq!(sorted(&keys(&value)), sorted(top));
    assert_eq!(sorted(&keys(&value["run"])), sorted(run));
    assert_eq!(sorted(&keys(&value["environments"][0])), sorted("name labels asked got mismatches"));
    assert_eq!(sorted(&keys(&value["comparisons"][0])), sorted(comparison));
    assert_eq!(sorted(&keys(&value["control"][0])), sorted(comparison));
    assert_eq!(sorted(&keys(&value["mishaps"][0])), sorted("environment workload point block cause message"));
    assert_eq!(serde_json::from_value::<Findings>(value).unwrap(), findings);
}

#[test]
fn comparisons_follow_the_plan_workloads_then_metrics_then_environments() {
    let simulated = Simulated {
        workloads: vec![
            workload("z.first", &[("rate", MetricKindRecord::Rate, true), ("time", MetricKindRecord::Time, false)]),
            rate_workload("a.second"),
        ],
        ..Simulated::without_effects(2, 2)
    };
    let order: Vec<String> = analyse(&simulated.record())
        .comparisons
        .iter()
        .map(|it| format!("{} {} {}", it.workload, it.metric, it.environment))
        .collect();
    let expected =
        ["z.first rate 1", "z.first rate 2", "z.first time 1", "z.first time 2", "a.second rate 1", "a.second rate 2"];
    assert_eq!(order, expected.map(|it| it.replace("rate ", "rate environment").replace("time ", "time environment")));
}

#[test]
fn the_baseline_is_the_mean_of_both_natives_in_logarithms() {
    let mut record = Simulated::without_effects(1, 1).exact().record();
    for bundle in record.slices.iter_mut().filter(|it| it.slice.launch % 3 == 2) {
        bundle.slice.seconds_inside *= 4.0;
    }
    assert!(close(only(&analyse(&record)).cost, -0.5), "1 s against 1 s and 4 s, which make 2 s");
}

#[test]
fn the_minimum_detectable_effect_is_that_of_the_first_step_of_the_family() {
    let findings = analyse(&Simulated::without_effects(2, 3).record());
    let found = &findings.comparisons[4];
    let differences: Vec<f64> = found.block_costs.iter().map(|cost| cost.ln_1p()).collect();
    let sd = plimsoll_stats::sample_sd(&differences).unwrap();
    let expected = plimsoll_stats::minimum_detectable_effect(sd, 5, 0.05 / 6.0).unwrap().exp_m1();
    assert!(close(found.mde.unwrap(), expected), "{found:?}");
    assert!(found.blocks_for_one_percent.is_some_and(|[low, high]| 3 <= low && low < high));
}

#[test]
fn rare_slow_launches_in_a_long_run_are_called_a_heavy_tail() {
    let mut record = Simulated::without_effects(1, 1).blocks(40).exact().record();
    for launch in record.launches.iter().filter(|it| it.arm.environment == 1) {
        let factor = if launch.block % 4 == 0 { 3.0 } else { 1.0 + 0.001 * f64::from(launch.block) };
        record
            .slices
            .iter_mut()
            .filter(|it| it.slice.launch == launch.id)
            .for_each(|it| it.slice.seconds_inside *= factor);
    }
    let findings = analyse(&record);
    assert!(only(&findings).labels.contains(&"heavy tail".to_owned()), "{:?}", only(&findings));
    assert!(only(&findings).cost_typical.unwrap() < only(&findings).cost);
}

#[test]
fn a_host_that_drifts_under_the_environment_alone_is_called_autocorrelated() {
    let mut record = Simulated::without_effects(1, 1).blocks(24).exact().record();
    for launch in record.launches.iter().filter(|it| it.arm.environment == 1) {
        let factor = 1.0 + 0.01 * f64::from(launch.block);
        record
            .slices
            .iter_mut()
            .filter(|it| it.slice.launch == launch.id)
            .for_each(|it| it.slice.seconds_inside *= factor);
    }
    assert!(only(&analyse(&record)).labels.contains(&"autocorrelated".to_owned()));
}

/// One thing done to a record that no honest run does.
fn damage(record: &mut RunRecord, (what, row, number): (u8, usize, usize)) {
    let bad = [f64::NAN, f64::NEG_INFINITY, 0.0, -3.0, 1e-308, f64::MAX][number % 6];
    let (slice, launch) = (row % record.slices.len(), row % record.launches.len());
    match what % 14 {
        0 => record.slices[slice].slice.seconds_inside = bad,
        1 => record.slices[slice].slice.work = bad,
        2 => record.slices[slice].slice.started_at = bad,
        3 => record.slices[slice].slice.launch = number as u64,
        4 => record.slices[slice].slice.id = number as u64,
        5 => record.slices[slice].slice.point = Some("{\"a\":[1".to_owned()),
        6 => record.slices.truncate(slice + 1),
        7 => record.launches[launch].ready_seconds = bad,
        8 => record.launches[launch].block = [0, 1, u32::MAX][number % 3],
        9 => record.launches[launch].arm = Arm { environment: [0, 1, u32::MAX][number % 3], replica: number as u32 },
        10 => record.launches[launch].group = u32::MAX,
        11 => record.plan.groups = vec![vec![], vec![7, 0, u32::MAX], vec![1; number % 3]],
        12 => record.plan.environments.truncate(number % 3),
        _ => record.run.stopped_because = None,
    }
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config::with_cases(100))]

    #[test]
    fn no_record_makes_it_panic_and_every_finding_can_be_read_again(
        damages in proptest::collection::vec((0_u8..14, 0_usize..500, 0_usize..20), 1..12),
    ) {
        let mut record = Simulated { slices: 2, ..Simulated::without_effects(1, 2) }.blocks(3).record();
        damages.into_iter().for_each(|it| damage(&mut record, it));
        let text = json(&record);
        serde_json::from_str::<Findings>(&text).unwrap();
        let _ = (half_widths(&record), Precision::of(&record));
    }
}
