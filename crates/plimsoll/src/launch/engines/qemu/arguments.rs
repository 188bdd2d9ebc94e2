//! QEMU's command line as data. It starts nothing and looks at nothing: same facts, same arguments.
//!
//! What is not written here is QEMU's default, on purpose: the CPU model, the flat topology and the disk's cache mode
//! are what a person gets who starts QEMU by hand.

use std::path::{Path, PathBuf};

use super::drive::Drive;
use crate::launch::bundle::AGENT_PATH;

/// Name of the virtio-serial port that carries the agent's byte stream.
pub(super) const PORT_NAME: &str = "plimsoll";

/// The kind of machine that is emulated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Machine {
    /// A PC of today with PCI Express.
    Q35,
    /// A PC without PCI; under KVM only.
    Microvm,
}

impl Machine {
    /// The word in the environment's name and on QEMU's command line.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Q35 => "q35",
            Self::Microvm => "microvm",
        }
    }

    /// The virtio transport's kernel module.
    pub(super) fn transport_module(self) -> &'static str {
        match self {
            Self::Q35 => "virtio_pci",
            Self::Microvm => "virtio_mmio",
        }
    }

    /// A virtio device of this kind on its bus.
    pub(super) fn device(self, kind: &str) -> String {
        let bus = match self {
            Self::Q35 => "pci",
            Self::Microvm => "device",
        };
        format!("{kind}-{bus}")
    }
}

/// Who executes the guest's instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Accelerator {
    /// The CPU itself.
    Kvm,
    /// QEMU's translator: everything measured is emulated.
    Tcg,
}

impl Accelerator {
    /// The word in the environment's name and on QEMU's command line.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        }
    }
}

/// Everything that one start of QEMU depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Start {
    pub(super) machine: Machine,
    pub(super) accelerator: Accelerator,
    pub(super) cpus: usize,
    pub(super) memory_bytes: u64,
    pub(super) kernel: PathBuf,
    pub(super) initramfs: PathBuf,
    /// The data disk and its file; `None` for data in the guest's memory.
    pub(super) disk: Option<(Drive, PathBuf)>,
    /// Socket on which we listen for the agent's stream.
    pub(super) agent_socket: PathBuf,
    /// Socket on which we listen for QMP.
    pub(super) control_socket: PathBuf,
    /// File that takes what the guest's kernel prints.
    pub(super) console: PathBuf,
}

/// QEMU's arguments after its name.
pub(super) fn arguments(start: &Start) -> Vec<String> {
    let Start { machine, accelerator, .. } = start;
    let mut line = Line::default();
    for word in ["-nodefaults", "-no-user-config", "-no-reboot"] {
        line.word(word);
    }
    line.option("-display", "none");
    line.option("-machine", format!("{},accel={}", machine.name(), accelerator.name()));
    line.option("-smp", start.cpus.to_string());
    line.option("-m", format!("size={}k", start.memory_bytes / 1024));
    line.option("-kernel", start.kernel.display().to_string());
    line.option("-initrd", start.initramfs.display().to_string());
    line.option("-append", kernel_command_line(*machine, *accelerator));
    line.option("-serial", format!("file:{}", quoted(&start.console)));
    line.option("-chardev", socket("agent", &start.agent_socket));
    line.option("-device", machine.device("virtio-serial"));
    line.option("-device", format!("virtserialport,chardev=agent,name={PORT_NAME}"));
    line.option("-chardev", socket("control", &start.control_socket));
    line.option("-mon", "chardev=control,mode=control");
    if let Some((drive, file)) = &start.disk {
        drive.arguments(*machine, file).into_iter().for_each(|(name, value)| line.option(name, value));
    }
    line.0
}

/// What the guest's kernel is told. Nothing here changes what a workload inside would measure. A machine without ACPI's
/// power switch is left by a triple fault instead, which `-no-reboot` turns into the end of QEMU; under the translator
/// the self-tests of the kernel's ciphers would take half a second of every start.
fn kernel_command_line(machine: Machine, accelerator: Accelerator) -> String {
    let leave = match machine {
        Machine::Q35 => "",
        Machine::Microvm => " reboot=t",
    };
    let tests = match accelerator {
        Accelerator::Kvm => "",
        Accelerator::Tcg => " cryptomgr.notests",
    };
    format!("console=ttyS0 quiet panic=-1{leave}{tests} rdinit={AGENT_PATH} -- guest-init")
}

