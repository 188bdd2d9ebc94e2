//! The tables of a run file. docs/schema.md says the same for people; a test holds the two together.

use std::path::Path;

use rusqlite::Connection;

use crate::sample::{Cause, Phase, StopReason};

/// Raised whenever a table changes its meaning; stored as SQLite's `user_version`.
pub(super) const SCHEMA_VERSION: i64 = 1;

pub(super) const TABLES: &str = "
CREATE TABLE run (
    id               TEXT NOT NULL,            -- id of the run
    started          TEXT NOT NULL,            -- RFC 3339, UTC
    plimsoll         TEXT NOT NULL,            -- version of the program that measured
    blocks_finished  INTEGER NOT NULL DEFAULT 0,
    stopped_because  TEXT                      -- blocks, precision, time, interrupted, failed; NULL if it was killed
);
CREATE TABLE plan (
    json             TEXT NOT NULL             -- the plan as it was checked and sized
);
CREATE TABLE host (
    name             TEXT PRIMARY KEY,         -- dotted, such as cpu.model
    value            TEXT NOT NULL
);
CREATE TABLE launches (
    id               INTEGER PRIMARY KEY,      -- number of the launch in the run, from 1
    block            INTEGER NOT NULL,         -- from 1
    grp              INTEGER NOT NULL,         -- group within the block, from 0
    environment      INTEGER NOT NULL,         -- position in the plan; native is 0
    replica          INTEGER NOT NULL,         -- 1, or 2 for the second native
    position         INTEGER NOT NULL,         -- in the block's random launch order, from 0
    requested_at     REAL NOT NULL,            -- seconds since the run's start
    ready_seconds    REAL NOT NULL,            -- from the request to the agent's first answer
    profile          TEXT NOT NULL             -- JSON: labels, asked, got, mismatches
);
CREATE TABLE slices (
    id               INTEGER PRIMARY KEY,      -- number of the slice in the run, from 1
    launch           INTEGER NOT NULL REFERENCES launches (id),
    workload         TEXT NOT NULL,            -- family.name
    point            TEXT,                     -- JSON: point of a sweep
    phase            TEXT NOT NULL,            -- warm-up or measured
    visit            INTEGER NOT NULL,         -- which visit of the workload to all arms, from 0
    position         INTEGER NOT NULL,         -- in the visit's random order, from 0
    started_at       REAL NOT NULL,            -- seconds since the run's start
    work             REAL NOT NULL,            -- in the workload's unit of work
    seconds_inside   REAL NOT NULL,            -- timed region, by the agent's clock
    seconds_outside  REAL NOT NULL,            -- request to reply, by the host's clock
    spoiled          TEXT                      -- host-wide cause that spoils the slice
);
CREATE TABLE histograms (
    slice            INTEGER NOT NULL REFERENCES slices (id),
    name             TEXT NOT NULL,            -- which latency
    v2               BLOB NOT NULL             -- HdrHistogram V2, values in nanoseconds
);
CREATE TABLE evidence (
    scope            TEXT NOT NULL,            -- what it belongs to: slice
    scope_id         INTEGER NOT NULL,         -- id in that table
    side             TEXT NOT NULL,            -- inside or host
    source           TEXT NOT NULL,            -- where it was read
    name             TEXT NOT NULL,
    unit             TEXT NOT NULL,
    value            REAL NOT NULL             -- the change over the scope
);
CREATE TABLE mishaps (
    block            INTEGER NOT NULL,         -- from 1; 0 before the first
    environment      INTEGER,                  -- position in the plan; NULL for the run as a whole
    replica          INTEGER,
    workload         TEXT,
    point            TEXT,                     -- JSON: point of a sweep
    cause            TEXT NOT NULL,
    message          TEXT NOT NULL,
    at               REAL NOT NULL             -- seconds since the run's start
);
";

pub(super) fn create(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    // The kernel keeps what a killed process wrote; the store itself flushes once per block. Flushing every slice would
    // measure our own record on the disk under test.
    connection.pragma_update(None, "synchronous", "OFF")?;
    connection.pragma_update(None, "user_version", SCHEMA_VERSION)?;
    connection.execute_batch(&format!("BEGIN; {TABLES} COMMIT;"))?;
    Ok(connection)
}

pub(super) fn phase_name(phase: Phase) -> &'static str {
    match phase {
        Phase::WarmUp => "warm-up",
        Phase::Measured => "measured",
    }
}

pub(super) fn phase(name: &str) -> Option<Phase> {
    [Phase::WarmUp, Phase::Measured].into_iter().find(|phase| phase_name(*phase) == name)
}

pub(super) fn stop_reason(name: &str) -> Option<StopReason> {
    use StopReason::{Blocks, Failed, Interrupted, Precision, Time};
    [Blocks, Precision, Time, Interrupted, Failed].into_iter().find(|reason| reason.name() == name)
}

pub(super) fn cause(name: &str) -> Option<Cause> {
    Cause::ALL.into_iter().find(|cause| cause.name() == name)
}
