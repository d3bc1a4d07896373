//! Both passes against the definition.

use super::*;
use crate::testing::{Random, tiers};
use std::vec;
use std::vec::Vec;

#[test]
fn blocks_give_their_first_largest_voxel_and_take_its_gradient_back() {
    let mut random = Random::new(6);
    for case in 0..150 {
        let size: [usize; 3] = core::array::from_fn(|_| random.within(1, 4));
        let blocks = [random.within(1, 3), random.within(1, 4), random.within(1, 40)];
        let input: [usize; 3] = core::array::from_fn(|axis| size[axis] * blocks[axis]);
        let len: usize = input.iter().product();
        let out: usize = blocks.iter().product();
        let mut x = if case % 2 == 0 { random.ties(len) } else { random.floats(len) };
        if case % 8 == 0 {
            x[len / 2] = f32::NAN;
        }
        let dy = random.floats(out);
        let before = random.floats(len);
        let (mut y, mut winners, mut dx) = (Vec::new(), Vec::new(), vec![0.0; len]);
        for (block, &g) in dy.iter().enumerate() {
            let at = [block / (blocks[1] * blocks[2]), block / blocks[2] % blocks[1], block % blocks[2]];
            let (mut best, mut winner, mut place) = (f32::NEG_INFINITY, 0, 0);
            for m in 0..size.iter().product() {
                let offset = [m / (size[1] * size[2]), m / size[2] % size[1], m % size[2]];
                let [pz, py, px]: [usize; 3] =
                    core::array::from_fn(|axis| at[axis] * size[axis] + offset[axis]);
                let voxel = (pz * input[1] + py) * input[2] + px;
                if x[voxel] > best || x[voxel].is_nan() {
                    (best, winner, place) = (x[voxel], m as u8, voxel);
                }
            }
            y.push(best);
            winners.push(winner);
            dx[place] = g;
        }
        let bits = |y: &[f32]| y.iter().map(|y| y.to_bits()).collect::<Vec<_>>();
        for kernels in tiers() {
            let (mut actual, mut values) = (vec![9.0; out], vec![9.0; out]);
            let mut actual_winners = vec![255; out];
            kernels.max_pool_forward(size, input, &x, &mut actual, Some(&mut actual_winners));
            kernels.max_pool_forward(size, input, &x, &mut values, None);
            assert_eq!(bits(&actual), bits(&y), "{kernels:?} {size:?} {input:?}");
            assert_eq!(bits(&values), bits(&y), "{kernels:?} {size:?} {input:?}");
            assert_eq!(actual_winners, winners, "{kernels:?} {size:?} {input:?}");

            let (mut written, mut added) = (vec![9.0; len], before.clone());
            kernels.max_pool_backward(size, input, &dy, &winners, false, &mut written);
            kernels.max_pool_backward(size, input, &dy, &winners, true, &mut added);
            assert_eq!(written, dx);
            assert!(added.iter().zip(before.iter().zip(&dx)).all(|(a, (b, d))| *a == b + d));
        }
    }
}

#[test]
#[should_panic(expected = "no multiple")]
fn the_input_is_a_multiple_of_the_block() {
    Kernels::best().max_pool_forward([1, 1, 2], [1, 1, 3], &[0.0; 3], &mut [0.0], None);
}
