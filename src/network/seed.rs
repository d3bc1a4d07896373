//! Parameters copied from another network.

use std::fmt;

use super::weights_file::Model;
use super::{GroupKind, GroupName, Network, Parameter, Parameters};

/// A group whose parameters [`Parameters::seed_from`] left as they were.
///
/// ```
/// use znn::network::{GroupKind, GroupName, NotSeeded, NotSeededReason};
///
/// let group = GroupName { kind: GroupKind::Nodes, name: "result".to_owned() };
/// let left = NotSeeded { group, reason: NotSeededReason::Absent };
/// assert_eq!(left.to_string(), "nodes result: not copied: there is no such group with parameters");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotSeeded {
    /// The group.
    pub group: GroupName,
    /// Why.
    pub reason: NotSeededReason,
}

/// Why the parameters of a group were not copied.
///
/// ```
/// use znn::network::NotSeededReason;
///
/// let reason = NotSeededReason::Shape { expected: vec![3], found: vec![2] };
/// assert_ne!(reason, NotSeededReason::Declined);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotSeededReason {
    /// The network says `seeding 0`.
    Declined,
    /// The other network has no group of this name with parameters.
    Absent,
    /// The other network's group has parameters of another shape.
    Shape {
        /// The shape here.
        expected: Vec<usize>,
        /// The shape there.
        found: Vec<usize>,
    },
}

impl fmt::Display for NotSeeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: not copied: ", self.group)?;
        match &self.reason {
            NotSeededReason::Declined => f.write_str("the network says `seeding 0`"),
            NotSeededReason::Absent => f.write_str("there is no such group with parameters"),
            NotSeededReason::Shape { expected, found } => {
                write!(f, "the shape there is {found:?}, expected {expected:?}")
            }
        }
    }
}

impl Parameters {
    /// Copies the weights and biases of all groups of equal name and shape from another model; their momentum
    /// becomes zero. `self` belongs to `network`. Returns the groups with parameters that were not copied, conv
    /// groups first.
    ///
    /// ```
    /// use znn::network::weights_file::Model;
    /// use znn::network::{NotSeeded, NotSeededReason, Parameters, spec};
    ///
    /// let text = std::fs::read_to_string("examples/networks/hello.znn")?;
    /// let network = spec::parse(&text, "hello.znn")?.network;
    /// let parameters = Parameters::init(&network, 1);
    /// let model = Model { network, parameters, notes: Default::default() };
    ///
    /// // Another number of maps at the end.
    /// let other = spec::parse(text.replace("size 2\n", "size 3\n"), "other.znn")?.network;
    /// let mut parameters = Parameters::init(&other, 2);
    /// let left: Vec<NotSeeded> = parameters.seed_from(&other, &model);
    /// assert_eq!(left[0].group.to_string(), "edges second");
    /// assert!(matches!(left[0].reason, NotSeededReason::Shape { .. }), "{}", left[0]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn seed_from(&mut self, network: &Network, model: &Model) -> Vec<NotSeeded> {
        self.copy_from(network, model, false)
    }

    /// As [`seed_from`](Self::seed_from), but with the momentum.
    pub(crate) fn resume_from(&mut self, network: &Network, model: &Model) -> Vec<NotSeeded> {
        self.copy_from(network, model, true)
    }

    fn copy_from(&mut self, network: &Network, model: &Model, with_momentum: bool) -> Vec<NotSeeded> {
        let mut left = Vec::new();
        for id in network.edge_ids() {
            let (edge, Some(shape)) = (&network[id], network.weight_shape(id)) else { continue };
            let there = model.network.find_edge(&edge.name).and_then(|there| {
                Some((model.network.weight_shape(there)?.to_array().to_vec(), model.parameters.edge(there)?))
            });
            let shape = shape.to_array().to_vec();
            if let Some(reason) = copy(self.edge_mut(id), shape, there, edge.seeding, with_momentum) {
                let group = GroupName { kind: GroupKind::Edges, name: edge.name.clone() };
                left.push(NotSeeded { group, reason });
            }
        }
        for id in network.node_ids() {
            let (node, Some(len)) = (&network[id], network.bias_len(id)) else { continue };
            let there = model.network.find_node(&node.name).and_then(|there| {
                Some((vec![model.network.bias_len(there)?], model.parameters.node(there)?))
            });
            if let Some(reason) = copy(self.node_mut(id), vec![len], there, node.seeding, with_momentum) {
                let group = GroupName { kind: GroupKind::Nodes, name: node.name.clone() };
                left.push(NotSeeded { group, reason });
                continue;
            }
            // Statistics belong to the weights in front of the node.
            if let Some(there) = model.network.find_node(&node.name) {
                let found = model.parameters.statistics(there);
                if found.len() == self.statistics(id).len() {
                    self.statistics_mut(id).copy_from_slice(found);
                }
            }
        }
        left
    }
}

/// Copies one group, or says why not.
fn copy(
    here: Option<&mut Parameter>,
    expected: Vec<usize>,
    there: Option<(Vec<usize>, &Parameter)>,
    seeding: bool,
    with_momentum: bool,
) -> Option<NotSeededReason> {
    if !seeding {
        return Some(NotSeededReason::Declined);
    }
    let Some((found, there)) = there else { return Some(NotSeededReason::Absent) };
    if found != expected {
        return Some(NotSeededReason::Shape { expected, found });
    }
    let here = here.expect("the parameters of this network");
    here.values_mut().copy_from_slice(there.values());
    match with_momentum {
        true => here.momentum_mut().copy_from_slice(there.momentum()),
        false => here.momentum_mut().fill(0.0),
    }
    None
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::network::EdgeId;
    use crate::network::testing::network;

    fn text(out: usize, keys: &str) -> String {
        format!(
            "nodes in\ntype input\nsize 1\nnodes mid\ntype transfer\nfunction linear\ninit uniform\nsize 2\n\
             nodes out\ntype transfer\nfunction linear\ninit uniform\nsize {out}\n\
             edges first\ntype conv\nsize 1,2,2\ninit uniform\ninput in\noutput mid\n{keys}\n\
             edges last\ntype conv\nsize 1,2,2\ninit uniform\ninput mid\noutput out\n"
        )
    }

    #[test]
    fn copies_what_fits_and_names_the_rest() {
        let source = network(&text(2, ""));
        let mut parameters = Parameters::init(&source, 1);
        parameters.edge_mut(EdgeId(0)).unwrap().momentum_mut().fill(1.0);
        let model = Model { network: source, parameters, notes: BTreeMap::new() };

        let same = network(&text(2, ""));
        let mut found = Parameters::init(&same, 2);
        assert_ne!(found, model.parameters);
        assert_eq!(found.seed_from(&same, &model), []);
        let mut expected = model.parameters.clone();
        expected.edge_mut(EdgeId(0)).unwrap().momentum_mut().fill(0.0);
        assert_eq!(found, expected);

        assert_eq!(found.resume_from(&same, &model), []);
        assert_eq!(found, model.parameters);

        let other = network(&text(3, "seeding 0").replace("mid", "middle"));
        let before = Parameters::init(&other, 2);
        let mut found = before.clone();
        let left: Vec<String> = found.seed_from(&other, &model).iter().map(ToString::to_string).collect();
        let expected = [
            "edges first: not copied: the network says `seeding 0`",
            "edges last: not copied: the shape there is [2, 2, 1, 2, 2], expected [3, 2, 1, 2, 2]",
            "nodes middle: not copied: there is no such group with parameters",
            "nodes out: not copied: the shape there is [2], expected [3]",
        ];
        assert_eq!(left, expected);
        assert_eq!(found, before);
    }
}
