//! Reading a run file back, also one of a run that was killed, on any machine.

use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::types::FromSqlError;
use rusqlite::{Connection, OpenFlags, Row};
use serde::de::DeserializeOwned;

use super::{StoreError, schema, sql};
use crate::sample::{
    Arm, Evidence, Histogram, LaunchRecord, MishapRecord, PlanRecord, RunInfo, RunRecord, SliceBundle, SliceRecord,
};

/// Loads everything that a run file holds.
///
/// # Errors
/// [`StoreError`] when the file is absent, is no run file, or is of another schema.
pub fn load(path: &Path) -> Result<RunRecord, StoreError> {
    let connection = open(path)?;
    let run = run(&connection).map_err(sql(path))?;
    let plan: PlanRecord =
        connection.query_row("SELECT json FROM plan", [], |row| json_column(row, 0)).map_err(sql(path))?;
    Ok(RunRecord {
        run,
        plan,
        host: host(&connection).map_err(sql(path))?,
        launches: launches(&connection).map_err(sql(path))?,
        slices: slices(&connection).map_err(sql(path))?,
        mishaps: mishaps(&connection).map_err(sql(path))?,
    })
}

/// Opens for writing if possible, because a run that was killed left a rollback journal that SQLite must play back.
fn open(path: &Path) -> Result<Connection, StoreError> {
    let refuse = |why: String| StoreError::NotARunFile { path: path.to_owned(), why };
    if !path.is_file() {
        return Err(refuse("there is no such file".to_owned()));
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)
        .or_else(|_| Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY))
        .map_err(sql(path))?;
    let version: i64 =
        connection.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(|error| refuse(error.to_string()))?;
    match version {
        schema::SCHEMA_VERSION => Ok(connection),
        0 => Err(refuse("it holds no run".to_owned())),
        other => Err(refuse(format!("its schema is {other}, this version reads {}", schema::SCHEMA_VERSION))),
    }
}

fn run(connection: &Connection) -> rusqlite::Result<RunInfo> {
    connection.query_row("SELECT id, started, plimsoll, stopped_because FROM run", [], |row| {
        let reason: Option<String> = row.get(3)?;
        Ok(RunInfo {
            id: row.get(0)?,
            started: row.get(1)?,
            plimsoll: row.get(2)?,
            stopped_because: reason.map(|name| known(schema::stop_reason(&name))).transpose()?,
        })
    })
}

fn host(connection: &Connection) -> rusqlite::Result<BTreeMap<String, String>> {
    let mut statement = connection.prepare("SELECT name, value FROM host")?;
    statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
}

fn launches(connection: &Connection) -> rusqlite::Result<Vec<LaunchRecord>> {
    let mut statement = connection.prepare(
        "SELECT id, block, grp, environment, replica, position, requested_at, ready_seconds, profile
         FROM launches ORDER BY id",
    )?;
    let rows = statement.query_map([], |row| {
        Ok(LaunchRecord {
            id: number(row, 0)?,
            block: row.get(1)?,
            group: row.get(2)?,
            arm: Arm { environment: row.get(3)?, replica: row.get(4)? },
            position: row.get(5)?,
            requested_at: row.get(6)?,
            ready_seconds: row.get(7)?,
            profile: json_column(row, 8)?,
        })
    })?;
    rows.collect()
}

fn slices(connection: &Connection) -> rusqlite::Result<Vec<SliceBundle>> {
    let mut statement = connection.prepare(
        "SELECT id, launch, workload, point, phase, visit, position, started_at, work, seconds_inside,
                seconds_outside, spoiled
         FROM slices ORDER BY id",
    )?;
    let rows = statement.query_map([], |row| Ok(bare(slice(row)?)))?;
    let mut bundles: Vec<SliceBundle> = rows.collect::<rusqlite::Result<_>>()?;
    histograms(connection, &mut bundles)?;
    evidence(connection, &mut bundles)?;
    Ok(bundles)
}

fn bare(slice: SliceRecord) -> SliceBundle {
    SliceBundle { slice, histograms: Vec::new(), evidence_inside: Vec::new(), evidence_host: Vec::new() }
}

