//! Datasets: what they claim, where their chunks lie, and their values.

use super::driver::Handle;
use super::grouped;
use super::library::{self, Id, Said, call, open};
use super::text::Texts;
use super::values::{Kind, Values};
use crate::cast;
use crate::readers::chunks::{self, Chunk};
use crate::readers::decode::Dtype;
use crate::readers::filters::Filter;
use hdf5_metno_sys::h5d::{
    H5D_fill_value_t, H5D_layout_t, H5Dchunk_iter, H5Dget_create_plist, H5Dget_offset,
    H5Dget_space, H5Dget_storage_size, H5Dget_type, H5Dread,
};
use hdf5_metno_sys::h5i::hid_t;
use hdf5_metno_sys::h5p::{
    H5P_DEFAULT, H5Pfill_value_defined, H5Pget_chunk, H5Pget_chunk_opts, H5Pget_external_count,
    H5Pget_fill_value, H5Pget_filter2, H5Pget_layout, H5Pget_nfilters,
};
use hdf5_metno_sys::h5s::{H5S_seloper_t, H5Screate_simple, H5Sselect_hyperslab};
use std::ffi::{CStr, c_uint, c_void};
use std::mem::size_of;
use std::ops::Range;
use std::ptr::{null, null_mut};
use std::sync::Arc;

/// A dataset of at most this many bytes is read whatever the size of the file.
const PLAUSIBLE: u64 = 1 << 26;
/// The largest expansion of one stored byte by a filter that is not known here.
const UNKNOWN: u64 = 1 << 16;
/// The most bytes of labels of a dataset that lies in other files, too.
const ELSEWHERE: u64 = 1 << 30;
/// Bytes of a block of a dataset without chunks, and texts that are read at a time.
const BLOCK: usize = 1 << 20;
const TEXTS: usize = 1 << 16;
/// The filters that the library itself undoes: deflate, shuffle, fletcher32, nbit, scaleoffset.
const OWN: [u32; 5] = [1, 2, 3, 5, 6];

/// Numbers as which a window is read.
#[derive(Debug)]
pub enum Numbers {
    I8(Vec<i8>),
    U8(Vec<u8>),
    I16(Vec<i16>),
    U16(Vec<u16>),
    I32(Vec<i32>),
    U32(Vec<u32>),
    I64(Vec<i64>),
    U64(Vec<u64>),
    F32(Vec<f32>),
    F64(Vec<f64>),
}

/// An open dataset.
#[derive(Debug)]
pub struct Dataset {
    id: Id,
    /// Its full name in the file.
    pub name: String,
    pub values: Values,
    /// Its lengths; none for a scalar, and `None` without a value.
    pub shape: Option<Vec<u64>>,
    /// The lengths of its chunks, if it has chunks.
    pub chunk: Option<Vec<u64>>,
    /// The numbers and names of its filters.
    pub filters: Vec<(u32, String)>,
    /// Where its chunks lie.
    chunks: Vec<Chunk>,
    /// The bytes that are stored.
    pub stored: u64,
    /// Whether it lies in other files, too: it is virtual, or external.
    pub elsewhere: bool,
    /// Whether what was never written is 0.
    zeros: bool,
    /// The bytes of its file; of another file, which an external link leads to, without bound.
    bytes: u64,
    /// The file, if the readers can read the dataset's bytes in it.
    file: Option<Arc<Handle>>,
}

