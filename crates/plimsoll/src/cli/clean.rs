//! `plimsoll clean`: removes whatever a killed run left behind, by its journal, and touches nothing else.

use anyhow::Result;
use clap::Args;
use plimsoll::launch::journal::Journal;
use plimsoll::setup;

use super::exit;

#[derive(Debug, Args)]
pub(super) struct CleanArguments {
    /// Say what would be removed, and remove nothing
    #[arg(long)]
    dry_run: bool,
}

pub(super) fn clean(arguments: &CleanArguments) -> Result<u8> {
    let abandoned = Journal::abandoned(&Journal::directory())?;
    if abandoned.is_empty() {
        println!("nothing to clean: no killed run left anything behind");
    }
    if !arguments.dry_run
        && let Some(path) = setup::remove_leftovers()?
    {
        println!("removed {}, left by a setup that was killed", path.display());
    }
    let mut code = exit::DONE;
    for journal in abandoned {
        println!("{}:", journal.run());
        for resource in journal.resources() {
            println!("  {resource}");
        }
        if arguments.dry_run {
            continue;
        }
        match journal.undo_all() {
            Ok(()) => println!("  removed"),
            Err(failure) => {
                println!("  not all of it could be removed: {failure}");
                code = exit::MISHAPS;
            }
        }
    }
    Ok(code)
}
