//! A workload's point in words.

use super::units;
use super::words::clean;
use crate::analysis::Findings;
use crate::analysis::findings::Comparison;

/// Where each workload of several points was tested: sentences name the workload alone.
pub(super) fn tested_at(findings: &Findings) -> Option<String> {
    let mut tested: Vec<String> = Vec::new();
    for cell in findings.comparisons.iter().filter(|cell| cell.headline) {
        let axes = axes(cell.point.as_ref());
        let said = format!("{} at {}", clean(&cell.workload), clean(&axes));
        if !axes.is_empty() && !tested.contains(&said) {
            tested.push(said);
        }
    }
    (!tested.is_empty()).then(|| format!("Verdicts are those of one point: {}.", tested.join("; ")))
}

/// A workload with its point: `app.redis, clients=50`.
pub(super) fn workload_with_point(comparison: &Comparison) -> String {
    with_point(&comparison.workload, comparison.point.as_ref())
}

/// The same of any workload and point.
pub(super) fn with_point(workload: &str, point: Option<&serde_json::Value>) -> String {
    match axes(point) {
        axes if axes.is_empty() => clean(workload),
        axes => clean(&format!("{workload}, {axes}")),
    }
}

/// The values of a point: `clients=50, size=4 KiB`.
pub(super) fn axes(point: Option<&serde_json::Value>) -> String {
    match point {
        None | Some(serde_json::Value::Null) => String::new(),
        Some(serde_json::Value::Object(fields)) => {
            let fields: Vec<String> = fields.iter().map(|(key, value)| axis(key, value)).collect();
            fields.join(", ")
        }
        Some(other) => bare(other),
    }
}

fn axis(key: &str, value: &serde_json::Value) -> String {
    format!("{}={}", axis_name(key), axis_value(key, value))
}

/// The name of an axis as it is written: `size` for `bytes`.
pub(super) fn axis_name(key: &str) -> &str {
    size_name(key).unwrap_or(key)
}

/// A value on an axis: sizes as people write them.
pub(super) fn axis_value(key: &str, value: &serde_json::Value) -> String {
    match (size_name(key), value.as_u64()) {
        (Some(_), Some(bytes)) => units::memory(bytes),
        _ => bare(value),
    }
}

/// The name of an axis that counts bytes.
fn size_name(key: &str) -> Option<&str> {
    key.strip_suffix("_bytes").or((key == "bytes").then_some("size"))
}

fn bare(value: &serde_json::Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn sizes_are_written_as_people_write_them_and_the_rest_as_it_is() {
        let said = |point: serde_json::Value| with_point("mem.latency", Some(&point));
        assert_eq!(said(json!({"bytes": 4096, "pages": "4k"})), "mem.latency, size=4 KiB, pages=4k");
        assert_eq!(said(json!({"array_bytes": 1 << 20, "threads": 2})), "mem.latency, array=1 MiB, threads=2");
        assert_eq!(said(serde_json::Value::Null), "mem.latency");
        assert_eq!(with_point("mem.latency", None), "mem.latency");
    }
}
