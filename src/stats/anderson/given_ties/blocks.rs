//! The runs of a pool as pieces: runs that stay, and blocks of small runs.

use crate::cast::{narrow, place, real, real_below};
use crate::stats::runs::{OwnRun, SharedRuns};

/// Up to this number of runs all of them stay.
pub const EXACT_RUNS: usize = 32;
/// Of more runs, those of more than N / 64 cells stay.
const KEPT: f64 = 64.0;
/// The blocks that the cells of all other runs are spread over.
const BLOCKS: f64 = 16.0;

/// A run, or several small ones that follow each other.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Piece {
    pub(super) cells: f64,
    pub(super) runs: u32,
    /// Of several runs: Σ N l²/(4 V) for midranks, Σ l² for the right-continuous version.
    pub(super) fine: f64,
}

/// Gathers runs, ascending, into pieces.
struct Gather {
    n: f64,
    midrank: bool,
    /// Cells in a run that stays exceed this; negative where all stay.
    small: f64,
    /// Blocks a cell of a small run.
    pace: f64,
    /// Cells of small runs so far, and of all runs.
    gathered: f64,
    below: f64,
    /// The block of the last run; `None` after a run that stays.
    block: Option<u64>,
}

impl Gather {
    fn new(cells: &[u32], midrank: bool) -> Self {
        let (mut runs, mut total) = (0, 0);
        for &l in cells {
            runs += usize::from(l > 0);
            total += u64::from(l);
        }
        let n = real(total);
        let mut gather =
            Self { n, midrank, small: -1.0, pace: 0.0, gathered: 0.0, below: 0.0, block: None };
        if runs > EXACT_RUNS {
            gather.small = n / KEPT;
            let gathered: f64 =
                cells.iter().map(|&l| f64::from(l)).filter(|&l| l <= gather.small).sum();
            gather.pace = BLOCKS / gathered;
        }
        gather
    }

    /// True if the next run, of `l` cells, belongs to the piece of the run before it.
    fn joins(&mut self, l: f64) -> bool {
        if l > self.small {
            self.block = None;
            return false;
        }
        let block = crate::cast::whole((self.gathered + 0.5 * l) * self.pace);
        self.gathered += l;
        self.block.replace(block) == Some(block)
    }

    /// The next run as a piece of its own.
    fn piece(&mut self, l: f64) -> Piece {
        if l > self.small {
            self.below += l;
            return Piece::run(l);
        }
        let fine = fine(l, self.below, self.n, self.midrank);
        self.below += l;
        Piece { cells: l, runs: 1, fine }
    }
}

/// What a run of `l` cells adds to [`Piece::fine`], with `below` of the n cells below it.
fn fine(l: f64, below: f64, n: f64, midrank: bool) -> f64 {
    if !midrank {
        return l * l;
    }
    let (b, quarter) = (below + 0.5 * l, 0.25 * n * l);
    // V = 0 only where all values are equal.
    l * quarter / (b * (n - b) - quarter).max(f64::MIN_POSITIVE)
}

/// Fills `pieces` from runs; one without cells is left out.
pub(super) fn gather(cells: &[u32], midrank: bool, pieces: &mut Vec<Piece>) {
    pieces.clear();
    let runs = cells.iter().filter(|&&l| l > 0).map(|&l| f64::from(l));
    if cells.len() <= EXACT_RUNS {
        pieces.extend(runs.map(Piece::run));
        return;
    }
    let mut gather = Gather::new(cells, midrank);
    for l in runs {
        let (joins, piece) = (gather.joins(l), gather.piece(l));
        match pieces.last_mut() {
            Some(last) if joins => last.add(piece),
            _ => pieces.push(piece),
        }
    }
}

impl Piece {
    /// A run that stays.
    pub(super) fn run(cells: f64) -> Self {
        Self { cells, runs: 1, fine: 0.0 }
    }

    /// Pushes the piece, if it has runs, and starts another.
    fn close(&mut self, pieces: &mut Vec<Self>) {
        let piece = std::mem::take(self);
        if piece.runs > 0 {
            pieces.push(piece);
        }
    }

    fn add(&mut self, other: Self) {
        self.cells += other.cells;
        self.runs += other.runs;
        self.fine += other.fine;
    }
}

/// How the runs of a reference are gathered into pieces: made once a gene, so that a target costs
/// O(its own runs + pieces) instead of O(all runs).
///
/// Runs of more than N/64 cells stay.  The cells of the others are spread over 16 blocks of about equal
/// size, which a run that stays cuts in two; the block's share of A² is put to its two ends, as in the
/// trapezoidal rule, and what is lost of the mean comes back as a constant.  A run that the target makes
/// larger than N/64 is cut out of its block; one that stands alone joins the block around it, or makes one
/// between two runs that stay.
#[derive(Debug, Default)]
pub struct Blocks {
    /// The reference's pieces, an empty one before each run that stays unless a block is there.
    slots: Vec<Slot>,
    /// The slot of each run, and at the end that of values above all runs.
    slot_of: Vec<u32>,
    /// True where a run stays; false at the end.
    stays: Vec<bool>,
    n: f64,
    /// Cells in runs that do not stay.
    gathered: f64,
    midrank: bool,
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    /// Its first run; the next slot's is behind its last one.
    first: usize,
    piece: Piece,
}

