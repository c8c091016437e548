//! The memory of long columns, in huge pages.
//!
//! A result of 10^7 rows is a gigabyte that is written once.  The kernel hands memory out when it is
//! first written, a page at a time.  With pages of 4 KB that took a third of the whole call, and the
//! threads of one process waited for each other meanwhile.  Pages of 2 MB take far fewer faults; Linux
//! gives them to memory that asks for them (`madvise`), unless the system is set to "never".  Other
//! systems are not asked.
//!
//! Threads that write neighbouring rows would wait together for the page that the kernel clears, so
//! each page is touched first, by one thread ([`touch`]).
//!
//! Measured on 9.6 million rows: 264,000 faults before, 30,000 now; 2.3 s before, 1.8 s now (one
//! thread), and freeing the result fell from 0.16 s to 0.01 s.

use rayon::prelude::*;

/// A huge page on x86-64 and most others.
const HUGE: usize = 2 << 20;
/// Columns from this many bytes on ask for huge pages.
const LEAST: usize = 4 * HUGE;

/// `length` zeros, of which no page is touched yet.
#[must_use]
pub fn untouched<T: Copy + Default>(length: usize) -> Vec<T> {
    let mut column = vec![T::default(); length];
    if size_of_val(&*column) >= LEAST {
        ask_for_huge_pages(&mut column);
    }
    column
}

/// Makes the kernel hand out a long column's pages, by all threads of the current pool: overwrites
/// the first entry of each with zero.
pub fn touch<T: Copy + Default + Send>(column: &mut [T]) {
    if size_of_val(column) >= LEAST {
        column.par_chunks_mut(HUGE / size_of::<T>()).for_each(|page| page[0] = T::default());
    }
}

/// `length` zeros, touched by all threads of the current pool.
#[must_use]
pub fn zeros<T: Copy + Default + Send>(length: usize) -> Vec<T> {
    let mut column = untouched(length);
    touch(&mut column);
    column
}

#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
fn ask_for_huge_pages<T>(column: &mut [T]) {
    // The largest page of any system, on some aarch64. Advice that begins within a page is refused.
    const PAGE: usize = 64 << 10;
    let range = column.as_mut_ptr_range();
    let start = range.start.cast::<u8>();
    let skipped = start.align_offset(PAGE);
    let length = size_of_val(column).saturating_sub(skipped) / PAGE * PAGE;
    // SAFETY: the range lies within `column`, which is borrowed mutably, and begins at a page.  The
    // advice moves no data and changes no value: a refusal leaves the pages as they are.
    unsafe {
        libc::madvise(start.wrapping_add(skipped).cast(), length, libc::MADV_HUGEPAGE);
    }
}

#[cfg(not(target_os = "linux"))]
fn ask_for_huge_pages<T>(_: &mut [T]) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_are_zeros_on_both_sides_of_the_bound() {
        for length in [0, 1, LEAST / 8 - 1, LEAST / 8, LEAST / 8 + 513] {
            let mut column: Vec<f64> = zeros(length);
            touch(&mut column);
            assert!(column.len() == length && column.iter().all(|v| v.to_bits() == 0), "{length}");
            column.fill(1.5);
            assert!(column.iter().all(|&v| v == 1.5), "{length}");
        }
        assert!(zeros::<u32>(LEAST).iter().all(|&v| v == 0));
    }
}
