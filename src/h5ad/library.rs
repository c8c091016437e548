//! The HDF5 library behind safe functions: one lock, identifiers that close themselves, errors in
//! words.

use super::driver::{self, Handle};
use super::text::{Padding, Texts};
use hdf5_metno_sys::h5::{H5_index_t, H5_iter_order_t, H5open, hsize_t};
use hdf5_metno_sys::h5e::{
    H5E_DEFAULT, H5E_direction_t, H5E_error2_t, H5Eclear2, H5Eset_auto2, H5Ewalk2,
};
use hdf5_metno_sys::h5f::{H5F_ACC_RDONLY, H5Fget_create_plist, H5Fget_fileno, H5Fopen};
use hdf5_metno_sys::h5fd::H5FDregister;
use hdf5_metno_sys::h5i::{
    H5I_type_t, H5Idec_ref, H5Iget_file_id, H5Iget_name, H5Iget_type, hid_t,
};
use hdf5_metno_sys::h5l::{H5L_info2_t, H5Lexists, H5Literate2};
use hdf5_metno_sys::h5o::{H5Oexists_by_name, H5Oopen};
use hdf5_metno_sys::h5p::{
    H5P_CLS_FILE_ACCESS, H5P_DEFAULT, H5Pcreate, H5Pget_sizes, H5Pget_userblock, H5Pset_driver,
};
use hdf5_metno_sys::h5s::{
    H5S_class_t, H5Sget_simple_extent_dims, H5Sget_simple_extent_ndims, H5Sget_simple_extent_type,
};
use hdf5_metno_sys::h5t::{H5T_class_t, H5Tget_class, H5Tget_size, H5Tis_variable_str, H5Treclaim};
use hdf5_metno_sys::{LOCK, h5a, h5r, h5t};
use std::ffi::{CStr, CString, c_char, c_uint, c_void};
use std::ptr::{null, null_mut};
use std::sync::{Arc, OnceLock};

/// What the library or the driver said: why something could not be done.
pub type Said<T> = std::result::Result<T, String>;

/// An identifier of an object of the library, which is closed with its last owner.
#[derive(Debug)]
pub struct Id(hid_t);

impl Id {
    pub fn raw(&self) -> hid_t {
        self.0
    }
}

impl Drop for Id {
    fn drop(&mut self) {
        let _lock = LOCK.lock();
        // SAFETY: the identifier is open, and this value is its only owner.
        unsafe { H5Idec_ref(self.0) };
    }
}

/// Calls the library, which must return a number that is not negative, under its lock.
pub fn call<T: Copy + PartialOrd + Default>(work: impl FnOnce() -> T) -> Said<T> {
    let _lock = LOCK.lock();
    start()?;
    driver::take_problem();
    let out = work();
    if out < T::default() { Err(reason()) } else { Ok(out) }
}

/// Calls the library, which must return a new identifier.
pub fn open(work: impl FnOnce() -> hid_t) -> Said<Id> {
    call(work).map(Id)
}

/// Starts the library once: its errors are not printed, and the driver is known. Needs the lock.
fn start() -> Said<hid_t> {
    static DRIVER: OnceLock<hid_t> = OnceLock::new();
    let driver = *DRIVER.get_or_init(|| {
        // SAFETY: the lock is held; the class is a constant of the layout that the library expects.
        unsafe {
            H5open();
            H5Eset_auto2(H5E_DEFAULT, None, null_mut());
            H5FDregister((&raw const driver::CLASS).cast())
        }
    });
    if driver < 0 { Err("the file driver could not be registered".to_owned()) } else { Ok(driver) }
}

/// Why the last call failed: what the driver said, or the cause on the library's stack of errors.
fn reason() -> String {
    unsafe extern "C" fn visit(n: c_uint, error: *const H5E_error2_t, out: *mut c_void) -> i32 {
        // SAFETY: the library passes a valid error, and the pointer that `reason` passed.
        let (error, out) = unsafe { (&*error, &mut *out.cast::<String>()) };
        if n == 0 && !error.desc.is_null() {
            // SAFETY: descriptions end with a zero byte.
            *out = unsafe { CStr::from_ptr(error.desc) }.to_string_lossy().into_owned();
        }
        0
    }
    let mut said = String::new();
    // SAFETY: the lock is held; the callback matches its signature, and `said` outlives the call.
    unsafe {
        let upward = H5E_direction_t::H5E_WALK_UPWARD;
        H5Ewalk2(H5E_DEFAULT, upward, Some(visit), (&raw mut said).cast());
        H5Eclear2(H5E_DEFAULT);
    }
    let said = driver::take_problem().unwrap_or(said);
    if said.is_empty() { "the HDF5 library does not say why".to_owned() } else { said }
}

