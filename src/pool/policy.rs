//! Which of the ready tasks goes next, and where.

use std::fmt;
use std::str::FromStr;

/// How ready tasks are kept and chosen. The others than [`Policy::Priority`] are there to be compared with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// A queue for each worker, in the order of the ranks (longest way to the end first, updates last). A worker without
    /// tasks takes the best of its nearest neighbour that has one.
    #[default]
    Priority,
    /// One queue for all: who was released first goes first.
    Fifo,
    /// One stack for all: who was released last goes first.
    Lifo,
    /// A stack for each worker; a worker without tasks takes the oldest of a worker drawn at random (as in Cilk).
    RandomStealing,
    /// Each task has a worker, in turn in the order of the ranks; nobody takes another's.
    Static,
}

impl Policy {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Priority, Self::Fifo, Self::Lifo, Self::RandomStealing, Self::Static];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Priority => "priority",
            Self::Fifo => "fifo",
            Self::Lifo => "lifo",
            Self::RandomStealing => "random-stealing",
            Self::Static => "static",
        }
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Policy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|policy| policy.name() == text).ok_or_else(|| {
            format!("expected one of {}, found `{text}`", Self::ALL.map(Self::name).join(", "))
        })
    }
}
