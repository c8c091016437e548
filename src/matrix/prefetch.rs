//! Prefetch: a hint to the processor to load memory into cache before it is read.
//!
//! A sweep over blocks of genes reads a short stretch of each row, too short for the hardware
//! prefetcher to detect the pattern. Without the hint every stretch would be a cache miss.

/// Bytes of a cache line.
const LINE: usize = 64;

/// Prefetches `length` elements of `slice` from `first` on. Elements out of bounds are ignored.
/// Does nothing on architectures other than x86_64.
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
    // SAFETY: a prefetch never faults, whatever the address, and has no effect that the program can
    // observe. It needs SSE, which every x86_64 processor has.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) }
}

#[cfg(not(target_arch = "x86_64"))]
#[inline]
fn line<T>(_address: *const T) {}
