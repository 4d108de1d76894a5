//! As much of the Postgres protocol as it takes to know when a write is committed: where messages end, which prepared statements
//! write, and `ReadyForQuery` with status idle behind such a statement. (`CommandComplete` alone would be too early: inside a
//! transaction it says nothing, and even outside one it is encoded before the commit.)

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::Cut;

/// Startup messages have no type; these two ask for encryption and are answered with one byte.
const SSL_REQUEST: u32 = 80_877_103;
const GSS_REQUEST: u32 = 80_877_104;

/// What both directions of a connection know.
#[derive(Debug)]
pub(super) struct Talk {
    writes: &'static str,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Answers of one byte that are due.
    bare_bytes: u32,
    /// The rest is encrypted.
    opaque: bool,
    /// Names of prepared statements that write.
    writing: BTreeSet<Vec<u8>>,
    /// A write is under way that is not committed yet.
    dirty: bool,
}

impl Talk {
    pub(super) fn about(writes: &'static str) -> Self {
        Self {
            writes,
            state: Mutex::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_write(&self, sql: &[u8]) -> bool {
        sql.windows(self.writes.len())
            .any(|window| window == self.writes.as_bytes())
    }
}

/// What the client sends.
#[derive(Debug)]
pub(super) struct Requests<'a> {
    talk: &'a Talk,
    started: bool,
    buffer: Vec<u8>,
}

impl<'a> Requests<'a> {
    pub(super) fn of(talk: &'a Talk) -> Self {
        Self {
            talk,
            started: false,
            buffer: Vec::new(),
        }
    }

    pub(super) fn read(&mut self, piece: &[u8]) {
        if self.talk.state().opaque {
            return;
        }
        self.buffer.extend_from_slice(piece);
        while let Some(length) = self.message() {
            let message: Vec<u8> = self.buffer.drain(..length).collect();
            if self.started {
                self.learn(message[0], &message[5..]);
            } else {
                self.startup(&message[4..]);
            }
        }
    }

    /// Length of the first whole message in the buffer.
    fn message(&self) -> Option<usize> {
        let tag = usize::from(self.started);
        let length = word(self.buffer.get(tag..tag + 4)?)? as usize + tag;
        (self.buffer.len() >= length && length > 4).then_some(length)
    }

    fn startup(&mut self, body: &[u8]) {
        match body.get(..4).and_then(word) {
            Some(SSL_REQUEST | GSS_REQUEST) => self.talk.state().bare_bytes += 1,
            _ => self.started = true,
        }
    }

    fn learn(&self, kind: u8, body: &[u8]) {
        let mut strings = body.split(|byte| *byte == 0);
        let first = strings.next().unwrap_or_default();
        let second = strings.next().unwrap_or_default();
        let mut state = self.talk.state();
        match kind {
            // Parse: name, statement.
            b'P' if self.talk.is_write(second) => drop(state.writing.insert(first.to_vec())),
            b'P' => drop(state.writing.remove(first)),
            // Bind: portal, name.
            b'B' => state.dirty |= state.writing.contains(second),
            // A simple query.
            b'Q' => state.dirty |= self.talk.is_write(first),
            _ => {}
        }
    }
}

/// What the server sends.
#[derive(Debug)]
pub(super) struct Answers<'a> {
    talk: &'a Talk,
    buffer: Vec<u8>,
    /// Whole messages that wait for the end of their command.
    held: Vec<u8>,
}

impl<'a> Answers<'a> {
    pub(super) fn of(talk: &'a Talk) -> Self {
        Self {
            talk,
            buffer: Vec::new(),
            held: Vec::new(),
        }
    }

    /// What goes on to the client, and which cut was reached behind it.
    pub(super) fn read(&mut self, piece: &[u8], armed: &mut Option<Cut>) -> (Vec<u8>, Option<Cut>) {
        let mut state = self.talk.state();
        if state.opaque {
            return (piece.to_vec(), None);
        }
        self.buffer.extend_from_slice(piece);
        let mut allowed = Vec::new();
        while state.bare_bytes > 0 && !self.buffer.is_empty() {
            state.bare_bytes -= 1;
            let answer = self.buffer.remove(0);
            allowed.push(answer);
            // Anything but no: encrypted from here on.
            if answer != b'N' {
                state.opaque = true;
                allowed.append(&mut self.buffer);
                return (allowed, None);
            }
        }
        while let Some(length) = whole(&self.buffer) {
            let message: Vec<u8> = self.buffer.drain(..length).collect();
            let committed = message[0] == b'Z' && message[5] == b'I' && state.dirty;
            match message[0] {
                // Of a failed statement there is nothing to be in doubt about.
                b'E' => state.dirty = false,
                b'Z' if message[5] != b'T' => state.dirty = false,
                _ => {}
            }
            if committed && *armed == Some(Cut::Commit) {
                return (allowed, armed.take());
            }
            self.held.extend(message.iter());
            if let Some(Cut::Message { count }) = armed {
                *count = count.saturating_sub(1);
                if *count == 0 {
                    allowed.append(&mut self.held);
                    return (allowed, armed.take());
                }
            }
            let is_end = message[0] == b'Z';
            if is_end || !state.dirty {
                allowed.append(&mut self.held);
            }
        }
        (allowed, None)
    }
}

/// Length of the first whole message of a server.
fn whole(buffer: &[u8]) -> Option<usize> {
    let length = word(buffer.get(1..5)?)? as usize + 1;
    (buffer.len() >= length && length > 5 || length == 5 && buffer.len() >= 5).then_some(length)
}

fn word(bytes: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.try_into().ok()?))
}
