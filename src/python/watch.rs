//! Runs work on the process's thread pool while the calling thread reports progress and checks for
//! Ctrl-C.

use crate::engine::pool::{Monitor, pool};
use crate::error::Error;
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::time::Duration;

/// The interval at which the calling thread reports progress and checks for Ctrl-C.
const LOOK: Duration = Duration::from_millis(100);

/// Runs `work` on `threads` threads with the GIL released. Ctrl-C, or an exception in `progress`,
/// cancels it. `progress` is called with the count in `monitor`.
pub(super) fn watched<T: Send>(
    py: Python,
    threads: usize,
    progress: Option<&Bound<PyAny>>,
    monitor: &Monitor,
    work: impl FnOnce() -> Result<T, Error> + Send,
) -> PyResult<T> {
    let pool = pool(threads);
    let pool = pool.map_err(|e| PyValueError::new_err(format!("threads={threads}: {e}")))?;
    let mut interrupt = None;
    let progress: Option<Py<PyAny>> = progress.map(|callback| callback.clone().unbind());
    let result = py.detach(|| {
        std::thread::scope(|scope| {
            let (sender, receiver) = mpsc::channel();
            let worker = scope.spawn(|| {
                let result = pool.install(work);
                // Dropping the sender ends the loop below. A panic drops it, too.
                drop(sender);
                result
            });
            while receiver.recv_timeout(LOOK) == Err::<(), _>(mpsc::RecvTimeoutError::Timeout) {
                if interrupt.is_none() {
                    interrupt = look(monitor, progress.as_ref()).err();
                }
            }
            worker.join()
        })
    });
    if let Some(interrupt) = interrupt {
        return Err(interrupt);
    }
    if progress.is_some() && matches!(result, Ok(Ok(_))) {
        // The count of work that was shorter than a look, and of the last part of other work.
        py.detach(|| look(monitor, progress.as_ref()))?;
    }
    match result {
        Ok(result) => Ok(result?),
        Err(_) => Err(PyRuntimeError::new_err(
            "a worker thread failed: please report this with the call that caused it",
        )),
    }
}

/// Reports progress and checks for signals; cancels the work if either raises.
fn look(monitor: &Monitor, progress: Option<&Py<PyAny>>) -> PyResult<()> {
    let looked = Python::attach(|py| {
        py.check_signals()?;
        if let Some(callback) = progress {
            callback.call1(py, (monitor.done.load(Ordering::Relaxed),))?;
        }
        Ok(())
    });
    if looked.is_err() {
        monitor.cancel.store(true, Ordering::Relaxed);
    }
    looked
}
