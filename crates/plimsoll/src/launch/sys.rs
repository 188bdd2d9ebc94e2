//! The unsafe corner of the program: what runs between fork and exec.
