//! Samples prepared ahead of their use.

use std::mem;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::{self, JoinHandle};

use super::{DataError, Sample, Sampler};

/// A background thread that keeps the next samples of a [`Sampler`] ready. They are those that
/// [`Sampler::sample`] gives. Dropping it ends the thread.
pub struct Prefetcher {
    /// `None` once the thread has ended.
    thread: Option<Worker>,
}

struct Worker {
    ready: Receiver<Sample>,
    used: Sender<Sample>,
    handle: JoinHandle<()>,
}

impl Prefetcher {
    /// Starts with iteration `first`; at most `depth` samples (at least one) wait to be used.
    ///
    /// # Errors
    /// When the operating system starts no thread.
    pub fn new(sampler: Arc<Sampler>, first: u64, depth: usize) -> Result<Self, DataError> {
        Self::spawn(sampler, first, depth, Sampler::sample)
    }

    fn spawn(
        sampler: Arc<Sampler>,
        first: u64,
        depth: usize,
        fill: impl Fn(&Sampler, u64, &mut Sample) + Send + 'static,
    ) -> Result<Self, DataError> {
        let (send_ready, ready) = sync_channel(depth.max(1));
        let (used, receive_used) = channel();
        let run = move || produce(&sampler, first, &send_ready, &receive_used, fill);
        let handle = thread::Builder::new()
            .name("znn-prefetch".to_owned())
            .spawn(run)
            .map_err(|e| DataError::Prefetch(e.to_string()))?;
        Ok(Self { thread: Some(Worker { ready, used, handle }) })
    }

    /// Exchanges `sample`, whose memory is used again, for the next one.
    ///
    /// # Errors
    /// When the thread has ended by a panic; `sample` is then unchanged.
    pub fn next(&mut self, sample: &mut Sample) -> Result<(), DataError> {
        let stopped = || DataError::Prefetch("it stopped before".to_owned());
        let worker = self.thread.as_ref().ok_or_else(stopped)?;
        match worker.ready.recv() {
            Ok(next) => {
                // A closed channel means that the thread has ended, which the next call reports.
                let _ = worker.used.send(mem::replace(sample, next));
                Ok(())
            }
            Err(_) => Err(self.thread.take().map_or_else(stopped, Worker::reason)),
        }
    }
}

impl Drop for Prefetcher {
    fn drop(&mut self) {
        if let Some(Worker { ready, used, handle }) = self.thread.take() {
            // The thread may be waiting for room in the channel; without a receiver its send fails and it ends.
            drop((ready, used));
            // A panic of the thread was either reported by `next` or concerns samples that nobody wants.
            let _ = handle.join();
        }
    }
}

impl Worker {
    /// Why the thread ended.
    fn reason(self) -> DataError {
        let text = match self.handle.join() {
            Ok(()) => "no reason given".to_owned(),
            Err(payload) => payload
                .downcast_ref::<String>()
                .cloned()
                .or_else(|| payload.downcast_ref::<&str>().map(|&text| text.to_owned()))
                .unwrap_or_else(|| "a panic without a text".to_owned()),
        };
        DataError::Prefetch(text)
    }
}

fn produce(
    sampler: &Sampler,
    first: u64,
    ready: &SyncSender<Sample>,
    used: &Receiver<Sample>,
    fill: impl Fn(&Sampler, u64, &mut Sample),
) {
    for iteration in first.. {
        let mut sample = used.try_recv().unwrap_or_else(|_| sampler.new_sample());
        fill(sampler, iteration, &mut sample);
        if ready.send(sample).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Augment, Rebalance, SamplerOptions, Target, TrainingVolume};
    use crate::volume::{Extent, Tensor};

    fn sampler() -> Arc<Sampler> {
        let size = Extent::new(5, 20, 20);
        let image = Tensor::from_fn(1, size, |i| i as f32);
        let label = Tensor::from_fn(1, size, |i| (i / 3 % 2) as f32);
        let volume = TrainingVolume::new("v", vec![image], label, None).unwrap();
        let options = SamplerOptions {
            seed: 5,
            stream: 0,
            target: Target::Boundary { channels: 2 },
            mirror: true,
            augment: Augment::ALL,
            rebalance: Some(Rebalance::Patch),
        };
        let inputs = [Extent::new(3, 9, 9)];
        Arc::new(Sampler::new(vec![volume], &inputs, Extent::new(1, 4, 4), options).unwrap())
    }

    #[test]
    fn samples_are_those_of_the_sampler() {
        let sampler = sampler();
        let mut prefetcher = Prefetcher::new(sampler.clone(), 7, 2).unwrap();
        let (mut found, mut expected) = (sampler.new_sample(), sampler.new_sample());
        for iteration in 7..40 {
            prefetcher.next(&mut found).unwrap();
            sampler.sample(iteration, &mut expected);
            assert_eq!(
                (&found.inputs, &found.outputs[0].target),
                (&expected.inputs, &expected.outputs[0].target)
            );
            assert_eq!(found.outputs[0].weight, expected.outputs[0].weight);
        }
    }

    #[test]
    fn dropping_it_ends_the_thread() {
        let sampler = sampler();
        for taken in 0..4 {
            let mut prefetcher = Prefetcher::new(sampler.clone(), 0, 1).unwrap();
            let mut sample = sampler.new_sample();
            (0..taken).for_each(|_| prefetcher.next(&mut sample).unwrap());
            drop(prefetcher);
            assert_eq!(Arc::strong_count(&sampler), 1, "the thread has let go of the sampler");
        }
    }

    #[test]
    fn a_panic_of_the_thread_becomes_an_error() {
        let sampler = sampler();
        let fail = |sampler: &Sampler, iteration: u64, sample: &mut Sample| {
            assert!(iteration < 2, "no sample {iteration}");
            sampler.sample(iteration, sample);
        };
        let mut prefetcher = Prefetcher::spawn(sampler.clone(), 0, 4, fail).unwrap();
        let mut sample = sampler.new_sample();
        prefetcher.next(&mut sample).unwrap();
        prefetcher.next(&mut sample).unwrap();
        let text = prefetcher.next(&mut sample).unwrap_err().to_string();
        assert!(text.contains("no sample 2"), "{text}");
        assert!(prefetcher.next(&mut sample).unwrap_err().to_string().contains("stopped before"));
    }
}
