//! Losses.
use super::{Maps, Site};
use crate::plan::{Buffer, PlanBuilder};
use crate::volume::{Extent, Tensor};
use znn_kernels::Kernels;
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Loss { Square, SquareSquare{margin:f32}, BinomialCrossEntropy, Softmax }
pub const STATS: usize = 4;
pub fn blocks(_e: Extent) -> usize { 1 }
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Outcome { pub loss: f64, pub errors: f64, pub counted: f64 }
impl Outcome { pub fn add(&mut self, _o: &Outcome) {}
    /// The loss of a counted value, on average.
    pub fn mean_loss(&self) -> f64 { self.loss / self.counted.max(1.0) }
    /// The fraction of counted values that are wrong.
    pub fn pixel_error(&self) -> f64 { self.errors / self.counted.max(1.0) }
}
pub fn total(_s: &[f32]) -> Outcome { todo!() }
pub fn loss(_p: &mut PlanBuilder, _s: &Site, _l: Loss, _v: Maps, _t: Buffer, _w: Buffer, _g: Buffer, _pr: Buffer) -> usize { 0 }
pub fn of_tensors(_k: Kernels, _l: Loss, _p: &Tensor, _t: &Tensor, _w: Option<&Tensor>) -> (Outcome, Tensor) { todo!() }
