//! The networks of the paper's scaling figures.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use znn::Extent;
use znn::network::{Network, spec};

/// The widths of the figures: maps of each hidden layer.
pub const WIDTHS: [usize; 12] = [5, 10, 15, 20, 25, 30, 40, 50, 60, 80, 100, 120];

/// A family of networks (Zlateski, Lee, Seung 2016, section VIII): C is a convolution, T a transfer function, M a maximum
/// filter, after which operations are dilated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// CTMCTMCTCT with kernels and filters of 3 x 3 x 3 and 2 x 2 x 2, output patches of 12 x 12 x 12.
    ThreeD,
    /// CTMCTMCTCTCTCT with kernels of 11 x 11 and filters of 2 x 2, output patches of 48 x 48.
    TwoD,
}

impl Family {
    /// Both.
    pub const ALL: [Self; 2] = [Self::ThreeD, Self::TwoD];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::ThreeD => "3d",
            Self::TwoD => "2d",
        }
    }

    fn layers(self) -> &'static str {
        match self {
            Self::ThreeD => "CTMCTMCTCT",
            Self::TwoD => "CTMCTMCTCTCTCT",
        }
    }

    fn kernel(self) -> Extent {
        match self {
            Self::ThreeD => Extent::new(3, 3, 3),
            Self::TwoD => Extent::new(1, 11, 11),
        }
    }

    fn filter(self) -> Extent {
        match self {
            Self::ThreeD => Extent::new(2, 2, 2),
            Self::TwoD => Extent::new(1, 2, 2),
        }
    }

    /// The output patch.
    pub fn output(self) -> Extent {
        match self {
            Self::ThreeD => Extent::new(12, 12, 12),
            Self::TwoD => Extent::new(1, 48, 48),
        }
    }

    /// The network with `width` maps in each layer but the input, which has one.
    pub fn network(self, width: usize) -> Arc<Network> {
        let mut text = "nodes n0\ntype input\nsize 1\n".to_owned();
        let triple = |extent: Extent| format!("{},{},{}", extent.z, extent.y, extent.x);
        let mut at = 0;
        let mut add = |edge: String, node: &str| {
            text.push_str(&format!(
                "\nedges e{next}\n{edge}\ninput n{at}\noutput n{next}\n\nnodes n{next}\n{node}\nsize {width}\n",
                next = at + 1
            ));
            at += 1;
        };
        for layer in self.layers().chars() {
            match layer {
                'C' => add(
                    format!("type conv\ninit msra\nsize {}", triple(self.kernel())),
                    "type transfer\nfunction rectify_linear",
                ),
                'M' => {
                    let size = triple(self.filter());
                    add(format!("type max_filter\nsize {size}\nstride {size}"), "type sum");
                }
                // The transfer functions belong to the nodes behind the convolutions.
                _ => {}
            }
        }
        Arc::new(spec::parse(&text, self.name()).expect("a network of the paper").network)
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Family {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|family| family.name() == text);
        found.ok_or_else(|| format!("expected 3d or 2d, found `{text}`"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_networks_are_those_of_the_paper() {
        for (family, edges, input) in
            [(Family::ThreeD, 6, Extent::new(37, 37, 37)), (Family::TwoD, 8, Extent::new(1, 241, 241))]
        {
            let network = family.network(5);
            assert_eq!(network.edges().len(), edges);
            let shapes = network.shapes(family.output()).unwrap();
            assert_eq!(shapes[network.inputs().next().unwrap()].extent, input);
            assert_eq!(network[network.outputs().next().unwrap()].size, 5);
        }
    }
}