impl Dataset {
    /// Asks the library about an open dataset. `file` is where it lies, if addresses are those of the
    /// file; `bytes` is the file's size.
    pub(super) fn new(id: Id, name: String, file: Option<Arc<Handle>>, bytes: u64) -> Said<Self> {
        // SAFETY: the dataset is open, here and below.
        let values = Values::new(open(|| unsafe { H5Dget_type(id.raw()) })?)?;
        // SAFETY: as above.
        let space = open(|| unsafe { H5Dget_space(id.raw()) })?;
        // SAFETY: as above.
        let list = open(|| unsafe { H5Dget_create_plist(id.raw()) })?;
        let shape = library::extent(&space)?;
        let layout = {
            let _lock = hdf5_metno_sys::LOCK.lock();
            // SAFETY: the property list is open, here and below.
            unsafe { H5Pget_layout(list.raw()) }
        };
        let chunk = match (&shape, layout) {
            (Some(shape), H5D_layout_t::H5D_CHUNKED) => {
                let mut lengths = vec![0; shape.len()];
                let n = i32::try_from(shape.len()).unwrap_or(0);
                let place = lengths.as_mut_ptr();
                // SAFETY: `place` has room for `n` lengths.
                call(|| unsafe { H5Pget_chunk(list.raw(), n, place) })?;
                Some(lengths)
            }
            _ => None,
        };
        // SAFETY: as above.
        let external = call(|| unsafe { H5Pget_external_count(list.raw()) })? > 0;
        let elsewhere = external || layout == H5D_layout_t::H5D_VIRTUAL;
        let (mut chunks, mut partly) = (Vec::new(), 0);
        let stored = if let (Some(shape), Some(chunk)) = (&shape, &chunk) {
            // SAFETY: as above; the number is written before it is read.
            call(|| unsafe { H5Pget_chunk_opts(list.raw(), &raw mut partly) })?;
            chunks = chunks_of(&id, shape, chunk, bytes)?;
            chunks.iter().map(|chunk| chunk.size).sum()
        } else {
            // SAFETY: as above.
            call(|| unsafe { H5Dget_storage_size(id.raw()) })?
        };
        let located = file.filter(|_| partly == 0 && !elsewhere);
        Ok(Self {
            zeros: fills_with_zeros(&list, &values)?,
            filters: filters_of(&list)?,
            id,
            name,
            values,
            shape,
            chunk,
            chunks,
            stored,
            elsewhere,
            bytes,
            file: located,
        })
    }

    pub(super) fn id(&self) -> &Id {
        &self.id
    }

    /// The number of values; `None` if it is beyond all memory.
    fn n_values(lengths: &[u64]) -> Option<u64> {
        lengths.iter().try_fold(1u64, |n, &length| n.checked_mul(length))
    }

    /// The most bytes to which the stored bytes can expand.
    fn most_bytes(&self) -> u64 {
        let growth = self
            .filters
            .iter()
            .map(|&(number, _)| Filter::of_number(number).map_or(UNKNOWN, Filter::growth));
        let growth = growth.fold(1, u64::saturating_mul).min(UNKNOWN);
        PLAUSIBLE.max(self.stored.min(self.bytes).saturating_mul(growth))
    }

    /// What is claimed beyond what the stored bytes can hold, if anything is: by a chunk, or by the
    /// first `n` values (`None`: by all).
    #[must_use]
    pub fn excess(&self, n: Option<u64>) -> Option<String> {
        let most = match (self.elsewhere, n) {
            (false, _) => self.most_bytes(),
            // What lies in other files is not known here.
            (true, None) => ELSEWHERE,
            (true, Some(_)) => return None,
        };
        let product = |lengths: &[u64]| {
            lengths.iter().fold(1u128, |n, &length| n.saturating_mul(length.into()))
        };
        let all = n.map(u128::from).or_else(|| self.shape.as_deref().map(product));
        let chunk = self.chunk.as_deref().map(product);
        [(all, "elements"), (chunk, "elements in a chunk")].into_iter().find_map(|(n, what)| {
            let bytes = n?.saturating_mul(self.values.itemsize as u128);
            (bytes > u128::from(most)).then(|| {
                let n = grouped(n.unwrap_or(0));
                format!("it claims {n} {what}, more than its stored bytes can hold")
            })
        })
    }

    /// How many of the first values, at most, were ever written.
    #[must_use]
    pub fn n_written(&self) -> u64 {
        let all = self.shape.as_deref().and_then(Self::n_values).unwrap_or(0);
        let Some(chunk) = &self.chunk else {
            return if self.stored > 0 { all } else { 0 };
        };
        let n = cast::wide(self.chunks.len());
        n.saturating_mul(chunk.first().copied().unwrap_or(1))
    }

