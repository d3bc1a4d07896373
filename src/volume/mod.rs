//! Shapes and images.

mod extent;
mod tensor;

pub use extent::{Extent, ParseExtentError};
pub use tensor::Tensor;
