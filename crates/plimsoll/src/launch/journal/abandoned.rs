//! Journals whose owner is gone: what a killed run left behind.

use std::fs::OpenOptions;
use std::path::Path;

use super::owner::Owner;
use super::{Entry, Journal, Line, Resource, is_ours_alone};
use crate::sample::Failure;

/// The journal of a run that was killed.
#[derive(Debug)]
pub struct AbandonedJournal {
    run: String,
    restarted: bool,
    /// Or why it cannot be read; it then stands in nobody else's way.
    journal: Result<Journal, Failure>,
}

impl Journal {
    /// Journals in this directory whose owner is gone, by name of the run. A directory that is not there holds none.
    ///
    /// # Errors
    /// When the directory cannot be read or is not ours alone. A journal that makes no sense says so when it is undone.
    pub fn abandoned(directory: &Path) -> Result<Vec<AbandonedJournal>, Failure> {
        let entries = match is_ours_alone(directory).and_then(|()| std::fs::read_dir(directory)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Failure::from(error).while_doing(&directory.display().to_string())),
        };
        let mut paths = entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>()?;
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "journal"));
        paths.sort();
        Ok(paths.iter().filter_map(|path| AbandonedJournal::open(path)).collect())
    }
}

impl AbandonedJournal {
    /// `None` where the owner lives, or its run ended by itself a moment ago.
    fn open(path: &Path) -> Option<Self> {
        match read(path).transpose()? {
            Ok((journal, restarted)) => Some(Self { run: journal.shared.run.clone(), restarted, journal: Ok(journal) }),
            Err(failure) => {
                let run = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
                let failure = failure.while_doing(&path.display().to_string());
                Some(Self { run, restarted: false, journal: Err(failure) })
            }
        }
    }

    /// Name of the run.
    #[must_use]
    pub fn run(&self) -> &str {
        &self.run
    }

    /// What it left behind, in the order in which [`AbandonedJournal::undo_all`] undoes it.
    #[must_use]
    pub fn resources(&self) -> Vec<Resource> {
        let mut left = self.journal.as_ref().map(Journal::left).unwrap_or_default();
        left.reverse();
        left.retain(|resource| !self.restarted || resource.survives_a_restart());
        left
    }

    /// Undoes all of it, newest first, and removes the journal if all went well.
    ///
    /// # Errors
    /// Every failure, joined; what could not be undone stays noted.
    pub fn undo_all(&self) -> Result<(), Failure> {
        let journal = self.journal.as_ref().map_err(Failure::clone)?;
        if self.restarted {
            let gone = |(_, resource): &(Entry, Resource)| !resource.survives_a_restart();
            let gone: Vec<Entry> = journal.state().left.iter().filter(|one| gone(one)).map(|one| one.0).collect();
            gone.into_iter().for_each(|entry| journal.forget(entry));
        }
        journal.undo_all()
    }
}

/// The journal, and whether the machine was restarted since; `None` where it is nobody's to undo.
fn read(path: &Path) -> Result<Option<(Journal, bool)>, Failure> {
    let bytes = match std::fs::read(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        bytes => bytes?,
    };
    let (run, owner, left) = parse(&bytes)?;
    if owner.lives() {
        return Ok(None);
    }
    let file = OpenOptions::new().append(true).open(path)?;
    let next = left.iter().map(|(entry, _)| entry.0 + 1).max().unwrap_or(1);
    Ok(Some((Journal::over(run, path.to_owned(), file, next, left), !owner.is_of_this_boot())))
}

type Parsed = (String, Owner, Vec<(Entry, Resource)>);

/// The last line may be cut short: its owner was killed while writing, before anything was made.
fn parse(bytes: &[u8]) -> Result<Parsed, Failure> {
    let end = bytes.iter().rposition(|byte| *byte == b'\n').unwrap_or(0);
    let whole = std::str::from_utf8(&bytes[..end])
        .map_err(|_| Failure::launch("it holds bytes that are no text; remove the file by hand"))?;
    let mut owner = None;
    let mut left: Vec<(Entry, Resource)> = Vec::new();
    for (at, line) in whole.lines().enumerate() {
        let line = serde_json::from_str(line)
            .map_err(|_| Failure::launch(format!("line {} is not of a journal; remove the file by hand", at + 1)))?;
        match line {
            Line::Owner { run, owner: by } => owner = Some((run, by)),
            Line::Made { made, resource } => left.push((Entry(made), resource)),
            Line::Undone { undone } => left.retain(|(entry, _)| entry.0 != undone),
        }
    }
    let (run, owner) =
        owner.ok_or_else(|| Failure::launch("the journal does not name its owner; remove the file by hand"))?;
    Ok((run, owner, left))
}
