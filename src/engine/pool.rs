//! Threads: one pool a process, and workers that keep their scratch.
//!
//! The pool is made at the first call and kept; a call that asks for another number of threads, or
//! that runs in a forked child, gets a new one.  [`Workers`] are as many as the pool has threads.  Each
//! owns scratch that is made once and lives as long as the job: it is reused over items, blocks, strips
//! and pieces of a matrix.  Workers take items from one queue until it is empty.

use crate::error::{ErrorKind, Result};
use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuildError, ThreadPoolBuilder};
use std::process;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The process's pool, with the process that made it: the threads of a parent do not run in its child.
static POOL: Mutex<Option<(u32, Arc<ThreadPool>)>> = Mutex::new(None);

/// The pool of this process, of `threads` threads.
///
/// # Errors
/// The operating system's, where it starts no more threads.
pub fn pool(threads: usize) -> std::result::Result<Arc<ThreadPool>, ThreadPoolBuildError> {
    let mut kept = lock(&POOL);
    if let Some((process, pool)) = &*kept
        && *process == process::id()
        && pool.current_num_threads() == threads
    {
        return Ok(Arc::clone(pool));
    }
    let name = |i| format!("pdex-{i}");
    let pool = ThreadPoolBuilder::new().num_threads(threads).thread_name(name).build()?;
    let pool = Arc::new(pool);
    let before = kept.replace((process::id(), Arc::clone(&pool)));
    // Dropping a pool ends its threads; those of a parent process are not there to be ended.
    if let Some((process, pool)) = before
        && process != process::id()
    {
        std::mem::forget(pool);
    }
    Ok(pool)
}

/// The results of `body` for each item, several at once on the process's pool of `threads` threads; on
/// this thread where there is one item or one thread, or where the operating system starts no more.
///
/// # Errors
/// The first error in order; what comes after one need not run.
pub fn map_in_order<I: Send, T: Send, E: Send>(
    threads: usize,
    items: Vec<I>,
    body: impl Fn(I) -> std::result::Result<T, E> + Sync,
) -> std::result::Result<Vec<T>, E> {
    let pool = if threads > 1 && items.len() > 1 { pool(threads).ok() } else { None };
    let Some(pool) = pool else { return items.into_iter().map(body).collect() };
    let failed = AtomicUsize::new(usize::MAX);
    let run = |(i, item)| {
        if i > failed.load(Ordering::Relaxed) {
            return None;
        }
        let result = body(item);
        if result.is_err() {
            failed.fetch_min(i, Ordering::Relaxed);
        }
        Some(result)
    };
    let items = items.into_par_iter().with_max_len(1).enumerate();
    let results: Vec<_> = pool.install(|| items.map(run).collect());
    // None but after an error.
    results.into_iter().flatten().collect()
}

/// A lock that a panic elsewhere does not take away: what it guards is overwritten before it is read.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How far a run is, and whether it should stop: shared with the thread that watches it.
#[derive(Debug, Default)]
pub struct Monitor {
    /// Genes done.
    pub done: AtomicUsize,
    /// Set to stop the run.
    pub cancel: AtomicBool,
}

impl Monitor {
    /// # Errors
    /// [`ErrorKind::Interrupted`] once `cancel` is set.
    pub(super) fn check(&self) -> Result<()> {
        if self.cancel.load(Ordering::Relaxed) {
            return Err(ErrorKind::Interrupted.into());
        }
        Ok(())
    }
}

/// The scratch of every worker of a job.
#[derive(Debug)]
pub struct Workers<S> {
    scratch: Vec<Mutex<S>>,
}

impl<S: Default + Send> Workers<S> {
    /// As many workers as said, at least one; their scratch is empty until they need it.
    #[must_use]
    pub fn new(workers: usize) -> Self {
        Self { scratch: (0..workers.max(1)).map(|_| Mutex::default()).collect() }
    }

    /// The number of workers.
    #[must_use]
    pub fn count(&self) -> usize {
        self.scratch.len()
    }

