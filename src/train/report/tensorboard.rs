//! The history as an event file of TensorBoard.
//!
//! A file of records, each its length, a checksum of that, an `Event` message of Protocol Buffers, and a checksum of that
//! (TensorFlow: `tsl/lib/io/record_writer.h`, `core/util/event.proto`, `core/framework/summary.proto`).

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use crc::{CRC_32_ISCSI, Crc};
use prost::Message;

use super::metrics::{Phase, Record};

/// The parts of the message that are written.
#[derive(Clone, PartialEq, Message)]
struct Event {
    /// Seconds since 1970.
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    /// Of the first event alone.
    #[prost(string, optional, tag = "3")]
    file_version: Option<String>,
    #[prost(message, optional, tag = "5")]
    summary: Option<Summary>,
}

#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    value: Vec<Value>,
}

#[derive(Clone, PartialEq, Message)]
struct Value {
    #[prost(string, tag = "1")]
    tag: String,
    #[prost(float, tag = "2")]
    simple_value: f32,
}

/// An event file to which records are added.
#[derive(Debug)]
pub(super) struct EventFile {
    file: File,
    /// When the run would have begun without interruptions, in seconds since 1970.
    start: f64,
}

impl EventFile {
    /// An event file with `records`, the history so far, in place of an earlier one.
    pub fn create(path: &Path, records: &[Record]) -> io::Result<Self> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
        let start = now - records.last().map_or(0.0, |record| record.seconds);
        let file = OpenOptions::new().write(true).create(true).truncate(true).open(path)?;
        let mut events = Self { file, start };
        let version = Some("brain.Event:2".to_owned());
        let mut bytes = framed(&Event { wall_time: start, step: 0, file_version: version, summary: None });
        records.iter().for_each(|record| bytes.extend(framed(&event(record, start))));
        events.file.write_all(&bytes)?;
        Ok(events)
    }

    /// Adds a record.
    pub fn append(&mut self, record: &Record) -> io::Result<()> {
        self.file.write_all(&framed(&event(record, self.start)))
    }
}

fn event(record: &Record, start: f64) -> Event {
    let phase = match record.phase {
        Phase::Train => "train",
        Phase::Validation => "validation",
    };
    let values = [
        ("loss", Some(record.loss)),
        ("pixel_error", Some(record.pixel_error)),
        ("rand_error", record.rand_error),
        ("learning_rate", (record.phase == Phase::Train).then_some(record.eta)),
        ("voxels_per_second", Some(record.voxels_per_second)),
    ];
    let value = |(name, value): (&str, Option<f64>)| {
        Some(Value { tag: format!("{phase}/{name}"), simple_value: value? as f32 })
    };
    Event {
        wall_time: start + record.seconds,
        step: record.iteration as i64,
        file_version: None,
        summary: Some(Summary { value: values.into_iter().filter_map(value).collect() }),
    }
}

/// The event as a record of the file.
fn framed(event: &Event) -> Vec<u8> {
    let message = event.encode_to_vec();
    let length = (message.len() as u64).to_le_bytes();
    let mut bytes = length.to_vec();
    bytes.extend(checksum(&length).to_le_bytes());
    bytes.extend(&message);
    bytes.extend(checksum(&message).to_le_bytes());
    bytes
}

/// A CRC-32C that is turned and moved, so that checksums of data with checksums are good ones.
fn checksum(bytes: &[u8]) -> u32 {
    static CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);
    CRC.checksum(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(iteration: u64, phase: Phase) -> Record {
        Record {
            iteration,
            phase,
            loss: 0.5,
            pixel_error: 0.25,
            rand_error: None,
            constant_error: None,
            eta: 0.125,
            gradient_norm: None,
            batch: 1,
            classes: Vec::new(),
            voxels_per_second: 8.0,
            seconds: iteration as f64,
        }
    }

    fn read(path: &Path) -> Vec<Event> {
        let bytes = std::fs::read(path).unwrap();
        let (mut rest, mut events) = (&bytes[..], Vec::new());
        while !rest.is_empty() {
            let (length, after) = rest.split_at(8);
            let len = u64::from_le_bytes(length.try_into().unwrap()) as usize;
            assert_eq!(after[..4], checksum(length).to_le_bytes());
            let message = &after[4..4 + len];
            assert_eq!(after[4 + len..][..4], checksum(message).to_le_bytes());
            events.push(Event::decode(message).unwrap());
            rest = &after[8 + len..];
        }
        events
    }

    #[test]
    fn a_history_is_written_and_continued() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.out.tfevents.znn");
        let old = [record(10, Phase::Train), record(10, Phase::Validation)];
        let mut events = EventFile::create(&path, &old).unwrap();
        events.append(&Record { rand_error: Some(0.75), ..record(20, Phase::Train) }).unwrap();
        let found = read(&path);
        assert_eq!(found[0].file_version.as_deref(), Some("brain.Event:2"));
        let steps: Vec<i64> = found[1..].iter().map(|event| event.step).collect();
        assert_eq!(steps, [10, 10, 20]);
        let tags = |event: &Event| {
            let values = &event.summary.as_ref().unwrap().value;
            values.iter().map(|value| (value.tag.clone(), value.simple_value)).collect::<Vec<_>>()
        };
        let named = |pairs: &[(&str, f32)]| {
            pairs.iter().map(|&(tag, value)| (tag.to_owned(), value)).collect::<Vec<_>>()
        };
        assert_eq!(
            tags(&found[3]),
            named(&[
                ("train/loss", 0.5),
                ("train/pixel_error", 0.25),
                ("train/rand_error", 0.75),
                ("train/learning_rate", 0.125),
                ("train/voxels_per_second", 8.0)
            ])
        );
        assert_eq!(tags(&found[2])[0], ("validation/loss".to_owned(), 0.5));
        assert!(found[3].wall_time - found[1].wall_time == 10.0);
        drop(EventFile::create(&path, &[]).unwrap());
        assert_eq!(read(&path).len(), 1, "a new run replaces the old one");
    }

    /// The checksum of nothing, and of `123456789` (whose CRC-32C is e3069283), by the definition.
    #[test]
    fn checksums_are_those_of_the_format() {
        assert_eq!(checksum(b""), 0xa282_ead8);
        let crc = 0xe306_9283_u32;
        assert_eq!(checksum(b"123456789"), crc.rotate_right(15).wrapping_add(0xa282_ead8));
    }
}
