import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { browse, enter, said, serve } from "./house.mjs";

let house, browser;
before(async () => { [house, browser] = await Promise.all([serve(), browse()]); });
after(async () => { await browser?.close(); await house?.stop(); });

test("a killed server is a small notice; nothing is lost or doubled on the screen", async () => {
  const session = await house.session(await house.agent("helper"), await house.environment(), "Survives");
  const page = await browser.open();
  await enter(page, house, `/sessions/${session}`);
  await page.getByText("Nothing was said yet").waitFor();
  const script = '/say first\n/tool bash {"command":"echo once"}\n/then\n/tokens 120 25\n/then\n/say last';
  await house.api("POST", `/sessions/${session}/events`, { events: [said(script)] });
  const log = page.getByRole("log", { name: "Conversation" });
  await log.locator(".caret").waitFor();
  await house.kill();
  await page.getByText("The server is away").waitFor();
  await log.getByText("rehearsal-1: first").waitFor();
  await house.start();
  await page.getByText("The server is away").waitFor({ state: "detached" });
  await log.getByText("rehearsal-1: last").waitFor({ timeout: 30_000 });
  await page.getByText("Turn finished").waitFor();

  const stored = await house.api("GET", `/sessions/${session}/log?limit=200`);
  const messages = stored.data.filter((event) => event.type === "agent.message").map((event) => event.payload.content[0].text);
  await page.evaluate(() => { document.querySelector("[role=log]").scrollTop = 0; });
  await page.waitForTimeout(200);
  assert.deepEqual(await log.locator(".md").allTextContents(), messages);
  assert.equal(await log.getByRole("button", { name: /^bash/ }).count(), 1);
  assert.equal(await log.locator(".caret").count(), 0);
  // The list heard of it as well, on its own connection.
  await page.getByRole("link", { name: "All sessions", exact: true }).click();
  await page.getByRole("link", { name: /Survives/ }).getByText("Idle").first().waitFor();
  assert.deepEqual(browser.wrong, []);
});
