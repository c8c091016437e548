//! The numeric core's kernels at the sizes of a real screen: each answer is checked against its
//! definition, then the kernel is timed on one thread.
//!
//! ```text
//! cargo bench --features testing --bench kernels              times
//! cargo bench --features testing --bench kernels -- --test    checks, and runs each once
//! ```
//!
//! `cargo test --features testing` does the latter without an optimised build.  Inputs come from
//! fixed seeds.  One gene: 30,000 cells, 200 targets and 1,020 control cells, two fifths of them
//! not zero.  The engine: 4,000 cells x 256 genes, 40 targets.
#![allow(clippy::unwrap_used, missing_docs)]
// Inputs are made as a bench likes.
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss
)]

#[path = "kernels/inputs.rs"]
mod inputs;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use inputs::{Gene, Random, Screen, golden, near};
use pdex::engine::column::{Column, Record};
use pdex::engine::design::{Design, Reference, pair};
use pdex::engine::gene::GeneKernel;
use pdex::engine::plan::Limits;
use pdex::engine::pool::Monitor;
use pdex::engine::request::{GeneRequest, Request, Scale};
use pdex::engine::run::{Run, Workspace};
use pdex::engine::source::sample::Sample;
use pdex::engine::source::sorted::{Ranks, Sorted};
use pdex::engine::table::Table;
use pdex::engine::test::Test;
use pdex::matrix::{Csr, View};
use pdex::stats::adjust::benjamini_hochberg;
use pdex::stats::anderson::given_ties::{self, SharedTies};
use pdex::stats::anderson::{self, AndersonSum};
use pdex::stats::conditional::{LISTED, SampleValues, Tails, ValueTails};
use pdex::stats::exact::NullTables;
use pdex::stats::radix::{Scratch, sort_entries};
use pdex::stats::runs::SharedRuns;
use pdex::stats::special::{anderson_darling, normal, student_t};
use pdex::stats::{ks, naive, ttest, wilcoxon};
use std::f64::consts::{LN_2, LOG10_E};
use std::hint::black_box;
use std::time::Duration;

const REFERENCES: [(&str, Reference); 2] =
    [("reference", Reference::Group), ("rest", Reference::Rest)];

fn radix(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("radix sort");
    for (entries, bits) in [(1_000, 24), (12_000, 24), (200_000, 26)] {
        let mut random = Random(1);
        let key = |random: &mut Random| random.next() >> (64 - bits);
        let unsorted: Vec<u64> = (0..entries).map(|i| key(&mut random) << 32 | i).collect();
        let mut scratch = Scratch::default();
        let (mut got, mut want) = (unsorted.clone(), unsorted.clone());
        sort_entries(&mut got, &mut scratch, bits);
        want.sort_by_key(|entry| entry >> 32);
        assert!(got == want, "{entries} entries of {bits} bits are out of order");
        group.throughput(Throughput::Elements(entries));
        group.bench_function(BenchmarkId::from_parameter(entries), |bencher| {
            bencher.iter_batched_ref(
                || unsorted.clone(),
                |entries| sort_entries(entries, &mut scratch, bits),
                BatchSize::SmallInput,
            );
        });
    }
}

/// 2 U1 and the ties of the first targets, by the definition.
fn check_ranks(gene: &Gene, sizes: &[u64], reference: Reference, ranks: &Ranks) {
    for code in 1..4 {
        let (x, y) = gene.samples(code, reference);
        let want = naive::rank_sum(&x, &y);
        let ties = ranks.shared + ranks.ties[code as usize];
        assert_eq!((want.twice_u, want.ties), (ranks.twice[code as usize], ties));
        let pair = pair(sizes, sizes.iter().sum(), reference, code as usize - 1);
        assert_eq!((want.n_target, want.n_reference), pair);
    }
}

fn sorted(criterion: &mut Criterion) {
    let gene = Gene::of_log_values();
    let (entries, zeros, sizes) = gene.sparse();
    let sample = Sample { entries: &entries, weights: None, zeros: &zeros };
    let mut group = criterion.benchmark_group("one gene sorted and ranked");
    group.throughput(Throughput::Elements(entries.len() as u64));
    for (name, reference) in REFERENCES {
        let (mut sorted, mut ranks) = (Sorted::default(), Ranks::default());
        let mut call = || {
            sorted.sort(black_box(&sample));
            match reference {
                Reference::Group => sorted.rank::<false>(&zeros, &sizes, &mut ranks),
                Reference::Rest => sorted.rank::<true>(&zeros, &sizes, &mut ranks),
            }
        };
        call();
        group.bench_function(name, |bencher| bencher.iter(&mut call));
        check_ranks(&gene, &sizes, reference, &ranks);
    }
}

