#!/bin/bash
# One would guess that the gradient of a padding is its adjoint: what was copied into the margin flows back to where it came from.
# True: in TensorFlow.js 4.22 the gradient of `tf.mirrorPad` is that of a padding with zeros. It cuts the margin off and adds nothing,
# for `reflect` and `symmetric` alike, without a warning.
# Why it matters here: every generator of CycleGAN begins, and each of its residual blocks works, with reflection padding, so a training
# ported to tfjs with `mirrorPad` learns from wrong gradients along the borders. Comparisons with tfjs write the padding by hand.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm init --yes >/dev/null
npm install --silent @tensorflow/tfjs@4.22.0 >/dev/null
cat >check.cjs <<'JS'
console.warn = console.log = () => {};
const tf = require("@tensorflow/tfjs");
const say = (...words) => process.stdout.write(words.join(" ") + "\n");
const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);
(async () => {
  await tf.setBackend("cpu");
  // How often a row of three is read when it is padded by one at each end: its adjoint applied to ones.
  const times = { reflect: [1, 3, 1], symmetric: [2, 1, 2] };
  let changed = false;
  for (const [mode, reads] of Object.entries(times)) {
    const sum = (x) => tf.sum(tf.mirrorPad(x, [[1, 1], [1, 1]], mode));
    const seen = tf.grad(sum)(tf.ones([3, 3])).arraySync();
    const right = reads.map((row) => reads.map((column) => row * column));
    const cut = [[1, 1, 1], [1, 1, 1], [1, 1, 1]];
    say(`tfjs ${tf.version.tfjs} mirrorPad ${mode}: gradient of the sum ${JSON.stringify(seen)}, right ${JSON.stringify(right)}`);
    changed ||= !same(seen, cut);
  }
  process.exit(changed ? 1 : 0);
})();
JS
node check.cjs
