// Chromium as a visitor has it: with WebGPU (on SwiftShader, its software GPU) or without any.
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { chromium } from "playwright-core";
import { dist, out } from "./paths.js";
import { serve } from "./server.js";

const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium";
// A camera that shows a test picture, and no dialog that asks for it.
const camera = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"];
const quiet = [
  "--no-sandbox",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

/** What `plain` resolves to: this machine, but over a name that browsers don't trust without TLS. */
const plain = "plain.test";

/** A browser until the test `t` ends. Without `gpu`, WebGPU finds no adapter. */
export async function launch(t, { gpu = true } = {}) {
  const args = [
    ...quiet,
    ...camera,
    `--host-resolver-rules=MAP ${plain} 127.0.0.1`,
    ...(gpu ? ["--enable-unsafe-webgpu"] : []),
  ];
  const browser = await chromium.launch({ executablePath, args });
  t.after(() => browser.close());
  return browser;
}

export const sizes = {
  desktop: { width: 1280, height: 800 },
  phone: { width: 390, height: 844 },
};

/** The address as an insecure context: no `navigator.gpu`, no Cache API, no SharedArrayBuffer, no clipboard. */
export const insecure = (url) => url.replace("127.0.0.1", plain);

/** dist/ on a host until the test `t` ends; see `serve` for the options. */
export async function host(t, options) {
  if (!existsSync(join(dist, "index.html"))) throw new Error("dist/ is missing: run `make build` first.");
  const server = await serve(dist, options);
  t.after(server.close);
  return server;
}

/**
 * More files for `host`, with which the software GPU passes for a real one in the worker: the worker then measures both
 * ways to convolve, and its clock makes the one come out ahead that it tries second, by tiles in workgroup memory.
 */
export function asGpu() {
  const disguise = `
    Object.defineProperty(GPUAdapterInfo.prototype, "isFallbackAdapter", { get: () => false });
    let looks = 1;
    performance.now = () => 1e5 * Math.log(looks++);
  `;
  // Behind the imports, which come first in any case, and before the module is started.
  return { "worker_loader.js": Buffer.from(disguise + readFileSync(join(dist, "worker_loader.js"), "utf8")) };
}

/**
 * Opens the page in a fresh profile until the test `t` ends. `errors` collects everything that a visitor would find in the console:
 * messages of level error, uncaught exceptions, requests that failed; `messages` what else is said there.
 */
export async function visit(t, browser, url, { size = "desktop", dark = false, init, ...options } = {}) {
  const context = await browser.newContext({
    viewport: sizes[size],
    hasTouch: size === "phone",
    colorScheme: dark ? "dark" : "light",
    acceptDownloads: true,
    ...options,
  });
  t.after(() => context.close());
  const page = await context.newPage();
  const [errors, messages] = [[], []];
  page.on("console", (message) => {
    if (message.type() === "error") errors.push(`${message.text()} (${message.location().url})`);
    else messages.push(message.text());
  });
  page.on("pageerror", (error) => errors.push(String(error)));
  page.on("response", (response) => response.status() >= 400 && errors.push(`${response.status()} ${response.url()}`));
  if (init) await page.addInitScript(init);
  await page.goto(url);
  return { page, errors, messages };
}

/** A picture of the page for people, in tests/e2e/out/. */
export const screenshot = (page, name) => page.screenshot({ path: join(out, `${name}.png`), fullPage: false });