/// What a test is called here: rank sums have several ways to a p-value.
fn name_of(test: Test) -> String {
    match test {
        Test::Wilcoxon(options) if options.method != wilcoxon::Method::Asymptotic => {
            format!("wilcoxon {:?}", options.method).to_lowercase()
        }
        Test::Anderson(options) if options.method != anderson::Method::Asymptotic => {
            format!("anderson {:?}", options.method).to_lowercase()
        }
        Test::TTest(options) if options.method != ttest::Method::Student => {
            format!("ttest {:?}", options.method).to_lowercase()
        }
        _ => test.name().to_owned(),
    }
}

fn ks(options: ks::Options, x: &[f64], y: &[f64]) -> ks::Ks {
    naive::ks_distance(x, y).test(&options, &mut ks::Scratch::default()).unwrap()
}

/// One comparison's statistic against the definition, on plain samples.
fn check_statistic(test: Test, x: &[f64], y: &[f64], statistic: f64) {
    match test {
        Test::Wilcoxon(_) => assert_eq!(2.0 * statistic, naive::rank_sum(x, y).twice_u as f64),
        Test::Anderson(options) => {
            let mut sum = AndersonSum::new(x.len() as u64, y.len() as u64, options.midrank);
            for (c, r) in naive::runs(x, y) {
                sum.push(c, r);
            }
            near(statistic, sum.test(&options).unwrap().statistic, 1e-9);
        }
        Test::TTest(_) => near(statistic, naive::t_statistic(x, y, true), 1e-9),
        Test::Ks(options) => near(statistic, ks(options, x, y).statistic, 1e-14),
    }
}

/// Its p-value, too.
fn check_pair(test: Test, x: &[f64], y: &[f64], statistic: f64, p: f64) {
    check_statistic(test, x, y, statistic);
    let want = match test {
        // Given the ties: see `rank_sum_given_ties`.
        Test::Wilcoxon(options) if options.method != wilcoxon::Method::Asymptotic => return,
        Test::Wilcoxon(options) => {
            naive::rank_sum(x, y).test(&options, &NullTables::default()).unwrap().p.p
        }
        // Given the ties: see `anderson_given_ties`.
        Test::Anderson(options) if options.method != anderson::Method::Asymptotic => return,
        // A² of the definition, through the tail.
        Test::Anderson(options) => {
            anderson_darling::sf(naive::anderson_a_squared(x, y, options.midrank))
        }
        // See `permuted`.
        Test::TTest(options) if options.method != ttest::Method::Student => return,
        Test::TTest(_) => 2.0 * student_t::sf(statistic.abs(), (x.len() + y.len() - 2) as f64),
        Test::Ks(options) => ks(options, x, y).p.p,
    };
    near(p, want, 1e-9);
}

/// One gene through the source that suits it: a table of small counts, or a sort.
fn genes(criterion: &mut Criterion) {
    for (kind, gene) in [("counts", Gene::of_counts()), ("log", Gene::of_log_values())] {
        let (entries, zeros, sizes) = gene.sparse();
        let sample = Sample { entries: &entries, weights: None, zeros: &zeros };
        let (cells, tables) = (sizes.iter().sum(), NullTables::default());
        let mut group = criterion.benchmark_group(format!("one gene measured, {kind}"));
        group.throughput(Throughput::Elements(sizes.len() as u64 - 1));
        for (name, reference) in REFERENCES {
            for test in Test::each() {
                let test_name = name_of(test);
                let request = GeneRequest {
                    sizes: &sizes,
                    strata: None,
                    cells,
                    reference,
                    test,
                    auroc: false,
                    scale: Scale::Plain,
                    tables: &tables,
                };
                let mut kernel = GeneKernel::default();
                let mut records = vec![Record::EMPTY; sizes.len() - 1];
                let mut call = || {
                    kernel.compare(black_box(&sample), &request, |t, record| records[t] = record);
                    records[0][Column::Statistic]
                };
                call();
                group.bench_function(BenchmarkId::new(test_name, name), |bencher| {
                    bencher.iter(&mut call);
                });
                for (t, record) in records.iter().enumerate().take(2) {
                    let (x, y) = gene.samples(t as u32 + 1, reference);
                    check_statistic(test, &x, &y, record[Column::Statistic]);
                    if let Test::Wilcoxon(options) = test {
                        let method = wilcoxon::Method::Asymptotic;
                        let options = wilcoxon::Options { method, ..options };
                        // The score holds the ties; p-values are made of many scores at once.
                        let want = naive::rank_sum(&x, &y).test(&options, &tables).unwrap();
                        assert_eq!(record[Column::ZScore], want.z_score);
                    }
                }
            }
        }
    }
}

