use std::collections::BTreeSet;
use std::process::{Command, Stdio};

use super::*;

fn sample() -> Bundle {
    let mut bundle = Bundle::default();
    bundle.add(Item { path: "/a/b/text".into(), mode: 0o640, content: Content::Bytes(b"hello".to_vec()) });
    bundle.add(Item { path: "/a/link".into(), mode: 0o777, content: Content::Link("b/text".into()) });
    bundle.add(Item { path: "/a/empty".into(), mode: 0o755, content: Content::Directory });
    bundle
}

fn check(folder: &Path) {
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(std::fs::read_to_string(folder.join("a/link")).unwrap(), "hello");
    assert_eq!(std::fs::read_link(folder.join("a/link")).unwrap(), Path::new("b/text"));
    assert_eq!(std::fs::metadata(folder.join("a/b/text")).unwrap().permissions().mode() & 0o7777, 0o640);
    assert!(folder.join("a/empty").is_dir());
}

#[test]
fn parents_come_before_children_and_a_path_stands_once() {
    let mut bundle = sample();
    bundle.add(Item { path: "a//b/../b/text".into(), mode: 0o600, content: Content::Bytes(b"again".to_vec()) });
    let paths: Vec<&str> = bundle.items().iter().map(|item| item.path.as_str()).collect();
    assert_eq!(paths, ["/a", "/a/b", "/a/b/text", "/a/link", "/a/empty", "/a/b/b", "/a/b/b/text"]);
    bundle.add(Item { path: "/a/b/text".into(), mode: 0o600, content: Content::Bytes(b"again".to_vec()) });
    assert_eq!(bundle.items().len(), 7);
    assert_eq!(bundle.items()[2].content, Content::Bytes(b"again".to_vec()));
}

#[test]
fn a_folder_holds_what_the_bundle_says() {
    let folder = tempfile::tempdir().unwrap();
    sample().write_folder(&folder.path().join("root")).unwrap();
    check(&folder.path().join("root"));
}

#[test]
fn tar_unpacks_what_the_bundle_says() {
    let folder = tempfile::tempdir().unwrap();
    let mut bytes = Vec::new();
    sample().write_tar(&mut bytes).unwrap();
    tar::Archive::new(bytes.as_slice()).unpack(folder.path()).unwrap();
    check(folder.path());
}

#[test]
fn cpio_unpacks_what_the_bundle_says() {
    let folder = tempfile::tempdir().unwrap();
    let archive = folder.path().join("archive");
    sample().write_newc(&mut std::fs::File::create(&archive).unwrap()).unwrap();
    let mut command = Command::new("cpio");
    let unpack = command.args(["-i", "--quiet"]).current_dir(folder.path());
    let unpack = unpack.stdin(std::fs::File::open(&archive).unwrap()).stderr(Stdio::inherit()).status();
    match unpack {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            crate::launch::testing::skip("cpio", "cpio is not installed");
        }
        status => {
            assert!(status.unwrap().success());
            check(folder.path());
        }
    }
}

#[test]
fn a_newc_archive_is_aligned_and_ends_with_its_trailer() {
    let mut bytes = Vec::new();
    sample().write_newc(&mut bytes).unwrap();
    assert_eq!(bytes.len() % 4, 0);
    let (mut at, mut names) = (0, Vec::new());
    while at < bytes.len() {
        let field = |number: usize| {
            let start = at + 6 + number * 8;
            usize::from_str_radix(std::str::from_utf8(&bytes[start..start + 8]).unwrap(), 16).unwrap()
        };
        assert_eq!(&bytes[at..at + 6], b"070701");
        let (length, name_length) = (field(6), field(11));
        names.push(String::from_utf8(bytes[at + 110..at + 110 + name_length - 1].to_vec()).unwrap());
        at = (at + 110 + name_length).next_multiple_of(4);
        at = (at + length).next_multiple_of(4);
    }
    assert_eq!(names, ["a", "a/b", "a/b/text", "a/link", "a/empty", "TRAILER!!!"]);
}

#[test]
fn a_dynamic_program_runs_from_its_bundle_alone() {
    let (program, root) = (Path::new("/bin/sh"), tempfile::tempdir().unwrap());
    let bundle = Bundle::of_program(program, "/program").unwrap();
    let paths: BTreeSet<&str> = bundle.items().iter().map(|item| item.path.as_str()).collect();
    if bundle.items().len() < 3 || !nix::unistd::geteuid().is_root() {
        crate::launch::testing::skip("root", "needs root and a dynamically linked /bin/sh");
        return;
    }
    assert!(paths.iter().any(|path| path.contains("libc.so")), "{paths:?}");
    bundle.write_folder(root.path()).unwrap();
    let output = Command::new("chroot").arg(root.path()).args(["/program", "-c", "echo alive"]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "alive\n", "{output:?}");
}

#[test]
fn a_script_is_refused_with_advice() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("script");
    std::fs::write(&script, "#!/bin/sh\n").unwrap();
    let failure = Bundle::of_program(&script, "/program").unwrap_err();
    assert!(failure.message.contains("not a script"), "{failure}");
}
