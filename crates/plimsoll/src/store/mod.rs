//! The run file: one SQLite database per run, raw records only. The only SQL of the program; no derived number.
//!
//! ```text
//! create -> hear(event) for every event -> the file          load -> RunRecord
//! ```
//! Every event is one transaction. The rollback journal makes a file that was cut off by kill -9 readable: what was
//! committed is there. The file is flushed to the disk after each block; a power failure in the middle of one is the
//! only thing that can harm it.

mod load;
mod schema;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, params};

pub use load::load;

use crate::rounds::{Event, Listener};
use crate::sample::{
    Cause, Evidence, Failure, LaunchRecord, MishapRecord, PlanRecord, RunInfo, SliceBundle, StopReason,
};

/// Why a run file could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// SQLite refused.
    #[error("run file {path}: {source}")]
    Sql {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// The file is there and is no run file of this schema.
    #[error("{path} is no run file that this version reads: {why}")]
    NotARunFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The file is already there.
    #[error("{0} exists; name another file with -o")]
    Exists(PathBuf),
}

/// A run file that is being written.
#[derive(Debug)]
pub struct Store {
    connection: Connection,
    path: PathBuf,
}

impl Store {
    /// Makes the file with the run, its plan and the host; refuses to overwrite.
    ///
    /// # Errors
    /// [`StoreError`] when the file exists or cannot be made.
    pub fn create(
        path: &Path,
        run: &RunInfo,
        plan: &PlanRecord,
        host: &BTreeMap<String, String>,
    ) -> Result<Self, StoreError> {
        File::create_new(path).map_err(|error| match error.kind() {
            std::io::ErrorKind::AlreadyExists => StoreError::Exists(path.to_owned()),
            _ => StoreError::NotARunFile { path: path.to_owned(), why: format!("it cannot be made: {error}") },
        })?;
        let store = Self { connection: schema::create(path).map_err(sql(path))?, path: path.to_owned() };
        store.begin(run, plan, host).map_err(sql(path))?;
        Ok(store)
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn begin(&self, run: &RunInfo, plan: &PlanRecord, host: &BTreeMap<String, String>) -> rusqlite::Result<()> {
        let transaction = self.connection.unchecked_transaction()?;
        transaction.execute(
            "INSERT INTO run (id, started, plimsoll) VALUES (?1, ?2, ?3)",
            params![run.id, run.started, run.plimsoll],
        )?;
        transaction.execute("INSERT INTO plan (json) VALUES (?1)", params![json(plan)?])?;
        for (name, value) in host {
            transaction.execute("INSERT INTO host (name, value) VALUES (?1, ?2)", params![name, value])?;
        }
        transaction.commit()
    }

    fn record(&mut self, event: &Event) -> rusqlite::Result<()> {
        match event {
            Event::Launched(launch) => self.launch(launch),
            Event::Sliced(bundle) => self.slice(bundle),
            Event::Mishap(mishap) => self.mishap(mishap),
            Event::BlockFinished { block } => self.block_finished(*block),
            Event::Stopped { reason } => self.stopped(*reason),
            Event::BlockStarted { .. } | Event::Launching { .. } | Event::WorkloadStarted { .. } => Ok(()),
        }
    }

    fn launch(&mut self, launch: &LaunchRecord) -> rusqlite::Result<()> {
        self.connection
            .prepare_cached(
                "INSERT INTO launches (id, block, grp, environment, replica, position, requested_at, ready_seconds, profile)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            )?
            .execute(params![
                launch.id as i64,
                launch.block,
                launch.group,
                launch.arm.environment,
                launch.arm.replica,
                launch.position,
                launch.requested_at,
                launch.ready_seconds,
                json(&launch.profile)?,
            ])
            .map(|_| ())
    }

    fn slice(&mut self, bundle: &SliceBundle) -> rusqlite::Result<()> {
        let transaction = self.connection.transaction()?;
        let slice = &bundle.slice;
        transaction
            .prepare_cached(
                "INSERT INTO slices (id, launch, workload, point, phase, visit, position, started_at, work,
                                     seconds_inside, seconds_outside, spoiled)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
            )?
            .execute(params![
                slice.id as i64,
                slice.launch as i64,
                slice.workload,
                slice.point,
                schema::phase_name(slice.phase),
                slice.visit,
                slice.position,
                slice.started_at,
                slice.work,
                slice.seconds_inside,
                slice.seconds_outside,
                slice.spoiled,
            ])?;
        for histogram in &bundle.histograms {
            transaction
                .prepare_cached("INSERT INTO histograms (slice, name, v2) VALUES (?1, ?2, ?3)")?
                .execute(params![slice.id as i64, histogram.name, histogram.v2])?;
        }
        for (side, rows) in [("inside", &bundle.evidence_inside), ("host", &bundle.evidence_host)] {
            evidence(&transaction, slice.id, side, rows)?;
        }
        transaction.commit()
    }

    fn mishap(&mut self, mishap: &MishapRecord) -> rusqlite::Result<()> {
        self.connection
            .execute(
                "INSERT INTO mishaps (block, environment, replica, workload, point, cause, message, at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                params![
                    mishap.block,
                    mishap.arm.as_ref().map(|arm| arm.environment),
                    mishap.arm.as_ref().map(|arm| arm.replica),
                    mishap.workload,
                    mishap.point,
                    mishap.cause.name(),
                    mishap.message,
                    mishap.at,
                ],
            )
            .map(|_| ())
    }

    fn block_finished(&mut self, block: u32) -> rusqlite::Result<()> {
        self.connection.execute("UPDATE run SET blocks_finished = ?1", params![block])?;
        self.flush();
        Ok(())
    }

    fn stopped(&mut self, reason: StopReason) -> rusqlite::Result<()> {
        self.connection.execute("UPDATE run SET stopped_because = ?1", params![reason.name()])?;
        self.flush();
        Ok(())
    }

    /// To the disk; a file system that cannot is no reason to lose the run.
    fn flush(&self) {
        let _ = File::open(&self.path).and_then(|file| file.sync_data());
    }
}

impl Listener for Store {
    fn hear(&mut self, event: &Event) -> Result<(), Failure> {
        self.record(event).map_err(|error| {
            let cause = if disk_is_full(&error) { Cause::DiskFull } else { Cause::Workload };
            Failure::new(cause, format!("run file {}: {error}", self.path.display()))
        })
    }
}

fn evidence(connection: &Connection, slice: u64, side: &str, rows: &[Evidence]) -> rusqlite::Result<()> {
    for row in rows {
        connection
            .prepare_cached(
                "INSERT INTO evidence (scope, scope_id, side, source, name, unit, value)
                 VALUES ('slice', ?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute(params![slice as i64, side, row.source, row.name, row.unit, row.value])?;
    }
    Ok(())
}

fn disk_is_full(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull)
}

fn sql(path: &Path) -> impl FnOnce(rusqlite::Error) -> StoreError + '_ {
    move |source| StoreError::Sql { path: path.to_owned(), source }
}

fn json<T: serde::Serialize>(value: &T) -> rusqlite::Result<String> {
    serde_json::to_string(value).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))
}

#[cfg(test)]
mod tests;
