//! Machines that share one training, by TCP.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::thread;
use std::time::{Duration, Instant};

use super::Seat;

/// What every connection begins with, both ways; its last character is the version of what follows.
const MAGIC: [u8; 8] = *b"CYCLEGN1";
/// A greeting is a few lines.
const MOST_GREETING: u64 = 1 << 16;
/// Far more than any training's state.
const MOST_STATE: u64 = 1 << 36;
/// Seconds in which whoever connects has to say who it is: others wait meanwhile.
const GREETING: Duration = Duration::from_secs(10);
/// Seconds for the last words.
const FAREWELL: Duration = Duration::from_secs(1);
/// Between two looks for whoever comes, and two tries to reach the first machine.
const PAUSE: Duration = Duration::from_millis(50);
/// Values that are read or written at once.
const CHUNK: usize = 1 << 14;

/// What a message is.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Kind {
    /// Who joins, and what it takes for granted.
    Hello = 1,
    /// Why it cannot join.
    Refused = 2,
    /// What all start from.
    State = 3,
    /// One machine's values.
    Part = 4,
    /// The sum of all.
    Sum = 5,
    /// It leaves: a reason, or nothing where there is none.
    Bye = 6,
}

/// The other machines of a training: for the first one all of them, for the others the first one.
#[derive(Debug)]
pub struct Peers {
    seat: Seat,
    links: Vec<Link>,
    patience: Duration,
    /// Why it is over, for those who are told when it is dropped.
    trouble: Option<String>,
}

/// A connection to one of them.
#[derive(Debug)]
struct Link {
    stream: TcpStream,
    /// For people: `machine 2 (10.0.0.2:50412)`.
    name: String,
}

impl Peers {
    /// The first machine's end: listens at `address` until all others are there. All have to agree on `terms`, each a
    /// name and a value. Whoever does not is told why and may come again; `told` hears of it.
    ///
    /// # Errors
    /// When it cannot listen there, or when machines are still missing after `patience`.
    pub fn gather(
        address: &str,
        machines: usize,
        terms: &[(&str, String)],
        patience: Duration,
        mut told: impl FnMut(&str),
    ) -> Result<Self, String> {
        let listening = |error: io::Error| format!("Cannot listen at {address}: {error}.");
        let listener = TcpListener::bind(address).map_err(listening)?;
        listener.set_nonblocking(true).map_err(listening)?;
        let at = listener.local_addr().map_err(listening)?;
        told(&format!("waiting for {} more at {at}", plural(machines - 1, "machine")));
        let mut seats: Vec<Option<Link>> = (1..machines).map(|_| None).collect();
        let begun = Instant::now();
        while seats.iter().any(Option::is_none) {
            let (mut stream, from) = match listener.accept() {
                Ok(one) => one,
                // What goes wrong here is that connection's trouble: the next one may be good.
                Err(_) if begun.elapsed() < patience => {
                    thread::sleep(PAUSE);
                    continue;
                }
                Err(_) => {
                    let missing = seats.iter().zip(2..).filter(|(seat, _)| seat.is_none());
                    let missing: Vec<_> = missing.map(|(_, number)| number.to_string()).collect();
                    let seconds = patience.as_secs();
                    return Err(format!("After {seconds} seconds these machines are missing: {}.", missing.join(", ")));
                }
            };
            // Whoever is no machine of a training at all (a port scanner) is not worth a word.
            let Ok(hello) = greeted(&mut stream) else { continue };
            match admitted(&hello, machines, terms, &seats) {
                Ok(machine) => {
                    let name = format!("machine {} ({from})", machine + 1);
                    told(&format!("{name} is there"));
                    if patient(&stream, patience).is_ok() {
                        seats[machine - 1] = Some(Link { stream, name });
                    }
                }
                Err(why) => {
                    told(&format!("{from} cannot join: {why}"));
                    let _ = message(&mut stream, Kind::Refused, why.as_bytes());
                }
            }
        }
        let links = seats.into_iter().flatten().collect();
        Ok(Self { seat: Seat { machine: 0, machines }, links, patience, trouble: None })
    }

