// A generator small enough for a software GPU: random weights under the official names, always the same.

/** Numbers in [-1, 1) from a seed (mulberry32). */
export function numbers(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 31 - 1;
  };
}

/** Tensor names and shapes of the official ResnetGenerator's state_dict (norms without parameters). */
export function resnetShapes(ngf, blocks) {
  const shapes = {};
  const layer = (name, shape, outputs) => {
    shapes[`${name}.weight`] = shape;
    shapes[`${name}.bias`] = [outputs];
  };
  layer("model.1", [ngf, 3, 7, 7], ngf);
  layer("model.4", [2 * ngf, ngf, 3, 3], 2 * ngf);
  layer("model.7", [4 * ngf, 2 * ngf, 3, 3], 4 * ngf);
  for (let block = 0; block < blocks; block++) {
    for (const conv of [1, 5]) layer(`model.${10 + block}.conv_block.${conv}`, [4 * ngf, 4 * ngf, 3, 3], 4 * ngf);
  }
  layer(`model.${10 + blocks}`, [4 * ngf, 2 * ngf, 3, 3], 2 * ngf);
  layer(`model.${13 + blocks}`, [2 * ngf, ngf, 3, 3], ngf);
  layer(`model.${17 + blocks}`, [3, ngf, 7, 7], 3);
  return shapes;
}

/** A whole .safetensors file, "trained" at `size`: large enough for all test pictures to be computed as they are. */
export function tinyGenerator({ ngf = 4, blocks = 1, seed = 1, size = 1024, from = "left", to = "right" } = {}) {
  const next = numbers(seed);
  const header = {
    __metadata__: {
      format: "pt",
      architecture: `resnet_${blocks}blocks`,
      domain_from: from,
      domain_to: to,
      direction: "AtoB",
      size: String(size),
    },
  };
  const parts = [];
  let offset = 0;
  for (const [name, shape] of Object.entries(resnetShapes(ngf, blocks))) {
    const count = shape.reduce((a, b) => a * b, 1);
    // Large enough that the result is a picture and not a flat grey; the norms keep it in range.
    const scale = shape.length === 1 ? 0.1 : Math.sqrt(3 / (count / shape[0]));
    const values = Float32Array.from({ length: count }, () => next() * scale);
    header[name] = { dtype: "F32", shape, data_offsets: [offset, offset + 4 * count] };
    parts.push(Buffer.from(values.buffer));
    offset += 4 * count;
  }
  let json = JSON.stringify(header);
  json = json.padEnd(Math.ceil(json.length / 8) * 8);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  return Buffer.concat([length, Buffer.from(json), ...parts]);
}
