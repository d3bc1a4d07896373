//! Element-wise kernels.

pub mod add;
pub mod dropout;
mod exp;
pub mod maxout;
pub mod scale;
pub mod sgd;
pub mod transfer;
