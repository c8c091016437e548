//! Large buffers in large pages.
//!
//! A result of millions of rows is written once, and the first write to every 4 KiB page of fresh
//! memory costs the kernel more than the write itself.  Linux can give 2 MiB at a time, where it
//! is told that this is wanted.

/// A zeroed buffer of `n` numbers; its pages come when they are written.
#[must_use]
pub fn zeroed(n: usize) -> Vec<f64> {
    let buffer = vec![0.0; n];
    #[cfg(target_os = "linux")]
    advise(&buffer);
    buffer
}

/// Asks for large pages; where the kernel has none the buffer stays as it is.
#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
fn advise(buffer: &[f64]) {
    const PAGE: usize = 4096;
    const WORTHWHILE: usize = 4 << 20;
    let bytes = size_of_val(buffer);
    if bytes < WORTHWHILE {
        return;
    }
    let skipped = buffer.as_ptr().cast::<u8>().align_offset(PAGE);
    let Some(length) = bytes.checked_sub(skipped) else { return };
    // SAFETY: the range lies within the buffer, which is alive, and starts on a page; the advice
    // changes neither what is in it nor who owns it.  Failure is harmless.
    unsafe {
        let start = buffer.as_ptr().cast::<u8>().add(skipped);
        libc::madvise(start.cast_mut().cast(), length, libc::MADV_HUGEPAGE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_and_small_buffers_are_zero_and_can_be_written() {
        for n in [0, 1, 1000, 3 << 20] {
            let mut buffer = zeroed(n);
            assert_eq!(buffer.len(), n);
            assert!(buffer.iter().all(|&v| v == 0.0));
            buffer.fill(1.5);
            assert!(buffer.iter().all(|&v| v == 1.5));
        }
    }
}
