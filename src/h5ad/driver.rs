//! The file driver through which the HDF5 library reads: positioned reads of a file that stays open.
//!
//! It differs from the library's own driver in three ways. Heaps of text are checked before they
//! are decoded ([`heap`]). A read past the end of the file is an error, where the library would read
//! zeros. And it takes no locks: a file that another program has open opens.

use super::{grouped, heap};
use hdf5_metno_sys::h5::{haddr_t, herr_t, hsize_t};
use hdf5_metno_sys::h5f::H5F_close_degree_t;
use hdf5_metno_sys::h5fd::H5FD_FEAT_DEFAULT_VFD_COMPATIBLE;
use hdf5_metno_sys::h5i::hid_t;
use std::cell::RefCell;
use std::ffi::{CStr, CString, OsStr, c_char, c_int, c_uint, c_ulong, c_void};
use std::fs::File;
use std::io;
use std::mem::{offset_of, size_of};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::ptr;
use std::sync::{Arc, PoisonError, RwLock};

/// `H5FD_class_t` of HDF5 2.2 (H5FDdevelop.h, version 1). The library refuses another version.
#[repr(C)]
pub struct Class {
    version: c_uint,
    value: c_int,
    name: *const c_char,
    maxaddr: haddr_t,
    close_degree: H5F_close_degree_t,
    terminate: Unused,
    /// `sb_size`, `sb_encode`, `sb_decode`.
    superblock: [Unused; 3],
    fapl_size: usize,
    /// `fapl_get`, `fapl_copy`, `fapl_free`.
    fapl: [Unused; 3],
    dxpl_size: usize,
    /// `dxpl_copy`, `dxpl_free`.
    dxpl: [Unused; 2],
    open: unsafe extern "C" fn(*const c_char, c_uint, hid_t, haddr_t) -> *mut Driver,
    close: unsafe extern "C" fn(*mut Driver) -> herr_t,
    compare: unsafe extern "C" fn(*const Driver, *const Driver) -> c_int,
    query: unsafe extern "C" fn(*const Driver, *mut c_ulong) -> herr_t,
    /// `get_type_map`, `alloc`, `free`.
    space: [Unused; 3],
    get_eoa: unsafe extern "C" fn(*const Driver, c_int) -> haddr_t,
    set_eoa: unsafe extern "C" fn(*mut Driver, c_int, haddr_t) -> herr_t,
    get_eof: unsafe extern "C" fn(*const Driver, c_int) -> haddr_t,
    get_handle: Unused,
    read: unsafe extern "C" fn(*mut Driver, c_int, hid_t, haddr_t, usize, *mut c_void) -> herr_t,
    write: unsafe extern "C" fn(*mut Driver, c_int, hid_t, haddr_t, usize, *const c_void) -> herr_t,
    /// `read_vector`, `write_vector`, `read_selection`, `write_selection`, `flush`, `truncate`,
    /// `lock`, `unlock`, `del`, `ctl`.
    others: [Unused; 10],
    free_lists: [c_int; 7],
}

/// A callback that the driver does not have.
type Unused = Option<unsafe extern "C" fn()>;

// SAFETY: it is constant; its pointer leads to a constant.
unsafe impl Sync for Class {}

/// A file that can be closed while others still hold it, as a notebook holds the last exception.
#[derive(Debug)]
pub struct Handle(RwLock<Option<File>>);

impl Handle {
    /// Opens a file for reading.
    ///
    /// # Errors
    /// What the system says.
    pub fn open(path: &Path) -> io::Result<Self> {
        // Opening a pipe would wait for a writer.
        if !std::fs::metadata(path)?.is_file() {
            return Err(io::Error::other("it is no ordinary file"));
        }
        File::open(path).map(|file| Self(RwLock::new(Some(file))))
    }

    /// Calls `work` with the file, which stays open meanwhile.
    ///
    /// # Errors
    /// The file is closed.
    pub fn with<T>(&self, work: impl FnOnce(&File) -> T) -> io::Result<T> {
        let file = self.0.read().unwrap_or_else(PoisonError::into_inner);
        file.as_ref().map(work).ok_or_else(|| io::Error::other("the file is closed"))
    }

    /// The size of the file now, in bytes.
    ///
    /// # Errors
    /// The file is closed, or what the system says.
    pub fn bytes(&self) -> io::Result<u64> {
        Ok(self.with(File::metadata)??.len())
    }

