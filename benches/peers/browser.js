// A contender in Chromium: `node browser.js '{"kind": "onnxruntime", ...}'` opens pages/KIND.js with that
// description, says in a line of JSON when it is warm, and makes one timed run a line on standard input.
import { createServer } from "node:http";
import { readFile, writeFile } from "node:fs/promises";
import { extname, join, normalize, resolve } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

const spec = JSON.parse(process.argv[2]);
const here = resolve(fileURLToPath(import.meta.url), "..");
/** First part of a path → folder. */
const roots = { pages: join(here, "pages"), npm: join(here, "node_modules"), dist: spec.dist, files: spec.folder };
const types = {
  ".html": "text/html",
  ".js": "text/javascript",
  ".mjs": "text/javascript",
  ".wasm": "application/wasm",
};

/** A static host that also takes `PUT /output`. Only with `isolated` may a page have threads. */
async function answer(request, response) {
  if (spec.isolated) {
    response.setHeader("Cross-Origin-Opener-Policy", "same-origin");
    response.setHeader("Cross-Origin-Embedder-Policy", "require-corp");
  }
  if (request.method === "PUT") {
    const parts = [];
    for await (const part of request) parts.push(part);
    await writeFile(spec.output, Buffer.concat(parts));
    response.end();
    return;
  }
  const [, root, ...rest] = new URL(request.url, "http://host").pathname.split("/");
  const inside = normalize(rest.join("/"));
  try {
    if (!roots[root] || inside.startsWith("..")) throw new Error("outside");
    const body = await readFile(join(roots[root], inside));
    response.setHeader("Content-Type", types[extname(inside)] ?? "application/octet-stream");
    response.end(body);
  } catch {
    response.writeHead(404).end();
  }
}

const say = (answer) => process.stdout.write(`${JSON.stringify(answer)}\n`);
const server = createServer(answer);
await new Promise((done) => server.listen(0, "127.0.0.1", done));
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-background-networking", ...(spec.webgpu ? ["--enable-unsafe-webgpu"] : [])],
});
try {
  const page = await browser.newPage();
  page.on("console", (message) => console.error(message.text()));
  page.setDefaultTimeout(0);
  await page.goto(`http://127.0.0.1:${server.address().port}/pages/index.html`);
  const ready = await page.evaluate(async (spec) => {
    const { open } = await import(`/pages/${spec.kind}.js`);
    window.contender = await open(spec);
    return { isolated: window.crossOriginIsolated, ...window.contender.ready };
  }, spec);
  say({ ready: true, browser: browser.version(), ...ready });
  for await (const _ of createInterface({ input: process.stdin })) {
    say(await page.evaluate(() => window.contender.run()));
  }
} catch (error) {
  console.error(String(error.message ?? error).split("\n")[0]);
  process.exitCode = 1;
}
await browser.close();
server.close();
