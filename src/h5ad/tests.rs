//! What tests/golden/h5ad.py wrote, read back.

use super::*;
use crate::readers::chunks::{Watch, Window};
use crate::readers::decode::Target;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize};

fn path() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/h5ad.h5")
}

fn file() -> File {
    File::open(&path()).unwrap()
}

fn dataset(name: &str) -> Dataset {
    match file().root().get(name).unwrap().unwrap() {
        Node::Dataset(dataset) => *dataset,
        Node::Group(group) => panic!("{} is a group", group.name),
    }
}

fn group(name: &str) -> Group {
    match file().root().get(name).unwrap().unwrap() {
        Node::Group(group) => group,
        Node::Dataset(dataset) => panic!("{} is a dataset", dataset.name),
    }
}

fn texts(name: &str) -> Vec<String> {
    let dataset = dataset(name);
    dataset.texts(&dataset.values, || Ok(())).unwrap().iter().map(str::to_owned).collect()
}

/// A window as f64.
#[allow(clippy::cast_lossless, clippy::cast_precision_loss)] // small numbers of all types
fn numbers(dataset: &Dataset, rows: Range<u64>, columns: Range<u64>) -> Vec<f64> {
    macro_rules! wide {
        ($values:expr, $($case:ident)*) => {
            match $values { $(Numbers::$case(v) => v.iter().map(|&n| n as f64).collect(),)* }
        };
    }
    wide!(dataset.read(&dataset.values, rows, columns).unwrap(), I8 U8 I16 U16 I32 U32 I64 U64 F32 F64)
}

/// The same with the readers, as `T`.
fn located<T: Target + Into<f64>>(
    dataset: &Dataset,
    rows: Range<usize>,
    columns: Range<usize>,
) -> Vec<f64> {
    let (file, found) = dataset.located().unwrap();
    let (bytes, cancel) = (AtomicUsize::new(0), AtomicBool::new(false));
    let watch = Watch { bytes: &bytes, cancel: &cancel };
    let window = Window { rows, columns };
    let values = file.with(|file| found.read::<T>(file, &window, &watch)).unwrap().unwrap();
    values.unwrap().into_iter().map(Into::into).collect()
}

#[test]
fn groups_name_their_members() {
    let root = file().root();
    assert!(matches!(root.get("same/scalar").unwrap(), Some(Node::Dataset(_))));
    let expected = ["nowhere", "numbers", "obs", "records", "same", "soft"];
    assert_eq!(
        (root.names().unwrap(), root.name.as_str()),
        (expected.map(String::from).into(), "/")
    );
    assert_eq!(group("obs").names().unwrap(), ["codes", "fixed", "flags", "names"]);
    assert!(root.get("none").unwrap().is_none());
    assert!(root.get("obs/none").unwrap().is_none());
    assert!(root.get("obs/codes/none").unwrap().is_none());
    // From a group, from the root, and by a link.
    let obs = group("obs");
    for (from, name) in
        [(&obs, "codes"), (&obs, "/obs/codes"), (&root, "soft"), (&root, "/obs//codes")]
    {
        let Some(Node::Dataset(codes)) = from.get(name).unwrap() else { panic!("{name}") };
        assert_eq!(numbers(&codes, 0..3, 0..1), [0.0, -1.0, 2.0]);
    }
    let error = root.get("nowhere").unwrap_err();
    assert_eq!(error.to_string(), "'/nowhere' is broken: it is a link that leads nowhere");
}

#[test]
fn attributes_have_their_types() {
    let obs = group("obs");
    let of = |name| obs.attribute(name).unwrap();
    assert_eq!(of("encoding-type"), Some(Attribute::Text("dataframe".into())));
    let order = ["target", "zw\u{f6}lf"].map(String::from);
    assert_eq!(of("column-order"), Some(Attribute::Texts(order.into())));
    assert_eq!(of("empty"), Some(Attribute::Texts(Vec::new())));
    assert_eq!(of("shape"), Some(Attribute::Numbers(vec![3, 4], false)));
    assert_eq!(of("ordered"), Some(Attribute::Numbers(vec![1], true)));
    assert_eq!(of("number"), Some(Attribute::Numbers(vec![-7], true)));
    assert_eq!(of("none"), None);
    let place = dataset("obs/codes").attribute("categories").unwrap();
    assert_eq!(place, Some(Attribute::Reference("/obs/fixed".into())));
}

#[test]
fn texts_of_variable_and_fixed_length() {
    assert_eq!(texts("obs/names"), ["a", "", "zw\u{f6}lf", &"d".repeat(30), "e"]);
    assert_eq!(texts("obs/fixed"), ["ab", "c", ""]);
    let codes = dataset("obs/codes");
    assert_eq!(codes.texts(&codes.values, || Ok(())).unwrap_err(), "its values are not texts");
}

#[test]
fn reading_of_texts_can_be_stopped() {
    let names = dataset("obs/names");
    let stopped = names.texts(&names.values, || Err("enough".to_owned()));
    assert_eq!(stopped.unwrap_err(), "enough");
}