    /// Where its numbers lie in the file; `None` if the library must read them.
    #[must_use]
    pub fn located(&self) -> Option<(Arc<Handle>, chunks::Dataset)> {
        let (Some(file), Some(shape), Kind::Number(number)) =
            (&self.file, &self.shape, self.values.kind)
        else {
            return None;
        };
        let filters = self.filters.iter().map(|&(number, _)| Filter::of_number(number));
        let filters: Option<Vec<_>> = filters.collect();
        let (Some(filters), Some(dtype), 1 | 2) =
            (filters, Dtype::parse(&number.name()), shape.len())
        else {
            return None;
        };
        if !number.plain || !self.zeros {
            return None;
        }
        let two = |lengths: &[u64]| {
            let length =
                |i: usize| lengths.get(i).map_or(1, |&n| usize::try_from(n).unwrap_or(usize::MAX));
            (length(0), length(1))
        };
        let (rows, columns) = two(shape);
        let width = columns.saturating_mul(number.bytes);
        let (chunk, places) = if let Some(chunk) = &self.chunk {
            (two(chunk), self.chunks.clone())
        } else {
            let (Some(first), Some(_)) = (self.offset(), rows.checked_mul(width)) else {
                return None;
            };
            let chunk = ((BLOCK / width.max(1)).max(1), columns);
            let blocks = (0..rows).step_by(chunk.0).map(|row| Chunk {
                row,
                column: 0,
                address: first.saturating_add(cast::wide(row * width)),
                size: cast::wide(chunk.0.min(rows - row) * width),
                mask: 0,
            });
            (chunk, blocks.collect())
        };
        let found =
            chunks::Dataset { dtype, shape: (rows, columns), chunk, filters, chunks: places };
        Some((Arc::clone(file), found))
    }

    /// Where the bytes of a dataset without chunks start; `None` if they were never written.
    fn offset(&self) -> Option<u64> {
        let _lock = hdf5_metno_sys::LOCK.lock();
        // SAFETY: the dataset is open.
        let first = unsafe { H5Dget_offset(self.id.raw()) };
        (first != u64::MAX).then_some(first)
    }

    /// The first of its filters that the library does not undo.
    #[must_use]
    pub fn foreign(&self) -> Option<&(u32, String)> {
        self.filters.iter().find(|(number, _)| !OWN.contains(number))
    }

    /// The names and kinds of the fields of records; none of other values.
    ///
    /// # Errors
    /// What the library says.
    pub fn fields(&self) -> Said<Vec<(String, Kind)>> {
        let of = |(place, name): (usize, String)| {
            let kind = self.values.field_at(place, &name)?.kind;
            Ok((name, kind))
        };
        self.values.fields()?.into_iter().enumerate().map(of).collect()
    }

    /// The values of a field of records.
    ///
    /// # Errors
    /// What the library says, or that there is no such field.
    pub fn field(&self, name: &str) -> Said<Values> {
        self.values.field(name)
    }

    /// Reads a window of numbers, row after row, with the library.
    ///
    /// # Errors
    /// What the library says, or that the values are not numbers.
    pub fn read(&self, values: &Values, rows: Range<u64>, columns: Range<u64>) -> Said<Numbers> {
        let Kind::Number(number) = values.kind else {
            return Err("its values are not numbers".to_owned());
        };
        let (window, n) = self.window(rows, columns)?;
        macro_rules! read {
            ($case:ident, $t:ty) => {{
                let mut out = library::reserved::<$t>(n)?;
                self.read_into(values, &window, &mut out)?;
                Numbers::$case(out)
            }};
        }
        Ok(match (number.code, number.bytes) {
            ('i', 1) => read!(I8, i8),
            ('u' | 'b', 1) => read!(U8, u8),
            ('i', 2) => read!(I16, i16),
            ('u', 2) => read!(U16, u16),
            ('i', 4) => read!(I32, i32),
            ('u', 4) => read!(U32, u32),
            ('i', 8) => read!(I64, i64),
            ('u', 8) => read!(U64, u64),
            ('f', 2 | 4) => read!(F32, f32),
            ('f', 8) => read!(F64, f64),
            _ => return Err("its numbers have a type that is not supported".to_owned()),
        })
    }