fn engine(criterion: &mut Criterion) {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    for (kind, screen) in [("counts", Screen::of_counts()), ("log", Screen::of_log_values())] {
        let (values, indices, indptr) = screen.csr();
        let csr = Csr::new((Screen::CELLS, Screen::GENES), &values, &indices, &indptr).unwrap();
        let view = View::cells(csr);
        let genes: Vec<u32> = (0..Screen::GENES as u32).collect();
        let mut group = criterion.benchmark_group(format!("run on CSR, {kind}"));
        group.throughput(Throughput::Elements(values.len() as u64));
        for (name, reference) in REFERENCES {
            let design = Design::new(screen.codes.clone(), Screen::TARGETS, reference).unwrap();
            for test in Test::each() {
                let test_name = name_of(test);
                let (auroc, scale) = (false, Scale::Plain);
                let request = Request { design: &design, test, auroc, scale, genes: &genes };
                let mut workspace = Workspace::new(1);
                let mut call = || {
                    let mut table =
                        Table::new(Screen::TARGETS, Screen::GENES, request.own_columns());
                    let (tables, monitor) = (NullTables::default(), Monitor::default());
                    let limits = Limits::default();
                    let run = Run { request: &request, tables: &tables, limits, monitor: &monitor };
                    run.run(&view, &mut workspace, (&mut table, 0)).unwrap();
                    table.complete(test);
                    table
                };
                let table = pool.install(&mut call);
                for (t, gene) in [(0, 0), (7, 40), (39, Screen::GENES - 1)] {
                    let (x, y) = screen.gene(gene).samples(t as u32 + 1, reference);
                    let i = t * Screen::GENES + gene;
                    let (statistic, p) = (table[Column::Statistic][i], table[Column::PValue][i]);
                    check_pair(test, &x, &y, statistic, p);
                }
                group.bench_function(BenchmarkId::new(test_name, name), |bencher| {
                    pool.install(|| bencher.iter(&mut call));
                });
            }
        }
    }
}

/// One tail of a rank sum given the ties, three standard deviations out.
fn rank_sum_given_ties(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("a tail of the rank sum given the ties");
    let long: Vec<u64> = (0..31).map(|j| 6_000 >> (j / 3)).collect();
    for (cells, n_target) in [
        (&[9_000, 1_000][..], 200),
        (&[9_000, 800, 150, 50], 200),
        (&[9_000, 800, 150, 50], 20),
        (&[5_000, 2_000, 1_200, 700, 500, 300, 150, 100, 50], 60),
        (&long, 60),
    ] {
        let n = cells.iter().sum();
        let mut tails = Tails::default();
        let fill = |tails: &mut Tails| {
            tails.runs.start(n);
            for &l in cells {
                tails.runs.push(l);
            }
        };
        for sign in [1.0, -1.0] {
            fill(&mut tails);
            if sign < 0.0 {
                tails.runs.turn();
            }
            let most = 0.9 * tails.runs.largest(n_target).0;
            let deviation = tails.runs.pool(n_target).variance().sqrt();
            let t = sign * (3.0 * deviation).min(most).round();
            fill(&mut tails);
            let got = tails.best(n_target, t);
            fill(&mut tails);
            if let Ok((up, down)) = tails.sums(n_target, t) {
                // Measured 0.3 with two expressing cells expected, else 0.1.
                assert!((got - up.min(down)).abs() < 0.4, "{cells:?} {t}: {got} {up} {down}");
            }
            let side = if sign > 0.0 { "up" } else { "down" };
            let name = format!("{} runs, {n_target} of {n} cells, {side}", cells.len());
            group.bench_function(name, |bencher| {
                bencher.iter(|| {
                    fill(&mut tails);
                    tails.best(black_box(n_target), t)
                });
            });
        }
    }
}

