//! `lab`: a server that misbehaves on demand.

use crate::exit::{Failure, Outcome, say};
use crate::lab_script::{self, Data, Steps};
use crate::{address, secrets, serving, signals, time};
use livefeed::crossbeam_channel::{Receiver, after, never, select};
use livefeed::lab::{Builder, Command, Lab, Script, Topic};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// A file of payloads that is longer is a mistake, in bytes.
const PAYLOADS: u64 = 256 << 20;

/// A feed server that misbehaves on demand, to try clients with
///
/// Without options it sends a message every 100ms on each connection: {"topic":"lab","seq":1,"t_ns":..}, numbered without a hole over
/// all connections. With --mode something goes wrong.
#[derive(Debug, clap::Args)]
#[command(after_long_help = lab_script::help())]
pub(crate) struct Args {
    /// Where to listen: HOST:PORT, or a port of this machine; with port 0 the system chooses one
    #[arg(long, value_name = "ADDR", value_parser = address::read, default_value = "127.0.0.1:9001")]
    listen: String,
    /// What goes wrong, as MODE or MODE:ARG; --help lists all. Repeatable: the first for the first connection, and so on, the last for all others
    #[arg(long, value_name = "MODE", conflicts_with = "script")]
    mode: Vec<String>,
    /// How long all is well before that
    #[arg(long, value_name = "DUR", value_parser = time::duration, default_value = "5s", conflicts_with = "script")]
    after: Duration,
    /// What to do on each connection, step by step, from a file
    #[arg(long, value_name = "FILE")]
    script: Option<PathBuf>,
    /// TLS, with a certificate made for localhost, or an expired one, or one of another host
    #[arg(long, value_name = "CERT", num_args = 0..=1, default_missing_value = "valid", require_equals = true)]
    tls: Option<Cert>,
    /// Write the certificate that clients have to trust to this file, as PEM
    #[arg(long, value_name = "FILE", requires = "tls")]
    write_ca: Option<PathBuf>,
    /// Say nothing of connections on standard error
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    data: DataArgs,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Data")]
struct DataArgs {
    /// The topics. Repeatable
    #[arg(long, value_name = "NAME", default_value = "lab")]
    topic: Vec<String>,
    /// Messages a second of each topic, or `max`: as fast as the client takes them
    #[arg(long, value_name = "N|max", value_parser = rate, default_value = "10")]
    rate: Every,
    /// Make each message at least so many bytes long
    #[arg(long, value_name = "BYTES", default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=1 << 28))]
    size: u32,
    /// Send the lines of this file in turn, in place of numbered messages
    #[arg(long, value_name = "FILE", conflicts_with = "size")]
    payloads: Option<PathBuf>,
    /// Start a topic only when a text with its name in it comes, and stop it when one comes that also says `unsubscribe`
    #[arg(long)]
    on_subscribe: bool,
    /// Answer such a text with this; `{topic}` is the name
    #[arg(long, value_name = "TEXT", requires = "on_subscribe")]
    ack: Option<String>,
    /// Send this first. Repeatable
    #[arg(long, value_name = "TEXT")]
    greeting: Vec<String>,
    /// Send this text at a steady interval; it is no data
    #[arg(long, value_name = "TEXT")]
    heartbeat: Option<String>,
    /// That interval
    #[arg(long, value_name = "DUR", value_parser = time::interval, default_value = "1s", requires = "heartbeat")]
    heartbeat_every: Duration,
    /// Send a ping at this interval
    #[arg(long, value_name = "DUR", value_parser = time::interval)]
    ping: Option<Duration>,
    /// Add a header to the answer to the upgrade, such as 'Retry-After: 5'. Repeatable
    #[arg(long, value_name = "HEADER")]
    header: Vec<String>,
    /// Choose this subprotocol, offered or not [default: the first offered]
    #[arg(long, value_name = "NAME")]
    subprotocol: Option<String>,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Cert {
    /// Right for localhost and 127.0.0.1
    Valid,
    Expired,
    WrongHost,
}

/// The time between two messages.
#[derive(Debug, Clone, Copy)]
struct Every(Duration);

/// Reads a rate.
fn rate(text: &str) -> Result<Every, String> {
    if text == "max" {
        return Ok(Every(Duration::ZERO));
    }
    match text.parse::<f64>() {
        Ok(rate) if (1e-6..=1e6).contains(&rate) => Ok(Every(Duration::from_secs_f64(1.0 / rate))),
        _ => Err("write a number from 0.000001 to 1000000, or max".to_owned()),
    }
}

/// What is wrong with the lab as a whole, again and again.
#[derive(Debug, Clone, Copy)]
struct Outage {
    accepts: bool,
    lasts: Duration,
}

pub(crate) fn main(args: Args) -> Outcome {
    let data = data(&args.data)?;
    let outages = args.mode.iter().filter_map(|mode| outage(mode)).collect::<Result<Vec<_>, _>>()?;
    if outages.len() > 1 {
        return Err(Failure::usage(
            "--mode: the whole lab can do one of these at a time: not-listening, not-accepting",
        ));
    }
    let outage = outages.first().copied();
    if outage.is_some() && args.after.is_zero() {
        return Err(Failure::usage(
            "--after: must be longer than 0s with this mode, or it would never be back",
        ));
    }
    let scripts = scripts(&args, &data)?;
    // Not before: until here a signal ends the program by itself, whatever it waits for.
    let stop = signals::stop()?;
    let (quiet, good) = (args.quiet, args.after);
    let plan = move |number: usize| {
        let last = scripts.len().saturating_sub(1);
        let of = |data: &Data| {
            let plan = scripts.get(number.saturating_sub(1).min(last));
            plan.and_then(|plan| plan.script(data, good).ok()).unwrap_or_default()
        };
        if quiet { of(&data) } else { watched(of, &data, number) }
    };
    let listen = args.listen;
    let cannot = |error: std::io::Error| {
        Failure::failed(format!("{listen} can't be listened at: {error}; choose another with --listen"))
    };
    let addr = address::resolve(&listen).map_err(cannot)?;
    let builder = Lab::builder().listen(addr).transcript_limit(16).scripts(plan);
    let builder = match args.tls {
        None => builder,
        Some(cert) => with_tls(builder, cert)?,
    };
    let lab = builder.start().map_err(cannot)?;
    if let Some(path) = &args.write_ca {
        let written = std::fs::write(path, ca_pem(&lab));
        written.map_err(|error| Failure::failed(format!("{}: {error}", path.display())))?;
    }
    say(&format!("livefeed: listening at {}", lab.url()));
    if args.tls.is_some() && args.write_ca.is_none() {
        say("livefeed: no client trusts its certificate: write that to trust to a file with --write-ca FILE");
    }
    serve(&lab, &stop, outage, args.after);
    serving::end(lab);
    Ok(())
}

#[cfg(feature = "native-tls")]
fn with_tls(builder: Builder, cert: Cert) -> Result<Builder, Failure> {
    use livefeed::lab::Certificate;
    Ok(builder.tls(match cert {
        Cert::Valid => Certificate::Valid,
        Cert::Expired => Certificate::Expired,
        Cert::WrongHost => Certificate::WrongHost,
    }))
}

#[cfg(not(feature = "native-tls"))]
fn with_tls(_: Builder, _: Cert) -> Result<Builder, Failure> {
    Err(Failure::usage("--tls: this program was built without TLS: build it with the feature native-tls"))
}

#[cfg(feature = "native-tls")]
fn ca_pem(lab: &Lab) -> &str {
    lab.ca_pem()
}

#[cfg(not(feature = "native-tls"))]
fn ca_pem(_: &Lab) -> &str {
    ""
}

/// Serves until it is stopped.
fn serve(lab: &Lab, stop: &Receiver<()>, outage: Option<Outage>, good: Duration) {
    let control = lab.control();
    let mut is_out = false;
    let mut turn = outage.map_or_else(never, |_| after(good));
    loop {
        select! {
            recv(stop) -> _ => return,
            recv(turn) -> _ => {
                let Some(outage) = outage else { return };
                is_out = !is_out;
                say(match (is_out, outage.accepts) {
                    (false, _) => "livefeed: back: all is well again",
                    (true, true) => "livefeed: out: connections dropped, new ones stay unanswered",
                    (true, false) => "livefeed: out: connections dropped, new ones are refused",
                });
                let done = match (outage.accepts, is_out) {
                    (true, out) => control.accept(!out),
                    (false, true) => control.stop_listening(),
                    (false, false) => control.listen_again(),
                };
                if is_out {
                    control.drop_connections();
                }
                if let Err(error) = done {
                    say(&format!("livefeed: {}: {error}", lab.addr()));
                }
                turn = after(if is_out { outage.lasts } else { good });
            }
        }
    }
}

/// The script, with words on standard error about what becomes of its connection.
fn watched(script: impl FnOnce(&Data) -> Script, data: &Data, number: usize) -> Script {
    struct Over(usize);
    impl Drop for Over {
        fn drop(&mut self) {
            say(&format!("livefeed: connection {}: over", self.0));
        }
    }
    say(&format!("livefeed: connection {number}: accepted"));
    let over = Over(number);
    let script = script(&Data { told: Some(number), ..data.clone() });
    // The last step, which the connection holds to its end, whether it comes to it or not.
    script.then(Command::react(move |_| {
        let _ = &over;
        Vec::new()
    }))
}

/// A mode of the lab as a whole.
fn outage(mode: &str) -> Option<Result<Outage, Failure>> {
    let (name, lasts) = mode.split_once(':').unwrap_or((mode, "5s"));
    let accepts = match name {
        "not-listening" => false,
        "not-accepting" => true,
        _ => return None,
    };
    let lasts = time::interval(lasts).map_err(|problem| Failure::usage(format!("--mode {name}: {problem}")));
    Some(lasts.map(|lasts| Outage { accepts, lasts }))
}

/// What a connection gets. Its script is made when it begins.
enum Plan {
    Mode(String),
    Steps(Steps),
}

impl Plan {
    fn script(&self, data: &Data, good: Duration) -> Result<Script, String> {
        match self {
            Self::Mode(mode) => lab_script::mode(mode, data, good),
            Self::Steps(steps) => steps.script(data),
        }
    }
}

/// The plans of the first connections, the last one for all others; each is checked.
fn scripts(args: &Args, data: &Data) -> Result<Vec<Plan>, Failure> {
    let (plans, front) = match &args.script {
        Some(path) => {
            let front = format!("--script {}", path.display());
            let wrong = |problem: String| Failure::usage(format!("{front}: {problem}"));
            let scripts = lab_script::scripts(&read(path)?).map_err(wrong)?;
            (scripts.into_iter().map(Plan::Steps).collect::<Vec<_>>(), front)
        }
        None => {
            let modes = args.mode.iter().filter(|mode| outage(mode).is_none());
            let mut plans: Vec<Plan> = modes.cloned().map(Plan::Mode).collect();
            if plans.is_empty() {
                plans.push(Plan::Mode("good".to_owned()));
            }
            (plans, "--mode".to_owned())
        }
    };
    for plan in &plans {
        plan.script(data, args.after).map_err(|problem| Failure::usage(format!("{front}: {problem}")))?;
    }
    Ok(plans)
}

fn read(path: &Path) -> Result<String, Failure> {
    let shown = path.display();
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(PAYLOADS + 1).read_to_string(&mut text));
    read.map_err(|error| Failure::usage(format!("{shown}: {error}")))?;
    if text.len() as u64 > PAYLOADS {
        return Err(Failure::usage(format!(
            "{shown}: is longer than {PAYLOADS} bytes: is it the right file?"
        )));
    }
    Ok(text)
}

fn data(args: &DataArgs) -> Result<Data, Failure> {
    let lines: Option<Arc<[String]>> = match &args.payloads {
        None => None,
        Some(path) => Some(read(path)?.lines().map(str::to_owned).collect()),
    };
    if lines.as_ref().is_some_and(|lines| lines.is_empty()) {
        return Err(Failure::usage("--payloads: the file is empty: write a message on each line"));
    }
    let topic = |name: &String| {
        let mut topic = Topic::new(name.as_str()).every(args.rate.0).size(args.size as usize);
        if let Some(lines) = lines.clone() {
            topic = topic.message(move |seq, _| {
                let at = usize::try_from(seq.saturating_sub(1)).unwrap_or_default() % lines.len();
                lines.get(at).cloned().unwrap_or_default()
            });
        }
        if args.on_subscribe {
            topic = topic.on_subscribe();
        }
        match &args.ack {
            Some(ack) => topic.ack(ack.replace("{topic}", name)),
            None => topic,
        }
    };
    let header = |line: &String| -> Result<(String, String), Failure> {
        let (name, value) = secrets::header("--header", line)?;
        Ok((name, value.expose().to_owned()))
    };
    Ok(Data {
        topics: args.topic.iter().map(topic).collect(),
        names: args.topic.clone(),
        heartbeat: args.heartbeat.clone().map(|text| (text, args.heartbeat_every)),
        pings: args.ping,
        headers: args.header.iter().map(header).collect::<Result<_, _>>()?,
        subprotocol: args.subprotocol.clone(),
        greeting: args.greeting.clone(),
        told: None,
    })
}