    /// Runs `body` once for each item, several at once on the current rayon pool; the first error
    /// stops all workers.  `body` must not start another such run of the same workers.
    ///
    /// # Errors
    /// That of `body`.
    pub fn for_each<I: Send>(
        &self,
        items: impl ExactSizeIterator<Item = I> + Send,
        body: impl Fn(&mut S, I) -> Result<()> + Sync,
    ) -> Result<()> {
        self.for_each_of(self.scratch.len(), items, body)
    }

    /// [`Workers::for_each`] by some of the workers, where all would take too much memory.
    ///
    /// # Errors
    /// That of `body`.
    pub fn for_each_of<I: Send>(
        &self,
        workers: usize,
        items: impl ExactSizeIterator<Item = I> + Send,
        body: impl Fn(&mut S, I) -> Result<()> + Sync,
    ) -> Result<()> {
        let workers = workers.clamp(1, self.scratch.len()).min(items.len());
        let queue = Mutex::new(items);
        let (failed, stop) = (Mutex::new(None), AtomicBool::new(false));
        let work = |scratch: &Mutex<S>| {
            let scratch = &mut *lock(scratch);
            while !stop.load(Ordering::Relaxed) {
                let Some(item) = lock(&queue).next() else { break };
                if let Err(error) = body(scratch, item) {
                    stop.store(true, Ordering::Relaxed);
                    lock(&failed).get_or_insert(error);
                }
            }
        };
        let work = &work;
        rayon::scope(|scope| {
            for scratch in &self.scratch[..workers] {
                scope.spawn(move |_| work(scratch));
            }
        });
        let error = lock(&failed).take();
        error.map_or(Ok(()), Err)
    }

    /// Visits the scratch of every worker, one after the other.
    pub fn visit(&self, mut body: impl FnMut(&mut S)) {
        self.scratch.iter().for_each(|scratch| body(&mut lock(scratch)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_one_pool() {
        let first = pool(2).unwrap();
        assert!(Arc::ptr_eq(&first, &pool(2).unwrap()));
        assert_eq!(pool(3).unwrap().current_num_threads(), 3);
        // The first one works on as long as somebody holds it.
        assert_eq!(first.install(rayon::current_num_threads), 2);
    }

    #[test]
    fn results_are_in_order_up_to_the_first_error() {
        for threads in [1, 3] {
            let all: Vec<usize> = (0..100).collect();
            assert_eq!(map_in_order(threads, all.clone(), Ok::<_, ()>), Ok(all.clone()));
            assert_eq!(map_in_order(threads, Vec::<usize>::new(), Ok::<_, ()>), Ok(Vec::new()));
            let result = map_in_order(threads, all, |i| if i % 40 < 23 { Ok(i) } else { Err(i) });
            assert_eq!(result, Err(23));
        }
    }

    #[test]
    fn scratch_is_made_once_a_worker() {
        static MADE: AtomicUsize = AtomicUsize::new(0);
        struct Scratch(u64);
        impl Default for Scratch {
            fn default() -> Self {
                MADE.fetch_add(1, Ordering::Relaxed);
                Self(0)
            }
        }
        let workers = Workers::<Scratch>::new(3);
        for _ in 0..5 {
            workers
                .for_each(0..100u32, |scratch, item| {
                    scratch.0 += u64::from(item);
                    Ok(())
                })
                .unwrap();
        }
        let mut sum = 0;
        workers.visit(|scratch| sum += scratch.0);
        assert_eq!((MADE.load(Ordering::Relaxed), sum), (3, 5 * 4950));
    }

    #[test]
    fn the_first_error_stops_all() {
        let workers = Workers::<()>::new(1);
        let seen = AtomicUsize::new(0);
        let error = workers.for_each(0..100, |(), item| {
            seen.fetch_add(1, Ordering::Relaxed);
            if item == 7 { Err(ErrorKind::Interrupted.into()) } else { Ok(()) }
        });
        assert!(matches!(error.unwrap_err().kind(), ErrorKind::Interrupted));
        assert_eq!(seen.load(Ordering::Relaxed), 8);
    }
}