fn slice(row: &Row<'_>) -> rusqlite::Result<SliceRecord> {
    let phase = row.get_ref(4)?.as_str()?;
    Ok(SliceRecord {
        id: number(row, 0)?,
        launch: number(row, 1)?,
        workload: row.get(2)?,
        point: row.get(3)?,
        phase: known(schema::phase(phase))?,
        visit: row.get(5)?,
        position: row.get(6)?,
        started_at: row.get(7)?,
        work: row.get(8)?,
        seconds_inside: row.get(9)?,
        seconds_outside: row.get(10)?,
        spoiled: row.get(11)?,
    })
}

/// Finds the slices that rows belong to. Rows are in the order of the slices wherever the file was written by us, so the
/// next one belongs to the same slice or to the one behind it.
struct Places {
    ids: Vec<u64>,
    last: usize,
}

impl Places {
    /// Of bundles in the order of their slices' numbers.
    fn of(bundles: &[SliceBundle]) -> Self {
        Self { ids: bundles.iter().map(|bundle| bundle.slice.id).collect(), last: 0 }
    }

    fn find(&mut self, id: u64) -> Option<usize> {
        let near = [self.last, self.last + 1].into_iter().find(|place| self.ids.get(*place) == Some(&id));
        self.last = near.or_else(|| self.ids.binary_search(&id).ok())?;
        Some(self.last)
    }
}

fn histograms(connection: &Connection, bundles: &mut [SliceBundle]) -> rusqlite::Result<()> {
    let mut places = Places::of(bundles);
    let mut statement = connection.prepare("SELECT slice, name, v2 FROM histograms ORDER BY rowid")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        if let Some(place) = places.find(number(row, 0)?) {
            bundles[place].histograms.push(Histogram { name: row.get(1)?, v2: row.get(2)? });
        }
    }
    Ok(())
}

fn evidence(connection: &Connection, bundles: &mut [SliceBundle]) -> rusqlite::Result<()> {
    let mut places = Places::of(bundles);
    let mut statement = connection.prepare(
        "SELECT scope_id, side, source, name, unit, value FROM evidence WHERE scope = 'slice' ORDER BY rowid",
    )?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let Some(place) = places.find(number(row, 0)?) else { continue };
        let is_host = row.get_ref(1)?.as_str()? == "host";
        // As many as the slice before has: growing step by step leaves most of the memory empty.
        let likely = place.checked_sub(1).map_or(0, |before| side(&mut bundles[before], is_host).len());
        let side = side(&mut bundles[place], is_host);
        if side.is_empty() {
            side.reserve_exact(likely);
        }
        side.push(Evidence { source: row.get(2)?, name: row.get(3)?, unit: row.get(4)?, value: row.get(5)? });
    }
    Ok(())
}

fn side(bundle: &mut SliceBundle, is_host: bool) -> &mut Vec<Evidence> {
    if is_host { &mut bundle.evidence_host } else { &mut bundle.evidence_inside }
}

fn mishaps(connection: &Connection) -> rusqlite::Result<Vec<MishapRecord>> {
    let mut statement = connection.prepare(
        "SELECT block, environment, replica, workload, point, cause, message, at FROM mishaps ORDER BY rowid",
    )?;
    let rows = statement.query_map([], |row| {
        let (environment, replica): (Option<u32>, Option<u32>) = (row.get(1)?, row.get(2)?);
        let cause: String = row.get(5)?;
        Ok(MishapRecord {
            block: row.get(0)?,
            arm: environment.zip(replica).map(|(environment, replica)| Arm { environment, replica }),
            workload: row.get(3)?,
            point: row.get(4)?,
            cause: known(schema::cause(&cause))?,
            message: row.get(6)?,
            at: row.get(7)?,
        })
    })?;
    rows.collect()
}

fn number(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    let value: i64 = row.get(column)?;
    u64::try_from(value).map_err(|_| FromSqlError::OutOfRange(value).into())
}

fn known<T>(value: Option<T>) -> rusqlite::Result<T> {
    value.ok_or_else(|| FromSqlError::InvalidType.into())
}

fn json_column<T: DeserializeOwned>(row: &Row<'_>, column: usize) -> rusqlite::Result<T> {
    let text: String = row.get(column)?;
    serde_json::from_str(&text).map_err(|error| FromSqlError::other(error).into())
}
