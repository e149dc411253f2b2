// The settings of a training: every option has a control that sets it, a file carries them, and what cannot be is said.
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { file, go, hears, listenIn, openSettings, save, setOption, setTraining } from "./support/app.js";
import { host, launch, screenshot, visit } from "./support/browser.js";

const [browser, server] = [await launch({ after }), await host({ after })];
const address = `${server.url}?backend=flex`;

/** Each option away from its default. What another value switches on stands after that one. */
const options = {
  preprocess: "scale_width_and_crop",
  size: 36,
  load_size: 40,
  flip: false,
  rotate: 10,
  colour_jitter: 0.1,
  diff_augment: true,
  net_g: "mobile-resnet",
  ngf: 4,
  n_blocks: 1,
  upsample: "resize",
  skip: true,
  dropout: true,
  n_layers: 2,
  ndf: 4,
  spectral_norm: true,
  affine: true,
  init_type: "xavier",
  init_gain: 0.5,
  gan_mode: "wgangp",
  lambda_gp: 5,
  lambda_r1: 0.5,
  lambda_a: 6,
  lambda_b: 7,
  lambda_identity: 0.25,
  lambda_decay_to: 0.5,
  pool_size: 3,
  batch_size: 2,
  accumulate: 2,
  steps: 3,
  learning_rate: 0.0003,
  lr_d: 0.0002,
  decay_from: 0.25,
  end_at_zero: true,
  lr_policy: "step",
  lr_decay_steps: 2,
  warmup_steps: 1,
  warmup_d: 1,
  beta1: 0.4,
  beta2: 0.99,
  clip_grad: 1.5,
  ema: 0.9,
  checkpoint_activations: true,
  seed: 7,
};
/** The same for those that would leave other options without a meaning. */
const others = { net_d: "pixel", norm: "none" };
/** The keys of a flat TOML file. */
function keys(toml) {
  const lines = toml.split("\n").filter((line) => /^\w/.test(line));
  return Object.fromEntries(lines.map((line) => [line.split(" = ")[0], JSON.parse(line.split(" = ")[1])]));
}

const holds = (found, wanted) => {
  for (const [name, value] of Object.entries(wanted)) assert.equal(found[name], value, name);
};

test("every option is set by its control, goes out and in as a file, and a training obeys", async (t) => {
  const { page, errors } = await visit(t, browser, address, { init: listenIn });
  await setTraining(page, "quick", { ...options, ...others });
  const ids = await page.locator("#settings [id^=train-]").evaluateAll((all) => all.map(({ id }) => id.slice(6)));
  assert.deepEqual(ids.sort(), Object.keys({ ...options, ...others }).sort(), "no option is left out here");
  assert.match(await page.locator("#settings summary").first().innerText(), /^Pictures +7 changed$/);
  const saved = await save(page, "#save-settings");
  assert.match(saved.name, /\.toml$/);
  holds(keys(saved.bytes.toString()), { ...options, ...others });

  await page.reload();
  await hears(page, "Ready");
  await go(page, "train");
  assert.equal(await page.inputValue("#train-ngf"), "8");
  await page.setInputFiles("#settings-file", file("mine.toml", saved.bytes));
  await hears(page, "Settings");
  assert.equal(await page.inputValue("#train-ngf"), "4");
  await openSettings(page);
  const again = await save(page, "#save-settings");
  assert.equal(again.bytes.toString(), saved.bytes.toString());

  for (const [name, value] of Object.entries({ net_d: "n_layers", norm: "instance" })) await setOption(page, name, value);
  await page.click("#train-start");
  const stopped = await hears(page, "Stopped", { timeout: 300_000 });
  assert.deepEqual([stopped.step, stopped.trouble], [3, null]);
  const { Train } = (await page.evaluate(() => window.asked)).find((command) => command.Train);
  holds(Train.config, options);
  assert.deepEqual(errors, []);
});

test("a one-sided training is sent to the command line", async (t) => {
  const { page, errors } = await visit(t, browser, address, { init: listenIn });
  await hears(page, "Ready");
  await go(page, "train");
  await page.setInputFiles("#settings-file", file("cut.toml", Buffer.from('preset = "quick"\nmodel = "cut"\n')));
  await page.locator("#train-problem").getByText("cut trains on the command line").waitFor();
  assert.ok(await page.locator("#train-start").isDisabled());
  assert.deepEqual(errors, []);
});

test("a file that is wrong is refused with the line, and nothing changes", async (t) => {
  const { page } = await visit(t, browser, address, { init: listenIn });
  await hears(page, "Ready");
  await go(page, "train");
  await page.setInputFiles("#settings-file", file("bad.toml", Buffer.from("ngf = 5\n\nlerning_rate = 1\n")));
  await page.locator("#notices").getByText("bad.toml: line 3: there is no option lerning_rate").waitFor();
  assert.equal(await page.inputValue("#train-ngf"), "8");
});

test("what cannot be is said at once beside Start, which is off until it is put right", async (t) => {
  const { page, errors } = await visit(t, browser, address, { init: listenIn });
  await setTraining(page, "quick", { net_g: "unet_128" });
  const problem = page.locator("#train-problem");
  const isOff = () => page.locator("#train-start").isDisabled();
  await problem.getByText("unet_128 needs a training size that is a multiple of 128, not 32.").waitFor();
  assert.ok(await isOff());
  await screenshot(page, "train-impossible");
  await setOption(page, "net_g", "resnet");
  await page.waitForFunction(() => !document.querySelector("#train-start").disabled);
  assert.equal(await problem.innerText(), "");

  await setOption(page, "steps", "-1");
  await problem.getByText("steps must be a whole number of 0 or more, not -1.").waitFor();
  assert.equal(await page.getAttribute("#train-steps", "aria-invalid"), "true");
  assert.ok(await isOff());
  assert.equal(await page.inputValue("#train-steps"), "-1", "it stays to be put right");
  await setOption(page, "steps", "5");
  await page.waitForFunction(() => !document.querySelector("#train-start").disabled);
  assert.equal(await page.getAttribute("#train-steps", "aria-invalid"), "false");

  // What has no meaning beside other settings is not asked for.
  const isShown = (name) => page.locator(`#train-${name}`).isVisible();
  assert.deepEqual([await isShown("lambda_gp"), await isShown("decay_from")], [false, true]);
  await setOption(page, "gan_mode", "wgangp");
  await page.locator("#train-lambda_gp").waitFor();
  await page.locator("#about-gan_mode").getByText("Wasserstein distance with a gradient penalty").waitFor();
  await page.locator("#chart-about-0").getByText("critics").waitFor();
  assert.deepEqual(errors, []);
});
