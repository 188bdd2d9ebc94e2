//! /proc/self/status.

use super::cpu;

/// What is read from it; zero where it is silent.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Status {
    pub(super) uid: u32,
    pub(super) seccomp_mode: u32,
    pub(super) capabilities_effective: u64,
    pub(super) cpus_allowed: u32,
}

impl Status {
    pub(super) fn parse(text: &str) -> Self {
        let mut status = Self::default();
        for (key, value) in text.lines().filter_map(|line| line.split_once(':')) {
            let value = value.trim();
            match key {
                // Real, effective, saved, filesystem.
                "Uid" => status.uid = value.split_whitespace().next().and_then(|uid| uid.parse().ok()).unwrap_or(0),
                "Seccomp" => status.seccomp_mode = value.parse().unwrap_or(0),
                "CapEff" => status.capabilities_effective = u64::from_str_radix(value, 16).unwrap_or(0),
                "Cpus_allowed_list" => {
                    status.cpus_allowed = u32::try_from(cpu::list(value).len()).unwrap_or(u32::MAX);
                }
                _ => {}
            }
        }
        status
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_contained_process_is_described() {
        let text = "Name:\tplimsoll\nUid:\t1000\t0\t0\t0\nCapEff:\t00000000a80425fb\nSeccomp:\t2\n\
                    Seccomp_filters:\t1\nCpus_allowed:\tf0f\nCpus_allowed_list:\t0-3,8-11\n";
        let expected = Status { uid: 1000, seccomp_mode: 2, capabilities_effective: 0xa804_25fb, cpus_allowed: 8 };
        assert_eq!(Status::parse(text), expected);
    }

    #[test]
    fn silence_and_nonsense_are_zero() {
        assert_eq!(Status::parse(""), Status::default());
        assert_eq!(Status::parse("Uid:\nSeccomp:\tmany\nCapEff:\tzz\nno colon"), Status::default());
    }
}