    /// Another machine's end: goes to the first one at `address`, and comes back with the state to start from when all
    /// are there.
    ///
    /// # Errors
    /// When the first machine cannot be reached within `patience`, refuses, or starts no training.
    pub fn join(
        address: &str,
        seat: Seat,
        terms: &[(&str, String)],
        patience: Duration,
    ) -> Result<(Self, Vec<u8>), String> {
        let begun = Instant::now();
        let stream = loop {
            match connect(address, patience) {
                Ok(stream) => break stream,
                Err(error) if begun.elapsed() >= patience => {
                    return Err(format!("The first machine cannot be reached at {address}: {error}."));
                }
                Err(_) => thread::sleep(PAUSE * 4),
            }
        };
        let mut link = Link { stream, name: format!("the first machine ({address})") };
        let hello = serde_json::json!({ "machine": seat.machine, "machines": seat.machines, "terms": terms });
        let lost = |error: io::Error| format!("Nothing that trains answers at {address}: {error}.");
        link.stream.write_all(&MAGIC).map_err(lost)?;
        message(&mut link.stream, Kind::Hello, hello.to_string().as_bytes()).map_err(lost)?;
        // It waits for the others, and then makes the state.
        patient(&link.stream, patience * 2).map_err(lost)?;
        let mut magic = [0; MAGIC.len()];
        link.stream.read_exact(&mut magic).map_err(lost)?;
        if magic != MAGIC {
            return Err(format!("What answers at {address} is no training of this version."));
        }
        let state = link.expect(Kind::State, MOST_STATE, patience * 2)?;
        patient(&link.stream, patience).map_err(lost)?;
        Ok((Self { seat, links: vec![link], patience, trouble: None }, state))
    }

    /// Which of the machines this one is.
    pub fn seat(&self) -> Seat {
        self.seat
    }

    /// Sends the others what they start from, if this is the first machine; they have it already if not.
    ///
    /// # Errors
    /// When one is gone.
    pub fn share(&mut self, state: &[u8]) -> Result<(), String> {
        let length = state.len() as u64;
        let is_first = self.seat.machine == 0;
        let mut others = self.links.iter_mut().filter(|_| is_first);
        let sent = others.try_for_each(|link| link.tell(Kind::State, length, |stream| stream.write_all(state)));
        self.noted(sent)
    }

    /// Turns this machine's values into the sum of all machines', added up in their order: the same bits for all.
    ///
    /// # Errors
    /// When another machine is gone or silent, or brings another number of values; nothing can be summed from then on.
    pub fn sum(&mut self, values: &mut [f32]) -> Result<(), String> {
        if let Some(trouble) = &self.trouble {
            return Err(trouble.clone());
        }
        let summed = self.exchange(values);
        self.noted(summed)
    }

    fn exchange(&mut self, values: &mut [f32]) -> Result<(), String> {
        let bytes = size_of_val(values) as u64;
        let patience = self.patience;
        if self.seat.machine > 0 {
            let first = self.links.first_mut().ok_or("There is no other machine.")?;
            first.tell(Kind::Part, bytes, |stream| write_values(stream, values))?;
            return first.hear(Kind::Sum, bytes, patience, |stream| read_values(stream, values, |_, sum| sum));
        }
        for link in &mut self.links {
            link.hear(Kind::Part, bytes, patience, |stream| read_values(stream, values, |sum, part| sum + part))?;
        }
        self.links.iter_mut().try_for_each(|link| link.tell(Kind::Sum, bytes, |stream| write_values(stream, values)))
    }

    fn noted(&mut self, result: Result<(), String>) -> Result<(), String> {
        result.inspect_err(|trouble| self.trouble = Some(trouble.clone()))
    }
}

impl Drop for Peers {
    fn drop(&mut self) {
        let why = self.trouble.take().unwrap_or_default();
        for link in &mut self.links {
            // Whoever does not listen any more is not waited for.
            let _ = patient(&link.stream, FAREWELL);
            let _ = message(&mut link.stream, Kind::Bye, why.as_bytes());
        }
        if why.is_empty() {
            return;
        }
        // A connection that is closed with something unread takes back what was sent last.
        let begun = Instant::now();
        let mut unread = vec![0; CHUNK];
        for link in &mut self.links {
            let _ = link.stream.shutdown(Shutdown::Write);
            while begun.elapsed() < FAREWELL && link.stream.read(&mut unread).is_ok_and(|count| count > 0) {}
        }
    }
}

