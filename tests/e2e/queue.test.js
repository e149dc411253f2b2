// Many pictures at once: their progress, a stop in between, a broken file among them, and all results in one zip.
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { choose, done, drop, file, heard, hears, listenIn, result, save } from "./support/app.js";
import { host, launch, screenshot, sizes, visit } from "./support/browser.js";
import { violations } from "./support/look.js";
import { decodePng, largestDifference, picture } from "./support/pictures.js";
import { tinyGenerator } from "./support/weights.js";
import { unzip } from "./support/zip.js";

const [browser, server] = [await launch({ after }), await host({ after })];
const tiny = file("tiny.safetensors", tinyGenerator());
// Slow enough to be seen at work.
const slow = file("slow.safetensors", tinyGenerator({ ngf: 24, blocks: 6 }));

async function opened(t, model, options) {
  const visited = await visit(t, browser, `${server.url}?backend=flex`, { init: listenIn, ...options });
  await hears(visited.page, "Ready");
  await choose(visited.page, model);
  await hears(visited.page, "ModelLoaded");
  return visited;
}

/** Five files in one drop: two of one name, one that is no picture. */
const mixed = () => [
  file("photo.png", picture(64, 48)),
  file("photo.png", picture(40, 56)),
  file("broken.png", Buffer.from("no picture")),
  file("Zebra é.png", picture(70, 53)),
  file("last.one.png", picture(32, 32)),
];

test("five dropped pictures, one of them broken, come out as one zip of four", async (t) => {
  const { page, errors } = await opened(t, tiny);
  await drop(page, "#stage", ...mixed());
  await hears(page, "Translated", { count: 4 });
  await page.locator("#results li").nth(3).waitFor();
  await done(page, 4);

  const notice = await page.locator("#notices").innerText();
  assert.match(notice, /^1 of 5 pictures could not be translated\. broken\.png: /);
  assert.match(await page.innerText("#kept"), /^4 kept, .* of 1\.00 GB$/);
  assert.equal((await heard(page, "Failed")).length, 1);

  const { name, bytes } = await save(page, "#save-all");
  assert.equal(name, "cyclegan-results.zip");
  const files = unzip(bytes);
  assert.deepEqual(
    files.map(({ name }) => name),
    ["photo.png", "photo-2.png", "Zebra é.png", "last.one.png"],
  );
  const results = page.locator("#results button");
  for (const [index, { name, bytes }] of files.entries()) {
    // The newest stands first.
    await results.nth(files.length - 1 - index).click();
    assert.equal(largestDifference(decodePng(bytes), await result(page)), 0, `${name} is the result on the stage`);
  }
  await page.locator("#save-all").getByText("Save all (zip)").waitFor();
  assert.deepEqual(errors, []);
});

test("a queue tells how far it is, stops, and goes on where it stopped", async (t) => {
  const { page, errors } = await opened(t, slow);
  const pictures = Array.from({ length: 4 }, (_, index) => file(`${index}.png`, picture(280 + index, 240)));
  await choose(page, ...pictures);
  const told = await page.waitForFunction(() => {
    const text = document.querySelector("#queue-text").textContent;
    return text === "2 of 4" && document.querySelector("#queue-progress").value;
  });
  assert.equal(await told.jsonValue(), 25, "one of four is done");
  await screenshot(page, "queue-busy");
  await page.click("#cancel");
  await page.locator("#message-title").getByText("Stopped").waitFor();
  const before = (await heard(page, "Translated")).length;
  await page.waitForTimeout(1500);
  assert.equal((await heard(page, "Translated")).length, before, "nothing goes on by itself");
  assert.equal(await page.locator("#results li").count(), 1, "what was done stays");
  await screenshot(page, "queue-stopped");

  await page.locator("#results button").first().click();
  await page.locator("#go-on-later").getByText("3 that wait").click();
  await page.locator("#results li").nth(3).waitFor({ timeout: 60_000 });
  await done(page, 4);
  assert.deepEqual(
    (await heard(page, "Translated")).map(({ width }) => width),
    [280, 281, 282, 283],
  );
  assert.equal(await page.locator("#go-on-later").isVisible(), false);
  assert.deepEqual(errors, []);
});

for (const size of Object.keys(sizes)) {
  for (const dark of [false, true]) {
    test(`the end of a queue on a ${size}, ${dark ? "dark" : "light"}`, async (t) => {
      const { page } = await opened(t, tiny, { size, dark, reducedMotion: "reduce" });
      await choose(page, ...mixed());
      await hears(page, "Translated", { count: 4 });
      await page.locator("#save-all").waitFor();
      await page.waitForTimeout(300);
      const button = await page.locator("#save-all").boundingBox();
      assert.ok(button.x + button.width <= sizes[size].width, "it is seen without scrolling sideways");
      await screenshot(page, `${size}-${dark ? "dark" : "light"}-queue`);
      assert.deepEqual(await violations(page), []);
      const wide = await page.evaluate(() => document.documentElement.scrollWidth > document.documentElement.clientWidth);
      assert.equal(wide, false, "the page is no wider than the screen");
    });
  }
}