    /// Closes the file.
    pub fn close(&self) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// An open file: `H5FD_t`, whose fields the library fills, and behind it what is ours.
#[repr(C)]
pub struct Driver {
    head: Head,
    file: Arc<Handle>,
    eoa: haddr_t,
    eof: haddr_t,
}

/// `H5FD_t` of HDF5 2.2 (H5FDdevelop.h).
#[repr(C)]
struct Head {
    driver_id: hid_t,
    class: *const c_void,
    fileno: c_ulong,
    access_flags: c_uint,
    feature_flags: c_ulong,
    maxaddr: haddr_t,
    base_addr: haddr_t,
    threshold: hsize_t,
    alignment: hsize_t,
    paged_aggr: bool,
}

// As a C compiler lays them out.
const _: () = assert!(size_of::<Head>() == 80 && size_of::<Class>() == 336);
const _: () = assert!(offset_of!(Class, open) == 120 && offset_of!(Class, read) == 208);

/// Addresses are those of files: they must fit a signed 64-bit number.
const MAX: haddr_t = (1 << 63) - 1;

pub static CLASS: Class = Class {
    version: 1,
    // Between 256 and 511, drivers that are not registered.
    value: 378,
    name: c"pdex".as_ptr(),
    maxaddr: MAX,
    // Closing the file leaves objects that are still open usable.
    close_degree: H5F_close_degree_t::H5F_CLOSE_WEAK,
    terminate: None,
    superblock: [None; 3],
    fapl_size: 0,
    fapl: [None; 3],
    dxpl_size: 0,
    dxpl: [None; 2],
    open,
    close,
    compare,
    query,
    space: [None; 3],
    get_eoa,
    set_eoa,
    get_eof,
    get_handle: None,
    read,
    write,
    others: [None; 10],
    // One free list for everything; nothing is ever freed.
    free_lists: [1; 7],
};

thread_local! {
    /// The name of a file that is open already, for `open`.
    static KNOWN: RefCell<Option<(CString, Arc<Handle>)>> = const { RefCell::new(None) };
    /// Why the driver refused the last read.
    static PROBLEM: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Calls `work`, during which the library opens `name` as `file`.
pub fn with_known<T>(name: &CStr, file: &Arc<Handle>, work: impl FnOnce() -> T) -> T {
    KNOWN.with_borrow_mut(|known| *known = Some((name.to_owned(), Arc::clone(file))));
    let out = work();
    KNOWN.with_borrow_mut(|known| *known = None);
    out
}

/// Why the driver refused a read since the last call.
pub fn take_problem() -> Option<String> {
    PROBLEM.with_borrow_mut(Option::take)
}

fn refuse(problem: String) -> herr_t {
    // Without a place for it, as when the thread ends, the problem has no words.
    let _ = PROBLEM.try_with(|place| *place.borrow_mut() = Some(problem));
    -1
}

unsafe extern "C" fn open(name: *const c_char, flags: c_uint, _: hid_t, _: haddr_t) -> *mut Driver {
    // SAFETY: the library passes a string that ends with a zero byte.
    let name = unsafe { CStr::from_ptr(name) };
    let opened =
        if flags == 0 { file_of(name) } else { Err(io::ErrorKind::ReadOnlyFilesystem.into()) };
    let driver = opened.and_then(|file| {
        let eof = file.bytes()?;
        // SAFETY: zeros are valid for all fields of `Head`, numbers and a pointer.
        let head = unsafe { std::mem::zeroed() };
        Ok(Driver { head, file, eoa: 0, eof })
    });
    match driver {
        Ok(driver) => Box::into_raw(Box::new(driver)),
        Err(error) => {
            refuse(error.to_string());
            ptr::null_mut()
        }
    }
}

/// The file of a name: the known one, or, behind an external link, another.
fn file_of(name: &CStr) -> io::Result<Arc<Handle>> {
    let known = KNOWN.with_borrow(|known| {
        known.as_ref().filter(|(own, _)| own.as_c_str() == name).map(|(_, file)| Arc::clone(file))
    });
    match known {
        Some(file) => Ok(file),
        None => Handle::open(Path::new(OsStr::from_bytes(name.to_bytes()))).map(Arc::new),
    }
}

unsafe extern "C" fn close(driver: *mut Driver) -> herr_t {
    // SAFETY: the pointer is one that `open` returned, and the library calls this once.
    drop(unsafe { Box::from_raw(driver) });
    0
}

/// No two are the same: each keeps its own cache of what it has read.
unsafe extern "C" fn compare(a: *const Driver, b: *const Driver) -> c_int {
    (a as usize).cmp(&(b as usize)) as c_int
}

unsafe extern "C" fn query(_: *const Driver, flags: *mut c_ulong) -> herr_t {
    // SAFETY: the library passes a valid pointer, or null.
    if let Some(flags) = unsafe { flags.as_mut() } {
        *flags = c_ulong::from(H5FD_FEAT_DEFAULT_VFD_COMPATIBLE);
    }
    0
}

unsafe extern "C" fn get_eoa(driver: *const Driver, _: c_int) -> haddr_t {
    // SAFETY: the pointer is one that `open` returned, and not closed yet.
    unsafe { (*driver).eoa }
}

unsafe extern "C" fn set_eoa(driver: *mut Driver, _: c_int, address: haddr_t) -> herr_t {
    // SAFETY: as in `get_eoa`; the library's lock keeps other threads away.
    unsafe { (*driver).eoa = address };
    0
}

unsafe extern "C" fn get_eof(driver: *const Driver, _: c_int) -> haddr_t {
    // SAFETY: as in `get_eoa`.
    unsafe { (*driver).eof }
}

unsafe extern "C" fn read(
    driver: *mut Driver,
    _: c_int,
    _: hid_t,
    address: haddr_t,
    size: usize,
    buffer: *mut c_void,
) -> herr_t {
    if size == 0 {
        return 0;
    }
    // SAFETY: as in `get_eoa`; nothing is changed.
    let driver = unsafe { &*driver };
    // SAFETY: the library passes a buffer of `size` bytes that nobody else uses. They may not be
    // initialised yet, which a `u8` that is only written does not mind.
    let buffer = unsafe { std::slice::from_raw_parts_mut(buffer.cast::<u8>(), size) };
    let shrunk = driver.file.bytes().is_ok_and(|bytes| bytes < driver.eof);
    let problem = "the file was truncated while it was being read";
    let done = if shrunk { Err(problem.to_owned()) } else { Ok(()) };
    match done.and_then(|()| read_checked(&driver.file, address, buffer)) {
        Ok(()) => 0,
        Err(problem) => refuse(problem),
    }
}

/// Fills the buffer from an address on; the heap that starts there, if one does, is checked.
fn read_checked(file: &Handle, address: u64, buffer: &mut [u8]) -> Result<(), String> {
    let end = address.saturating_add(u64::try_from(buffer.len()).unwrap_or(u64::MAX));
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::UnexpectedEof => {
            format!(
                "byte {} lies past the end of the file: was it truncated?",
                grouped(end.saturating_sub(1).into())
            )
        }
        _ => error.to_string(),
    };
    file.with(|file| file.read_exact_at(buffer, address)).flatten().map_err(failed)?;
    let Some(size) = heap::claimed(buffer) else {
        return Ok(());
    };
    // The library reads the start of a collection, and then what lies behind it.
    let whole = usize::try_from(size).ok().filter(|&size| size > buffer.len());
    let endless = match whole {
        None => heap::is_endless(buffer),
        Some(_) if file.bytes().map_err(failed)?.saturating_sub(address) < size => {
            // The library refuses it, too.
            false
        }
        Some(size) => {
            let mut collection = Vec::new();
            let room = collection.try_reserve_exact(size);
            room.map_err(|_| "a heap of text is larger than memory".to_owned())?;
            collection.resize(size, 0);
            file.with(|file| file.read_exact_at(&mut collection, address))
                .flatten()
                .map_err(failed)?;
            heap::is_endless(&collection)
        }
    };
    if endless {
        return Err(format!(
            "the heap of text at byte {} is broken: an object in it takes no bytes; was the file \
             copied completely?",
            grouped(address.into())
        ));
    }
    Ok(())
}

unsafe extern "C" fn write(
    _: *mut Driver,
    _: c_int,
    _: hid_t,
    _: haddr_t,
    _: usize,
    _: *const c_void,
) -> herr_t {
    refuse("the file is open for reading only".to_owned())
}
