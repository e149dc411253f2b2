// tfjs, on its wasm or its WebGPU backend: the generator from the same weight file, NHWC as tfjs has it.
import { file, give } from "./worker.js";

const script = (path) =>
  new Promise((onload, onerror) => {
    const element = Object.assign(document.createElement("script"), { src: `/npm/@tensorflow/${path}`, onload, onerror });
    document.head.append(element);
  });

/** The tensors of a .safetensors file of F32 values. */
function safetensors(tf, bytes) {
  const length = Number(new DataView(bytes.buffer).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(8, 8 + length)));
  delete header.__metadata__;
  return Object.fromEntries(
    Object.entries(header).map(([name, { shape, data_offsets: [from, to] }]) => [
      name,
      tf.tensor(new Float32Array(bytes.slice(8 + length + from, 8 + length + to).buffer), shape),
    ]),
  );
}

/** The official generator (resnet_9blocks) as a function of an image [1, H, W, 3]. */
function generator(tf, tensors) {
  // PyTorch's [out, in, k, k] and, transposed, [in, out, k, k] both become tfjs's order this way.
  const weight = Object.fromEntries(
    Object.entries(tensors).map(([name, t]) => [name, t.rank === 4 ? tf.transpose(t, [2, 3, 1, 0]) : t]),
  );
  const reflect = (x, n) => tf.mirrorPad(x, [[0, 0], [n, n], [n, n], [0, 0]], "reflect");
  const conv = (x, name, stride, pad) =>
    tf.add(tf.conv2d(x, weight[`${name}.weight`], stride, pad, "NHWC", 1, "floor"), weight[`${name}.bias`]);
  const doubling = (x, name) => {
    const [n, h, w] = x.shape;
    const kernel = weight[`${name}.weight`];
    const output = [n, 2 * h, 2 * w, kernel.shape[2]];
    return tf.add(tf.conv2dTranspose(x, kernel, output, 2, 1, "floor"), weight[`${name}.bias`]);
  };
  const norm = (x) => {
    const { mean, variance } = tf.moments(x, [1, 2], true);
    return tf.mul(tf.sub(x, mean), tf.rsqrt(tf.add(variance, 1e-5)));
  };
  const relu = (x) => tf.relu(norm(x));
  return (image) =>
    tf.tidy(() => {
      let x = relu(conv(reflect(image, 3), "model.1", 1, 0));
      x = relu(conv(x, "model.4", 2, 1));
      x = relu(conv(x, "model.7", 2, 1));
      for (let block = 10; block < 19; block++) {
        const y = relu(conv(reflect(x, 1), `model.${block}.conv_block.1`, 1, 0));
        x = tf.add(x, norm(conv(reflect(y, 1), `model.${block}.conv_block.5`, 1, 0)));
      }
      x = relu(doubling(x, "model.19"));
      x = relu(doubling(x, "model.22"));
      return tf.tanh(conv(reflect(x, 3), "model.26", 1, 0));
    });
}

export async function open({ provider, threads, side, weights, planes }) {
  await script("tfjs-core/dist/tf-core.min.js");
  await script("tfjs-backend-cpu/dist/tf-backend-cpu.min.js");
  await script(`tfjs-backend-${provider}/dist/tf-backend-${provider}.min.js`);
  const tf = window.tf;
  if (provider === "wasm") {
    tf.wasm.setWasmPaths("/npm/@tensorflow/tfjs-backend-wasm/dist/");
    tf.wasm.setThreadsCount(threads);
  }
  if (!(await tf.setBackend(provider))) throw new Error(`tfjs has no ${provider} here`);
  await tf.ready();
  const network = generator(tf, safetensors(tf, await file(weights)));
  const values = new Float32Array((await file(planes)).buffer);
  const input = tf.tidy(() => tf.transpose(tf.tensor(values, [1, 3, side, side]), [0, 2, 3, 1]));
  const run = async () => {
    const output = network(input);
    const data = await output.data();
    output.dispose();
    return data;
  };
  const first = await run();
  await give(await tf.tidy(() => tf.transpose(tf.tensor(first, [side, side, 3]), [2, 0, 1])).data());
  return {
    ready: { version: tf.version_core },
    run: async () => {
      const start = performance.now();
      await run();
      return { milliseconds: performance.now() - start };
    },
  };
}
