use std::process::{Command, Stdio};

use super::*;

const RUN: &str = "plimsoll-test-journal";

fn in_folder(test: impl FnOnce(&Path, &Journal)) {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::start(folder.path(), RUN).unwrap();
    test(folder.path(), &journal);
}

/// Rewrites the owner's start time, as if the process that kept the journal had been killed.
fn abandon(folder: &Path) {
    let path = folder.join(format!("{RUN}.journal"));
    let text = std::fs::read_to_string(&path).unwrap();
    let ticks = start_ticks(std::process::id().cast_signed()).unwrap();
    std::fs::write(&path, text.replacen(&ticks.to_string(), "1", 1)).unwrap();
}

/// Rewrites the owner's boot, as if the machine had been restarted.
fn restart(folder: &Path) {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let path = folder.join(format!("{RUN}.journal"));
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace(boot.trim(), "another-boot")).unwrap();
}

fn directory(folder: &Path, name: &str) -> Resource {
    let path = folder.join(format!("{RUN}-{name}"));
    std::fs::create_dir(&path).unwrap();
    std::fs::write(path.join("file"), "content").unwrap();
    Resource::Directory { path }
}

#[test]
fn everything_left_is_undone_newest_first_and_the_journal_removed() {
    in_folder(|folder, journal| {
        let outer = directory(folder, "outer");
        let log = folder.join("order");
        let say = |word: &str| Resource::Restore {
            argv: ["sh", "-c", &format!("echo {word} >> {}", log.display())].map(str::to_owned).to_vec(),
            what: word.to_owned(),
        };
        journal.note(outer).unwrap();
        journal.note(say("first")).unwrap();
        journal.note(say("second")).unwrap();
        journal.undo_all().unwrap();
        assert_eq!(std::fs::read_to_string(&log).unwrap(), "second\nfirst\n");
        assert!(!folder.join(format!("{RUN}-outer")).exists());
        assert!(!folder.join(format!("{RUN}.journal")).exists());
    });
}

#[test]
fn an_entry_that_cannot_be_undone_stays_noted() {
    in_folder(|folder, journal| {
        let entry =
            journal.note(Resource::Restore { argv: vec!["false".to_owned()], what: "nothing".to_owned() }).unwrap();
        assert!(journal.undo(entry).is_err());
        assert!(journal.undo_all().unwrap_err().message.contains("cannot undo nothing"));
        assert_eq!(journal.left().len(), 1);
        assert!(folder.join(format!("{RUN}.journal")).exists());
    });
}

#[test]
fn undoing_twice_does_no_harm() {
    in_folder(|folder, journal| {
        let entry = journal.note(directory(folder, "twice")).unwrap();
        journal.undo(entry).unwrap();
        journal.undo(entry).unwrap();
        assert_eq!(journal.left(), []);
    });
}

#[test]
fn what_does_not_carry_the_runs_name_is_left_alone() {
    in_folder(|folder, journal| {
        let bystander = folder.join("somebody-elses");
        std::fs::create_dir(&bystander).unwrap();
        let entry = journal.note(Resource::Directory { path: bystander.clone() }).unwrap();
        assert!(journal.undo(entry).unwrap_err().message.contains("does not carry the name"));
        let path = folder.join(format!("{RUN}/../somebody-elses"));
        let entry = journal.note(Resource::Directory { path }).unwrap();
        assert!(journal.undo(entry).is_err());
        assert!(bystander.exists());
    });
}

#[test]
fn a_process_whose_number_was_reused_is_left_alone() {
    in_folder(|_, journal| {
        let mut sleeper = Command::new("sleep").arg("1000").stdout(Stdio::null()).spawn().unwrap();
        let pid = sleeper.id().cast_signed();
        let ticks = start_ticks(pid).unwrap();
        let other = journal.note(Resource::Process { pid, start_ticks: ticks + 1 }).unwrap();
        journal.undo(other).unwrap();
        assert_eq!(sleeper.try_wait().unwrap(), None, "a bystander was killed");
        let same = journal.note(Resource::Process { pid, start_ticks: ticks }).unwrap();
        journal.undo(same).unwrap();
        assert_eq!(start_ticks(pid), None);
        sleeper.wait().unwrap();
    });
}

#[test]
fn only_the_journals_of_dead_owners_are_abandoned() {
    in_folder(|folder, journal| {
        journal.note(directory(folder, "left")).unwrap();
        let undone = journal.note(directory(folder, "undone")).unwrap();
        journal.undo(undone).unwrap();
        assert!(Journal::abandoned(folder).unwrap().is_empty(), "its owner lives");
        abandon(folder);
        let abandoned = Journal::abandoned(folder).unwrap();
        assert_eq!(abandoned.len(), 1);
        assert_eq!(abandoned[0].run(), RUN);
        assert_eq!(abandoned[0].resources(), [Resource::Directory { path: folder.join(format!("{RUN}-left")) }]);
        abandoned[0].undo_all().unwrap();
        assert!(!folder.join(format!("{RUN}-left")).exists());
        assert!(Journal::abandoned(folder).unwrap().is_empty());
    });
}

