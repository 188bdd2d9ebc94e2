//! Which environments are alive together: as many as memory and disk allow, each group with room for two natives.

use super::PlanError;
use super::settle::HostNumbers;
use crate::environment::Environment;
use crate::launch::engines::qemu::{
    INNER_LAYERS_BYTES, MEMORY_OVERHEAD_BYTES_MAX, files_in_memory_bytes_max, is_in_memory,
};

/// Share of the memory and the disk that the environments alive at once may take together.
pub(super) const HOST_SHARE_MAX: f64 = 0.6;

/// What something may take of the host, bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bytes {
    pub(super) memory: u64,
    pub(super) disk: u64,
}

impl Bytes {
    fn plus(self, other: Self) -> Self {
        Self { memory: self.memory.saturating_add(other.memory), disk: self.disk.saturating_add(other.disk) }
    }

    fn fits(self, room: Self) -> bool {
        self.memory <= room.memory && self.disk <= room.disk
    }
}

/// Most bytes of files that every environment holds where a guest keeps its data in its memory; `None` where none does.
pub(super) fn files_bytes_max(environments: &[Environment], memory_bytes: u64) -> Option<u64> {
    let in_memory = |environment: &Environment| environment.stack().first().is_some_and(is_in_memory);
    environments.iter().any(in_memory).then(|| files_in_memory_bytes_max(memory_bytes))
}

/// The groups; `each` is what an environment takes without what its engine adds, `data_disk_bytes` the size of a guest's
/// data disk. What fits with nothing else is alone with the natives.
pub(super) fn groups(
    environments: &[Environment],
    each: Bytes,
    data_disk_bytes: u64,
    host: &HostNumbers,
) -> Vec<Vec<u32>> {
    let share = |bytes: u64| (bytes as f64 * HOST_SHARE_MAX) as u64;
    let room = Bytes { memory: share(host.memory_available_bytes), disk: share(host.disk_free_bytes) };
    let natives = each.plus(each);
    let mut groups: Vec<Vec<u32>> = Vec::new();
    let mut taken = natives;
    for (position, environment) in (0..).zip(environments).skip(1) {
        let need = need(environment, each, data_disk_bytes);
        match groups.last_mut() {
            Some(group) if taken.plus(need).fits(room) => {
                group.push(position);
                taken = taken.plus(need);
            }
            _ => {
                groups.push(vec![0, position]);
                taken = natives.plus(need);
            }
        }
    }
    if groups.is_empty() { vec![vec![0]] } else { groups }
}

/// What not even an environment alone with its natives has room for: the disk, and a memory limit that was asked for. (The
/// default limit is a ceiling of which the workloads fill half; it is not held against a small host.)
pub(super) fn refusals(
    environments: &[Environment],
    each: Bytes,
    data_disk_bytes: u64,
    memory_asked: bool,
    host: &HostNumbers,
) -> Vec<PlanError> {
    let needs = environments.iter().skip(1).map(|environment| need(environment, each, data_disk_bytes));
    let needs: Vec<Bytes> = needs.collect();
    let largest = |of: fn(&Bytes) -> u64| needs.iter().map(of).max().unwrap_or(0);
    let alone = Bytes { memory: largest(|need| need.memory), disk: largest(|need| need.disk) };
    let needed = each.plus(each).plus(alone);
    let mut refusals = Vec::new();
    if memory_asked && needed.memory > host.memory_available_bytes {
        refusals.push(refusal("--memory", "memory", needed.memory, host.memory_available_bytes, "a smaller limit"));
    }
    if needed.disk > host.disk_free_bytes {
        refusals.push(refusal("--data", "free disk", needed.disk, host.disk_free_bytes, "a folder on another disk"));
    }
    refusals
}

fn refusal(at: &str, what: &str, needed: u64, there: u64, remedy: &str) -> PlanError {
    let (needed, there) = (needed.div_ceil(1 << 20), there >> 20);
    let message = format!(
        "two natives and one environment need {needed} MiB of {what}, and there are {there} MiB: choose {remedy}"
    );
    PlanError { at: at.to_owned(), message }
}

fn need(environment: &Environment, each: Bytes, data_disk_bytes: u64) -> Bytes {
    let machine = environment.stack().first().filter(|layer| layer.engine.virtual_machine);
    if let Some(machine) = machine {
        // The disk's file is sparse: where no workload writes, it stays as good as empty.
        let disk = if each.disk == 0 || is_in_memory(machine) { 0 } else { data_disk_bytes };
        let inner = if environment.stack().len() > 1 { INNER_LAYERS_BYTES } else { 0 };
        Bytes { memory: each.memory.saturating_add(MEMORY_OVERHEAD_BYTES_MAX + inner), disk }
    } else {
        each
    }
}