/// A p-value of Anderson-Darling given the ties, from a sum: of a small A², which is looked up, and in
/// the tail.
fn anderson_given_ties(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("a p-value of Anderson-Darling given the ties");
    let long: Vec<u64> = (0..31).map(|j| 6_000 >> (j / 3)).collect();
    for cells in [
        &[9_000, 1_000][..],
        &[9_000, 800, 150, 50],
        &[5_000, 2_000, 1_200, 700, 500, 300, 150, 100, 50],
        &long,
    ] {
        let mut shared = SharedRuns::default();
        for &l in cells {
            shared.push(l);
        }
        let (mut ties, mut scratch) = (SharedTies::default(), given_ties::Scratch::default());
        let n: u64 = cells.iter().sum();
        for (part, share) in [("small", 60), ("tail", 24)] {
            // One in so many cells, more of those that are not zero.
            let own: Vec<u64> = cells
                .iter()
                .enumerate()
                .map(|(i, l)| if i == 0 { l / 60 } else { l.div_ceil(share) })
                .collect();
            let n_target = own.iter().sum();
            let mut sum = AndersonSum::new(n_target, n - n_target, true);
            own.iter().zip(cells).for_each(|(&own, &l)| sum.push(own, l - own));
            for pooled in [true, false] {
                ties.prepare(&shared, pooled, true);
                let runs: Vec<u32> = cells.iter().map(|&l| l as u32).collect();
                let mut call = || {
                    ties.p_value(black_box(&sum), &mut scratch, |_, limit| {
                        limit.prepare(&runs, true);
                    })
                };
                let p = call().p;
                assert!(if part == "small" { p > 0.2 } else { p < 0.03 }, "{cells:?} {part}: {p}");
                let way = if pooled { "rest" } else { "reference" };
                let name = format!("{} runs, {n_target} of {n} cells, {part}, {way}", cells.len());
                group.bench_function(name, |bencher| bencher.iter(&mut call));
            }
        }
        group.bench_function(format!("{} runs, preparing", cells.len()), |bencher| {
            bencher.iter(|| ties.prepare(black_box(&shared), true, true));
        });
    }
}

/// One tail of a target's sum of values, three standard deviations out, from a reference of 10,000 cells
/// that is prepared.
fn permuted(criterion: &mut Criterion) {
    const N: usize = 10_000;
    let mut group = criterion.benchmark_group("a tail of Student's t over all choices");
    let log = |zeros: f64, u: f64| if u < zeros { 0.0 } else { (1.0 - zeros) / (1.0 - u) };
    let kinds: [(&str, &dyn Fn(f64) -> f64); 4] = [
        ("counts", &|u| (-1.6 * (1.0 - u).ln()).floor()),
        ("large counts", &|u| (-40.0 * (1.0 - u).ln()).floor()),
        ("log values, 60 % zeros", &|u| {
            log(0.6, u).sqrt().ln_1p() - if u < 0.6 { 0.0 } else { 0.3 }
        }),
        ("log values, 98 % zeros", &|u| {
            log(0.98, u).sqrt().ln_1p() - if u < 0.98 { 0.0 } else { 0.3 }
        }),
    ];
    for (kind, quantile) in kinds {
        let cells: Vec<f64> = (0..N).map(|i| quantile((i as f64 + 0.5) / N as f64)).collect();
        let mean = cells.iter().sum::<f64>() / N as f64;
        let variance = cells.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / N as f64;
        for n_target in [20usize, 200] {
            let own = |part: f64| -> Vec<f64> {
                let at = |i: usize| 1.0 - part * (1.0 - (i as f64 + 0.5) / n_target as f64);
                (0..n_target).map(|i| cells[(N as f64 * at(i)) as usize]).collect()
            };
            let z = |own: &[f64]| {
                own.iter().map(|v| v - mean).sum::<f64>() / (n_target as f64 * variance).sqrt()
            };
            let parts = (0..100).map(|i| 1.0 - f64::from(i) / 100.0);
            let own = parts.map(own).find(|own| z(own) > 3.0).unwrap();
            let tail = |shared: &SampleValues, tails: &mut ValueTails| {
                tails.target.clear();
                for &value in &own {
                    tails.target.push(value, 1);
                }
                tails.best(shared, false, true)
            };
            let mut tails = ValueTails::default();
            let [nodes, listed] = [LISTED, N].map(|most| {
                let mut shared = SampleValues::default();
                for &value in &cells {
                    shared.push(value, 1);
                }
                shared.summarize(most);
                shared
            });
            near(tail(&nodes, &mut tails), tail(&listed, &mut tails), 1e-6);
            let name = format!("{kind}, {n_target} of {} cells", N + n_target);
            group.bench_function(name, |bencher| {
                bencher.iter(|| tail(black_box(&nodes), &mut tails));
            });
            if n_target == 20 {
                group.bench_function(format!("{kind}, the gene prepared"), |bencher| {
                    bencher.iter(|| {
                        let mut shared = SampleValues::default();
                        for &value in &cells {
                            shared.push(value, 1);
                        }
                        shared.summarize(LISTED);
                        shared
                    });
                });
            }
        }
    }
}

