// Pictures for the tests, and how far two of them are apart.
import { PNG } from "pngjs";

/** A colourful picture with edges and gradients, as a PNG file. */
export function picture(width, height) {
  const png = new PNG({ width, height });
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const at = 4 * (y * width + x);
      const inside = (x - width / 2) ** 2 + (y - height / 2) ** 2 < (Math.min(width, height) / 3) ** 2;
      png.data[at] = Math.round((255 * x) / (width - 1));
      png.data[at + 1] = inside ? 210 : Math.round((255 * y) / (height - 1));
      png.data[at + 2] = (x >> 3) % 2 === (y >> 3) % 2 ? 190 : 60;
      png.data[at + 3] = 255;
    }
  }
  return PNG.sync.write(png);
}

/** `{ width, height, data }` (RGBA8) of a PNG file. */
export const decodePng = (bytes) => PNG.sync.read(bytes);

/** The largest difference of any colour of two pictures, in levels of 0–255. */
export function largestDifference(a, b) {
  if (a.width !== b.width || a.height !== b.height)
    throw new Error(`${a.width}×${a.height} is not ${b.width}×${b.height}`);
  let largest = 0;
  for (let i = 0; i < a.data.length; i++) largest = Math.max(largest, Math.abs(a.data[i] - b.data[i]));
  return largest;
}

/** How much a picture varies: the standard deviation of its colours. */
export function spread({ data }) {
  const colours = data.filter((_, i) => i % 4 !== 3);
  const mean = colours.reduce((a, b) => a + b, 0) / colours.length;
  return Math.sqrt(colours.reduce((a, b) => a + (b - mean) ** 2, 0) / colours.length);
}

/** The same picture as a JPEG file, made by the browser of `page`. */
export async function asJpeg(page, png) {
  const base64 = await page.evaluate(async (encoded) => {
    const bytes = Uint8Array.from(atob(encoded), (c) => c.charCodeAt(0));
    const bitmap = await createImageBitmap(new Blob([bytes], { type: "image/png" }));
    const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
    canvas.getContext("2d").drawImage(bitmap, 0, 0);
    const blob = await canvas.convertToBlob({ type: "image/jpeg", quality: 0.95 });
    let text = "";
    for (const byte of new Uint8Array(await blob.arrayBuffer())) text += String.fromCharCode(byte);
    return btoa(text);
  }, png.toString("base64"));
  return Buffer.from(base64, "base64");
}
