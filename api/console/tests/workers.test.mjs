import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { browse, enter, serve } from "./house.mjs";

let house, browser, agent, place;
before(async () => {
  [house, browser] = await Promise.all([serve(), browse()]);
  [agent, place] = await Promise.all([house.agent("helper"), house.environment()]);
});
after(async () => { await browser?.close(); await house?.stop(); });

test("a worker is cordoned, drained and put back, and sessions wait meanwhile", async () => {
  const page = await browser.open();
  await enter(page, house, "/workers");
  const card = page.getByRole("list", { name: "Workers" }).getByRole("listitem").first();
  await card.getByText("Active", { exact: true }).waitFor();
  await card.getByText("native", { exact: true }).waitFor();
  const act = async (name) => {
    await card.getByRole("button", { name: /^Actions for/ }).click();
    await page.getByRole("menuitem", { name }).click();
  };

  await act("Cordon: claim no more");
  await card.getByText("Cordoned", { exact: true }).waitFor();
  await act("Drain: give back its sessions");
  await page.getByRole("alertdialog").or(page.getByRole("dialog")).getByText("No other worker is active").waitFor();
  await page.getByRole("button", { name: "Drain", exact: true }).click();
  await card.getByText("Drained", { exact: true }).waitFor();

  // The worker hears of it within seconds; from then on nobody claims.
  const waits = async () => {
    const session = await house.session(agent, place, "Waits", "/say here");
    await new Promise((done) => setTimeout(done, 400));
    const { held_sessions, ready_sessions } = await house.api("GET", "/scaling/default");
    return { session, waits: held_sessions === 0 && ready_sessions > 0 };
  };
  let last;
  for (let tries = 0; tries < 30; tries++) {
    last = await waits();
    if (last.waits) break;
  }
  assert.ok(last.waits, "a drained worker claimed sessions");
  await page.getByText("Waiting").locator("..").getByText(/^[1-9]\d* session/).waitFor();
  await act("Put back to work");
  await card.getByText("Active", { exact: true }).waitFor();
  await house.rest(last.session);
});
