// What a visitor does on the page, and what the page and its worker say to each other meanwhile.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { decodePng } from "./pictures.js";

/**
 * Runs before the page's own code: every event of every worker is noted in `window.heard`, as
 * `{ at, worker, name, ...fields }`, and the workers themselves are in `window.workers`. What they are asked is in
 * `window.asked`.
 */
export function listenIn() {
  window.heard = [];
  window.asked = [];
  window.workers = [];
  const Real = window.Worker;
  window.Worker = class extends Real {
    constructor(...args) {
      super(...args);
      const worker = window.workers.push(this) - 1;
      this.addEventListener("message", ({ data }) => {
        const event = JSON.parse(data[0]);
        const [[name, fields]] = typeof event === "string" ? [[event, {}]] : Object.entries(event);
        window.heard.push({ at: performance.now(), worker, name, ...fields });
      });
    }
    postMessage(message, ...rest) {
      const command = typeof message?.[0] === "string" ? JSON.parse(message[0]) : {};
      if (typeof command === "object") window.asked.push(command);
      super.postMessage(message, ...rest);
    }
  };
}

/** Every event of that name so far. */
export const heard = (page, name) => page.evaluate((name) => window.heard.filter((event) => event.name === name), name);

/**
 * Waits until `count` events of that name (from training step `step` on) were heard and the page has drawn what it
 * makes of them; returns the last of them.
 */
export async function hears(page, name, { count = 1, step = 0, timeout = 60_000 } = {}) {
  const handle = await page.waitForFunction(
    ([name, count, step]) =>
      window.heard.filter((event) => event.name === name && (event.step ?? step) >= step)[count - 1],
    [name, count, step],
    { timeout, polling: 50 },
  );
  // The page draws once a frame; a busy machine can be long in giving it one.
  await page.evaluate(() => new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn))));
  return handle.jsonValue();
}

/** `{ name, mimeType, buffer }` as Playwright's file inputs take it. */
export function file(name, buffer) {
  const types = { jpg: "image/jpeg", png: "image/png", safetensors: "application/octet-stream" };
  return { name, mimeType: types[name.split(".").pop()] ?? "application/octet-stream", buffer };
}

/** Gives files through the page's own file dialog. */
export async function choose(page, ...files) {
  const dialog = page.waitForEvent("filechooser");
  await page.click("#choose");
  await (await dialog).setFiles(files);
}

/** A `DataTransfer` with the files, as drag and paste carry it. */
const transfer = (page, files) =>
  page.evaluateHandle(
    (files) => {
      const transfer = new DataTransfer();
      for (const { name, mimeType, base64 } of files) {
        const bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
        transfer.items.add(new File([bytes], name, { type: mimeType }));
      }
      return transfer;
    },
    files.map(({ buffer, ...rest }) => ({ ...rest, base64: buffer.toString("base64") })),
  );

/** Drags files over an element and drops them there. */
export async function drop(page, selector, ...files) {
  const dataTransfer = await transfer(page, files);
  for (const step of ["dragenter", "dragover", "drop"]) await page.dispatchEvent(selector, step, { dataTransfer });
}

/** Puts a PNG on the real clipboard and presses Ctrl+V. */
export async function paste(page, png) {
  await page.context().grantPermissions(["clipboard-read", "clipboard-write"]);
  await page.evaluate(async (base64) => {
    const bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
    await navigator.clipboard.write([new ClipboardItem({ "image/png": new Blob([bytes], { type: "image/png" }) })]);
  }, png.toString("base64"));
  await page.keyboard.press("Control+V");
}

/** Waits until `count` translations are done and the last one is on the stage: it can be saved. */
export async function done(page, count = 1) {
  try {
    await hears(page, "Translated", { count, timeout: 120_000 });
    await page.locator("#save").waitFor();
  } catch (error) {
    throw new Error(`The page says: ${await page.innerText("#stage")}`, { cause: error });
  }
}

/** Saves through the button `selector`; the file's name and bytes. */
export async function save(page, selector = "#save") {
  const download = page.waitForEvent("download");
  await page.click(selector);
  const saved = await download;
  return { name: saved.suggestedFilename(), bytes: await readFile(await saved.path()) };
}

/** The result on the stage, as saved. */
export const result = async (page) => decodePng((await save(page)).bytes);

/** A place with its link, by its name in the address. */
export async function go(page, place) {
  await page.click(`#go-${place}`);
  await page.locator(`#place-${place}`).waitFor();
}

/** Opens every group of settings. */
export const openSettings = (page) =>
  page.evaluate(() => document.querySelectorAll(".train__side details").forEach((group) => (group.open = true)));

/** Sets an option through its control, whatever that is. */
export async function setOption(page, name, value) {
  const control = page.locator(`#train-${name}`);
  if (typeof value === "boolean") return control.setChecked(value);
  if ((await control.evaluate((control) => control.tagName)) === "SELECT") return control.selectOption(value);
  await control.fill(String(value));
  await control.blur();
}

/** The Train place, ready to start: a preset, and options by their names. */
export async function setTraining(page, preset, options) {
  await hears(page, "Ready");
  await go(page, "train");
  await page.selectOption("#preset", preset);
  await openSettings(page);
  for (const [name, value] of Object.entries(options)) await setOption(page, name, value);
}

/** Notes the longest time between two ticks of a 50 ms timer. */
const tick = (page) =>
  page.evaluate(() => {
    let last = performance.now();
    window.ticks = { longest: 0, count: 0 };
    setInterval(() => {
      const now = performance.now();
      window.ticks.longest = Math.max(window.ticks.longest, now - last);
      window.ticks.count += 1;
      last = now;
    }, 50);
  });

/**
 * Watches whether the page's own thread stays free: with a 50 ms timer in it, and another one in an idle page
 * beside it that shows what the machine itself does to timers (a software GPU takes every core). Returns a
 * function that fails when the page's timer fell far behind the idle one: half as many ticks, or a pause as long
 * as only work of the training's size makes. How late a single tick comes is the machine's affair.
 */
export async function watchTimer(page) {
  const idle = await page.context().newPage();
  await page.bringToFront();
  await Promise.all([tick(idle), tick(page)]);
  return async () => {
    const [own, other] = await Promise.all([page, idle].map((page) => page.evaluate(() => window.ticks)));
    await idle.close();
    assert.ok(own.count > 5, "the timer ran");
    const told = `50 ms timers: ${own.count} ticks, ${own.longest} ms at most; an idle page's ${other.count}, ${other.longest} ms`;
    assert.ok(own.count >= other.count / 2, told);
    assert.ok(own.longest <= Math.max(500, 4 * other.longest), told);
  };
}
