// A picture goes in, its translation comes out: on every backend, by every way in, and through every mishap.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { choose, done, drop, file, heard, hears, listenIn, paste, result, save, watchTimer } from "./support/app.js";
import { asGpu, host, launch, screenshot, visit } from "./support/browser.js";
import { cyclegan, root } from "./support/paths.js";
import { asJpeg, decodePng, largestDifference, picture, spread } from "./support/pictures.js";
import { tinyGenerator } from "./support/weights.js";

// Sides that are no multiples of 4, so that padding and cropping take part.
const [width, height] = [70, 53];
const tiny = file("tiny.safetensors", tinyGenerator());
const large = file("large.safetensors", tinyGenerator({ ngf: 32, blocks: 6 }));
const [browser, server] = [await launch({ after }), await host({ after })];
const jpeg = file(
  "photo.jpg",
  await asJpeg((await visit({ after }, browser, server.url)).page, picture(width, height)),
);
const folder = mkdtempSync(join(tmpdir(), "cyclegan-e2e-"));
after(() => rmSync(folder, { recursive: true }));

/** Runs `work` in a fresh visit with the tiny model chosen; nothing may end up in the console. */
async function withTiny(t, work, { query = "?backend=flex", model = tiny, from = server } = {}) {
  const { page, errors, messages } = await visit(t, browser, from.url + query, { init: listenIn });
  await hears(page, "Ready");
  await choose(page, model);
  await work(page, messages);
  assert.deepEqual(errors, []);
}

describe("one JPEG, one model", () => {
  let expected;
  before(() => {
    const paths = {
      model: join(folder, "tiny.safetensors"),
      input: join(folder, "photo.jpg"),
      out: join(folder, "out.png"),
    };
    writeFileSync(paths.model, tiny.buffer);
    writeFileSync(paths.input, jpeg.buffer);
    execFileSync(
      cyclegan,
      ["translate", "--model", paths.model, paths.input, "--out", paths.out, "--backend", "flex"],
      { stdio: "pipe" },
    );
    expected = decodePng(readFileSync(paths.out));
    assert.deepEqual([expected.width, expected.height], [width, height]);
    assert.ok(spread(expected) > 10, "the tiny model makes a picture and not a grey plane");
  });
  for (const [backend, name] of [["flex"], ["candle"], ["wgpu"], ["wgpu", "a GPU with tiles"]]) {
    test(`the page on ${name ?? backend} agrees with the command line`, async (t) => {
      const from = name ? await host(t, { extra: asGpu() }) : server;
      await withTiny(
        t,
        async (page, messages) => {
          await choose(page, jpeg);
          await done(page);
          assert.ok(largestDifference(await result(page), expected) <= 2);
          const [translated] = await heard(page, "Translated");
          assert.equal((await heard(page, "Ready")).at(-1).backend, backend);
          assert.ok(translated.milliseconds > 0);
          assert.match(
            await page.innerText("#caption"),
            new RegExp(`${width}.*${height}`),
            "the size stands under the result",
          );
          const [choice] = messages.filter((message) => message.startsWith("Choice"));
          assert.equal(choice !== undefined, name !== undefined);
          if (choice) {
            assert.match(choice, /tiles: true/);
            assert.ok(Number(choice.match(/difference: ([\d.e-]+)/)[1]) < 1e-5, choice);
          }
        },
        { query: `?backend=${backend}`, from },
      );
    });
  }
});

test("a PyTorch checkpoint with two generators becomes two models, and each can be saved", async (t) => {
  const checkpoint = readFileSync(join(root, "tests/fixtures/weights/pytorch/checkpoint.pth"));
  await withTiny(
    t,
    async (page) => {
      const { parts } = await hears(page, "Several");
      assert.deepEqual(parts, ["netG_A", "netG_B"]);
      await hears(page, "ModelLoaded");
      const cards = await page.locator(".card__title").allInnerTexts();
      assert.deepEqual(cards.slice(-2), ["checkpoint: netG_A", "checkpoint: netG_B"]);
      await choose(page, jpeg);
      await done(page);
      await page.locator(".card__about").nth(-2).click();
      for (const ending of [".safetensors", ".pth", ".onnx"]) {
        const { name, bytes } = await save(page, `#about-text button:text-is("${ending}")`);
        assert.equal(name, `checkpoint-netg_a${ending}`);
        writeFileSync(join(folder, name), bytes);
      }
      const info = (name) => JSON.parse(execFileSync(cyclegan, ["info", "--json", join(folder, name)]));
      for (const ending of [".safetensors", ".pth", ".onnx"]) {
        assert.equal(info(`checkpoint-netg_a${ending}`).architecture, "resnet_2blocks");
      }
    },
    { model: file("checkpoint.pth", checkpoint) },
  );
});

