//! Shapes, images, and how their numbers are stored.

mod extent;
pub(crate) mod number_type;
mod tensor;

pub use extent::{Extent, ParseExtentError};
pub use number_type::{ByteOrder, NumberType};
pub use tensor::Tensor;
