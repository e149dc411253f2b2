// Our own worker translates a picture.
import { file, give, start } from "./worker.js";

export async function open({ backend, side, weights, pixels }) {
  const worker = await start(backend);
  const bytes = await file(weights);
  await worker.ask({ LoadModel: { model: "bench", file: weights } }, "ModelLoaded", bytes.buffer);
  const picture = await file(pixels);
  const run = () => worker.translate("bench", side, picture);
  await give((await run()).result);
  return {
    ready: { device: worker.ready.device },
    run: async () => ({ milliseconds: (await run()).milliseconds }),
  };
}