fn socket(id: &str, path: &Path) -> String {
    format!("socket,id={id},path={},server=off", quoted(path))
}

/// A path as a value among comma-separated ones.
pub(super) fn quoted(path: &Path) -> String {
    path.display().to_string().replace(',', ",,")
}

#[derive(Default)]
struct Line(Vec<String>);

impl Line {
    fn word(&mut self, word: &str) {
        self.0.push(word.to_owned());
    }

    fn option(&mut self, name: &str, value: impl Into<String>) {
        self.0.extend([name.to_owned(), value.into()]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::Environment;
    use crate::launch::engines::abouts;

    fn start(machine: Machine, accelerator: Accelerator) -> Start {
        Start {
            machine,
            accelerator,
            cpus: 2,
            memory_bytes: 512 << 20,
            kernel: "/boot/vmlinuz".into(),
            initramfs: "/run/p/initramfs".into(),
            disk: Drive::of(&Environment::parse("qemu", &abouts()).unwrap().stack()[0])
                .map(|drive| (drive, "/data/a,b/disk".into())),
            agent_socket: "/run/p/agent".into(),
            control_socket: "/run/p/control".into(),
            console: "/run/p/console".into(),
        }
    }

    /// One option and its value per line.
    fn shown(start: &Start) -> String {
        let mut text = arguments(start).join(" ");
        for option in ["-display", "-machine", "-smp", "-m ", "-kernel", "-initrd", "-append", "-serial", "-chardev"] {
            text = text.replace(&format!(" {option}"), &format!("\n{option}"));
        }
        for option in ["-device", "-mon", "-drive"] {
            text = text.replace(&format!(" {option}"), &format!("\n{option}"));
        }
        text
    }

    #[test]
    fn a_q35_has_its_devices_on_pci_and_qemu_s_defaults_elsewhere() {
        insta::assert_snapshot!(shown(&start(Machine::Q35, Accelerator::Tcg)), @r"
        -nodefaults -no-user-config -no-reboot
        -display none
        -machine q35,accel=tcg
        -smp 2
        -m size=524288k
        -kernel /boot/vmlinuz
        -initrd /run/p/initramfs
        -append console=ttyS0 quiet panic=-1 cryptomgr.notests rdinit=/plimsoll/plimsoll -- guest-init
        -serial file:/run/p/console
        -chardev socket,id=agent,path=/run/p/agent,server=off
        -device virtio-serial-pci
        -device virtserialport,chardev=agent,name=plimsoll
        -chardev socket,id=control,path=/run/p/control,server=off
        -mon chardev=control,mode=control
        -drive file=/data/a,,b/disk,format=qcow2,if=none,id=data
        -device virtio-blk-pci,id=adapter,drive=data
        ");
    }

    #[test]
    fn a_microvm_has_no_pci_and_is_left_by_a_triple_fault() {
        insta::assert_snapshot!(shown(&start(Machine::Microvm, Accelerator::Kvm)), @r"
        -nodefaults -no-user-config -no-reboot
        -display none
        -machine microvm,accel=kvm
        -smp 2
        -m size=524288k
        -kernel /boot/vmlinuz
        -initrd /run/p/initramfs
        -append console=ttyS0 quiet panic=-1 reboot=t rdinit=/plimsoll/plimsoll -- guest-init
        -serial file:/run/p/console
        -chardev socket,id=agent,path=/run/p/agent,server=off
        -device virtio-serial-device
        -device virtserialport,chardev=agent,name=plimsoll
        -chardev socket,id=control,path=/run/p/control,server=off
        -mon chardev=control,mode=control
        -drive file=/data/a,,b/disk,format=qcow2,if=none,id=data
        -device virtio-blk-device,id=adapter,drive=data
        ");
    }

    #[test]
    fn a_guest_with_its_data_in_memory_has_no_drive() {
        let words = arguments(&Start { disk: None, ..start(Machine::Q35, Accelerator::Tcg) });
        assert_eq!(words.last().map(String::as_str), Some("chardev=control,mode=control"));
    }
}