impl Link {
    /// Sends a message of so many bytes.
    fn tell(
        &mut self,
        kind: Kind,
        length: u64,
        write: impl FnOnce(&mut TcpStream) -> io::Result<()>,
    ) -> Result<(), String> {
        let sent = header(&mut self.stream, kind, length).and_then(|()| write(&mut self.stream));
        // One that has left for a reason has said so before.
        sent.map_err(|error| match self.farewell() {
            Some(trouble) => trouble,
            None => self.gone(&error, None),
        })
    }

    /// Hears a message of this kind and of just so many bytes.
    fn hear(
        &mut self,
        kind: Kind,
        length: u64,
        patience: Duration,
        read: impl FnOnce(&mut TcpStream) -> io::Result<()>,
    ) -> Result<(), String> {
        let found = self.next(kind, patience)?;
        if found != length {
            return Err(format!("{} brings {found} bytes instead of {length}.", capital(&self.name)));
        }
        read(&mut self.stream).map_err(|error| self.gone(&error, Some(patience)))
    }

    /// Hears a message of this kind and of at most so many bytes.
    fn expect(&mut self, kind: Kind, most: u64, patience: Duration) -> Result<Vec<u8>, String> {
        let length = self.next(kind, patience)?;
        body(&mut self.stream, length, most).map_err(|error| self.gone(&error, Some(patience)))
    }

    /// The length of the next message, which has to be of this kind.
    fn next(&mut self, kind: Kind, patience: Duration) -> Result<u64, String> {
        let (found, length) = read_header(&mut self.stream).map_err(|error| self.gone(&error, Some(patience)))?;
        if found == kind as u8 {
            return Ok(length);
        }
        let text = body(&mut self.stream, length, MOST_GREETING).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        Err(if found == Kind::Bye as u8 {
            self.has_left(&text)
        } else if found == Kind::Refused as u8 {
            format!("{} refuses: {text}", capital(&self.name))
        } else {
            format!("{} sends what nobody expects (a message of kind {found}).", capital(&self.name))
        })
    }

    /// What it said when it left, if that has arrived.
    fn farewell(&mut self) -> Option<String> {
        patient(&self.stream, FAREWELL).ok()?;
        let (found, length) = read_header(&mut self.stream).ok()?;
        let text = (found == Kind::Bye as u8).then(|| body(&mut self.stream, length, MOST_GREETING))?.ok()?;
        Some(self.has_left(&String::from_utf8_lossy(&text)))
    }

    fn has_left(&self, why: &str) -> String {
        let name = capital(&self.name);
        if why.is_empty() {
            format!("{name} has ended its training.")
        } else {
            format!("{name} has ended its training: {why}")
        }
    }

    fn gone(&self, error: &io::Error, patience: Option<Duration>) -> String {
        let name = capital(&self.name);
        match (error.kind(), patience) {
            // Which of the two it is depends on the system.
            (ErrorKind::WouldBlock | ErrorKind::TimedOut, Some(patience)) => {
                format!("{name} has said nothing for {} seconds.", patience.as_secs())
            }
            (ErrorKind::WouldBlock | ErrorKind::TimedOut, None) => format!("{name} does not listen any more."),
            (ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe, _) => {
                format!("{name} is gone: the connection was closed.")
            }
            _ => format!("{name} is gone: {error}."),
        }
    }
}

/// Reads who connects.
fn greeted(stream: &mut TcpStream) -> io::Result<serde_json::Value> {
    stream.set_nonblocking(false)?;
    patient(stream, GREETING)?;
    let mut magic = [0; MAGIC.len()];
    stream.read_exact(&mut magic)?;
    // Another version, too, has to see that this is one.
    stream.write_all(&MAGIC)?;
    if magic != MAGIC {
        return Err(ErrorKind::InvalidData.into());
    }
    let (kind, length) = read_header(stream)?;
    if kind != Kind::Hello as u8 {
        return Err(ErrorKind::InvalidData.into());
    }
    Ok(serde_json::from_slice(&body(stream, length, MOST_GREETING)?)?)
}

