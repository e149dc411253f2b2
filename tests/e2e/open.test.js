// The page opens: on any host, before the worker is there, and without what a browser may lack.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { heard, hears, go, listenIn } from "./support/app.js";
import { host, insecure, launch, visit } from "./support/browser.js";
import { dist } from "./support/paths.js";
import { policy } from "./support/server.js";

let browser;
before(async () => (browser = await launch()));
after(() => browser.close());

const hosts = {
  "with headers": {},
  "that can't set headers": { headers: false },
  "from a sub-path": { base: "/some/where/" },
};
for (const [name, options] of Object.entries(hosts)) {
  test(`opens from a host ${name}`, async () => {
    const server = await host(options);
    const { page, context, errors } = await visit(browser, server.url, { init: listenIn });
    const ready = await hears(page, "Ready");
    assert.equal(ready.backend, "flex", "a software GPU is not worth waiting for");
    assert.ok(await page.locator("#models li").count());
    assert.match(await page.innerText("#device"), /CPU/i);
    assert.equal(await page.evaluate(() => crossOriginIsolated), options.headers ?? true);
    assert.deepEqual(server.requests.filter(({ path }) => !path.startsWith(options.base ?? "/")), [], "every address is relative");
    assert.deepEqual(errors, []);
    await context.close();
    await server.close();
  });
}

test("the policy in the page is the server's", async () => {
  const { csp } = policy();
  const html = await readFile(join(dist, "index.html"), "utf8");
  const meta = html.match(/http-equiv="?Content-Security-Policy"? content="([^"]+)"/i)[1];
  // A <meta> can't say who may frame the page.
  assert.deepEqual(meta.split(";").map((part) => part.trim()), csp.filter((part) => !part.startsWith("frame-ancestors")));
  assert.ok(!/'unsafe-(eval|inline)'/.test(meta));
  assert.ok(!/<script(?![^>]*\bsrc=)/.test(html), "no inline script");
});

test("is usable before the worker is there", async () => {
  const server = await host({ slow: { pattern: /worker.*\.wasm$/, milliseconds: 6000 } });
  const { page, context, errors } = await visit(browser, server.url, { init: listenIn });
  const started = Date.now();
  await page.locator("#models li").first().waitFor();
  await page.locator("#samples li").first().waitFor();
  await go(page, "train");
  await page.locator("#train-start").waitFor();
  await go(page, "translate");
  assert.ok(Date.now() - started < 5000);
  assert.deepEqual(await heard(page, "Loaded"), []);
  await hears(page, "Ready");
  assert.deepEqual(errors, []);
  await context.close();
  await server.close();
});

test("opens without WebGPU, and says what it runs on", async () => {
  const plain = await launch({ gpu: false });
  const server = await host();
  for (const url of [server.url, insecure(server.url), `${server.url}?backend=wgpu`]) {
    const { page, context, errors } = await visit(plain, url, { init: listenIn });
    const ready = await hears(page, "Ready");
    assert.equal(ready.backend, "flex", url);
    assert.match(await page.innerText("#device"), /CPU/i);
    if (url.includes("wgpu")) assert.ok(ready.note, "it says why the GPU that was asked for is not used");
    assert.deepEqual(errors, []);
    await context.close();
  }
  await server.close();
  await plain.close();
});

for (const backend of ["wgpu", "flex", "candle"]) {
  test(`?backend=${backend} is obeyed`, async () => {
    const server = await host();
    const { page, context, errors } = await visit(browser, `${server.url}?backend=${backend}`, { init: listenIn });
    assert.equal((await hears(page, "Ready")).backend, backend);
    assert.deepEqual(errors, []);
    await context.close();
    await server.close();
  });
}
