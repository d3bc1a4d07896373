//! A worker's set of ready tasks: a bitmap of ranks.
//!
//! The tasks of a graph and their unique ranks are known beforehand, so a queue is an array of words with one bit for
//! each rank: to push is to set a bit, to pop is to clear the lowest one, and the order is exactly that of the
//! priorities. Any thread may push and pop; nothing is allocated or locked. One level of summary words, a bit for each
//! word, keeps the search short.
//!
//! **Invariant**: a set bit whose pusher has returned is found by every pop that is not overtaken by another pop which
//! takes it, or which is between hiding its word and restoring it (`README.md`, "The hidden word").

use super::sync::atomic::{AtomicU64, Ordering::*};

const WORD_BITS: u32 = u64::BITS;

pub(super) struct RankQueue {
    words: Box<[AtomicU64]>,
    /// Bit w of word s: `words[64 * s + w]` may have a bit set. Set whenever the word has a bit and nobody is at work
    /// on either.
    summary: Box<[AtomicU64]>,
}

impl RankQueue {
    /// For ranks below `len`.
    pub(super) fn new(len: usize) -> Self {
        let zeros = |n: usize| (0..n).map(|_| AtomicU64::new(0)).collect::<Box<[_]>>();
        let words = len.div_ceil(WORD_BITS as usize);
        Self { words: zeros(words), summary: zeros(words.div_ceil(WORD_BITS as usize)) }
    }

    /// Adds a rank that is not in the queue.
    #[inline]
    pub(super) fn push(&self, rank: u32) {
        let word = rank / WORD_BITS;
        // Release: what the pusher has seen and written goes to the popper, which clears the bit with Acquire.
        let before = self.words[word as usize].fetch_or(1 << (rank % WORD_BITS), Release);
        debug_assert_eq!(before >> (rank % WORD_BITS) & 1, 0, "rank {rank} is pushed twice");
        self.mark(word);
    }

    /// Says in the summary that `word` has a bit. After the word itself: whoever clears the mark and thereby reads
    /// from this Release (or a later one of its release sequence) then sees the bit in the word.
    fn mark(&self, word: u32) {
        self.summary[(word / WORD_BITS) as usize].fetch_or(1 << (word % WORD_BITS), Release);
    }

    /// Takes the lowest rank out if it is below `limit`. Calls `restored` after each word that was hidden for a moment
    /// from others and was not empty: a worker that looked meanwhile may have gone to sleep beside it.
    #[inline]
    pub(super) fn pop(&self, limit: u32, mut restored: impl FnMut()) -> Option<u32> {
        for (s, summary) in self.summary.iter().enumerate() {
            // Relaxed: a hint, the words decide.
            let mut marks = summary.load(Relaxed);
            while marks != 0 {
                let mark = marks.trailing_zeros();
                let word = s as u32 * WORD_BITS + mark;
                if word * WORD_BITS >= limit {
                    return None;
                }
                let bits = self.words[word as usize].load(Relaxed);
                if bits == 0 {
                    marks &= !(1 << mark);
                    if self.hide(word) {
                        restored();
                        marks |= 1 << mark;
                    }
                    continue;
                }
                let bit = bits.trailing_zeros();
                let rank = word * WORD_BITS + bit;
                if rank >= limit {
                    return None;
                }
                // Acquire: pairs with the Release of the push. The bit decides who of several takers has the task.
                if self.words[word as usize].fetch_and(!(1 << bit), Acquire) >> bit & 1 == 1 {
                    return Some(rank);
                }
            }
        }
        None
    }

    /// Clears the mark of a word that was seen empty, and sets it again if the word has got a bit since: `true` then.
    ///
    /// A push sets the bit, then the mark. Either the mark is set after it was cleared here, or the clearing reads it
    /// (Acquire, with the Release in [`RankQueue::mark`]) and the load below sees the bit.
    fn hide(&self, word: u32) -> bool {
        self.summary[(word / WORD_BITS) as usize].fetch_and(!(1 << (word % WORD_BITS)), Acquire);
        let refilled = self.words[word as usize].load(Relaxed) != 0;
        if refilled {
            self.mark(word);
        }
        refilled
    }

    /// The lowest rank that seems to be in the queue. Looks at the words below the marks, so that a mark left behind does
    /// not keep workers awake.
    #[inline]
    pub(super) fn first(&self) -> Option<u32> {
        for (s, summary) in self.summary.iter().enumerate() {
            // Relaxed here and below: a guess, except for a worker about to sleep, whose fence orders these loads
            // after its announcement.
            let mut marks = summary.load(Relaxed);
            while marks != 0 {
                let word = s as u32 * WORD_BITS + marks.trailing_zeros();
                let bits = self.words[word as usize].load(Relaxed);
                if bits != 0 {
                    return Some(word * WORD_BITS + bits.trailing_zeros());
                }
                marks &= marks - 1;
            }
        }
        None
    }
}