/// Which machine it is, if it can join.
fn admitted(
    hello: &serde_json::Value,
    machines: usize,
    terms: &[(&str, String)],
    seats: &[Option<Link>],
) -> Result<usize, String> {
    let number = |key: &str| hello[key].as_u64().and_then(|number| usize::try_from(number).ok());
    let (machine, of) = (number("machine").unwrap_or(0), number("machines").unwrap_or(0));
    if of != machines {
        return Err(format!("it counts {of} machines, the first one {machines}"));
    }
    match seats.get(machine.wrapping_sub(1)) {
        None => return Err(format!("there is no machine {}/{machines} to join", machine.saturating_add(1))),
        Some(Some(_)) => return Err(format!("machine {}/{machines} is there already", machine + 1)),
        Some(None) => {}
    }
    let theirs: Vec<(String, String)> = serde_json::from_value(hello["terms"].clone()).unwrap_or_default();
    for (name, ours) in terms {
        let theirs = theirs.iter().find(|(theirs, _)| theirs == name).map_or("nothing", |(_, value)| value);
        if theirs != ours {
            return Err(format!("its {name}: {theirs}; the first machine's: {ours}"));
        }
    }
    Ok(machine)
}

fn connect(address: &str, patience: Duration) -> io::Result<TcpStream> {
    let mut trouble = io::Error::other("the name leads nowhere");
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, patience.min(GREETING)) {
            // A free port of this machine that was asked for itself.
            Ok(stream) if is_itself(&stream) => {}
            Ok(stream) => {
                patient(&stream, GREETING)?;
                return Ok(stream);
            }
            Err(error) => trouble = error,
        }
    }
    Err(trouble)
}

/// On one machine a port that nobody listens at can be connected with itself.
fn is_itself(stream: &TcpStream) -> bool {
    let ends: [io::Result<SocketAddr>; 2] = [stream.local_addr(), stream.peer_addr()];
    matches!(ends, [Ok(own), Ok(other)] if own == other)
}

fn patient(stream: &TcpStream, patience: Duration) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_write_timeout(Some(patience))?;
    stream.set_read_timeout(Some(patience))
}

fn header(stream: &mut TcpStream, kind: Kind, length: u64) -> io::Result<()> {
    let mut header = [0; 9];
    header[0] = kind as u8;
    header[1..].copy_from_slice(&length.to_le_bytes());
    stream.write_all(&header)
}

fn read_header(stream: &mut TcpStream) -> io::Result<(u8, u64)> {
    let (mut kind, mut length) = ([0; 1], [0; 8]);
    stream.read_exact(&mut kind)?;
    stream.read_exact(&mut length)?;
    Ok((kind[0], u64::from_le_bytes(length)))
}

fn message(stream: &mut TcpStream, kind: Kind, body: &[u8]) -> io::Result<()> {
    header(stream, kind, body.len() as u64)?;
    stream.write_all(body)
}

/// So many bytes. Memory is taken as they arrive, not as they are announced.
fn body(stream: &mut TcpStream, length: u64, most: u64) -> io::Result<Vec<u8>> {
    if length > most {
        return Err(io::Error::other(format!("a message of {length} bytes")));
    }
    let mut bytes = Vec::new();
    stream.take(length).read_to_end(&mut bytes)?;
    if bytes.len() as u64 == length { Ok(bytes) } else { Err(ErrorKind::UnexpectedEof.into()) }
}

fn write_values(stream: &mut TcpStream, values: &[f32]) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(CHUNK * size_of::<f32>());
    for chunk in values.chunks(CHUNK) {
        bytes.clear();
        bytes.extend(chunk.iter().flat_map(|value| value.to_le_bytes()));
        stream.write_all(&bytes)?;
    }
    Ok(())
}

/// Puts what is made of each value and the one that is read into its place.
fn read_values(stream: &mut TcpStream, values: &mut [f32], make: impl Fn(f32, f32) -> f32) -> io::Result<()> {
    let mut bytes = vec![0; CHUNK * size_of::<f32>()];
    for chunk in values.chunks_mut(CHUNK) {
        let bytes = &mut bytes[..size_of_val(chunk)];
        stream.read_exact(bytes)?;
        for (value, read) in chunk.iter_mut().zip(bytes.as_chunks().0) {
            *value = make(*value, f32::from_le_bytes(*read));
        }
    }
    Ok(())
}

fn plural(count: usize, noun: &str) -> String {
    if count == 1 { format!("{count} {noun}") } else { format!("{count} {noun}s") }
}

