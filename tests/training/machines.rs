//! A training that several processes share as several machines would.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use cyclegan::weights::WeightFile;
use tempfile::TempDir;

use super::support::{command, cyclegan, data, ends_with};

const TINY: &str = "train --data data --preset quick --ngf 2 --ndf 2 --n-blocks 1 --preview-every 0 --evaluate-every 0 \
                    --decay-from 1 --checkpoint-every 1 --domains day,night";
/// Much longer than it lives.
const LONG: &str = "1000000";

fn words(text: &str) -> Vec<&str> {
    text.split_whitespace().collect()
}

/// A process that is ended with the test.
struct Machine(Child);

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Machine {
    fn start(arguments: &[&str], folder: &Path, said: &str) -> Self {
        let said = File::create(folder.join(said)).expect("a file");
        let child = command(arguments, folder).stdout(Stdio::null()).stderr(said).spawn();
        Self(child.expect("the program is built"))
    }

    /// How it ended, and what it said.
    fn ends_with(mut self, status: i32, folder: &Path, said: &str) -> String {
        let ended = waited_for(&format!("the end of {said}"), || self.0.try_wait().expect("a child"));
        let text = std::fs::read_to_string(folder.join(said)).expect("text");
        assert_eq!(ended.code(), Some(status), "{said}: {text}");
        text
    }
}

fn waited_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        match look() {
            Some(found) => return found,
            None => assert!(begun.elapsed() < Duration::from_secs(120), "no {what} in two minutes"),
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The first machine of a training in the folder `run`, and where it listens.
fn first(machines: usize, more: &str, folder: &Path) -> (Machine, String) {
    let seat = format!("1/{machines}");
    let arguments =
        [words(TINY), words("--out run --machines 127.0.0.1:0 --machine"), vec![&seat], words(more)].concat();
    let machine = Machine::start(&arguments, folder, "first.txt");
    let address = waited_for("address", || {
        let text = std::fs::read_to_string(folder.join("first.txt")).ok()?;
        let line = text.lines().find(|line| line.starts_with("waiting for"))?;
        Some(line.rsplit_once(" at ").expect("an address").1.to_owned())
    });
    (machine, address)
}

/// Machine `number` of the others; it says everything into `NUMBER.txt`.
fn helper(number: usize, machines: usize, address: &str, more: &str, folder: &Path) -> Machine {
    let seat = format!("{number}/{machines}");
    let arguments = [words("train --data data --machines"), vec![address, "--machine", &seat], words(more)].concat();
    Machine::start(&arguments, folder, &format!("{number}.txt"))
}

/// All of a training that is shared.
fn together(machines: usize, first_more: &str, others_more: &str) -> TempDir {
    let folder = TempDir::new().expect("a folder");
    data(folder.path());
    let (head, address) = first(machines, first_more, folder.path());
    // The last one first: it makes no difference who comes when.
    let helpers = (2..=machines).rev();
    let helpers: Vec<_> =
        helpers.map(|number| (number, helper(number, machines, &address, others_more, folder.path()))).collect();
    head.ends_with(0, folder.path(), "first.txt");
    for (number, helper) in helpers {
        helper.ends_with(0, folder.path(), &format!("{number}.txt"));
    }
    folder
}

fn alone(more: &str) -> TempDir {
    let folder = TempDir::new().expect("a folder");
    data(folder.path());
    ends_with(&cyclegan(&[words(TINY), words("--out run"), words(more)].concat(), folder.path()), 0);
    folder
}

fn checkpoint(folder: &TempDir, step: u64) -> Vec<u8> {
    std::fs::read(folder.path().join(format!("run/checkpoint-{step:07}.safetensors"))).expect("a checkpoint")
}

/// Adam's first moments of both optimisers.
fn first_moments(checkpoint: &[u8]) -> Vec<f32> {
    let file = WeightFile::read(checkpoint).expect("a checkpoint");
    let moments = file.tensors.into_iter().filter(|tensor| tensor.name.starts_with("first."));
    moments.flat_map(|tensor| tensor.values).collect()
}

fn norm(values: impl Iterator<Item = f32>) -> f64 {
    values.map(|value| f64::from(value).powi(2)).sum::<f64>().sqrt()
}

#[track_caller]
fn assert_near(found: &[u8], expected: &[u8], tolerance: f64) {
    let [found, expected] = [found, expected].map(first_moments);
    assert!(found.len() > 100 && found.len() == expected.len());
    let off = norm(found.iter().zip(&expected).map(|(a, b)| a - b)) / norm(expected.iter().copied());
    assert!(off < tolerance, "gradients are off by {off}");
}

#[test]
fn machines_make_the_steps_of_as_many_workers_bit_for_bit_and_of_one_on_the_joined_batch() {
    for machines in [2, 3] {
        let shared = together(machines, "--steps 3", "");
        let threads = alone(&format!("--steps 3 --workers {machines}"));
        assert!(checkpoint(&shared, 3) == checkpoint(&threads, 3), "{machines} machines differ from as many workers");
        let joined = alone(&format!("--steps 1 --batch-size {machines}"));
        assert_near(&checkpoint(&together(machines, "--steps 1", ""), 1), &checkpoint(&joined, 1), 1e-5);
    }
}

#[test]
fn machines_with_several_workers_each_train_the_same_bits_every_time() {
    let trained = || checkpoint(&together(2, "--steps 1 --workers 2", "--workers 2"), 1);
    let first = trained();
    assert!(first == trained());
    assert_near(&first, &checkpoint(&alone("--steps 1 --batch-size 4"), 1), 1e-5);
}

/// The newest step whose checkpoint was announced.
fn saved(folder: &Path) -> Option<u64> {
    let text = std::fs::read_to_string(folder.join("run/metrics.jsonl")).ok()?;
    let lines = text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    lines.filter(|line| line["checkpoint"].is_string()).filter_map(|line| line["step"].as_u64()).next_back()
}

/// The run goes on alone from where it was left.
fn goes_on(folder: &Path) {
    let step = saved(folder).expect("a checkpoint");
    let steps = (step + 2).to_string();
    let output: Output = cyclegan(&["train", "--resume", "run", "--steps", &steps], folder);
    let (_, said) = ends_with(&output, 0);
    assert!(said.contains(&format!("steps {step} to {steps}")) && !said.contains("damaged"), "{said}");
}

#[test]
fn a_killed_machine_is_named_by_all_others_and_the_run_goes_on_without_it() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path();
    data(path);
    let (head, address) = first(3, &format!("--steps {LONG}"), path);
    let others = [2, 3].map(|number| helper(number, 3, &address, "", path));
    waited_for("checkpoint", || saved(path).filter(|step| *step > 2));
    let [second, mut third] = others;
    third.0.kill().expect("it runs");
    let said = head.ends_with(2, path, "first.txt");
    assert!(said.contains("Machine 3 (127.0.0.1:") && said.contains("is gone: the connection was closed"), "{said}");
    let said = second.ends_with(2, path, "2.txt");
    assert!(said.contains("has ended its training: Machine 3 (127.0.0.1:"), "{said}");
    goes_on(path);
}

