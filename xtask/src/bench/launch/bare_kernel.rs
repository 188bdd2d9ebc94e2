//! The machine that we are compared with: the same QEMU and kernel, with nothing but an init that powers off at once.
//!
//! Program, machine and accelerator are taken from the command line that a launch of ours reports, and the kernel's image
//! from beside it: what ours has unpacked goes with its run.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::rc::Rc;

use anyhow::{Context, Result, bail};

use super::Ours;
use super::child::seconds_to_end;
use crate::bench::Pair;
use crate::tools;

/// A kernel whose init fails ends the machine as well: what init says tells the two apart.
const SAID: &str = "powering off";
/// Newc archives end with an entry of this name.
const TRAILER: &str = "TRAILER!!!";

/// `qemu` beside a bare kernel.
pub(super) fn pair<'a>(ours: &Rc<Ours>) -> Result<Pair<'a>> {
    let launched = ours.launch("qemu")?;
    let argv = launched.facts["argv"].as_str().context("the report has no command line of QEMU")?;
    let initramfs = initramfs(&ours.folder)?;
    let console = ours.folder.join("console");
    let kernel = launched.facts["kernel_image"].as_str().context("the report has no image of the kernel")?;
    let (program, words) = command_line(argv, kernel, &initramfs, &console)?;
    let theirs = move || {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let _ = std::fs::remove_file(&console);
        let seconds = seconds_to_end(tools::program(&program, &words))?;
        let said = String::from_utf8_lossy(&std::fs::read(&console).unwrap_or_default()).into_owned();
        if !said.contains(SAID) {
            bail!("the bare kernel did not reach its init: {}", said.trim());
        }
        Ok(seconds)
    };
    Ok(Pair { name: "qemu / bare kernel".to_owned(), ours: ours.way("qemu"), theirs: Box::new(theirs) })
}

/// Program and arguments: as ours, without the agent's devices and disk.
fn command_line(argv: &str, kernel: &str, initramfs: &Path, console: &Path) -> Result<(String, Vec<String>)> {
    let program = argv.split(' ').next().context("QEMU's command line is empty")?.to_owned();
    let mut words: Vec<String> =
        ["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"].map(String::from).into();
    for option in ["-machine", "-smp", "-m"] {
        let mut after = argv.split(' ').skip_while(|word| *word != option).skip(1);
        let value = after.next().with_context(|| format!("QEMU's command line has no {option}"))?;
        words.extend([option.to_owned(), value.to_owned()]);
    }
    words.extend(["-kernel".to_owned(), kernel.to_owned()]);
    words.extend(["-initrd".to_owned(), initramfs.display().to_string()]);
    words.extend(["-append".to_owned(), "console=ttyS0 quiet panic=-1 rdinit=/init".to_owned()]);
    words.extend(["-serial".to_owned(), format!("file:{}", console.display())]);
    Ok((program, words))
}

/// An archive with a static init that says something and powers off.
fn initramfs(folder: &Path) -> Result<std::path::PathBuf> {
    let (source, program, archive) = (folder.join("init.c"), folder.join("init"), folder.join("initramfs"));
    let text = format!(
        "#include <sys/reboot.h>\n#include <unistd.h>\n\
         int main(void) {{ return write(1, \"{SAID}\\n\", {}) < 0 || reboot(RB_POWER_OFF); }}\n",
        SAID.len() + 1
    );
    std::fs::write(&source, text).context("cannot write init's source")?;
    let mut compile = tools::program("cc", &["-static", "-O1", "-o"]);
    compile.args([&program, &source]);
    tools::output_of(compile).context("a static program needs the C library's archive as well (Debian: libc6-dev)")?;
    let init = std::fs::read(&program).context("cannot read init")?;
    let mut file =
        OpenOptions::new().create_new(true).write(true).open(&archive).context("cannot make the initramfs")?;
    file.write_all(&[entry("init", 0o100_755, &init), entry(TRAILER, 0, &[])].concat())?;
    Ok(archive)
}

/// An entry of a newc archive (Documentation/driver-api/early-userspace/buffer-format.rst): thirteen numbers, name and
/// content, the latter two filled up to multiples of four.
fn entry(name: &str, mode: u32, content: &[u8]) -> Vec<u8> {
    let mut numbers = [0; 13];
    (numbers[1], numbers[4], numbers[6], numbers[11]) = (mode as usize, 1, content.len(), name.len() + 1);
    let mut bytes = b"070701".to_vec();
    bytes.extend(numbers.map(|number| format!("{number:08x}")).concat().into_bytes());
    bytes.extend(name.bytes().chain([0]));
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes.extend(content);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bare_machine_is_ours_without_the_agents_devices() {
        let ours =
            "/usr/bin/qemu -nodefaults -machine q35,accel=tcg -smp 1 -m size=1048576k -kernel /k/vmlinux -device d";
        let command_line = |argv| command_line(argv, "/k/vmlinuz", Path::new("/i"), Path::new("/c"));
        let (program, words) = command_line(ours).expect("it is whole");
        assert_eq!(program, "/usr/bin/qemu");
        assert_eq!(
            words.join(" "),
            "-nodefaults -no-user-config -no-reboot -display none -machine q35,accel=tcg -smp 1 -m size=1048576k \
             -kernel /k/vmlinuz -initrd /i -append console=ttyS0 quiet panic=-1 rdinit=/init -serial file:/c"
        );
        assert!(command_line("/usr/bin/qemu -smp 1").is_err());
    }

    #[test]
    fn entries_of_an_archive_are_aligned() {
        let bytes = entry("init", 0o100_755, b"12345");
        assert_eq!(bytes.len(), 116 + 8);
        assert!(bytes.starts_with(b"070701"));
        assert_eq!(&bytes[110..121], b"init\0\0".iter().chain(b"12345").copied().collect::<Vec<u8>>());
    }
}
