//! Which sizes of images a network takes.

use super::axis::Along;
use super::{ShapeError, strides};
use crate::network::{Network, NodeId};
use crate::volume::Extent;

/// The sizes of a network's outputs that work, and of its inputs for them: outputs of `least + n * step` voxels along each
/// axis, inputs larger by `margin`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The smallest output.
    pub least: Extent,
    /// By how much larger ones grow.
    pub step: Extent,
    /// How much larger than the output the largest input is.
    pub margin: Extent,
}

impl Frame {
    /// The largest output that works and is not larger than `bound`; `None` where there is none.
    pub fn largest(&self, bound: Extent) -> Option<Extent> {
        let more = bound.checked_sub(self.least)?;
        Some(self.least + more.zip(self.step, |more, step| more / step * step))
    }

    /// The output for an input of this extent; `None` where it has no voxel or does not work.
    #[cfg(test)]
    pub fn output(&self, input: Extent) -> Option<Extent> {
        let output = input.checked_sub(self.margin)?;
        self.largest(output).filter(|&largest| largest == output)
    }
}

impl Network {
    /// The sizes that work: all, where the network is [uniform](Network::is_uniform); else those that its strides divide.
    ///
    /// # Errors
    /// Where no size works, or inputs grow by another number of voxels than outputs: such a network does not give a voxel
    /// for a voxel.
    pub(crate) fn frame(&self) -> Result<Frame, ShapeError> {
        /// Larger than the product of the strides of any network of this field.
        const FAR: usize = 1 << 10;
        let strides = strides(self)?;
        let mut found = [[0; 3]; 3];
        for (axis, [least, step, margin]) in found.iter_mut().enumerate() {
            let along = Along { network: self, strides: &strides, axis };
            let input = |lengths: Vec<usize>| self.inputs().map(|NodeId(id)| lengths[id]).max().unwrap_or(0);
            let mut working = (1..=2 * FAR).filter_map(|len| Some((len, input(along.lengths(len).ok()?))));
            let (Some((first, first_input)), second) = (working.next(), working.next()) else {
                let fault = along.lengths(1).expect_err("no length works");
                return Err(along.explain(fault, 1));
            };
            let (second, second_input) = second.unwrap_or((first + 1, first_input + 1));
            if first_input < first || second_input - first_input != second - first {
                let axis = ['z', 'y', 'x'][axis];
                return Err(ShapeError::Scale {
                    axis,
                    outputs: [first, second],
                    inputs: [first_input, second_input],
                });
            }
            (*least, *step, *margin) = (first, second - first, first_input - first);
        }
        let of = |column: usize| Extent::from(found.map(|along| along[column]));
        Ok(Frame { least: of(0), step: of(1), margin: of(2) })
    }
}
