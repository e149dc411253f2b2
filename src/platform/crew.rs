//! Threads in a browser: helper workers that each compute a part of one job.
//!
//! Wasm memory can't be shared without a standard library of its own, so every helper is the same
//! program once more, with its own memory. A job's numbers go through one growable
//! `SharedArrayBuffer`: the worker writes the operands, invites, computes its own part, and waits
//! for the others'. It takes a page with cross-origin isolation; without it there is no crew and
//! the worker computes alone.

use std::cell::RefCell;

use js_sys::{Array, Atomics, Float32Array, Function, Int32Array, Object, Reflect};
use wasm_bindgen::{JsCast, JsValue, closure::Closure};
use web_sys::{DedicatedWorkerGlobalScope, MessageEvent, Worker, WorkerOptions, WorkerType};

/// Numbers that say what a job is.
pub const WORDS: usize = 16;
/// Operands of a job.
pub const OPERANDS: usize = 3;
/// Helpers at the most.
const SEATS: usize = 7;
/// Bytes that the shared buffer may grow to.
const LARGEST: f64 = (1u32 << 29) as f64;
/// Bytes of one helper's copies, times the helpers, at the most.
const COPIES: usize = 1 << 29;
/// Milliseconds that a helper may be late, besides twenty times what the worker's own part took.
const PATIENCE: f64 = 30_000.0;

// Places in the buffer's head, in words.
const LENGTHS: usize = WORDS;
const INVITED: usize = 24;
const STATES: usize = 32;
const OFFSETS: usize = 40;
const RESULTS: usize = 48;
const HEAD: usize = 64;
// States besides the number of the last job done.
const AWAY: i32 = -1;
const DEAD: i32 = -2;

thread_local! {
    static CREW: RefCell<Option<Crew>> = const { RefCell::new(None) };
}

struct Crew {
    workers: Vec<Worker>,
    memory: Memory,
    jobs: i32,
}

/// The shared buffer: a head of words, then floats.
#[derive(Clone)]
struct Memory {
    buffer: JsValue,
    words: Int32Array,
    floats: Float32Array,
}

/// A helper's place: what it was sent.
pub struct Seat {
    memory: Memory,
    number: usize,
}

impl Memory {
    /// Where the browser has growable shared memory.
    fn new() -> Option<Self> {
        let constructor: Function =
            Reflect::get(&js_sys::global(), &"SharedArrayBuffer".into()).ok()?.dyn_into().ok()?;
        let options = Object::new();
        Reflect::set(&options, &"maxByteLength".into(), &LARGEST.into()).ok()?;
        let buffer = Reflect::construct(&constructor, &Array::of2(&(4 * HEAD as u32).into(), &options)).ok()?;
        Reflect::get(&buffer, &"growable".into()).ok()?.is_truthy().then(|| Self::around(buffer))
    }

    fn around(buffer: JsValue) -> Self {
        Self { words: Int32Array::new(&buffer), floats: Float32Array::new(&buffer), buffer }
    }

    /// Makes room for so many floats behind the head; false where the browser refuses.
    fn fit(&self, floats: usize) -> bool {
        let bytes = 4.0 * (HEAD + floats) as f64;
        if f64::from(self.floats.length()) * 4.0 >= bytes {
            return true;
        }
        let grow = Reflect::get(&self.buffer, &"grow".into()).ok().and_then(|grow| grow.dyn_into::<Function>().ok());
        bytes <= LARGEST && grow.is_some_and(|grow| grow.call1(&self.buffer, &bytes.into()).is_ok())
    }

    fn floats(&self, start: usize, length: usize) -> Float32Array {
        self.floats.subarray((HEAD + start) as u32, (HEAD + start + length) as u32)
    }

    fn read(&self, start: usize, length: usize) -> Vec<f32> {
        self.floats(start, length).to_vec()
    }

    fn word(&self, place: usize) -> usize {
        self.words.get_index(place as u32) as usize
    }

    fn set_word(&self, place: usize, value: usize) {
        self.words.set_index(place as u32, value as i32);
    }

    fn load(&self, place: usize) -> i32 {
        Atomics::load(&self.words, place as u32).unwrap_or(DEAD)
    }

    /// Stores a value that somebody waits for.
    fn publish(&self, place: usize, value: i32) {
        let stored = Atomics::store(&self.words, place as u32, value);
        let _ = stored.and_then(|_| Atomics::notify(&self.words, place as u32));
    }

    /// Sleeps while the value is `value`, a second at the most.
    fn sleep(&self, place: usize, value: i32) {
        let _ = Atomics::wait_with_timeout(&self.words, place as u32, value, 1000.0);
    }
}

/// Calls helpers, as many as the machine has further processors; returns how many. They come when
/// they are ready; [`run`] takes those that are there.
///
/// # Errors
/// Why there can be none although there are processors, in a sentence for people.
pub fn call() -> Result<usize, &'static str> {
    let Ok(scope) = js_sys::global().dyn_into::<DedicatedWorkerGlobalScope>() else { return Ok(0) };
    let seats = (scope.navigator().hardware_concurrency() as usize).saturating_sub(1).min(SEATS);
    if seats == 0 {
        return Ok(0);
    }
    if !Reflect::get(&scope, &"crossOriginIsolated".into()).is_ok_and(|value| value.is_truthy()) {
        return Err("One thread computes: this page was served without cross-origin isolation.");
    }
    let Some(memory) = Memory::new() else {
        return Err("One thread computes: this browser has no shared memory (growable SharedArrayBuffer) for more.");
    };
    let options = WorkerOptions::new();
    options.set_type(WorkerType::Module);
    let url = scope.location().href();
    let mut workers = Vec::new();
    for number in 0..seats {
        let Ok(worker) = Worker::new_with_options(&url, &options) else { break };
        memory.set_word(STATES + number, AWAY as usize);
        let (seat, chair) = (Array::of2(&memory.buffer, &(number as u32).into()), worker.clone());
        // Its first word means that it listens.
        let on_message = Closure::once_into_js(move |_: MessageEvent| {
            let _ = chair.post_message(&seat);
        });
        worker.set_onmessage(Some(on_message.unchecked_ref()));
        workers.push(worker);
    }
    let called = workers.len();
    CREW.set(Some(Crew { workers, memory, jobs: 0 }));
    Ok(called)
}

