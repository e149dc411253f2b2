// Where things are.
import { mkdirSync } from "node:fs";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

export const root = resolve(fileURLToPath(import.meta.url), "../../../..");
export const dist = process.env.DIST ?? join(root, "dist");
export const out = join(root, "tests/e2e/out");
/** The command line program that `cargo test` leaves behind. */
export const cyclegan =
  process.env.CYCLEGAN ?? join(process.env.CARGO_TARGET_DIR ?? join(root, "target"), "debug/cyclegan");

mkdirSync(out, { recursive: true });
