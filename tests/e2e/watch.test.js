// Watching a training: one picture through all networks, previews as wanted, and what happens when it diverges.
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { file, heard, hears, listenIn, openSettings, setOption, setTraining } from "./support/app.js";
import { host, launch, screenshot, visit } from "./support/browser.js";
import { picture } from "./support/pictures.js";

const [browser, server] = [await launch({ after }), await host({ after })];
const address = `${server.url}?backend=flex`;

/** How many different colours a canvas shows. */
const colours = (page, id) =>
  page.evaluate((id) => {
    const canvas = document.getElementById(id);
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    return new Set(new Uint32Array(data.buffer)).size;
  }, id);
const inspected = (page, count) => hears(page, "Inspected", { count, timeout: 120_000 });

test("one picture is followed through all networks while they train", async (t) => {
  const { page, errors } = await visit(t, browser, address, { init: listenIn });
  await setTraining(page, "quick", { steps: 100_000, preview_every: 50 });
  await page.click("#train-start");
  await hears(page, "Preview", { timeout: 180_000 });
  await page.locator("#train-bar").getByText("One picture").click();
  const first = await inspected(page, 1);
  // 32 pixels, halved three times, less two for the convolutions without stride.
  assert.deepEqual([first.side, first.map], [32, [2, 2]]);
  assert.ok(first.samples > 10);
  assert.ok(first.realness.every((realness) => realness >= 0 && realness <= 1));
  for (const place of [0, 1, 2, 3]) assert.ok((await colours(page, `seen-${place}`)) > 10, `picture ${place}`);
  assert.equal(await page.innerText("#inspect-name"), first.picture);
  assert.match(await page.innerText("#seen-text-1"), /^\d+ % real$/);
  // It is looked at again as the training goes on.
  const later = await inspected(page, 2);
  assert.ok(later.step > first.step && later.picture === first.picture);

  await page.click("#train-pause");
  await hears(page, "Paused");
  await page.waitForTimeout(500);
  let count = (await heard(page, "Inspected")).length;
  await page.click("#inspect-next");
  const next = await inspected(page, ++count);
  assert.notEqual(next.picture, first.picture);
  await page.selectOption("#inspect-from", "b");
  const other = await inspected(page, ++count);
  assert.match(other.picture, /B\//);
  await page.locator("#seen-name-1").getByText("→ flat").waitFor();
  await page.setInputFiles("#inspect-file", file("mine.png", picture(90, 60)));
  assert.equal((await inspected(page, ++count)).picture, "mine.png");
  await screenshot(page, "train-one-picture");
  await page.uncheck("#inspect-maps");
  await page.locator("#heat-0").waitFor({ state: "hidden" });
  await page.setInputFiles("#inspect-file", file("bad.png", Buffer.from("no picture")));
  await page.locator("#notices").getByText("bad.png: ").waitFor();
  await page.click("#inspect-next");
  await inspected(page, ++count);

  // One step at a time, and the picture with it.
  await page.click("#train-step");
  assert.equal((await inspected(page, ++count)).step, other.step + 1);
  await page.locator("#train-bar").getByText("Samples").click();
  await page.locator("#preview-body canvas").first().waitFor();
  assert.deepEqual(errors, []);
});

test("previews change while it runs", async (t) => {
  const { page } = await visit(t, browser, address, { init: listenIn });
  await setTraining(page, "quick", { steps: 100_000, preview_every: 0 });
  await page.click("#train-start");
  await hears(page, "Step", { step: 5, timeout: 180_000 });
  assert.equal((await heard(page, "Preview")).length, 1, "the first, and no more");
  await page.fill("#preview-rows", "5");
  await page.locator("#preview-rows").blur();
  assert.equal((await hears(page, "Preview", { count: 2 })).cells.length, 5 * 6);
  assert.equal(await page.locator("#preview-body tr").count(), 5);
  await setOption(page, "preview_every", 10);
  const { step } = await hears(page, "Preview", { count: 4 });
  assert.equal(step % 10, 0);
});

test("a training that diverges is back at its last good state, and goes on from there more slowly", async (t) => {
  const { page, errors } = await visit(t, browser, address, { init: listenIn });
  await setTraining(page, "quick", { steps: 100_000 });
  await page.click("#train-start");
  await hears(page, "Step", { step: 5, timeout: 180_000 });
  await page.click("#train-stop");
  const { step } = await hears(page, "Stopped");
  await page.waitForFunction((step) => window.heard.some(({ training }) => training?.step === step), step);
  // No training of a sound recipe diverges on demand.
  await page.evaluate(() =>
    window.workers.at(-1).postMessage([JSON.stringify({ ResumeKept: { learning_rate: 1e30 } })]),
  );
  const diverged = await hears(page, "Diverged", { timeout: 60_000 });
  const stopped = await hears(page, "Stopped", { count: 2 });
  assert.equal(stopped.step, diverged.step);
  assert.equal((await heard(page, "Preview")).at(-1).step, diverged.step, "what is seen is the good state, too");
  assert.match(stopped.trouble, /no longer a number/);
  assert.equal((await heard(page, "Kept")).at(-1).training.step, step, "what is kept is from before");
  await page.locator("#train-caption").getByText(`It is back at step ${stopped.step}, where all was well.`).waitFor();
  await screenshot(page, "train-diverged");
  await page.click("#train-slower");
  assert.equal((await hears(page, "TrainingStarted", { count: 3 })).step, step);
  const on = await hears(page, "Step", { step: step + 20 });
  assert.ok(Math.abs(on.learning_rate - 1e-4) < 1e-6, `${on.learning_rate}`);
  assert.deepEqual(errors, []);
});

test("piles are filled by the camera and with the frames of a video", async (t) => {
  const { page, errors } = await visit(t, browser, address, { init: listenIn });
  await setTraining(page, "quick", { steps: 3 });
  await page.check("#source-own");
  await page.click("#camera-a");
  await page.locator("#camera-take:enabled").waitFor();
  await page.click("#camera-take");
  await page.locator("#camera-count").getByText("1 picture added.").waitFor();
  await page.click("#camera-series");
  await page.locator("#camera-count").getByText("3 pictures added.").waitFor();
  await screenshot(page, "train-camera");
  await page.click("#camera-cancel");
  await page.locator("#count-a").getByText(/^[34] pictures$/).waitFor();

  // A second of something that moves, as browsers record it: without its length.
  const base64 = await page.evaluate(async () => {
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [96, 64];
    const context = canvas.getContext("2d");
    let place = 0;
    const timer = setInterval(() => {
      context.fillStyle = `hsl(${place * 20}deg 90% 50%)`;
      context.fillRect(0, 0, 96, 64);
      place += 1;
    }, 40);
    const recorder = new MediaRecorder(canvas.captureStream(25), { mimeType: "video/webm" });
    const parts = [];
    recorder.ondataavailable = ({ data }) => parts.push(data);
    const stopped = new Promise((resolve) => (recorder.onstop = resolve));
    recorder.start();
    await new Promise((resolve) => setTimeout(resolve, 1600));
    recorder.stop();
    await stopped;
    clearInterval(timer);
    const bytes = new Uint8Array(await new Blob(parts).arrayBuffer());
    return btoa(bytes.reduce((text, byte) => text + String.fromCharCode(byte), ""));
  });
  const video = (name, buffer) => ({ name, mimeType: "video/webm", buffer });
  await page.setInputFiles("#files-b", video("clip.webm", Buffer.from(base64, "base64")));
  await page.locator("#count-b").getByText(/^[4-9] pictures$/).waitFor();
  await page.setInputFiles("#files-b", video("bad.webm", Buffer.from("no video")));
  await page.locator("#notices").getByText("bad.webm is no video that this browser can play.").waitFor();
  await page.click("#train-start");
  const { images_b } = await hears(page, "TrainingStarted");
  assert.ok(images_b >= 4);
  const stopped = await hears(page, "Stopped", { timeout: 120_000 });
  assert.deepEqual([stopped.step, stopped.trouble], [3, null]);
  assert.equal((await heard(page, "ImageSkipped")).length, 0);
  assert.deepEqual(errors, []);
});

test("what is kept and how much room there is stands beside the kept training", async (t) => {
  const { page } = await visit(t, browser, address, { init: listenIn });
  await setTraining(page, "quick", { steps: 3 });
  await openSettings(page);
  await page.click("#train-start");
  await hears(page, "Stopped", { timeout: 180_000 });
  await page.locator("#quota").getByText(/^With downloads, this page keeps \d.* here; the browser lets it keep \d/).waitFor();
});

test("a tab that was put to sleep goes on where it was", async (t) => {
  const { page, errors } = await visit(t, browser, address, { init: listenIn });
  await setTraining(page, "quick", { steps: 100_000 });
  await page.click("#train-start");
  const { step } = await hears(page, "Step", { step: 5, timeout: 180_000 });
  const devtools = await page.context().newCDPSession(page);
  await devtools.send("Page.setWebLifecycleState", { state: "frozen" });
  await new Promise((wake) => setTimeout(wake, 3000));
  await devtools.send("Page.setWebLifecycleState", { state: "active" });
  await hears(page, "Step", { step: step + 50 });
  const steps = (await heard(page, "Step")).map(({ step }) => step);
  assert.ok(steps.every((step, place) => place === 0 || step > steps[place - 1]), "no step was made twice");
  assert.equal(await page.innerText("#train-title"), "Training");
  assert.equal((await heard(page, "TrainingStarted")).length, 1);
  assert.deepEqual(errors, []);
});
