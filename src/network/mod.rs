//! Networks: their description, shapes, initial parameters and files.
//!
//! A [`Network`] is a directed acyclic graph. A [`Node`] is a group of feature maps of one extent, an [`Edge`] an
//! operation from one group to another; edges that converge on a node are summed (or, at a maxout node, compared).
//! It is read from the text format `.znn` ([`spec`]) and is valid by construction: [`Network::new`] refuses graphs
//! that cannot be computed, so that what follows has no cases to check.
//!
//! A network can also be put together without a text:
//!
//! ```
//! use znn::network::{Edge, EdgeOp, GroupKind, GroupName, Init, Network, NetworkError, Node, NodeId, NodeKind};
//! use znn::network::{Normalise, Statistics, UpdateOverrides};
//! use znn::{Extent, Transfer};
//!
//! let node = |name: &str, size, kind| Node {
//!     name: name.to_owned(),
//!     size,
//!     kind,
//!     dense: false,
//!     init: Init::Zero,
//!     update: UpdateOverrides::default(),
//!     seeding: true,
//!     extra: Vec::new(),
//! };
//! let statistics = Statistics::Running { fraction: 0.01 };
//! let normalise = Normalise { transfer: Transfer::RectifyLinear, epsilon: 1e-5, statistics };
//! let nodes = vec![node("image", 1, NodeKind::Input), node("result", 4, NodeKind::Normalise(normalise))];
//! let conv = EdgeOp::Conv {
//!     size: Extent::new(1, 3, 3),
//!     stride: Extent::ONE,
//!     downsample: Extent::ONE,
//!     pad: Extent::ZERO,
//!     init: Init::Msra,
//!     fft: None,
//!     share: None,
//!     repeat: Extent::ONE,
//! };
//! let edge = Edge {
//!     name: "filter".to_owned(),
//!     input: NodeId(0),
//!     output: NodeId(1),
//!     op: conv,
//!     update: UpdateOverrides { eta: Some(0.01), ..UpdateOverrides::default() },
//!     seeding: true,
//!     extra: Vec::new(),
//! };
//! let network = Network::new(nodes.clone(), vec![edge]).expect("a network");
//! assert_eq!(network.shapes(Extent::ONE)?.fov(), Extent::new(1, 3, 3));
//!
//! // What cannot be computed is refused: nothing leads from the first node to the second.
//! let errors: Vec<NetworkError> = Network::new(nodes, Vec::new()).unwrap_err();
//! assert_eq!(errors[0].group, Some(GroupName { kind: GroupKind::Nodes, name: "image".to_owned() }));
//! # Ok::<(), znn::network::ShapeError>(())
//! ```

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
