//! A bin of a histogram: 16 bits for one group's cells, 32 for those of many; and sums over bins.

use std::ops::AddAssign;

/// A bin's number of cells.
pub trait Bin: Copy + Default + Send + Sync + AddAssign + From<u8> + 'static {
    /// The number.
    fn get(self) -> u32;
}

impl Bin for u16 {
    #[inline]
    fn get(self) -> u32 {
        u32::from(self)
    }
}

impl Bin for u32 {
    #[inline]
    fn get(self) -> u32 {
        self
    }
}

/// Σ c, Σ v c and Σ v² c over all bins but the first: with v below 2^14 and at most 2^30 cells all
/// are below 2^58.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sums {
    pub cells: u64,
    pub values: u64,
    /// 0 unless asked for.
    pub squares: u64,
}

impl Sums {
    /// The sums of a histogram.
    #[inline]
    #[must_use]
    pub fn of<T: Bin, const SQUARES: bool>(bins: &[T]) -> Self {
        let mut sums = Self::default();
        for (v, bin) in (0u32..).zip(bins).skip(1) {
            let c = u64::from(bin.get());
            sums.cells += c;
            sums.values += u64::from(v) * c;
            if SQUARES {
                sums.squares += u64::from(v * v) * c;
            }
        }
        sums
    }
}
