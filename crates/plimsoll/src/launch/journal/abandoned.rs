//! Journals whose owner is gone: what a killed run left behind.

use std::fs::OpenOptions;
use std::path::Path;

use super::owner::Owner;
use super::{Entry, Journal, Line, Resource, is_ours_alone};
use crate::sample::Failure;

/// The journal of a run that was killed.
#[derive(Debug)]
pub struct AbandonedJournal {
    journal: Journal,
    restarted: bool,
    /// Why it cannot be read, if it cannot; it then stands in nobody else's way.
    broken: Option<Failure>,
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
        let opened = paths.iter().map(|path| {
            AbandonedJournal::open(path).map_err(|failure| failure.while_doing(&path.display().to_string()))
        });
        opened.filter_map(Result::transpose).collect()
    }
}

impl AbandonedJournal {
    /// `None` where the owner lives, or its run ended by itself a moment ago.
    fn open(path: &Path) -> Result<Option<Self>, Failure> {
        let text = match std::fs::read_to_string(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            text => text?,
        };
        let file = OpenOptions::new().append(true).open(path)?;
        let (run, owner, left) = match parse(&text) {
            Ok(parsed) => parsed,
            Err(failure) => {
                let run = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
                let broken = Some(failure.while_doing(&path.display().to_string()));
                let journal = Journal::over(run, path.to_owned(), file, 1, Vec::new());
                return Ok(Some(Self { journal, restarted: false, broken }));
            }
        };
        if owner.lives() {
            return Ok(None);
        }
        let next = left.iter().map(|(entry, _)| entry.0 + 1).max().unwrap_or(1);
        let restarted = !owner.is_of_this_boot();
        Ok(Some(Self { journal: Journal::over(run, path.to_owned(), file, next, left), restarted, broken: None }))
    }

    /// Name of the run.
    #[must_use]
    pub fn run(&self) -> &str {
        &self.journal.shared.run
    }

    /// What it left behind, in the order in which [`AbandonedJournal::undo_all`] undoes it.
    #[must_use]
    pub fn resources(&self) -> Vec<Resource> {
        let mut left = self.journal.left();
        left.reverse();
        left.retain(|resource| !self.restarted || resource.survives_a_restart());
        left
    }

    /// Undoes all of it, newest first, and removes the journal if all went well.
    ///
    /// # Errors
    /// Every failure, joined; what could not be undone stays noted.
    pub fn undo_all(&self) -> Result<(), Failure> {
        if let Some(failure) = &self.broken {
            return Err(failure.clone());
        }
        if self.restarted {
            let gone = |(_, resource): &(Entry, Resource)| !resource.survives_a_restart();
            let gone: Vec<Entry> = self.journal.state().left.iter().filter(|one| gone(one)).map(|one| one.0).collect();
            gone.into_iter().for_each(|entry| self.journal.forget(entry));
        }
        self.journal.undo_all()
    }
}

type Parsed = (String, Owner, Vec<(Entry, Resource)>);

/// The last line may be cut short: its owner was killed while writing, before anything was made.
fn parse(text: &str) -> Result<Parsed, Failure> {
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
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
