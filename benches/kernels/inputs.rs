//! What the kernels are timed on, from fixed seeds, and how an answer is held to another.

use pdex::engine::design::Reference;
use pdex::matrix::Entry;

/// A multiply-xorshift generator (Steele, Lea and Flood 2014, SplitMix64).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From (0, 1].
    pub fn unit(&mut self) -> f64 {
        ((self.next() >> 11) + 1) as f64 / (1u64 << 53) as f64
    }

    /// A geometric count, overdispersed as counts of molecules are.
    fn count(&mut self, mean: f64) -> f64 {
        (self.unit().ln() / (mean / (1.0 + mean)).ln()).floor()
    }
}

/// One code a cell: a share of the control, else a target; the first targets are small.
fn codes(cells: usize, targets: usize, control: f64) -> Vec<u32> {
    let mut random = Random(2);
    let mut code = || {
        if random.unit() < control {
            return 0;
        }
        let place = random.unit().powf(0.7);
        1 + ((place * targets as f64) as u32).min(targets as u32 - 1)
    };
    (0..cells).map(|_| code()).collect()
}

/// log1p of counts scaled by what each cell's depth asks for.
fn log_value(count: f64, cell: usize) -> f32 {
    let depth = 0.5 + Random(cell as u64).unit();
    (count * depth).ln_1p() as f32
}

/// One gene: a value and a code a cell.
pub struct Gene {
    values: Vec<f32>,
    codes: Vec<u32>,
}

impl Gene {
    const CELLS: usize = 30_000;
    const TARGETS: usize = 200;
    /// Counts are below it; larger ones are cut.
    const LARGEST: f64 = 31.0;

    pub fn of_counts() -> Self {
        let mut random = Random(3);
        let values =
            (0..Self::CELLS).map(|_| random.count(0.65).min(Self::LARGEST) as f32).collect();
        Self { values, codes: codes(Self::CELLS, Self::TARGETS, 0.034) }
    }

    pub fn of_log_values() -> Self {
        let mut random = Random(4);
        let values = (0..Self::CELLS).map(|cell| log_value(random.count(0.65), cell)).collect();
        Self { values, codes: codes(Self::CELLS, Self::TARGETS, 0.034) }
    }

    /// The non-zeros, and for each group its zeros and its cells.
    pub fn sparse(&self) -> (Vec<Entry<f32>>, Vec<u64>, Vec<u64>) {
        let groups = 1 + self.codes.iter().max().map_or(0, |&code| code as usize);
        let (mut zeros, mut sizes) = (vec![0; groups], vec![0; groups]);
        let mut entries = Vec::new();
        for (&value, &code) in self.values.iter().zip(&self.codes) {
            sizes[code as usize] += 1;
            if value == 0.0 {
                zeros[code as usize] += 1;
            } else {
                entries.push(Entry { value, code });
            }
        }
        (entries, zeros, sizes)
    }

    /// The plain samples of a target and of what it is compared with.
    pub fn samples(&self, code: u32, reference: Reference) -> (Vec<f64>, Vec<f64>) {
        let of = |keep: &dyn Fn(u32) -> bool| {
            let cells = self.values.iter().zip(&self.codes);
            cells.filter(|(_, code)| keep(**code)).map(|(&value, _)| f64::from(value)).collect()
        };
        let other = |of_cell: u32| match reference {
            Reference::Group => of_cell == 0,
            Reference::Rest => of_cell != code,
        };
        (of(&|of_cell| of_cell == code), of(&other))
    }
}

/// A small screen, cell by cell.
pub struct Screen {
    rows: Vec<f32>,
    pub codes: Vec<u32>,
}

impl Screen {
    pub const CELLS: usize = 4_000;
    pub const GENES: usize = 256;
    pub const TARGETS: usize = 40;

    fn new(value: impl Fn(f64, usize) -> f32) -> Self {
        let mut random = Random(7);
        let means: Vec<f64> = (0..Self::GENES).map(|_| (random.unit() * 8.0 - 5.5).exp()).collect();
        let mut rows = Vec::with_capacity(Self::CELLS * Self::GENES);
        for cell in 0..Self::CELLS {
            rows.extend(means.iter().map(|&mean| value(random.count(mean), cell)));
        }
        Self { rows, codes: codes(Self::CELLS, Self::TARGETS, 0.05) }
    }

    pub fn of_counts() -> Self {
        Self::new(|count, _| count as f32)
    }

    pub fn of_log_values() -> Self {
        Self::new(log_value)
    }

    /// Values, indices and indptr.
    pub fn csr(&self) -> (Vec<f32>, Vec<i32>, Vec<i64>) {
        let (mut values, mut indices, mut indptr) = (Vec::new(), Vec::new(), vec![0]);
        for row in self.rows.chunks(Self::GENES) {
            for (gene, &value) in (0..).zip(row).filter(|(_, value)| **value != 0.0) {
                values.push(value);
                indices.push(gene);
            }
            indptr.push(values.len() as i64);
        }
        (values, indices, indptr)
    }

    pub fn gene(&self, gene: usize) -> Gene {
        let values = self.rows.iter().skip(gene).step_by(Self::GENES).copied().collect();
        Gene { values, codes: self.codes.clone() }
    }
}

/// Asserts that two numbers agree, relative to the second.
#[track_caller]
pub fn near(got: f64, want: f64, tolerance: f64) {
    let off = if got == want { 0.0 } else { ((got - want) / want).abs() };
    assert!(off <= tolerance, "{got:e}, but {want:e} is right: {off:e} off");
}

/// Holds a tail and its logarithm to every row of `tests/golden/special.csv` of its name.
pub fn golden(function: &str, tail: impl Fn(f64, f64) -> (f64, f64)) {
    let table = include_str!("../../tests/golden/special.csv");
    let mut rows = 0;
    for line in table.lines().filter(|line| line.split(',').next() == Some(function)) {
        let field = |i: usize| line.split(',').nth(i).and_then(|text| text.parse().ok());
        let number = |i: usize| field(i).unwrap_or(f64::INFINITY);
        let (sf, log_sf) = tail(number(1), number(2));
        if number(3) > 1e-300 {
            near(sf, number(3), 1e-12);
        }
        near(log_sf, number(4), 1e-12);
        rows += 1;
    }
    assert!(rows > 100, "{rows} rows of {function}");
}
