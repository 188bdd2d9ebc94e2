//! Which CPUs the environments get and which the harness keeps.
//!
//! Whole physical cores, with their SMT siblings, go to one side or the other: a sibling that works slows its twin. The
//! harness, the peer and the engines' daemons keep the core that holds the lowest CPU, where most interrupts land; all
//! other cores are the environments'. A host with a single core shares it, and says so.

use std::collections::BTreeSet;

use super::files::HostFiles;

/// CPUs beyond this number are not read from a list: a malformed range must not fill the memory.
const CPU_NUMBER_MAX: u32 = 65_535;

/// Physical cores, each with the CPUs (hardware threads) that it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topology {
    /// The CPUs of each core, ascending; cores in order of their lowest CPU; no CPU twice.
    pub cores: Vec<Vec<u32>>,
}

/// Who runs where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CpuSplit {
    /// CPUs of the environments, ascending; not empty.
    pub environments: Vec<u32>,
    /// CPUs of the harness, the peer and the engines' daemons, ascending; not empty.
    pub harness: Vec<u32>,
    /// Whether harness and environments run on the same physical core: label `shared cpu`.
    pub shared: bool,
    /// Requested CPUs that we may not run on or that do not exist; the caller refuses the request if there are any.
    pub unavailable: Vec<u32>,
}

/// Divides the CPUs of this host that we may run on. `requested` are CPUs that the user wants for the environments.
#[must_use]
pub fn split_cpus(requested: Option<&[u32]>) -> CpuSplit {
    let files = HostFiles::here();
    split(&cores_of(&files), &allowed(&files), requested)
}

/// The CPUs that are online, ascending; at least one.
#[must_use]
pub fn cpus_online() -> Vec<u32> {
    online(&HostFiles::here())
}

/// The cores of this host, online CPUs only.
#[must_use]
pub fn cores() -> Topology {
    cores_of(&HostFiles::here())
}

/// Divides the CPUs of a topology that are allowed. Without any CPU allowed, CPU 0 is assumed.
#[must_use]
pub fn split(topology: &Topology, allowed: &[u32], requested: Option<&[u32]>) -> CpuSplit {
    let allowed: BTreeSet<u32> =
        if allowed.is_empty() { BTreeSet::from([0]) } else { allowed.iter().copied().collect() };
    let cores = allowed_cores(topology, &allowed);
    let wanted: BTreeSet<u32> = requested.unwrap_or_default().iter().copied().collect();
    let unavailable = wanted.difference(&allowed).copied().collect();
    let granted: BTreeSet<u32> = wanted.intersection(&allowed).copied().collect();
    let environments = if granted.is_empty() { all_but_first_core(&cores) } else { granted };
    let (harness, shared) = rest(&cores, &environments);
    CpuSplit { environments: environments.into_iter().collect(), harness, shared, unavailable }
}

/// The cores cut down to allowed CPUs; an allowed CPU that the topology does not know is a core of its own.
fn allowed_cores(topology: &Topology, allowed: &BTreeSet<u32>) -> Vec<Vec<u32>> {
    let mut left = allowed.clone();
    let mut cores: Vec<Vec<u32>> = Vec::new();
    for core in &topology.cores {
        let usable: Vec<u32> = core.iter().copied().filter(|cpu| left.remove(cpu)).collect();
        if !usable.is_empty() {
            cores.push(usable);
        }
    }
    cores.extend(left.into_iter().map(|cpu| vec![cpu]));
    cores.sort_by_key(|core| core.iter().copied().min());
    cores
}

fn all_but_first_core(cores: &[Vec<u32>]) -> BTreeSet<u32> {
    let skipped = usize::from(cores.len() > 1);
    cores.iter().skip(skipped).flatten().copied().collect()
}

/// What the environments leave: untouched cores, else the idle siblings of their cores, else the same CPUs.
fn rest(cores: &[Vec<u32>], environments: &BTreeSet<u32>) -> (Vec<u32>, bool) {
    let sorted =
        |cpus: Vec<&u32>| cpus.into_iter().copied().collect::<BTreeSet<u32>>().into_iter().collect::<Vec<u32>>();
    let untouched: Vec<&u32> =
        cores.iter().filter(|core| !core.iter().any(|cpu| environments.contains(cpu))).flatten().collect();
    if !untouched.is_empty() {
        return (sorted(untouched), false);
    }
    let siblings: Vec<&u32> = cores.iter().flatten().filter(|cpu| !environments.contains(cpu)).collect();
    if siblings.is_empty() { (environments.iter().copied().collect(), true) } else { (sorted(siblings), true) }
}

pub(super) fn cores_of(files: &HostFiles) -> Topology {
    let online = online(files);
    let mut seen = BTreeSet::new();
    let mut cores = Vec::new();
    for cpu in &online {
        let path = format!("/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list");
        let mut siblings = files.text(&path).map_or_else(Vec::new, |text| cpu_list(&text));
        siblings.retain(|sibling| online.contains(sibling));
        if !siblings.contains(cpu) {
            siblings = vec![*cpu];
        }
        siblings.retain(|sibling| seen.insert(*sibling));
        if !siblings.is_empty() {
            cores.push(siblings);
        }
    }
    Topology { cores }
}

fn online(files: &HostFiles) -> Vec<u32> {
    let listed = files.text("/sys/devices/system/cpu/online").map_or_else(Vec::new, |text| cpu_list(&text));
    if listed.is_empty() { allowed(files) } else { listed }
}