test("an ONNX graph is read with the file of its weights, which is asked for by name", async (t) => {
  const [graph, data] = ["affine.new18.f32.onnx", "affine.new18.f32.onnx.data"].map((name) =>
    file(name, readFileSync(join(root, "tests/fixtures/weights/onnx", name))),
  );
  await withTiny(
    t,
    async (page) => {
      await hears(page, "Failed");
      await page.getByText("lie in another file, affine.new18.f32.onnx.data").first().waitFor();
      await choose(page, data);
      await page.getByText("give it together with its .onnx file").first().waitFor();
      await drop(page, "#stage", graph, data);
      const { info } = await hears(page, "ModelLoaded");
      assert.equal(info.architecture, "resnet_1blocks");
      await choose(page, jpeg);
      await done(page);
    },
    { model: graph },
  );
});

test("drop and paste bring a picture in", (t) =>
  withTiny(t, async (page) => {
    await drop(page, "#stage", jpeg);
    await hears(page, "Translated");
    await done(page);
    await paste(page, picture(48, 40));
    const pasted = await hears(page, "Translated", { count: 2 });
    await done(page, 2);
    assert.deepEqual([pasted.width, pasted.height], [48, 40]);
    assert.equal(await page.locator("#results li").count(), 2, "both results are in the strip");
  }));

/** A list of two tiny models that undo each other, in the page's own format, with a sample. */
const card = (id, reverse) => ({
  id,
  title: id,
  sentence: `Goes ${id}.`,
  file: `test/${id}.safetensors`,
  reverse,
  samples: ["test/sample.png"],
  licence: "MIT",
});
const pair = {
  "test/models.json": Buffer.from(JSON.stringify([card("there", "home"), card("home", "there")])),
  "test/there.safetensors": tiny.buffer,
  "test/home.safetensors": tinyGenerator({ seed: 2, from: "right", to: "left" }),
  "test/sample.png": picture(64, 48),
};

test("a listed model is downloaded once, kept, and can be cleared; and back again", async (t) => {
  const own = await host(t, { extra: pair });
  const downloads = () =>
    own.requests.filter(({ method, path }) => method === "GET" && path.endsWith("there.safetensors")).length;
  const { page, errors } = await visit(t, browser, `${own.url}?backend=flex&models=test/models.json`, {
    init: listenIn,
  });
  const translateSample = async () => {
    await hears(page, "Ready");
    await page.locator("#samples button").first().click();
    await done(page);
  };
  await translateSample();
  assert.equal(downloads(), 1);

  await page.click("#back-again");
  await hears(page, "Translated", { count: 2 });
  await page.locator("#side-back:checked").waitFor({ state: "attached" });
  assert.match(
    await page.innerText("#actions"),
    /mean|differ|apart/i,
    "how far the reconstruction is from the original",
  );
  await screenshot(page, "back-again");

  await page.reload();
  await translateSample();
  assert.equal(downloads(), 1, "the second visit takes it from the store");
  await page.click("#clear-storage");
  await page.locator("#clear-storage").waitFor({ state: "hidden" });
  await page.reload();
  await translateSample();
  assert.equal(downloads(), 2);
  assert.deepEqual(errors, []);
});

test("the camera brings a picture in", (t) =>
  withTiny(t, async (page) => {
    await page.click("#camera");
    await page.locator("#camera-take:enabled").click();
    const { width: w, height: h } = await hears(page, "Translated");
    await done(page);
    assert.ok(w >= 320 && h >= 240);
  }));

