//! Types of values: numbers, texts, and the fields of records.

use super::library::{self, Id, Said, call, open};
use hdf5_metno_sys::h5i::hid_t;
use hdf5_metno_sys::h5t::{self, H5T_class_t, H5T_order_t, H5T_sign_t};
use std::ffi::{CStr, CString};

/// More fields than records have.
const MOST_FIELDS: i32 = 10_000;

/// What a value of a dataset is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Number(Number),
    Text,
    Complex,
    /// Several values with names, as anndata before 0.7 wrote obs.
    Records,
    /// A float of more than 64 bits.
    LongFloat,
    /// Lists of any length; AnnData has none.
    Lists,
    Other,
}

/// A number type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Number {
    /// As NumPy calls it: b, i, u or f.
    pub code: char,
    /// The bytes of a number in memory; a stored one may have others if it is not plain.
    pub bytes: usize,
    pub big_endian: bool,
    /// Whether the stored bytes are those of the type, so that the library need not convert them.
    pub plain: bool,
}

/// A type of values, stored by themselves or as a field of records.
#[derive(Debug)]
pub struct Values {
    id: Id,
    pub kind: Kind,
    /// The bytes of a stored value.
    pub itemsize: usize,
    /// The name of the field.
    field: Option<CString>,
}

impl Values {
    pub(super) fn new(id: Id) -> Said<Self> {
        let (kind, itemsize) = kind_of(&id)?;
        Ok(Self { id, kind, itemsize, field: None })
    }

    pub(super) fn id(&self) -> &Id {
        &self.id
    }

    /// The names of the fields of records; none of other values.
    pub(super) fn fields(&self) -> Said<Vec<String>> {
        if self.kind != Kind::Records {
            return Ok(Vec::new());
        }
        let names = members(&self.id, MOST_FIELDS)?;
        // By another name the library would find no field, and leave zeros.
        match names.iter().find(|name| name.contains(char::REPLACEMENT_CHARACTER)) {
            Some(name) => Err(format!("the name of its field '{name}' is not UTF-8")),
            None => Ok(names),
        }
    }

    /// The values of a field of records.
    pub(super) fn field(&self, name: &str) -> Said<Self> {
        let place = self.fields()?.iter().position(|field| field == name);
        let place = place.ok_or_else(|| format!("it has no field '{name}'"))?;
        self.field_at(place, name)
    }

    /// The values of the field of this number and name.
    pub(super) fn field_at(&self, place: usize, name: &str) -> Said<Self> {
        let place = u32::try_from(place).map_err(|error| error.to_string())?;
        // SAFETY: the type has a member of this number.
        let id = open(|| unsafe { h5t::H5Tget_member_type(self.id.raw(), place) })?;
        Ok(Self { field: Some(library::name_of(name)?), ..Self::new(id)? })
    }

    /// The type of its numbers in memory.
    pub(super) fn native(&self) -> Said<Id> {
        let known = match self.kind {
            Kind::Number(number) if library::class(&self.id) != H5T_class_t::H5T_ENUM => {
                native_type(number)
            }
            _ => 0,
        };
        let ascending = h5t::H5T_direction_t::H5T_DIR_ASCEND;
        // SAFETY: the type is open; a copy of it, or of a native type, is closed with its owner.
        open(|| unsafe {
            match known {
                0 => h5t::H5Tget_native_type(self.id.raw(), ascending),
                known => h5t::H5Tcopy(known),
            }
        })
    }

    /// A type in memory as the library wants it: that of a field is one of records with this field
    /// alone, which the library picks.
    pub(super) fn alone(&self, kind: hid_t) -> Said<Id> {
        let Some(field) = &self.field else {
            // SAFETY: the type is open.
            return open(|| unsafe { h5t::H5Tcopy(kind) });
        };
        // SAFETY: the type is open, here and below.
        let size = call(|| i64::try_from(unsafe { h5t::H5Tget_size(kind) }).unwrap_or(-1))?;
        let size = usize::try_from(size).unwrap_or(0);
        // SAFETY: as above.
        let record = open(|| unsafe { h5t::H5Tcreate(H5T_class_t::H5T_COMPOUND, size) })?;
        // SAFETY: as above; the name ends with a zero byte.
        call(|| unsafe { h5t::H5Tinsert(record.raw(), field.as_ptr(), 0, kind) })?;
        Ok(record)
    }
}

impl Number {
    /// NumPy's notation, such as `"<f4"`.
    #[must_use]
    pub fn name(&self) -> String {
        let order = if self.bytes == 1 {
            '|'
        } else if self.big_endian {
            '>'
        } else {
            '<'
        };
        format!("{order}{}{}", self.code, self.bytes)
    }
}

