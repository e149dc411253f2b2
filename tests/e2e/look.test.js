// How it looks and reads: axe-core finds nothing, nothing overflows, and the pictures in out/ are for people.
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { choose, done, file, go, hears, listenIn, openSettings, setOption } from "./support/app.js";
import { host, launch, screenshot, sizes, visit } from "./support/browser.js";
import { violations } from "./support/look.js";
import { picture } from "./support/pictures.js";
import { tinyGenerator } from "./support/weights.js";

const [browser, server] = [await launch({ after }), await host({ after })];

const overflow = (page) =>
  page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);

for (const size of Object.keys(sizes)) {
  for (const theme of ["light", "dark"]) {
    test(`${size}, ${theme}: every state is readable`, async (t) => {
      const { page, errors } = await visit(t, browser, `${server.url}?backend=flex`, {
        size,
        dark: theme === "dark",
        init: listenIn,
        reducedMotion: "reduce",
      });
      const look = async (state) => {
        await page.waitForTimeout(300);
        await screenshot(page, `${size}-${theme}-${state}`);
        assert.deepEqual(await violations(page), [], state);
        assert.ok((await overflow(page)) <= 0, `${state}: the page is wider than the screen`);
      };
      await hears(page, "Ready");
      await page.locator("#models li").first().waitFor();
      await look("opened");

      await choose(page, file("tiny.safetensors", tinyGenerator()));
      await choose(page, file("photo.png", picture(240, 180)));
      await done(page);
      await look("done");

      await choose(page, file("broken.png", Buffer.from("no picture")));
      await page.locator("#panel-message").waitFor();
      await look("error");

      await choose(page, file("large.safetensors", tinyGenerator({ ngf: 32, blocks: 6 })));
      await choose(page, file("large.png", picture(640, 480)));
      await page.locator("#panel-busy").waitFor();
      await hears(page, "Progress");
      await look("busy");
      await page.click("#cancel");

      await go(page, "train");
      await look("train");
      await openSettings(page);
      await look("train-settings");
      await page.getByText("Losses", { exact: true }).last().scrollIntoViewIfNeeded();
      await look("train-settings-losses");

      await setOption(page, "steps", 100_000);
      await page.evaluate(() => document.querySelectorAll("details[open]").forEach((group) => (group.open = false)));
      await page.evaluate(() => scrollTo(0, 0));
      await page.click("#train-start");
      await hears(page, "Preview", { step: 200, timeout: 240_000 });
      await look("train-running");
      await page.locator("#train-bar").getByText("One picture").click();
      await hears(page, "Inspected");
      await page.click("#train-pause");
      await hears(page, "Paused");
      await look("train-one-picture");
      assert.deepEqual(errors, []);
    });
  }
}

test("readable at 200 %", async (t) => {
  const { width, height } = sizes.desktop;
  const { page } = await visit(t, browser, `${server.url}?backend=flex`, {
    init: listenIn,
    viewport: { width: width / 2, height: height / 2 },
    deviceScaleFactor: 2,
  });
  await hears(page, "Ready");
  for (const place of ["translate", "train"]) {
    await go(page, place);
    await screenshot(page, `zoomed-${place}`);
    assert.ok((await overflow(page)) <= 0, place);
  }
});

test("on a phone, the stage comes first and the main button stays in reach", async (t) => {
  const { page } = await visit(t, browser, server.url, { size: "phone", init: listenIn });
  await page.locator("#models li").first().waitFor();
  const [stage, models] = [await page.locator("#stage").boundingBox(), await page.locator("#models").boundingBox()];
  assert.ok(stage.y < models.y && stage.y < sizes.phone.height / 3);
  await page.evaluate(() => window.scrollTo(0, document.body.scrollHeight));
  await page.waitForTimeout(300);
  const button = await page.locator("#choose").boundingBox();
  assert.ok(
    button.y >= 0 && button.y + button.height <= sizes.phone.height,
    "still on the screen at the end of the page",
  );
});

for (const theme of ["light", "dark"]) {
  test(`360 pixels wide, ${theme}: no word is broken, nothing is cut, nothing covers the models' heading`, async (t) => {
    for (const screen of [640, 740, 800]) {
      const { page, errors } = await visit(t, browser, `${server.url}?backend=flex`, {
        size: "phone",
        viewport: { width: 360, height: screen },
        dark: theme === "dark",
        init: listenIn,
      });
      await hears(page, "Ready");
      await page.locator("#models li").first().waitFor();
      const look = async (state) => {
        await page.waitForTimeout(200);
        await screenshot(page, `360x${screen}-${theme}-${state}`);
        assert.ok((await overflow(page)) <= 0, `${state}: wider than the screen`);
        const found = await page.evaluate(() => {
          const rect = (selector) => document.querySelector(selector).getBoundingClientRect();
          const lines = (selector) => {
            const range = document.createRange();
            range.selectNodeContents(document.querySelector(selector));
            return new Set([...range.getClientRects()].map(({ top }) => Math.round(top))).size;
          };
          const name = document.querySelector("#device-name");
          const buttons = [...document.querySelectorAll(".actions > .buttons .button")];
          return {
            lines: ["#go-translate", "#go-train"].map(lines),
            isCut: name.scrollWidth > name.clientWidth,
            bar: rect("#actions > .buttons").top,
            heading: rect("#models-title"),
            outside: buttons.filter((button) => button.scrollWidth > button.clientWidth + 1).map(({ id }) => id),
          };
        });
        assert.deepEqual(found.lines, [1, 1], `${state}: a word is broken`);
        assert.equal(found.isCut, false, `${state}: the device's name is cut`);
        assert.deepEqual(found.outside, [], `${state}: a button is too narrow for its words`);
        return found;
      };
      const opened = await look("opened");
      const isCovered = opened.heading.bottom > opened.bar && opened.heading.top < screen;
      assert.ok(!isCovered, `at ${screen} the bar at ${opened.bar} covers the heading at ${opened.heading.top}`);
      await choose(page, file("tiny.safetensors", tinyGenerator()));
      await choose(page, file("photo.png", picture(240, 180)));
      await done(page);
      await look("done");
      await go(page, "train");
      await look("train");
      assert.deepEqual(errors, []);
    }
  });
}