/// A name as the library takes it.
pub fn name_of(name: &str) -> Said<CString> {
    CString::new(name).map_err(|_| "a name with a zero byte".to_owned())
}

/// Opens a file for reading, which must have been opened by this name.
pub fn open_file(name: &str, file: &Arc<Handle>) -> Said<Id> {
    let name = name_of(name)?;
    // SAFETY: classes and properties exist once the library was started.
    let access = open(|| unsafe { H5Pcreate(*H5P_CLS_FILE_ACCESS) })?;
    call(|| {
        let driver = start().unwrap_or(-1);
        // SAFETY: both identifiers are open.
        unsafe { H5Pset_driver(access.raw(), driver, null()) }
    })?;
    driver::with_known(&name, file, || {
        // SAFETY: the name ends with a zero byte; the property list is open.
        open(|| unsafe { H5Fopen(name.as_ptr(), H5F_ACC_RDONLY, access.raw()) })
    })
}

/// The bytes before the file's content, and those of its addresses and sizes.
pub fn sizes(file: &Id) -> Said<(u64, usize, usize)> {
    // SAFETY: the identifier is that of an open file.
    let list = open(|| unsafe { H5Fget_create_plist(file.raw()) })?;
    let (mut before, mut address, mut size) = (0, 0, 0);
    // SAFETY: the property list is open; the numbers are written before they are read.
    call(|| unsafe { H5Pget_userblock(list.raw(), &raw mut before) })?;
    // SAFETY: as above.
    call(|| unsafe { H5Pget_sizes(list.raw(), &raw mut address, &raw mut size) })?;
    Ok((before, address, size))
}

/// A number that is the same for all objects of a file.
pub fn file_number(object: &Id) -> Said<u64> {
    let mut number = 0;
    // SAFETY: the identifier is that of an open object.
    let file = open(|| unsafe { H5Iget_file_id(object.raw()) })?;
    // SAFETY: the identifier is that of an open file.
    call(|| unsafe { H5Fget_fileno(file.raw(), &raw mut number) })?;
    Ok(number)
}

/// What lies behind a name.
#[derive(Debug)]
pub enum Found {
    Nothing,
    /// A link to something that does not exist.
    Dangling,
    Group(Id),
    Dataset(Id),
    /// Something that AnnData does not have, such as a named type.
    Other,
}

/// Opens a member of a group by its own name, without slashes.
pub fn member(group: &Id, name: &str) -> Said<Found> {
    let name = name_of(name)?;
    let (group, name) = (group.raw(), name.as_ptr());
    // SAFETY: the group is open; the name ends with a zero byte and outlives the calls.
    if call(|| unsafe { H5Lexists(group, name, H5P_DEFAULT) })? == 0 {
        return Ok(Found::Nothing);
    }
    // SAFETY: as above. A link that leads nowhere may be an error, too.
    if call(|| unsafe { H5Oexists_by_name(group, name, H5P_DEFAULT) }).unwrap_or(0) == 0 {
        return Ok(Found::Dangling);
    }
    // SAFETY: as above.
    let object = open(|| unsafe { H5Oopen(group, name, H5P_DEFAULT) })?;
    let _lock = LOCK.lock();
    // SAFETY: the identifier is open.
    Ok(match unsafe { H5Iget_type(object.raw()) } {
        H5I_type_t::H5I_GROUP => Found::Group(object),
        H5I_type_t::H5I_DATASET => Found::Dataset(object),
        _ => Found::Other,
    })
}

/// More members than a group has.
const MOST_MEMBERS: usize = 1 << 20;

/// The names of a group's members, sorted.
pub fn names(group: &Id) -> Said<Vec<String>> {
    unsafe extern "C" fn visit(
        _: hid_t,
        name: *const c_char,
        _: *const H5L_info2_t,
        out: *mut c_void,
    ) -> i32 {
        // SAFETY: the library passes a name that ends with a zero byte, and our pointer.
        let (name, out) = unsafe { (CStr::from_ptr(name), &mut *out.cast::<Vec<String>>()) };
        out.push(name.to_string_lossy().into_owned());
        // A broken index may lead to the same members again and again.
        if out.len() > MOST_MEMBERS { -1 } else { 0 }
    }
    let mut found = Vec::<String>::new();
    let (by, order) = (H5_index_t::H5_INDEX_NAME, H5_iter_order_t::H5_ITER_INC);
    let (mut first, out) = (0, (&raw mut found).cast());
    // SAFETY: the group is open; the callback matches its signature, and `found` outlives the call.
    call(|| unsafe { H5Literate2(group.raw(), by, order, &raw mut first, Some(visit), out) })?;
    Ok(found)
}

