//! Installing engines and fetching kernels, through the system's package manager. `run` never needs it.

pub mod kernel;