#[test]
fn when_the_first_machine_is_killed_the_others_say_so_and_its_run_goes_on() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path();
    data(path);
    let (mut head, address) = first(2, &format!("--steps {LONG}"), path);
    let second = helper(2, 2, &address, "", path);
    waited_for("checkpoint", || saved(path).filter(|step| *step > 2));
    head.0.kill().expect("it runs");
    drop(head);
    let said = second.ends_with(2, path, "2.txt");
    assert!(said.contains("The first machine (127.0.0.1:") && said.contains("is gone"), "{said}");
    goes_on(path);
}

#[cfg(unix)]
#[test]
fn a_machine_that_hangs_is_not_waited_for_for_ever() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path();
    data(path);
    let (head, address) = first(2, &format!("--steps {LONG} --machine-timeout 5"), path);
    let second = helper(2, 2, &address, "", path);
    waited_for("checkpoint", || saved(path).filter(|step| *step > 2));
    let stopped = Command::new("kill").args(["-STOP", &second.0.id().to_string()]).status();
    assert!(stopped.expect("kill is there").success());
    let said = head.ends_with(2, path, "first.txt");
    assert!(said.contains("Machine 2 (127.0.0.1:") && said.contains("has said nothing for 5 seconds"), "{said}");
    goes_on(path);
}

#[test]
fn a_machine_that_would_train_something_else_is_refused_and_may_come_again() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path();
    data(path);
    let (head, address) = first(2, "--steps 2", path);
    let said = helper(2, 2, &address, "--workers 2", path).ends_with(2, path, "2.txt");
    assert!(said.contains("refuses: its workers: 2; the first machine's: 1"), "{said}");
    let said = helper(3, 4, &address, "", path).ends_with(2, path, "3.txt");
    assert!(said.contains("it counts 4 machines, the first one 2"), "{said}");
    let other = TempDir::new().expect("a folder");
    data(other.path());
    std::fs::rename(other.path().join("data/trainB/1.png"), other.path().join("data/trainB/2.png")).expect("renamed");
    let said = helper(2, 2, &address, "", other.path()).ends_with(2, other.path(), "2.txt");
    assert!(said.contains("its pictures: 3 of A and 2 of B"), "{said}");
    let said = helper(2, 2, &address, "--ngf 4", path).ends_with(2, path, "2.txt");
    assert!(said.contains("is told what to train by the first"), "{said}");
    // Whoever is no machine of a training at all does not disturb it, and takes no memory.
    let mut stranger = std::net::TcpStream::connect(&address).expect("it listens");
    std::io::Write::write_all(&mut stranger, b"GET / HTTP/1.1\r\n\r\n").expect("it reads");
    let mut liar = std::net::TcpStream::connect(&address).expect("it listens");
    std::io::Write::write_all(&mut liar, b"CYCLEGN1\x01\xff\xff\xff\xff\xff\xff\xff\xff").expect("it reads");
    let second = helper(2, 2, &address, "", path);
    head.ends_with(0, path, "first.txt");
    second.ends_with(0, path, "2.txt");
}
