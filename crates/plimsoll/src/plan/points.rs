//! Which workloads are measured at every point that they declare.

use plimsoll_agent::workload::WORKLOADS;

use super::{family, is_called};
use crate::environment::suggest;

/// As a plan has it in `points`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Points {
    /// Every workload.
    All,
    /// These; the others at their tested point only. `points = "tested"` names none.
    Of(Vec<&'static str>),
}

impl Points {
    /// Reads `all`, `tested`, or names of workloads and families with commas between them.
    ///
    /// # Errors
    /// What is wrong with a word.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        match text {
            "all" => Ok(Self::All),
            "tested" => Ok(Self::Of(Vec::new())),
            names => {
                let found = names.split(',').map(|word| called(word.trim())).collect::<Result<Vec<_>, _>>()?;
                Ok(Self::Of(found.concat()))
            }
        }
    }

    /// Whether this workload is measured at its tested point only.
    pub(super) fn tested_only(&self, workload: &str) -> bool {
        match self {
            Self::All => false,
            Self::Of(names) => !names.contains(&workload),
        }
    }
}

fn called(word: &str) -> Result<Vec<&'static str>, String> {
    let found: Vec<&str> =
        WORKLOADS.iter().filter(|workload| is_called(**workload, word)).map(|workload| workload.about().name).collect();
    if found.is_empty() {
        let mut known = vec!["all", "tested"];
        known.extend(WORKLOADS.iter().map(|workload| workload.about().name));
        known.extend(WORKLOADS.iter().map(|workload| family(workload.about().name)));
        known.dedup();
        return Err(format!(
            "must be \"all\", \"tested\" or names of workloads, not `{word}`{}",
            suggest(word, &known)
        ));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_families_are_swept_and_all_others_tested_only() {
        let tested_only = |text: &str| {
            let points = Points::read(text).unwrap();
            ["mem.copy", "disk.randread", "cpu.lzma"].map(|name| points.tested_only(name))
        };
        assert_eq!(tested_only("all"), [false, false, false]);
        assert_eq!(tested_only("tested"), [true, true, true]);
        assert_eq!(tested_only("mem, disk.randread"), [false, false, true]);
        assert!(Points::read("mem.cpy").unwrap_err().contains("did you mean `mem.copy`"));
    }
}
