// Makes the built-in data set (static/data/emoji.zip) and the page's sample pictures (static/samples/).
//
//   npm ci --prefix scripts/dataset && node scripts/dataset/make.mjs
//
// The same packages give the same bytes: nothing here depends on time, locale or file order.
// static/data/README.md says what is in the data set and by which rule.

import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { zipSync } from 'fflate';
import sharp from 'sharp';

const here = dirname(fileURLToPath(import.meta.url));
const dataDir = join(here, '../../static/data');
const samplesDir = join(here, '../../static/samples');
const styles = {
  flat: { dir: join(here, 'node_modules/@lobehub/fluent-emoji-flat/assets'), extension: '.svg' },
  '3d': { dir: join(here, 'node_modules/@lobehub/fluent-emoji-3d/assets'), extension: '.webp' },
};
const SIDE = 64;

/** File stems (Unicode code points in hexadecimal, joined by hyphens) of one style. */
function stems(style) {
  const { dir, extension } = styles[style];
  return readdirSync(dir)
    .filter((file) => file.endsWith(extension))
    .map((file) => file.slice(0, -extension.length));
}

/** U+1F3FB to U+1F3FF are the skin-tone modifiers: such a name is a recoloured copy of another. */
const hasSkinTone = (stem) => stem.split('-').some((code) => /^1f3f[b-f]$/.test(code));

const isHeldOut = (stem) => createHash('sha256').update(stem).digest()[0] % 10 === 0;

/** One emoji on white, `side` pixels square, three channels. */
async function render(style, stem, side = SIDE) {
  const { dir, extension } = styles[style];
  // First raw pixels at the 3D pictures' own size, then the filter: given the file itself, sharp lets
  // the decoder shrink (a box for WebP, a 64-pixel drawing for SVG) and the two styles come out unlike.
  const full = await sharp(readFileSync(join(dir, stem + extension)), { limitInputPixels: 1e9 })
    .resize(256, 256, { fit: 'contain', background: '#ffffff00' })
    .flatten({ background: '#ffffff' })
    .removeAlpha()
    .toColourspace('srgb')
    .raw()
    .toBuffer({ resolveWithObject: true });
  const { data, info } = await sharp(full.data, { raw: full.info })
    .resize(side, side, { kernel: 'lanczos3' })
    .raw()
    .toBuffer({ resolveWithObject: true });
  if (info.width !== side || info.height !== side || info.channels !== 3) {
    throw new Error(`${style}/${stem} came out as ${info.width}×${info.height}×${info.channels}`);
  }
  return sharp(data, { raw: { width: side, height: side, channels: 3 } });
}

const in3d = new Set(stems('3d'));
const names = stems('flat')
  .filter((stem) => in3d.has(stem) && !hasSkinTone(stem))
  .sort();
const heldOut = names.filter(isHeldOut);
const trained = names.filter((stem) => !isHeldOut(stem));
// Neighbours in the code table look alike (clocks, flags, people): taking turns gives both halves
// the same mixture without giving them a common name.
const folders = {
  trainA: { style: 'flat', stems: trained.filter((_, index) => index % 2 === 0) },
  trainB: { style: '3d', stems: trained.filter((_, index) => index % 2 === 1) },
  testA: { style: 'flat', stems: heldOut },
  testB: { style: '3d', stems: heldOut },
};

const entries = {};
for (const [folder, { style, stems }] of Object.entries(folders)) {
  for (const stem of stems) {
    const image = await render(style, stem);
    entries[`${folder}/${stem}.webp`] = new Uint8Array(await image.webp({ lossless: true, effort: 6 }).toBuffer());
  }
  console.log(`${folder}: ${stems.length} ${style} pictures`);
}
// Zip stores local wall-clock time: this constructor makes the same digits in every time zone.
const zip = zipSync(entries, { level: 0, mtime: new Date(1980, 0, 1) });
mkdirSync(dataDir, { recursive: true });
writeFileSync(join(dataDir, 'emoji.zip'), zip);
console.log(`static/data/emoji.zip: ${zip.length} bytes, SHA-256 ${createHash('sha256').update(zip).digest('hex')}`);

// Samples for the page: held-out names, so that no model has seen them, at the size models are trained on.
const samples = {
  flat: { panda: '1f43c', pineapple: '1f34d', hamster: '1f439', carousel: '1f3a0', cowboy: '1f920', tower: '1f5fc' },
  '3d': { cat: '1f408', penguin: '1f427', banana: '1f34c', broccoli: '1f966', diamond: '1f48e', castle: '1f3f0' },
};
// Something horse-like to open the horse model with until a visitor drops a photo.
const horses = { galloping: '1f40e', face: '1f434', zebra: '1f993' };

const writeSample = async (file, style, stem, side) =>
  writeFileSync(join(samplesDir, file), await (await render(style, stem, side)).png({ compressionLevel: 9 }).toBuffer());

mkdirSync(samplesDir, { recursive: true });
for (const [style, pictures] of Object.entries(samples)) {
  for (const [name, stem] of Object.entries(pictures)) {
    if (!heldOut.includes(stem)) throw new Error(`${name} (${stem}) is not held out`);
    await writeSample(`${style}-${name}.png`, style, stem, SIDE);
  }
}
for (const [name, stem] of Object.entries(horses)) await writeSample(`horse-${name}.png`, '3d', stem, 256);
