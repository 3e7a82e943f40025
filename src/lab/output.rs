//! What a connection has still to write, and how.

use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};

use super::flood::Flood;

/// What is written in one turn at most, in bytes, so that other connections have theirs.
const TURN: usize = 4 << 20;

#[derive(Debug)]
enum Segment {
    Now(Vec<u8>),
    Slow { bytes: Vec<u8>, at: usize, every: Duration, due: Instant },
    Hold,
}

#[derive(Debug)]
struct Running {
    flood: Flood,
    at: usize,
    left: Option<u64>,
}

/// The send queue of a connection: segments first, and where there are none, the flood.
#[derive(Debug, Default)]
pub(super) struct Output {
    segments: VecDeque<Segment>,
    /// How much of the first segment is written.
    at: usize,
    queued: usize,
    flood: Option<Running>,
    muted: bool,
    /// Frames of floods that were finished as segments and are not yet accounted for.
    finished: u64,
}

/// How far one turn of writing came.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// The socket takes no more for now.
    pub(super) blocked: bool,
    /// It took all that it was to take in one turn.
    pub(super) more: bool,
    /// How many messages of a flood were written.
    pub(super) flooded: u64,
}

impl Output {
    /// How much is queued, in bytes; a flood does not count.
    pub(super) fn len(&self) -> usize {
        self.queued
    }

    pub(super) fn is_idle(&self) -> bool {
        self.segments.is_empty() && self.flood.is_none()
    }

    pub(super) fn queue(&mut self, bytes: &[u8]) {
        self.finish_frame();
        self.append(bytes);
    }

    fn append(&mut self, bytes: &[u8]) {
        self.queued += bytes.len();
        match self.segments.back_mut() {
            Some(Segment::Now(last)) if last.len() < 1 << 20 => last.extend_from_slice(bytes),
            _ => self.segments.push_back(Segment::Now(bytes.to_vec())),
        }
    }

    pub(super) fn trickle(&mut self, bytes: Vec<u8>, every: Duration, now: Instant) {
        self.finish_frame();
        self.queued += bytes.len();
        self.segments.push_back(Segment::Slow { bytes, at: 0, every, due: now + every });
    }

    /// Writes nothing that is queued from now on, until [`release`](Self::release).
    pub(super) fn hold(&mut self) {
        self.segments.push_back(Segment::Hold);
    }

    pub(super) fn release(&mut self) {
        self.segments.retain(|segment| !matches!(segment, Segment::Hold));
    }

    pub(super) fn start_flood(&mut self, flood: Flood) {
        self.end_flood();
        if !flood.block.ends.is_empty() {
            self.flood = Some(Running { left: flood.count, at: 0, flood });
        }
    }

    pub(super) fn end_flood(&mut self) {
        self.finish_frame();
        self.flood = None;
    }

    pub(super) fn mute_flood(&mut self, muted: bool) {
        self.muted = muted;
    }

    /// Queues the rest of a frame that a flood has begun, so that something else can follow.
    fn finish_frame(&mut self) {
        let Some(running) = &mut self.flood else { return };
        let ends = &running.flood.block.ends;
        let frame = ends.partition_point(|&end| end <= running.at);
        let start = if frame == 0 { 0 } else { ends[frame - 1] };
        if running.at == start {
            return;
        }
        let end = ends[frame];
        let rest = running.flood.block.bytes[running.at..end].to_vec();
        running.at = if end == running.flood.block.bytes.len() { 0 } else { end };
        if let Some(left) = &mut running.left {
            *left -= 1;
        }
        self.finished += u64::from(!running.flood.silent);
        self.append(&rest);
    }

    /// When the next byte of a trickle is due.
    pub(super) fn due(&self) -> Option<Instant> {
        match self.segments.front() {
            Some(Segment::Slow { due, .. }) => Some(*due),
            _ => None,
        }
    }

    /// Writes what is due as far as `sink` takes it.
    pub(super) fn write(
        &mut self,
        now: Instant,
        mut sink: impl FnMut(&[u8]) -> io::Result<usize>,
    ) -> io::Result<Progress> {
        let mut progress = Progress { flooded: std::mem::take(&mut self.finished), ..Progress::default() };
        let mut room = TURN;
        loop {
            let (offered, slow, muted) = match self.segments.front() {
                Some(Segment::Now(bytes)) => (&bytes[self.at..], false, false),
                Some(Segment::Slow { bytes, at, due, .. }) if *due <= now => (&bytes[*at..=*at], true, false),
                Some(Segment::Slow { .. } | Segment::Hold) => return Ok(progress),
                None => match self.flood.as_ref().map(|running| running.offer(self.muted)) {
                    Some(&[]) if !self.muted => {
                        self.flood = None;
                        return Ok(progress);
                    }
                    Some(&[]) | None => return Ok(progress),
                    Some(offered) => (offered, false, self.muted),
                },
            };
            let written = match sink(offered) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => written,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    progress.blocked = true;
                    return Ok(progress);
                }
                Err(error) => return Err(error),
            };
            progress.flooded += self.written(written, slow, now);
            room = room.saturating_sub(written);
            if room == 0 {
                progress.more = !muted;
                return Ok(progress);
            }
        }
    }

    /// Accounts for written bytes; the messages of a flood that they complete.
    fn written(&mut self, count: usize, slow: bool, now: Instant) -> u64 {
        match self.segments.front_mut() {
            Some(Segment::Slow { bytes, at, every, due }) if slow => {
                *at += 1;
                *due = now + *every;
                self.queued -= 1;
                if *at == bytes.len() {
                    self.segments.pop_front();
                }
                0
            }
            Some(Segment::Now(bytes)) => {
                self.at += count;
                self.queued -= count;
                if self.at == bytes.len() {
                    self.at = 0;
                    self.segments.pop_front();
                }
                0
            }
            _ => self.flood.as_mut().map_or(0, |running| running.written(count)),
        }
    }
}

impl Running {
    /// What is to be written next; nothing if the flood is through, or muted and between two frames.
    fn offer(&self, muted: bool) -> &[u8] {
        let block = &self.flood.block;
        let frame = block.ends.partition_point(|&end| end <= self.at);
        let between = self.at == if frame == 0 { 0 } else { block.ends[frame - 1] };
        let frames = match (muted, self.left) {
            (true, _) => usize::from(!between),
            (false, Some(left)) => usize::try_from(left).unwrap_or(usize::MAX),
            (false, None) => usize::MAX,
        };
        match frame.saturating_add(frames).min(block.ends.len()).checked_sub(1) {
            Some(last) if frames > 0 => &block.bytes[self.at..block.ends[last]],
            _ => &[],
        }
    }

    fn written(&mut self, count: usize) -> u64 {
        let ends = &self.flood.block.ends;
        let before = ends.partition_point(|&end| end <= self.at);
        self.at += count;
        let whole = (ends.partition_point(|&end| end <= self.at) - before) as u64;
        if self.at == self.flood.block.bytes.len() {
            self.at = 0;
        }
        if let Some(left) = &mut self.left {
            *left = left.saturating_sub(whole);
        }
        if self.flood.silent { 0 } else { whole }
    }
}
