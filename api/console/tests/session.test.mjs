import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { browse, enter, heap, longest, said, scrolled, serve } from "./house.mjs";

let house, browser, agent, careful, place;
before(async () => {
  [house, browser] = await Promise.all([serve(), browse()]);
  [agent, careful, place] = await Promise.all([house.agent("helper"), house.agent("careful", "always_ask"), house.environment()]);
});
after(async () => { await browser?.close(); await house?.stop(); });

const conversation = (page) => page.getByRole("log", { name: "Conversation" });

test("an answer streams in while it is written, and ends as the log has it", async () => {
  const session = await house.session(agent, place, "Streams");
  const page = await browser.open();
  await enter(page, house, `/sessions/${session}`);
  await page.getByText("Nothing was said yet").waitFor();
  await page.keyboard.press("c");
  await page.keyboard.type("/tokens 60 25");
  await page.keyboard.press("Enter");
  const live = conversation(page).locator(".caret");
  await live.waitFor();
  const lengths = [];
  for (let looks = 0; looks < 6; looks++) {
    lengths.push((await live.textContent().catch(() => ""))?.length ?? 0);
    await page.waitForTimeout(120);
  }
  const grown = lengths.filter((length, at) => at > 0 && length > lengths[at - 1]).length;
  assert.ok(grown >= 3, `the text grows while it comes: ${lengths}`);
  await page.getByText("Turn finished").waitFor();
  const log = await house.api("GET", `/sessions/${session}/log?limit=100`);
  const message = log.data.find((event) => event.type === "agent.message").payload.content[0].text;
  assert.equal(await conversation(page).locator(".md").textContent(), message);
  assert.equal(await live.count(), 0);
});

test("calls are cards, edits are diffs, and the raw event is one key away", async () => {
  const script = `/tool write {"file_path":"a.txt","content":"one\\ntwo\\n"}
/then
/tool edit {"file_path":"a.txt","old_string":"two","new_string":"three"}
/then
/tool bash {"command":"printf '\\\\033[31mred\\\\033[0m'; cat a.txt; exit 4"}
/then
/say done`;
  const session = await house.session(agent, place, "Cards", script);
  await house.rest(session);
  const page = await browser.open();
  await enter(page, house, `/sessions/${session}`);
  const log = conversation(page);
  await log.getByRole("region", { name: "Changes of a.txt" }).last().getByText("three").waitFor();
  await log.getByText("red", { exact: true }).and(page.locator(".ansi-red")).waitFor();
  await log.getByRole("button", { name: /^bash.*Failed/ }).waitFor();
  await page.keyboard.press("k");
  await page.keyboard.press("k");
  await page.keyboard.press("r");
  const raw = page.getByLabel("Raw event");
  await raw.waitFor();
  const event = new URL(page.url()).searchParams.get("event");
  assert.equal(JSON.parse(await raw.textContent()).id, event);
  await page.getByRole("complementary").getByRole("button", { name: "curl" }).click();
  assert.match(await page.evaluate(() => navigator.clipboard.readText()), new RegExp(`/v1/sessions/${session}/log`));
  const again = await page.context().newPage();
  await again.goto(`${house.url}/sessions/${session}?event=${event}`);
  await again.locator(`[data-event="${event}"][aria-current="true"]`).waitFor();
  await page.getByRole("complementary").getByRole("button", { name: "Tools" }).click();
  await page.getByRole("row", { name: /bash 1 1/ }).waitFor();
});

test("what a command prints is shown while it runs", async () => {
  const session = await house.session(agent, place, "Prints");
  const page = await browser.open();
  await enter(page, house, `/sessions/${session}`);
  await page.getByText("Nothing was said yet").waitFor();
  await house.api("POST", `/sessions/${session}/events`, { events: [said('/tool bash {"command":"printf \'\\\\033[32mgre\\\\145n\\\\033[0m\\\\n\'; sleep 60"}')] });
  await conversation(page).getByLabel("Output").getByText("green").and(page.locator(".ansi-green")).waitFor();
  await conversation(page).getByRole("button", { name: /^bash.*Running/ }).waitFor();
  await page.getByRole("button", { name: "Stop" }).click();
  await conversation(page).getByText("Interrupted", { exact: true }).waitFor();
});

