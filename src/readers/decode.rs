//! Conversion of the bytes of a file to numbers, possibly of a narrower type.

use crate::error::{ErrorKind, Result};
use crate::matrix::Value;
use multiversion::multiversion;

/// The number type of a dataset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dtype {
    pub kind: Kind,
    /// The size of a number in bytes.
    pub size: usize,
    pub big_endian: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Signed,
    /// Includes booleans.
    Unsigned,
    Float,
}

impl Dtype {
    /// Parses NumPy's notation, such as `"<f4"`; `None` unless it is a number of at most 64 bits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (order, text) = text.split_at_checked(1)?;
        let (kind, size) = text.split_at_checked(1)?;
        let kind = match kind {
            "i" => Kind::Signed,
            "u" | "b" => Kind::Unsigned,
            "f" => Kind::Float,
            _ => return None,
        };
        let size: usize = size.parse().ok()?;
        let valid: &[usize] = if kind == Kind::Float { &[2, 4, 8] } else { &[1, 2, 4, 8] };
        valid.contains(&size).then_some(Self { kind, size, big_endian: order == ">" })
    }
}

/// A half-precision float (IEEE 754 binary16), which converts to f32 without loss.
#[derive(Debug, Clone, Copy)]
pub struct Half(u16);

impl Half {
    fn from_le_bytes(bytes: [u8; 2]) -> Self {
        Self(u16::from_le_bytes(bytes))
    }
}

impl From<Half> for f32 {
    fn from(Half(bits): Half) -> Self {
        let (exponent, fraction) = (u32::from(bits >> 10 & 31), bits & 0x3ff);
        let magnitude = match exponent {
            // Subnormal: fraction · 2^-24.
            0 => Self::from(fraction) / 16_777_216.0,
            31 => Self::from_bits(0x7f80_0000 | u32::from(fraction) << 13),
            _ => Self::from_bits((exponent + 112) << 23 | u32::from(fraction) << 13),
        };
        if bits >> 15 == 1 { -magnitude } else { magnitude }
    }
}

/// Decodes bytes into `out`; returns true if every number fits.
pub type Decode<T> = Box<dyn Fn(&[u8], &mut [T]) -> bool + Sync>;

/// Decodes numbers of `N` bytes with `of`, which also says whether one fits. True if all fit.
#[inline]
fn each<const N: usize, T>(bytes: &[u8], out: &mut [T], of: impl Fn([u8; N]) -> (T, bool)) -> bool {
    let mut all = true;
    for (&bytes, out) in bytes.as_chunks::<N>().0.iter().zip(out) {
        let (value, fits) = of(bytes);
        *out = value;
        all &= fits;
    }
    all
}

/// [`each`] compiled for several instruction sets, of which the best one is chosen at run time.
/// Used for floats.
#[multiversion(targets = "simd")]
fn each_wide<const N: usize, T, F: Fn([u8; N]) -> (T, bool)>(
    bytes: &[u8],
    out: &mut [T],
    of: F,
) -> bool {
    each(bytes, out, of)
}

/// A decoder of little-endian numbers of type `$s`, converted by `$of`.
macro_rules! decode {
    ($each:ident, $s:ty, $of:expr) => {{
        let of = $of;
        Box::new(move |bytes: &[u8], out: &mut [Self]| {
            $each(bytes, out, |bytes| of(<$s>::from_le_bytes(bytes)))
        }) as Decode<Self>
    }};
}

/// The size in bytes of the buffer in which byte order is reversed.
const TURNED: usize = 4096;

/// Makes a decoder of big-endian numbers from one of little-endian numbers. `size` is the size of a
/// number in bytes, a power of two up to 8.
fn turned<T: 'static>(size: usize, decode: Decode<T>) -> Decode<T> {
    Box::new(move |bytes, out| {
        let mut native = [0; TURNED];
        let parts = bytes.chunks(TURNED).zip(out.chunks_mut(TURNED / size));
        parts.fold(true, |all, (bytes, out)| {
            let native = &mut native[..bytes.len()];
            native.copy_from_slice(bytes);
            native.chunks_exact_mut(size).for_each(<[u8]>::reverse);
            decode(native, out) && all
        })
    })
}

/// A number type into which datasets are read.
pub trait Target: Copy + Default + Send + Sync + Sized + 'static {
    /// The decoder of little-endian numbers of `dtype` into this type; it never changes a value.
    ///
    /// # Errors
    /// [`ErrorKind::UnsupportedDtype`] if there is none.
    fn little_endian(dtype: Dtype) -> Result<Decode<Self>>;

    /// The decoder of numbers of `dtype`, in either byte order, into this type.
    ///
    /// # Errors
    /// [`ErrorKind::UnsupportedDtype`] if there is none.
    fn decoder(dtype: Dtype) -> Result<Decode<Self>> {
        let decode = Self::little_endian(dtype)?;
        Ok(if dtype.big_endian { turned(dtype.size, decode) } else { decode })
    }
}