fn tails(criterion: &mut Criterion) {
    const DF: f64 = 1_163.0;
    golden("normal", |z, _| (normal::sf(z), normal::log_sf(z)));
    golden("student_t", |t, df| (student_t::sf(t, df), student_t::log_sf(t, df)));
    golden("anderson_darling", |x, _| (anderson_darling::sf(x), anderson_darling::log_sf(x)));
    let mut random = Random(5);
    let arguments: Vec<f64> = (0..1_000).map(|_| random.unit().powi(3) * 40.0).collect();
    let mut group = criterion.benchmark_group("1,000 tails and their logarithms");
    group.throughput(Throughput::Elements(arguments.len() as u64));
    let mut time = |name, tail: &dyn Fn(f64) -> f64| {
        group.bench_function(name, |bencher| {
            bencher.iter(|| black_box(&arguments).iter().map(|&x| tail(x)).sum::<f64>());
        });
    };
    time("normal", &|z| normal::two_sided(z).neg_log10);
    time("student_t", &|t| student_t::two_sided(t, DF).neg_log10);
    time("anderson_darling", &|x| anderson_darling::sf(x) + anderson_darling::log_sf(x));
    let (mut p, mut neg_log10) = (vec![0.0; arguments.len()], vec![0.0; arguments.len()]);
    normal::two_sided_all(&arguments, &mut p, &mut neg_log10);
    for (i, &z) in arguments.iter().enumerate() {
        let (want, ln) = (2.0 * normal::sf(z), normal::log_sf(z) + LN_2);
        if want > 1e-300 {
            near(p[i], want, 1e-12);
        }
        // Near p = 1 the sum of logarithms cancels.
        if z > 1.0 {
            near(neg_log10[i], -ln * LOG10_E, 1e-12);
        }
    }
    group.bench_function("normal, many at once", |bencher| {
        bencher.iter(|| normal::two_sided_all(black_box(&arguments), &mut p, &mut neg_log10));
    });
}

/// min over j >= i of min(1, m p_(j) / j) after one comparison sort.
fn adjusted(p: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|&a, &b| p[a].total_cmp(&p[b]));
    let (mut least, mut out) = (1.0f64, vec![0.0; p.len()]);
    for (below, &i) in order.iter().enumerate().rev() {
        least = least.min(p[i] * p.len() as f64 / (below + 1) as f64);
        out[i] = least;
    }
    out
}

fn adjust(criterion: &mut Criterion) {
    let mut random = Random(6);
    let p: Vec<f64> = (0..8_000)
        .map(|i| if i % 20 == 0 { 1e-300f64.powf(random.unit()) } else { random.unit() })
        .collect();
    for (got, want) in benjamini_hochberg(&p).into_iter().zip(adjusted(&p)) {
        near(got, want, 1e-14);
    }
    for (got, want) in
        benjamini_hochberg(&p[..200]).iter().zip(naive::benjamini_hochberg(&p[..200]))
    {
        near(*got, want, 1e-14);
    }
    let mut group = criterion.benchmark_group("Benjamini-Hochberg");
    group.throughput(Throughput::Elements(p.len() as u64));
    group.bench_function(BenchmarkId::from_parameter(p.len()), |bencher| {
        bencher.iter(|| benjamini_hochberg(black_box(&p)));
    });
}

fn configured() -> Criterion {
    Criterion::default()
        .sample_size(30)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
}

criterion_group! {
    name = kernels;
    config = configured();
    targets = radix, sorted, rank_sum_given_ties, anderson_given_ties, permuted, genes, engine, tails, adjust
}
criterion_main!(kernels);