#[test]
fn windows_of_the_library_are_those_of_the_readers() {
    for name in ["gzip", "lzf", "contiguous"] {
        let dataset = dataset(&format!("numbers/{name}"));
        for (rows, columns) in [(0..21, 0..6), (3..9, 1..5), (20..21, 5..6), (4..4, 0..6)] {
            let expected: Vec<f64> = rows
                .clone()
                .flat_map(|r| columns.clone().map(move |c| (r * 6 + c) as f64))
                .collect();
            let window = (rows.clone(), columns.clone());
            let found = match name {
                "lzf" => located::<i16>(&dataset, window.0, window.1),
                _ => located::<f32>(&dataset, window.0, window.1),
            };
            assert_eq!(found, expected, "{name}");
            let (rows, columns) =
                (rows.start as u64..rows.end as u64, columns.start as u64..columns.end as u64);
            if name == "lzf" {
                assert_eq!(dataset.foreign().unwrap().0, 32000);
            } else {
                assert_eq!(numbers(&dataset, rows, columns), expected, "{name}");
            }
        }
    }
}

#[test]
fn what_the_readers_do_not_know_is_left_to_the_library() {
    let fill = dataset("numbers/fill");
    assert!(fill.located().is_none());
    assert_eq!(numbers(&fill, 2..5, 0..1), [9.0, 5.0, 9.0]);
    let odd = dataset("numbers/odd");
    assert!(odd.located().is_none());
    assert_eq!(numbers(&odd, 0..3, 0..1), [-3.0, 0.0, 7.0]);
    assert_eq!(numbers(&dataset("numbers/scalar"), 0..1, 0..1), [2.5]);
    assert_eq!(numbers(&dataset("obs/flags"), 0..3, 0..1), [1.0, 0.0, 1.0]);
    let beyond = fill.read(&fill.values, 999..1002, 0..1).unwrap_err();
    assert!(beyond.contains("out of bounds") || beyond.contains("extent"), "{beyond}");
}

#[test]
fn types_are_named() {
    let kind = |name: &str| dataset(name).values.kind;
    let number = |name: &str| match kind(name) {
        Kind::Number(number) => (number.name(), number.plain),
        other => panic!("{name}: {other:?}"),
    };
    assert_eq!(number("numbers/gzip"), ("<f4".into(), true));
    assert_eq!(number("numbers/lzf"), (">i2".into(), true));
    assert_eq!(number("numbers/contiguous"), ("<f2".into(), true));
    assert_eq!(number("numbers/odd"), ("<i4".into(), false));
    assert_eq!(number("obs/flags"), ("|b1".into(), true));
    assert_eq!(number("obs/codes"), ("|i1".into(), true));
    assert_eq!(kind("numbers/complex"), Kind::Complex);
    assert_eq!(kind("numbers/long"), Kind::LongFloat);
    assert_eq!(kind("numbers/lists"), Kind::Lists);
    assert_eq!((kind("obs/names"), kind("records")), (Kind::Text, Kind::Records));
    assert_eq!(dataset("numbers/null").shape, None);
    assert_eq!(dataset("numbers/scalar").shape, Some(Vec::new()));
    assert_eq!(dataset("numbers/gzip").chunk, Some(vec![8, 4]));
}

#[test]
fn fields_of_records_are_read_by_themselves() {
    let records = dataset("records");
    let names: Vec<_> = records.fields().unwrap().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["index", "n", "x"]);
    let names = records.texts(&records.field("index").unwrap(), || Ok(())).unwrap();
    assert_eq!(names.iter().collect::<Vec<_>>(), ["r0", "r1", "r2"]);
    let read = |name| records.read(&records.field(name).unwrap(), 0..3, 0..1).unwrap();
    assert!(matches!(read("n"), Numbers::I8(n) if n == [1, -1, 0]));
    assert!(matches!(read("x"), Numbers::F64(x) if x == [0.5, 1.5, 2.5]));
    assert_eq!(records.field("y").unwrap_err(), "it has no field 'y'");
}

#[test]
fn claims_are_compared_with_bytes() {
    let sparse = dataset("numbers/sparse");
    let problem = "it claims 10,000,000,000 elements, more than its stored bytes can hold";
    assert_eq!(sparse.excess(None).as_deref(), Some(problem));
    assert_eq!(sparse.excess(Some(1 << 20)), None);
    assert_eq!(sparse.n_written(), 1 << 10);
    let at = (1 << 32) + 4;
    assert_eq!(numbers(&sparse, at..at + 3, 0..1), [0.0, 5.0, 0.0]);
    let at = (1 << 32) + 4;
    assert_eq!(located::<u32>(&sparse, at..at + 3, 0..1), [0.0, 5.0, 0.0]);
}

#[test]
fn what_is_no_file_is_an_error() {
    let error = File::open(Path::new("/nonexistent/x.h5ad")).unwrap_err();
    assert!(error.to_string().contains("No such file"), "{error}");
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let error = File::open(&manifest).unwrap_err();
    assert!(error.to_string().contains("signature not found"), "{error}");
}

#[test]
fn a_closed_file_is_not_read() {
    let file = file();
    let Some(Node::Dataset(names)) = file.root().get("obs/names").unwrap() else { panic!() };
    let Some(Node::Dataset(gzip)) = file.root().get("numbers/gzip").unwrap() else { panic!() };
    let (handle, _) = gzip.located().unwrap();
    file.close();
    assert_eq!(names.texts(&names.values, || Ok(())).unwrap_err(), "the file is closed");
    assert!(handle.with(|_| ()).is_err() && file.bytes().is_err());
    // Another of the same path is not concerned.
    assert_eq!(texts("obs/fixed"), ["ab", "c", ""]);
}

#[test]
fn threads_share_the_library() {
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..20 {
                    assert_eq!(texts("obs/names").len(), 5);
                    assert_eq!(numbers(&dataset("numbers/gzip"), 2..3, 0..2), [12.0, 13.0]);
                }
            });
        }
    });
}
