//! One accepted socket, plain or under TLS, never blocking.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::Duration;

/// The socket below a TLS session; a handle of it stays with the connection.
#[derive(Debug, Clone)]
pub(super) struct Socket(Arc<TcpStream>);

impl Read for Socket {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        (&*self.0).read(buf)
    }
}

impl Write for Socket {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        (&*self.0).write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[derive(Debug)]
enum Layer {
    Plain,
    #[cfg(feature = "native-tls")]
    Handshake(native_tls::MidHandshakeTlsStream<Socket>),
    #[cfg(feature = "native-tls")]
    Tls(native_tls::TlsStream<Socket>),
    #[cfg(feature = "native-tls")]
    Failed,
}

/// A stream of bytes that answers `WouldBlock` instead of waiting.
#[derive(Debug)]
pub(super) struct Stream {
    socket: Socket,
    layer: Layer,
    /// Accepted for writing under TLS, but not yet written. TLS wants a blocked write repeated with the same bytes,
    /// which a send queue that can change its mind can't promise.
    pending: Vec<u8>,
    written: usize,
}

/// The most that is accepted for writing under TLS at once, in bytes: one record.
const RECORD: usize = 16 << 10;

impl Stream {
    pub(super) fn new(socket: TcpStream) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        // Without this, pacing and segment boundaries would be the system's choice.
        socket.set_nodelay(true)?;
        Ok(Self { socket: Socket(Arc::new(socket)), layer: Layer::Plain, pending: Vec::new(), written: 0 })
    }

    /// Starts the TLS handshake; [`handshake`](Self::handshake) carries it on.
    #[cfg(feature = "native-tls")]
    pub(super) fn start_tls(&mut self, acceptor: &native_tls::TlsAcceptor) -> io::Result<bool> {
        let outcome = acceptor.accept(self.socket.clone());
        self.shaken(outcome)
    }

    /// Goes on with the TLS handshake; `true` when it is complete.
    #[cfg(feature = "native-tls")]
    pub(super) fn handshake(&mut self) -> io::Result<bool> {
        match std::mem::replace(&mut self.layer, Layer::Failed) {
            Layer::Handshake(middle) => {
                let outcome = middle.handshake();
                self.shaken(outcome)
            }
            other => {
                self.layer = other;
                Ok(true)
            }
        }
    }

    #[cfg(feature = "native-tls")]
    fn shaken(
        &mut self,
        outcome: Result<native_tls::TlsStream<Socket>, native_tls::HandshakeError<Socket>>,
    ) -> io::Result<bool> {
        match outcome {
            Ok(tls) => {
                self.layer = Layer::Tls(tls);
                Ok(true)
            }
            Err(native_tls::HandshakeError::WouldBlock(middle)) => {
                self.layer = Layer::Handshake(middle);
                Ok(false)
            }
            Err(native_tls::HandshakeError::Failure(error)) => Err(io::Error::other(error)),
        }
    }

    /// There is no TLS in this build.
    #[cfg(not(feature = "native-tls"))]
    #[allow(clippy::unnecessary_wraps, reason = "the form with TLS can fail")]
    pub(super) fn handshake(&mut self) -> io::Result<bool> {
        Ok(true)
    }

    pub(super) fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match &mut self.layer {
            Layer::Plain => self.socket.read(buf),
            #[cfg(feature = "native-tls")]
            Layer::Tls(tls) => match tls.read(buf) {
                Err(error) if error.to_string().contains("unexpected eof") => Ok(0),
                outcome => outcome,
            },
            #[cfg(feature = "native-tls")]
            Layer::Handshake(_) | Layer::Failed => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    pub(super) fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        if matches!(self.layer, Layer::Plain) {
            return self.socket.write(buf);
        }
        if !self.flush()? {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let record = &buf[..buf.len().min(RECORD)];
        self.pending.extend_from_slice(record);
        self.flush()?;
        Ok(record.len())
    }

    /// Writes what was accepted; `false` if the socket takes no more for now.
    pub(super) fn flush(&mut self) -> io::Result<bool> {
        #[cfg(feature = "native-tls")]
        while self.written < self.pending.len() {
            let rest = &self.pending[self.written..];
            let outcome = match &mut self.layer {
                Layer::Tls(tls) => tls.write(rest),
                _ => Err(io::ErrorKind::WouldBlock.into()),
            };
            match outcome {
                Ok(count) => self.written += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        self.pending.clear();
        self.written = 0;
        Ok(true)
    }

    /// Says goodbye as TLS wants it, where there is TLS.
    pub(super) fn close_notify(&mut self) {
        #[cfg(feature = "native-tls")]
        if let Layer::Tls(tls) = &mut self.layer {
            let _ = tls.shutdown();
        }
    }

    /// Ends the sending direction (FIN).
    pub(super) fn fin(&self) {
        let _ = self.socket.0.shutdown(Shutdown::Write);
    }

    /// Makes the coming close of the socket a reset (RST).
    pub(super) fn reset(&self) {
        let _ = socket2::SockRef::from(&*self.socket.0).set_linger(Some(Duration::ZERO));
    }

    /// The error that the system holds for this socket.
    pub(super) fn take_error(&self) -> Option<io::Error> {
        self.socket.0.take_error().ok().flatten()
    }

    /// The socket, to wait for.
    pub(super) fn socket(&self) -> &TcpStream {
        &self.socket.0
    }
}