test("a model's sample is one click away", async (t) => {
  const { page, errors } = await visit(t, browser, `${server.url}?backend=flex`, { init: listenIn });
  await page.locator("#samples button").first().click();
  await done(page);
  assert.deepEqual(errors, []);
});

test("the slider works from the keyboard", (t) =>
  withTiny(t, async (page) => {
    await choose(page, jpeg);
    await done(page);
    const slider = page.locator("#slider");
    const compare = page.locator("#compare");
    await slider.focus();
    const shown = {};
    for (const key of ["Home", "End", "ArrowLeft"]) {
      await page.keyboard.press(key);
      await page.waitForTimeout(400);
      shown[key] = { value: Number(await slider.inputValue()), picture: await compare.screenshot() };
    }
    assert.equal(shown.Home.value, 0);
    assert.equal(shown.End.value, 100);
    assert.ok(shown.ArrowLeft.value < 100);
    assert.ok(!shown.Home.picture.equals(shown.End.picture), "what is shown changes");
  }));

test("the result can be saved, as a PNG of the input's size", (t) =>
  withTiny(t, async (page) => {
    await choose(page, jpeg);
    await done(page);
    const { name, bytes } = await save(page);
    assert.match(name, /photo.*\.png$/);
    const { width: w, height: h } = decodePng(bytes);
    assert.deepEqual([w, h], [width, height]);
  }));

test("a long translation can be cancelled, and the next one works", (t) =>
  withTiny(
    t,
    async (page) => {
      await choose(page, file("large.png", picture(640, 640)));
      await hears(page, "Progress");
      await page.click("#cancel");
      await page.locator("#cancel").waitFor({ state: "hidden" });
      assert.equal((await heard(page, "Translated")).length, 0);
      await choose(page, tiny);
      await choose(page, jpeg);
      await done(page);
      const [translated] = await heard(page, "Translated");
      assert.deepEqual([translated.width, translated.height], [width, height]);
    },
    { model: large },
  ));

const corrupt = {
  "cut.jpg": () => jpeg.buffer.subarray(0, 200),
  "words.jpg": () => Buffer.from("This is not a picture. ".repeat(40)),
  "empty.png": () => Buffer.alloc(0),
};
for (const [name, bytes] of Object.entries(corrupt)) {
  test(`${name} is named in a message, and the page goes on`, (t) =>
    withTiny(t, async (page) => {
      await choose(page, file(name, bytes()));
      await page.locator("#panel-message").waitFor();
      assert.ok((await page.innerText("#panel-message")).includes(name));
      await screenshot(page, `error-${name}`);
      await choose(page, jpeg);
      await done(page);
    }));
}

test("a broken weight file is named in a message, and the page goes on", (t) =>
  withTiny(t, async (page) => {
    await choose(page, file("broken.safetensors", tiny.buffer.subarray(0, 5000)));
    await page.getByText("broken.safetensors").first().waitFor();
    await choose(page, tiny);
    await choose(page, jpeg);
    await done(page);
  }));

test("a worker that dies with a picture in its hands is replaced, and the picture is done all the same", (t) =>
  withTiny(t, async (page) => {
    await hears(page, "ModelLoaded");
    // It hears of its end just before it hears of the picture.
    await page.evaluate(() => {
      const worker = window.workers[0];
      const post = worker.postMessage;
      worker.postMessage = (message, transfer) => {
        if (message[0].startsWith('{"Translate"')) post.call(worker, ['"Crash"']);
        post.call(worker, message, transfer);
      };
    });
    await choose(page, jpeg);
    await hears(page, "Crashed");
    await page.locator("#notices").getByText("started again").waitFor();
    await done(page);
    const [translated] = await heard(page, "Translated");
    assert.deepEqual([translated.worker, translated.width], [1, width]);
    await screenshot(page, "worker-died");
  }));

test("the page stays alive while the worker computes", (t) =>
  withTiny(
    t,
    async (page) => {
      const isFree = await watchTimer(page);
      await choose(page, file("large.png", picture(384, 384)));
      await done(page);
      await isFree();
    },
    { model: file("large.safetensors", tinyGenerator({ ngf: 24, blocks: 4 })) },
  ));
