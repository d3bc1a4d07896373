//! Networks: their description, shapes, initial parameters and files.
//!
//! A [`Network`] is a directed acyclic graph. A [`Node`] is a group of feature maps of one extent, an [`Edge`] an
//! operation from one group to another; edges that converge on a node are summed (or, at a maxout node, compared).
//! It is read from the text format `.znn` ([`spec`]) and is valid by construction: [`Network::new`] refuses graphs
//! that cannot be computed, so that what follows has no cases to check.

#[doc(hidden)]
pub mod drawing;
mod graph;
#[doc(hidden)]
pub mod hdf5_file;
mod init;
mod lower;
#[doc(hidden)]
pub mod model_file;
mod op;
mod parameters;
mod seed;
mod shape;
pub mod spec;
mod summary;
mod validate;
mod weight_shape;
pub mod weights_file;

pub use graph::{
    Edge, EdgeId, GroupKind, GroupName, Network, Node, NodeId, ParameterCounts, UpdateOverrides,
};
pub use init::Init;
#[doc(hidden)]
pub use lower::{Gradients, Lowering, Phase};
pub use model_file::ModelFileError;
pub use op::{EdgeOp, NodeKind, Normalise, Statistics};
pub use parameters::{Parameter, Parameters};
pub use seed::{NotSeeded, NotSeededReason};
#[doc(hidden)]
pub use shape::Frame;
pub use shape::{NodeShape, ShapeError, Shapes};
#[doc(hidden)]
pub use summary::Summary;
pub use validate::NetworkError;
pub use weight_shape::WeightShape;

#[cfg(test)]
mod testing;