/// The library's type of a number in memory; 0 if there is none.
fn native_type(number: Number) -> hid_t {
    match (number.code, number.bytes) {
        ('i', 1) => *h5t::H5T_NATIVE_INT8,
        ('u' | 'b', 1) => *h5t::H5T_NATIVE_UINT8,
        ('i', 2) => *h5t::H5T_NATIVE_INT16,
        ('u', 2) => *h5t::H5T_NATIVE_UINT16,
        ('i', 4) => *h5t::H5T_NATIVE_INT32,
        ('u', 4) => *h5t::H5T_NATIVE_UINT32,
        ('i', 8) => *h5t::H5T_NATIVE_INT64,
        ('u', 8) => *h5t::H5T_NATIVE_UINT64,
        // Half floats become floats.
        ('f', 2 | 4) => *h5t::H5T_NATIVE_FLOAT,
        ('f', 8) => *h5t::H5T_NATIVE_DOUBLE,
        _ => 0,
    }
}

/// What a value of a type is, and its bytes.
fn kind_of(kind: &Id) -> Said<(Kind, usize)> {
    let size = library::size(kind);
    let found = match library::class(kind) {
        H5T_class_t::H5T_FLOAT if size > 8 => Some(Kind::LongFloat),
        H5T_class_t::H5T_INTEGER | H5T_class_t::H5T_FLOAT => number_of(kind)?.map(Kind::Number),
        H5T_class_t::H5T_ENUM => {
            // SAFETY: the type is open.
            let of = open(|| unsafe { h5t::H5Tget_super(kind.raw()) })?;
            let number = number_of(&of)?;
            let code = if size == 1 && is_boolean(kind)? { Some('b') } else { None };
            number.map(|n| Kind::Number(Number { code: code.unwrap_or(n.code), ..n }))
        }
        H5T_class_t::H5T_STRING => Some(Kind::Text),
        H5T_class_t::H5T_COMPLEX => Some(Kind::Complex),
        H5T_class_t::H5T_COMPOUND if members(kind, 3)? == ["r", "i"] => Some(Kind::Complex),
        H5T_class_t::H5T_COMPOUND => Some(Kind::Records),
        H5T_class_t::H5T_VLEN => Some(Kind::Lists),
        _ => None,
    };
    Ok((found.unwrap_or(Kind::Other), size))
}

/// The number type of an integer or a float; `None` if it has more than 64 bits.
fn number_of(kind: &Id) -> Said<Option<Number>> {
    let (id, size) = (kind.raw(), library::size(kind));
    let is_float = library::class(kind) == H5T_class_t::H5T_FLOAT;
    let bytes = size.next_power_of_two();
    if bytes > 8 || (is_float && !matches!(size, 2 | 4 | 8)) {
        return Ok(None);
    }
    let _lock = hdf5_metno_sys::LOCK.lock();
    let mut fields = [0usize; 5];
    let [sign, exponent, exponent_bits, mantissa, mantissa_bits] = &mut fields;
    // SAFETY: the type is open, and an integer or a float; all numbers are written by the library.
    let (order, signed, whole, bias) = unsafe {
        if is_float {
            call(|| {
                h5t::H5Tget_fields(id, sign, exponent, exponent_bits, mantissa, mantissa_bits)
            })?;
        }
        let signed = !is_float && h5t::H5Tget_sign(id) == H5T_sign_t::H5T_SGN_2;
        let whole = h5t::H5Tget_precision(id) == 8 * size && h5t::H5Tget_offset(id) == 0;
        (h5t::H5Tget_order(id), signed, whole, if is_float { h5t::H5Tget_ebias(id) } else { 0 })
    };
    // Sign, exponent (place, bits), mantissa (place, bits) and bias of IEEE 754.
    let standard = match (is_float, size) {
        (false, _) => true,
        (true, 2) => fields == [15, 10, 5, 0, 10] && bias == 15,
        (true, 4) => fields == [31, 23, 8, 0, 23] && bias == 127,
        (true, _) => fields == [63, 52, 11, 0, 52] && bias == 1023,
    };
    let ordered =
        size == 1 || matches!(order, H5T_order_t::H5T_ORDER_LE | H5T_order_t::H5T_ORDER_BE);
    Ok(Some(Number {
        code: if is_float {
            'f'
        } else if signed {
            'i'
        } else {
            'u'
        },
        bytes,
        big_endian: order == H5T_order_t::H5T_ORDER_BE,
        plain: whole && standard && ordered && bytes == size,
    }))
}

/// True if the values of an enumeration are called FALSE and TRUE, as h5py writes booleans.
fn is_boolean(kind: &Id) -> Said<bool> {
    Ok(members(kind, 3)? == ["FALSE", "TRUE"])
}

/// The names of an enumeration's values, or of a record's.
fn members(kind: &Id, most: i32) -> Said<Vec<String>> {
    // SAFETY: the type is open, and has members.
    let n = call(|| unsafe { h5t::H5Tget_nmembers(kind.raw()) })?;
    let n = u32::try_from(n.min(most)).unwrap_or(0);
    let names = (0..n).map(|i| {
        let _lock = hdf5_metno_sys::LOCK.lock();
        // SAFETY: there is a member of this number; its name is copied, and freed by the library.
        unsafe {
            let name = h5t::H5Tget_member_name(kind.raw(), i);
            if name.is_null() {
                return String::new();
            }
            let copy = CStr::from_ptr(name).to_string_lossy().into_owned();
            hdf5_metno_sys::h5::H5free_memory(name.cast());
            copy
        }
    });
    Ok(names.collect())
}
