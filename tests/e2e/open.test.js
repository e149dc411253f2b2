// The page opens: on any host, before the worker is there, and without what a browser may lack.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { after, test } from "node:test";
import { heard, hears, go, listenIn } from "./support/app.js";
import { host, insecure, launch, visit } from "./support/browser.js";
import { dist } from "./support/paths.js";
import { policy } from "./support/server.js";

const browser = await launch({ after });

const hosts = {
  "with headers": {},
  "that can't set headers": { headers: false },
  "from a sub-path": { base: "/some/where/" },
};
for (const [name, options] of Object.entries(hosts)) {
  test(`opens from a host ${name}`, async (t) => {
    const server = await host(t, options);
    const { page, errors } = await visit(t, browser, server.url, { init: listenIn });
    const ready = await hears(page, "Ready");
    assert.equal(ready.backend, "flex", "a software GPU is not worth waiting for");
    assert.ok(await page.locator("#models li").count());
    assert.match(await page.innerText("#device"), /CPU/i);
    assert.equal(await page.evaluate(() => crossOriginIsolated), options.headers ?? true);
    assert.deepEqual(
      server.requests.filter(({ path }) => !path.startsWith(options.base ?? "/")),
      [],
      "every address is relative",
    );
    assert.deepEqual(errors, []);
  });
}

test("the policy in the page is the server's", async (t) => {
  const { csp } = policy();
  const html = await readFile(join(dist, "index.html"), "utf8");
  const meta = html.match(/http-equiv="?Content-Security-Policy"? content="([^"]+)"/i)[1];
  // A <meta> can't say who may frame the page.
  assert.deepEqual(
    meta.split(";").map((part) => part.trim()),
    csp.filter((part) => !part.startsWith("frame-ancestors")),
  );
  assert.ok(!/'unsafe-(eval|inline)'/.test(meta));
  assert.ok(!/<script(?![^>]*\bsrc=)/.test(html), "no inline script");
});

test("is usable before the worker is there", async (t) => {
  const server = await host(t, { slow: { pattern: /worker.*\.wasm$/, milliseconds: 6000 } });
  const { page, errors } = await visit(t, browser, server.url, { init: listenIn });
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
});

test("opens without WebGPU, and says what it runs on", async (t) => {
  const plain = await launch(t, { gpu: false });
  const server = await host(t);
  // Over plain http, Chromium would rightly complain about the headers.
  const bare = await host(t, { headers: false });
  for (const url of [server.url, insecure(bare.url), `${server.url}?backend=wgpu`]) {
    const { page, errors } = await visit(t, plain, url, { init: listenIn });
    const ready = await hears(page, "Ready");
    assert.equal(ready.backend, "flex", url);
    assert.match(await page.innerText("#device"), /CPU/i);
    if (url.includes("wgpu")) assert.ok(ready.note, "it says why the GPU that was asked for is not used");
    assert.deepEqual(errors, []);
  }
});

for (const backend of ["wgpu", "flex", "candle"]) {
  test(`?backend=${backend} is obeyed`, async (t) => {
    const server = await host(t);
    const { page, errors } = await visit(t, browser, `${server.url}?backend=${backend}`, { init: listenIn });
    assert.equal((await hears(page, "Ready")).backend, backend);
    assert.deepEqual(errors, []);
  });
}
