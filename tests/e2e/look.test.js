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