impl Blocks {
    /// Prepares for all targets compared with these runs; buffers are reused.
    pub fn prepare(&mut self, shared: &SharedRuns, midrank: bool) {
        let mut gather = Gather::new(shared.cells(), midrank);
        self.slots.clear();
        self.slot_of.clear();
        self.stays.clear();
        // A block to join is last in `slots`.
        let mut open = false;
        for (first, &l) in shared.cells().iter().enumerate() {
            let l = f64::from(l);
            let (joins, stays) = (gather.joins(l), l > gather.small);
            let piece = gather.piece(l);
            match self.slots.last_mut() {
                Some(last) if joins => last.piece.add(piece),
                _ => {
                    if stays && !open {
                        self.slots.push(Slot { first, piece: Piece::default() });
                    }
                    self.slots.push(Slot { first, piece });
                }
            }
            open = !stays;
            self.slot_of.push(narrow(self.slots.len() - 1));
            self.stays.push(stays);
        }
        if !open {
            self.slots.push(Slot { first: shared.len(), piece: Piece::default() });
        }
        self.slot_of.push(narrow(self.slots.len() - 1));
        self.stays.push(false);
        (self.n, self.gathered, self.midrank) = (gather.n, gather.gathered, midrank);
    }

    /// True if pairs are to be of the midrank version.
    #[must_use]
    pub fn midrank(&self) -> bool {
        self.midrank
    }

    /// Fills `pieces` with those of the runs that this was prepared from.
    pub(super) fn shared(&self, pieces: &mut Vec<Piece>) {
        pieces.clear();
        pieces.extend(self.slots.iter().map(|slot| slot.piece).filter(|piece| piece.runs > 0));
    }

    fn slot(&self, run: OwnRun) -> usize {
        let at = run.place();
        // Below a run that stays there is a block, empty or not.
        place(self.slot_of[at]) - usize::from(run.is_alone() && self.stays[at])
    }

    /// Fills `pieces` with a pair's: the reference's runs, which this was prepared from, and the target's.
    pub(super) fn pair(&self, shared: &SharedRuns, own: &[OwnRun], pieces: &mut Vec<Piece>) {
        debug_assert_eq!(self.stays.len(), shared.len() + 1, "not prepared from these runs");
        pieces.clear();
        let (mut cells, mut alone, mut runs) = (0, 0, shared.len());
        for run in own {
            cells += run.cells();
            alone += if run.is_alone() { run.cells() } else { 0 };
            runs += usize::from(run.is_alone());
        }
        let n = self.n + real(cells);
        let kept = if runs > EXACT_RUNS { n / KEPT } else { -1.0 };
        let most = (self.gathered + real(alone)) / BLOCKS;
        // The target's cells are spread like the reference's, as far as the fine structure goes.
        let more = n / self.n.max(1.0);
        let scale = if self.midrank { more } else { more * more };
        let mut own = own.iter().peekable();
        for (at, slot) in self.slots.iter().enumerate() {
            let end = self.slots.get(at + 1).map_or(shared.len(), |next| next.first);
            let add = |piece: &mut Piece, of: &Piece, from: usize, to: usize| {
                let cells = real_below(shared.below(to) - shared.below(from));
                if to > from {
                    let fine = of.fine.max(0.0) * scale * (cells / of.cells);
                    piece.add(Piece { cells, runs: narrow(to - from), fine });
                }
            };
            // The slot without the runs that are cut out.
            let mut of = slot.piece;
            let (mut piece, mut next) = (Piece::default(), slot.first);
            while let Some(run) = own.next_if(|run| self.slot(**run) == at) {
                let (at, cells, alone) = (run.place(), real_below(run.cells()), run.is_alone());
                let l = cells + if alone { 0.0 } else { f64::from(shared.cells()[at]) };
                if l > kept {
                    if !alone {
                        of.fine -=
                            fine(l - cells, real_below(shared.below(at)), self.n, self.midrank);
                        of.cells -= l - cells;
                    }
                    add(&mut piece, &of, next, at);
                    piece.close(pieces);
                    pieces.push(Piece::run(l));
                    next = at + usize::from(!alone);
                    continue;
                }
                // Between runs that stay: not more cells than in a block elsewhere.
                if slot.piece.runs == 0 && piece.cells > most {
                    piece.close(pieces);
                }
                piece.cells += cells;
                piece.runs += u32::from(alone);
            }
            add(&mut piece, &of, next, end);
            piece.close(pieces);
        }
    }
}
