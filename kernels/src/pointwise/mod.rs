//! Element-wise kernels.

pub mod adam;
pub mod add;
pub mod dropout;
mod elementary;
pub mod gradient;
pub mod loss;
pub mod maxout;
pub mod multiply;
pub mod normalise;
pub mod rectify;
pub mod scale;
pub mod sgd;
pub mod softmax;
pub mod sums;
pub mod transfer;
