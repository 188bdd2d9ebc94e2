//! What is to be known of the environments when their figures are written.

use std::collections::{BTreeMap, BTreeSet};

use super::words::CONTROL;
use crate::analysis::Findings;
use crate::analysis::findings::{Comparison, EnvironmentFindings};

/// Environments whose numbers are not to be used. Where native itself was not what was asked, nobody's are.
pub(super) fn spoiled(findings: &Findings) -> BTreeSet<&str> {
    let bad = |environment: &&EnvironmentFindings| !environment.mismatches.is_empty();
    let spoiled: BTreeSet<&str> =
        findings.environments.iter().filter(bad).map(|environment| environment.name.as_str()).collect();
    if spoiled.contains("native") {
        return findings.comparisons.iter().map(|comparison| comparison.environment.as_str()).collect();
    }
    spoiled
}

/// Whose numbers can be used, and what qualifies them.
pub(super) struct About<'a> {
    spoiled: BTreeSet<&'a str>,
    labels: BTreeMap<&'a str, &'a [String]>,
}

impl<'a> About<'a> {
    pub(super) fn of(findings: &'a Findings) -> Self {
        let labels = findings.environments.iter().map(|it| (it.name.as_str(), it.labels.as_slice())).collect();
        Self { spoiled: spoiled(findings), labels }
    }

    /// Whether its numbers are not to be used.
    pub(super) fn is_spoiled(&self, environment: &str) -> bool {
        self.spoiled.contains(environment)
    }

    /// What qualifies all its numbers.
    pub(super) fn labels(&self, environment: &str) -> &'a [String] {
        self.labels.get(environment).copied().unwrap_or_default()
    }
}

/// Whether it is native against itself.
pub(super) fn is_control(cell: &Comparison) -> bool {
    cell.environment == CONTROL
}
