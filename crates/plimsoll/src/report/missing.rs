//! What an environment lacked for a point of a workload: one line for each reason, not one for each point.

use super::points::with_point;
use super::words::clean;
use crate::analysis::Findings;
use crate::analysis::findings::MishapFindings;
use crate::sample::Cause;

/// Points that a line names; of more it says how many.
const NAMED_MAX: usize = 2;

/// Whether nothing failed: the environment lacks what the point needs.
pub(super) fn is_missing(mishap: &MishapFindings) -> bool {
    mishap.cause == Cause::Missing.name()
}

/// The environment that lacked something; both natives lack the same.
pub(super) fn who(mishap: &MishapFindings) -> &str {
    let environment = mishap.environment.as_deref().unwrap_or_default();
    environment.split('#').next().unwrap_or(environment)
}

/// `gvisor, mem.latency, size=144 MiB, pages=huge and 3 more: no huge pages here`.
pub(super) fn lines(findings: &Findings) -> Vec<String> {
    let mut reasons: Vec<(String, String, Vec<String>)> = Vec::new();
    for mishap in findings.mishaps.iter().filter(|mishap| is_missing(mishap)) {
        let environment = clean(who(mishap));
        let what = with_point(mishap.workload.as_deref().unwrap_or_default(), mishap.point.as_ref());
        let message = clean(&mishap.message);
        match reasons.iter_mut().find(|(who, why, _)| (who, why) == (&environment, &message)) {
            Some((_, _, all)) if all.contains(&what) => {}
            Some((_, _, all)) => all.push(what),
            None => reasons.push((environment, message, vec![what])),
        }
    }
    reasons.iter().map(|(environment, message, all)| format!("{environment}, {}: {message}", named(all))).collect()
}

/// The first few points of a list, and how many more there are.
pub(super) fn named(all: &[String]) -> String {
    match all.len().saturating_sub(NAMED_MAX) {
        0 => all.join("; "),
        more => format!("{} and {more} more", all[..NAMED_MAX].join("; ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;

    fn missing(environment: &str, bytes: u64) -> MishapFindings {
        MishapFindings {
            environment: Some(environment.to_owned()),
            workload: Some("mem.latency".to_owned()),
            point: Some(serde_json::json!({"bytes": bytes, "pages": "huge"})),
            block: 1,
            cause: "missing".to_owned(),
            message: "no huge pages".to_owned(),
        }
    }

    #[test]
    fn points_with_the_same_reason_share_a_line_and_failures_have_none() {
        let mut findings = fixture::rich();
        findings.mishaps.extend([missing("gvisor", 4 << 20), missing("gvisor", 8 << 20), missing("gvisor", 16 << 20)]);
        findings.mishaps.extend([missing("native#1", 4 << 20), missing("native#2", 4 << 20)]);
        assert_eq!(
            lines(&findings),
            [
                "gvisor, mem.latency, size=4 MiB, pages=huge; mem.latency, size=8 MiB, pages=huge and 1 more: no huge pages",
                "native, mem.latency, size=4 MiB, pages=huge: no huge pages",
            ]
        );
    }
}
