//! How many threads a call may use.

use std::env;
use std::sync::LazyLock;
use std::thread::available_parallelism;

/// The threads that work is shared out among: as many as Polars has.
pub(super) static THREADS: LazyLock<usize> = LazyLock::new(|| {
    let told = env::var("POLARS_MAX_THREADS").ok().and_then(|n| n.parse().ok());
    told.filter(|&n| n > 0).unwrap_or_else(|| available_parallelism().map_or(1, usize::from))
});
