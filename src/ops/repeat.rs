//! Kernels that are constant over blocks (key `repeat`).

use crate::volume::Extent;

/// The blocks over which the kernels of a group are constant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blocks {
    /// The kernel.
    pub kernel: Extent,
    /// A block of it.
    pub repeat: Extent,
}

impl Blocks {
    /// Every value is free.
    pub const NONE: Blocks = Blocks { kernel: Extent::ONE, repeat: Extent::ONE };
}

/// Replaces every block of extent `repeat` by its mean, in each kernel of extent `kernel` that `kernels` holds.
///
/// This is the projection onto the kernels that are constant over blocks; it follows initialisation and every
/// update. Panics where `repeat` does not divide `kernel` or `kernel` the length.
pub fn average_blocks(kernels: &mut [f32], kernel: Extent, repeat: Extent) {
    assert!(
        kernel.all(repeat, |kernel, repeat| kernel % repeat == 0),
        "blocks {repeat} of a kernel {kernel}"
    );
    assert_eq!(kernels.len() % kernel.len(), 0, "kernels of {kernel}");
    if repeat == Extent::ONE {
        return;
    }
    for kernel_values in kernels.chunks_exact_mut(kernel.len()) {
        for z in (0..kernel.z).step_by(repeat.z) {
            for y in (0..kernel.y).step_by(repeat.y) {
                for x in (0..kernel.x).step_by(repeat.x) {
                    average_block(kernel_values, kernel, Extent::new(z, y, x), repeat);
                }
            }
        }
    }
}

fn average_block(values: &mut [f32], kernel: Extent, origin: Extent, block: Extent) {
    let rows = || {
        (0..block.z)
            .flat_map(move |z| (0..block.y).map(move |y| kernel.index(origin.z + z, origin.y + y, origin.x)))
    };
    let sum: f64 =
        rows().flat_map(|start| &values[start..start + block.x]).map(|&value| f64::from(value)).sum();
    let mean = (sum / block.len() as f64) as f32;
    for start in rows() {
        values[start..start + block.x].fill(mean);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_become_their_means() {
        #[rustfmt::skip]
        let mut values = vec![
            1.0, 3.0, 10.0, 20.0,
            5.0, 7.0, 30.0, 40.0,
            // The second kernel.
            0.0, 0.0, -1.0, 1.0,
            0.0, 4.0, -2.0, 2.0,
        ];
        average_blocks(&mut values, Extent::new(1, 2, 4), Extent::new(1, 2, 2));
        #[rustfmt::skip]
        assert_eq!(values, [
            4.0, 4.0, 25.0, 25.0,
            4.0, 4.0, 25.0, 25.0,
            1.0, 1.0, 0.0, 0.0,
            1.0, 1.0, 0.0, 0.0,
        ]);
    }

    #[test]
    fn along_every_axis() {
        let kernel = Extent::new(4, 2, 3);
        let original: Vec<f32> = (0..kernel.len()).map(|i| (i * i) as f32).collect();
        let mut values = original.clone();
        average_blocks(&mut values, kernel, Extent::new(2, 1, 3));
        for z in 0..4 {
            for y in 0..2 {
                let block = [z / 2 * 2, z / 2 * 2 + 1];
                let row = |z: usize| (0..3).map(|x| original[kernel.index(z, y, x)]).sum::<f32>();
                let mean = block.map(row).iter().sum::<f32>() / 6.0;
                for x in 0..3 {
                    assert!((values[kernel.index(z, y, x)] - mean).abs() <= 1e-6 * mean);
                }
            }
        }
        let once = values.clone();
        average_blocks(&mut values, kernel, Extent::new(2, 1, 3));
        assert_eq!(values, once, "a projection");
        average_blocks(&mut values, kernel, Extent::ONE);
        assert_eq!(values, once, "nothing to do");
    }
}
