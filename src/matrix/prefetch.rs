//! A hint to the processor: bring memory near before it is read.
//!
//! A sweep over blocks of genes reads a short stretch of each row: too short for the processor to
//! see the pattern, so that each would be waited for.

/// Bytes of a cache line.
const LINE: usize = 64;

/// Asks for the elements of `slice` from `first` on, `length` of them; what is out of bounds is no
/// error, and nothing is asked for where the architecture has no such hint.
#[inline]
pub(super) fn prefetch<T>(slice: &[T], first: usize, length: usize) {
    let end = first.saturating_add(length).min(slice.len());
    for part in slice.get(first..end).unwrap_or(&[]).chunks((LINE / size_of::<T>().max(1)).max(1)) {
        line(part.as_ptr());
    }
}

#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
#[inline]
fn line<T>(address: *const T) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    // SAFETY: a prefetch reads nothing that the program sees and never faults, whatever the
    // address; SSE, which has it, is part of x86_64.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) }
}

#[cfg(not(target_arch = "x86_64"))]
#[inline]
fn line<T>(_address: *const T) {}
