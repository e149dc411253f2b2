// At which size a network computes, how much of its work is shown, and whose photos the samples are.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { choose, done, file, heard, hears, listenIn, result, save, setTraining } from "./support/app.js";
import { host, launch, screenshot, visit } from "./support/browser.js";
import { cyclegan, dist } from "./support/paths.js";
import { decodePng, largestDifference, picture } from "./support/pictures.js";
import { tinyGenerator } from "./support/weights.js";
import { unzip } from "./support/zip.js";

const [browser, server] = [await launch({ after }), await host({ after })];
const folder = mkdtempSync(join(tmpdir(), "cyclegan-e2e-"));
after(() => rmSync(folder, { recursive: true }));
const [width, height] = [200, 150];
const model = tinyGenerator({ size: 64 });
const photo = picture(width, height);

/** Sets the slider as a hand does. */
const setStrength = (page, percent) => page.locator("#strength").fill(String(percent));

/** The mean level of two pictures, as a picture. */
const mean = (a, b) => ({ ...a, data: Buffer.from(a.data.map((level, at) => Math.round((level + b.data[at]) / 2))) });

test("a picture is computed at the model's size and comes back at its own, as on the command line", async (t) => {
  const { page, errors } = await visit(t, browser, `${server.url}?backend=flex`, { init: listenIn });
  await hears(page, "Ready");
  await choose(page, file("tiny.safetensors", model));
  await choose(page, file("photo.png", photo));
  await done(page);
  const sizes = async () => (await heard(page, "Translated")).map(({ width, height, computed }) => [width, height, ...computed]);
  assert.deepEqual(await sizes(), [[width, height, 64, 48]]);
  assert.match(await page.innerText("#caption"), /200\s*×\s*150, computed at 64\s*×\s*48/);
  assert.match(await page.locator("#size-model").innerText(), /64 px/);

  const native = (...more) => {
    const [weights, input, out] = ["tiny.safetensors", "photo.png", "out.png"].map((name) => join(folder, name));
    writeFileSync(weights, model);
    writeFileSync(input, photo);
    const command = ["translate", "--model", weights, input, "--out", out, "--backend", "flex", ...more];
    execFileSync(cyclegan, command, { stdio: "pipe" });
    return decodePng(readFileSync(out));
  };
  const at = { model: await result(page) };
  assert.ok(largestDifference(at.model, native()) <= 2);

  await page.selectOption("#size", "full");
  await done(page, 2);
  assert.deepEqual((await sizes())[1], [width, height, width, height]);
  at.full = await result(page);
  assert.ok(largestDifference(at.full, native("--size", "full")) <= 2);
  assert.ok(largestDifference(at.full, at.model) > 10, "it makes a difference");
  await screenshot(page, "tuning");

  // Strength: the ends are the pictures themselves, and nothing is computed.
  const original = decodePng(photo);
  await setStrength(page, 0);
  assert.equal(largestDifference(await result(page), original), 0);
  await setStrength(page, 50);
  const half = await result(page);
  assert.ok(largestDifference(half, mean(original, at.full)) <= 1);
  assert.ok(largestDifference(half, native("--size", "full", "--strength", "0.5")) <= 2);
  const zip = unzip((await save(page, "#save-all")).bytes);
  assert.equal(zip.length, 2);
  assert.ok(largestDifference(decodePng(zip[1].bytes), half) <= 1, "the zip shows what the stage shows");
  assert.equal((await heard(page, "Translated")).length, 2);
  await setStrength(page, 100);
  assert.equal(largestDifference(await result(page), at.full), 0);
  assert.deepEqual(errors, []);
});

test("the samples' photos are credited", async (t) => {
  const { page, errors } = await visit(t, browser, `${server.url}?backend=flex`, { init: listenIn });
  await page.click("#samples-about");
  await page.locator("#about-text").getByText("Budgie backgrounds").waitFor();
  assert.match(await page.innerText("#about-text"), /CC0/);
  await page.click("#about-close");
  assert.deepEqual(errors, []);
});

