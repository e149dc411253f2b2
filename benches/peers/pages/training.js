// Our own worker trains, a step at a time, and translates with the generator in training in between.
import { file, start } from "./worker.js";

/** The picture as a PNG file. */
async function png(pixels, side) {
  const canvas = new OffscreenCanvas(side, side);
  canvas.getContext("2d").putImageData(new ImageData(new Uint8ClampedArray(pixels), side, side), 0, 0);
  return (await canvas.convertToBlob({ type: "image/png" })).arrayBuffer();
}

export async function open({ backend, config, pixels }) {
  const worker = await start(backend);
  const pictures = await Promise.all(pixels.map(file));
  const side = config.size;
  const piles = await Promise.all(pictures.map((picture) => png(picture, side)));
  const data = { Piles: { a: ["a.png"], b: ["b.png"] } };
  // Paused at once, after the first step at the latest; then a step at a time.
  const first = worker.hears("Step");
  await worker.ask({ Train: { config, data } }, "TrainingStarted", ...piles);
  const { step } = await worker.ask("Pause", "Paused");
  const oneStep = async () => {
    const paused = worker.hears("Paused");
    const start = performance.now();
    const { at, losses } = await worker.ask("StepOnce", "Step");
    await paused;
    return { milliseconds: at - start, losses };
  };
  const forward = () => worker.translate("trained:AtoB", side, pictures[0]);
  // The pause may have come before the first step.
  const losses = [step > 0 ? (await first).losses : (await oneStep()).losses];
  // These depend on the first step's update.
  losses.push((await oneStep()).losses);
  await forward();
  return {
    ready: { device: worker.ready.device, losses },
    run: async () => {
      const { milliseconds } = await oneStep();
      const passes = [];
      for (let pass = 0; pass < 6; pass++) passes.push((await forward()).milliseconds);
      return { milliseconds, forwards: passes.reduce((a, b) => a + b) };
    },
  };
}