    /// Reads texts, of which the dataset has one dimension, or one alone. `look` is called every now
    /// and then, and may stop it.
    ///
    /// # Errors
    /// What the library says, or `look`, or that the values are not texts.
    pub fn texts(&self, values: &Values, mut look: impl FnMut() -> Said<()>) -> Said<Texts> {
        if values.kind != Kind::Text {
            return Err("its values are not texts".to_owned());
        }
        let n = self.shape.as_deref().and_then(Self::n_values).unwrap_or(0);
        let mut out = Texts::default();
        let mut first = 0;
        while first < n {
            let last = n.min(first + cast::wide(TEXTS));
            let (window, count) = self.window(first..last, 0..1)?;
            let (id, inner, outer) = (self.id.raw(), window.memory.raw(), window.stored());
            let kind = values.alone(values.id().raw())?;
            library::read_texts(values.id(), &window.memory, count, &mut out, |place| {
                // SAFETY: all are open; the caller's buffer holds as many texts as `memory` counts.
                unsafe { H5Dread(id, kind.raw(), inner, outer, H5P_DEFAULT, place) }
            })?;
            first = last;
            look()?;
        }
        Ok(out)
    }

    /// A part of the dataset, and the number of its values; columns count in two dimensions only.
    fn window(&self, rows: Range<u64>, columns: Range<u64>) -> Said<(Selection, usize)> {
        let ranges = [rows, columns];
        let ranges = match self.shape.as_ref().map(Vec::len) {
            Some(n @ 0..=2) => &ranges[..n],
            n => return Err(format!("it has {} dimensions", n.unwrap_or(0))),
        };
        let lengths: Vec<u64> = ranges.iter().map(|r| r.end.saturating_sub(r.start)).collect();
        let starts: Vec<u64> = ranges.iter().map(|range| range.start).collect();
        let n = Self::n_values(&lengths).and_then(|n| usize::try_from(n).ok());
        let n = n.ok_or("it claims more values than memory holds")?;
        // A buffer is a list, whatever the window's dimensions.
        let length = [cast::wide(n)];
        // SAFETY: one length is passed.
        let memory = open(|| unsafe { H5Screate_simple(1, length.as_ptr(), null()) })?;
        if lengths.is_empty() {
            return Ok((Selection { memory, part: None }, n));
        }
        // SAFETY: the dataset is open.
        let part = open(|| unsafe { H5Dget_space(self.id.raw()) })?;
        let (only, start, count) =
            (H5S_seloper_t::H5S_SELECT_SET, starts.as_ptr(), lengths.as_ptr());
        // SAFETY: both lists have as many numbers as the dataset has dimensions. The library
        // refuses, when it reads, what lies outside the dataset.
        call(|| unsafe { H5Sselect_hyperslab(part.raw(), only, start, null(), count, null()) })?;
        Ok((Selection { memory, part: Some(part) }, n))
    }

    /// Reads a window into a buffer.
    fn read_into<T: Copy>(&self, values: &Values, window: &Selection, out: &mut [T]) -> Said<()> {
        let native = values.native()?;
        if library::size(&native) != size_of::<T>() {
            return Err("its numbers have a type that is not supported".to_owned());
        }
        let native = values.alone(native.raw())?;
        let (id, memory, part, place) =
            (self.id.raw(), window.memory.raw(), window.stored(), out.as_mut_ptr().cast());
        // SAFETY: all are open. `memory` counts as many values as `out` has, and a value in memory
        // takes as many bytes as a `T`, a number for which all bits are valid.
        call(|| unsafe { H5Dread(id, native.raw(), memory, part, H5P_DEFAULT, place) })?;
        Ok(())
    }
}

/// A part of a dataset, and a list in memory of as many values.
struct Selection {
    memory: Id,
    /// `None`: all of it.
    part: Option<Id>,
}

impl Selection {
    fn stored(&self) -> hid_t {
        self.part.as_ref().map_or(hdf5_metno_sys::h5s::H5S_ALL, Id::raw)
    }
}