/// How many helpers could take part in a job whose operands have so many floats.
pub fn members(operands: usize) -> usize {
    CREW.with_borrow(|crew| {
        let Some(crew) = crew else { return 0 };
        let there = (0..crew.workers.len()).take_while(|seat| crew.memory.load(STATES + seat) >= 0).count();
        there.min(COPIES / (4 * operands).max(1))
    })
}

/// Lets as many helpers as `lengths` has entries compute a part each, while `own` runs here. The parts
/// have those lengths; what a helper did not deliver is `None`, and then there is no crew any more.
pub fn run<R>(
    words: &[i32; WORDS],
    operands: [&[f32]; OPERANDS],
    lengths: &[usize],
    own: impl FnOnce() -> R,
) -> (R, Vec<Option<Vec<f32>>>) {
    let Some((memory, job)) = CREW.with_borrow_mut(|crew| invite(crew.as_mut()?, words, operands, lengths)) else {
        return (own(), vec![None; lengths.len()]);
    };
    let start = js_sys::Date::now();
    let result = own();
    let patience = PATIENCE + 20.0 * (js_sys::Date::now() - start);
    let parts = lengths.iter().enumerate().map(|(seat, length)| {
        let (asked, place) = (js_sys::Date::now(), STATES + seat);
        loop {
            match memory.load(place) {
                done if done == job => return Some(memory.read(memory.word(OFFSETS + seat), *length)),
                DEAD => return None,
                _ if js_sys::Date::now() - asked > patience => return None,
                state => memory.sleep(place, state),
            }
        }
    });
    let parts: Vec<_> = parts.collect();
    if parts.contains(&None) {
        dismiss();
    }
    (result, parts)
}

fn invite(
    crew: &mut Crew,
    words: &[i32; WORDS],
    operands: [&[f32]; OPERANDS],
    lengths: &[usize],
) -> Option<(Memory, i32)> {
    let memory = &crew.memory;
    let mut offset = operands.iter().map(|operand| operand.len()).sum::<usize>();
    if !memory.fit(offset + lengths.iter().sum::<usize>()) {
        return None;
    }
    memory.words.subarray(0, WORDS as u32).copy_from(words);
    let mut start = 0;
    for (index, operand) in operands.into_iter().enumerate() {
        memory.set_word(LENGTHS + index, operand.len());
        memory.floats(start, operand.len()).copy_from(operand);
        start += operand.len();
    }
    for (seat, length) in lengths.iter().enumerate() {
        memory.set_word(OFFSETS + seat, offset);
        memory.set_word(RESULTS + seat, *length);
        offset += length;
    }
    crew.jobs = crew.jobs.wrapping_add(1).max(1);
    (0..lengths.len()).for_each(|seat| memory.publish(INVITED + seat, crew.jobs));
    Some((memory.clone(), crew.jobs))
}

/// Ends every helper.
pub fn dismiss() {
    if let Some(crew) = CREW.take() {
        crew.workers.iter().for_each(Worker::terminate);
    }
}

impl Seat {
    /// What [`call`] sends to a helper.
    pub fn from_message(data: &JsValue) -> Option<Self> {
        let parts = data.dyn_ref::<Array>()?;
        let number = parts.get(1).as_f64()? as usize;
        Some(Self { memory: Memory::around(parts.get(0)), number })
    }

    /// A helper's life: `work(words, number, operands)` for every job, until it is ended from outside.
    pub fn serve(self, work: impl Fn(&[i32; WORDS], usize, [Vec<f32>; OPERANDS]) -> Vec<f32>) {
        let Self { memory, number } = self;
        let head = memory.words.subarray(0, HEAD as u32);
        // What panics here must not leave the worker waiting.
        let words = memory.words.clone();
        on_panic(move || {
            let _ = Atomics::store(&words, (STATES + number) as u32, DEAD);
            let _ = Atomics::notify(&words, (STATES + number) as u32);
        });
        let mut last = memory.load(INVITED + number);
        memory.publish(STATES + number, 0);
        loop {
            memory.sleep(INVITED + number, last);
            let job = memory.load(INVITED + number);
            if job == last {
                continue;
            }
            last = job;
            let mut words = [0; WORDS];
            head.subarray(0, WORDS as u32).copy_to(&mut words);
            let mut start = 0;
            let operands = std::array::from_fn(|index| {
                let length = memory.word(LENGTHS + index);
                start += length;
                memory.read(start - length, length)
            });
            let part = work(&words, number, operands);
            if part.len() != memory.word(RESULTS + number) {
                return memory.publish(STATES + number, DEAD);
            }
            memory.floats(memory.word(OFFSETS + number), part.len()).copy_from(&part);
            memory.publish(STATES + number, job);
        }
    }
}

/// A panic hook may be called from any thread, which values of JavaScript can't promise; a worker has one.
fn on_panic(tell: impl Fn() + 'static) {
    thread_local! {
        static TELL: RefCell<Option<Box<dyn Fn()>>> = const { RefCell::new(None) };
    }
    TELL.set(Some(Box::new(tell)));
    std::panic::set_hook(Box::new(|_| TELL.with_borrow(|tell| tell.iter().for_each(|tell| tell()))));
}
