//! The moments of many groups at once, and of all others of each.
//!
//! Method, exactness and degenerate answers are those of [`super`].

use super::{Moments, PowerSums};
use crate::stats::double_double::{exponent, power_of_two};

/// The moments of many groups at once, from one list of (group, value, weight).
///
/// Buffers are kept between calls.
#[derive(Debug, Default)]
pub struct GroupMoments {
    /// One for each group, after [`GroupMoments::run`].
    pub moments: Vec<Moments>,
    /// Those of all other groups, after [`GroupMoments::leave_one_out`].
    pub others: Vec<Moments>,
    sums: Vec<PowerSums>,
    /// The sums of all other groups.
    other_sums: Vec<PowerSums>,
    again: Vec<Again>,
}

/// The second pass over one group.
#[derive(Debug, Clone, Copy, Default)]
struct Again {
    wanted: bool,
    /// The group's first value, once seen.
    origin: Option<f64>,
    /// The largest |value|.
    largest: f64,
    /// Values are taken in units of 2^scale.
    scale: i32,
    about: PowerSums,
}

impl GroupMoments {
    /// Takes `length` entries from `entry` (group, value, weight) and `zeros[g]` zeros for each
    /// group.
    pub fn run(
        &mut self,
        zeros: &[u64],
        length: usize,
        entry: impl Fn(usize) -> (usize, f64, u64),
    ) {
        self.sums.clear();
        self.sums.extend(zeros.iter().map(|&n| PowerSums { n, ..PowerSums::default() }));
        for i in 0..length {
            let (group, value, weight) = entry(i);
            self.sums[group].push(value, weight);
        }
        self.moments.clear();
        self.moments.extend(self.sums.iter().map(PowerSums::moments));
        let mut states = self.sums.iter().zip(&self.moments);
        if states.any(|(sums, state)| sums.is_ill_conditioned(state.m2)) {
            self.look_again(zeros, length, &entry);
        }
    }

    /// The second pass, over groups that are ill-conditioned.
    fn look_again(
        &mut self,
        zeros: &[u64],
        length: usize,
        entry: &impl Fn(usize) -> (usize, f64, u64),
    ) {
        let states = self.sums.iter().zip(&self.moments);
        let wanted = states.map(|(sums, state)| sums.is_ill_conditioned(state.m2));
        self.again.clear();
        self.again.extend(wanted.map(|wanted| Again { wanted, ..Again::default() }));
        for i in 0..length {
            let (group, value, _) = entry(i);
            let again = &mut self.again[group];
            again.origin.get_or_insert(value);
            again.largest = again.largest.max(value.abs());
        }
        for (again, sums) in self.again.iter_mut().zip(&self.sums) {
            if sums.is_extreme() && again.largest.is_finite() && again.largest > 0.0 {
                again.scale = exponent(again.largest).clamp(-1000, 1022);
            }
        }
        for i in 0..length {
            let (group, value, weight) = entry(i);
            self.again[group].push(value, weight);
        }
        for (group, state) in self.moments.iter_mut().enumerate() {
            let again = &mut self.again[group];
            let Some(origin) = again.origin else { continue };
            again.push(0.0, zeros[group]);
            let near = again.about.moments_about(origin * power_of_two(-again.scale), again.scale);
            // Differences to an infinite value are NaN: the plain sums have the mean.
            if again.wanted && !near.mean().is_nan() {
                *state = near;
            }
        }
    }

    /// For each group the moments of all others: merged, never subtracted.
    pub fn leave_one_out(&mut self) {
        all_others(&self.sums, PowerSums::merge, &mut self.other_sums);
        self.others.clear();
        self.others.extend(self.other_sums.iter().map(PowerSums::moments));
        let mut states = self.other_sums.iter().zip(&self.others);
        if states.any(|(sums, state)| sums.is_ill_conditioned(state.m2)) {
            all_others(&self.moments, Moments::merge, &mut self.others);
        }
    }
}

impl Again {
    fn push(&mut self, value: f64, weight: u64) {
        if self.wanted {
            let (unit, origin) = (power_of_two(-self.scale), self.origin.unwrap_or_default());
            self.about.push(value * unit - origin * unit, weight);
        }
    }
}

/// For each state all others merged, from both ends, into `others`.
pub fn all_others<S: Copy + Default>(
    states: &[S],
    merge: impl Fn(&S, &S) -> S,
    others: &mut Vec<S>,
) {
    others.clear();
    let mut before = S::default();
    for state in states {
        others.push(before);
        before = merge(&before, state);
    }
    let mut after = S::default();
    for (other, state) in others.iter_mut().zip(states).rev() {
        *other = merge(other, &after);
        after = merge(state, &after);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_kept() {
        let mut groups = GroupMoments::default();
        let mut rooms = Vec::new();
        for _ in 0..3 {
            // Ill-conditioned, so that the second pass and the second merge are taken.
            groups.run(&[0; 40], 400, |i| (i % 40, 1e9 + if i < 40 { 0.5 } else { 0.0 }, 1));
            groups.leave_one_out();
            let GroupMoments { moments, others, sums, other_sums, again } = &groups;
            rooms.push((
                moments.as_ptr(),
                others.as_ptr(),
                sums.as_ptr(),
                other_sums.as_ptr(),
                again.as_ptr(),
            ));
        }
        assert_eq!(rooms[1], rooms[0]);
        assert_eq!(rooms[2], rooms[0]);
    }
}