/// The chunks of a dataset, wherever they lie.
///
/// An index that is broken may lead to the same chunks again and again, and one that is implied by
/// the shape to chunks that were never there. So no more are taken than the shape has, and none once
/// they take more bytes than the file has.
fn chunks_of(id: &Id, shape: &[u64], chunk: &[u64], bytes: u64) -> Said<Vec<Chunk>> {
    struct Found {
        dimensions: usize,
        most: u64,
        /// The bytes that are left for further chunks.
        left: u64,
        chunks: Vec<Chunk>,
    }
    unsafe extern "C" fn visit(
        place: *const u64,
        mask: c_uint,
        address: u64,
        size: u64,
        found: *mut c_void,
    ) -> i32 {
        // SAFETY: the library passes as many offsets as there are dimensions, and our pointer.
        let (place, found) = unsafe {
            let found = &mut *found.cast::<Found>();
            (std::slice::from_raw_parts(place, found.dimensions), found)
        };
        let Some(left) = found.left.checked_sub(size) else {
            return -1;
        };
        if cast::wide(found.chunks.len()) >= found.most {
            return -1;
        }
        found.left = left;
        let at = |i: usize| place.get(i).map_or(0, |&n| usize::try_from(n).unwrap_or(usize::MAX));
        found.chunks.push(Chunk { row: at(0), column: at(1), address, size, mask });
        0
    }
    let along = shape.iter().zip(chunk).map(|(&length, &chunk)| length.div_ceil(chunk.max(1)));
    let most = along.fold(1u64, u64::saturating_mul);
    let mut found = Found { dimensions: shape.len(), most, left: bytes, chunks: Vec::new() };
    let (id, out) = (id.raw(), (&raw mut found).cast());
    // SAFETY: the dataset is open; the callback matches its signature; `found` outlives the call.
    call(|| unsafe { H5Dchunk_iter(id, H5P_DEFAULT, Some(visit), out) })
        .map_err(|said| format!("its chunks cannot be found: {said}"))?;
    Ok(found.chunks)
}

/// True if values that were never written are 0, or if there can be none.
fn fills_with_zeros(list: &Id, values: &Values) -> Said<bool> {
    let mut status = H5D_fill_value_t::H5D_FILL_VALUE_DEFAULT;
    // SAFETY: the property list is open.
    call(|| unsafe { H5Pfill_value_defined(list.raw(), &raw mut status) })?;
    let defined = status == H5D_fill_value_t::H5D_FILL_VALUE_USER_DEFINED;
    if !defined || !matches!(values.kind, Kind::Number(_)) {
        return Ok(true);
    }
    let mut value = vec![0u8; values.itemsize];
    let place = value.as_mut_ptr().cast();
    // SAFETY: the property list and the type are open; a value of the type takes `itemsize` bytes.
    call(|| unsafe { H5Pget_fill_value(list.raw(), values.id().raw(), place) })?;
    Ok(value.iter().all(|&byte| byte == 0))
}

/// The numbers and names of filters, in the order in which they were applied.
fn filters_of(list: &Id) -> Said<Vec<(u32, String)>> {
    // SAFETY: the property list is open.
    let n = call(|| unsafe { H5Pget_nfilters(list.raw()) })?;
    (0..u32::try_from(n).unwrap_or(0))
        .map(|i| {
            let (mut flags, mut config, mut none, mut name) = (0, 0, 0usize, [0i8; 64]);
            let (flags, config, none) = (&raw mut flags, &raw mut config, &raw mut none);
            let (buffer, room) = (name.as_mut_ptr().cast(), name.len() - 1);
            // SAFETY: the property list is open; `name` has one more byte than the library may
            // write, so a zero byte ends it; no values of the filter are asked for.
            let number = call(|| unsafe {
                H5Pget_filter2(list.raw(), i, flags, none, null_mut(), room, buffer, config)
            })?;
            // SAFETY: a zero byte ends the name.
            let name = unsafe { CStr::from_ptr(buffer) }.to_string_lossy().into_owned();
            Ok((u32::try_from(number).unwrap_or(u32::MAX), name))
        })
        .collect()
}
