// A training survives: a closed tab, a dead worker, a full disk; and it moves between the page and the command line.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { choose, done, file, go, heard, hears, listenIn, openSettings, save, setOption, setTraining } from "./support/app.js";
import { host, launch, screenshot, visit } from "./support/browser.js";
import { cyclegan, root } from "./support/paths.js";
import { picture } from "./support/pictures.js";

const [browser, server] = [await launch({ after }), await host({ after })];
const address = `${server.url}?backend=flex`;

/** Another tab of the same profile. */
async function tab(context) {
  const page = await context.newPage();
  await page.goto(address);
  await hears(page, "Ready");
  await go(page, "train");
  return page;
}

const mean = (values) => values.reduce((a, b) => a + b, 0) / values.length;
const pile = (name, count) => Array.from({ length: count }, (_, i) => file(`${name}${i}.png`, picture(40 + i, 40)));

const trainings = [
  { name: "on own piles", steps: 20, own: true },
  { name: "of emoji-64", preset: "emoji-64", steps: 2 },
  { name: "on WebGPU", backend: "wgpu", steps: 1, tiny: { ngf: 2, n_blocks: 1, ndf: 2 } },
];
for (const { name, preset = "quick", backend = "flex", steps, own, tiny = {} } of trainings)
  test(`a training ${name} survives a reload, goes on, and its generator translates`, async (t) => {
    const { page, errors } = await visit(t, browser, `${server.url}?backend=${backend}`, { init: listenIn });
    await setTraining(page, preset, { steps: 5000, preview_every: 10, ...tiny });
    if (own) {
      await page.check("#source-own");
      await page.setInputFiles("#files-a", pile("a", 3));
      await page.setInputFiles("#files-b", pile("b", 4));
    }
    await page.click("#train-start");
    await hears(page, "Step", { step: steps, timeout: 300_000 });
    await page.click("#train-pause");
    // Whoever leaves as soon as the pause is told loses nothing.
    const { step } = await hears(page, "Paused", { timeout: 120_000 });
    await page.reload();
    assert.equal((await hears(page, "Kept")).training.step, step);
    await hears(page, "Ready");
    await go(page, "train");
    await page.locator("#kept-text").getByText(`step ${step} of 5,000`).waitFor();
    await screenshot(page, `train-kept-${preset}`);
    await page.click("#kept-go-on");
    const started = await hears(page, "TrainingStarted");
    assert.equal(started.step, step);
    if (own) assert.deepEqual([started.images_a, started.images_b], [3, 4]);
    await hears(page, "Preview", { timeout: 120_000 });
    await hears(page, "Step", { step: step + 1, timeout: 300_000 });
    await page.click("#train-stop");
    const stopped = await hears(page, "Stopped", { timeout: 120_000 });
    assert.ok(stopped.step > step);
    await page.click("#use-ab");
    await choose(page, file("photo.png", picture(60, 44)));
    await done(page);

    await go(page, "train");
    await page.click("#kept-forget");
    await page.locator("#kept-training").waitFor({ state: "hidden" });
    await page.reload();
    assert.equal((await hears(page, "Kept")).training, null);
    assert.deepEqual(errors, []);
  });

test("a tab closed at twenty random moments never leaves a training that cannot be gone on with", async (t) => {
  const { page } = await visit(t, browser, address, { init: listenIn });
  const context = page.context();
  await context.addInitScript(listenIn);
  await setTraining(page, "quick", { steps: 100_000 });
  await page.click("#train-start");
  await hears(page, "Step", { step: 2, timeout: 180_000 });
  await page.click("#train-pause");
  await hears(page, "Kept", { count: 2 });
  await page.close();
  let reached = 0;
  for (let kill = 0; kill < 20; kill += 1) {
    const page = await tab(context);
    const { training } = await hears(page, "Kept");
    assert.ok(training.step >= reached, `step ${training.step} after ${reached}`);
    await page.click("#kept-go-on");
    // The tab before may have written down some more before it was gone.
    reached = (await hears(page, "TrainingStarted")).step;
    assert.ok(reached >= training.step);
    await hears(page, "Step", { step: reached + 1 });
    // A pause writes the training down at once: most of these moments fall into that.
    await page.click("#train-pause");
    await page.waitForTimeout(Math.random() * 120);
    // On a slow machine none may have got that far: every fourth one does.
    if (kill % 4 === 3) await hears(page, "Kept", { count: 2 });
    await page.close();
  }
  assert.ok(reached > 5, `only ${reached} steps were kept`);
  const last = await tab(context);
  await last.click("#kept-go-on");
  await hears(last, "Step", { step: reached + 1 });
});

