//! The ELF kernel inside a bzImage. A guest that QEMU's translator executes takes a second or more to unpack its own
//! kernel, at every start; the host does it once a run, and QEMU enters the ELF file by its PVH entry.
//!
//! Sources: Documentation/arch/x86/boot.rst (payload_offset, payload_length), and
//! <https://xenbits.xen.org/docs/unstable/misc/pvh.html> (the note).

use std::io;

use goblin::elf::Elf;

use super::unpack;

const SECTOR_BYTES: usize = 512;
/// The boot protocol that first told where the payload lies.
const PROTOCOL_MIN: u16 = 0x208;
/// The ELF note by which QEMU finds a kernel's PVH entry: XEN_ELFNOTE_PHYS32_ENTRY.
const PVH_ENTRY_NOTE: u32 = 18;

/// The ELF kernel out of a bzImage.
///
/// # Errors
/// When the image does not tell where its payload is, the payload cannot be unpacked, or it has no PVH entry.
pub(super) fn unwrapped(image: &[u8]) -> io::Result<Vec<u8>> {
    let vmlinux =
        unpack::elf(payload(image).ok_or_else(|| wrong("a bzImage that does not tell where its payload is"))?)?;
    if has_pvh_entry(&vmlinux) { Ok(vmlinux) } else { Err(wrong("a kernel without a PVH entry")) }
}

fn wrong(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

fn payload(image: &[u8]) -> Option<&[u8]> {
    let word = |at: usize| image.get(at..at + 4)?.try_into().ok().map(|word| u32::from_le_bytes(word) as usize);
    let protocol = u16::from_le_bytes(image.get(0x206..0x208)?.try_into().ok()?);
    if image.get(0x202..0x206)? != b"HdrS" || protocol < PROTOCOL_MIN {
        return None;
    }
    let setup_sectors = match usize::from(image[0x1f1]) {
        0 => 4,
        count => count,
    };
    let start = (setup_sectors + 1) * SECTOR_BYTES + word(0x248)?;
    image.get(start..start.checked_add(word(0x24c)?)?)
}

fn has_pvh_entry(vmlinux: &[u8]) -> bool {
    let Ok(elf) = Elf::parse(vmlinux) else { return false };
    let mut notes = elf.iter_note_headers(vmlinux).into_iter().flatten().flatten();
    notes.any(|note| note.n_type == PVH_ENTRY_NOTE && note.name == "Xen")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A bzImage whose payload is this.
    fn image(payload: &[u8]) -> Vec<u8> {
        let mut image = vec![0; 2 * SECTOR_BYTES + 64];
        image[0x1f1] = 1;
        image[0x202..0x206].copy_from_slice(b"HdrS");
        image[0x206..0x208].copy_from_slice(&0x20f_u16.to_le_bytes());
        image[0x248..0x24c].copy_from_slice(&64_u32.to_le_bytes());
        image[0x24c..0x250].copy_from_slice(&(payload.len() as u32).to_le_bytes());
        image.extend(payload);
        image
    }

    /// An ELF file with one note.
    fn vmlinux(kind: u32) -> Vec<u8> {
        let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
        for (value, bytes) in [(2, 2), (62, 2), (1, 4), (0, 8), (64, 8), (0, 8), (0, 4), (64, 2), (56, 2), (1, 2)] {
            file.extend(&u64::to_le_bytes(value)[..bytes]);
        }
        file.resize(64, 0);
        for (value, bytes) in [(4, 4), (4, 4), (120, 8), (0, 8), (0, 8), (24, 8), (24, 8), (4, 8)] {
            file.extend(&u64::to_le_bytes(value)[..bytes]);
        }
        for word in [4, 8, kind] {
            file.extend(u32::to_le_bytes(word));
        }
        file.extend(b"Xen\0\0\0\0\0\0\0\0\0");
        file
    }

    #[test]
    fn the_kernel_is_found_where_the_header_says() {
        let kernel = vmlinux(PVH_ENTRY_NOTE);
        assert_eq!(unwrapped(&image(&kernel)).unwrap(), kernel);
    }

    #[test]
    fn a_kernel_that_cannot_be_entered_or_found_is_none() {
        let said = |image: &[u8]| unwrapped(image).unwrap_err().to_string();
        assert!(said(&image(&vmlinux(17))).contains("without a PVH entry"));
        let whole = image(&vmlinux(PVH_ENTRY_NOTE));
        assert!(said(&whole[..whole.len() - 1]).contains("where its payload is"));
        let mut old = whole;
        old[0x206] = 7;
        assert!(said(&old).contains("where its payload is"));
        assert!(said(b"").contains("where its payload is"));
    }
}