/// Implements [`Target`] for integer types. They accept integers of any width that fit and, where
/// `$counts` is true, floats that are whole numbers.
macro_rules! integer_target {
    ($($t:ty: $counts:expr),*) => {$(
        impl Target for $t {
            fn little_endian(dtype: Dtype) -> Result<Decode<Self>> {
                macro_rules! whole {
                    ($s:ty) => {
                        decode!(each, $s, |v: $s| {
                            Self::try_from(v).map_or((0, false), |v| (v, true))
                        })
                    };
                }
                macro_rules! real {
                    ($s:ty, $wide:ty) => {
                        decode!(each_wide, $s, |v: $s| {
                            let count = <$wide>::from(v).count();
                            Self::try_from(count).map_or((0, false), |v| (v, true))
                        })
                    };
                }
                Ok(match (dtype.kind, dtype.size) {
                    (Kind::Signed, 1) => whole!(i8),
                    (Kind::Signed, 2) => whole!(i16),
                    (Kind::Signed, 4) => whole!(i32),
                    (Kind::Signed, 8) => whole!(i64),
                    (Kind::Unsigned, 1) => whole!(u8),
                    (Kind::Unsigned, 2) => whole!(u16),
                    (Kind::Unsigned, 4) => whole!(u32),
                    (Kind::Unsigned, 8) => whole!(u64),
                    (Kind::Float, 2) if $counts => real!(Half, f32),
                    (Kind::Float, 4) if $counts => real!(f32, f32),
                    (Kind::Float, 8) if $counts => real!(f64, f64),
                    _ => return Err(unsupported(dtype)),
                })
            }
        }
    )*};
}

integer_target!(u8: true, u16: true, i8: false, i16: false, i32: false, u32: false, i64: false, u64: false);

impl Target for f32 {
    fn little_endian(dtype: Dtype) -> Result<Decode<Self>> {
        match (dtype.kind, dtype.size) {
            (Kind::Float, 2) => Ok(decode!(each_wide, Half, |v: Half| (v.into(), true))),
            (Kind::Float, 4) => Ok(decode!(each, Self, |v: Self| (v, true))),
            _ => Err(unsupported(dtype)),
        }
    }
}

impl Target for f64 {
    fn little_endian(dtype: Dtype) -> Result<Decode<Self>> {
        match (dtype.kind, dtype.size) {
            (Kind::Float, 8) => Ok(decode!(each, Self, |v: Self| (v, true))),
            _ => Err(unsupported(dtype)),
        }
    }
}

fn unsupported(dtype: Dtype) -> crate::error::Error {
    let dtype = format!("{:?} of {} bytes", dtype.kind, dtype.size).to_lowercase();
    ErrorKind::UnsupportedDtype { column: "array".into(), dtype, expected: "a number type" }.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_are_ieees() {
        for (bits, want) in [
            (0x0000u16, 0.0f32),
            (0x8000, -0.0),
            (0x0001, 5.960_464_5e-8),
            (0x03ff, 6.097_555e-5),
            (0x0400, 6.103_515_6e-5),
            (0x3c00, 1.0),
            (0xc500, -5.0),
            (0x7bff, 65_504.0),
            (0x7c00, f32::INFINITY),
            (0xfc00, f32::NEG_INFINITY),
        ] {
            assert_eq!(f32::from(Half(bits)).to_bits(), want.to_bits(), "{bits:x}");
        }
        assert!(f32::from(Half(0x7e00)).is_nan());
    }

    fn read<T: Target>(dtype: &str, bytes: &[u8]) -> (Vec<T>, bool) {
        let dtype = Dtype::parse(dtype).unwrap();
        let mut out = vec![T::default(); bytes.len() / dtype.size];
        let fits = T::decoder(dtype).unwrap()(bytes, &mut out);
        (out, fits)
    }

    #[test]
    fn numbers_are_read_in_both_orders_and_narrowed_where_they_fit() {
        assert_eq!(read::<i32>("<i4", &[1, 0, 0, 0, 255, 255, 255, 255]), (vec![1, -1], true));
        assert_eq!(read::<i64>(">i2", &[1, 0, 255, 254]), (vec![256, -2], true));
        assert_eq!(read::<u16>("<i8", &[255, 255, 0, 0, 0, 0, 0, 0]), (vec![65_535], true));
        assert!(!read::<u16>("<i8", &[0, 0, 1, 0, 0, 0, 0, 0]).1);
        assert!(!read::<u16>("|i1", &[255]).1);
        let floats: Vec<u8> = [0.0f32, -0.0, 255.0].iter().flat_map(|v| v.to_be_bytes()).collect();
        assert_eq!(read::<u8>(">f4", &floats), (vec![0, 0, 255], true));
        for wrong in [256.0f32, 0.5, -1.0, f32::NAN, f32::INFINITY] {
            assert!(!read::<u8>("<f4", &wrong.to_le_bytes()).1, "{wrong}");
        }
        assert_eq!(read::<f64>("<f8", &1.5f64.to_le_bytes()), (vec![1.5], true));
        assert_eq!(read::<u8>("|b1", &[0, 1]), (vec![0, 1], true));
        assert!(Dtype::parse("<f16").is_none() && Dtype::parse("|O").is_none());
        assert!(f32::decoder(Dtype::parse("<i4").unwrap()).is_err());
        assert!(i32::decoder(Dtype::parse("<f4").unwrap()).is_err());
    }
}