fn capital(name: &str) -> String {
    let mut letters = name.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    fn terms() -> [(&'static str, String); 1] {
        [("version", "1".into())]
    }

    /// What every machine comes to, in their order.
    fn each<T: Send>(machines: usize, work: impl Fn(Peers, Vec<u8>) -> T + Sync) -> Vec<T> {
        let (address, heard) = std::sync::mpsc::channel();
        thread::scope(|scope| {
            let work = &work;
            let first = scope.spawn(move || {
                let told = |line: &str| {
                    if let Some((_, at)) = line.rsplit_once(" at ") {
                        address.send(at.to_owned()).expect("somebody waits for it");
                    }
                };
                let mut peers = Peers::gather("127.0.0.1:0", machines, &terms(), PATIENCE, told).expect("all come");
                peers.share(b"state").expect("all are there");
                work(peers, b"state".to_vec())
            });
            let at = heard.recv().expect("it listens");
            let others = (1..machines).rev().map(|machine| {
                let at = at.clone();
                scope.spawn(move || {
                    let seat = Seat { machine, machines };
                    let (peers, state) = Peers::join(&at, seat, &terms(), PATIENCE).expect("it is let in");
                    work(peers, state)
                })
            });
            let others: Vec<_> = others.collect();
            let mut all: Vec<_> = others.into_iter().rev().map(|thread| thread.join().expect("no panic")).collect();
            all.insert(0, first.join().expect("no panic"));
            all
        })
    }

    #[test]
    fn all_hear_the_same_sum_in_the_order_of_machines() {
        // In another order the small one would be lost.
        let values = [1e8, -1e8, 1.0];
        let heard = each(3, |mut peers, state| {
            assert_eq!(state, b"state");
            let machine = peers.seat().machine;
            // More than one chunk, and one that is not full.
            let mut all = vec![values[machine]; 2 * CHUNK + 3];
            all[CHUNK] = machine as f32;
            peers.sum(&mut all).expect("all are there");
            all
        });
        for all in heard {
            assert_eq!((all[0], all[CHUNK], all[2 * CHUNK + 2]), (1.0, 3.0, 1.0));
        }
    }

    #[test]
    fn whoever_leaves_is_named_and_so_is_whoever_brings_something_else() {
        let heard = each(3, |mut peers, _| match peers.seat().machine {
            2 => Ok(()),
            _ => peers.sum(&mut [1.0; 5]),
        });
        assert_eq!(heard[2], Ok(()));
        let [first, second] = [0, 1].map(|machine| heard[machine].clone().expect_err("one is gone"));
        assert!(first.starts_with("Machine 3 (127.0.0.1:") && first.ends_with("has ended its training."), "{first}");
        assert!(second.starts_with("The first machine (127.0.0.1:") && second.ends_with(&first), "{second}");

        let heard = each(2, |mut peers, _| {
            let trouble = peers.sum(&mut vec![1.0; 5 + peers.seat().machine]);
            // And from then on.
            assert_eq!(peers.sum(&mut []), trouble);
            trouble.expect_err("one number too many")
        });
        assert!(heard[0].ends_with("brings 24 bytes instead of 20."), "{}", heard[0]);
        assert!(heard[1].ends_with(&heard[0]), "{}", heard[1]);
    }

    #[test]
    fn nobody_is_waited_for_for_ever() {
        let patience = Duration::from_millis(300);
        let error = Peers::gather("127.0.0.1:0", 3, &terms(), patience, |_| {}).expect_err("nobody comes");
        assert!(error.ends_with("these machines are missing: 2, 3."), "{error}");
        let seat = Seat { machine: 1, machines: 2 };
        let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
        let at = silent.local_addr().expect("an address").to_string();
        let error = Peers::join(&at, seat, &terms(), patience).expect_err("nobody answers");
        assert!(error.starts_with("Nothing that trains answers at"), "{error}");
        drop(silent);
        let error = Peers::join(&at, seat, &terms(), patience).expect_err("nobody listens");
        assert!(error.starts_with("The first machine cannot be reached at"), "{error}");
        let error = Peers::gather("no such address", 2, &terms(), patience, |_| {}).expect_err("no address");
        assert!(error.starts_with("Cannot listen at no such address"), "{error}");
    }
}