test("a card shows the pictures that lie beside it, and those alone", async (t) => {
  const entry = {
    id: "there",
    title: "There",
    sentence: "Goes there.",
    file: "test/there.safetensors",
    card: "test/there.md",
    samples: [],
    licence: "MIT",
  };
  const text = "# There\n\n## What it cannot do\n\n![What it fails at](there-failures.png)\n\n![Lost](lost.png)\n\nThe end.";
  const extra = {
    "test/models.json": Buffer.from(JSON.stringify([entry])),
    "test/there.safetensors": model,
    "test/there.md": Buffer.from(text),
    "test/there-failures.png": picture(80, 40),
  };
  const own = await host(t, { extra });
  const { page } = await visit(t, browser, `${own.url}?backend=flex&models=test/models.json`, { init: listenIn });
  await page.click("#about-there");
  const image = page.locator("#about-text img");
  await page.waitForFunction(() => document.querySelector("#about-text img")?.naturalWidth === 80);
  await page.waitForFunction(() => document.querySelectorAll("#about-text img").length === 1);
  assert.equal(await image.getAttribute("alt"), "What it fails at");
  assert.match(await page.innerText("#about-text"), /What it fails at[^]*The end/);
});

test("without navigator.storage the page opens and translates, and says so only where it matters", async (t) => {
  const { page, errors } = await visit(t, browser, `${server.url}?backend=flex`, {
    init: `(${listenIn})(); delete Navigator.prototype.storage;`,
  });
  await hears(page, "Ready");
  assert.equal(await page.evaluate(() => navigator.storage), undefined);
  await choose(page, file("tiny.safetensors", model));
  await choose(page, file("photo.png", photo));
  await done(page);
  assert.deepEqual(errors, []);
});

test("without shared memory the page says why one thread computes", async (t) => {
  const plain = await host(t, { headers: false });
  const { page } = await visit(t, browser, `${plain.url}?backend=flex`, { init: listenIn });
  const { device, note } = await hears(page, "Ready");
  assert.doesNotMatch(device, /threads/);
  const cores = await page.evaluate(() => navigator.hardwareConcurrency);
  if (cores > 1) {
    assert.match(note, /One thread computes: this page was served without cross-origin isolation/);
    await page.locator("#device-note").getByText("One thread computes").waitFor();
  }
});

// As in WebKitGTK, which is isolated all the same; files cannot be written in older ones.
for (const [missing, reason] of [
  ["delete WorkerNavigator.prototype.storage", "this browser keeps no files for pages"],
  ["delete FileSystemFileHandle.prototype.createWritable", "this browser keeps no files for pages"],
])
  test(`a worker without shared memory, and with ${missing}, trains and says what is missing`, async (t) => {
    const loader = readFileSync(join(dist, "worker_loader.js"), "utf8");
    const extra = { "worker_loader.js": Buffer.from(`delete globalThis.SharedArrayBuffer; ${missing}; ${loader}`) };
    const webkit = await host(t, { extra });
    const { page, errors } = await visit(t, browser, `${webkit.url}?backend=flex`, { init: listenIn });
    const { device, note } = await hears(page, "Ready");
    assert.doesNotMatch(device, /threads/);
    if ((await page.evaluate(() => navigator.hardwareConcurrency)) > 1) {
      assert.match(note, /One thread computes: this browser has no shared memory/);
      await page.locator("#device-note").getByText("One thread computes").waitFor();
    }
    await setTraining(page, "quick", { steps: 1, ngf: 2, n_blocks: 1, ndf: 2 });
    await page.click("#train-start");
    const { message } = await hears(page, "NotKept", { timeout: 120_000 });
    assert.ok(message.includes(reason), message);
    await hears(page, "Stopped", { timeout: 120_000 });
    assert.deepEqual(errors, []);
  });
