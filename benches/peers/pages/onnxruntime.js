// onnxruntime-web, on its wasm or its WebGPU provider.
import { file, give } from "./worker.js";

const files = "/npm/onnxruntime-web/dist/";

export async function open({ provider, threads, side, model, planes }) {
  const ort = await import(`${files}${provider === "webgpu" ? "ort.webgpu" : "ort.wasm"}.min.mjs`);
  ort.env.wasm.wasmPaths = files;
  ort.env.wasm.numThreads = threads;
  const session = await ort.InferenceSession.create(await file(model), { executionProviders: [provider] });
  const input = new ort.Tensor("float32", new Float32Array((await file(planes)).buffer), [1, 3, side, side]);
  const run = async () => {
    const { output } = await session.run({ input });
    // On a GPU it is there only when it has been read.
    return output.getData();
  };
  await give(await run());
  return {
    ready: { version: ort.env.versions.web },
    run: async () => {
      const start = performance.now();
      await run();
      return { milliseconds: performance.now() - start };
    },
  };
}