test("a training whose worker dies goes on by itself", async (t) => {
  const { page } = await visit(t, browser, address, { init: listenIn });
  await setTraining(page, "quick", { steps: 5000 });
  await page.click("#train-start");
  await hears(page, "Step", { step: 5, timeout: 180_000 });
  await page.click("#train-pause");
  const { training } = await hears(page, "Kept", { count: 2 });
  await page.click("#train-resume");
  await hears(page, "Resumed");
  await page.evaluate(() => window.workers.at(-1).postMessage([JSON.stringify("Crash")]));
  const { step } = await hears(page, "TrainingStarted", { count: 2 });
  assert.equal(step, training.step);
  await hears(page, "Step", { step: step + 200, timeout: 120_000 });
});

test("a full disk is told, and the training goes on", async (t) => {
  const { page } = await visit(t, browser, address, { init: listenIn });
  const devtools = await page.context().newCDPSession(page);
  await devtools.send("Storage.overrideQuotaForOrigin", { origin: new URL(address).origin, quotaSize: 100_000 });
  await setTraining(page, "quick", { steps: 5000 });
  await page.click("#train-start");
  await hears(page, "NotKept", { timeout: 180_000 });
  await page.locator("#notices").getByText("no room left").waitFor();
  await hears(page, "Step", { step: 10 });
  await screenshot(page, "train-not-kept");
});

test("a training begun in the page goes on in the command line, and back", async (t) => {
  const { page, errors } = await visit(t, browser, address, { init: listenIn });
  await setTraining(page, "quick", { steps: 30 });
  await page.click("#train-start");
  await hears(page, "Stopped", { timeout: 180_000 });
  const begun = await heard(page, "Step");
  const saved = await save(page, "#save-training");
  assert.equal(saved.name, "flat-and-3d-step-30.checkpoint.safetensors");

  const folder = mkdtempSync(join(tmpdir(), "cyclegan-e2e-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const run = join(folder, "run");
  const brought = join(folder, saved.name);
  writeFileSync(brought, saved.bytes);
  const data = join(root, "static/data/emoji.zip");
  execFileSync(cyclegan, ["train", "--resume", brought, "--data", data, "--out", run, "--steps", "60", "--backend", "flex"], { stdio: "pipe" });
  const lines = readFileSync(join(run, "metrics.jsonl"), "utf8").trim().split("\n");
  const native = lines.map((line) => JSON.parse(line)).filter(({ losses }) => losses);
  assert.ok(native[0].step > 30);
  assert.equal(native.at(-1).step, 60);

  await page.reload();
  await hears(page, "Ready");
  await go(page, "train");
  const back = file("back.safetensors", readFileSync(join(run, "checkpoint-0000060.safetensors")));
  await page.setInputFiles("#import-file", back);
  await page.locator("#imported-text").getByText("back.safetensors: flat ⇄ 3D, step 60 of 60").waitFor();
  await openSettings(page);
  await setOption(page, "steps", 90);
  assert.ok(await page.locator("#train-ngf").isDisabled(), "all else is settled");
  await page.click("#train-start");
  assert.equal((await hears(page, "TrainingStarted")).step, 60);
  const stopped = await hears(page, "Stopped", { timeout: 120_000 });
  assert.deepEqual([stopped.step, stopped.trouble], [90, null]);
  const ended = await heard(page, "Step");
  assert.ok(ended.every(({ step }) => step > 60));

  // No part begins anew: what the cycle costs has fallen in the first one, and stays below.
  const cycle = (steps) => mean(steps.map(({ losses }) => losses.cycle_a + losses.cycle_b));
  const first = cycle(begun.slice(0, 1));
  for (const [place, steps] of Object.entries({ native, ended })) {
    assert.ok(cycle(steps) < 0.75 * first, `${place}: ${cycle(steps)} after ${first}`);
  }
  assert.deepEqual(errors, []);
});