test("a message waits while a turn runs, and Stop ends the turn", async () => {
  const session = await house.session(agent, place, "Steers");
  const page = await browser.open();
  await enter(page, house, `/sessions/${session}`);
  await page.getByText("Nothing was said yet").waitFor();
  await house.api("POST", `/sessions/${session}/events`, { events: [said("/tokens 400 50")] });
  await conversation(page).locator(".caret").waitFor();
  await page.getByLabel("Message", { exact: true }).fill("/say heard you");
  await page.getByRole("button", { name: "Queue" }).click();
  await conversation(page).getByText("Queued").waitFor();
  await page.getByRole("button", { name: "Stop" }).click();
  await conversation(page).getByText("Interrupted").waitFor();
  await conversation(page).getByText("heard you", { exact: false }).last().waitFor();
  await conversation(page).getByText("Queued").waitFor({ state: "detached" });
});

test("calls that ask are answered by key, inline and across sessions", async () => {
  const one = await house.session(careful, place, "Asks one", '/tool bash {"command":"echo first"}\n/then\n/say thanks');
  await house.rest(one);
  const page = await browser.open();
  await enter(page, house, `/sessions/${one}`);
  await page.getByText("bash waits for your answer").waitFor();
  await page.keyboard.press("y");
  await conversation(page).getByText("Allowed by key_").waitFor();
  await page.getByText("Turn finished").waitFor();

  const two = await house.session(careful, place, "Asks two", '/tool bash {"command":"echo second"}\n/tool bash {"command":"echo third"}\n/then\n/say ok');
  const three = await house.session(careful, place, "Asks three", '/tool bash {"command":"echo fourth"}\n/then\n/say ok');
  await Promise.all([house.rest(two), house.rest(three)]);
  await page.getByRole("link", { name: "Approvals 3 waiting" }).click();
  await page.getByText("echo fourth").waitFor();
  for (const key of ["x", "j", "x", "j", "x"]) await page.keyboard.press(key);
  await page.getByText("3 marked").waitFor();
  await page.keyboard.press("d");
  await page.getByText("Nothing waits for you").waitFor();
  for (const session of [two, three]) {
    const log = await house.api("GET", `/sessions/${session}/log?limit=100`);
    const verdicts = log.data.filter((event) => event.type === "user.tool_confirmation");
    assert.ok(verdicts.length > 0 && verdicts.every((event) => event.payload.result === "deny"));
  }
  // Who answered what, and when, is told afterwards.
  await page.getByRole("button", { name: "Answered" }).click();
  const answered = page.getByRole("list", { name: "Answered calls" }).getByRole("listitem");
  await answered.filter({ hasText: "echo fourth" }).getByText("Denied").waitFor();
  const first = answered.filter({ hasText: "echo first" });
  await first.getByText("Allowed").waitFor();
  await first.getByText("by you").waitFor();
  assert.equal(await answered.count(), 4);
});

test("a session forks at an event, and both are read side by side", async () => {
  const session = await house.session(agent, place, "Forks", "/say before");
  await house.rest(session);
  const page = await browser.open();
  await enter(page, house, `/sessions/${session}`);
  await conversation(page).getByText("before", { exact: false }).last().waitFor();
  await page.keyboard.press("f");
  const dialog = page.getByRole("dialog", { name: /^Fork at event/ });
  await dialog.getByLabel("Title").fill("Another future");
  await dialog.getByRole("button", { name: "Fork and compare" }).click();
  await page.getByRole("region", { name: "Another future" }).getByText("Forked here").waitFor();
  await page.getByRole("region", { name: "Forks" }).getByRole("log").getByText("before").last().waitFor();
});

test("the end of ten thousand events is there at once, and little of it is in the document", async () => {
  const session = await house.session(agent, place, "Long");
  await house.fill(session, 10_000);
  await house.api("POST", `/sessions/${session}/events`, { events: [said("/say the very end")] });
  const { perennial } = await house.rest(session);
  assert.ok(perennial.head > 10_000, `${perennial.head} events`);
  const page = await browser.open();
  await enter(page, house);
  const begun = Date.now();
  await page.goto(`${house.url}/sessions/${session}`);
  await conversation(page).getByText("rehearsal-1: the very end").waitFor();
  const shown = Date.now() - begun;
  await page.waitForTimeout(800);
  const pass = () => scrolled(page, "[role=log]", 40, "article");
  const passes = [await longest(browser, page, pass)];
  const before = await heap(page);
  passes.push(await pass(), await pass());
  const grown = (await heap(page)) / before;
  for (const { most, height } of passes) {
    assert.ok(most < 80, `${most} entries in the document`);
    assert.ok(height > 100_000, "all of it can be scrolled to");
  }
  assert.ok(passes[0].longest <= 200, `a task of ${passes[0].longest} ms`);
  assert.ok(grown < 1.2, `scrolling grew the heap by ${grown}`);
  console.log(`the end of ${perennial.head} events was shown after ${shown} ms`);
  assert.deepEqual(browser.wrong, []);
});
