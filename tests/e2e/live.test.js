// The camera, live: frames go in one at a time, the rate is told, pairs are kept, and it ends when it should.
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { choose, file, go, heard, hears, listenIn, save } from "./support/app.js";
import { host, launch, screenshot, sizes, visit } from "./support/browser.js";
import { violations } from "./support/look.js";
import { decodePng } from "./support/pictures.js";
import { tinyGenerator } from "./support/weights.js";

const [browser, server] = [await launch({ after }), await host({ after })];
const tiny = file("tiny.safetensors", tinyGenerator());

/** Besides the worker's events, notes the camera's tracks in `window.tracks` and what is read out in `window.spoken`. */
const watch = `(${listenIn})();
  window.tracks = [];
  const media = navigator.mediaDevices;
  const open = media.getUserMedia.bind(media);
  media.getUserMedia = async (wish) => {
    const stream = await open(wish);
    window.tracks.push(...stream.getTracks());
    return stream;
  };
  window.spoken = [];
  addEventListener("DOMContentLoaded", () => {
    const note = () => window.spoken.push(document.querySelector(".caption").textContent);
    new MutationObserver(note).observe(document.querySelector(".caption"), {
      subtree: true, childList: true, characterData: true,
    });
  });`;

const running = (page) => page.evaluate(() => window.tracks.filter((track) => track.readyState === "live").length);
const frames = async (page) => (await heard(page, "Translated")).length;

/** What the stage shows of the camera, RGBA8. */
const original = (page) =>
  page.evaluate(() => {
    const canvas = document.querySelector("#picture-before");
    return [...canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data];
  });

/** A visit with the camera live and its first three frames translated. */
async function live(t, { model = tiny, ...options } = {}) {
  const visited = await visit(t, browser, `${server.url}?backend=flex`, { init: watch, ...options });
  const { page } = visited;
  await hears(page, "Ready");
  if (model) {
    await choose(page, model);
    await hears(page, "ModelLoaded");
  }
  await page.click("#camera");
  await page.locator("#camera-live:enabled").click();
  await hears(page, "Translated", { count: 3 });
  return visited;
}

test("frames flow, the rate is told quietly, and what is kept can be saved", async (t) => {
  const { page, errors } = await live(t);
  assert.equal(await page.evaluate(() => document.activeElement.id), "keep", "the keyboard is where the work is");
  await page.locator("#live-rate").getByText(/^\d+\.\d frames\/s · 128 × 96$/).waitFor();
  const before = await page.evaluate(() => window.spoken.length);
  const first = await original(page);
  assert.ok(first.some((level, index) => index % 4 < 3 && level > 100), "the camera's picture is not black");
  await hears(page, "Translated", { count: 20 });
  assert.equal(await page.evaluate(() => window.spoken.length), before, "no frame is read out");
  assert.notDeepEqual(await original(page), first, "it moves");

  await page.selectOption("#live-side", "96");
  await page.locator("#live-rate").getByText("96 × 72").waitFor();
  assert.equal((await heard(page, "Translated")).at(-1).width, 96);

  await page.locator("#keep").focus();
  await page.keyboard.press("Enter");
  await page.locator("#caption").getByText("One picture kept").waitFor();
  assert.equal(await page.locator("#results li").count(), 1);
  await page.keyboard.press("Escape");
  await page.locator("#live-bar").waitFor({ state: "hidden" });
  assert.equal(await running(page), 0, "the camera is off");
  const { name, bytes } = await save(page);
  assert.match(name, /^camera-\d+-own-\d+\.png$/);
  assert.deepEqual([decodePng(bytes).width, decodePng(bytes).height], [96, 72]);
  assert.deepEqual(errors, []);
});

test("a hidden page takes no frames; going away turns the camera off", async (t) => {
  const { page, errors } = await live(t);
  const show = (hidden) =>
    page.evaluate((hidden) => {
      Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
      document.dispatchEvent(new Event("visibilitychange"));
    }, hidden);
  await show(true);
  await page.waitForTimeout(300);
  const paused = await frames(page);
  await page.waitForTimeout(1000);
  assert.equal(await frames(page), paused);
  await show(false);
  await hears(page, "Translated", { count: paused + 3 });

  await go(page, "train");
  await page.waitForTimeout(300);
  const ended = await frames(page);
  assert.equal(await running(page), 0);
  await page.waitForTimeout(700);
  assert.equal(await frames(page), ended);
  assert.deepEqual(errors, []);
});

test("a camera that is lost is told, and another try works", async (t) => {
  const { page, errors } = await live(t);
  await page.evaluate(() => window.tracks.at(-1).dispatchEvent(new Event("ended")));
  await page.locator("#message-text").getByText("unplugged").waitFor();
  assert.equal(await running(page), 0);
  const before = await frames(page);
  await page.click("#camera");
  await page.locator("#camera-live:enabled").click();
  await hears(page, "Translated", { count: before + 3 });
  await page.click("#stop");
  await page.locator("#live-bar").waitFor({ state: "hidden" });
  assert.deepEqual(errors, []);
});

for (const size of Object.keys(sizes)) {
  for (const dark of [false, true]) {
    const name = `${size}-${dark ? "dark" : "light"}-live`;
    test(`${name}: with a model of the list, readable, and as fast as the machine lets it`, async (t) => {
      const { page, errors } = await live(t, { model: null, size, dark, reducedMotion: "reduce" });
      await hears(page, "Translated", { count: 25 });
      await page.waitForTimeout(600);
      t.diagnostic(await page.innerText("#live-rate"));
      await screenshot(page, name);
      assert.deepEqual(await violations(page), []);
      const wide = await page.evaluate(
        () => document.documentElement.scrollWidth > document.documentElement.clientWidth,
      );
      assert.equal(wide, false, "the page is no wider than the screen");
      assert.deepEqual(errors, []);
    });
  }
}
