//! Weights against unequal class sizes.

/// Over which voxels the classes are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rebalance {
    /// The whole volume.
    Global,
    /// The patch.
    Patch,
}

/// How many valid voxels of a target channel belong to each class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClassCounts {
    /// Target > 0.
    pub positive: u64,
    /// The others.
    pub zero: u64,
}

impl ClassCounts {
    /// Counts the voxels of `target`; where `mask` is given, only those with mask > 0.
    pub fn of(target: &[f32], mask: Option<&[f32]>) -> Self {
        let mut counts = Self::default();
        for (i, &value) in target.iter().enumerate() {
            if mask.is_none_or(|mask| mask[i] > 0.0) {
                counts.add(value);
            }
        }
        counts
    }

    fn add(&mut self, value: f32) {
        if value > 0.0 {
            self.positive += 1;
        } else {
            self.zero += 1;
        }
    }
}

/// The factor by which the gradient of each class is multiplied.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClassWeights {
    /// Target > 0.
    pub positive: f32,
    /// The others.
    pub zero: f32,
}

impl ClassWeights {
    /// No rebalancing; also where a class is absent.
    pub const ONE: Self = Self { positive: 1.0, zero: 1.0 };

    /// `N / (2 n)` for a class of `n` of the `N` voxels: the mean weight is one. Used for boundaries, counted
    /// over a volume.
    pub fn of_mean_one(counts: ClassCounts) -> Self {
        Self::from_counts(counts, |n, total| total / (2.0 * n))
    }

    /// `(1 / n) / (1 / n+ + 1 / n0)`: both weights add up to one. Used for affinities, and for boundaries counted
    /// over a patch.
    pub fn of_sum_one(counts: ClassCounts) -> Self {
        Self::from_counts(counts, |n, total| (total - n) / total)
    }

    fn from_counts(counts: ClassCounts, weight: impl Fn(f64, f64) -> f64) -> Self {
        if counts.positive == 0 || counts.zero == 0 {
            return Self::ONE;
        }
        let (positive, zero) = (counts.positive as f64, counts.zero as f64);
        let total = positive + zero;
        Self { positive: weight(positive, total) as f32, zero: weight(zero, total) as f32 }
    }

    /// The weight of a voxel with this target.
    pub fn of_voxel(self, target: f32) -> f32 {
        if target > 0.0 { self.positive } else { self.zero }
    }
}

impl std::ops::AddAssign for ClassCounts {
    fn add_assign(&mut self, other: Self) {
        self.positive += other.positive;
        self.zero += other.zero;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formulas() {
        let counts = ClassCounts { positive: 6, zero: 4 };
        let mean_one = ClassWeights::of_mean_one(counts);
        assert!((mean_one.positive - 10.0 / 12.0).abs() < 1e-6 && (mean_one.zero - 10.0 / 8.0).abs() < 1e-6);
        assert!((6.0 * mean_one.positive + 4.0 * mean_one.zero - 10.0).abs() < 1e-5);
        let sum_one = ClassWeights::of_sum_one(counts);
        let expected = (1.0 / 6.0) / (1.0 / 6.0 + 1.0 / 4.0);
        assert!((sum_one.positive - expected).abs() < 1e-6 && (sum_one.zero - 0.6).abs() < 1e-6);
        assert_eq!((sum_one.of_voxel(255.0), sum_one.of_voxel(0.0)), (sum_one.positive, sum_one.zero));
    }

    #[test]
    fn an_absent_class_leaves_the_weights_at_one() {
        for (positive, zero) in [(0, 0), (5, 0), (0, 5)] {
            let counts = ClassCounts { positive, zero };
            assert_eq!(ClassWeights::of_mean_one(counts), ClassWeights::ONE);
            assert_eq!(ClassWeights::of_sum_one(counts), ClassWeights::ONE);
        }
    }

    #[test]
    fn only_valid_voxels_count() {
        let target = [1.0, 0.0, 2.0, 0.0, 0.0];
        assert_eq!(ClassCounts::of(&target, None), ClassCounts { positive: 2, zero: 3 });
        let mask = [1.0, 1.0, 0.0, 0.0, 0.5];
        let mut counts = ClassCounts::of(&target, Some(&mask));
        assert_eq!(counts, ClassCounts { positive: 1, zero: 2 });
        counts += ClassCounts { positive: 1, zero: 1 };
        assert_eq!(counts, ClassCounts { positive: 2, zero: 3 });
    }
}
