// Training in the page: it learns, it obeys, and the page never freezes meanwhile.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { choose, done, file, heard, hears, listenIn, save, setTraining, watchTimer } from "./support/app.js";
import { asGpu, host, launch, screenshot, visit } from "./support/browser.js";
import { cyclegan } from "./support/paths.js";
import { picture } from "./support/pictures.js";

const [browser, server] = [await launch({ after }), await host({ after })];

/** The generators' total of a `Step` event: what they minimise. */
const total = ({ losses: l }) =>
  l.adversarial_ab + l.adversarial_ba + l.cycle_a + l.cycle_b + l.identity_a + l.identity_b;
const mean = (values) => values.reduce((a, b) => a + b, 0) / values.length;

test("a training on the built-in data learns, pauses, resumes, stops, and its generators can be used", async (t) => {
  const { page, errors } = await visit(t, browser, `${server.url}?backend=flex`, { init: listenIn });
  await setTraining(page, "quick", { steps: 5000, preview_every: 10 });
  const isFree = await watchTimer(page);
  await page.click("#train-start");
  await hears(page, "TrainingStarted");
  await hears(page, "Step", { step: 60, timeout: 180_000 });
  await hears(page, "Preview", { count: 2 });
  assert.ok(await page.locator("#preview-body canvas").count());
  await screenshot(page, "train-running");

  await page.click("#train-pause");
  const { step: paused } = await hears(page, "Paused");
  const reported = (await heard(page, "Step")).length;
  await page.waitForTimeout(1000);
  assert.equal((await heard(page, "Step")).length, reported, "no step while paused");
  await page.click("#train-resume");
  await hears(page, "Resumed");
  await hears(page, "Step", { step: paused + 5 });

  await page.click("#train-stop");
  const stopped = await hears(page, "Stopped");
  assert.equal(stopped.trouble, null);
  assert.ok(paused < stopped.step && stopped.step < 5000);

  const losses = (await heard(page, "Step")).map(total);
  assert.ok(losses.every(Number.isFinite));
  const [first, last] = [mean(losses.slice(0, 5)), mean(losses.slice(-5))];
  assert.ok(last < 0.9 * first, `the generators' loss went from ${first} to ${last}`);

  const { name, bytes } = await save(page, "#export-ab");
  assert.match(name, /\.safetensors$/);
  const folder = mkdtempSync(join(tmpdir(), "cyclegan-e2e-"));
  writeFileSync(join(folder, name), bytes);
  assert.match(execFileSync(cyclegan, ["info", join(folder, name)], { encoding: "utf8" }), /resnet_2blocks/);
  rmSync(folder, { recursive: true });

  await page.click("#use-ab");
  await choose(page, file("photo.png", picture(60, 44)));
  await done(page);

  await isFree();
  assert.deepEqual(errors, []);
});

test("a training on the visitor's own piles, one file of them broken", async (t) => {
  const { page, errors } = await visit(t, browser, `${server.url}?backend=flex`, { init: listenIn });
  await setTraining(page, "quick", { steps: 6, preview_every: 10 });
  await page.check("#source-own");
  const pile = (name, count, size) =>
    Array.from({ length: count }, (_, i) => file(`${name}${i}.png`, picture(size + i, size)));
  await page.setInputFiles("#files-a", [...pile("a", 3, 40), file("bad.png", Buffer.from("no picture"))]);
  await page.setInputFiles("#files-b", pile("b", 4, 52));
  await page.click("#train-start");
  const started = await hears(page, "TrainingStarted");
  assert.deepEqual([started.images_a, started.images_b], [4, 4]);
  assert.equal((await hears(page, "ImageSkipped")).file, "bad.png");
  const stopped = await hears(page, "Stopped");
  assert.deepEqual([stopped.step, stopped.trouble], [6, null]);
  await page.locator("#skipped").getByText("bad.png").waitFor({ state: "attached" });
  assert.deepEqual(errors, []);
});

for (const tiles of [false, true]) {
  test(`training steps are made on WebGPU, too${tiles ? ", by tiles" : ""}`, async (t) => {
    const from = tiles ? await host(t, { extra: asGpu() }) : server;
    const { page, errors } = await visit(t, browser, `${from.url}?backend=wgpu`, { init: listenIn });
    await setTraining(page, "quick", { steps: 2, preview_every: 10 });
    const isFree = await watchTimer(page);
    await page.click("#train-start");
    const stopped = await hears(page, "Stopped", { timeout: 300_000 });
    assert.deepEqual([stopped.step, stopped.trouble], [2, null]);
    assert.equal((await heard(page, "Ready")).at(-1).backend, "wgpu");
    await isFree();
    assert.deepEqual(errors, []);
  });
}

test("a training that is done goes on for more steps, with what it has", async (t) => {
  const { page, errors } = await visit(t, browser, `${server.url}?backend=flex`, { init: listenIn });
  await setTraining(page, "quick", { steps: 6, preview_every: 3 });
  await page.click("#train-start");
  await hears(page, "Stopped", { timeout: 120_000 });
  assert.equal(await page.innerText("#train-title"), "Done");
  assert.equal(await page.inputValue("#more-steps"), "6", "as many again are offered");
  await screenshot(page, "train-done");
  await page.fill("#more-steps", "4");
  await page.click("#train-go-on");
  const started = await hears(page, "TrainingStarted", { count: 2 });
  assert.deepEqual([started.step, started.steps], [6, 10]);
  const stopped = await hears(page, "Stopped", { count: 2, timeout: 120_000 });
  assert.deepEqual([stopped.step, stopped.trouble], [10, null]);
  assert.match(await page.innerText("#train-caption"), /Step 10 of 10/);
  const steps = (await heard(page, "Step")).map(({ step }) => step);
  assert.ok(steps.includes(6) && steps.at(-1) === 10 && Math.min(...steps) === 1, `no step again: ${steps}`);

  // What was put away, once the tab is gone, can go on, too.
  await hears(page, "Kept", { count: 2 });
  await page.reload();
  await hears(page, "Ready");
  await page.click("#go-train");
  await page.locator("#kept-go-on").getByText("Go on for 10 more").click();
  const again = await hears(page, "TrainingStarted");
  assert.deepEqual([again.step, again.steps], [10, 20]);
  await page.click("#train-stop");
  await hears(page, "Stopped");
  assert.deepEqual(errors, []);
});