/// The full name of an open object.
pub fn full_name(object: &Id) -> Said<String> {
    // SAFETY: the object is open; without a buffer the library returns the length alone.
    let length = call(|| unsafe { H5Iget_name(object.raw(), null_mut(), 0) })?;
    let mut bytes = vec![0u8; usize::try_from(length).unwrap_or(0) + 1];
    let (buffer, size) = (bytes.as_mut_ptr().cast(), bytes.len());
    // SAFETY: the buffer has `size` bytes.
    call(|| unsafe { H5Iget_name(object.raw(), buffer, size) })?;
    bytes.pop();
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The lengths of a dataspace; `None` if it has no dimensions at all. A scalar has no lengths.
pub fn extent(space: &Id) -> Said<Option<Vec<u64>>> {
    let n = {
        let _lock = LOCK.lock();
        // SAFETY: the dataspace is open.
        match unsafe { H5Sget_simple_extent_type(space.raw()) } {
            H5S_class_t::H5S_SCALAR => return Ok(Some(Vec::new())),
            H5S_class_t::H5S_SIMPLE => (),
            _ => return Ok(None),
        }
        // SAFETY: as above.
        call(|| unsafe { H5Sget_simple_extent_ndims(space.raw()) })?
    };
    let mut lengths: Vec<hsize_t> = vec![0; usize::try_from(n).unwrap_or(0)];
    let buffer = lengths.as_mut_ptr();
    // SAFETY: the buffer has room for as many lengths as the library said.
    call(|| unsafe { H5Sget_simple_extent_dims(space.raw(), buffer, null_mut()) })?;
    Ok(Some(lengths))
}

/// The class of a type.
pub fn class(kind: &Id) -> H5T_class_t {
    let _lock = LOCK.lock();
    // SAFETY: the type is open. The library has checked that its class is one that it knows.
    unsafe { H5Tget_class(kind.raw()) }
}

/// The number of bytes of a value of a type.
pub fn size(kind: &Id) -> usize {
    let _lock = LOCK.lock();
    // SAFETY: the type is open.
    unsafe { H5Tget_size(kind.raw()) }
}

/// Reads `n` texts of an attribute or dataset, whose type is `kind`: `read` fills a buffer of them. It
/// drops no identifier, which would clear the library's errors.
///
/// `space` describes the buffer, in which the library allocates texts of variable length.
pub fn read_texts(
    kind: &Id,
    space: &Id,
    n: usize,
    out: &mut Texts,
    read: impl FnOnce(*mut c_void) -> i32,
) -> Said<()> {
    // SAFETY: the type is open.
    if call(|| unsafe { H5Tis_variable_str(kind.raw()) })? == 0 {
        let width = size(kind);
        let bytes = n.checked_mul(width).ok_or("more texts than memory holds")?;
        let mut buffer: Vec<u8> = reserved(bytes)?;
        let place = buffer.as_mut_ptr().cast();
        call(|| read(place))?;
        let padding = {
            let _lock = LOCK.lock();
            // SAFETY: the type is open.
            match unsafe { h5t::H5Tget_strpad(kind.raw()) } {
                h5t::H5T_str_t::H5T_STR_SPACEPAD => Padding::Spaces,
                h5t::H5T_str_t::H5T_STR_NULLPAD => Padding::Zeros,
                _ => Padding::Terminated,
            }
        };
        let mut texts = buffer.chunks_exact(width.max(1));
        return texts.try_for_each(|text| out.push_padded(text, padding));
    }
    let mut buffer: Vec<*mut c_char> = vec![null_mut(); n];
    let place: *mut c_void = buffer.as_mut_ptr().cast();
    let got = call(|| read(place));
    let texts = got.and_then(|_| {
        buffer.iter().try_for_each(|&text| {
            // SAFETY: the library has set each pointer to null or to a text that ends with a zero
            // byte, and frees them below.
            out.push(if text.is_null() { &[] } else { unsafe { CStr::from_ptr(text) }.to_bytes() })
        })
    });
    // SAFETY: the pointers are null or texts that the library allocated for this space; afterwards
    // nobody uses them.
    let freed = call(|| unsafe { H5Treclaim(kind.raw(), space.raw(), H5P_DEFAULT, place) });
    texts.and(freed.map(|_| ()))
}

/// A buffer of zeros; an error if memory does not hold so many.
pub fn reserved<T: Clone + Default>(n: usize) -> Said<Vec<T>> {
    let mut buffer = Vec::new();
    let room = buffer.try_reserve_exact(n);
    room.map_err(|_| "it claims more values than memory holds".to_owned())?;
    buffer.resize(n, T::default());
    Ok(buffer)
}

/// The value of an attribute.
#[derive(Debug, Clone, PartialEq)]
pub enum Attribute {
    Text(String),
    Texts(Vec<String>),
    /// Whole numbers, and whether there is one alone.
    Numbers(Vec<i64>, bool),
    /// The full name of the object that it refers to.
    Reference(String),
    /// A list of other values, whose type is damaged: the library may not read it.
    Lists,
    Other,
}

/// Reads an attribute; `None` if the object has none of this name.
pub fn attribute(object: &Id, name: &str) -> Said<Option<Attribute>> {
    let name = name_of(name)?;
    // SAFETY: the object is open; the name ends with a zero byte and outlives the calls.
    if call(|| unsafe { h5a::H5Aexists(object.raw(), name.as_ptr()) })? == 0 {
        return Ok(None);
    }
    // SAFETY: as above.
    let own = open(|| unsafe { h5a::H5Aopen(object.raw(), name.as_ptr(), H5P_DEFAULT) })?;
    // SAFETY: the attribute is open.
    let kind = open(|| unsafe { h5a::H5Aget_type(own.raw()) })?;
    // SAFETY: the attribute is open.
    let space = open(|| unsafe { h5a::H5Aget_space(own.raw()) })?;
    let class = class(&kind);
    if class == H5T_class_t::H5T_VLEN {
        return Ok(Some(Attribute::Lists));
    }
    let Some(lengths) = extent(&space)? else {
        return Ok(Some(Attribute::Other));
    };
    let (alone, n) = (lengths.is_empty(), lengths.iter().try_fold(1u64, |n, &l| n.checked_mul(l)));
    // Attributes are small: one of 64 KB is a dataset in disguise, or broken.
    let n = n.and_then(|n| usize::try_from(n).ok()).filter(|&n| n <= 1 << 20);
    let n = n.ok_or("it claims more values than an attribute holds")?;
    let read = |kind: hid_t, place: *mut c_void| {
        // SAFETY: the attribute is open; the caller's buffer holds `n` values of the type.
        unsafe { h5a::H5Aread(own.raw(), kind, place) }
    };
    Ok(Some(match class {
        // An empty list of names may have any type.
        _ if n == 0 => Attribute::Texts(Vec::new()),
        H5T_class_t::H5T_STRING => {
            let mut texts = Texts::default();
            read_texts(&kind, &space, n, &mut texts, |place| read(kind.raw(), place))?;
            let mut texts = texts.iter().map(str::to_owned);
            if alone {
                Attribute::Text(texts.next().unwrap_or_default())
            } else {
                Attribute::Texts(texts.collect())
            }
        }
        H5T_class_t::H5T_INTEGER => {
            let mut numbers = vec![0i64; n];
            let native = *h5t::H5T_NATIVE_INT64;
            call(|| read(native, numbers.as_mut_ptr().cast()))?;
            Attribute::Numbers(numbers, alone)
        }
        H5T_class_t::H5T_ENUM if alone && size(&kind) == 1 => {
            let mut flag = 0i8;
            call(|| read(kind.raw(), (&raw mut flag).cast()))?;
            Attribute::Numbers(vec![i64::from(flag)], true)
        }
        H5T_class_t::H5T_REFERENCE if alone && size(&kind) == 8 => {
            let mut place = 0u64;
            let place = (&raw mut place).cast::<c_void>();
            call(|| read(kind.raw(), place))?;
            let (object, how) = (own.raw(), h5r::H5R_type_t::H5R_OBJECT1);
            // SAFETY: the attribute is open, and `place` holds the address that it refers to.
            let target = open(|| unsafe { h5r::H5Rdereference2(object, H5P_DEFAULT, how, place) })?;
            Attribute::Reference(full_name(&target)?)
        }
        _ => Attribute::Other,
    }))
}
