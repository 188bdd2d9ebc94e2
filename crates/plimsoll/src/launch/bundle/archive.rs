//! A bundle as an archive: tar for `docker import`, newc for the kernel's initramfs. Owner root, time 0, so that the same
//! files give the same bytes.

use std::fs::File;
use std::io::{Read, Write, copy};
use std::path::Path;

use super::{Content, Item, named};
use crate::sample::Failure;

pub(super) fn write_tar(items: &[Item], writer: &mut dyn Write) -> Result<(), Failure> {
    let mut archive = tar::Builder::new(writer);
    for item in items {
        append_to_tar(&mut archive, item)
            .map_err(|failure| failure.while_doing(&format!("cannot archive {}", item.path)))?;
    }
    archive.finish()?;
    Ok(())
}

fn append_to_tar(archive: &mut tar::Builder<&mut dyn Write>, item: &Item) -> Result<(), Failure> {
    let path = item.path.trim_start_matches('/');
    let mut header = tar::Header::new_gnu();
    header.set_mode(item.mode);
    header.set_size(0);
    match &item.content {
        Content::Directory => {
            header.set_entry_type(tar::EntryType::Directory);
            archive.append_data(&mut header, format!("{path}/"), std::io::empty())?;
        }
        Content::File(source) => {
            let (file, length) = open(source)?;
            header.set_size(length);
            archive.append_data(&mut header, path, file.take(length))?;
        }
        Content::Bytes(bytes) => {
            header.set_size(bytes.len() as u64);
            archive.append_data(&mut header, path, bytes.as_slice())?;
        }
        Content::Link(target) => {
            header.set_entry_type(tar::EntryType::Symlink);
            archive.append_link(&mut header, path, target)?;
        }
        Content::Device { major, minor } => {
            header.set_entry_type(tar::EntryType::Char);
            header.set_device_major(*major)?;
            header.set_device_minor(*minor)?;
            archive.append_data(&mut header, path, std::io::empty())?;
        }
    }
    Ok(())
}

fn open(source: &Path) -> Result<(File, u64), Failure> {
    let file = File::open(source).map_err(|error| named(source, error))?;
    let length = file.metadata().map_err(|error| named(source, error))?.len();
    Ok((file, length))
}

const HEADER_BYTES: usize = 110;
const TRAILER: &str = "TRAILER!!!";
const TYPE_DIRECTORY: u32 = 0o040_000;
const TYPE_FILE: u32 = 0o100_000;
const TYPE_LINK: u32 = 0o120_000;
const TYPE_CHARACTER_DEVICE: u32 = 0o020_000;

/// What a newc header says; everything else in it is 0.
struct NewcHeader<'a> {
    inode: u32,
    mode: u32,
    links: u32,
    length: u32,
    device: (u32, u32),
    name: &'a str,
}

pub(super) fn write_newc(items: &[Item], writer: &mut dyn Write) -> Result<(), Failure> {
    for (inode, item) in (1..).zip(items) {
        append_to_newc(writer, inode, item)
            .map_err(|failure| failure.while_doing(&format!("cannot archive {}", item.path)))?;
    }
    write_header(writer, &NewcHeader { inode: 0, mode: 0, links: 1, length: 0, device: (0, 0), name: TRAILER })
}

fn append_to_newc(writer: &mut dyn Write, inode: u32, item: &Item) -> Result<(), Failure> {
    let name = item.path.trim_start_matches('/');
    let mut header = NewcHeader { inode, mode: item.mode, links: 1, length: 0, device: (0, 0), name };
    match &item.content {
        Content::Directory => {
            header.mode |= TYPE_DIRECTORY;
            header.links = 2;
            write_header(writer, &header)?;
        }
        Content::File(source) => {
            let (file, length) = open(source)?;
            header.mode |= TYPE_FILE;
            header.length = fits(length)?;
            write_header(writer, &header)?;
            if copy(&mut file.take(length), writer)? != length {
                return Err(Failure::launch("it became shorter while it was read"));
            }
            pad(writer, length)?;
        }
        Content::Bytes(bytes) => write_bytes(writer, header, TYPE_FILE, bytes)?,
        Content::Link(target) => write_bytes(writer, header, TYPE_LINK, target.as_bytes())?,
        Content::Device { major, minor } => {
            header.mode |= TYPE_CHARACTER_DEVICE;
            header.device = (*major, *minor);
            write_header(writer, &header)?;
        }
    }
    Ok(())
}

fn fits(length: u64) -> Result<u32, Failure> {
    u32::try_from(length).map_err(|_| Failure::launch("a file of 4 GiB or more does not fit into this archive"))
}

fn write_bytes(writer: &mut dyn Write, mut header: NewcHeader<'_>, kind: u32, bytes: &[u8]) -> Result<(), Failure> {
    header.mode |= kind;
    header.length = fits(bytes.len() as u64)?;
    write_header(writer, &header)?;
    writer.write_all(bytes)?;
    pad(writer, bytes.len() as u64)
}

fn write_header(writer: &mut dyn Write, header: &NewcHeader<'_>) -> Result<(), Failure> {
    let NewcHeader { inode, mode, links, length, device: (major, minor), name } = header;
    let name_length = name.len() + 1;
    // magic, inode, mode, uid, gid, links, time, length, device of the archive (two), device of the node (two), length of
    // the name, checksum (unused by this format).
    write!(writer, "070701{inode:08x}{mode:08x}{:08x}{:08x}{links:08x}{:08x}{length:08x}", 0, 0, 0)?;
    write!(writer, "{:08x}{:08x}{major:08x}{minor:08x}{name_length:08x}{:08x}", 0, 0, 0)?;
    writer.write_all(name.as_bytes())?;
    writer.write_all(&[0])?;
    pad(writer, (HEADER_BYTES + name_length) as u64)
}

/// Everything is aligned to four bytes.
fn pad(writer: &mut dyn Write, length: u64) -> Result<(), Failure> {
    let missing = (4 - length % 4) % 4;
    writer.write_all(&[0; 3][..missing as usize])?;
    Ok(())
}