/// The CPUs that this process may run on (affinity and cpuset), from its own status file.
fn allowed(files: &HostFiles) -> Vec<u32> {
    let status = files.text("/proc/self/status").unwrap_or_default();
    let listed = super::files::colon_value(&status, "Cpus_allowed_list").map_or_else(Vec::new, cpu_list);
    if listed.is_empty() { vec![0] } else { listed }
}

/// Reads a list as the kernel writes it: `0-3,8`. What cannot be read is left out. Ascending, without repetition.
#[must_use]
pub fn cpu_list(text: &str) -> Vec<u32> {
    let mut cpus = BTreeSet::new();
    for part in text.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(first), Ok(last)) = (first.trim().parse::<u32>(), last.trim().parse::<u32>())
            && last <= CPU_NUMBER_MAX
        {
            cpus.extend(first..=last);
        }
    }
    cpus.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(cores: &[&[u32]], allowed: &[u32], requested: Option<&[u32]>) -> CpuSplit {
        let cores = cores.iter().map(|core| core.to_vec()).collect();
        split(&Topology { cores }, allowed, requested)
    }

    #[test]
    fn of_two_cpus_the_second_is_the_environments() {
        let split = check(&[&[0], &[1]], &[0, 1], None);
        assert_eq!((split.environments, split.harness, split.shared), (vec![1], vec![0], false));
    }

    #[test]
    fn siblings_stay_together_and_one_core_is_kept() {
        let split = check(&[&[0, 4], &[1, 5], &[2, 6], &[3, 7]], &[0, 1, 2, 3, 4, 5, 6, 7], None);
        assert_eq!(split.environments, [1, 2, 3, 5, 6, 7]);
        assert_eq!(split.harness, [0, 4]);
        assert!(!split.shared);
    }

    #[test]
    fn a_single_core_is_shared_even_if_it_has_two_threads() {
        let split = check(&[&[0, 1]], &[0, 1], None);
        assert_eq!((split.environments, split.harness, split.shared), (vec![0, 1], vec![0, 1], true));
    }

    #[test]
    fn a_request_leaves_whole_cores_to_the_harness() {
        let split = check(&[&[0, 2], &[1, 3]], &[0, 1, 2, 3], Some(&[1]));
        assert_eq!((split.environments, split.harness, split.shared), (vec![1], vec![0, 2], false));
    }

    #[test]
    fn a_harness_on_a_sibling_counts_as_shared() {
        let split = check(&[&[0, 1]], &[0, 1], Some(&[1]));
        assert_eq!((split.environments, split.harness, split.shared), (vec![1], vec![0], true));
    }

    #[test]
    fn requested_cpus_that_we_may_not_use_are_named() {
        let split = check(&[&[0], &[1], &[2]], &[0, 2], Some(&[1, 2, 9]));
        assert_eq!(split.unavailable, [1, 9]);
        assert_eq!((split.environments, split.harness), (vec![2], vec![0]));
    }

    #[test]
    fn a_cpuset_that_cuts_a_core_in_half_is_respected() {
        let split = check(&[&[0, 2], &[1, 3]], &[2, 3], None);
        assert_eq!((split.environments, split.harness, split.shared), (vec![3], vec![2], false));
    }

    #[test]
    fn kernel_lists_are_read() {
        assert_eq!(cpu_list("0-2,8,10-11\n"), [0, 1, 2, 8, 10, 11]);
        assert_eq!(cpu_list("x,3,1-"), [3]);
        assert!(cpu_list("0-4294967295").is_empty());
    }

    #[test]
    fn this_host_has_a_cpu_for_each_side() {
        let split = split_cpus(None);
        assert!(!split.environments.is_empty() && !split.harness.is_empty());
        assert!(split.environments.iter().all(|cpu| cpus_online().contains(cpu)));
    }

    fn some_host() -> impl Strategy<Value = (Topology, Vec<u32>)> {
        (1_u32..12, 1_u32..4, any::<u64>()).prop_map(|(cores, threads, mask)| {
            let cores: Vec<Vec<u32>> =
                (0..cores).map(|core| (0..threads).map(|t| core + t * cores).collect()).collect();
            let allowed = cores.iter().flatten().copied().filter(|cpu| mask >> (cpu % 64) & 1 == 1).collect();
            (Topology { cores }, allowed)
        })
    }

    proptest! {
        #[test]
        fn both_sides_have_allowed_cpus_and_share_none_unless_they_say_so((topology, allowed) in some_host()) {
            let split = split(&topology, &allowed, None);
            prop_assert!(!split.environments.is_empty() && !split.harness.is_empty());
            let all: BTreeSet<u32> = split.environments.iter().chain(&split.harness).copied().collect();
            if !allowed.is_empty() {
                prop_assert_eq!(&all, &allowed.iter().copied().collect::<BTreeSet<u32>>());
            }
            for core in &topology.cores {
                let here = core.iter().any(|cpu| split.environments.contains(cpu));
                let there = core.iter().any(|cpu| split.harness.contains(cpu));
                prop_assert!(split.shared || !(here && there), "core {core:?} is on both sides");
            }
        }

        #[test]
        fn a_request_is_granted_as_far_as_it_is_allowed(
            (topology, allowed) in some_host(), wanted in prop::collection::vec(0_u32..40, 1..6),
        ) {
            let split = split(&topology, &allowed, Some(&wanted));
            let usable = if allowed.is_empty() { vec![0] } else { allowed };
            for cpu in &wanted {
                prop_assert_eq!(split.unavailable.contains(cpu), !usable.contains(cpu));
            }
            if wanted.iter().any(|cpu| usable.contains(cpu)) {
                prop_assert!(split.environments.iter().all(|cpu| wanted.contains(cpu)));
            }
        }
    }
}
