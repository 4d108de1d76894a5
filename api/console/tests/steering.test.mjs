import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { browse, enter, serve } from "./house.mjs";

let house, browser, agent, place;
before(async () => {
  [house, browser] = await Promise.all([serve(), browse()]);
  [agent, place] = await Promise.all([house.agent("helper"), house.environment()]);
});
after(async () => { await browser?.close(); await house?.stop(); });

const conversation = (page) => page.getByRole("log", { name: "Conversation" });
const PIXEL = Buffer.from("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg==", "base64");

test("pictures and texts go along with a message, and stay in the conversation", async () => {
  const session = await house.session(agent, place, "Looks at pictures");
  const page = await browser.open();
  await enter(page, house, `/sessions/${session}`);
  await page.getByText("Nothing was said yet").waitFor();
  await page.locator("input[type=file]").first().setInputFiles([
    { name: "shot.png", mimeType: "image/png", buffer: PIXEL },
    { name: "notes.txt", mimeType: "text/plain", buffer: Buffer.from("<b>read</b> me") },
    { name: "wrong.png", mimeType: "image/png", buffer: PIXEL },
  ]);
  const list = page.getByRole("list", { name: "Attachments" });
  await list.getByRole("button", { name: "Remove wrong.png" }).click();
  assert.equal(await list.getByRole("listitem").count(), 2);
  await page.getByLabel("Message", { exact: true }).fill("/say seen");
  await page.keyboard.press("Enter");
  await conversation(page).getByRole("img", { name: /^Attachment/ }).waitFor();
  await conversation(page).getByText("<b>read</b> me").waitFor();
  await conversation(page).getByText("rehearsal-1: seen").waitFor();
  const log = await house.api("GET", `/sessions/${session}/log?limit=50`);
  const { content } = log.data.find((event) => event.type === "user.message").payload;
  assert.deepEqual(content.map((block) => block.type).sort(), ["image", "text", "text"]);
  assert.equal(content.find((block) => block.type === "image").source.data, PIXEL.toString("base64"));
  assert.deepEqual(browser.wrong, []);
});

test("another model takes over where one left off, and is told of in the conversation", async () => {
  const session = await house.session(agent, place, "Changes hands", "/say one");
  await house.rest(session);
  const page = await browser.open();
  await enter(page, house, `/sessions/${session}`);
  await conversation(page).getByText("rehearsal-1: one").waitFor();
  for (const model of ["claude-opus-9", "rehearsal-1"]) {
    await page.getByRole("button", { name: "Actions", exact: true }).click();
    await page.getByRole("menuitem", { name: "Switch model or harness" }).click();
    const dialog = page.getByRole("dialog", { name: "Switch model or harness" });
    await dialog.getByLabel("Model").fill(model);
    await dialog.getByRole("button", { name: "Switch" }).click();
    await dialog.waitFor({ state: "detached" });
    await page.getByText(`helper · ${model}`).waitFor();
  }
  assert.equal(await conversation(page).getByText("The agent of this session was changed").count(), 2);
  await page.keyboard.press("c");
  await page.keyboard.type("/say two");
  await page.keyboard.press("Enter");
  await conversation(page).getByText("rehearsal-1: two").waitFor();
  assert.deepEqual(browser.wrong, []);
});

test("a turn that failed is asked for again", async () => {
  const session = await house.session(agent, place, "Fails", "/fail 400 99");
  await house.rest(session);
  const page = await browser.open();
  await enter(page, house, `/sessions/${session}`);
  await page.getByRole("button", { name: "Retry" }).click();
  await conversation(page).getByText("Gave up after retries").nth(1).waitFor();
  const log = await house.api("GET", `/sessions/${session}/log?limit=100`);
  assert.equal(log.data.filter((event) => event.type === "user.message").length, 2);
  assert.deepEqual(browser.wrong, []);
});

test("an agent is tried at once, and its sessions are found by it", async () => {
  const page = await browser.open();
  await enter(page, house, `/agents/${agent}`);
  await page.getByRole("button", { name: "Try it now" }).click();
  const form = page.getByRole("dialog", { name: "New session" });
  assert.equal(await form.getByLabel("Agent", { exact: true }).inputValue(), agent);
  await form.getByLabel("What should it do?").fill("/say tried");
  await form.getByRole("button", { name: /^Start/ }).click();
  await conversation(page).getByText("rehearsal-1: tried").waitFor();
  await page.goto(`${house.url}/agents/${agent}`);
  await page.getByRole("link", { name: "Its sessions" }).click();
  await page.waitForURL(/agent=agent_/);
  await page.getByRole("list", { name: "Sessions" }).getByText("rehearsal-1: tried").waitFor();
  assert.deepEqual(browser.wrong, []);
});
