import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { browse, enter, serve } from "./house.mjs";

let house, browser;
before(async () => { [house, browser] = await Promise.all([serve(), browse()]); });
after(async () => { await browser?.close(); await house?.stop(); });

/** Moves the focus as a person does who has no mouse. */
async function tabTo(page, name) {
  for (let steps = 0; steps < 60; steps++) {
    const at = await page.evaluate(() => document.activeElement?.getAttribute("aria-label") || document.activeElement?.textContent || "");
    if (at.trim().startsWith(name)) return;
    await page.keyboard.press("Tab");
  }
  throw new Error(`Tab does not reach ${name}`);
}

test("the first minute without a mouse ends in a finished turn", async () => {
  const begun = Date.now();
  const page = await browser.open();
  await enter(page, house);
  await page.getByText("No sessions yet").waitFor();
  await tabTo(page, "Take the first steps");
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "First steps" }).waitFor();
  await page.getByRole("button", { name: "Make both" }).and(page.locator(":enabled")).waitFor();
  await tabTo(page, "Make both");
  await page.keyboard.press("Enter");
  await page.getByRole("button", { name: "Run it" }).and(page.locator(":enabled")).waitFor();
  await tabTo(page, "Run it");
  await page.keyboard.press("Enter");
  await page.getByText("hello from a real shell").last().waitFor();
  await page.getByText("Finished", { exact: true }).waitFor();
  await tabTo(page, "Open the session");
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "First steps" }).waitFor();
  await page.getByRole("log", { name: "Conversation" }).waitFor();
  assert.ok(Date.now() - begun < 60_000);
  assert.deepEqual(browser.wrong, []);
});

test("the map of keys, the palette and the places by key", async () => {
  const page = await browser.open();
  await enter(page, house);
  await page.keyboard.press("?");
  const map = page.getByRole("dialog", { name: "Keyboard" });
  await map.getByText("Command palette").waitFor();
  await page.keyboard.press("Escape");
  await map.waitFor({ state: "detached" });
  for (const [key, name] of [["a", "Approvals"], ["x", "Executors"], ["e", "Environments"], ["s", "Sessions"]]) {
    await page.keyboard.press("g");
    await page.keyboard.press(key);
    await page.getByRole("heading", { name, exact: true }).waitFor();
  }
  await page.keyboard.press("Control+k");
  await page.getByPlaceholder("Search sessions, agents and actions").fill("usage");
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "Usage", exact: true }).waitFor();
  await page.keyboard.press("n");
  await page.getByRole("dialog", { name: "New session" }).waitFor();
  assert.deepEqual(browser.wrong, []);
});
