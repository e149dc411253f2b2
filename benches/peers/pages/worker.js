// Our worker, spoken to as the page speaks to it (src/protocol.rs).

/** The worker, running on `backend`; `ready` is its answer. */
export async function start(backend) {
  const worker = new Worker("/dist/worker_loader.js", { type: "module" });
  const listeners = new Set();
  worker.onerror = (event) => listeners.forEach((listener) => listener({ name: "Crashed", message: event.message }));
  worker.onmessage = ({ data: [json, ...buffers] }) => {
    const message = JSON.parse(json);
    const [[name, fields]] = typeof message === "string" ? [[message, {}]] : Object.entries(message);
    // One look at the clock for all who wait.
    const event = { name, buffers, at: performance.now(), ...fields };
    listeners.forEach((listener) => listener(event));
  };
  /** The next event of that name. */
  const hears = (name) =>
    new Promise((resolve, reject) => {
      const listener = (event) => {
        const failed = ["Crashed", "Failed", "DeviceLost", "TooLarge"].includes(event.name);
        if (event.name !== name && !failed) return;
        listeners.delete(listener);
        if (failed) reject(new Error(`our worker: ${event.name}: ${event.message ?? event.reason}`));
        else resolve(event);
      };
      listeners.add(listener);
    });
  const send = (command, ...buffers) => worker.postMessage([JSON.stringify(command), ...buffers], buffers);
  const ask = (command, name, ...buffers) => {
    const answer = hears(name);
    send(command, ...buffers);
    return answer;
  };
  /** Translates RGBA8 pixels; milliseconds from the question to the answer, and the result. */
  const translate = async (model, side, pixels) => {
    const input = { Pixels: { width: side, height: side } };
    const start = performance.now();
    const command = { Translate: { job: 1, model, input, max_side: null, size: "Full" } };
    const { at, buffers } = await ask(command, "Translated", pixels.slice().buffer);
    return { milliseconds: at - start, result: buffers[1] };
  };
  await hears("Loaded");
  const ready = await ask({ Start: { backend } }, "Ready");
  if (ready.backend !== backend) throw new Error(`our worker: ${backend} is not to be had: ${ready.note}`);
  return { ready, send, hears, ask, translate };
}

/** A file of the benchmark's, as bytes. */
export async function file(name) {
  const response = await fetch(`/files/${name}`);
  if (!response.ok) throw new Error(`${name}: ${response.status}`);
  return new Uint8Array(await response.arrayBuffer());
}

/** Hands the output over for comparison. */
export const give = (bytes) => fetch("/output", { method: "PUT", body: bytes });
