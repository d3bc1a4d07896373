//! [`burn::nn`], with the convolutions of this crate in `conv`: `use znn_burn::nn` takes the place of `use burn::nn`.
//!
//! The layers have burn's names, fields, configurations and records: what one has saved the other loads, and `From`
//! turns each into the other with the same parameters.

pub use burn::nn::*;

/// [`burn::nn::conv`], in which [`Conv2d`], [`Conv3d`], [`ConvTranspose2d`] and [`ConvTranspose3d`] are computed by the
/// engine.
pub mod conv {
    pub use burn::nn::conv::*;

    pub use crate::layers::{
        Conv2d, Conv2dConfig, Conv3d, Conv3dConfig, ConvTranspose2d, ConvTranspose2dConfig, ConvTranspose3d,
        ConvTranspose3dConfig,
    };
}
