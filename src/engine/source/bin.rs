//! A bin of a histogram: 16 bits for one group's cells, 32 for those of many.

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
