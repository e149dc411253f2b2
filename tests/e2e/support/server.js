// A static host for dist/: as `trunk serve` serves it (headers from Trunk.toml), or one that sets no headers.
import { createHash } from "node:crypto";
import { createServer } from "node:http";
import { readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { extname, join, normalize } from "node:path";
import { root } from "./paths.js";

const types = {
  ".css": "text/css",
  ".html": "text/html",
  ".ico": "image/x-icon",
  ".jpg": "image/jpeg",
  ".js": "text/javascript",
  ".json": "application/json",
  ".md": "text/markdown",
  ".png": "image/png",
  ".svg": "image/svg+xml",
  ".wasm": "application/wasm",
  ".webmanifest": "application/manifest+json",
  ".webp": "image/webp",
  ".zip": "application/zip",
};

/** The headers and the Content-Security-Policy of Trunk.toml, without the development server's nonce. */
export function policy() {
  const toml = readFileSync(join(root, "Trunk.toml"), "utf8");
  const table = toml.split("[serve.headers]")[1].split("\n[")[0];
  const headers = Object.fromEntries(
    [...table.matchAll(/^"([^"]+)" = "([^"]+)"/gm)].map(([, name, value]) => [name, value]),
  );
  const list = toml.match(/^csp = \[([^]*?)^\]/m)[1];
  const csp = [...list.matchAll(/"([^"]+)"/g)].map(([, part]) => part.replace(" 'nonce-{{NONCE}}'", ""));
  return { headers, csp };
}

/**
 * Serves `folder` below `base` on a free port. `slow` delays the answers whose path it matches:
 * `{ pattern, milliseconds }`. `extra` holds more files, by their path below `base`. `requests` collects the
 * `{ method, path }` asked for.
 */
export async function serve(folder, { headers = true, base = "/", slow, extra = {} } = {}) {
  const { headers: fixed, csp } = policy();
  const requests = [];
  const server = createServer(async (request, response) => {
    const path = decodeURIComponent(new URL(request.url, "http://host").pathname);
    requests.push({ method: request.method, path });
    const inside = path.startsWith(base) ? normalize(path.slice(base.length) || "index.html") : "..";
    if (slow?.pattern.test(path)) await new Promise((resolve) => setTimeout(resolve, slow.milliseconds));
    let body;
    try {
      if (inside.startsWith("..")) throw new Error("outside");
      body = extra[inside] ?? (await readFile(join(folder, inside)));
    } catch {
      response.writeHead(404, { "Content-Type": "text/plain" }).end("not found");
      return;
    }
    const type = types[extname(inside)] ?? "application/octet-stream";
    response.setHeader("Content-Type", type);
    response.setHeader("Content-Length", body.length);
    response.setHeader("ETag", `"${createHash("sha256").update(body).digest("hex").slice(0, 16)}"`);
    if (headers) {
      for (const [name, value] of Object.entries(fixed)) response.setHeader(name, value);
      if (type === "text/html") response.setHeader("Content-Security-Policy", csp.join(";"));
    }
    response.end(body);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${server.address().port}${base}`,
    requests,
    close: () => new Promise((resolve) => (server.closeAllConnections(), server.close(resolve))),
  };
}
