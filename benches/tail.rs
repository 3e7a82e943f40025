//! What `livefeed tail` takes from a server that sends as fast as it can, beside other programs that print a feed.
//!
//! ```text
//! cargo bench --features cli --bench tail -- --peer 'websocat -t -u - {url}' --peer 'python3 -m websockets {url}'
//! ```
//!
//! Each program gets the same messages in turn, its output goes to `/dev/null`, and the time runs from the end of the
//! upgrade to the end of the program. `{url}` is the server; what fails is said and left out.
#![allow(clippy::expect_used, clippy::panic, reason = "a bench that can't go on says so")]
#![allow(clippy::disallowed_methods, reason = "a bench has clocks and threads of its own")]

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

const SIZE: usize = 128;
/// Frames are written in chunks of about this size.
const CHUNK: usize = 1 << 18;
const PATIENCE: Duration = Duration::from_secs(120);

fn main() -> ExitCode {
    let options = Options::from_args();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("ws://{}/", listener.local_addr().expect("its address"));
    let own = env!("CARGO_BIN_EXE_livefeed");
    let tail = |rest: &str| format!("{own} tail -q --max-reconnects 0 {rest} {url}");
    let mut programs = vec![
        Program::new("livefeed tail", tail("")),
        Program::new("livefeed tail --format json", tail("--format json")),
    ];
    programs.extend(options.peers.iter().map(|peer| Program::new(peer, peer.replace("{url}", &url))));
    for round in 0..options.rounds {
        for program in &mut programs {
            match rate(&listener, &program.command, options.messages) {
                Ok(rate) => {
                    eprintln!("round {round}: {rate:>11.0}  {}", program.name);
                    program.rates.push(rate);
                }
                Err(error) => eprintln!("round {round}: {}: {error}", program.name),
            }
        }
    }
    report(&programs, options.messages);
    ExitCode::SUCCESS
}

struct Options {
    rounds: usize,
    messages: usize,
    peers: Vec<String>,
}

impl Options {
    fn from_args() -> Self {
        let mut options = Self { rounds: 5, messages: 1_000_000, peers: Vec::new() };
        let mut args = std::env::args().skip(1);
        while let Some(arg) = args.next() {
            let mut value = || args.next().expect("a value after each option");
            match arg.as_str() {
                "--rounds" => options.rounds = value().parse().expect("a number of rounds"),
                "--messages" => options.messages = value().parse().expect("a number of messages"),
                "--peer" => options.peers.push(value()),
                "--bench" => {}
                other => panic!("no such option: {other}"),
            }
        }
        options
    }
}

struct Program {
    name: String,
    command: String,
    /// Messages a second, of each round.
    rates: Vec<f64>,
}

impl Program {
    fn new(name: &str, command: String) -> Self {
        Self { name: name.to_owned(), command, rates: Vec::new() }
    }

    fn median(&self) -> Option<f64> {
        let mut rates = self.rates.clone();
        rates.sort_by(f64::total_cmp);
        rates.get(rates.len() / 2).copied()
    }
}

fn report(programs: &[Program], messages: usize) {
    println!(
        "{messages} text messages of {SIZE} bytes; messages a second: median (least to most), times livefeed tail"
    );
    let own = programs.first().and_then(Program::median);
    for program in programs {
        let (Some(median), Some(own)) = (program.median(), own) else { continue };
        let least = program.rates.iter().copied().fold(f64::INFINITY, f64::min);
        let most = program.rates.iter().copied().fold(0.0, f64::max);
        println!("{:>11.0} ({least:.0} to {most:.0})  {:.3}  {}", median, median / own, program.name);
    }
}

/// Runs a program once; messages a second.
fn rate(listener: &TcpListener, command: &str, messages: usize) -> io::Result<f64> {
    let mut words = command.split_whitespace();
    let mut child = Kill(
        Command::new(words.next().unwrap_or_default())
            .args(words)
            .stdin(Stdio::piped()) // held open: some end with their input
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?,
    );
    let mut stream = accept(listener, &mut child.0)?;
    stream.set_nodelay(true)?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    drop(tungstenite::accept(stream.try_clone()?).map_err(io::Error::other)?);
    let begun = Instant::now();
    send(&mut stream, messages)?;
    await_close(&mut stream);
    drop(stream); // the server goes first (RFC 6455 section 7.1.1)
    wait(&mut child.0)?;
    Ok(messages as f64 / begun.elapsed().as_secs_f64())
}

/// A program that is not left behind.
struct Kill(Child);

impl Drop for Kill {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits for the program's connection, unless it ends without one.
fn accept(listener: &TcpListener, child: &mut Child) -> io::Result<TcpStream> {
    listener.set_nonblocking(true)?;
    let begun = Instant::now();
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false)?;
                return Ok(stream);
            }
            Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(error),
            Err(_) if begun.elapsed() > PATIENCE => return Err(ErrorKind::TimedOut.into()),
            Err(_) => {}
        }
        if let Some(status) = child.try_wait()? {
            return Err(io::Error::other(format!("it did not connect, {status}")));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn wait(child: &mut Child) -> io::Result<()> {
    let begun = Instant::now();
    while child.try_wait()?.is_none() {
        if begun.elapsed() > PATIENCE {
            return Err(ErrorKind::TimedOut.into());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// Reads until the answer to the Close frame, or the end.
fn await_close(stream: &mut TcpStream) {
    const CLOSE: u8 = 0x88;
    let mut head = [0; 2];
    // Clients send little: what is longer than a short frame is no answer, and ends the wait too.
    while stream.read_exact(&mut head).is_ok() && head[0] != CLOSE && head[1] & 0x7F < 126 {
        let rest = usize::from(head[1] & 0x7F) + 4; // with the mask
        if stream.read_exact(&mut [0; 130][..rest]).is_err() {
            return;
        }
    }
}

/// Writes the frames, and a Close frame with code 1000.
fn send(stream: &mut TcpStream, messages: usize) -> io::Result<()> {
    let mut frame = vec![0x81, 126, 0, SIZE as u8];
    let text = format!(
        r#"{{"topic":"trades","seq":12345678,"price":"64321.50","size":"0.0125","pad":"{}"}}"#,
        "x".repeat(SIZE)
    );
    frame.extend_from_slice(&text.as_bytes()[..SIZE - 2]);
    frame.extend_from_slice(b"\"}");
    let at_once = CHUNK / frame.len();
    let chunk = frame.repeat(at_once);
    for _ in 0..messages / at_once {
        stream.write_all(&chunk)?;
    }
    stream.write_all(&frame.repeat(messages % at_once))?;
    stream.write_all(&[0x88, 2, 0x03, 0xE8])
}
