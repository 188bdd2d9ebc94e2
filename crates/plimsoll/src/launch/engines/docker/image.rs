//! The agent's image as an archive that an engine loads: as many layers as asked for, a manifest, a configuration.
//!
//! Source: the format of `docker save`, Docker Image Specification v1.2
//! (<https://github.com/moby/docker-image-spec/blob/main/v1.2.md>).

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::launch::bundle::Bundle;
use crate::sample::Failure;

/// What this machine's architecture is called there.
const ARCHITECTURE: &str = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };

/// A layer as a tar archive in a file, the lowest first.
#[derive(Debug)]
pub(super) struct LayerFile {
    path: PathBuf,
    /// SHA-256 of the archive, in hexadecimal.
    digest: String,
}

impl LayerFile {
    /// Writes a layer's archive.
    ///
    /// # Errors
    /// When a file cannot be read or written.
    pub(super) fn write(layer: &Bundle, path: PathBuf) -> Result<Self, Failure> {
        let named = |error: io::Error| Failure::from(error).while_doing(&path.display().to_string());
        let mut both = Digested { file: File::create_new(&path).map_err(named)?, digest: Sha256::new() };
        layer.write_tar(&mut both)?;
        let digest = both.digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { path, digest })
    }

    fn inside(&self) -> String {
        format!("{}/layer.tar", self.digest)
    }
}

/// What is written is digested on its way.
struct Digested {
    file: File,
    digest: Sha256,
}

impl Write for Digested {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.digest.update(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Writes the archive of an image of these layers. Layers that are alike stand in it once.
///
/// # Errors
/// When a file cannot be read, or the archive cannot be written.
pub(super) fn write(reference: &str, layers: &[LayerFile], writer: &mut dyn Write) -> Result<(), Failure> {
    let mut archive = tar::Builder::new(writer);
    let configuration = configuration(layers).to_string();
    let name = format!("{}.json", hex(configuration.as_bytes()));
    append(&mut archive, &name, configuration.as_bytes(), configuration.len() as u64)?;
    let mut written = Vec::new();
    for layer in layers {
        if !written.contains(&&layer.digest) {
            let file = open(&layer.path)?;
            let length = file.metadata()?.len();
            append(&mut archive, &layer.inside(), file, length)?;
            written.push(&layer.digest);
        }
    }
    let manifest = manifest(reference, &name, layers).to_string();
    append(&mut archive, "manifest.json", manifest.as_bytes(), manifest.len() as u64)?;
    Ok(archive.finish()?)
}

fn open(path: &Path) -> Result<File, Failure> {
    File::open(path).map_err(|error| Failure::from(error).while_doing(&path.display().to_string()))
}

fn append(
    archive: &mut tar::Builder<&mut dyn Write>,
    name: &str,
    content: impl io::Read,
    length: u64,
) -> Result<(), Failure> {
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o644);
    header.set_size(length);
    Ok(archive.append_data(&mut header, name, content)?)
}

fn configuration(layers: &[LayerFile]) -> Value {
    let digests: Vec<String> = layers.iter().map(|layer| format!("sha256:{}", layer.digest)).collect();
    json!({
        "architecture": ARCHITECTURE,
        "os": "linux",
        "config": {},
        "rootfs": { "type": "layers", "diff_ids": digests },
    })
}

fn manifest(reference: &str, configuration: &str, layers: &[LayerFile]) -> Value {
    let files: Vec<String> = layers.iter().map(LayerFile::inside).collect();
    json!([{ "Config": configuration, "RepoTags": [reference], "Layers": files }])
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::launch::bundle::{Content, Item};

    #[test]
    fn an_image_names_each_layer_by_its_digest_and_holds_equal_ones_once() {
        let folder = tempfile::tempdir().unwrap();
        let layer = |text: &str, name: &str| {
            let mut bundle = Bundle::default();
            bundle.add(Item { path: "/file".into(), mode: 0o644, content: Content::Bytes(text.as_bytes().to_vec()) });
            LayerFile::write(&bundle, folder.path().join(name)).unwrap()
        };
        let layers = [layer("one", "0"), layer("two", "1"), layer("one", "2")];
        let tar = std::fs::read(folder.path().join("1")).unwrap();
        assert_eq!(layers[1].digest, hex(&tar));
        let mut archive = Vec::new();
        write("plimsoll:x", &layers, &mut archive).unwrap();
        let mut archive = tar::Archive::new(archive.as_slice());
        let names: Vec<String> =
            archive.entries().unwrap().map(|entry| entry.unwrap().path().unwrap().display().to_string()).collect();
        let configuration = configuration(&layers);
        assert_eq!(
            names,
            [
                format!("{}.json", hex(configuration.to_string().as_bytes())),
                layers[0].inside(),
                layers[1].inside(),
                "manifest.json".to_owned()
            ]
        );
        assert_eq!(configuration["rootfs"]["diff_ids"][2], configuration["rootfs"]["diff_ids"][0]);
        assert_eq!(manifest("plimsoll:x", "c.json", &layers)[0]["Layers"].as_array().unwrap().len(), 3);
    }
}
