//! A release: one static executable with the licences, as an archive that is the same for the same sources, and its
//! checksum. An executable that would ask for a loader is refused, since it must run where there is none.

use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::tools;

/// Files that go beside the executable, as far as they exist.
const COMPANIONS: &[&str] = &["README.md", "CHANGELOG.md", "LICENSE-MIT", "LICENSE-APACHE"];
/// Type of a program header that names a loader.
const PT_INTERP: u32 = 3;

/// The task.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    if let Some(argument) = arguments.first() {
        bail!("takes no arguments, but got `{argument}`");
    }
    tools::run(tools::cargo(&["build", "--release", "--locked", "--package", "plimsoll"]))?;
    let executable = tools::built("release")?.join("plimsoll");
    let bytes = std::fs::read(&executable).with_context(|| format!("cannot read {}", executable.display()))?;
    if asks_for_loader(&bytes)? {
        bail!(
            "{} is linked dynamically; is RUSTFLAGS set? It replaces the flags of .cargo/config.toml",
            executable.display()
        );
    }
    let tuple = tools::host_tuple()?;
    let name = format!("plimsoll-{}-{tuple}", env!("CARGO_PKG_VERSION"));
    archive(&executable, &name)
}

fn archive(executable: &Path, name: &str) -> Result<()> {
    let dist = tools::root().join("dist");
    let folder = dist.join(name);
    if folder.exists() {
        std::fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    std::fs::copy(executable, folder.join("plimsoll")).context("cannot copy the executable")?;
    for companion in COMPANIONS.iter().filter(|companion| tools::root().join(companion).exists()) {
        std::fs::copy(tools::root().join(companion), folder.join(companion))
            .with_context(|| format!("cannot copy {companion}"))?;
    }
    let file = format!("{name}.tar.gz");
    let same = ["--sort=name", "--owner=0", "--group=0", "--numeric-owner", "--mtime=@0", "--mode=u+rwX,go+rX,go-w"];
    let mut tar = tools::program("tar", &same);
    tar.current_dir(&dist).args(["--use-compress-program=gzip -n", "-cf", &file, name]);
    tools::run(tar)?;
    let mut sum = tools::program("sha256sum", &[&file]);
    sum.current_dir(&dist);
    let sum = tools::output_of(sum)?;
    std::fs::write(dist.join(format!("{file}.sha256")), &sum).context("cannot write the checksum")?;
    std::fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    print!("dist/{file}\n{sum}");
    Ok(())
}

/// Whether a 64-bit little-endian ELF file has a program header that names a loader.
fn asks_for_loader(elf: &[u8]) -> Result<bool> {
    if elf.get(..6) != Some(b"\x7fELF\x02\x01".as_slice()) {
        bail!("not a 64-bit little-endian ELF file");
    }
    let start = usize::try_from(u64::from_le_bytes(field(elf, 32)?)).context("program headers lie beyond memory")?;
    let size = usize::from(u16::from_le_bytes(field(elf, 54)?));
    let count = usize::from(u16::from_le_bytes(field(elf, 56)?));
    for index in 0..count {
        let at =
            index.checked_mul(size).and_then(|offset| offset.checked_add(start)).context("program headers overflow")?;
        if u32::from_le_bytes(field(elf, at)?) == PT_INTERP {
            return Ok(true);
        }
    }
    Ok(false)
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N]> {
    let end = at.checked_add(N).context("an offset overflows")?;
    let slice = bytes.get(at..end).context("the ELF file is cut")?;
    Ok(slice.try_into()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An ELF header with program headers of these types behind it.
    fn elf(types: &[u32]) -> Vec<u8> {
        let mut bytes = vec![0; 64];
        bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
        bytes[32..40].copy_from_slice(&64_u64.to_le_bytes());
        bytes[54..56].copy_from_slice(&56_u16.to_le_bytes());
        bytes[56..58].copy_from_slice(&u16::try_from(types.len()).unwrap_or(0).to_le_bytes());
        for kind in types {
            let mut header = vec![0; 56];
            header[..4].copy_from_slice(&kind.to_le_bytes());
            bytes.extend(header);
        }
        bytes
    }

    #[test]
    fn a_named_loader_is_found() {
        assert!(asks_for_loader(&elf(&[1, PT_INTERP, 2])).is_ok_and(|found| found));
        assert!(asks_for_loader(&elf(&[1, 2])).is_ok_and(|found| !found));
    }

    #[test]
    fn what_is_no_elf_file_or_is_cut_is_refused() {
        assert!(asks_for_loader(b"#!/bin/sh\n").is_err());
        let whole = elf(&[1, 2]);
        assert!(asks_for_loader(&whole[..whole.len() - 56]).is_err());
    }
}