#[test]
fn a_line_cut_short_by_a_kill_is_no_entry() {
    in_folder(|folder, journal| {
        journal.note(directory(folder, "left")).unwrap();
        abandon(folder);
        let path = folder.join(format!("{RUN}.journal"));
        let mut file = OpenOptions::new().append(true).open(path).unwrap();
        file.write_all(b"{\"made\":7,\"resource\":{\"kind\":\"dir").unwrap();
        assert_eq!(Journal::abandoned(folder).unwrap()[0].resources().len(), 1);
    });
}

#[test]
fn after_a_restart_only_what_survives_it_is_undone() {
    in_folder(|folder, journal| {
        journal.note(directory(folder, "left")).unwrap();
        let pid = std::process::id().cast_signed();
        journal.note(Resource::Process { pid, start_ticks: start_ticks(pid).unwrap() }).unwrap();
        restart(folder);
        let abandoned = Journal::abandoned(folder).unwrap();
        assert_eq!(abandoned[0].resources().len(), 1, "the process is not of this boot");
        abandoned[0].undo_all().unwrap();
    });
}

#[test]
fn a_filesystem_survives_a_restart_and_its_mount_does_not() {
    in_folder(|folder, journal| {
        let device = folder.join("no-device");
        let filesystem = Resource::Filesystem { device, uuid: "6f1a2c5e-0d3b-4a7e-9b61-2f4d8c7e5a90".to_owned() };
        journal.note(filesystem.clone()).unwrap();
        journal.note(Resource::Mount { path: folder.join(format!("{RUN}-device")) }).unwrap();
        restart(folder);
        let abandoned = Journal::abandoned(folder).unwrap();
        assert_eq!(abandoned[0].resources(), [filesystem]);
        let said = abandoned[0].undo_all().unwrap_err().message;
        assert!(said.contains("a device that is not here any more"), "{said}");
        assert!(Journal::abandoned(folder).unwrap().is_empty(), "a device that is gone stands in nobody's way");
    });
}

#[test]
fn a_journal_that_makes_no_sense_stands_in_nobodys_way() {
    in_folder(|folder, journal| {
        journal.note(directory(folder, "left")).unwrap();
        abandon(folder);
        std::fs::write(folder.join("plimsoll-broken.journal"), "what?\n").unwrap();
        let abandoned = Journal::abandoned(folder).unwrap();
        let undone: Vec<(&str, bool)> =
            abandoned.iter().map(|journal| (journal.run(), journal.undo_all().is_ok())).collect();
        assert_eq!(undone, [("plimsoll-broken", false), (RUN, true)]);
        assert!(folder.join("plimsoll-broken.journal").exists());
    });
}

#[test]
fn a_journal_that_cannot_be_read_stands_in_nobodys_way() {
    in_folder(|folder, journal| {
        journal.note(directory(folder, "left")).unwrap();
        abandon(folder);
        std::fs::write(folder.join("plimsoll-bytes.journal"), b"\xff\xfe\n").unwrap();
        std::fs::create_dir(folder.join("plimsoll-folder.journal")).unwrap();
        let abandoned = Journal::abandoned(folder).unwrap();
        let undone: Vec<(&str, bool)> =
            abandoned.iter().map(|journal| (journal.run(), journal.undo_all().is_ok())).collect();
        assert_eq!(undone, [("plimsoll-bytes", false), ("plimsoll-folder", false), (RUN, true)]);
    });
}

#[test]
fn a_character_cut_in_two_by_a_kill_is_no_entry() {
    in_folder(|folder, journal| {
        journal.note(directory(folder, "left")).unwrap();
        abandon(folder);
        let path = folder.join(format!("{RUN}.journal"));
        OpenOptions::new().append(true).open(path).unwrap().write_all(b"{\"made\":7,\"resource\":\xc3").unwrap();
        assert_eq!(Journal::abandoned(folder).unwrap()[0].resources().len(), 1);
    });
}

#[test]
fn journals_that_others_could_have_written_are_not_carried_out() {
    use std::os::unix::fs::PermissionsExt;
    in_folder(|folder, _| {
        abandon(folder);
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o777)).unwrap();
        assert!(Journal::abandoned(folder).unwrap_err().message.contains("not ours alone"));
        assert!(Journal::start(folder, "plimsoll-another").is_err());
    });
}
